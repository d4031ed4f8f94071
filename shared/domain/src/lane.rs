//! A lane: a thread of work in a job, and the lease that lets one worker at a time advance it.
//!
//! Every method that changes a lane returns the changed copy; the store writes it under the condition that the lane is
//! still as it was read (PROTOCOL: `take`, `commit`).

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    id::{InputRequestId, LaneName, WriterId},
    limits::MAX_TRIES,
    time::Timestamp,
};

/// The exclusive right to advance a lane until a moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// The invocation that holds it: a fresh name each time, never a process's.
    pub owner: WriterId,
    /// Until when, unless it is renewed.
    pub expires_at: Timestamp,
}

/// Which half of a turn comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// The model is to be asked.
    Model,
    /// The model's answer is recorded; its tool calls are to be run.
    Tools,
}

impl Phase {
    /// The word under which it is stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Tools => "tools",
        }
    }
}

/// A thread of work in a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lane {
    /// Its name, unique in the job.
    pub name: LaneName,
    /// Whether work is left in it. A finished job's lanes are closed.
    pub open: bool,
    /// The turn that is next or under way, from 1.
    pub turn: u32,
    /// Which half of it.
    pub phase: Phase,
    /// The fencing number: it rises with every claim and every close, and each write of a turn is conditional on it.
    pub epoch: u64,
    /// Claims of this turn so far. Never falls within a turn: events carry it.
    pub attempt: u32,
    /// Claims of this turn that did not end in an orderly way; too many fail the job.
    pub tries: u32,
    /// Times that this turn was put off because the model's provider asked for patience.
    pub backoffs: u32,
    /// Times that a turn of this lane was taken over from a worker that died.
    pub recoveries: u32,
    /// Times that the sweeper found it due since its last claim or commit.
    #[serde(default)]
    pub sweeps: u32,
    /// Who works on it.
    pub lease: Option<Lease>,
    /// When something should have happened: the sweeper looks at lanes past it.
    pub due_at: Option<Timestamp>,
    /// Bytes of this lane's text that are durable: committed turns and, in the tools phase, this turn's answer.
    pub output_bytes: u64,
    /// Requests to the table and the queues that its turns have made, up to its last write.
    #[serde(default)]
    pub requests: u32,
    /// Where the log ended when its turn was committed, or the job accepted. Events of others may have come since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_end: Option<u64>,
    /// The workflow's node that it works for, as viewers know it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_id: Option<String>,
    /// What it waits for before its turn can go on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits: Option<Waits>,
    /// When its first turn was claimed, moved on by as long as it has waited for answers since: how long it may take is
    /// counted from here. None as well in lanes of earlier releases, until they are claimed again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_work_since: Option<Timestamp>,
}

/// A lane's pause: nobody works on it until its questions are answered, or the first of them expires.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waits {
    /// Questions that have no answer yet.
    pub pending: u32,
    /// When the pause began. Pauses of earlier releases do not say so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// When the first of them expires.
    pub until: Timestamp,
    /// Whether the event bus was told.
    pub announced: bool,
    /// The one question that it waits for, where that is asked for the whole job and other lanes may wait for it, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on: Option<InputRequestId>,
}

/// The two facts that fence a turn's writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fence {
    /// Which lane.
    pub lane: LaneName,
    /// Whose lease.
    pub owner: WriterId,
    /// Of which epoch.
    pub epoch: u64,
}

/// Durations of the lease protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseTimes {
    /// How long a lease lasts.
    pub length: Duration,
    /// How often it is renewed.
    pub renew_every: Duration,
    /// How long a worker waits at least before it looks at its job's head: cancellation, messages, viewers.
    pub look_soonest: Duration,
    /// How long it waits at most.
    pub look_every: Duration,
    /// How long after a moment in which something should have happened the sweeper may look.
    pub margin: Duration,
}

