//! One question to the model within a turn, and the record of its answer.

use std::time::Duration;

use domain::{answer::Answer, event::EventBody};
use signals::{count, trace::Span};
use store::{Fenced, Held};
use tokio::time::{Instant, sleep_until};

use crate::{
    emit::Emitter,
    model_call::{Asked, ModelFailure},
    turn::{Broken, Turn},
};

/// What came of asking the model.
pub(crate) enum Asking {
    /// Its whole answer, which is still to be recorded.
    Answered(Box<Answer>),
    /// No answer.
    Failed(ModelFailure),
    /// It took longer than the turn may.
    TookTooLong,
}

impl Turn<'_> {
    /// Asks the model.
    pub(crate) async fn ask(&self, emitter: &Emitter, asked: &Asked<'_>, turn_ends: Instant) -> Asking {
        emitter.event(EventBody::TurnStarted { model: asked.settings.model.clone() }).await;
        let mut span = self.span.chat(&asked.settings);
        let answered = tokio::select! {
            biased;
            answered = self.engine.ask_model(asked, emitter, &mut span) => answered,
            () = sleep_until(turn_ends) => {
                not_answered(asked, "turn_timeout", span);
                return Asking::TookTooLong;
            }
        };
        match answered {
            Ok(answer) => {
                count::model_answered(&answer.usage, Duration::from_millis(answer.model_time_ms));
                tracing::info!(
                    job.id = %asked.job,
                    turn.number = asked.lane.turn,
                    duration_ms = answer.model_time_ms,
                    tokens.input = answer.usage.input_tokens,
                    tokens.output = answer.usage.output_tokens,
                    calls = answer.calls.len(),
                    "model answered"
                );
                span.answered(&answer);
                Asking::Answered(Box::new(answer))
            }
            Err(failure) => {
                not_answered(asked, failure.code(), span);
                Asking::Failed(failure)
            }
        }
    }

    /// Records an answer before anything is done about it, and after its text is in the log. Whether the lease still held.
    pub(crate) async fn record(&self, held: &mut Held, emitter: &Emitter, answer: &Answer) -> Result<bool, Broken> {
        emitter.flush().await;
        let now = self.engine.upkeep.clock.now();
        Ok(self.engine.upkeep.store.checkpoint(held, answer, now).await? == Fenced::Done(()))
    }
}

/// By its code alone: a provider's message may quote what was said.
fn not_answered(asked: &Asked<'_>, code: &'static str, span: Span) {
    count::model_failed(code);
    tracing::warn!(job.id = %asked.job, turn.number = asked.lane.turn, code, "the model did not answer");
    span.failed(code);
}
