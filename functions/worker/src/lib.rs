//! The worker: for each message of a batch, one turn. Decode, hand to the engine, say which messages come back.

pub mod config;

use std::time::{Duration, SystemTime};

use aws_lambda_events::sqs::{BatchItemFailure, SqsBatchResponse, SqsEvent, SqsMessage};
use engine::{Delivery, Engine, Handled};
use futures_util::future::join_all;
use queue::Ticket;
use tokio::time::Instant;

/// How long a message that cannot be read is hidden before it is looked at again.
const SET_ASIDE: Duration = Duration::from_secs(300);

/// Runs the turns that a batch asks for (the template sends one message at a time), and answers with those messages that
/// have to come back. `until`: when the invocation has to be over.
pub async fn handle(engine: &Engine, batch: &SqsEvent, until: Instant) -> SqsBatchResponse {
    let handled = join_all(batch.records.iter().map(|message| handle_message(engine, message, until))).await;
    let mut response = SqsBatchResponse::default();
    for (message, handled) in batch.records.iter().zip(handled) {
        if handled == Handled::Back {
            let mut failure = BatchItemFailure::default();
            failure.item_identifier = message.message_id.clone().unwrap_or_default();
            response.batch_item_failures.push(failure);
        }
    }
    response
}

async fn handle_message(engine: &Engine, message: &SqsMessage, until: Instant) -> Handled {
    match queue::decode(message.body.as_deref().unwrap_or_default()) {
        Ok(continuation) => {
            let again = message.attributes.get("ApproximateReceiveCount").is_some_and(|count| count != "1");
            let delivery = Delivery { continuation, again, ticket: ticket(engine, message) };
            engine.handle(&delivery, until).await
        }
        // Kept for a release that knows it, or for the dead-letter queue, which raises an alarm.
        Err(unreadable) => {
            tracing::error!(error = &unreadable as &dyn std::error::Error, "message cannot be read");
            if let Some(ticket) = ticket(engine, message) {
                engine.upkeep.hide(&ticket, SET_ASIDE).await;
            }
            Handled::Back
        }
    }
}

fn ticket(engine: &Engine, message: &SqsMessage) -> Option<Ticket> {
    let line = engine.upkeep.queue.line_of(message.event_source_arn.as_deref()?)?;
    Some(Ticket { line, receipt: message.receipt_handle.clone()? })
}

/// When an invocation has to be over whose runtime says so, as a moment of this process's clock.
pub fn until(deadline: SystemTime) -> Instant {
    Instant::now() + deadline.duration_since(SystemTime::now()).unwrap_or(Duration::ZERO)
}
