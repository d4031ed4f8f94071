//! Random lives of a job: workers with right and wrong fences, late and doubled commands, a clock that jumps, the
//! store's renewals and the sweeper's pushes.

use std::time::Duration;

use domain::{
    id::{LaneName, WriterId},
    job::{
        Asker, Command, Ending, Fact, FailedDuring, FinishReason, Job, JobError, JobSpec, ModelSettings, Rejected,
        accept, after, decide,
    },
    lane::{Fence, Lane, Lease, LeaseTimes},
    message::Message,
    time::Timestamp,
};
use proptest::{collection::vec, prelude::*};

/// The lanes of the job, and one that it does not have.
const LANES: [&str; 4] = ["main", "left", "right", "nowhere"];

/// One thing that happens. What it means depends on what the job has become by then.
#[derive(Debug, Clone)]
pub(super) enum Step {
    /// Time passes; a little backwards too, since clocks differ.
    Clock(i64),
    /// A message is delivered to a worker with a fresh name.
    Claim { lane: usize, turn_off_by: i32, again: bool },
    /// A worker writes.
    Write { pick: Pick, write: Write },
    /// The job is ended without a lease.
    End { cancel: bool },
    /// A message is accepted.
    Post,
    /// The terminal event is written.
    LogEnded,
    /// The event bus is told.
    Notified,
    /// A command from before arrives once more.
    Repeat(usize),
    /// A lease's holder renews it.
    Renew(usize),
    /// The sweeper comes by.
    Sweep(usize),
}

/// Whose fence is shown.
#[derive(Debug, Clone)]
pub(super) enum Pick {
    /// That of the lane's holder.
    Holder(usize),
    /// One of those that were ever held.
    Ever(usize),
    /// The holder's name with another epoch.
    WrongEpoch(usize, i64),
    /// The right epoch with another name.
    WrongName(usize),
}

/// What is written under it.
#[derive(Debug, Clone)]
pub(super) enum Write {
    Checkpoint { text_bytes: u64 },
    Advance,
    Yield { seconds: u64, upstream: bool },
    Complete { inbox_off_by: u32 },
    Fail,
}

/// A step and what it did.
#[derive(Debug, Clone)]
pub(super) struct Moment {
    pub(super) now: Timestamp,
    pub(super) before: Job,
    pub(super) action: Action,
    pub(super) after: Job,
}

/// What a moment was about.
#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "there are few of them at a time")]
pub(super) enum Action {
    /// Something was asked of the job.
    Asked(Command, Result<Vec<Fact>, Rejected>),
    /// The store renewed a lane's lease.
    Renewed(LaneName),
    /// The sweeper pushed a lane's due time.
    Swept(LaneName),
}

impl Moment {
    pub(super) fn accepted(&self) -> Option<&Command> {
        match &self.action {
            Action::Asked(command, Ok(_)) => Some(command),
            _ => None,
        }
    }

    /// Each lane before and after.
    pub(super) fn lanes(&self) -> impl Iterator<Item = (&Lane, &Lane)> {
        self.before.lanes.values().map(|lane| (lane, &self.after.lanes[&lane.name]))
    }

    /// The lane that an accepted claim took, before and after.
    pub(super) fn claimed(&self) -> Option<(&Lane, &Lane)> {
        let Some(Command::Claim { lane, .. }) = self.accepted() else { return None };
        Some((&self.before.lanes[lane], &self.after.lanes[lane]))
    }

    /// The fence that an accepted claim gave out.
    pub(super) fn granted(&self) -> Option<Fence> {
        self.claimed().map(|(_, lane)| lane.fence().expect("a claimed lane has a fence"))
    }
}

pub(super) fn times() -> LeaseTimes {
    LeaseTimes::default()
}

pub(super) fn lane_name(index: usize) -> LaneName {
    LANES[index % LANES.len()].parse().unwrap()
}

pub(super) fn failed(reason: FinishReason) -> Ending {
    let error = JobError {
        code: "test".into(),
        message: "It failed.".into(),
        failed_during: FailedDuring::Turn,
        tool_name: None,
        node_id: None,
        turn: 1,
    };
    Ending::Failed { reason, error }
}

