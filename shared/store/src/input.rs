//! Pausing for an answer, and going on with it (PROTOCOL: commits and posts; the rules of a pause are in
//! ARCHITECTURE.md, "Waiting for people").

use std::{collections::BTreeMap, time::Duration};

use aws_sdk_dynamodb::types::AttributeValue;
use domain::{
    continuation::Continuation,
    event::{Event, EventBody, JobState, Signature},
    id::{InputRequestId, JobId, LaneName, WriterId},
    input_request::{InputAnswer, InputRequest},
    job::{Command, Head, Job, Rejected, State, Status, after},
    lane::Lane,
    time::Timestamp,
};

use crate::{
    Fenced, Held, Store,
    claim::fenced,
    error::{Error, Verdict},
    item::{at, event_item, head_item, input_from_item, input_item, lane_item, n, s, state_word},
    items_ttl,
    key::{Key, Sort},
    write::Write,
};

/// How often a write is tried anew because the job changed meanwhile.
const TRIES: u32 = 8;

/// How often an expiry is: all of a turn's questions may expire at once, and each is an event.
const EXPIRE_TRIES: u32 = 64;
/// How long an answer waits for its lane, which is between two pauses; longer with each try.
const BETWEEN_PAUSES: Duration = Duration::from_millis(50);

/// What became of an answer.
#[derive(Debug, Clone, PartialEq)]
#[must_use]
pub enum AnswerOutcome {
    /// It is recorded; with the last answer that its lane waited for, this continuation is owed.
    Recorded(Option<Continuation>),
    /// The request had an answer: this is it.
    Answered(Box<InputRequest>),
    /// Nothing waits for it any more: it has just expired.
    Expired,
    /// The job is over.
    Finished(Status),
    /// There is no such job, or no such request.
    Gone,
}

impl Store {
    /// Lets the turn wait for answers: `asked` are the questions that are new, `pending` how many have no answer, of
    /// which the first expires at `until`. With the last lane that was at work, the job itself waits, and says so in its
    /// log.
    ///
    /// # Errors
    /// When the table cannot be read or written.
    pub async fn pause(
        &self,
        held: &mut Held,
        asked: &[InputRequest],
        pending: u32,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<Fenced<()>, Error> {
        for tried in 0..TRIES {
            let command = Command::Pause { fence: held.fence.clone(), pending, until };
            let Some(after) = self.decided(held, &command, now)? else { return Ok(Fenced::LeaseLost) };
            let stops = matches!(after.head.state, State::InputRequired { .. });
            let mut writes = vec![self.lane_change(held, &after)?, self.head_change(&held.job.head, &after.head)?];
            for request in asked {
                writes.push(Write::put_new(input_item(held.id(), request, held.ttl())?));
            }
            if stops {
                let Some((tail, _)) = self.tail(held.id()).await? else { return Ok(Fenced::LeaseLost) };
                writes.push(self.leave(&after.head.user, held.id()));
                writes.push(self.said(&after.head, tail.number + 1, &held.fence.owner, now)?);
            }
            // Fewer than 36 characters, and another for another set of writes.
            let token = format!("{}-p{tried}", held.fence.owner);
            let Err(verdicts) = self.transact(&token, writes).await? else {
                held.job = after;
                return Ok(Fenced::Done(()));
            };
            if let Some(Verdict::Refused(_)) = verdicts.first() {
                return Ok(match self.lane(held.id(), &held.fence.lane).await? {
                    // Our own pause, whose answer was lost: the epoch rises with it, and only we could raise it so.
                    Some(lane) if lane.waits.is_some() && lane.epoch == held.fence.epoch + 1 => {
                        held.job = after;
                        Fenced::Done(())
                    }
                    _ => Fenced::LeaseLost,
                });
            }
            // Another lane changed the head, or somebody wrote to the log.
            let Some(head) = self.head(held.id(), true).await? else { return Ok(Fenced::LeaseLost) };
            held.job.head = head;
        }
        Err(Error::Contended)
    }

    /// Records under the turn's lease that a question expired, and says so in the log. `by` signs the event: a fresh name.
    ///
    /// # Errors
    /// When the table cannot be read or written.
    pub async fn expire(
        &self,
        held: &Held,
        request: &InputRequest,
        by: &WriterId,
        now: Timestamp,
    ) -> Result<Fenced<()>, Error> {
        for tried in 0..EXPIRE_TRIES {
            let Some((tail, _)) = self.tail(held.id()).await? else { return Ok(Fenced::LeaseLost) };
            let lane = fenced(Write::check(Key::of(held.id(), &Sort::Lane(&held.fence.lane))), &held.fence);
            let writes = vec![
                lane,
                unanswered(Write::put(input_item(held.id(), request, held.ttl())?)),
                resolved(held.id(), request, tail.number + 1, by, held.ttl(), now)?,
            ];
            let Err(verdicts) = self.transact(&format!("{by}-x{tried}"), writes).await? else {
                return Ok(Fenced::Done(()));
            };
            if let [Verdict::Refused(_), ..] | [_, Verdict::Refused(_), ..] = verdicts.as_slice() {
                return Ok(Fenced::LeaseLost);
            }
            // Somebody wrote to the log.
        }
        Err(Error::Contended)
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
            let Some((tail, head)) = self.tail(job).await? else { return Ok(AnswerOutcome::Gone) };
            let Some(mut request) = self.input_request(job, id).await? else { return Ok(AnswerOutcome::Gone) };
            if !request.is_open() {
                // Our own, whose answer was lost?
                let ours = request.answer.as_ref() == Some(answer);
                return Ok(if ours {
                    AnswerOutcome::Recorded(self.owed_after(job, &request.lane).await?)
                } else {
                    AnswerOutcome::Answered(Box::new(request))
                });
            }
            let Some(lane) = self.lane(job, &request.lane).await? else { return Ok(AnswerOutcome::Gone) };
            let before = Job { head, lanes: BTreeMap::from([(lane.name.clone(), lane.clone())]) };
            let after = match after(&before, &Command::Answer { lane: lane.name.clone() }, now, &self.times) {
                Ok(after) => after,
                Err(Rejected::Finished(status)) => return Ok(AnswerOutcome::Finished(status)),
                // Another of its questions has expired, or its time was not theirs: this one is asked again in a moment.
                Err(_) if lane.open && lane.turn == request.turn && request.expires_at > now => {
                    tokio::time::sleep(BETWEEN_PAUSES * (tried + 1)).await;
                    continue;
                }
                Err(_) => return Ok(AnswerOutcome::Expired),
            };
            request.answer = Some(answer.clone());
            let writes = self.answer_writes(&before, &after, &lane, &request, tail.number, by, now)?;
            let token = format!("{by}-a{tried}");
            if self.transact(&token, writes).await?.is_ok() {
                let owed = after.lanes.get(&lane.name).filter(|lane| lane.waits.is_none());
                let turn = lane.turn;
                return Ok(AnswerOutcome::Recorded(owed.map(|lane| Continuation {
                    job: job.clone(),
                    lane: lane.name.clone(),
                    turn,
                })));
            }
        }
        Err(Error::Contended)
    }

