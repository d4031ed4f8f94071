//! Queues in this process, to which messages go without a client.

use std::fmt;

use crate::Source;

/// Queues in this process, which do for these two requests what SQS does.
pub trait InProcess: fmt::Debug + Send + Sync {
    /// Puts a message into the queue at this address, to be had after so many seconds.
    ///
    /// # Errors
    /// When there is no such queue.
    fn send(&self, url: &str, body: String, delay_seconds: u32) -> Result<(), Source>;

    /// Hides a delivered message for so many seconds from now.
    ///
    /// # Errors
    /// When there is no such queue, or the delivery is over.
    fn hide(&self, url: &str, receipt: &str, seconds: u32) -> Result<(), Source>;
}
