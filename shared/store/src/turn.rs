//! A turn's own writes: its checkpoint and its commits, each under the turn's lease (PROTOCOL: `take`, `commit`).

use std::time::Duration;

use domain::{
    answer::Answer,
    job::{Command, FinishReason, Head, Job, Metrics, Rejected, after},
    lane::Lane,
    time::Timestamp,
    usage::Usage,
};

use crate::{
    Held, Store,
    claim::fenced,
    error::{Error, Verdict},
    item::{Payload, head_from_item, head_item, lane_from_item, lane_item, n, s, stamped},
    key::{Key, Sort},
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
    /// A message came in meanwhile: the answer stands, and another turn has to read it.
    MessageWaits,
    /// The lease was lost, or the job is over.
    LeaseLost,
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
        let (name, turn, writer) = (held.fence.lane.clone(), held.lane().turn, held.fence.owner.clone());
        let (mut item, parts) = Payload::pack(answer)?.into_items();
        if !parts.is_empty() {
            item.insert("parts_by".to_owned(), s(writer.as_str()));
        }
        for (number, part) in (0..).zip(parts) {
            let key = Key::of(held.id(), &Sort::AnswerPart(&name, turn, writer.as_str(), number));
            self.write(Write::put(stamped(key, held.ttl(), part))).await?;
        }
        let key = Key::of(held.id(), &Sort::Answer(&name, turn));
        let writes = vec![self.lane_change(held, &after)?, Write::put(stamped(key, held.ttl(), item))];
        match self.transact(&format!("{writer}-answer"), writes).await? {
            Ok(()) => {
                held.job = after;
                Ok(Fenced::Done(()))
            }
            Err(_) => Ok(Fenced::LeaseLost),
        }
    }

    /// Ends the turn: the next one is owed.
    ///
    /// # Errors
    /// When the table cannot be written.
    pub async fn advance(&self, held: &mut Held, now: Timestamp) -> Result<Fenced<Lane>, Error> {
        let command = Command::Advance { fence: held.fence.clone() };
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
        let write = self.lane_change(held, &after)?;
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

    /// Ends the job with the turn's answer, unless a message came in since its conversation was loaded.
    ///
    /// # Errors
    /// When the table cannot be written.
    pub async fn complete(
        &self,
        held: &mut Held,
        reason: FinishReason,
        inbox: u32,
        (usage, metrics): (Usage, Metrics),
        now: Timestamp,
    ) -> Result<CommitOutcome, Error> {
        let command = Command::Complete { fence: held.fence.clone(), inbox, reason };
        let mut after = match after(&held.job, &command, now, &self.times) {
            Ok(after) => after,
            Err(Rejected::MessageWaits) => return Ok(CommitOutcome::MessageWaits),
            Err(_) => return Ok(CommitOutcome::LeaseLost),
        };
        (after.head.usage, after.head.metrics) = (usage, metrics);
        let key = Key::of(held.id(), &Sort::Head);
        let before = head_item(&held.job.head, &self.times)?;
        let head = Write::change(key, &before, &head_item(&after.head, &self.times)?)
            .when("#state = :running AND #inbox = :inbox", [(":running", s("running")), (":inbox", n(inbox))]);
        let writes = vec![self.lane_change(held, &after)?, head, self.leave(&after.head.user, held.id())];
        match self.transact(&format!("{}-last", held.fence.owner), writes).await? {
            Ok(()) => {
                held.job = after;
                Ok(CommitOutcome::Completed(Box::new(held.job.head.clone())))
            }
            Err(mut verdicts) => {
                verdicts.truncate(2);
                match (verdicts.pop(), verdicts.pop()) {
                    (Some(Verdict::Refused(Some(item))), Some(Verdict::Fine))
                        if !head_from_item(item.clone())?.status().is_finished() =>
                    {
                        Ok(CommitOutcome::MessageWaits)
                    }
                    _ => Ok(CommitOutcome::LeaseLost),
                }
            }
        }
    }

    /// The job after `command`; `None` when the lease does not allow it.
    pub(crate) fn decided(&self, held: &Held, command: &Command, now: Timestamp) -> Result<Option<Job>, Error> {
        match after(&held.job, command, now, &self.times) {
            Ok(after) => Ok(Some(after)),
            Err(Rejected::LeaseLost(_) | Rejected::Finished(_)) => Ok(None),
            Err(rejected) => Err(Error::corrupt(held.id().as_str(), rejected)),
        }
    }

    /// The change of the held lane, under its fence.
    pub(crate) fn lane_change(&self, held: &Held, after: &Job) -> Result<Write, Error> {
        let lane = after.lanes.get(&held.fence.lane).unwrap_or(held.lane());
        let key = Key::of(held.id(), &Sort::Lane(&held.fence.lane));
        let (before, after) = (lane_item(held.id(), held.lane(), held.ttl())?, lane_item(held.id(), lane, held.ttl())?);
        Ok(fenced(Write::change(key, &before, &after), &held.fence))
    }
}
