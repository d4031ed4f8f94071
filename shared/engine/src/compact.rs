//! Making a long conversation shorter before the model reads it. What is cut off is decided in [`domain::compaction`];
//! here a summary is asked for, and what stands in its place is recorded before it is used: the record, made under the
//! turn's lease, is the go-ahead for the model call that follows it.

use std::time::Duration;

use domain::{
    compaction::{Cause, Shortened},
    conversation::Told,
    job::{Compaction, CompactionStrategy, JobSpec, ModelSettings},
    tool_call::ToolSpec,
    turn::Turn as Turned,
    usage::Usage,
};
use futures_util::StreamExt;
use model_client::{ModelError, ModelEvent, ModelRequest};
use signals::count;
use store::{Fenced, Held, Record};
use tokio::time::{Instant, timeout_at};

use crate::{
    Engine,
    emit::Emitter,
    engine::duration_ms,
    model_call::ModelFailure,
    turn::{Broken, Outcome, Turn},
};

/// A lane's conversation, and how its model is asked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Talk<'a> {
    pub(crate) spec: &'a JobSpec,
    /// When and how it is made shorter; `None`: it is not.
    pub(crate) rules: Option<&'a Compaction>,
    pub(crate) settings: &'a ModelSettings,
    pub(crate) tools: &'a [ToolSpec],
    /// When the turn has to be over.
    pub(crate) ends: Instant,
}

/// What came of it.
pub(crate) enum Compacting {
    /// The conversation stays as it is.
    AsIs,
    /// It is shorter by what is on record now, and in the turns that were handed in.
    Shorter,
    /// The turn ends so.
    Instead(Outcome),
}

impl Turn<'_> {
    /// Tells what an earlier attempt has recorded: it may have died before it told.
    pub(crate) async fn tell_again(&self, held: &Held, emitter: &Emitter, record: &Record) {
        for shortened in shortened_in(held, record) {
            emitter.event(shortened.clone().into_event()).await;
        }
    }

    /// Makes the conversation shorter, if the job allows it, `cause` asks for it, and there is something to cut off.
    pub(crate) async fn compact(
        &self,
        held: &mut Held,
        emitter: &Emitter,
        record: &mut Record,
        told: &Told,
        talk: Talk<'_>,
        cause: Cause,
    ) -> Result<Compacting, Broken> {
        let Some(rules) = talk.rules else { return Ok(Compacting::AsIs) };
        let Some(cut) = rules.cut(told, talk.settings, talk.tools, cause) else { return Ok(Compacting::AsIs) };
        let shortened = match rules.strategy {
            CompactionStrategy::Truncate => cut.left_out(told, None),
            CompactionStrategy::Summarize => {
                let question = ModelRequest {
                    model: talk.settings.model.clone(),
                    messages: cut.question(told),
                    max_output_tokens: Some(domain::compaction::SUMMARY_TOKENS),
                    ..ModelRequest::default()
                };
                let (begun, span) = (Instant::now(), self.span.chat(talk.settings));
                // The turn's own answer needs its time as well.
                let until = begun + talk.ends.saturating_duration_since(begun) / 2;
                let asked = self.engine.summarise(&record.head.id, talk.spec, &question);
                let summary = timeout_at(until, asked)
                    .await
                    .unwrap_or_else(|_| Err(Unsummarised::TookTooLong(until.saturating_duration_since(begun))));
                match summary {
                    Ok((text, usage)) => {
                        count::model_answered(&usage, begun.elapsed());
                        span.summarised(&usage);
                        cut.summarised(told, &text, usage, duration_ms(begun.elapsed()))
                    }
                    Err(failure) => {
                        count::model_failed(failure.code());
                        span.failed(failure.code());
                        if let Some(delay) = self.summary_may_come_later(held, &failure) {
                            return Ok(Compacting::Instead(self.give_back(held, delay, false).await?));
                        }
                        let (job, error) = (held.id(), &failure as &dyn std::error::Error);
                        tracing::warn!(job.id = %job, turn.number = held.lane().turn, error, "no summary");
                        cut.left_out(told, Some(failure.to_string()))
                    }
                }
            }
        };
        let n = shortened_in(held, record).len();
        let shortened = match self.engine.upkeep.store.shorten(held, n, &shortened).await? {
            Fenced::Done(shortened) => shortened,
            Fenced::LeaseLost => return Ok(Compacting::Instead(Outcome::Lost)),
        };
        emitter.event(shortened.clone().into_event()).await;
        turned(held, record).shortened.push(shortened);
        Ok(Compacting::Shorter)
    }

    /// Whether the model may be asked: the budget allows it, and the conversation is as short as the job wants it. The
    /// conversation, or what becomes of the turn instead.
    pub(crate) async fn ready(
        &self,
        held: &mut Held,
        emitter: &Emitter,
        record: &mut Record,
        told: impl Fn(&Record) -> Told,
        talk: Talk<'_>,
    ) -> Result<Result<Told, Outcome>, Broken> {
        if let Some(instead) = self.check_budget(held, emitter, record, talk.spec).await? {
            return Ok(Err(instead));
        }
        let whole = told(record);
        match self.compact(held, emitter, record, &whole, talk, Cause::Threshold).await? {
            Compacting::AsIs => Ok(Ok(whole)),
            Compacting::Instead(outcome) => Ok(Err(outcome)),
            Compacting::Shorter => Ok(match self.check_budget(held, emitter, record, talk.spec).await? {
                Some(instead) => Err(instead),
                None => Ok(told(record)),
            }),
        }
    }

    /// What becomes of the turn when its model gave no answer because the conversation is too long for it, and it can be
    /// made shorter: it begins again with that. Nothing for every other failure.
    pub(crate) async fn refused(
        &self,
        held: &mut Held,
        emitter: &Emitter,
        record: &mut Record,
        told: &Told,
        talk: Talk<'_>,
        failure: &ModelFailure,
    ) -> Result<Option<Outcome>, Broken> {
        if !failure.is_too_long() {
            return Ok(None);
        }
        let times = shortened_in(held, record).iter().filter(|shortened| shortened.refused).count();
        let cause = Cause::Refusal(u32::try_from(times).unwrap_or(u32::MAX));
        Ok(match self.compact(held, emitter, record, told, talk, cause).await? {
            Compacting::AsIs => None,
            Compacting::Shorter => {
                emitter.flush().await;
                Some(self.give_back(held, Duration::ZERO, false).await?)
            }
            Compacting::Instead(outcome) => Some(outcome),
        })
    }

    /// A turn's first attempt leaves a failure that may pass to the next attempt; that one goes on without a summary.
    fn summary_may_come_later(&self, held: &Held, failure: &Unsummarised) -> Option<Duration> {
        let Unsummarised::Model(failure) = failure else { return None };
        let clock = &self.engine.upkeep.clock;
        let delay = failure.delay(0, clock.jitter()).filter(|_| held.lane().attempt <= 1)?;
        (clock.now() + delay < held.job.head.deadline()).then_some(delay)
    }
}

