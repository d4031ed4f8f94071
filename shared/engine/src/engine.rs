//! The engine: what a worker is made of, and what it does with one message.

use std::time::Duration;

use domain::{asked::Asked, continuation::Continuation, price::Prices, sealed::SealingKey};
use model_client::ModelClient;
use queue::Ticket;
use signals::{count, trace};
use store::{ClaimOutcome, Claimed};
use tokio::time::Instant;
use tools::ToolRegistry;
use tracing::Instrument as _;

use crate::{
    emit::Batching,
    turn::Turn,
    upkeep::{HIDDEN_LONGER, Upkeep},
};

/// How an engine behaves.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// When streamed text is written.
    pub batching: Batching,
    /// What models cost whose provider does not say it.
    pub prices: Prices,
}

/// Runs turns. Built once in a process.
#[derive(Debug, Clone)]
pub struct Engine {
    /// The table, the queues and the time.
    pub upkeep: Upkeep,
    /// The language model.
    pub model: ModelClient,
    /// Opens the keys that callers bring for the model.
    pub sealing: Option<SealingKey>,
    /// The tools that exist.
    pub tools: ToolRegistry,
    /// How it behaves.
    pub settings: Settings,
}

/// A message as it was delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// What it asks for.
    pub continuation: Continuation,
    /// Whether it was delivered before.
    pub again: bool,
    /// By which the queue knows this delivery, if it came from one.
    pub ticket: Option<Ticket>,
}

/// What is to be done with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Handled {
    /// Delete it.
    Done,
    /// Keep it: it comes back.
    Back,
}

impl Engine {
    /// Does what a message asks for. `until`: when this invocation has to be over.
    pub async fn handle(&self, delivery: &Delivery, until: Instant) -> Handled {
        let Continuation { job, lane, turn } = &delivery.continuation;
        let begun = Instant::now();
        // On the heap: it is large, and runtimes move futures about.
        let handled = Box::pin(self.counting(delivery).take(delivery, until)).await;
        let duration_ms = duration_ms(begun.elapsed());
        match handled {
            Ok(handled) => {
                tracing::debug!(job.id = %job, lane = %lane, turn.number = turn, duration_ms, ?handled, "message handled");
                handled
            }
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::error!(job.id = %job, lane = %lane, turn.number = turn, duration_ms, error, "turn given up");
                Handled::Back
            }
        }
    }

    /// The same engine, which counts its requests: the message's delivery is two of them, one to receive and one to delete
    /// it.
    fn counting(&self, delivery: &Delivery) -> Self {
        let asked = Asked::from(if delivery.ticket.is_some() { 2 } else { 0 });
        let Upkeep { store, queue, .. } = &self.upkeep;
        let (store, queue) = (store.counting(asked.clone()), queue.counting(asked));
        Self { upkeep: Upkeep { store, queue, ..self.upkeep.clone() }, ..self.clone() }
    }

    async fn take(&self, delivery: &Delivery, until: Instant) -> Result<Handled, store::Error> {
        let Upkeep { store, clock, .. } = &self.upkeep;
        let Delivery { continuation, again, ticket } = delivery;
        let asked = Instant::now();
        // Its queue would hide the message for as long as a turn may take: a lease's length will do, whatever comes of it.
        let hidden = async {
            if let Some(ticket) = ticket {
                let hide = self.upkeep.hide(ticket, store.times().length + HIDDEN_LONGER);
                // A queue that does not answer must not use the lease up: whoever renews it hides the message again.
                let _ = tokio::time::timeout(store.times().length / 3, hide).await;
            }
        };
        let claim = async {
            if store.switches().await?.turns_paused {
                return Ok(None);
            }
            store.claim(continuation, *again, &clock.fresh_name(), clock.now()).await.map(Some)
        };
        // Side by side: a turn that begins waits for the slower of them.
        let ((), claimed) = Box::pin(async { tokio::join!(hidden, claim) }).await;
        let Some(claimed) = claimed? else {
            // The turn stays recorded as owed: the sweeper asks for it when the pause is over.
            return Ok(Handled::Done);
        };
        match claimed {
            ClaimOutcome::Gone => {
                tracing::info!(job.id = %continuation.job, "a message for a job that is gone");
                Ok(Handled::Done)
            }
            ClaimOutcome::Disposed(disposition, head) => {
                tracing::info!(
                    job.id = %continuation.job, lane = %continuation.lane, turn.number = continuation.turn, ?disposition,
                    "a message whose turn is not to be taken"
                );
                self.upkeep.dispose(continuation, ticket.as_ref(), *again, disposition, &head).await
            }
            ClaimOutcome::Claimed(claimed) => {
                let expires = asked + store.times().length;
                let Claimed { held, tail, recovers, record } = *claimed;
                if recovers {
                    count::recovery();
                }
                let (head, lane) = (&held.job.head, held.lane());
                let logged = tracing::info_span!(
                    "turn",
                    job.id = %head.id,
                    lane = %lane.name,
                    turn.number = lane.turn,
                    turn.attempt = lane.attempt,
                    lease.epoch = held.fence.epoch,
                    trace.id = %trace::trace_id(head),
                );
                let span = trace::turn(head, lane);
                let turn = Turn { engine: self, ticket: ticket.as_ref(), tail, until, expires, span };
                Box::pin(turn.run(held, record)).instrument(logged).await
            }
        }
    }
}

pub(crate) fn duration_ms(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