/// A job with three lanes, as it is before anything happened to it.
pub(super) fn new_job() -> Job {
    let now = Timestamp::from_millis(1_763_800_000_000);
    let spec = JobSpec {
        messages: vec![Message::user("Go on.")],
        settings: ModelSettings { model: "any".into(), ..ModelSettings::default() },
        ..JobSpec::default()
    };
    let asker = Asker::new("job_01JDA7Q3W5T8Z2K4M6N8P0R1S3".parse().unwrap(), "ann".parse().unwrap(), 3600);
    let (head, main) = accept(asker, &spec, now, &times());
    let due_at = now + times().margin;
    let lanes = [main, Lane::new(lane_name(1), due_at), Lane::new(lane_name(2), due_at)];
    Job { head, lanes: lanes.into_iter().map(|lane| (lane.name.clone(), lane)).collect() }
}

/// Lives of about seventy steps, most of them such as a sound system would take. Steps are made from plain numbers, since
/// proptest's own unions take twenty times as long as the lives themselves.
pub(super) fn lives() -> impl Strategy<Value = Vec<Step>> {
    vec(any::<u32>(), 30..120).prop_map(|numbers| numbers.into_iter().map(|n| step(Dice(n))).collect())
}

/// A number from which smaller ones are drawn.
pub(super) struct Dice(pub(super) u32);

impl Dice {
    /// A number below `n`.
    pub(super) fn of(&mut self, n: u32) -> usize {
        let drawn = self.0 % n;
        self.0 /= n;
        drawn as usize
    }

    fn one_of<T: Copy>(&mut self, these: &[T]) -> T {
        these[self.of(these.len() as u32)]
    }

    fn coin(&mut self) -> bool {
        self.of(2) == 1
    }
}

pub(super) fn step(mut dice: Dice) -> Step {
    match dice.of(128) {
        0..24 => Step::Clock(dice.one_of(&[0, 0, 1, 1, 2, 3, 4, 8, 11, 14, 30, 400, -1, -3])),
        24..62 => Step::Claim {
            lane: dice.one_of(&[0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3]),
            turn_off_by: dice.one_of(&[0, 0, 0, 0, 0, 0, 0, 0, 0, -1, -1, -2, 1]),
            again: dice.coin(),
        },
        62..99 => {
            let pick = match dice.of(12) {
                0..8 => Pick::Holder(dice.of(3)),
                8..10 => Pick::Ever(dice.of(1000)),
                10 => Pick::WrongEpoch(dice.of(3), dice.one_of(&[-1, 1])),
                _ => Pick::WrongName(dice.of(4)),
            };
            let write = match dice.of(33) {
                0..12 => Write::Checkpoint { text_bytes: dice.of(5000) as u64 },
                12..24 => Write::Advance,
                24..30 => Write::Yield { seconds: dice.of(60) as u64, upstream: dice.coin() },
                30..32 => Write::Complete { inbox_off_by: dice.of(3) as u32 },
                _ => Write::Fail,
            };
            Step::Write { pick, write }
        }
        99 => Step::End { cancel: dice.coin() },
        100..103 => Step::Post,
        103..106 => Step::LogEnded,
        106..109 => Step::Notified,
        109..118 => Step::Repeat(dice.of(1000)),
        118..123 => Step::Renew(dice.of(3)),
        _ => Step::Sweep(dice.of(3)),
    }
}

/// What became of the job, step by step.
pub(super) fn live(steps: &[Step]) -> Vec<Moment> {
    let mut life = Life::new();
    for step in steps {
        life.step(step);
    }
    life.moments
}

/// A job that things happen to.
pub(super) struct Life {
    pub(super) job: Job,
    pub(super) moments: Vec<Moment>,
    now: Timestamp,
    granted: Vec<Fence>,
    sent: Vec<Command>,
}

impl Life {
    pub(super) fn new() -> Self {
        let job = new_job();
        let now = job.head.created_at;
        Self { job, moments: vec![], now, granted: vec![], sent: vec![] }
    }

