//! What AWS does between a queue and the worker: polls it, invokes the worker with one message at a time (as
//! `template.yaml` says), deletes what was handled, and lets the rest come back.

use std::{future::Future, sync::Arc, time::Duration};

use anyhow::Context as _;
use aws_lambda_events::sqs::{SqsBatchResponse, SqsEvent, SqsMessage};
use tokio::{
    sync::Semaphore,
    task::JoinSet,
    time::{Instant, sleep},
};
use winterbaume_sqs::types::Message;

use crate::emulator::EmbeddedSqs;

/// How long a poll waits for a message.
const LONG_POLL: Duration = Duration::from_secs(20);
/// The pause after a poll that failed.
const AFTER_FAILURE: Duration = Duration::from_secs(1);

/// A queue whose messages are handed to a worker.
#[derive(Debug, Clone)]
pub(crate) struct EventSource {
    pub(crate) sqs: Arc<EmbeddedSqs>,
    pub(crate) queue_name: &'static str,
    /// Messages that are handled at the same time at most.
    pub(crate) concurrency: usize,
    /// What an invocation may take: the function's time-out.
    pub(crate) invocation: Duration,
}

impl EventSource {
    /// Polls until it is dropped; every invocation under way is dropped with it. An invocation that panics is like one
    /// that dies: its message comes back.
    pub(crate) async fn run<F, I>(self, invoke: F) -> anyhow::Result<()>
    where
        F: Fn(SqsEvent, Instant) -> I + Clone + Send + 'static,
        I: Future<Output = SqsBatchResponse> + Send + 'static,
    {
        let permits = Arc::new(Semaphore::new(self.concurrency));
        let mut invocations = JoinSet::new();
        loop {
            let permit = permits.clone().acquire_owned().await.context("the event source was closed")?;
            while invocations.try_join_next().is_some() {}
            let message = match self.sqs.receive(self.queue_name, LONG_POLL).await {
                Ok(Some(message)) => message,
                Ok(None) => continue,
                Err(error) => {
                    tracing::warn!(queue = self.queue_name, error = &*error, "queue not polled");
                    sleep(AFTER_FAILURE).await;
                    continue;
                }
            };
            let (source, invoke) = (self.clone(), invoke.clone());
            invocations.spawn(async move {
                source.deliver(message, invoke).await;
                drop(permit);
            });
        }
    }

    async fn deliver<F, I>(&self, message: Message, invoke: F)
    where
        F: Fn(SqsEvent, Instant) -> I,
        I: Future<Output = SqsBatchResponse>,
    {
        let receipt = message.receipt_handle.clone();
        let mut event = SqsEvent::default();
        event.records.push(self.record(message));
        let response = invoke(event, Instant::now() + self.invocation).await;
        if let (true, Some(receipt)) = (response.batch_item_failures.is_empty(), receipt)
            && let Err(error) = self.sqs.delete(self.queue_name, &receipt)
        {
            tracing::warn!(queue = self.queue_name, error = &*error, "message not deleted");
        }
    }

    fn record(&self, message: Message) -> SqsMessage {
        let first = message.approximate_first_receive_timestamp.unwrap_or_default();
        let attributes = [
            ("ApproximateReceiveCount", message.approximate_receive_count.to_string()),
            ("ApproximateFirstReceiveTimestamp", first.to_string()),
            ("SentTimestamp", message.sent_timestamp.to_string()),
            ("SenderId", message.sender_id),
        ];
        let mut record = SqsMessage::default();
        record.message_id = Some(message.message_id);
        record.receipt_handle = message.receipt_handle;
        record.body = Some(message.body);
        record.attributes = attributes.map(|(name, value)| (name.to_owned(), value)).into();
        record.event_source_arn = Some(EmbeddedSqs::queue_arn(self.queue_name));
        record
    }
}
