//! A turn's own writes: its checkpoint and its commits, each under the turn's lease (PROTOCOL: `take`, `commit`).

use std::time::Duration;

use domain::{
    answer::Answer,
    event::{Event, EventBody, Signature},
    job::{Command, Head, Job, Metrics, Rejected, State, after},
    lane::Lane,
    time::Timestamp,
    usage::Usage,
};

use crate::{
    Held, Store,
    claim::fenced,
    end::last_event,
    error::{Error, Verdict},
    item::{Payload, head_from_item, head_item, lane_from_item, lane_item, n, s, stamped},
    key::{Key, Sort},
    log::{origin, put_events},
    write::Write,
};

/// What became of a write that asks for the lease.
#[derive(Debug, Clone, PartialEq)]
#[must_use]
pub enum Fenced<T> {
    /// It is written.
    Done(T),
    /// The lease was lost, or the job is over: stop, write nothing more.
    LeaseLost,
}

/// What became of a job's last commit.
#[derive(Debug, Clone, PartialEq)]
#[must_use]
pub enum CommitOutcome {
    /// The job is completed.
    Completed(Box<Head>),
    /// A message came in meanwhile: another turn has to read it.
    MessageWaits,
    /// Somebody else has put an event where the log's end was.
    LogMoved,
    /// The lease was lost, or the job is over.
    LeaseLost,
}

/// What a job's last commit writes.
#[derive(Debug, Clone, Copy)]
pub struct LastCommit<'a> {
    /// The answer, which asks for nothing more.
    pub answer: &'a Answer,
    /// The lane's text, this answer's with it.
    pub output: &'a str,
    /// What the job has used and done.
    pub sums: (Usage, Metrics),
    /// The turn's last events, in order: they are written with the job's own last one.
    pub events: &'a [(EventBody, Timestamp)],
    /// Where the log ends so far.
    pub log_end: u64,
}

impl Store {
    /// Records the model's whole answer, before anything is done about it.
    ///
    /// # Errors
    /// When the table cannot be written.
    pub async fn checkpoint(&self, held: &mut Held, answer: &Answer, now: Timestamp) -> Result<Fenced<()>, Error> {
        let text_bytes = answer.adds_bytes(held.lane().output_bytes);
        let Some(after) = self.decided(held, &Command::Checkpoint { fence: held.fence.clone(), text_bytes }, now)?
        else {
            return Ok(Fenced::LeaseLost);
        };
        let writes = vec![self.lane_change(held, &after, 1)?, self.answer_write(held, answer).await?];
        match self.transact(&format!("{}-answer", held.fence.owner), writes).await? {
            Ok(()) => {
                held.job = after;
                Ok(Fenced::Done(()))
            }
            Err(_) => Ok(Fenced::LeaseLost),
        }
    }

    /// The write of the turn's answer; its parts, if it is large, are put at once.
    async fn answer_write(&self, held: &Held, answer: &Answer) -> Result<Write, Error> {
        let (name, turn, writer) = (&held.fence.lane, held.lane().turn, held.fence.owner.as_str());
        let (mut item, parts) = Payload::pack(answer)?.into_items();
        if !parts.is_empty() {
            item.insert("parts_by".to_owned(), s(writer));
        }
        for (number, part) in (0..).zip(parts) {
            let key = Key::of(held.id(), &Sort::AnswerPart(name, turn, writer, number));
            self.write(Write::put(stamped(key, held.ttl(), part))).await?;
        }
        Ok(Write::put(stamped(Key::of(held.id(), &Sort::Answer(name, turn)), held.ttl(), item)))
    }

    /// Ends the turn, whose events end the log at `log_end`: the next one is owed.
    ///
    /// # Errors
    /// When the table cannot be written.
    pub async fn advance(&self, held: &mut Held, log_end: u64, now: Timestamp) -> Result<Fenced<Lane>, Error> {
        let command = Command::Advance { fence: held.fence.clone(), log_end };
        self.release(held, &command, now).await
    }

    /// Gives the turn back half way; it is to be taken up again after `delay`. `upstream`: because the model's provider
    /// could not answer.
    ///
    /// # Errors
    /// When the table cannot be written.
    pub async fn give_back(
        &self,
        held: &mut Held,
        delay: Duration,
        upstream: bool,
        now: Timestamp,
    ) -> Result<Fenced<Lane>, Error> {
        let command = Command::Yield { fence: held.fence.clone(), delay, upstream };
        self.release(held, &command, now).await
    }

