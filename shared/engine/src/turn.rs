//! One turn: claimed already, here it is done and committed.

use std::time::Duration;

use domain::{
    answer::{Answer, lane_text},
    continuation::Continuation,
    conversation::Told,
    event::EventBody,
    id::LaneName,
    input_request::InputRequest,
    job::{Ending, FailedDuring, FinishReason, Head, JobError, JobSpec, ModelSettings, ToolChoice},
    lane::{Lane, Phase},
    limits::{CALL_LIMIT_TEXT, TOOL_LIMIT_TEXT},
    time::Timestamp,
    tool_call::ToolSpec,
    turn::{self, totals},
};
use queue::{Line, Ticket};
use signals::{
    count::{self, TurnOutcome},
    trace::Span,
};
use store::{AppendError, CommitOutcome, EndOutcome, Fenced, Held, LastCommit, Record};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use crate::{
    Engine, Handled,
    ask::Asking,
    compact::{Talk, turned},
    emit::{self, Emitter, Rest},
    engine::duration_ms,
    keeper::{Keeper, Stop},
    model_call::{Asked, ModelFailure, noted},
    tool_calls::{Calling, Calls, JobTools},
    upkeep::{deadline_passed, failed},
};

/// What a turn's commit and its last events may take.
pub(crate) const TO_COMMIT: Duration = Duration::from_secs(5);
/// How often the last commit is tried because others have put events where it would.
const COMMIT_TRIES: u32 = 8;

/// A claimed turn.
pub(crate) struct Turn<'a> {
    pub(crate) engine: &'a Engine,
    pub(crate) ticket: Option<&'a Ticket>,
    /// The log's end before the claim.
    pub(crate) tail: u64,
    /// When the invocation has to be over.
    pub(crate) until: Instant,
    /// When the lease ends that the claim made.
    pub(crate) expires: Instant,
    /// What traces are told of it.
    pub(crate) span: Span,
}

/// How the work of a turn came out.
pub(crate) enum Outcome {
    /// The next turn is owed: send this.
    Next(Continuation),
    /// The rest of this one is owed: send this, then.
    Later(Continuation, Duration),
    /// The lane has done its part: the first turns of these are owed.
    Spread(Vec<LaneName>),
    /// The turn waits for answers to these.
    Waits(Vec<InputRequest>),
    /// The job is completed: this is its head.
    Completed(Box<Head>),
    /// The job is over.
    Over,
    /// The job is to be ended so.
    End(Ending),
    /// The lease was lost: stop.
    Lost,
}

impl Outcome {
    fn word(&self) -> TurnOutcome {
        match self {
            Self::Next(_) | Self::Spread(_) => TurnOutcome::Committed,
            Self::Later(..) => TurnOutcome::PutOff,
            Self::Waits(_) => TurnOutcome::Waiting,
            Self::Completed(_) | Self::Over | Self::End(_) => TurnOutcome::Ended,
            Self::Lost => TurnOutcome::Stopped,
        }
    }
}

