//! A turn's events on their way into the log. Text is batched here, once, for all viewers; one event is written at a
//! time, and nothing overtakes anything.

use std::{sync::Arc, time::Duration};

use domain::{event::EventBody, time::Timestamp};
use signals::count;
use store::{AppendError, Appender};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, sleep_until},
};

use crate::clock::Clock;

/// How many pieces may wait to be written before whoever brings more has to wait.
const WAITING: usize = 256;
/// Longest text in one event: an item of the table has 400 KB, and viewers want frames, not files.
const LONGEST_TEXT: usize = 64 * 1024;

/// When streamed text is written: the first piece at once, then whenever one of these is reached.
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
            unwatched_every: Duration::from_millis(500),
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
        let (done, written) = oneshot::channel();
        self.put(Entry::Flush(done)).await;
        match written.await {
            Ok(number) => number,
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
    buffer: Buffer,
}

struct Buffer {
    stream: Stream,
    text: String,
    pieces: usize,
    last_written: Option<Instant>,
}

/// Both ends.
pub(crate) fn channel(
    appender: Appender,
    watched_until: watch::Receiver<Timestamp>,
    clock: Arc<dyn Clock>,
    batching: Batching,
) -> (Emitter, Writer) {
    let (sender, entries) = mpsc::channel(WAITING);
    let buffer = Buffer { stream: Stream::Output, text: String::new(), pieces: 0, last_written: None };
    (Emitter(sender), Writer { appender, entries, watched_until, clock, batching, buffer })
}

impl Writer {
    /// Writes what is put in, until a write fails: only then does it end.
    pub(crate) async fn run(mut self) -> AppendError {
        loop {
            let due = self.due();
            let step = tokio::select! {
                biased;
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => self.write_text().await,
                entry = self.entries.recv() => match entry {
                    Some(entry) => self.take(entry).await,
                    None => std::future::pending().await,
                },
            };
            if let Err(error) = step {
                return error;
            }
        }
    }

    /// When the text that waits is to be written, if any does.
    fn due(&self) -> Option<Instant> {
        if self.buffer.text.is_empty() {
            return None;
        }
        let every = if self.is_watched() { self.batching.watched_every } else { self.batching.unwatched_every };
        Some(self.buffer.last_written.map_or_else(Instant::now, |last| last + every))
    }

    fn is_watched(&self) -> bool {
        *self.watched_until.borrow() > self.clock.now()
    }

    fn is_full(&self) -> bool {
        let Buffer { text, pieces, last_written, .. } = &self.buffer;
        let first = last_written.is_none() && !text.is_empty();
        let batching = &self.batching;
        first
            || if self.is_watched() {
                text.len() >= batching.watched_bytes || *pieces >= batching.watched_pieces
            } else {
                text.len() >= batching.unwatched_bytes
            }
    }

    async fn take(&mut self, entry: Entry) -> Result<(), AppendError> {
        match entry {
            Entry::Text(stream, text) => {
                if stream != self.buffer.stream {
                    self.write_text().await?;
                    self.buffer.stream = stream;
                }
                self.buffer.text.push_str(&text);
                self.buffer.pieces += 1;
                if self.is_full() { self.write_text().await } else { Ok(()) }
            }
            Entry::Event(body) => {
                self.write_text().await?;
                self.appender.append(body, self.clock.now()).await.map(drop)
            }
            Entry::Flush(done) => {
                self.write_text().await?;
                let _ = done.send(self.appender.tail());
                Ok(())
            }
        }
    }

    async fn write_text(&mut self) -> Result<(), AppendError> {
        let text = std::mem::take(&mut self.buffer.text);
        let pieces = std::mem::take(&mut self.buffer.pieces);
        let mut rest = text.as_str();
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(rest.floor_char_boundary(LONGEST_TEXT));
            let text = piece.to_owned();
            let body = match self.buffer.stream {
                Stream::Output => EventBody::OutputDelta { text },
                Stream::Reasoning => EventBody::ReasoningDelta { text },
            };
            self.appender.append(body, self.clock.now()).await?;
            count::text_batch(piece.len());
            rest = after;
        }
        if !text.is_empty() {
            tracing::debug!(batch.bytes = text.len(), batch.pieces = pieces, "text written");
            self.buffer.last_written = Some(Instant::now());
        }
        Ok(())
    }
}
