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
    log::Tail,
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
    /// The log's end: read before the claim, which is its lease check.
    pub tail: Tail,
    /// Whether the turn was taken over from a worker that had died.
    pub recovers: bool,
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
        let Some((tail, head)) = self.tail(&message.job).await? else { return Ok(ClaimOutcome::Gone) };
        let Some(lane) = self.lane(&message.job, &message.lane).await? else { return Ok(ClaimOutcome::Gone) };
        let before = Job { head, lanes: BTreeMap::from([(lane.name.clone(), lane.clone())]) };
        let command = Command::Claim { lane: lane.name.clone(), turn: message.turn, again, owner: owner.clone() };
        let after = match after(&before, &command, now, &self.times) {
            Ok(after) => after,
            Err(Rejected::NotClaimable(disposition)) => {
                return Ok(ClaimOutcome::Disposed(disposition, Box::new(before.head)));
            }
            Err(rejected) => return Err(Error::corrupt(message.job.as_str(), rejected)),
        };
        let fence = Fence { lane: lane.name.clone(), owner: owner.clone(), epoch: lane.epoch + 1 };
        let held = Held { job: after, fence };
        let recovers = held.lane().recoveries > lane.recoveries;
        let begins = before.head.status() != held.job.head.status();
        let refused = self.write_claim(&before, &held, &lane, tail.number, now).await?;
        let tail = Tail { number: tail.number + u64::from(begins), ..tail };
        let Some(refused) = refused else {
            return Ok(ClaimOutcome::Claimed(Box::new(Claimed { held, tail, recovers })));
        };
        let lane = match refused {
            Some(item) => Some(lane_from_item(item)?),
            None => self.lane(&message.job, &message.lane).await?,
        };
        let Some(lane) = lane else { return Ok(ClaimOutcome::Gone) };
        if lane.is_held_by(owner, held.fence.epoch) {
            // Our own claim, whose answer was lost: the refusal is the answer to the SDK's retry.
            return Ok(ClaimOutcome::Claimed(Box::new(Claimed { held, tail, recovers })));
        }
        Ok(ClaimOutcome::Disposed(lane.dispose(message.turn, again, now), Box::new(before.head)))
    }

    /// Writes the claim; when it is refused, what the lane's item is by then, as far as the table said.
    async fn write_claim(
        &self,
        before: &Job,
        held: &Held,
        lane: &Lane,
        tail: u64,
        now: Timestamp,
    ) -> Result<Option<Option<Item>>, Error> {
        let ttl = items_ttl(&before.head);
        let key = Key::of(held.id(), &Sort::Lane(&lane.name));
        let claim = Write::change(key, &lane_item(held.id(), lane, ttl)?, &lane_item(held.id(), held.lane(), ttl)?)
            .when(
                "#open = :open AND #turn = :turn AND #epoch = :epoch \
                 AND (attribute_not_exists(#lease) OR #lease.#expires_at <= :now)",
                [
                    (":open", aws_sdk_dynamodb::types::AttributeValue::Bool(true)),
                    (":turn", n(lane.turn)),
                    (":epoch", n(lane.epoch)),
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
        Ok(match self.transact(held.fence.owner.as_str(), writes).await? {
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