impl LeaseTimes {
    /// How much of `margin` there has to be: more would move due times for nothing.
    pub fn least_margin(&self) -> Duration {
        self.margin / 3
    }

    /// When to look at a job again that was asked for so long ago. Whoever asks for a job comes to watch it in its first
    /// moments, and waits for its text no longer than half as long again.
    pub fn look_after(&self, age: Duration) -> Duration {
        (age / 2).clamp(self.look_soonest.min(self.look_every), self.look_every)
    }
}

impl Default for LeaseTimes {
    fn default() -> Self {
        Self {
            length: Duration::from_secs(9),
            renew_every: Duration::from_secs(3),
            look_soonest: Duration::from_millis(50),
            look_every: Duration::from_secs(1),
            margin: Duration::from_secs(15),
        }
    }
}

/// What a worker may do with a lane that it has read.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "taken apart where it is made")]
pub enum Take {
    /// Claim it: write this lane, if it still has the epoch that was read.
    Claim(Lane),
    /// Leave it, and do this with the message.
    Dispose(Disposition),
}

/// What becomes of a message whose turn is not to be taken (PROTOCOL: `dispose`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Disposition {
    /// The lane is closed. What the job still owes, if it is over, is settled; if it goes on and the message came again,
    /// lanes that were never claimed are asked for again. Then the message is deleted.
    Closed,
    /// Past: delete it.
    Drop,
    /// Past, but the continuation that followed may have been lost: send that one, then delete this.
    SendAgain(u32),
    /// Somebody works on it: let the message come back when that lease may end.
    ComeBack(Duration),
    /// From the future, or from another release: let it come back.
    Keep,
}

impl Lane {
    /// A lane that waits for its first turn.
    pub fn new(name: LaneName, due_at: Timestamp) -> Self {
        Self {
            name,
            open: true,
            turn: 1,
            phase: Phase::Model,
            epoch: 0,
            attempt: 0,
            tries: 0,
            backoffs: 0,
            recoveries: 0,
            sweeps: 0,
            lease: None,
            due_at: Some(due_at),
            output_bytes: 0,
            requests: 0,
            log_end: None,
            node_id: None,
            waits: None,
            at_work_since: None,
        }
    }

    /// Whether its turn was never begun, so that nothing is on record of it.
    pub fn is_fresh(&self) -> bool {
        self.open && self.attempt == 0 && self.lease.is_none() && self.waits.is_none()
    }

    /// When the sweeper shall look: as it is, if that is after `earliest` and no later than `latest`; or else at `new`. To
    /// move a due time is to move the lane in an index, which costs more than the rest of a claim or a commit; and a
    /// sweeper that looks early finds the lease, or asks for a turn that was asked for.
    fn due(&self, earliest: Timestamp, latest: Timestamp, new: Timestamp) -> Option<Timestamp> {
        self.due_at.filter(|due| *due > earliest && *due <= latest).or(Some(new))
    }

    /// Whether somebody may be at work on it.
    pub fn is_leased(&self, now: Timestamp) -> bool {
        self.lease.as_ref().is_some_and(|lease| lease.expires_at > now)
    }

    /// Whether it waits for an answer that may still come.
    pub fn is_waiting(&self, now: Timestamp) -> bool {
        self.waits.as_ref().is_some_and(|waits| waits.until > now)
    }

    /// Whether `owner` holds it in this epoch. Says nothing about the time: a fence, not a clock, decides.
    pub fn is_held_by(&self, owner: &WriterId, epoch: u64) -> bool {
        self.epoch == epoch && self.lease.as_ref().is_some_and(|lease| lease.owner == *owner)
    }

    /// The fence of the current holder, if any.
    pub fn fence(&self) -> Option<Fence> {
        let lease = self.lease.as_ref()?;
        Some(Fence { lane: self.name.clone(), owner: lease.owner.clone(), epoch: self.epoch })
    }

