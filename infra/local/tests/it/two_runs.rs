//! Two commands at once: the system is the first one's, and the second one's job is not to suffer for that.

use std::process::Stdio;

use local::demo_model::{self, DemoModel, Fault, Gate, Script, Turn};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, BufReader, Lines},
    process::{Child, Command},
};

use crate::process::{Place, free_port};

/// A `nightshift run`.
fn run(place: &Place, input: &str) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nightshift"));
    command.arg("--data").arg(&place.data).args(["--port", &place.port.to_string()]);
    command.args(["--model-url", place.model.as_str(), "--default-model", "scripted", "--plain", "run", input]);
    command.env_clear().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command.spawn().unwrap()
}

/// Resolves when it has written a line with this.
async fn until<R: AsyncRead + Unpin>(what: &str, lines: &mut Lines<BufReader<R>>) {
    while let Some(line) = lines.next_line().await.unwrap() {
        if line.contains(what) {
            return;
        }
    }
    panic!("it ended without {what:?}");
}

#[tokio::test]
async fn the_command_whose_system_it_is_waits_for_who_follows_a_job_there() {
    startup::aws::install_crypto();
    let model = DemoModel::start(demo_model::Options::scripted()).await.unwrap();
    let data = tempfile::tempdir().unwrap();
    let port = free_port(u64::from(std::process::id()));
    let place = Place { data: data.path().to_owned(), port, model: model.url().clone() };
    let gates = [Gate::new(), Gate::new()];
    for (input, gate) in ["First", "Second"].into_iter().zip(&gates) {
        let turn = Turn::pieces(["Said\n", "done"]).fault(Fault::StallAfter(1, gate.clone()));
        model.script(input, Script::new().turn(turn));
    }

    let mut first = run(&place, "First");
    let mut first_said = BufReader::new(first.stdout.take().unwrap()).lines();
    let mut first_told = BufReader::new(first.stderr.take().unwrap()).lines();
    until("Said", &mut first_said).await;
    let mut second = run(&place, "Second");
    let mut second_said = BufReader::new(second.stdout.take().unwrap()).lines();
    until("Said", &mut second_said).await;

    gates[0].open();
    until("Others follow jobs", &mut first_told).await;
    gates[1].open();
    until("✓ completed", &mut second_said).await;
    assert!(second.wait().await.unwrap().success());
    assert!(first.wait().await.unwrap().success());
}