    async fn release(&self, held: &mut Held, command: &Command, now: Timestamp) -> Result<Fenced<Lane>, Error> {
        let Some(after) = self.decided(held, command, now)? else { return Ok(Fenced::LeaseLost) };
        // It and the message that follows on it.
        let write = self.lane_change(held, &after, 2)?;
        let released = after.lanes.get(&held.fence.lane).cloned();
        let done = match self.write(write).await? {
            Verdict::Fine => true,
            // Our own commit, whose answer was lost: only the lease's holder brings the lane to this.
            Verdict::Refused(Some(item)) => {
                let there = lane_from_item(item)?;
                released.as_ref().is_some_and(|lane| {
                    (lane.turn, lane.epoch) == (there.turn, there.epoch) && there.lease.is_none() && there.open
                })
            }
            Verdict::Refused(None) => false,
        };
        match released.filter(|_| done) {
            Some(lane) => {
                held.job = after;
                Ok(Fenced::Done(lane))
            }
            None => Ok(Fenced::LeaseLost),
        }
    }

    /// Ends the job with the turn's answer, unless a message came in since its conversation was loaded. The answer needs no
    /// checkpoint before: it is recorded by the same transaction, and so is the end of the log.
    ///
    /// # Errors
    /// When the table cannot be written.
    pub async fn complete(
        &self,
        held: &mut Held,
        last: LastCommit<'_>,
        now: Timestamp,
    ) -> Result<CommitOutcome, Error> {
        let LastCommit { answer, output, sums, events, log_end } = last;
        let (inbox, reason) = (answer.inbox, answer.finish_reason);
        let command = Command::Complete { fence: held.fence.clone(), inbox, reason };
        let mut after = match after(&held.job, &command, now, &self.times) {
            Ok(after) => after,
            Err(Rejected::MessageWaits) => return Ok(CommitOutcome::MessageWaits),
            Err(_) => return Ok(CommitOutcome::LeaseLost),
        };
        (after.head.usage, after.head.metrics) = sums;
        // This one, and the one that notes that the event bus was told.
        after.head.metrics.requests += self.asked.so_far() + 2;
        if let State::Finished { owed, .. } = &mut after.head.state {
            owed.terminal = false;
        }
        let origin = origin(held.lane());
        let of_turn = events.iter().map(|(body, at)| (Some(origin.clone()), body.clone(), *at));
        let all = of_turn.chain([(None, last_event(&after.head, output), now)]);
        let events: Vec<Event> =
            (log_end + 1..).zip(all).map(|(number, (origin, body, at))| Event { number, at, origin, body }).collect();
        let signed = Signature { writer: held.fence.owner.clone(), count: 0 };

        let key = Key::of(held.id(), &Sort::Head);
        let before = head_item(&held.job.head, &self.times)?;
        let head = Write::change(key, &before, &head_item(&after.head, &self.times)?)
            .when("#state = :running AND #inbox = :inbox", [(":running", s("running")), (":inbox", n(inbox))]);
        let writes = vec![
            self.lane_change(held, &after, 1)?,
            head,
            self.leave(&after.head.user, held.id()),
            self.answer_write(held, answer).await?,
            put_events(held.id(), &events, &signed, held.ttl())?,
        ];
        // A token stands for one place in the log.
        let token = format!("{}-l{log_end:x}", held.fence.owner);
        let Err(verdicts) = self.transact(&token, writes).await? else {
            held.job = after;
            return Ok(CommitOutcome::Completed(Box::new(held.job.head.clone())));
        };
        Ok(match verdicts.as_slice() {
            [Verdict::Fine, Verdict::Refused(Some(item)), ..]
                if !head_from_item(item.clone())?.status().is_finished() =>
            {
                CommitOutcome::MessageWaits
            }
            [Verdict::Fine, Verdict::Fine, _, _, Verdict::Refused(_)] => CommitOutcome::LogMoved,
            _ => CommitOutcome::LeaseLost,
        })
    }

    /// The job after `command`; `None` when the lease does not allow it.
    pub(crate) fn decided(&self, held: &Held, command: &Command, now: Timestamp) -> Result<Option<Job>, Error> {
        match after(&held.job, command, now, &self.times) {
            Ok(after) => Ok(Some(after)),
            Err(Rejected::LeaseLost(_) | Rejected::Finished(_)) => Ok(None),
            Err(rejected) => Err(Error::corrupt(held.id().as_str(), rejected)),
        }
    }

    /// The change of the held lane, under its fence. `requests`: how many come with it, its own and those that follow on it.
    pub(crate) fn lane_change(&self, held: &Held, after: &Job, requests: u32) -> Result<Write, Error> {
        let mut lane = after.lanes.get(&held.fence.lane).unwrap_or(held.lane()).clone();
        // Since the claim: what is held keeps the count of then.
        lane.requests = held.lane().requests + self.asked.so_far() + requests;
        let key = Key::of(held.id(), &Sort::Lane(&held.fence.lane));
        let (before, after) =
            (lane_item(held.id(), held.lane(), held.ttl())?, lane_item(held.id(), &lane, held.ttl())?);
        Ok(fenced(Write::change(key, &before, &after), &held.fence))
    }
}