/// What goes wrong with the table or the log.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Broken {
    #[error(transparent)]
    Table(#[from] store::Error),
    #[error("the log cannot be written")]
    Log(#[from] AppendError),
    #[error("tool {0} is out of order")]
    Tool(String),
}

impl Turn<'_> {
    /// Does the turn, and says how it came out.
    pub(crate) async fn run(self, mut held: Held, record: Option<Box<Record>>) -> Result<Handled, store::Error> {
        let (begun, lane, epoch) = (Instant::now(), held.lane().clone(), held.fence.epoch);
        let (word, handled) = match Box::pin(self.attempt(&mut held, record)).await {
            Ok(outcome) => (outcome.word(), self.conclude(&held, lane.turn, outcome).await),
            Err(error) => (TurnOutcome::Failed, Err(error)),
        };
        let time = begun.elapsed();
        count::turn(word, time);
        tracing::info!(
            job.id = %held.id(),
            lane = %lane.name,
            turn.number = lane.turn,
            turn.attempt = lane.attempt,
            lease.epoch = epoch,
            turn.outcome = word.as_str(),
            duration_ms = duration_ms(time),
            "turn over"
        );
        self.span.turned(word);
        handled
    }

    /// An attempt, with the keeper and the writer of its events beside it.
    async fn attempt(&self, held: &mut Held, record: Option<Box<Record>>) -> Result<Outcome, store::Error> {
        let upkeep = &self.engine.upkeep;
        let (job, fence) = (held.id().clone(), held.fence.clone());
        let head = held.job.head.clone();
        let turn = held.lane().turn;
        let (watched_until, watched) = watch::channel(head.watched_until);
        let appender = upkeep.store.appender(&head, &fence, held.lane(), self.tail);
        let (emitter, writer) = emit::channel(appender, watched, upkeep.clock.clone(), self.engine.settings.batching);
        let keeper = Keeper {
            upkeep,
            job: &job,
            fence: &fence,
            ticket: self.ticket,
            created_at: head.created_at,
            watched_until,
            expires: watch::Sender::new(self.expires),
        };
        let deadline = self.instant_of(head.deadline());
        Ok(tokio::select! {
            biased;
            stop = keeper.run() => {
                tracing::debug!(job.id = %job, turn.number = turn, lease.epoch = fence.epoch, ?stop, "turn stopped");
                match stop {
                    // The owner's end of the job is also the end of this message.
                    Stop::JobOver => Outcome::Over,
                    Stop::LeaseLost => Outcome::Lost,
                }
            }
            error = writer.run() => match error {
                AppendError::LeaseLost => Outcome::Lost,
                AppendError::Table(error) => return Err(error),
            },
            () = sleep_until(deadline) => Outcome::End(deadline_passed(&head, turn)),
            outcome = self.work(held, &emitter, record) => match outcome {
                Ok(outcome) => outcome,
                Err(Broken::Table(error) | Broken::Log(AppendError::Table(error))) => return Err(error),
                Err(Broken::Log(AppendError::LeaseLost)) => Outcome::Lost,
                Err(Broken::Tool(name)) => Outcome::End(tool_broken(name, turn)),
            },
        })
    }

    async fn conclude(&self, held: &Held, turn: u32, outcome: Outcome) -> Result<Handled, store::Error> {
        let upkeep = &self.engine.upkeep;
        match outcome {
            Outcome::Next(continuation) => {
                upkeep.send_to(Line::Continuations, &continuation, Duration::ZERO).await;
                Ok(Handled::Done)
            }
            Outcome::Later(continuation, delay) => {
                upkeep.send_to(Line::Continuations, &continuation, delay).await;
                Ok(Handled::Done)
            }
            Outcome::Spread(lanes) => {
                for lane in lanes {
                    let first = Continuation { job: held.id().clone(), lane, turn: 1 };
                    // Of a job that has started: new jobs do not hold it up.
                    upkeep.send_to(Line::Continuations, &first, Duration::ZERO).await;
                }
                Ok(Handled::Done)
            }
            // Another lane asks.
            Outcome::Waits(requests) if requests.is_empty() => Ok(Handled::Done),
            Outcome::Waits(requests) => {
                let _ = upkeep.announce(&held.job.head, held.lane(), &requests).await?;
                Ok(Handled::Done)
            }
            Outcome::Lost => self.lost(held, turn).await,
            Outcome::Completed(head) => {
                let _ = upkeep.settle(&head).await?;
                Ok(Handled::Done)
            }
            Outcome::End(ending) => {
                let (by, now) = (upkeep.clock.fresh_name(), upkeep.clock.now());
                match upkeep.store.end(held.id(), ending, Some(&held.fence), &by, now).await? {
                    EndOutcome::LeaseLost => Ok(Handled::Back),
                    EndOutcome::Ended(_) | EndOutcome::Already(_) | EndOutcome::Gone => self.settle(held).await,
                }
            }
            Outcome::Over => self.settle(held).await,
        }
    }

    async fn settle(&self, held: &Held) -> Result<Handled, store::Error> {
        let upkeep = &self.engine.upkeep;
        match upkeep.store.head(held.id(), true).await? {
            // Whoever said that it is over was wrong: the message is all that asks for the turn.
            Some(head) if !head.status().is_finished() => return Ok(Handled::Back),
            Some(head) if head.owed().any() => drop(upkeep.settle(&head).await?),
            Some(_) | None => {}
        }
        Ok(Handled::Done)
    }

    /// The lease is gone. Often that is our own commit, which a renewal under way has met, or whose answer was lost: what
    /// follows on it is done at once then, as for a message that comes again, and not when this one does.
    async fn lost(&self, held: &Held, turn: u32) -> Result<Handled, store::Error> {
        let upkeep = &self.engine.upkeep;
        let now = upkeep.clock.now();
        let Some(lane) = upkeep.store.lane(held.id(), &held.fence.lane).await? else { return Ok(Handled::Back) };
        let message = Continuation { job: held.id().clone(), lane: lane.name.clone(), turn };
        // Nobody but the lease's holder leaves a lane so.
        let let_go = lane.open && lane.turn == turn && lane.epoch == held.fence.epoch + 1 && lane.lease.is_none();
        match &lane.waits {
            None if let_go => {
                let delay =
                    lane.due_at.map_or(Duration::ZERO, |due| (due - upkeep.store.times().least_margin()).since(now));
                upkeep.send_to(Line::Continuations, &message, delay).await;
                Ok(Handled::Done)
            }
            Some(waits) if let_go && !waits.announced => {
                let requests = upkeep.store.load(held.id()).await?.map(|record| record.inputs).unwrap_or_default();
                let of_lane: Vec<_> = requests.into_iter().filter(|request| request.lane == lane.name).collect();
                let _ = upkeep.announce(&held.job.head, &lane, &of_lane).await?;
                Ok(Handled::Done)
            }
            _ => upkeep.dispose(&message, self.ticket, true, lane.dispose(turn, true, now), &held.job.head).await,
        }
    }

    /// The job as the turn begins; nothing when the lease was lost, or the job is over.
    async fn loaded(&self, held: &Held, record: Option<Box<Record>>) -> Result<Result<Record, Outcome>, Broken> {
        if let Some(record) = record {
            return Ok(Ok(*record));
        }
        let Some(record) = self.engine.upkeep.store.load(held.id()).await? else { return Ok(Err(Outcome::Over)) };
        let still_ours = record
            .lanes
            .get(&held.fence.lane)
            .is_some_and(|lane| lane.open && lane.is_held_by(&held.fence.owner, held.fence.epoch));
        Ok(match still_ours {
            true => Ok(record),
            false if record.head.status().is_finished() => Err(Outcome::Over),
            false => Err(Outcome::Lost),
        })
    }

    async fn work(&self, held: &mut Held, emitter: &Emitter, record: Option<Box<Record>>) -> Result<Outcome, Broken> {
        let lane = held.lane().clone();
        if lane.is_out_of_tries() {
            return Ok(Outcome::End(out_of_tries(&lane)));
        }
        if lane.attempt > 1 {
            emitter.event(EventBody::TurnRestarted { output_offset: lane.output_bytes }).await;
        }
        let mut record = match self.loaded(held, record).await? {
            Ok(record) => record,
            Err(instead) => return Ok(instead),
        };
        // The head may have moved on since the claim (its inbox, its viewers): what is written is compared with this.
        held.job.head = record.head.clone();
        let Some(spec) = record.spec.clone() else { return Ok(Outcome::End(no_request(lane.turn))) };
        if let Some(flow) = &spec.workflow {
            return Box::pin(self.work_on_node(held, emitter, record, &spec, flow)).await;
        }
        let begun = Instant::now();
        let tools = JobTools::new(&self.engine.tools, &spec.tools).await;
        let turn_ends = begun + spec.limits.turn();

        let recorded = record.turns.get(&(lane.name.clone(), lane.turn)).and_then(|turn| turn.answer.clone());
        let (answer, is_recorded) = match (lane.phase, recorded) {
            (Phase::Tools, Some(answer)) => (answer, true),
            _ => match Box::pin(self.ask_for_chat(held, emitter, &mut record, &spec, &tools, turn_ends)).await? {
                Ok(answer) => (*answer, false),
                Err(instead) => return Ok(instead),
            },
        };
        if let Some(ending) = over_limit(&spec, &record, &lane, &answer) {
            if !is_recorded && !self.record(held, emitter, &answer).await? {
                return Ok(Outcome::Lost);
            }
            return Ok(Outcome::End(ending));
        }
        if answer.calls.is_empty() {
            turned(held, &mut record).answer = Some(answer.clone());
            return Box::pin(self.complete(held, emitter, &answer, is_recorded, &record)).await;
        }
        if !is_recorded && !self.record(held, emitter, &answer).await? {
            return Ok(Outcome::Lost);
        }
        if !is_recorded && self.short_of_time(&tools, &answer) {
            return self.give_back(held, Duration::ZERO, false).await;
        }
        let calls_end = turn_ends.min(self.until - TO_COMMIT);
        let calling = Calling { tools: &tools, spec: &spec, record: &record, answer: &answer, until: calls_end };
        match Box::pin(self.run_calls(held, emitter, &calling)).await? {
            Calls::Ended(_) => {}
            Calls::Wait(open) => return self.wait_for(held, emitter, open).await,
            Calls::LeaseLost => return Ok(Outcome::Lost),
        }
        emitter.event(turn_completed(&answer)).await;
        self.go_on(held, emitter).await
    }

    /// Asks the model what comes next in a chat; or what becomes of the turn instead.
    async fn ask_for_chat(
        &self,
        held: &mut Held,
        emitter: &Emitter,
        record: &mut Record,
        spec: &JobSpec,
        tools: &JobTools,
        ends: Instant,
    ) -> Result<Result<Box<Answer>, Outcome>, Broken> {
        self.tell_again(held, emitter, record).await;
        let (specs, lane, inbox) = (tools.specs(), held.lane().clone(), record.head.inbox);
        let settings = settings(spec, lane.turn, &specs);
        let rules = spec.compaction.as_ref();
        let talk = Talk { spec, rules, settings: &settings, tools: &specs, ends };
        let told =
            |record: &Record| Told::new(&spec.messages, &record.turns, &record.inbox, &lane.name, lane.turn, inbox);
        let told = match self.ready(held, emitter, record, told, talk).await? {
            Ok(told) => told,
            Err(instead) => return Ok(Err(instead)),
        };
        let job = record.head.id.clone();
        let asked = Asked {
            job: &job,
            spec,
            settings: settings.clone(),
            call_ids: told.call_ids().cloned().collect(),
            messages: noted(told.clone().into_messages(), tools.note()),
            lane: &lane,
            inbox,
            tools: specs.clone(),
            runs_calls: true,
        };
        Ok(match self.ask(emitter, &asked, ends).await {
            Asking::Answered(answer) => Ok(answer),
            Asking::Failed(failure) => Err(match self.refused(held, emitter, record, &told, talk, &failure).await? {
                Some(outcome) => outcome,
                None => self.put_off(held, emitter, &failure).await?,
            }),
            Asking::TookTooLong => Err(Outcome::End(turn_timeout(spec, lane.turn))),
        })
    }

    /// The model gave no answer: the turn is tried again later, or the job fails.
    async fn put_off(&self, held: &mut Held, emitter: &Emitter, failure: &ModelFailure) -> Result<Outcome, Broken> {
        let clock = &self.engine.upkeep.clock;
        let lane = held.lane();
        let deadline = held.job.head.deadline();
        match failure.delay(lane.backoffs, clock.jitter()) {
            Some(delay) if clock.now() + delay < deadline => {
                if !delay.is_zero() {
                    let (code, message) = (failure.code().to_owned(), failure.message());
                    let until = clock.now() + delay;
                    emitter.event(EventBody::ModelWaiting { until, code, message }).await;
                    emitter.flush().await;
                }
                self.give_back(held, delay, true).await
            }
            _ => Ok(Outcome::End(failure.ending(lane.turn))),
        }
    }

    pub(crate) async fn give_back(&self, held: &mut Held, delay: Duration, upstream: bool) -> Result<Outcome, Broken> {
        let now = self.engine.upkeep.clock.now();
        Ok(match self.engine.upkeep.store.give_back(held, delay, upstream, now).await? {
            Fenced::Done(lane) => Outcome::Later(next(held, &lane), delay),
            Fenced::LeaseLost => Outcome::Lost,
        })
    }

    /// Ends the job with an answer that asks for nothing more, unless a message came in: then another turn reads it.
    async fn complete(
        &self,
        held: &mut Held,
        emitter: &Emitter,
        answer: &Answer,
        is_recorded: bool,
        record: &Record,
    ) -> Result<Outcome, Broken> {
        let upkeep = &self.engine.upkeep;
        emitter.event(turn_completed(answer)).await;
        let Rest { events, mut log_end } = emitter.rest().await;
        let now = upkeep.clock.now();
        let of_lane = |turn: &(&(LaneName, u32), &turn::Turn)| turn.0.0 == held.fence.lane;
        let output = lane_text(record.turns.iter().filter(of_lane).filter_map(|(_, turn)| turn.answer.as_ref()));
        let sums = totals(&held.job.head, held.job.lanes.values(), &record.turns, now);
        for _ in 0..COMMIT_TRIES {
            let last = LastCommit { answer, output: &output, sums, events: &events, log_end };
            let outcome = match upkeep.store.complete(held, last, now).await {
                Ok(outcome) => outcome,
                Err(error) => {
                    if !is_recorded {
                        self.save(held, emitter, answer, events).await;
                    }
                    return Err(error.into());
                }
            };
            match outcome {
                CommitOutcome::Completed(head) => return Ok(Outcome::Completed(head)),
                CommitOutcome::LeaseLost => return Ok(Outcome::Lost),
                CommitOutcome::LogMoved => match upkeep.store.free_number(held.id(), &held.fence).await? {
                    Some(free) => log_end = free - 1,
                    None => return Ok(Outcome::Lost),
                },
                CommitOutcome::MessageWaits => {
                    for (body, _) in events {
                        emitter.event(body).await;
                    }
                    if !is_recorded && !self.record(held, emitter, answer).await? {
                        return Ok(Outcome::Lost);
                    }
                    return self.go_on(held, emitter).await;
                }
            }
        }
        Ok(Outcome::Lost)
    }

    /// The last commit could not be made: what the model said is put on record all the same, and the turn's last events into
    /// the log, so that the next attempt commits them and asks nobody again. Should the commit have been made after all, or
    /// come late, one of the two is refused.
    async fn save(&self, held: &mut Held, emitter: &Emitter, answer: &Answer, events: Vec<(EventBody, Timestamp)>) {
        // The attempt that ends the turn says that it has ended.
        for (body, _) in events.into_iter().filter(|(body, _)| !matches!(body, EventBody::TurnCompleted { .. })) {
            emitter.event(body).await;
        }
        match self.record(held, emitter, answer).await {
            Ok(_) => {}
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(job.id = %held.id(), error, "the answer is not on record; the model will be asked again");
            }
        }
    }

    /// Ends the turn, once its events are in the log: the lane's next one is owed.
    pub(crate) async fn go_on(&self, held: &mut Held, emitter: &Emitter) -> Result<Outcome, Broken> {
        let upkeep = &self.engine.upkeep;
        let log_end = emitter.flush().await;
        Ok(match upkeep.store.advance(held, log_end, upkeep.clock.now()).await? {
            Fenced::Done(lane) => Outcome::Next(next(held, &lane)),
            Fenced::LeaseLost => Outcome::Lost,
        })
    }

    /// Whether the invocation's time will not do for these calls.
    pub(crate) fn short_of_time(&self, tools: &JobTools, answer: &Answer) -> bool {
        let longest = answer.calls.iter().map(|call| tools.timeout(&call.name)).max().unwrap_or_default();
        Instant::now() + longest + TO_COMMIT > self.until
    }

    /// A moment of the job's clock as one of this process's.
    fn instant_of(&self, moment: Timestamp) -> Instant {
        const FAR: Duration = Duration::from_secs(86_400 * 365);
        Instant::now() + moment.since(self.engine.upkeep.clock.now()).min(FAR)
    }
}

