//! The two lines of continuations: *starts*, for jobs that no worker has seen yet, and *continuations*, for those under
//! way, so that a backlog of the former never holds up the latter. A message is a hint: the table decides. Beside them,
//! the event [`bus`], on which jobs tell of their ends.

pub mod bus;
mod in_process;
mod message;

use std::{sync::Arc, time::Duration};

use aws_sdk_sqs::Client;
use domain::{asked::Asked, continuation::Continuation};

pub use self::{
    in_process::InProcess,
    message::{Unreadable, decode, encode},
};

/// The longest delay that a message can have.
pub const LONGEST_DELAY: Duration = Duration::from_secs(900);
/// The longest time that a message can be hidden.
const LONGEST_HIDDEN: Duration = Duration::from_secs(12 * 3600);

/// Which line a message is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Line {
    /// Jobs that no worker has seen.
    Starts,
    /// Everything else.
    Continuations,
    /// Events that ask for jobs. Read only.
    Requests,
}

/// What identifies one delivery of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ticket {
    /// Where it came from.
    pub line: Line,
    /// The queue's handle of this delivery.
    pub receipt: String,
}

/// An error's cause, kept whole for the log.
pub type Source = Box<dyn std::error::Error + Send + Sync>;

/// Why the queue did not take something.
#[derive(Debug, thiserror::Error)]
#[error("the queue, or the event bus, cannot be reached")]
pub struct Error(#[source] Source);

/// The two queues and a client for them. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ContinuationQueue {
    client: Client,
    in_process: Option<Arc<dyn InProcess>>,
    starts: String,
    continuations: String,
    requests: Option<String>,
    /// Counts what is asked, if that is to be counted.
    asked: Asked,
}

impl ContinuationQueue {
    /// The queues at these addresses.
    pub fn new(client: Client, starts: impl Into<String>, continuations: impl Into<String>) -> Self {
        Self {
            client,
            in_process: None,
            starts: starts.into(),
            continuations: continuations.into(),
            requests: None,
            asked: Asked::default(),
        }
    }

    /// The same, with the queue of events that ask for jobs.
    pub fn with_requests(self, requests: Option<String>) -> Self {
        Self { requests, ..self }
    }

    /// The same queues, which are in this process: they are asked without the client.
    #[must_use]
    pub fn in_process(self, queues: Arc<dyn InProcess>) -> Self {
        Self { in_process: Some(queues), ..self }
    }

    /// The same queues, with its requests added to `asked`.
    #[must_use]
    pub fn counting(&self, asked: Asked) -> Self {
        Self { asked, ..self.clone() }
    }

    /// The line whose queue has this name or ARN.
    pub fn line_of(&self, queue: &str) -> Option<Line> {
        let name = |address: &str| address.rsplit(['/', ':']).next().map(str::to_owned);
        let wanted = name(queue)?;
        let lines = [Line::Starts, Line::Continuations, Line::Requests];
        lines.into_iter().find(|line| self.url(*line).and_then(name).as_ref() == Some(&wanted))
    }

    /// Asks for a turn, after `delay` (at most [`LONGEST_DELAY`]; whole seconds, rounded up).
    ///
    /// # Errors
    /// When the queue cannot be reached. The turn is recorded as owed: the sweeper asks again.
    pub async fn send(&self, continuation: &Continuation, line: Line, delay: Duration) -> Result<(), Error> {
        self.asked.one_more();
        let (body, delay) = (encode(continuation), seconds(delay.min(LONGEST_DELAY)));
        if let (Some(queues), Some(url)) = (&self.in_process, self.url(line)) {
            return queues.send(url, body, delay.unsigned_abs()).map_err(Error);
        }
        self.client
            .send_message()
            .set_queue_url(self.url(line).map(str::to_owned))
            .message_body(body)
            .set_delay_seconds(Some(delay).filter(|seconds| *seconds > 0))
            .send()
            .await
            .map(drop)
            .map_err(|error| Error(Box::new(error)))
    }

    /// Hides a delivered message for so long from now; then it is delivered again, unless it was deleted.
    ///
    /// # Errors
    /// When the queue cannot be reached, or the delivery is over.
    pub async fn hide(&self, ticket: &Ticket, span: Duration) -> Result<(), Error> {
        self.asked.one_more();
        let span = seconds(span.min(LONGEST_HIDDEN));
        if let (Some(queues), Some(url)) = (&self.in_process, self.url(ticket.line)) {
            return queues.hide(url, &ticket.receipt, span.unsigned_abs()).map_err(Error);
        }
        self.client
            .change_message_visibility()
            .set_queue_url(self.url(ticket.line).map(str::to_owned))
            .receipt_handle(&ticket.receipt)
            .visibility_timeout(span)
            .send()
            .await
            .map(drop)
            .map_err(|error| Error(Box::new(error)))
    }

    fn url(&self, line: Line) -> Option<&str> {
        match line {
            Line::Starts => Some(&self.starts),
            Line::Continuations => Some(&self.continuations),
            Line::Requests => self.requests.as_deref(),
        }
    }
}

fn seconds(span: Duration) -> i32 {
    i32::try_from(span.as_millis().div_ceil(1000)).unwrap_or(i32::MAX)
}
