//! Jobs that events ask for: EventBridge puts them into a queue, and the queue hands them here. Exactly one job for an
//! event, however often it is delivered: the event's id is the idempotency key.
//!
//! What cannot be started is tried again, since a user's limit passes and a table comes back; after the last try the bus
//! is told why ([`queue::bus::JobRejected`]) and the queue keeps the event among its dead letters.

use std::time::Duration;

use api::{
    error::{ApiError, Finding},
    job_request::StartJobRequest,
};
use aws_lambda_events::sqs::{BatchItemFailure, SqsBatchResponse, SqsEvent, SqsMessage};
use domain::id::UserId;
use queue::{Line, Ticket, bus::JobRejected};
use serde::Deserialize;
use serde_json::Value;

use crate::Starter;

/// How often an event is tried: the queue's `maxReceiveCount` in `template.yaml`.
pub const TRIES: u32 = 5;
/// The wait before the next try, for each try so far.
const WAIT: Duration = Duration::from_secs(20);

/// An event as EventBridge puts it into the queue.
#[derive(Deserialize)]
struct Requested {
    id: String,
    detail: Value,
}

/// Starts the jobs that a batch of events asks for; what could not be started comes back.
pub async fn handle(starter: &Starter, batch: &SqsEvent) -> SqsBatchResponse {
    let mut response = SqsBatchResponse::default();
    for message in &batch.records {
        if starter.start_from(message).await.is_err() {
            let mut failure = BatchItemFailure::default();
            failure.item_identifier = message.message_id.clone().unwrap_or_default();
            response.batch_item_failures.push(failure);
        }
    }
    response
}

impl Starter {
    async fn start_from(&self, message: &SqsMessage) -> Result<(), ()> {
        let (event_id, user, started) = self.read_and_start(message).await;
        let Err(error) = started else { return Ok(()) };
        let tries = message.attributes.get("ApproximateReceiveCount").and_then(|count| count.parse().ok()).unwrap_or(1);
        tracing::warn!(event.id = event_id, tries, error = &error as &dyn std::error::Error, "job not started");
        if tries < TRIES {
            self.put_off(message, WAIT * tries).await;
        } else {
            self.put_off(message, Duration::ZERO).await;
            self.reject(event_id, user, &error).await;
        }
        Err(())
    }

    async fn read_and_start(&self, message: &SqsMessage) -> (String, Option<String>, Result<(), ApiError>) {
        let body = message.body.as_deref().unwrap_or_default();
        let Requested { id, mut detail } = match serde_json::from_str(body) {
            Ok(requested) => requested,
            Err(error) => {
                let id = message.message_id.clone().unwrap_or_default();
                return (id, None, Err(ApiError::invalid("detail", format!("This is no EventBridge event: {error}."))));
            }
        };
        let user = detail.as_object_mut().and_then(|detail| detail.remove("user_id"));
        let named = user.as_ref().and_then(Value::as_str).map(str::to_owned);
        let Some(user) = named.as_ref().and_then(|name| name.parse::<UserId>().ok()) else {
            let finding = Finding::new("detail.user_id", "`user_id` must name the user whose job it is.");
            return (id, named, Err(ApiError::Invalid(vec![finding])));
        };
        let key = store::IdempotencyKey { key: format!("event:{id}"), fingerprint: id.clone() };
        let read = |is_tool: &dyn Fn(&str) -> bool| StartJobRequest::from_value(detail, &self.defaults, is_tool);
        let started = Box::pin(self.start(user, read, Some(key), None)).await.map(drop);
        (id, named, started)
    }

    /// Hides the event until its next try.
    async fn put_off(&self, message: &SqsMessage, span: Duration) {
        let Some(receipt) = message.receipt_handle.clone() else { return };
        if let Err(error) = self.queue.hide(&Ticket { line: Line::Requests, receipt }, span).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "event not put off");
        }
    }

    async fn reject(&self, event_id: String, user_id: Option<String>, error: &ApiError) {
        let Some(bus) = &self.bus else { return };
        let body = error.body();
        let details = body.details.iter().map(|finding| format!("{}: {}", finding.param, finding.message));
        let message = std::iter::once(body.message.clone()).chain(details).collect::<Vec<_>>().join(" ");
        let rejected = JobRejected { event_id, user_id, code: body.code.clone(), message };
        if let Err(error) = bus.rejected(&rejected).await {
            tracing::error!(error = &error as &dyn std::error::Error, "rejection not told");
        }
    }
}
