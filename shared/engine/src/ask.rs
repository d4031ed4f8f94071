//! One question to the model within a turn, and its recorded answer.

use domain::{answer::Answer, event::EventBody};
use store::{Fenced, Held};
use tokio::time::{Instant, sleep_until};

use crate::{
    emit::Emitter,
    model_call::{Asked, ModelFailure},
    turn::{Broken, Turn},
};

/// What came of asking the model.
pub(crate) enum Asking {
    /// Its whole answer, which is recorded.
    Answered(Box<Answer>),
    /// No answer.
    Failed(ModelFailure),
    /// It took longer than the turn may.
    TookTooLong,
    /// The lease was lost.
    LeaseLost,
}

impl Turn<'_> {
    /// Asks the model, and records its answer.
    pub(crate) async fn ask(
        &self,
        held: &mut Held,
        emitter: &Emitter,
        asked: &Asked<'_>,
        turn_ends: Instant,
    ) -> Result<Asking, Broken> {
        emitter.event(EventBody::TurnStarted { model: asked.settings.model.clone() }).await;
        let answered = tokio::select! {
            biased;
            answered = self.engine.ask_model(asked, emitter) => answered,
            () = sleep_until(turn_ends) => return Ok(Asking::TookTooLong),
        };
        match answered {
            Ok(answer) => {
                emitter.flush().await;
                self.record(held, answer).await
            }
            Err(failure) => Ok(Asking::Failed(failure)),
        }
    }

    /// Records an answer before anything is done about it.
    pub(crate) async fn record(&self, held: &mut Held, answer: Answer) -> Result<Asking, Broken> {
        let now = self.engine.upkeep.clock.now();
        Ok(match self.engine.upkeep.store.checkpoint(held, &answer, now).await? {
            Fenced::Done(()) => Asking::Answered(Box::new(answer)),
            Fenced::LeaseLost => Asking::LeaseLost,
        })
    }
}
