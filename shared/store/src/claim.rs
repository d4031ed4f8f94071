//! Taking a lane's turn, and keeping it (PROTOCOL: `take`, `renew`).

use std::collections::BTreeMap;

use domain::{
    continuation::Continuation,
    id::{JobId, WriterId},
    job::{Command, Head, Job, Rejected, Status, after},
    lane::{Disposition, Fence, Lane},
    time::Timestamp,
};

use crate::{
    Store,
    error::{Error, Verdict},
    item::{Item, at, lane_from_item, lane_item, n, s},
    items_ttl,
    key::{Key, Sort},
    read::Record,
    write::Write,
};

/// What became of a claim.
#[derive(Debug, Clone, PartialEq)]
pub enum ClaimOutcome {
    /// The lane's turn is ours.
    Claimed(Box<Claimed>),
    /// It is not: do this with the message.
    Disposed(Disposition, Box<Head>),
    /// There is no such job, or no such lane (any more).
    Gone,
}

/// A turn that is ours, and the log as it was before it became so.
#[derive(Debug, Clone, PartialEq)]
pub struct Claimed {
    /// The job under our lease.
    pub held: Held,
    /// The number of the log's last event: read before the claim, which is its lease check.
    pub tail: u64,
    /// Whether the turn was taken over from a worker that had died.
    pub recovers: bool,
    /// What the turn has to know, where that was read before the claim. It still holds: nobody had begun the turn, so that
    /// nobody but its claimer writes what is of it.
    pub record: Option<Box<Record>>,
}

/// A job of which we hold a lane: as we last wrote it, and the fence that every further write is under.
#[derive(Debug, Clone, PartialEq)]
pub struct Held {
    /// Its head and the lane.
    pub job: Job,
    /// Our lease.
    pub fence: Fence,
}

impl Held {
    /// The job's id.
    pub fn id(&self) -> &JobId {
        &self.job.head.id
    }

    /// The lane as we last wrote it.
    #[expect(clippy::expect_used, reason = "a lane is put in when this is made, and never taken out")]
    pub fn lane(&self) -> &Lane {
        self.job.lanes.get(&self.fence.lane).expect("the lane that is held is there")
    }

    /// Until when items of this job are kept.
    pub(crate) fn ttl(&self) -> Timestamp {
        items_ttl(&self.job.head)
    }
}

/// What became of a claim's write.
enum Tried {
    Claimed(Box<Claimed>),
    /// The lane as it is, if it is there.
    Refused(Option<Box<Lane>>),
}

/// The condition of every write of a turn.
pub(crate) fn fenced(write: Write, fence: &Fence) -> Write {
    write.when(
        "#epoch = :fence_epoch AND #lease.#owner = :fence_owner",
        [(":fence_epoch", n(fence.epoch)), (":fence_owner", s(fence.owner.as_str()))],
    )
}

impl Store {
    /// Tries to take the turn that a message asks for, as `owner`: a fresh name for each invocation.
    ///
    /// # Errors
    /// When the table cannot be read or written; the message has to come back.
    pub async fn claim(
        &self,
        message: &Continuation,
        again: bool,
        owner: &WriterId,
        now: Timestamp,
    ) -> Result<ClaimOutcome, Error> {
        // A message that comes again is mostly one whose turn somebody has: for that, two small reads will do.
        if !again && let Some(outcome) = self.claim_fresh(message, owner, now).await? {
            return Ok(outcome);
        }
        let Some((tail, head)) = self.tail(&message.job).await? else { return Ok(ClaimOutcome::Gone) };
        let Some(lane) = self.lane(&message.job, &message.lane).await? else { return Ok(ClaimOutcome::Gone) };
        let before = Job { head, lanes: BTreeMap::from([(lane.name.clone(), lane.clone())]) };
        let held = match self.taken(&before, message, again, owner, now)? {
            Ok(held) => held,
            Err(disposition) => return Ok(ClaimOutcome::Disposed(disposition, Box::new(before.head))),
        };
        Ok(match self.try_claim(&before, held, tail.number, 2, now).await? {
            Tried::Claimed(claimed) => ClaimOutcome::Claimed(claimed),
            Tried::Refused(None) => ClaimOutcome::Gone,
            Tried::Refused(Some(lane)) => {
                ClaimOutcome::Disposed(lane.dispose(message.turn, again, now), Box::new(before.head))
            }
        })
    }

    /// The common case in two requests: everything is read, and a turn that nobody has begun is claimed, where the log
    /// ended for whoever committed the turn before. `None`: it is not that case.
    async fn claim_fresh(
        &self,
        message: &Continuation,
        owner: &WriterId,
        now: Timestamp,
    ) -> Result<Option<ClaimOutcome>, Error> {
        let Some(mut record) = self.load(&message.job).await? else { return Ok(Some(ClaimOutcome::Gone)) };
        let Some(lane) = record.lanes.get(&message.lane).filter(|lane| lane.is_fresh()) else { return Ok(None) };
        let log_end = match lane.log_end {
            Some(log_end) => log_end,
            None => self.tail(&message.job).await?.map_or(0, |(tail, _)| tail.number),
        };
        let before = Job { head: record.head.clone(), lanes: BTreeMap::from([(lane.name.clone(), lane.clone())]) };
        let held = match self.taken(&before, message, false, owner, now)? {
            Ok(held) => held,
            Err(disposition) => return Ok(Some(ClaimOutcome::Disposed(disposition, Box::new(before.head)))),
        };
        // Refused: somebody was quicker, or a message came in, or the log has grown. The longer way finds out.
        let Tried::Claimed(mut claimed) = self.try_claim(&before, held, log_end, 1, now).await? else {
            return Ok(None);
        };
        record.head = claimed.held.job.head.clone();
        record.lanes.extend(claimed.held.job.lanes.clone());
        claimed.record = Some(Box::new(record));
        Ok(Some(ClaimOutcome::Claimed(claimed)))
    }

