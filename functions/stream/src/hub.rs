//! One poller for all viewers of a job, and never one more than there are jobs with viewers. It starts with the first
//! viewer, and the last takes it along, however it leaves: being a viewer is owning a [`Viewing`].

use std::{
    collections::HashMap,
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak},
    time::Duration,
};

use api::error::Chain;
use domain::{event::Event, id::JobId, job::Head, time::Timestamp};
use store::{After, Error, Item, Page, Tail};
use tokio::{
    sync::{mpsc, watch},
    task::AbortHandle,
    time::sleep,
};

use crate::{Now, Settings, log::Log, window::Window};

/// Most hints that wait for a poller.
pub(crate) const MOST_HINTS: usize = 64;
/// How long a job has viewers before that is noted: one that is over by then costs no such write.
const NOTED_AFTER: Duration = Duration::from_millis(50);
/// How long before its end a job's being watched is prolonged: the worker looks once a second.
const NOTED_BEFORE: Duration = Duration::from_millis(1250);

/// The item of events that was written. Without one it is to be read.
pub(crate) type Hint = Option<Arc<Item>>;

/// The jobs with viewers in this process.
pub(crate) struct Hub {
    pub(crate) log: Arc<Log>,
    now: Now,
    pub(crate) settings: Settings,
    /// Locked for moments only, and never while a [`Viewing`] could be dropped.
    jobs: Mutex<HashMap<JobId, Weak<Viewing>>>,
    /// Done whenever a viewer has left.
    when_one_leaves: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

/// What the viewers of one job own together. With the last of them the poller ends.
pub(crate) struct Viewing {
    hub: Arc<Hub>,
    job: JobId,
    /// Closed when the poller has ended: after the job's last event, or since it could not go on.
    window: watch::Receiver<Window>,
    told: mpsc::Sender<Hint>,
    poller: AbortHandle,
}

impl Hub {
    pub(crate) fn new(log: Log, now: Now, settings: Settings) -> Arc<Self> {
        Arc::new(Self { log: Arc::new(log), now, settings, jobs: Mutex::default(), when_one_leaves: OnceLock::new() })
    }

    pub(crate) fn now(&self) -> Timestamp {
        (self.now)()
    }

    /// A viewer comes to a job that was just seen with this head and these last events.
    pub(crate) fn join(self: &Arc<Self>, head: &Head, recent: Vec<Event>) -> Arc<Viewing> {
        let job = &head.id;
        // Declared before the lock and so dropped after it: dropping the last of its kind takes the lock.
        let ended;
        let mut jobs = self.jobs();
        match jobs.get(job).and_then(Weak::upgrade) {
            Some(viewing) if viewing.is_polled() => {
                if viewing.window.borrow().newest() < Tail::of(&recent).number {
                    viewing.tell(None);
                }
                return viewing;
            }
            other => ended = other,
        }
        let viewing = self.start(head, Window::new(head, recent, self.settings.window_bytes));
        jobs.insert(job.clone(), Arc::downgrade(&viewing));
        drop(jobs);
        drop(ended);
        viewing
    }

    pub(crate) fn when_one_leaves(&self, done: Box<dyn Fn() + Send + Sync>) {
        let _ = self.when_one_leaves.set(done);
    }

    pub(crate) fn viewer_left(&self) {
        if let Some(done) = self.when_one_leaves.get() {
            done();
        }
    }

    /// Something was probably written to this job's log.
    pub(crate) fn hint(&self, job: &JobId, hint: Hint) {
        let viewing = self.jobs().get(job).and_then(Weak::upgrade);
        if let Some(viewing) = viewing {
            viewing.tell(hint);
        }
    }

    pub(crate) fn n_followed(&self) -> usize {
        self.jobs().len()
    }

    fn start(self: &Arc<Self>, head: &Head, window: Window) -> Arc<Viewing> {
        let (window, window_seen) = watch::channel(window);
        let (told, hints) = mpsc::channel(MOST_HINTS);
        let poller = Poller {
            job: head.id.clone(),
            watched_until: head.watched_until,
            log: Arc::clone(&self.log),
            now: Arc::clone(&self.now),
            settings: self.settings,
        };
        let poller = tokio::spawn(poller.run(window, hints)).abort_handle();
        Arc::new(Viewing { hub: Arc::clone(self), job: head.id.clone(), window: window_seen, told, poller })
    }

    fn jobs(&self) -> MutexGuard<'_, HashMap<JobId, Weak<Viewing>>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Viewing {
    pub(crate) fn job(&self) -> &JobId {
        &self.job
    }

