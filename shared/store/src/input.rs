//! Pausing for an answer, and going on with it (PROTOCOL: commits and posts; the rules of a pause are in
//! ARCHITECTURE.md, "Waiting for people").

use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use domain::{
    continuation::Continuation,
    event::{Event, EventBody, JobState, Origin, Signature},
    id::{InputRequestId, JobId, WriterId},
    input_request::{InputAnswer, InputRequest, NOBODY},
    job::{Command, Head, Job, Rejected, State, Status, after},
    lane::Lane,
    time::Timestamp,
};

use crate::{
    Fenced, Held, Store,
    claim::fenced,
    error::{Error, Verdict},
    item::{at, head_item, input_from_item, input_item, lane_item, n, number, s, state_word},
    items_ttl,
    key::{Key, Sort},
    log::put_events,
    write::Write,
};

/// How often an answer is tried anew because the job changed meanwhile.
const TRIES: u32 = 16;
/// How often a pause is: all lanes of a workflow may pause at once.
const PAUSE_TRIES: u32 = 40;
/// The pause before the second try; a little longer before each that follows.
const PAUSE: Duration = Duration::from_millis(2);

/// Attribute of a question of the whole job: how many lanes have come to wait for it since it was asked.
const WAITERS: &str = "waiters";

/// What a turn waits for.
#[derive(Debug, Clone, Copy)]
pub enum WaitsFor<'a> {
    /// Answers to questions of its own.
    Own {
        /// Those that are new.
        asked: &'a [InputRequest],
        /// How many have no answer.
        pending: u32,
        /// When the first of them expires.
        until: Timestamp,
    },
    /// The answer to a question of the whole job.
    OfJob {
        /// It.
        question: &'a InputRequest,
        /// Whether it is to be asked with the pause.
        is_new: bool,
    },
}

/// What became of a pause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum PauseOutcome {
    /// The lane waits.
    Paused,
    /// The job's question was asked by another lane meanwhile, or answered: read the questions again.
    Overtaken,
    /// The lease was lost, or the job is over.
    LeaseLost,
}

impl WaitsFor<'_> {
    fn command(&self, held: &Held) -> Command {
        let fence = held.fence.clone();
        match *self {
            Self::Own { pending, until, .. } => Command::Pause { fence, pending, until },
            Self::OfJob { question, is_new } => {
                Command::PauseOn { question: question.id.clone(), asks: is_new, until: question.expires_at, fence }
            }
        }
    }
}

/// How often an expiry is: all of a turn's questions may expire at once, and each is an event.
const EXPIRE_TRIES: u32 = 64;
/// How long an answer waits for its lane, which is between two pauses; longer with each try.
const BETWEEN_PAUSES: Duration = Duration::from_millis(50);

/// What became of an answer.
#[derive(Debug, Clone, PartialEq)]
#[must_use]
pub enum AnswerOutcome {
    /// It is recorded. Lanes that waited for nothing else go on: these continuations are owed.
    Recorded(Vec<Continuation>),
    /// The request had an answer: this is it.
    Answered(Box<InputRequest>),
    /// Nothing waits for it any more: it has just expired.
    Expired,
    /// Nothing waits for it any more: what it was asked for has failed elsewhere, and its lane is closed.
    Withdrawn,
    /// The job is over.
    Finished(Status),
    /// There is no such job, or no such request.
    Gone,
}

