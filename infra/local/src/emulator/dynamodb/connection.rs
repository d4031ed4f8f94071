//! One connection to the database, and the thread that serves it when it is busy.

use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;

use anyhow::Context as _;
use dynoxide::Database;
use tokio::sync::oneshot;

use super::Stopped;
use super::group::{Group, PendingWrite};

/// One of dynoxide's databases, which is one SQLite connection behind a mutex that blocks.
///
/// A request that finds it free is carried out where it was made: that takes a tenth of a millisecond, and waking another
/// thread and being woken by it takes as long again. While it is busy requests wait for a thread of its own, so that none
/// of the runtime's blocks; and in a debug build always, since unoptimised frames of a turn, the SDK and dynoxide do not
/// fit on one stack. Writes that wait for it together are carried out together ([`Group`]). A request that was made is carried
/// out even when nobody waits for its answer any more, as on a network.
///
/// Dropping it carries out what was already asked, closes the database, and fails every later request.
pub(super) struct Connection {
    requests: Requests,
    thread: Option<JoinHandle<()>>,
}

impl Connection {
    /// Takes `db` over; `name` is the thread's.
    pub(super) fn start(db: Database, name: &str) -> anyhow::Result<Self> {
        let (sender, inbox) = mpsc::channel();
        let db = Arc::new(Mutex::new(Some(db)));
        let theirs = Arc::clone(&db);
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || run(&theirs, &inbox))
            .context("cannot start the database's thread")?;
        Ok(Self { requests: Requests { db, sender }, thread: Some(thread) })
    }

    /// Where requests go; it may live on.
    pub(super) fn requests(&self) -> Requests {
        self.requests.clone()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // Clients may live on and hold senders, so the end of the channel cannot be the signal.
        let _ = self.requests.sender.send(Request::Stop);
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != std::thread::current().id()
        {
            let _ = thread.join();
        }
    }
}

enum Request {
    Run(Box<dyn FnOnce(&Database) + Send>),
    Write(PendingWrite),
    Stop,
}

/// The database, until it is closed.
type Shared = Mutex<Option<Database>>;

fn run(db: &Shared, inbox: &mpsc::Receiver<Request>) {
    let mut next = None;
    while let Some(request) = next.take().or_else(|| inbox.recv().ok()) {
        let db = db.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(db) = &*db else { return };
        match request {
            Request::Run(run) => run(db),
            Request::Write(write) => next = write_all(db, write, inbox),
            Request::Stop => break,
        }
    }
    db.lock().unwrap_or_else(PoisonError::into_inner).take();
}

/// Carries out `write` and those that wait behind it, and gives what comes after them.
fn write_all(db: &Database, write: PendingWrite, inbox: &mpsc::Receiver<Request>) -> Option<Request> {
    let mut group = Group::default();
    let mut next = Some(Request::Write(write));
    while let Some(Request::Write(write)) = next {
        next = match group.add(write) {
            Ok(()) => inbox.try_recv().ok(),
            Err(write) => {
                group.carry_out(db);
                return Some(Request::Write(write));
            }
        };
    }
    group.carry_out(db);
    next
}

/// The way to a connection.
#[derive(Clone)]
pub(super) struct Requests {
    db: Arc<Shared>,
    sender: mpsc::Sender<Request>,
}

impl Requests {
    /// Has `request` carried out, here and now or by the connection's thread; the receiver fails when that stopped before it
    /// came to it.
    pub(super) fn ask<T: Send + 'static>(
        &self,
        request: impl FnOnce(&Database) -> T + Send + 'static,
    ) -> Result<oneshot::Receiver<T>, Stopped> {
        let (reply, answer) = oneshot::channel();
        if !cfg!(debug_assertions)
            && let Ok(db) = self.db.try_lock()
        {
            let _ = reply.send(request(db.as_ref().ok_or(Stopped)?));
            return Ok(answer);
        }
        let request = Box::new(move |db: &Database| {
            let _ = reply.send(request(db));
        });
        self.sender.send(Request::Run(request)).map_err(|_| Stopped)?;
        Ok(answer)
    }

    /// Has `write` carried out, alone here and now, or by the connection's thread with what else waits for it. Its answer is
    /// not called when the connection stopped before it came to it.
    pub(super) fn write(&self, write: PendingWrite) -> Result<(), Stopped> {
        if !cfg!(debug_assertions)
            && let Ok(db) = self.db.try_lock()
        {
            write.carry_out(db.as_ref().ok_or(Stopped)?);
            return Ok(());
        }
        self.sender.send(Request::Write(write)).map_err(|_| Stopped)
    }
}