    pub(crate) fn hub(&self) -> &Hub {
        &self.hub
    }

    pub(crate) fn window(&self) -> watch::Receiver<Window> {
        self.window.clone()
    }

    /// Wakes the poller. When it is told more than it can take in, it is awake anyway, and reads what it missed.
    fn tell(&self, hint: Hint) {
        let _ = self.told.try_send(hint);
    }

    fn is_polled(&self) -> bool {
        self.window.has_changed().is_ok()
    }
}

impl Drop for Viewing {
    fn drop(&mut self) {
        self.poller.abort();
        let mut jobs = self.hub.jobs();
        // Somebody may have come in the meantime and have started anew.
        if jobs.get(&self.job).is_some_and(|there| std::ptr::eq(there.as_ptr(), self)) {
            jobs.remove(&self.job);
        }
    }
}

/// The events, of those that hints brought, that a reader at this cursor does not have. `None` when it has to read.
fn following(cursor: u64, hints: impl IntoIterator<Item = Hint>) -> Option<Vec<Event>> {
    let mut following: Vec<Event> = Vec::new();
    for hint in hints {
        let events = store::events_from_item(&*hint?).ok()?;
        let next = cursor + 1 + following.len() as u64;
        if events.first()?.number > next {
            return None;
        }
        following.extend(events.into_iter().filter(|event| event.number >= next));
    }
    Some(following)
}

struct Poller {
    job: JobId,
    log: Arc<Log>,
    now: Now,
    settings: Settings,
    /// Until when the job's head says that somebody watches.
    watched_until: Timestamp,
}

impl Poller {
    async fn run(self, window: watch::Sender<Window>, hints: mpsc::Receiver<Hint>) {
        let polled = tokio::select! {
            polled = self.poll(&window, hints) => polled,
            never = self.keep_watched(&window) => match never {},
        };
        if let Err(error) = polled {
            tracing::error!(job.id = %self.job, error = %Chain(&error), "the log cannot be read; its viewers have to come back");
        }
    }

    /// Reads on until the job's last event, or until the job is gone.
    async fn poll(&self, window: &watch::Sender<Window>, mut hints: mpsc::Receiver<Hint>) -> Result<(), Error> {
        let mut cursor = window.borrow().newest();
        let mut pause = self.settings.poll_quickly;
        let mut told = Vec::new();
        while !window.borrow().is_over() {
            tokio::select! {
                () = sleep(pause) => {}
                // All that wait, so that a burst is shown at once.
                n_told = hints.recv_many(&mut told, MOST_HINTS) => {
                    // Where events are told, the next one is, too: unless more came than could wait.
                    let Settings { poll_quickly, poll_slowly, .. } = self.settings;
                    pause = if n_told < MOST_HINTS { poll_slowly } else { poll_quickly };
                    if let Some(events) = following(cursor, told.drain(..)) {
                        cursor += events.len() as u64;
                        self.push(window, events);
                        continue;
                    }
                }
            }
            let Some(page) = self.log.after(&self.job, After::Batch(cursor), false).await? else { return Ok(()) };
            let Page { events, head } = page;
            let came = !events.is_empty();
            let more = came && head.is_none();
            cursor += events.len() as u64;
            self.push(window, events);
            let changed = came | window.send_if_modified(|window| head.is_some_and(|head| window.note(&head)));
            pause = match (more, changed) {
                (true, _) => Duration::ZERO,
                (false, true) => self.settings.poll_quickly,
                (false, false) => (pause * 2).min(self.settings.poll_slowly),
            };
        }
        Ok(())
    }

    /// Shows viewers the events that follow.
    fn push(&self, window: &watch::Sender<Window>, events: Vec<Event>) {
        if !events.is_empty() {
            window.send_modify(|window| events.into_iter().for_each(|event| window.push(&self.job, event)));
        }
    }

    /// Says that the job is watched, as long as it is not over. Failing to is no reason to disturb the viewers: their
    /// text then comes in larger pieces.
    async fn keep_watched(&self, window: &watch::Sender<Window>) -> Infallible {
        let known = self.watched_until.since((self.now)());
        sleep(known.saturating_sub(NOTED_BEFORE).max(NOTED_AFTER)).await;
        while !window.borrow().status().is_finished() {
            let until = (self.now)() + self.settings.watch_for;
            if let Err(error) = (self.log.note_watched)(self.job.clone(), until).await {
                tracing::warn!(job.id = %self.job, error = %Chain(&error), "cannot note that the job is watched");
            }
            sleep(self.settings.watch_for / 2).await;
        }
        std::future::pending().await
    }
}