    /// What a worker called `me`, with a message for `turn`, may do. `again`: the message was delivered before.
    pub fn take(&self, turn: u32, again: bool, me: &WriterId, now: Timestamp, times: &LeaseTimes) -> Take {
        if !self.open || self.turn != turn || self.is_leased(now) || self.is_waiting(now) {
            return Take::Dispose(self.dispose(turn, again, now));
        }
        let taken_over = self.lease.is_some();
        let expires_at = now + times.length;
        Take::Claim(Self {
            lease: Some(Lease { owner: me.clone(), expires_at }),
            epoch: self.epoch + 1,
            attempt: self.attempt + 1,
            tries: self.tries + 1,
            recoveries: self.recoveries + u32::from(taken_over),
            sweeps: 0,
            waits: None,
            at_work_since: self.at_work_again(now).or(Some(now)),
            due_at: self.due(expires_at, expires_at + times.margin, expires_at + times.least_margin()),
            ..self.clone()
        })
    }

    /// What becomes of a message for `turn` that this lane does not let a worker take.
    pub fn dispose(&self, turn: u32, again: bool, now: Timestamp) -> Disposition {
        if !self.open {
            return Disposition::Closed;
        }
        if self.turn < turn {
            return Disposition::Keep;
        }
        if self.turn > turn {
            return if again && self.turn == turn + 1 && self.lease.is_none() {
                Disposition::SendAgain(self.turn)
            } else {
                Disposition::Drop
            };
        }
        if self.is_waiting(now) {
            return Disposition::Drop; // the last answer, or the sweeper, asks for the turn again
        }
        let left = self.lease.as_ref().map_or(Duration::ZERO, |lease| lease.expires_at.since(now));
        Disposition::ComeBack(left)
    }

    /// Whether this turn has been begun too often.
    pub fn is_out_of_tries(&self) -> bool {
        self.tries > MAX_TRIES
    }

    /// The model's answer is recorded; it added so many bytes to the lane's text. A checkpoint that comes again counts
    /// once: what restarts void is measured by these bytes.
    pub fn checkpointed(&self, text_bytes: u64) -> Self {
        match self.phase {
            Phase::Model => Self { phase: Phase::Tools, output_bytes: self.output_bytes + text_bytes, ..self.clone() },
            Phase::Tools => self.clone(),
        }
    }

    /// The turn is over and the next one is owed; the log ended at `log_end`.
    pub fn advanced(&self, log_end: u64, now: Timestamp, times: &LeaseTimes) -> Self {
        Self {
            turn: self.turn + 1,
            phase: Phase::Model,
            attempt: 0,
            tries: 0,
            backoffs: 0,
            sweeps: 0,
            lease: None,
            due_at: self.due(now + times.least_margin(), now + times.margin, now + times.margin),
            log_end: Some(log_end),
            ..self.clone()
        }
    }

    /// The turn is given back half way, in an orderly manner, to be taken up after `delay`; `upstream`: because the model's
    /// provider could not answer. The epoch rises, so that an old copy of a refused claim stays refused.
    pub fn yielded(&self, delay: Duration, upstream: bool, now: Timestamp, times: &LeaseTimes) -> Self {
        let back = now + delay;
        Self {
            epoch: self.epoch + 1,
            tries: 0,
            backoffs: self.backoffs + u32::from(upstream),
            sweeps: 0,
            lease: None,
            due_at: self.due(back + times.least_margin(), back + times.margin, back + times.margin),
            ..self.clone()
        }
    }

    /// The turn waits for the answers to so many questions, of which the first expires at `until`. Nothing is at work on
    /// it meanwhile; the due time is for telling the event bus.
    pub fn paused(&self, pending: u32, until: Timestamp, now: Timestamp, times: &LeaseTimes) -> Self {
        Self {
            epoch: self.epoch + 1,
            tries: 0,
            backoffs: 0,
            sweeps: 0,
            lease: None,
            waits: Some(Waits { pending, since: Some(now), until, announced: false, on: None }),
            due_at: Some((now + times.margin).min(until)),
            ..self.clone()
        }
    }

