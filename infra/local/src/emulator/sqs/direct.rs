//! What the queue package and the event source ask, without a client and without JSON.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use queue::{InProcess, Source};
use tokio::time::Instant;
use winterbaume_sqs::types::Message;

use super::backend::Queues;
use super::{EmbeddedSqs, LONGEST_WAIT};

/// A system's own form of the [`InProcess`] queues.
pub(super) struct Direct(pub(super) Queues);

impl InProcess for Direct {
    fn send(&self, url: &str, body: String, delay_seconds: u32) -> Result<(), Source> {
        self.0.count("SendMessage");
        let queue = name(url);
        let delay = Some(delay_seconds).filter(|seconds| *seconds > 0);
        let sent = self.0.send(queue, &body, delay, HashMap::new(), None, None);
        sent.map(drop).map_err(|error| error.to_string().into())
    }

    fn hide(&self, url: &str, receipt: &str, seconds: u32) -> Result<(), Source> {
        self.0.count("ChangeMessageVisibility");
        self.0.hide(name(url), receipt, seconds).map_err(|error| error.to_string().into())
    }
}

impl fmt::Debug for Direct {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EmbeddedSqs")
    }
}

/// The queue of an address.
fn name(url: &str) -> &str {
    url.rsplit('/').next().unwrap_or(url)
}

impl EmbeddedSqs {
    /// A message of the queue of this name, which is hidden from others then; nothing, when none came within `wait` (at most
    /// 20 s).
    pub async fn receive(&self, queue: &str, wait: Duration) -> anyhow::Result<Option<Message>> {
        let queues = &self.connector.queues;
        queues.count("ReceiveMessage");
        let deadline = Instant::now() + wait.min(LONGEST_WAIT);
        loop {
            queues.until_ready(queue, deadline).await;
            let taken = queues.take(queue, 1, None).map_err(|error| anyhow::anyhow!(error))?.pop();
            if taken.is_some() || Instant::now() >= deadline {
                return Ok(taken);
            }
        }
    }

    /// Deletes a received message.
    pub fn delete(&self, queue: &str, receipt: &str) -> anyhow::Result<()> {
        let queues = &self.connector.queues;
        queues.count("DeleteMessage");
        queues.delete(queue, receipt).map_err(|error| anyhow::anyhow!(error))
    }
}
