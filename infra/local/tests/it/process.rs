//! A `nightshift` process on a data directory: started, found to be up, killed.

use std::{net::TcpListener, path::PathBuf, process::Stdio, time::Instant};

use domain::time::Timestamp;
use engine::{Clock as _, SystemClock};
use model_client::Url;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader, Lines},
    process::{Child, ChildStdout, Command},
};

/// How processes are started: each takes the place of the one before.
pub(crate) struct Place {
    pub(crate) data: PathBuf,
    pub(crate) port: u16,
    pub(crate) model: Url,
}

/// A running process. Dropping it kills it.
pub(crate) struct Process {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    /// When it was started, for spans.
    pub(crate) begun: Instant,
    /// When it was started, by the clock that events carry.
    pub(crate) begun_at: Timestamp,
}

impl Place {
    /// Starts the command as a user does; nothing of this process's environment reaches it.
    pub(crate) fn start(&self) -> Process {
        let (begun, begun_at) = (Instant::now(), SystemClock.now());
        let mut child = Command::new(env!("CARGO_BIN_EXE_nightshift"))
            .arg("--data")
            .arg(&self.data)
            .args(["--port", &self.port.to_string(), "--model-url", self.model.as_str()])
            .args(["--default-model", "scripted"])
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Process { child, lines, begun, begun_at }
    }

    /// Where it answers.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }
}

impl Process {
    /// Resolves when it says that it is running.
    pub(crate) async fn up(&mut self) {
        while let Some(line) = self.lines.next_line().await.unwrap() {
            if line.ends_with(" is running.") {
                return;
            }
        }
        panic!("it ended: {:?}", self.child.wait().await);
    }

    /// Kills it with SIGKILL, and waits until it is gone.
    pub(crate) async fn kill(mut self) {
        assert!(self.child.try_wait().unwrap().is_none(), "it ended by itself");
        self.child.kill().await.unwrap();
    }
}

/// A port that nobody uses, tried from this one on. Not one that the system gives to clients (they begin at 32768):
/// while the process is dead a client could be given it, and even connect to itself.
pub(crate) fn free_port(from: u64) -> u16 {
    let from = 10_000 + u16::try_from(from % 20_000).unwrap();
    (from..32_000).find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()).unwrap()
}
