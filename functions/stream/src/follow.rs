//! One viewer: from its cursor to the job's last event, or until its connection has lasted long enough. It takes from
//! the window what is there, and reads the table for what is not; its cursor is all that it keeps.

use std::{convert::Infallible, sync::Arc};

use api::{error::Chain, sse};
use bytes::Bytes;
use domain::{event::Event, id::JobId};
use futures_util::Stream;
use signals::count;
use store::{After, Page};
use tokio::{
    sync::watch::{self, error::RecvError},
    time::{Instant, sleep_until},
};

use crate::{
    hub::Viewing,
    window::{Entry, Found, Window},
};

/// The body of a stream. It is pulled, so that whoever reads slowly is read for slowly; dropped at any point, it leaves
/// nothing behind.
pub(crate) fn follow(viewing: Arc<Viewing>, cursor: u64) -> impl Stream<Item = Result<Bytes, Infallible>> + Send {
    let mut viewer = Viewer::new(viewing, cursor);
    async_stream::stream! {
        yield Ok(Bytes::from([sse::RETRY, sse::PING].concat()));
        'following: loop {
            match viewer.next().await {
                Next::Pieces(pieces) => {
                    for piece in pieces {
                        if viewer.is_late() {
                            break 'following;
                        }
                        let frame = piece.frame(viewer.viewing.job());
                        count::frame(frame.len());
                        yield Ok(frame);
                        viewer.has_sent(piece.event());
                    }
                }
                Next::Silence => {
                    yield Ok(Bytes::from_static(sse::PING.as_bytes()));
                    viewer.spoke_at = Instant::now();
                }
                Next::Over => {
                    yield Ok(Bytes::from_static(sse::DONE.as_bytes()));
                    break;
                }
                Next::ComeBack => break,
            }
        }
    }
}

/// What a viewer does next.
enum Next {
    /// Sends these.
    Pieces(Vec<Piece>),
    /// Shows that it is there.
    Silence,
    /// Says that nothing will follow.
    Over,
    /// Ends without a word: the client returns with its cursor.
    ComeBack,
}

/// An event to send: as the window has it, or one of the viewer's own.
enum Piece {
    Shared(Arc<Entry>),
    Own(Event),
}

impl Piece {
    fn event(&self) -> &Event {
        match self {
            Self::Shared(entry) => &entry.event,
            Self::Own(event) => event,
        }
    }

    fn frame(&self, job: &JobId) -> Bytes {
        match self {
            Self::Shared(entry) => entry.frame.clone(),
            Self::Own(event) => sse::frame(job, event).into(),
        }
    }
}

/// These events, with those that piled up merged.
fn merged(events: impl IntoIterator<Item = Event>) -> Vec<Piece> {
    sse::merge(events).into_iter().map(Piece::Own).collect()
}

impl Drop for Viewer {
    fn drop(&mut self) {
        count::viewer_left(self.came_at.elapsed());
        self.viewing.hub().viewer_left();
    }
}

struct Viewer {
    viewing: Arc<Viewing>,
    window: watch::Receiver<Window>,
    /// The last event that was sent.
    cursor: u64,
    is_over: bool,
    came_at: Instant,
    spoke_at: Instant,
}

impl Viewer {
    fn new(viewing: Arc<Viewing>, cursor: u64) -> Self {
        let now = Instant::now();
        count::viewer_came();
        Self { window: viewing.window(), viewing, cursor, is_over: false, came_at: now, spoke_at: now }
    }

    fn has_sent(&mut self, event: &Event) {
        self.cursor = event.number;
        self.is_over = event.body.is_terminal();
        self.spoke_at = Instant::now();
    }

    async fn next(&mut self) -> Next {
        while !self.is_over {
            if self.is_late() {
                return Next::ComeBack;
            }
            let found = self.window.borrow_and_update().after(self.cursor);
            match found {
                Found::Here(mut entries) if entries.len() == 1 => {
                    return Next::Pieces(entries.drain(..).map(Piece::Shared).collect());
                }
                Found::Here(entries) => {
                    return Next::Pieces(merged(entries.iter().map(|entry| entry.event.clone())));
                }
                Found::Elsewhere => return self.read().await.map_or(Next::ComeBack, Next::Pieces),
                Found::Nothing { is_over: true } => break,
                Found::Nothing { is_over: false } => {}
            }
            if self.ping_at() <= Instant::now() {
                return Next::Silence;
            }
            // The poller has ended, and all its news are known.
            if self.wait().await.is_err() {
                return Next::ComeBack;
            }
        }
        Next::Over
    }

    /// Reads what the window does not have any more. `None` when there is nothing to be had: the table does not answer,
    /// or the job is gone.
    async fn read(&self) -> Option<Vec<Piece>> {
        let (job, log) = (self.viewing.job(), &self.viewing.hub().log);
        let read = async {
            match log.after(job, After::Event(self.cursor), false).await? {
                // It is there, so this was a copy that lags.
                Some(page) if page.events.is_empty() => log.after(job, After::Event(self.cursor), true).await,
                page => Ok(page),
            }
        };
        match read.await {
            Ok(Some(Page { events, .. })) if !events.is_empty() => Some(merged(events)),
            Ok(None) => None,
            Ok(Some(_)) => {
                tracing::error!(job.id = %job, event.number = self.cursor + 1, "the log lacks an event");
                None
            }
            Err(error) => {
                tracing::error!(job.id = %job, error = %Chain(&error), "the log cannot be read; a viewer has to come back");
                None
            }
        }
    }

    /// Waits for news, until something else is to be done.
    async fn wait(&mut self) -> Result<(), RecvError> {
        let until = self.ping_at().min(self.ends_at());
        tokio::select! {
            changed = self.window.changed() => changed,
            () = sleep_until(until) => Ok(()),
        }
    }

    fn ping_at(&self) -> Instant {
        self.spoke_at + self.viewing.hub().settings.ping_every
    }

    /// When the client has to come back: a connection that lasts is billed as long, and most of all one that waits for a
    /// person.
    fn ends_at(&self) -> Instant {
        let settings = &self.viewing.hub().settings;
        let longest = self.came_at + settings.longest;
        let asked = self.window.borrow().input_required_since();
        asked.map_or(longest, |since| longest.min(since.max(self.came_at) + settings.longest_input_wait))
    }

    fn is_late(&self) -> bool {
        Instant::now() >= self.ends_at()
    }
}
