//! An answer over a connection: the one place where the model client waits. Dropping the stream drops the connection,
//! which stops the billing of providers that support it.

use std::{
    collections::VecDeque,
    fmt,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures_util::Stream;
use tokio::time::{Instant, Sleep, sleep};

use crate::{
    answer::Answer,
    error::{ModelError, Phase},
    event::ModelEvent,
    secret::Secret,
    sse::{FrameTooLarge, Frames},
};

type ByteStream = Pin<Box<dyn Stream<Item = reqwest::Result<Bytes>> + Send>>;

/// The events of one answer. After an error, or after [`ModelEvent::Completed`], there are no more.
pub struct ModelStream {
    /// `None` when nothing more is wanted from the connection.
    bytes: Option<ByteStream>,
    frames: Frames,
    answer: Answer,
    ready: VecDeque<ModelEvent>,
    /// Comes after what is ready.
    failure: Option<ModelError>,
    idle: Idle,
}

/// The clock of the idle time-out. It runs only while the provider keeps us waiting, not while our reader does.
struct Idle {
    timeout: Duration,
    sleep: Pin<Box<Sleep>>,
    running: bool,
}

impl ModelStream {
    /// The answer in a response, which may keep us waiting so long and have frames of so many bytes.
    pub fn new(response: reqwest::Response, idle_timeout: Duration, max_event_bytes: usize) -> Self {
        Self {
            bytes: Some(Box::pin(response.bytes_stream())),
            frames: Frames::new(max_event_bytes),
            answer: Answer::default(),
            ready: VecDeque::new(),
            failure: None,
            idle: Idle { timeout: idle_timeout, sleep: Box::pin(sleep(idle_timeout)), running: false },
        }
    }

    /// The same, which leaves this key out of errors.
    pub(crate) fn without(mut self, key: Option<Secret>) -> Self {
        self.answer.leave_out(key);
        self
    }

    fn take(&mut self, bytes: &[u8]) {
        let Self { frames, answer, ready, .. } = self;
        let result = frames.feed(bytes, |data| answer.take(data, ready));
        if let Err(error) = result {
            self.fail(error);
        } else if self.answer.is_done() {
            self.end(None);
        }
    }

    /// The connection has ended, or nothing more is wanted from it. An answer that is whole by then is not lost to the
    /// way in which a server closes, or fails to.
    fn end(&mut self, cause: Option<ModelError>) {
        let Self { frames, answer, ready, .. } = self;
        match frames.end(|data| answer.take(data, ready)) {
            // Half a frame is how a cut looks.
            Ok(()) | Err(ModelError::Malformed(_)) => {}
            Err(error) => return self.fail(error),
        }
        if self.answer.is_whole() {
            self.answer.complete(&mut self.ready);
            self.bytes = None;
        } else {
            self.fail(cause.unwrap_or(ModelError::Interrupted { source: None }));
        }
    }

    fn fail(&mut self, error: ModelError) {
        self.failure = Some(error);
        self.bytes = None;
    }
}

impl Stream for ModelStream {
    type Item = Result<ModelEvent, ModelError>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            if let Some(event) = this.ready.pop_front() {
                return Poll::Ready(Some(Ok(event)));
            }
            let Some(bytes) = &mut this.bytes else {
                return Poll::Ready(this.failure.take().map(Err));
            };
            match bytes.as_mut().poll_next(context) {
                Poll::Ready(Some(Ok(bytes))) => {
                    this.idle.running = false;
                    this.take(&bytes);
                }
                Poll::Ready(Some(Err(error))) => {
                    this.end(Some(ModelError::Interrupted { source: Some(error.without_url()) }));
                }
                Poll::Ready(None) => this.end(None),
                Poll::Pending => {
                    std::task::ready!(this.idle.poll_elapsed(context));
                    this.end(Some(ModelError::TimedOut { phase: Phase::Idle, after: this.idle.timeout }));
                }
            }
        }
    }
}

impl Idle {
    fn poll_elapsed(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if !std::mem::replace(&mut self.running, true) {
            self.sleep.as_mut().reset(Instant::now() + self.timeout);
        }
        self.sleep.as_mut().poll(context)
    }
}

impl fmt::Debug for ModelStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ModelStream").field("open", &self.bytes.is_some()).finish_non_exhaustive()
    }
}

impl From<FrameTooLarge> for ModelError {
    fn from(FrameTooLarge { limit }: FrameTooLarge) -> Self {
        Self::TooLarge { limit }
    }
}