    async fn owed_after(&self, job: &JobId, lane: &LaneName) -> Result<Option<Continuation>, Error> {
        let lane = self.lane(job, lane).await?.filter(|lane| lane.open && lane.waits.is_none());
        Ok(lane.map(|lane| Continuation { job: job.clone(), lane: lane.name, turn: lane.turn }))
    }

    #[expect(clippy::too_many_arguments, reason = "what was, what shall be, and the two events' places")]
    fn answer_writes(
        &self,
        before: &Job,
        after: &Job,
        lane: &Lane,
        request: &InputRequest,
        tail: u64,
        by: &WriterId,
        now: Timestamp,
    ) -> Result<Vec<Write>, Error> {
        let (job, ttl) = (&before.head.id, items_ttl(&before.head));
        let answered = after.lanes.get(&lane.name).unwrap_or(lane);
        let key = Key::of(job, &Sort::Lane(&lane.name));
        let lane = match &answered.waits {
            Some(waits) => Write::update(key, "SET #waits.#pending = :left", [(":left", n(waits.pending))]),
            None => Write::change(key, &lane_item(job, lane, ttl)?, &lane_item(job, answered, ttl)?),
        }
        .when(
            "#epoch = :epoch AND #waits.#pending = :pending",
            [(":epoch", n(lane.epoch)), (":pending", n(lane.waits.as_ref().map_or(0, |waits| waits.pending)))],
        );
        let mut writes = vec![
            unanswered(Write::put(input_item(job, request, ttl)?)),
            lane,
            self.head_change(&before.head, &after.head)?,
            resolved(job, request, tail + 1, by, ttl, now)?,
        ];
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
        Ok(Write::put_new(event_item(&head.id, &event, &signed, items_ttl(head))?))
    }
}

/// Answers a question that has no answer.
fn unanswered(answer: Write) -> Write {
    answer.when("#answered = :no", [(":no", AttributeValue::Bool(false))])
}

/// Says in the log how a question was answered.
fn resolved(
    job: &JobId,
    request: &InputRequest,
    number: u64,
    by: &WriterId,
    ttl: Timestamp,
    now: Timestamp,
) -> Result<Write, Error> {
    let body = EventBody::InputResolved(Box::new(request.clone()));
    let event = Event { number, at: now, origin: None, body };
    let signed = Signature { writer: by.clone(), count: 1 };
    Ok(Write::put_new(event_item(job, &event, &signed, ttl)?))
}
