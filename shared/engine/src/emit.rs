//! A turn's events on their way into the log, batched here, once, for all viewers; nothing overtakes anything. While
//! somebody watches, events are written as soon as they come, and text by its batches; while nobody does, whatever came
//! is written together now and then. What has come by the time of a write goes in one.

use std::{sync::Arc, time::Duration};

use domain::{event::EventBody, time::Timestamp};
use signals::count;
use store::{AppendError, Appender, MOST_EVENTS};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, sleep_until},
};

use crate::clock::Clock;

/// How many pieces may wait to be written before whoever brings more has to wait.
const WAITING: usize = 256;
/// Longest text in one event: an item of the table has 400 KB, and viewers want frames, not files.
const LONGEST_TEXT: usize = 64 * 1024;

/// When streamed text is written: while somebody watches, the first piece at once; then whenever one of these is reached.
/// While nobody does, other events wait with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Batching {
    /// Longest wait while somebody watches.
    pub watched_every: Duration,
    /// Most pieces while somebody watches.
    pub watched_pieces: usize,
    /// Most bytes while somebody watches.
    pub watched_bytes: usize,
    /// Longest wait while nobody does.
    pub unwatched_every: Duration,
    /// Most bytes while nobody does.
    pub unwatched_bytes: usize,
}

impl Default for Batching {
    fn default() -> Self {
        Self {
            watched_every: Duration::from_millis(100),
            watched_pieces: 10,
            watched_bytes: 1024,
            unwatched_every: Duration::from_secs(2),
            unwatched_bytes: 4096,
        }
    }
}

/// Which text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stream {
    Output,
    Reasoning,
}

enum Entry {
    Text(Stream, String),
    Event(EventBody),
    Flush(oneshot::Sender<u64>),
    Rest(oneshot::Sender<Rest>),
}

/// What was put in and not written, in order and each with its time, and where the log ends before it.
#[derive(Debug)]
pub(crate) struct Rest {
    pub(crate) events: Vec<(EventBody, Timestamp)>,
    pub(crate) log_end: u64,
}

/// The end at which events are put in. When the writer has failed, everything put in is dropped: the turn is being
/// stopped then.
#[derive(Debug, Clone)]
pub(crate) struct Emitter(mpsc::Sender<Entry>);

impl Emitter {
    pub(crate) async fn output(&self, text: String) {
        self.put(Entry::Text(Stream::Output, text)).await;
    }

    pub(crate) async fn reasoning(&self, text: String) {
        self.put(Entry::Text(Stream::Reasoning, text)).await;
    }

    pub(crate) async fn event(&self, body: EventBody) {
        self.put(Entry::Event(body)).await;
    }

    /// Waits until everything put in so far is in the log, and says how long the log is then.
    pub(crate) async fn flush(&self) -> u64 {
        self.ask(Entry::Flush).await
    }

    /// Takes what is not written yet away from the writer, for a commit that writes it: little enough for one item, of
    /// which the last two events are the commit's.
    pub(crate) async fn rest(&self) -> Rest {
        self.ask(Entry::Rest).await
    }

    async fn ask<T>(&self, entry: impl FnOnce(oneshot::Sender<T>) -> Entry) -> T {
        let (done, answer) = oneshot::channel();
        self.put(entry(done)).await;
        match answer.await {
            Ok(answer) => answer,
            // The writer has failed, and with it the turn: wait to be dropped.
            Err(_) => std::future::pending().await,
        }
    }

    async fn put(&self, entry: Entry) {
        let _ = self.0.send(entry).await;
    }
}

/// The end that writes.
pub(crate) struct Writer {
    appender: Appender,
    entries: mpsc::Receiver<Entry>,
    watched_until: watch::Receiver<Timestamp>,
    clock: Arc<dyn Clock>,
    batching: Batching,
    /// What comes before the text: to be written in this order.
    waiting: Vec<(EventBody, Timestamp)>,
    text: Text,
    text_written: Option<Instant>,
    written: Instant,
}

/// Text that is still growing.
struct Text {
    stream: Stream,
    text: String,
    pieces: usize,
}

/// Both ends.
pub(crate) fn channel(
    appender: Appender,
    watched_until: watch::Receiver<Timestamp>,
    clock: Arc<dyn Clock>,
    batching: Batching,
) -> (Emitter, Writer) {
    let (sender, entries) = mpsc::channel(WAITING);
    let text = Text { stream: Stream::Output, text: String::new(), pieces: 0 };
    let writer = Writer {
        appender,
        entries,
        watched_until,
        clock,
        batching,
        waiting: Vec::new(),
        text,
        text_written: None,
        written: Instant::now(),
    };
    (Emitter(sender), writer)
}