impl Store {
    /// Lets the turn wait for answers. With the last lane that was at work, the job itself waits, and says so in its log.
    ///
    /// # Errors
    /// When the table cannot be read or written.
    pub async fn pause(&self, held: &mut Held, waits: WaitsFor<'_>, now: Timestamp) -> Result<PauseOutcome, Error> {
        for tried in 0..PAUSE_TRIES {
            tokio::time::sleep(PAUSE * tried).await;
            let Some(after) = self.decided(held, &waits.command(held), now)? else {
                return Ok(PauseOutcome::LeaseLost);
            };
            let stops = matches!(after.head.state, State::InputRequired { .. });
            let mut writes = vec![self.lane_change(held, &after, 1)?, self.head_change(&held.job.head, &after.head)?];
            let asks = matches!(waits, WaitsFor::OfJob { is_new: true, .. });
            let mut next = 0;
            if stops || asks {
                let Some((tail, _)) = self.tail(held.id()).await? else { return Ok(PauseOutcome::LeaseLost) };
                next = tail.number + 1;
            }
            match waits {
                WaitsFor::Own { asked, .. } => {
                    for request in asked {
                        writes.push(Write::put_new(input_item(held.id(), request, held.ttl())?));
                    }
                }
                WaitsFor::OfJob { question, is_new: true } => {
                    writes.push(Write::put_new(input_item(held.id(), question, held.ttl())?));
                    writes.push(self.asked(held, question, next, now)?);
                    next += 1;
                }
                WaitsFor::OfJob { question, is_new: false } => writes.push(joins(held.id(), question)),
            }
            if stops {
                writes.push(self.leave(&after.head.user, held.id()));
                writes.push(self.said(&after.head, next, &held.fence.owner, now)?);
            }
            // Fewer than 36 characters, and another for another set of writes.
            let token = format!("{}-p{tried}", held.fence.owner);
            let Err(verdicts) = self.transact(&token, writes).await? else {
                held.job = after;
                return Ok(PauseOutcome::Paused);
            };
            if let Some(Verdict::Refused(_)) = verdicts.first() {
                return Ok(match self.lane(held.id(), &held.fence.lane).await? {
                    // Our own pause, whose answer was lost: the epoch rises with it, and only we could raise it so.
                    Some(lane) if lane.waits.is_some() && lane.epoch == held.fence.epoch + 1 => {
                        held.job = after;
                        PauseOutcome::Paused
                    }
                    _ => PauseOutcome::LeaseLost,
                });
            }
            if let (WaitsFor::OfJob { .. }, Some(Verdict::Refused(_))) = (waits, verdicts.get(2)) {
                return Ok(PauseOutcome::Overtaken);
            }
            // Another lane changed the head, or somebody wrote to the log.
            let Some(head) = self.head(held.id(), true).await? else { return Ok(PauseOutcome::LeaseLost) };
            held.job.head = head;
        }
        Err(Error::Contended)
    }

    /// Records under the turn's lease that a question expired, and says so in the log; unless it was
    /// answered meanwhile. What is on record then. `by` signs the event: a fresh name.
    ///
    /// # Errors
    /// When the table cannot be read or written.
    pub async fn expire(
        &self,
        held: &Held,
        request: &InputRequest,
        by: &WriterId,
        now: Timestamp,
    ) -> Result<Fenced<InputRequest>, Error> {
        for tried in 0..EXPIRE_TRIES {
            let Some((tail, _)) = self.tail(held.id()).await? else { return Ok(Fenced::LeaseLost) };
            let lane = fenced(Write::check(Key::of(held.id(), &Sort::Lane(&held.fence.lane))), &held.fence);
            let writes = vec![
                lane,
                unanswered(Write::put(input_item(held.id(), request, held.ttl())?)),
                resolved(held.id(), request, tail.number + 1, &signed(by), held.ttl(), now)?,
            ];
            let Err(verdicts) = self.transact(&format!("{by}-x{tried}"), writes).await? else {
                return Ok(Fenced::Done(request.clone()));
            };
            match verdicts.as_slice() {
                [Verdict::Fine, Verdict::Refused(Some(item)), ..] => return Ok(Fenced::Done(input_from_item(item)?)),
                [Verdict::Refused(_), ..] | [_, Verdict::Refused(_), ..] => return Ok(Fenced::LeaseLost),
                _ => {}
            }
            // Somebody wrote to the log.
        }
        Err(Error::Contended)
    }

    /// The event of a question that is asked with the pause itself.
    fn asked(&self, held: &Held, question: &InputRequest, number: u64, now: Timestamp) -> Result<Write, Error> {
        let lane = held.lane();
        let (name, node_id) = (lane.name.clone(), lane.node_id.clone());
        let event = Event {
            number,
            at: now,
            origin: Some(Origin { lane: name, turn: lane.turn, attempt: lane.attempt, node_id }),
            body: EventBody::InputRequested(Box::new(question.clone())),
        };
        // No event of the turn's appender has this count.
        let signed = Signature { writer: held.fence.owner.clone(), count: 0 };
        put_events(held.id(), &[event], &signed, held.ttl())
    }