    pub(super) fn step(&mut self, step: &Step) {
        let command = match step {
            Step::Clock(seconds) => {
                self.now = Timestamp::from_millis(self.now.as_millis() + seconds * 1000);
                return;
            }
            Step::Claim { lane, turn_off_by, again } => {
                let lane = lane_name(*lane);
                let turn = self.job.lanes.get(&lane).map_or(1, |lane| lane.turn).saturating_add_signed(*turn_off_by);
                Command::Claim { lane, turn, again: *again, owner: self.fresh_name() }
            }
            Step::Write { pick, write } => {
                let Some(fence) = self.fence(pick) else { return };
                self.write(fence, write)
            }
            Step::End { cancel: true } => Command::End { ending: Ending::Cancelled },
            Step::End { cancel: false } => Command::End { ending: failed(FinishReason::Deadline) },
            Step::Post => Command::Post,
            Step::LogEnded => Command::LogEnded,
            Step::Notified => Command::Notified,
            Step::Repeat(which) => match self.sent.as_slice() {
                [] => return,
                sent => sent[which % sent.len()].clone(),
            },
            Step::Renew(lane) => return self.renew(&lane_name(*lane)),
            Step::Sweep(lane) => return self.sweep(&lane_name(*lane)),
        };
        self.ask(command);
    }

    pub(super) fn ask(&mut self, command: Command) {
        let facts = decide(&self.job, &command, self.now, &times());
        let after = after(&self.job, &command, self.now, &times());
        assert_eq!(after.as_ref().err(), facts.as_ref().err(), "what is decided can be applied");
        self.sent.push(command.clone());
        self.passed(Action::Asked(command, facts), after.unwrap_or_else(|_| self.job.clone()));
        self.granted.extend(self.moments.last().and_then(Moment::granted));
    }

    fn write(&self, fence: Fence, write: &Write) -> Command {
        match *write {
            Write::Checkpoint { text_bytes } => Command::Checkpoint { fence, text_bytes },
            Write::Advance => Command::Advance { fence, log_end: 0 },
            Write::Yield { seconds, upstream } => {
                Command::Yield { fence, delay: Duration::from_secs(seconds), upstream }
            }
            Write::Complete { inbox_off_by } => {
                let inbox = self.job.head.inbox.saturating_sub(inbox_off_by);
                Command::Complete { fence, inbox, reason: FinishReason::Stop }
            }
            Write::Fail => Command::Fail { fence, ending: failed(FinishReason::Error) },
        }
    }

    fn fence(&self, pick: &Pick) -> Option<Fence> {
        let holder = |lane: &usize| self.job.lanes[&lane_name(*lane)].fence();
        match pick {
            Pick::Holder(lane) => holder(lane),
            Pick::Ever(_) if self.granted.is_empty() => None,
            Pick::Ever(which) => Some(self.granted[which % self.granted.len()].clone()),
            Pick::WrongEpoch(lane, by) => {
                holder(lane).map(|fence| Fence { epoch: fence.epoch.saturating_add_signed(*by), ..fence })
            }
            Pick::WrongName(lane) => {
                let lane = lane_name(*lane);
                let epoch = self.job.lanes.get(&lane).map_or(1, |lane| lane.epoch);
                Some(Fence { lane, owner: "somebody-else".parse().unwrap(), epoch })
            }
        }
    }

    fn renew(&mut self, name: &LaneName) {
        let lane = &self.job.lanes[name];
        if let Some(lease) = &lane.lease {
            let lease = Some(Lease { expires_at: self.now + times().length, ..lease.clone() });
            self.put(Lane { lease, ..lane.clone() }, Action::Renewed(name.clone()));
        }
    }

    fn sweep(&mut self, name: &LaneName) {
        if let Some(swept) = self.job.lanes[name].swept(self.now, None) {
            self.put(swept.lane, Action::Swept(name.clone()));
        }
    }

    fn put(&mut self, lane: Lane, action: Action) {
        let mut after = self.job.clone();
        after.lanes.insert(lane.name.clone(), lane);
        self.passed(action, after);
    }

    fn passed(&mut self, action: Action, after: Job) {
        let before = std::mem::replace(&mut self.job, after.clone());
        self.moments.push(Moment { now: self.now, before, action, after });
    }

    fn fresh_name(&self) -> WriterId {
        format!("w{}", self.moments.len()).parse().unwrap()
    }
}