impl Writer {
    /// Writes what is put in, until a write fails: only then does it end.
    pub(crate) async fn run(mut self) -> AppendError {
        loop {
            let due = self.due();
            let step = tokio::select! {
                biased;
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => self.write().await,
                entry = self.entries.recv() => match entry {
                    Some(entry) => self.take_all(entry).await,
                    None => std::future::pending().await,
                },
                // Somebody came, or all have left: another time is due.
                changed = self.watched_until.changed() => match changed {
                    Ok(()) => Ok(()),
                    Err(_) => std::future::pending().await,
                },
            };
            if let Err(error) = step {
                return error;
            }
        }
    }

    /// When what waits is to be written, if anything does.
    fn due(&self) -> Option<Instant> {
        let Batching { watched_every, unwatched_every, .. } = self.batching;
        if self.waiting.is_empty() && self.text.text.is_empty() {
            None
        } else if !self.is_watched() {
            Some(self.written + unwatched_every)
        } else if self.waiting.is_empty() {
            Some(self.text_written.map_or_else(Instant::now, |last| last + watched_every))
        } else {
            Some(Instant::now())
        }
    }

    fn is_watched(&self) -> bool {
        *self.watched_until.borrow() > self.clock.now()
    }

    /// Whether there is enough of it to write it before its time.
    fn is_full(&self) -> bool {
        let (Text { text, pieces, .. }, batching) = (&self.text, &self.batching);
        if self.is_watched() {
            text.len() >= batching.watched_bytes || *pieces >= batching.watched_pieces
        } else {
            text.len() >= batching.unwatched_bytes || self.waiting.len() >= MOST_EVENTS
        }
    }

    /// Takes this entry and those that have come by now, and writes if that is enough: what comes in a burst is one batch.
    async fn take_all(&mut self, entry: Entry) -> Result<(), AppendError> {
        let mut next = Some(entry);
        while let Some(entry) = next {
            match entry {
                Entry::Text(stream, text) => {
                    if stream != self.text.stream {
                        self.close_text();
                        self.text.stream = stream;
                    }
                    self.text.text.push_str(&text);
                    self.text.pieces += 1;
                }
                Entry::Event(body) => {
                    self.close_text();
                    self.waiting.push((body, self.clock.now()));
                }
                Entry::Rest(done) => {
                    self.close_text();
                    if self.waiting.len() + 2 > MOST_EVENTS || self.waits_long() {
                        self.write().await?;
                    }
                    let events = std::mem::take(&mut self.waiting);
                    let _ = done.send(Rest { events, log_end: self.appender.tail() });
                }
                Entry::Flush(done) => {
                    self.write().await?;
                    let _ = done.send(self.appender.tail());
                }
            }
            next = self.entries.try_recv().ok();
        }
        if self.is_full() { self.write().await } else { Ok(()) }
    }

    /// Whether more text waits than a transaction should write, which pays twice.
    fn waits_long(&self) -> bool {
        let bytes = |(body, _): &(EventBody, Timestamp)| match body {
            EventBody::OutputDelta { text } | EventBody::ReasoningDelta { text } => text.len(),
            _ => 0,
        };
        self.waiting.iter().map(bytes).sum::<usize>() > self.batching.unwatched_bytes.min(LONGEST_TEXT)
    }

    /// What comes next stands behind the text so far.
    fn close_text(&mut self) {
        let text = std::mem::take(&mut self.text.text);
        let pieces = std::mem::take(&mut self.text.pieces);
        if text.is_empty() {
            return;
        }
        tracing::debug!(batch.bytes = text.len(), batch.pieces = pieces, "text written");
        self.text_written = Some(Instant::now());
        let mut rest = text.as_str();
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(rest.floor_char_boundary(LONGEST_TEXT));
            let text = piece.to_owned();
            let body = match self.text.stream {
                Stream::Output => EventBody::OutputDelta { text },
                Stream::Reasoning => EventBody::ReasoningDelta { text },
            };
            count::text_batch(piece.len());
            self.waiting.push((body, self.clock.now()));
            rest = after;
        }
    }

    async fn write(&mut self) -> Result<(), AppendError> {
        self.close_text();
        if !self.waiting.is_empty() {
            self.appender.append(std::mem::take(&mut self.waiting)).await?;
            self.written = Instant::now();
        }
        Ok(())
    }
}