    /// A question of a job.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub async fn input_request(&self, job: &JobId, id: &InputRequestId) -> Result<Option<InputRequest>, Error> {
        self.get(Key::of(job, &Sort::Input(id)), true).await?.map(|item| input_from_item(&item)).transpose()
    }

    /// Records an answer, once. `by` signs the events: a fresh name.
    ///
    /// # Errors
    /// When the table cannot be read or written; whether the answer is recorded is not known.
    pub async fn answer(
        &self,
        job: &JobId,
        id: &InputRequestId,
        answer: &InputAnswer,
        by: &WriterId,
        now: Timestamp,
    ) -> Result<AnswerOutcome, Error> {
        for tried in 0..TRIES {
            tokio::time::sleep(PAUSE * tried).await;
            let Some((tail, head)) = self.tail(job).await? else { return Ok(AnswerOutcome::Gone) };
            let item = self.get(Key::of(job, &Sort::Input(id)), true).await?;
            let Some(item) = item else { return Ok(AnswerOutcome::Gone) };
            let mut request: InputRequest = input_from_item(&item)?;
            if !request.is_open() {
                return self.answered_already(job, request, answer, now).await;
            }
            if head.status().is_finished() {
                return Ok(AnswerOutcome::Finished(head.status()));
            }
            let lanes = self.waiting_for(job, &request).await?;
            if lanes.is_empty() && request.expires_at <= now {
                return self.waited_for_no_more(job, id, answer, now).await;
            }
            if lanes.is_empty() && !request.is_of_job() {
                let lane = self.lane(job, &request.lane).await?;
                if !lane.is_some_and(|lane| lane.open && lane.turn == request.turn) {
                    return self.waited_for_no_more(job, id, answer, now).await;
                }
                // Another of its questions has expired, or its time was not theirs: this one is asked again in a moment.
                tokio::time::sleep(BETWEEN_PAUSES * (tried + 1)).await;
                continue;
            }
            let before = Job { head, lanes: lanes.into_iter().map(|lane| (lane.name.clone(), lane)).collect() };
            let command = Command::Answer { lanes: before.lanes.keys().cloned().collect() };
            let after = match after(&before, &command, now, &self.times) {
                Ok(after) => after,
                Err(Rejected::Finished(status)) => return Ok(AnswerOutcome::Finished(status)),
                Err(_) => return Ok(AnswerOutcome::Expired),
            };
            request.answer = Some(answer.clone());
            let waiters = number(&item, WAITERS);
            let writes = self.answer_writes(&before, &after, (&request, waiters), tail.number, by, now)?;
            let token = format!("{by}-a{tried}");
            if self.transact(&token, writes).await?.is_ok() {
                let owed = after.lanes.into_values().filter(|lane| lane.waits.is_none());
                return Ok(AnswerOutcome::Recorded(owed.map(|lane| continuation(job, lane)).collect()));
            }
        }
        Err(Error::Contended)
    }

    /// What becomes of an answer to a question that has one.
    async fn answered_already(
        &self,
        job: &JobId,
        request: InputRequest,
        answer: &InputAnswer,
        now: Timestamp,
    ) -> Result<AnswerOutcome, Error> {
        // Our own, whose answer was lost?
        if request.answer.as_ref() == Some(answer) {
            return Ok(AnswerOutcome::Recorded(self.owed_after(job, &request, now).await?));
        }
        Ok(AnswerOutcome::Answered(Box::new(request)))
    }

    /// What becomes of an answer for which no lane waits: the question has expired, unless it was answered between the look
    /// at it and the look at its lane, or the lane is closed.
    async fn waited_for_no_more(
        &self,
        job: &JobId,
        id: &InputRequestId,
        answer: &InputAnswer,
        now: Timestamp,
    ) -> Result<AnswerOutcome, Error> {
        match self.input_request(job, id).await? {
            Some(request) if request.answer.as_ref().is_some_and(|given| given.by != NOBODY) => {
                self.answered_already(job, request, answer, now).await
            }
            Some(request) if request.is_open() && !request.is_of_job() => {
                if self.lane(job, &request.lane).await?.is_some_and(|lane| lane.open) {
                    return Ok(AnswerOutcome::Expired);
                }
                let head = self.head(job, true).await?;
                let over = head.map(|head| head.status()).filter(|status| status.is_finished());
                Ok(over.map_or(AnswerOutcome::Withdrawn, AnswerOutcome::Finished))
            }
            _ => Ok(AnswerOutcome::Expired),
        }
    }

    /// The lanes that wait for this answer. Read after the question, so that whoever comes to wait for it later is seen by
    /// the question's count of those who do.
    async fn waiting_for(&self, job: &JobId, request: &InputRequest) -> Result<Vec<Lane>, Error> {
        if request.is_of_job() {
            let lanes = self.lanes(job).await?.into_iter();
            return Ok(lanes.filter(|lane| lane.waits_on(&request.id, &request.lane)).collect());
        }
        Ok(self.lane(job, &request.lane).await?.into_iter().filter(|lane| lane.open && lane.waits.is_some()).collect())
    }

    /// The turns that may be owed since this question was answered: more of them are asked for than are owed, rather than
    /// fewer.
    async fn owed_after(
        &self,
        job: &JobId,
        request: &InputRequest,
        now: Timestamp,
    ) -> Result<Vec<Continuation>, Error> {
        let lanes = self.lanes(job).await?.into_iter().filter(|lane| request.is_of_job() || lane.name == request.lane);
        let free = lanes.filter(|lane| lane.open && lane.waits.is_none() && !lane.is_leased(now));
        Ok(free.map(|lane| continuation(job, lane)).collect())
    }

    fn answer_writes(
        &self,
        before: &Job,
        after: &Job,
        (request, waiters): (&InputRequest, Option<u32>),
        tail: u64,
        by: &WriterId,
        now: Timestamp,
    ) -> Result<Vec<Write>, Error> {
        let (job, ttl) = (&before.head.id, items_ttl(&before.head));
        let record = unanswered(Write::put(input_item(job, request, ttl)?));
        let record = match waiters {
            Some(waiters) => record.when("#waiters = :waiters", [(":waiters", n(waiters))]),
            None => record.when("attribute_not_exists(#waiters)", []),
        };
        let mut writes = vec![
            record,
            self.head_change(&before.head, &after.head)?,
            resolved(job, request, tail + 1, &signed(by), ttl, now)?,
        ];
        for lane in before.lanes.values() {
            let answered = after.lanes.get(&lane.name).unwrap_or(lane);
            let key = Key::of(job, &Sort::Lane(&lane.name));
            let change = match &answered.waits {
                Some(waits) => Write::update(key, "SET #waits.#pending = :left", [(":left", n(waits.pending))]),
                None => Write::change(key, &lane_item(job, lane, ttl)?, &lane_item(job, answered, ttl)?),
            };
            writes.push(change.when(
                "#epoch = :epoch AND #waits.#pending = :pending",
                [(":epoch", n(lane.epoch)), (":pending", n(lane.waits.as_ref().map_or(0, |waits| waits.pending)))],
            ));
        }
        if before.head.status() != after.head.status() {
            writes.push(self.rejoin(&after.head.user, job, now));
            writes.push(self.said(&after.head, tail + 2, by, now)?);
        }
        Ok(writes)
    }

    /// Notes that the event bus was told that a lane waits.
    ///
    /// # Errors
    /// When the table cannot be written.
    pub async fn announced(&self, head: &Head, lane: &Lane) -> Result<(), Error> {
        let Some(waits) = lane.waits.as_ref().filter(|waits| !waits.announced) else { return Ok(()) };
        // Nothing but this: an answer may have come since the lane was read (counterexample 20).
        let note = Write::update(
            Key::of(&head.id, &Sort::Lane(&lane.name)),
            "SET #waits.#announced = :yes, #due_at = :until, #sweeps = :none",
            [(":yes", AttributeValue::Bool(true)), (":until", at(waits.until)), (":none", n(0))],
        )
        .when("#epoch = :epoch AND attribute_exists(#waits)", [(":epoch", n(lane.epoch))]);
        self.write(note).await.map(drop)
    }

    /// The change of the head, if it still stands where it was read: its state, and the count of lanes at work.
    pub(crate) fn head_change(&self, before: &Head, after: &Head) -> Result<Write, Error> {
        let key = Key::of(&before.id, &Sort::Head);
        let change = Write::change(key, &head_item(before, &self.times)?, &head_item(after, &self.times)?);
        Ok(change.when(
            // Heads of the first release do not count their lanes.
            "#state = :state AND (attribute_not_exists(#lanes_at_work) OR #lanes_at_work = :at_work) \
             AND attribute_not_exists(#deleted)",
            [(":state", s(state_word(&before.state))), (":at_work", n(before.lanes_at_work))],
        ))
    }

    /// The event that says where the job is now.
    pub(crate) fn said(&self, head: &Head, number: u64, by: &WriterId, now: Timestamp) -> Result<Write, Error> {
        let state = JobState { status: head.status() };
        let body = match head.status() {
            Status::InputRequired => EventBody::JobInputRequired(state),
            _ => EventBody::JobRunning(state),
        };
        let event = Event { number, at: now, origin: None, body };
        let signed = Signature { writer: by.clone(), count: 0 };
        put_events(&head.id, &[event], &signed, items_ttl(head))
    }
}

/// One lane more waits for a question that has no answer.
fn joins(job: &JobId, question: &InputRequest) -> Write {
    let counted = "SET #waiters = if_not_exists(#waiters, :none) + :one";
    unanswered(Write::update(Key::of(job, &Sort::Input(&question.id)), counted, [(":none", n(0)), (":one", n(1))]))
}

/// Answers a question that has no answer.
pub(crate) fn unanswered(answer: Write) -> Write {
    answer.when("#answered = :no", [(":no", AttributeValue::Bool(false))])
}

/// Says in the log how a question was answered.
pub(crate) fn resolved(
    job: &JobId,
    request: &InputRequest,
    number: u64,
    signed: &Signature,
    ttl: Timestamp,
    now: Timestamp,
) -> Result<Write, Error> {
    let body = EventBody::InputResolved(Box::new(request.clone()));
    put_events(job, &[Event { number, at: now, origin: None, body }], signed, ttl)
}

/// The signature of who answers, under a fresh name.
fn signed(by: &WriterId) -> Signature {
    Signature { writer: by.clone(), count: 1 }
}

fn continuation(job: &JobId, lane: Lane) -> Continuation {
    Continuation { job: job.clone(), lane: lane.name, turn: lane.turn }
}