/// How the model is asked in this turn. A forced choice of a tool cannot be kept while what it forces is missing.
fn settings(spec: &JobSpec, turn: u32, tools: &[ToolSpec]) -> ModelSettings {
    let tool_choice = match spec.settings.tool_choice.in_turn(turn) {
        ToolChoice::Required if tools.is_empty() => ToolChoice::Auto,
        ToolChoice::Named(name) if !tools.iter().any(|tool| tool.name == name) => ToolChoice::Auto,
        choice => choice,
    };
    ModelSettings { tool_choice, ..spec.settings.clone() }
}

/// The event that ends a turn.
pub(crate) fn turn_completed(answer: &Answer) -> EventBody {
    EventBody::TurnCompleted { model: answer.model.clone(), finish_reason: answer.finish_reason, usage: answer.usage }
}

/// The message that asks for what comes next in a lane.
pub(crate) fn next(held: &Held, lane: &Lane) -> Continuation {
    Continuation { job: held.id().clone(), lane: lane.name.clone(), turn: lane.turn }
}

/// More turns with tools, or more calls, than the job may have (R48, R49).
fn over_limit(spec: &JobSpec, record: &Record, lane: &Lane, answer: &Answer) -> Option<Ending> {
    if answer.calls.is_empty() {
        return None;
    }
    let of_lane = (lane.name.clone(), 1)..(lane.name.clone(), lane.turn);
    let asked_before = record
        .turns
        .range(of_lane)
        .filter(|(_, turn)| turn.answer.as_ref().is_some_and(|answer| !answer.calls.is_empty()))
        .count();
    let (code, text) = if asked_before >= spec.limits.max_turns as usize {
        ("tool_limit", TOOL_LIMIT_TEXT)
    } else if answer.calls.len() > spec.limits.max_tool_calls_per_turn as usize {
        ("tool_call_limit", CALL_LIMIT_TEXT)
    } else {
        return None;
    };
    let error = JobError {
        code: code.to_owned(),
        message: text.to_owned(),
        failed_during: FailedDuring::ToolExecution,
        tool_name: answer.calls.first().map(|call| call.name.clone()),
        node_id: None,
        turn: lane.turn,
    };
    Some(Ending::Failed { reason: FinishReason::ToolLimit, error })
}

/// A tool that is broken itself, whatever it is called with (R95).
fn tool_broken(name: String, turn: u32) -> Ending {
    let error = JobError {
        code: "tool_broken".to_owned(),
        message: format!("The tool `{name}` is out of order"),
        failed_during: FailedDuring::ToolExecution,
        tool_name: Some(name),
        node_id: None,
        turn,
    };
    Ending::Failed { reason: FinishReason::Error, error }
}

fn turn_timeout(spec: &JobSpec, turn: u32) -> Ending {
    let seconds = spec.limits.turn_seconds;
    let message = format!("The model took longer than the {seconds} seconds of a turn (limits.turn_seconds)");
    failed(FinishReason::Error, "turn_timeout", message, FailedDuring::ModelCall, turn)
}

fn out_of_tries(lane: &Lane) -> Ending {
    let n = lane.tries - 1;
    let message = format!("Turn {} was begun {n} times, and each time its worker was lost", lane.turn);
    failed(FinishReason::Error, "attempts_exhausted", message, FailedDuring::Turn, lane.turn)
}

fn no_request(turn: u32) -> Ending {
    let message = "What was asked for is missing from the table".to_owned();
    failed(FinishReason::Error, "request_missing", message, FailedDuring::Turn, turn)
}
