//! What may go wrong in a run, and how often.

use std::time::Duration;

use super::random::Random;

/// What may happen to one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// It is lost on its way.
    LoseRequest,
    /// Its answer is lost.
    LoseAnswer,
    /// Its answer is lost, and those of its repetitions as well, more of them than the SDK makes.
    LoseAnswers,
    /// It is lost, and its repetitions as well.
    LoseRequests,
    /// It is delivered twice, and the second answer comes back.
    Twice,
    /// A copy of it is delivered later, up to a minute.
    CopyLate,
    /// It is delivered late: up to fifteen seconds.
    Hold,
    /// Its answer comes late.
    HoldAnswer,
    /// Its process dies before it leaves.
    DieBefore,
    /// Its process dies when it has been delivered.
    DieAfter,
    /// Its process stops before it leaves, often for longer than a lease: it leaves when its process goes on.
    PauseBefore,
    /// Its process stops when it has left, often for longer than a lease, and goes on as if nothing had happened.
    Pause,
    /// The service answers that it could not do it.
    Refuse,
    /// The table answers that another transaction was at work.
    Conflict,
}

use Trouble::{
    Conflict, CopyLate, DieAfter, DieBefore, Hold, HoldAnswer, LoseAnswer, LoseAnswers, LoseRequest, LoseRequests,
    Pause, PauseBefore, Refuse, Twice,
};

/// The climate of a run.
#[derive(Debug, Clone, Copy)]
pub struct Weather {
    /// Its name.
    pub name: &'static str,
    /// Of a thousand requests, so many meet trouble,
    pub troubles: u64,
    /// of these kinds, by weight,
    pub kinds: &'static [(Trouble, u64)],
    /// until this many did.
    pub budget: u64,
    /// Of a thousand eventually consistent reads, so many are stale.
    pub stale: u64,
    /// Of a thousand messages, so many are lost; and so many doubled; and so many late.
    pub messages: (u64, u64, u64),
    /// Of a thousand model calls, so many go wrong.
    pub model: u64,
    /// Of a thousand jobs, so many are cancelled.
    pub cancelled: u64,
    /// Of a thousand jobs, so many get messages while they run.
    pub posts: u64,
    /// Of a thousand workers, so many have clocks that are ahead: they take lanes whose workers are well.
    pub hasty: u64,
    /// Every second request that touches this meets trouble.
    pub aim: Option<&'static str>,
    /// Whether the job asks people: approvals, a tool of the caller's, and answers at once, late or never.
    pub people: bool,
    /// Whether the job is a workflow.
    pub workflow: bool,
    /// Whether viewers follow the stream function, and not the table themselves.
    pub streams: bool,
}

const EVERYTHING: &[(Trouble, u64)] = &[
    (LoseRequest, 2),
    (LoseAnswer, 4),
    (LoseAnswers, 1),
    (LoseRequests, 1),
    (Twice, 3),
    (CopyLate, 4),
    (Hold, 3),
    (HoldAnswer, 3),
    (DieBefore, 2),
    (DieAfter, 2),
    (Pause, 4),
    (Refuse, 1),
    (Conflict, 1),
];

impl Weather {
    /// The same, with trouble for whatever touches this.
    pub const fn aimed_at(self, aim: &'static str) -> Self {
        Self { aim: Some(aim), ..self }
    }

    /// How often a request meets trouble.
    pub(super) fn in_a_thousand(&self, summary: &str) -> u64 {
        if self.aim.is_some_and(|aim| summary.contains(aim)) { 500 } else { self.troubles }
    }

    /// Nothing goes wrong.
    pub const CALM: Self = Self {
        name: "calm",
        troubles: 0,
        kinds: EVERYTHING,
        budget: 0,
        stale: 0,
        messages: (0, 0, 0),
        model: 0,
        cancelled: 0,
        posts: 0,
        hasty: 0,
        aim: None,
        people: false,
        workflow: false,
        streams: false,
    };
    /// Now and then something goes wrong.
    pub const SHOWERS: Self = Self {
        name: "showers",
        troubles: 30,
        budget: 4,
        stale: 100,
        messages: (50, 50, 100),
        model: 100,
        cancelled: 150,
        posts: 150,
        ..Self::CALM
    };
    /// Much goes wrong.
    pub const STORM: Self = Self {
        name: "storm",
        troubles: 120,
        budget: 25,
        stale: 400,
        messages: (150, 150, 300),
        model: 250,
        cancelled: 250,
        posts: 300,
        hasty: 200,
        ..Self::CALM
    };
    /// Workers fall asleep beyond their leases and wake up.
    pub const ZOMBIES: Self = Self {
        name: "zombies",
        troubles: 80,
        kinds: &[(Pause, 6), (Hold, 4), (HoldAnswer, 3), (CopyLate, 2), (DieAfter, 1)],
        budget: 16,
        messages: (0, 900, 100),
        hasty: 700,
        ..Self::CALM
    };
    /// Workers fall asleep on the point of writing, and write when they wake up.
    pub const SLEEPWALKERS: Self = Self {
        name: "sleepwalkers",
        troubles: 60,
        kinds: &[(PauseBefore, 3), (Hold, 1), (DieAfter, 1)],
        budget: 12,
        messages: (0, 500, 100),
        hasty: 300,
        ..Self::CALM
    };
    /// Workers die.
    pub const DEATHS: Self =
        Self { name: "deaths", troubles: 60, kinds: &[(DieBefore, 1), (DieAfter, 1)], budget: 4, ..Self::CALM };
    /// Messages are lost, doubled and late.
    pub const POST_OFFICE: Self = Self { name: "post office", messages: (500, 200, 300), budget: 12, ..Self::CALM };
    /// Answers are lost, requests doubled.
    pub const BAD_LINE: Self = Self {
        name: "bad line",
        troubles: 150,
        kinds: &[(LoseAnswer, 4), (LoseAnswers, 2), (LoseRequests, 1), (Twice, 3), (CopyLate, 3), (Hold, 1)],
        budget: 20,
        stale: 300,
        ..Self::CALM
    };
    /// The job is cancelled in the midst of zombies.
    pub const CANCELLED: Self = Self {
        name: "cancelled",
        troubles: 120,
        kinds: &[(Pause, 3), (Hold, 5), (HoldAnswer, 5), (DieAfter, 1)],
        budget: 16,
        messages: (0, 500, 0),
        hasty: 500,
        cancelled: 1000,
        ..Self::CALM
    };
    /// Messages come in while the job runs, and workers die.
    pub const CONVERSATION: Self = Self {
        name: "conversation",
        troubles: 40,
        kinds: &[(DieAfter, 1), (Hold, 2), (LoseAnswer, 1)],
        budget: 4,
        posts: 1000,
        ..Self::CALM
    };
    /// The model's provider is unwell, and old requests turn up.
    pub const UPSTREAM: Self = Self {
        name: "upstream",
        troubles: 100,
        kinds: &[(CopyLate, 4), (Hold, 1), (Pause, 1)],
        budget: 25,
        model: 700,
        ..Self::CALM
    };