/// Why there is no summary.
#[derive(Debug, thiserror::Error)]
enum Unsummarised {
    #[error("no summary was made: {0}")]
    Model(#[from] ModelFailure),
    #[error("no summary was made in {} s", .0.as_secs())]
    TookTooLong(Duration),
    #[error("no summary was made: the model had nothing to say")]
    Nothing,
}

impl Unsummarised {
    /// A stable word for it.
    fn code(&self) -> &'static str {
        match self {
            Self::Model(failure) => failure.code(),
            Self::TookTooLong(_) => "turn_timeout",
            Self::Nothing => "no_summary",
        }
    }
}

impl Engine {
    /// One call of a model whose answer is nobody's but ours.
    async fn summarise(
        &self,
        job: &domain::id::JobId,
        spec: &JobSpec,
        question: &ModelRequest,
    ) -> Result<(String, Usage), Unsummarised> {
        let key = self.key_of(job, spec)?;
        let mut stream = self.model.stream(question, key.as_ref()).await.map_err(ModelFailure::from)?;
        let mut text = String::new();
        while let Some(event) = stream.next().await {
            match event.map_err(ModelFailure::from)? {
                ModelEvent::TextDelta(delta) => text.push_str(&delta),
                ModelEvent::ReasoningDelta(_) | ModelEvent::ToolCallSeen { .. } => {}
                ModelEvent::Completed(_) if text.trim().is_empty() => return Err(Unsummarised::Nothing),
                ModelEvent::Completed(completion) => return Ok((text, completion.usage)),
            }
        }
        Err(ModelFailure::from(ModelError::Interrupted { source: None }).into())
    }
}

/// What this turn has recorded.
fn shortened_in<'a>(held: &Held, record: &'a Record) -> &'a [Shortened] {
    let place = (held.fence.lane.clone(), held.lane().turn);
    record.turns.get(&place).map(|turn| turn.shortened.as_slice()).unwrap_or_default()
}

/// This turn among those that were read.
pub(crate) fn turned<'a>(held: &Held, record: &'a mut Record) -> &'a mut Turned {
    record.turns.entry((held.fence.lane.clone(), held.lane().turn)).or_default()
}