    /// The job with the lane claimed by `owner`, or what becomes of the message instead.
    fn taken(
        &self,
        before: &Job,
        message: &Continuation,
        again: bool,
        owner: &WriterId,
        now: Timestamp,
    ) -> Result<Result<Held, Disposition>, Error> {
        let command = Command::Claim { lane: message.lane.clone(), turn: message.turn, again, owner: owner.clone() };
        match after(before, &command, now, &self.times) {
            Ok(job) => {
                let epoch = job.lanes.get(&message.lane).map_or(0, |lane| lane.epoch);
                Ok(Ok(Held { job, fence: Fence { lane: message.lane.clone(), owner: owner.clone(), epoch } }))
            }
            Err(Rejected::NotClaimable(disposition)) => Ok(Err(disposition)),
            Err(rejected) => Err(Error::corrupt(message.job.as_str(), rejected)),
        }
    }

    async fn try_claim(&self, before: &Job, held: Held, tail: u64, try_: u32, now: Timestamp) -> Result<Tried, Error> {
        let Some(lane) = before.lanes.get(&held.fence.lane) else { return Ok(Tried::Refused(None)) };
        let recovers = held.lane().recoveries > lane.recoveries;
        let begins = before.head.status() != held.job.head.status();
        let refused = self.write_claim(before, &held, lane, tail, try_, now).await?;
        let tail = tail + u64::from(begins);
        let there = match refused {
            None => return Ok(Tried::Claimed(Box::new(Claimed { held, tail, recovers, record: None }))),
            Some(Some(item)) => Some(lane_from_item(item)?),
            Some(None) => self.lane(held.id(), &held.fence.lane).await?,
        };
        if there.as_ref().is_some_and(|lane| lane.is_held_by(&held.fence.owner, held.fence.epoch)) {
            // Our own claim, whose answer was lost: the refusal is the answer to the SDK's retry.
            return Ok(Tried::Claimed(Box::new(Claimed { held, tail, recovers, record: None })));
        }
        Ok(Tried::Refused(there.map(Box::new)))
    }

    /// Writes the claim; when it is refused, what the lane's item is by then, as far as the table said.
    async fn write_claim(
        &self,
        before: &Job,
        held: &Held,
        lane: &Lane,
        tail: u64,
        try_: u32,
        now: Timestamp,
    ) -> Result<Option<Option<Item>>, Error> {
        let ttl = items_ttl(&before.head);
        let key = Key::of(held.id(), &Sort::Lane(&lane.name));
        let claim = Write::change(key, &lane_item(held.id(), lane, ttl)?, &lane_item(held.id(), held.lane(), ttl)?)
            .when(
                // A worker that lost its time may still record its answer: then there is no other (counterexample 25).
                "#open = :open AND #turn = :turn AND #epoch = :epoch AND #phase = :phase \
                 AND (attribute_not_exists(#lease) OR #lease.#expires_at <= :now)",
                [
                    (":open", aws_sdk_dynamodb::types::AttributeValue::Bool(true)),
                    (":turn", n(lane.turn)),
                    (":epoch", n(lane.epoch)),
                    (":phase", s(lane.phase.as_str())),
                    (":now", at(now)),
                ],
            );
        // An answer that came since leaves the epoch as it is, and has counted the lane as at work (counterexample 21).
        let claim = if lane.waits.is_some() { claim.when("attribute_exists(#waits)", []) } else { claim };
        if before.head == held.job.head {
            return Ok(match self.write(claim).await? {
                Verdict::Fine => None,
                Verdict::Refused(item) => Some(item),
            });
        }
        // The first claim of all starts the job's clock, and one that finds a question expired lets it go on; the log says
        // so: all in one, so that none is missing.
        let mut writes = vec![claim, self.head_change(&before.head, &held.job.head)?];
        if before.head.status() != held.job.head.status() {
            writes.push(self.said(&held.job.head, tail + 1, &held.fence.owner, now)?);
        }
        if before.head.status() == Status::InputRequired && held.job.head.status() == Status::Running {
            writes.push(self.rejoin(&held.job.head.user, held.id(), now));
        }
        Ok(match self.transact(&format!("{}-{try_}", held.fence.owner), writes).await? {
            Ok(()) => None,
            Err(mut verdicts) => match verdicts.swap_remove(0) {
                Verdict::Refused(item) => Some(item),
                Verdict::Fine => Some(None),
            },
        })
    }

    /// Keeps the lease: it ends `length` after `now`. `false`: it was lost, stop at once.
    ///
    /// # Errors
    /// When the table cannot be written; whether the lease was renewed is not known.
    pub async fn renew(&self, job: &JobId, fence: &Fence, now: Timestamp) -> Result<bool, Error> {
        let renewal = Write::update(
            Key::of(job, &Sort::Lane(&fence.lane)),
            "SET #lease.#expires_at = :expires_at",
            [(":expires_at", at(now + self.times.length))],
        );
        Ok(self.write(fenced(renewal, fence)).await? == Verdict::Fine)
    }
}
