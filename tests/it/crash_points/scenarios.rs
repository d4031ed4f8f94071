//! The jobs that things go wrong with.

use domain::job::Status;
use local::demo_model::{Call, Fault as ModelFault, Script, Turn};

use super::workflow::{OVER_BUDGET, WORKFLOW};

/// Who answers what a job asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum People {
    /// Nothing is asked.
    Unasked,
    /// Somebody approves; and says something, where it is a chat.
    Present,
    /// Nobody: the question expires.
    Away,
}

/// A job, and what must come of it whatever goes wrong.
#[derive(Clone, Copy)]
pub(super) struct Scenario {
    /// What it is called in the summary.
    pub(super) name: &'static str,
    pub(super) script: fn() -> Script,
    /// Whether its owner cancels it after the first turn.
    pub(super) cancelled: bool,
    /// What people have to do with it.
    pub(super) people: People,
    /// Whether it is the workflow.
    pub(super) is_workflow: bool,
    /// In how many turns its conversation is made shorter.
    pub(super) n_shortened: usize,
    /// Tokens that it may use before a person is asked; two of its lanes find them used up.
    pub(super) budget: Option<u64>,
    /// Every how many requests something goes wrong; [`EVERY_POINT`] makes it each of them.
    pub(super) stride: u64,
    /// The status that it ends with.
    pub(super) status: Status,
    /// Its text.
    pub(super) text: &'static str,
    /// The tools that are called, in the order of the log.
    pub(super) calls: &'static [&'static str],
    /// Requests that it makes at least.
    pub(super) n_requests: u64,
}

pub(super) const TEXT_ONLY: Scenario = Scenario {
    name: "text",
    script: || Script::new().turn(Turn::pieces(["Nothing ", "to ", "look up."])),
    cancelled: false,
    people: People::Unasked,
    is_workflow: false,
    n_shortened: 0,
    budget: None,
    stride: 1,
    status: Status::Completed,
    text: "Nothing to look up.",
    calls: &[],
    n_requests: 9,
};

pub(super) const TOOLS: Scenario = Scenario {
    name: "tools side by side",
    script: || {
        let all = ["look", "send", "push"].map(|tool| Call::new(tool, "{}"));
        Script::new()
            .turn(Turn::pieces(["Looking ", "things ", "up."]).then_calls(all))
            .turn(Turn::pieces(["And once", " more."]).then_calls([Call::new("look", "{}")]))
            .turn(Turn::pieces(["The answer ", "is ", "Zoë."]))
    },
    cancelled: false,
    people: People::Unasked,
    is_workflow: false,
    n_shortened: 0,
    budget: None,
    stride: 1,
    status: Status::Completed,
    text: "Looking things up.\n\nAnd once more.\n\nThe answer is Zoë.",
    calls: &["look", "send", "push", "look"],
    n_requests: 30,
};

pub(super) const UPSTREAM_FAILS: Scenario = Scenario {
    name: "upstream error",
    script: || {
        let broken = ModelFault::Status(500, "broken");
        let first = Turn::text("First.").then_calls([Call::new("push", "{}")]).fault(broken);
        Script::new().turn(first).turn(Turn::pieces(["Then ", "the ", "end."]).fault(ModelFault::CutAfter(2)))
    },
    cancelled: false,
    people: People::Unasked,
    is_workflow: false,
    n_shortened: 0,
    budget: None,
    stride: 1,
    status: Status::Completed,
    text: "First.\n\nThen the end.",
    calls: &["push"],
    n_requests: 34,
};

pub(super) const CANCELLED: Scenario = Scenario {
    name: "cancel",
    script: || {
        let first = Turn::text("First.").then_calls([Call::new("push", "{}")]);
        Script::new().turn(first).turn(Turn::text("never"))
    },
    cancelled: true,
    people: People::Unasked,
    is_workflow: false,
    n_shortened: 0,
    budget: None,
    stride: 1,
    status: Status::Cancelled,
    text: "First.\n\nnever",
    calls: &["push"],
    n_requests: 20,
};

pub(super) const PEOPLE: Scenario = Scenario {
    name: "people",
    script: || {
        let all = ["look", "push"].map(|tool| Call::new(tool, "{}"));
        Script::new().turn(Turn::text("May I?").then_calls(all)).turn(Turn::pieces(["Thank ", "you."]))
    },
    cancelled: false,
    people: People::Present,
    is_workflow: false,
    n_shortened: 0,
    budget: None,
    stride: 2,
    status: Status::Completed,
    text: "May I?\n\nThank you.",
    calls: &["look", "push"],
    n_requests: 36,
};

/// The same, and nobody is there.
pub(super) const NOBODY: Scenario =
    Scenario { name: "nobody answers", people: People::Away, stride: 3, n_requests: 60, ..PEOPLE };

/// Its model is asked for two summaries between its answers; the first of them fails at first.
pub(super) const LONG: Scenario = Scenario {
    name: "long conversation",
    script: || {
        let look = || [Call::new("look", "{}")];
        Script::new()
            .turn(Turn::text("It is a long way, and every step of it is told at length. ".repeat(4)).then_calls(look()))
            .turn(Turn::text("A way was gone.").fault(ModelFault::Status(500, "busy")))
            .turn(
                Turn::text("On it goes, word upon word, as if nobody had to read them all. ".repeat(4))
                    .then_calls(look()),
            )
            .turn(Turn::text("More of the way was gone."))
            .turn(Turn::pieces(["The ", "end."]))
    },
    cancelled: false,
    people: People::Unasked,
    is_workflow: false,
    n_shortened: 2,
    budget: None,
    stride: 2,
    status: Status::Completed,
    text: "It is a long way, and every step of it is told at length. \
           It is a long way, and every step of it is told at length. \
           It is a long way, and every step of it is told at length. \
           It is a long way, and every step of it is told at length. \n\n\
           On it goes, word upon word, as if nobody had to read them all. \
           On it goes, word upon word, as if nobody had to read them all. \
           On it goes, word upon word, as if nobody had to read them all. \
           On it goes, word upon word, as if nobody had to read them all. \n\nThe end.",
    calls: &["look", "look"],
    n_requests: 38,
};

pub(super) const SCENARIOS: [Scenario; 9] =
    [LONG, OVER_BUDGET, WORKFLOW, PEOPLE, NOBODY, TEXT_ONLY, TOOLS, UPSTREAM_FAILS, CANCELLED];

/// Set, every scenario goes wrong at each of its requests, the long one included.
pub(super) const EVERY_POINT: &str = "NIGHTSHIFT_EVERY_POINT";