    /// The turn waits for the answer to a question of the whole job, which expires at `until`. `asks`: it is this lane that
    /// asks, and that the event bus is told of.
    pub fn paused_on(
        &self,
        question: &InputRequestId,
        asks: bool,
        until: Timestamp,
        now: Timestamp,
        times: &LeaseTimes,
    ) -> Self {
        let paused = self.paused(1, until, now, times);
        let waits = Waits { pending: 1, since: Some(now), until, announced: !asks, on: Some(question.clone()) };
        Self { waits: Some(waits), due_at: if asks { paused.due_at } else { Some(until) }, ..paused }
    }

    /// Whether it waits for the answer to this question of the whole job, which `asker` asks. Lanes of earlier releases do
    /// not say for what they wait.
    pub fn waits_on(&self, question: &InputRequestId, asker: &LaneName) -> bool {
        self.open
            && self.waits.as_ref().is_some_and(|waits| match &waits.on {
                Some(on) => on == question,
                None => self.name == *asker,
            })
    }

    /// One of its questions was answered; with the last of them its turn is owed again. `None` when it waits for none.
    pub fn answered(&self, now: Timestamp, times: &LeaseTimes) -> Option<Self> {
        let waits = self.waits.clone().filter(|_| self.open)?;
        let pending = waits.pending.saturating_sub(1);
        Some(if pending == 0 {
            let at_work_since = self.at_work_again(now);
            Self { waits: None, at_work_since, due_at: Some(now + times.margin), sweeps: 0, ..self.clone() }
        } else {
            Self { waits: Some(Waits { pending, ..waits }), ..self.clone() }
        })
    }

    /// Since when it is at work, if its pause, where it is in one, ends now.
    fn at_work_again(&self, now: Timestamp) -> Option<Timestamp> {
        let paused = self.waits.as_ref().and_then(|waits| waits.since).map(|since| now.since(since));
        self.at_work_since.map(|since| since + paused.unwrap_or_default())
    }

    /// No work is left in it, or none is wanted any more.
    pub fn closed(&self) -> Self {
        Self { open: false, epoch: self.epoch + 1, lease: None, waits: None, due_at: None, ..self.clone() }
    }

    /// What the sweeper does when it finds this lane in the due index: push the due time, longer each time (a backlog
    /// is not a loss), but not beyond `look_by` nor the moment at which what it waits for expires, and ask for the turn unless
    /// somebody is at work. `None` when nothing is due.
    pub fn swept(&self, now: Timestamp, look_by: Option<Timestamp>) -> Option<Swept> {
        self.due_at.filter(|due| self.open && *due <= now)?;
        let push = FIRST_PUSH.saturating_mul(1 << self.sweeps.min(10)).min(LONGEST_PUSH);
        let expires = self.waits.as_ref().map(|waits| waits.until);
        let bounds = [look_by, expires].into_iter().flatten().filter(|by| *by > now);
        let due_at = bounds.fold(now + push, Timestamp::min);
        let lane = Self { due_at: Some(due_at), sweeps: self.sweeps + 1, ..self.clone() };
        Some(Swept { lane, ask: !self.is_leased(now) && !self.is_waiting(now) })
    }
}

/// How far the sweeper pushes a due time at first, and at most.
const FIRST_PUSH: Duration = Duration::from_secs(30);
const LONGEST_PUSH: Duration = Duration::from_secs(900);

