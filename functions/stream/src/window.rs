//! The recent events of one job, as its poller keeps them for all its viewers. Bounded: what falls out of it is in the
//! table.

use std::{collections::VecDeque, sync::Arc};

use api::sse;
use bytes::Bytes;
use domain::{
    event::Event,
    id::JobId,
    job::{Head, Status},
};
use tokio::time::Instant;

/// The most that a viewer takes at once, in bytes of frames: a slow one holds no more than this.
const TAKEN_BYTES: usize = 128 * 1024;

/// An event and its frame, which all viewers share.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) event: Event,
    pub(crate) frame: Bytes,
}

/// The end of a job's log as far as its poller has read it.
#[derive(Debug)]
pub(crate) struct Window {
    /// Where the poller is.
    newest: u64,
    /// Neighbours, the last of them `newest`.
    entries: VecDeque<Arc<Entry>>,
    bytes: usize,
    longest: usize,
    is_over: bool,
    status: Status,
    input_required_since: Option<Instant>,
}

/// What a window has for a cursor.
#[derive(Debug)]
pub(crate) enum Found {
    /// The events that follow, or the first of them.
    Here(Vec<Arc<Entry>>),
    /// Nothing yet; nothing ever, if the job's last event is not after the cursor.
    Nothing {
        /// Whether it is.
        is_over: bool,
    },
    /// What follows is not here: it is in the table, for certain.
    Elsewhere,
}

impl Window {
    /// At the end of the log of a job with this head, whose last events these are, keeping frames of so many bytes.
    pub(crate) fn new(head: &Head, recent: Vec<Event>, longest: usize) -> Self {
        let status = head.status();
        let since = (status == Status::InputRequired).then(Instant::now);
        let mut window = Self {
            newest: 0,
            entries: VecDeque::new(),
            bytes: 0,
            longest,
            is_over: false,
            status,
            input_required_since: since,
        };
        for event in recent {
            window.push(&head.id, event);
        }
        window
    }

    pub(crate) fn after(&self, cursor: u64) -> Found {
        if cursor >= self.newest {
            return Found::Nothing { is_over: self.is_over };
        }
        let first = self.newest + 1 - self.entries.len() as u64;
        let Some(skip) = (cursor + 1).checked_sub(first) else { return Found::Elsewhere };
        let mut bytes = 0;
        let mut taken = Vec::new();
        for entry in self.entries.range(usize::try_from(skip).unwrap_or(usize::MAX)..) {
            bytes += entry.frame.len();
            if bytes > TAKEN_BYTES && !taken.is_empty() {
                break;
            }
            taken.push(Arc::clone(entry));
        }
        Found::Here(taken)
    }

    /// The next event. The newest stays, however long it is.
    pub(crate) fn push(&mut self, job: &JobId, event: Event) {
        let frame = Bytes::from(sse::frame(job, &event));
        self.newest = event.number;
        self.is_over = event.body.is_terminal();
        self.bytes += frame.len();
        self.entries.push_back(Arc::new(Entry { event, frame }));
        while self.bytes > self.longest && self.entries.len() > 1 {
            self.bytes -= self.entries.pop_front().map_or(0, |entry| entry.frame.len());
        }
    }

    /// Takes the status of a head. Whether that was news. A finished job stays so, whatever a copy that lags says.
    pub(crate) fn note(&mut self, head: &Head) -> bool {
        let status = head.status();
        if status == self.status || self.status.is_finished() {
            return false;
        }
        self.status = status;
        self.input_required_since = (status == Status::InputRequired).then(Instant::now);
        true
    }

    pub(crate) fn newest(&self) -> u64 {
        self.newest
    }

    pub(crate) fn is_over(&self) -> bool {
        self.is_over
    }

    pub(crate) fn status(&self) -> Status {
        self.status
    }

    /// Since when the job is known to wait for a person, if it does.
    pub(crate) fn input_required_since(&self) -> Option<Instant> {
        self.input_required_since
    }
}