    /// The model's provider puts everything off, and meanwhile old requests turn up.
    pub const ECHOES: Self =
        Self { name: "echoes", troubles: 300, kinds: &[(CopyLate, 1)], budget: 60, model: 900, ..Self::CALM };

    /// People are asked, and whoever asks them dies, sleeps or is doubled.
    pub const PEOPLE: Self = Self {
        name: "people",
        troubles: 100,
        budget: 16,
        stale: 200,
        messages: (50, 300, 100),
        cancelled: 100,
        posts: 500,
        hasty: 300,
        people: true,
        streams: true,
        ..Self::CALM
    };
    /// People are asked, and whoever asks them falls asleep beyond the lease and wakes up.
    pub const SLEEPERS: Self = Self {
        name: "sleepers",
        troubles: 80,
        kinds: &[(Hold, 6), (Pause, 4), (HoldAnswer, 2)],
        hasty: 700,
        ..Self::PEOPLE
    };
    /// Lanes side by side that ask people, in showers.
    pub const WORKFLOW: Self = Self {
        name: "workflow",
        troubles: 30,
        budget: 14,
        stale: 100,
        messages: (30, 150, 100),
        cancelled: 100,
        hasty: 200,
        people: true,
        workflow: true,
        streams: true,
        ..Self::CALM
    };
    /// Lanes side by side, whose requests overtake one another.
    pub const CROWD: Self = Self {
        name: "crowd",
        troubles: 60,
        kinds: &[(Hold, 6), (HoldAnswer, 3), (Pause, 2), (DieAfter, 1)],
        budget: 20,
        messages: (0, 300, 0),
        hasty: 400,
        cancelled: 0,
        ..Self::WORKFLOW
    };
    /// Many look on through the stream function, on a bad line and with copies of the table that lag.
    pub const AUDIENCE: Self = Self { name: "audience", stale: 600, streams: true, ..Self::BAD_LINE };
    /// All that an unbroken system has to stand.
    pub const ALL: [Self; 16] = [
        Self::SHOWERS,
        Self::STORM,
        Self::ZOMBIES,
        Self::SLEEPWALKERS,
        Self::DEATHS,
        Self::POST_OFFICE,
        Self::BAD_LINE,
        Self::CANCELLED,
        Self::CONVERSATION,
        Self::UPSTREAM,
        Self::ECHOES,
        Self::PEOPLE,
        Self::SLEEPERS,
        Self::WORKFLOW,
        Self::CROWD,
        Self::AUDIENCE,
    ];
}

/// What happens to one request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fate {
    pub(super) trouble: Option<Trouble>,
    /// Until it arrives.
    pub(super) there: Duration,
    /// Until its answer does.
    pub(super) back: Duration,
    /// How long something else lasts: a pause, the time until the copy.
    pub(super) span: Duration,
    /// Whether it is answered from the past, if it may be.
    pub(super) is_stale: bool,
}

impl Fate {
    pub(super) fn draw(random: &mut Random, trouble: Option<Trouble>, stale: u64) -> Self {
        let mut there = random.millis(1..12);
        let mut back = random.millis(1..12);
        let mut span = Duration::ZERO;
        match trouble {
            Some(Hold) => there = random.millis(20..15_000),
            Some(HoldAnswer) => back = random.millis(20..15_000),
            Some(Pause) => span = random.millis(1_000..25_000),
            Some(PauseBefore) => {
                span = random.millis(1_000..25_000);
                there += span;
            }
            Some(CopyLate) => span = random.millis(5..60_000),
            _ => {}
        }
        Self { trouble, there, back, span, is_stale: random.chance(stale) }
    }
}
