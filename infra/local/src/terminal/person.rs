//! Whoever sits at the terminal: the lines that they type.

use std::{
    fmt,
    io::{self, BufRead, IsTerminal},
    time::Duration,
};

use tokio::{sync::mpsc, time::sleep};

/// How long lines that were typed ahead take to arrive at most.
const TYPED_AHEAD: Duration = Duration::from_millis(30);

/// A person who can be asked.
pub struct Person {
    reader: Option<Box<dyn BufRead + Send>>,
    lines: Option<mpsc::UnboundedReceiver<String>>,
}

impl Person {
    /// The person at standard input, if it is a terminal.
    pub fn at_stdin() -> Option<Self> {
        io::stdin().is_terminal().then(|| Self::at(io::BufReader::new(io::stdin())))
    }

    /// A person whose lines are read here.
    pub fn at(reader: impl BufRead + Send + 'static) -> Self {
        Self { reader: Some(Box::new(reader)), lines: None }
    }

    /// Forgets what was typed before it was asked for: it is no answer to a question that nobody had read. Until the first
    /// question nothing is read at all, for it may be meant for the shell.
    pub(super) async fn attention(&mut self) {
        if let Some(mut reader) = self.reader.take() {
            let (tell, lines) = mpsc::unbounded_channel();
            self.lines = Some(lines);
            // A thread of its own, which nobody waits for: reading a terminal cannot be broken off.
            std::thread::spawn(move || {
                let mut line = String::new();
                while reader.read_line(&mut line).is_ok_and(|n| n > 0) && tell.send(std::mem::take(&mut line)).is_ok() {
                }
            });
        }
        sleep(TYPED_AHEAD).await;
        while self.lines.as_mut().is_some_and(|lines| lines.try_recv().is_ok()) {}
    }

    /// The next line that is typed; `None` when there will be no more.
    pub(super) async fn line(&mut self) -> Option<String> {
        self.lines.as_mut()?.recv().await
    }
}

impl fmt::Debug for Person {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Person").finish_non_exhaustive()
    }
}