/// What the sweeper does with a lane that is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Swept {
    /// The lane with its new due time; to be written if epoch, turn and due time are still as they were.
    pub lane: Lane,
    /// Whether to send the lane's continuation.
    pub ask: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    fn me() -> WriterId {
        "me".parse().unwrap()
    }

    fn fresh() -> Lane {
        Lane::new(LaneName::main(), at(15))
    }

    fn claimed(lane: &Lane, turn: u32, owner: &str, now: i64) -> Lane {
        match lane.take(turn, false, &owner.parse().unwrap(), at(now), &LeaseTimes::default()) {
            Take::Claim(lane) => lane,
            Take::Dispose(disposition) => panic!("{disposition:?}"),
        }
    }

    #[test]
    fn a_young_job_is_looked_at_more_often() {
        let after = |age| LeaseTimes::default().look_after(Duration::from_millis(age)).as_millis();
        assert_eq!([0, 60, 300, 1500, 60_000].map(after), [50, 50, 150, 750, 1000]);
    }

    #[test]
    fn a_free_lane_is_claimed_under_a_higher_epoch() {
        let lane = claimed(&fresh(), 1, "me", 0);
        assert_eq!((lane.epoch, lane.attempt, lane.tries, lane.recoveries), (1, 1, 1, 0));
        assert!(lane.is_held_by(&me(), 1));
        assert_eq!(lane.due_at, Some(at(15)), "after the lease's end as it was");
        assert_eq!(claimed(&fresh(), 1, "me", 5).due_at, Some(at(15)));
        assert_eq!(claimed(&fresh(), 1, "me", 6).due_at, Some(at(20)), "the lease's end and five seconds");
    }

    #[test]
    fn a_due_time_moves_only_when_it_is_too_early_or_too_late() {
        let times = LeaseTimes::default();
        let lane = claimed(&fresh(), 1, "me", 0);
        assert_eq!(lane.advanced(4, at(9), &times).due_at, Some(at(15)));
        assert_eq!(lane.advanced(4, at(10), &times).due_at, Some(at(25)));
        let late = Lane { due_at: Some(at(40)), ..lane.clone() };
        assert_eq!(late.advanced(4, at(21), &times).due_at, Some(at(36)), "what is lost is found as soon as ever");
        assert_eq!(lane.yielded(Duration::from_secs(30), true, at(1), &times).due_at, Some(at(46)));
    }

    #[test]
    fn a_leased_lane_lets_the_message_come_back_when_the_lease_may_end() {
        let lane = claimed(&fresh(), 1, "other", 0);
        let take = lane.take(1, true, &me(), at(4), &LeaseTimes::default());
        assert_eq!(take, Take::Dispose(Disposition::ComeBack(Duration::from_secs(5))));
    }

    #[test]
    fn an_expired_lease_is_taken_over_and_counted() {
        let lane = claimed(&claimed(&fresh(), 1, "other", 0), 1, "me", 11);
        assert_eq!((lane.epoch, lane.attempt, lane.recoveries), (2, 2, 1));
    }

    #[test]
    fn messages_for_other_turns_are_disposed_of_by_the_table_in_the_protocol() {
        let second = claimed(&fresh(), 1, "me", 0).advanced(4, at(1), &LeaseTimes::default());
        let now = at(2);
        assert_eq!(second.dispose(1, false, now), Disposition::Drop);
        assert_eq!(second.dispose(1, true, now), Disposition::SendAgain(2));
        assert_eq!(claimed(&second, 2, "other", 2).dispose(1, true, now), Disposition::Drop);
        assert_eq!(second.dispose(3, true, now), Disposition::Keep);
        assert_eq!(second.closed().dispose(2, true, now), Disposition::Closed);
        let third = claimed(&second, 2, "me", 2).advanced(9, at(3), &LeaseTimes::default());
        assert_eq!(third.dispose(1, true, now), Disposition::Drop);
    }

    #[test]
    fn a_turn_given_back_in_order_is_not_a_failed_try() {
        let lane = claimed(&fresh(), 1, "me", 0).yielded(Duration::from_secs(5), true, at(1), &LeaseTimes::default());
        assert_eq!((lane.tries, lane.backoffs, lane.attempt, lane.epoch), (0, 1, 1, 2));
        assert_eq!(claimed(&lane, 1, "me", 6).attempt, 2);
    }

    #[test]
    fn a_worker_may_die_five_times_in_a_turn() {
        let mut lane = fresh();
        for n in 0..6 {
            assert!(!lane.is_out_of_tries());
            lane = claimed(&lane, 1, "me", n * 11);
        }
        assert!(lane.is_out_of_tries());
    }

    #[test]
    fn a_lane_is_at_work_from_its_first_claim_on_without_its_pauses() {
        let times = LeaseTimes::default();
        assert_eq!(fresh().at_work_since, None, "who waits in line is not at work");
        let lane = claimed(&fresh(), 1, "me", 100);
        let lane = claimed(&lane.advanced(4, at(110), &times), 2, "me", 120);
        assert_eq!(lane.at_work_since, Some(at(100)));
        let waits = lane.paused(2, at(900), at(130), &times);
        let once = waits.answered(at(140), &times).unwrap();
        let twice = once.answered(at(530), &times).unwrap();
        assert_eq!((once.at_work_since, twice.at_work_since), (Some(at(100)), Some(at(500))));
        let expired = claimed(&waits, 2, "me", 930);
        assert_eq!(expired.at_work_since, Some(at(900)), "a pause that nobody ended is one, too");
        let question = "job.budget0".parse().unwrap();
        let budget = expired.paused_on(&question, true, at(2000), at(940), &times);
        assert_eq!(budget.answered(at(950), &times).unwrap().at_work_since, Some(at(910)));
    }

    #[test]
    fn a_lane_of_an_earlier_release_is_at_work_from_the_next_claim_on() {
        let mut lane = claimed(&fresh(), 1, "me", 0).paused(1, at(900), at(10), &LeaseTimes::default());
        (lane.at_work_since, lane.waits.as_mut().unwrap().since) = (None, None);
        let stored = serde_json::to_value(&lane).unwrap();
        assert!(stored.get("at_work_since").is_none() && stored["waits"].get("since").is_none());
        let lane: Lane = serde_json::from_value(stored).unwrap();
        let lane = lane.answered(at(400), &LeaseTimes::default()).unwrap();
        assert_eq!(claimed(&lane, 1, "me", 410).at_work_since, Some(at(410)));
    }

    #[test]
    fn the_sweeper_pushes_and_asks_only_when_nobody_works() {
        let lane = fresh();
        assert_eq!(lane.swept(at(14), None), None);
        let once = lane.swept(at(20), None).unwrap();
        assert_eq!((once.lane.due_at, once.ask), (Some(at(50)), true));
        assert_eq!(once.lane.swept(at(50), None).unwrap().lane.due_at, Some(at(110)));
        let held = Lane { due_at: Some(at(5)), ..claimed(&lane, 1, "me", 0) };
        assert_eq!(held.swept(at(6), None).map(|swept| swept.ask), Some(false));
        assert_eq!(lane.closed().swept(at(20), None), None);
        assert_eq!(lane.swept(at(20), Some(at(25))).unwrap().lane.due_at, Some(at(25)));
        assert_eq!(lane.swept(at(20), Some(at(20))).unwrap().lane.due_at, Some(at(50)), "what is past is no reason");
    }

    #[test]
    fn what_waits_is_swept_no_later_than_it_expires() {
        let times = LeaseTimes::default();
        let waits = claimed(&fresh(), 1, "me", 0).paused(1, at(40), at(5), &times);
        assert_eq!(waits.due_at, Some(at(20)));
        let swept = waits.swept(at(20), None).unwrap();
        assert_eq!((swept.lane.due_at, swept.ask), (Some(at(40)), false), "not 30 seconds later");
        let expired = swept.lane.swept(at(40), None).unwrap();
        assert_eq!((expired.lane.due_at, expired.ask), (Some(at(100)), true));
    }
}
