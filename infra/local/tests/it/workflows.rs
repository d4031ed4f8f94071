//! The workflows of `examples/` on the demo model, watched from a terminal: what README.md tells people to type.

use std::{
    io::{self, PipeWriter, Write},
    path::{Path, PathBuf},
    pin::pin,
    process::ExitCode,
    sync::{Arc, Mutex},
};

use local::{
    cli::{AnswerArgs, RetryArgs, RunArgs, ShowArgs},
    demo_model::{self, DemoModel},
    stack::{Options, Stack},
    terminal::{self, Look, Person, Terminal},
};
use model_client::Url;
use tests::quick;

/// Bytes that were written.
#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Written {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    /// Resolves when this was written, after the first so many bytes.
    async fn has(&self, what: &str, after: usize) {
        while !self.text().get(after..).is_some_and(|text| text.contains(what)) {
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
    }
}

struct System {
    stack: Stack,
    _model: DemoModel,
}

impl System {
    async fn start() -> Self {
        let model = DemoModel::start(demo_model::Options::instant()).await.unwrap();
        let stack = Stack::start(quick(Options::new(model.url().clone()))).await.unwrap();
        Self { stack, _model: model }
    }

    fn url(&self) -> &Url {
        self.stack.url()
    }
}

fn terminal() -> (Terminal, Written, Written) {
    let (out, err) = (Written::default(), Written::default());
    (Terminal::new(out.clone(), err.clone(), Look::Plain), out, err)
}

/// A person, and their keyboard.
fn person() -> (Person, PipeWriter) {
    let (reader, keyboard) = io::pipe().unwrap();
    (Person::at(io::BufReader::new(reader)), keyboard)
}

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(name)
}

/// Runs a workflow while somebody types. A run that ends before it has asked everything leaves them waiting.
async fn typed(system: &System, args: &RunArgs, out: &mut Terminal, typing: impl Future<Output = ()>) -> ExitCode {
    let mut run = pin!(terminal::run(system.url(), args, out));
    tokio::select! {
        ended = &mut run => panic!("nobody was asked: {ended:?}"),
        () = typing => {}
    }
    run.await.unwrap()
}

fn doing(name: &str, text: &str) -> RunArgs {
    RunArgs { workflow: Some(example(name)), text: Some(text.to_owned()), ..RunArgs::default() }
}

fn id_in(text: &str) -> String {
    text.split_whitespace().find(|word| word.starts_with("job_")).unwrap().to_owned()
}

#[tokio::test]
async fn the_research_report_goes_the_way_that_the_question_asks_for() {
    let system = System::start().await;
    let (mut out, written, err) = terminal();
    let args = doing("research-report.json", "What are the advantages of trains, compared with planes?");
    assert_eq!(terminal::run(system.url(), &args, &mut out).await.unwrap(), ExitCode::SUCCESS, "{}", err.text());
    let text = written.text();
    for line in [
        "  ✓ Research desk → Research",
        "  – Quick answer  skipped",
        "  ✓ Research / Doubts",
        "  ✓ Report",
        "# Report",
        "✓ completed",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
    let (mut out, written, err) = terminal();
    let args = doing("research-report.json", "The definition of a lane, in short");
    assert_eq!(terminal::run(system.url(), &args, &mut out).await.unwrap(), ExitCode::SUCCESS, "{}", err.text());
    assert!(written.text().contains("  ✓ Research desk → Quick answer"), "{}", written.text());
    assert!(written.text().contains("  – Research  skipped"), "{}", written.text());
}

#[tokio::test]
async fn the_editor_loop_asks_the_person_at_the_terminal_and_goes_on_with_their_answer() {
    let system = System::start().await;
    let (person, mut keyboard) = person();
    let (out, written, err) = terminal();
    let mut out = out.with_person(person);
    let args = doing("editor-loop.json", "Why ships sleep at night");
    let typing = async {
        written.has("leaves it waiting): ", 0).await;
        let asked = written.text().len();
        // A name that there is not, and then the text that shall be published.
        keyboard.write_all(b"fly\n").unwrap();
        written.has("there is no choice", asked).await;
        keyboard.write_all(b"rewrite\n").unwrap();
        written.has("the text, in one line", asked).await;
        keyboard.write_all("Ships do not sleep.\n".as_bytes()).unwrap();
    };
    let ended = typed(&system, &args, &mut out, typing).await;
    assert_eq!(ended, ExitCode::SUCCESS, "{}", err.text());
    let text = written.text();
    for line in [
        "  ● Editing #2 / Editor",
        "  ? a review is needed  Publisher",
        "    May this be published?",
        "    3 rewrite  Publish this text instead",
        "  ✓ answered: modify  by local",
        "  – Shelved  skipped",
        "Ships do not sleep.\n\n✓ completed",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
}

#[tokio::test]
async fn a_question_that_is_left_waiting_is_answered_by_a_command_later() {
    let system = System::start().await;
    let (person, mut keyboard) = person();
    let (out, written, err) = terminal();
    let mut out = out.with_person(person);
    let typing = async {
        written.has("leaves it waiting): ", 0).await;
        keyboard.write_all(b"\n").unwrap();
    };
    let args = doing("editor-loop.json", "Why ships sleep at night");
    let ended = typed(&system, &args, &mut out, typing).await;
    assert_eq!(ended, ExitCode::from(3), "{}", err.text());
    let id = id_in(&written.text());
    assert!(err.text().contains(&format!("nightshift answer {id} ")), "{}", err.text());

    let (mut out, shown, _) = terminal();
    let args = ShowArgs { id: id.clone(), ..ShowArgs::default() };
    assert_eq!(terminal::show(system.url(), &args, &mut out).await.unwrap(), ExitCode::SUCCESS);
    assert!(
        shown.text().contains("waits for an answer") && shown.text().contains(" publish --port "),
        "{}",
        shown.text()
    );

    let (mut out, _, err) = terminal();
    let args = AnswerArgs {
        id: id.clone(),
        words: vec!["reject".to_owned(), "Too long.".to_owned()],
        ..AnswerArgs::default()
    };
    assert_eq!(terminal::answer(system.url(), &args, &mut out).await.unwrap(), ExitCode::SUCCESS, "{}", err.text());
    let (mut out, followed, err) = terminal();
    let args = local::cli::FollowArgs { id: id.clone(), ..local::cli::FollowArgs::default() };
    assert_eq!(terminal::follow(system.url(), &args, &mut out).await.unwrap(), ExitCode::SUCCESS, "{}", err.text());
    assert!(followed.text().contains("Not published. The last draft:"), "{}", followed.text());

    let (mut out, _, err) = terminal();
    let args = RetryArgs { id, ..RetryArgs::default() };
    assert_eq!(terminal::retry(system.url(), &args, &mut out).await.unwrap(), ExitCode::from(1));
    assert!(err.text().contains("The job has its answer"), "{}", err.text());
}
