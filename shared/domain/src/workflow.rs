//! Workflows: graphs of agents, as the or3 editor makes them. Pure: a document in, a plan out; a result in, the next plan
//! out.
//!
//! **How a run goes.** [`check()`] turns a document into a [`Workflow`], or tells everything that is wrong with it.
//! [`start`] gives the first [`Step`]: the plan, the records of nodes that have said something, the lanes to open and the
//! events to tell. Each lane is worked on by itself. At each of its turns [`stage()`] says what it has to do next, from what
//! it has done: ask a person, make a call, or hand its result to [`settle()`], which gives the next step, until one has an
//! end. Nodes that need nobody (start, output, a loop's or a subflow's coming and going) are settled within the step that
//! makes them ready.
//!
//! **Who owns what.** Here: which node is ready, what it is told, what its answer means, what a failure or a person's
//! answer leads to, what is shown. The caller: storing a step as a whole under the plan's version, and applying the result
//! to the newer plan when it lost; lanes, their leases, turns, tool calls and retries (how often, and after which delay,
//! is [`RetryRule`]'s); what a [`PersonsAnswer`] may be, by [`allowed_actions`] and the request's schema; which messages a
//! model can take. A lane whose result is [`Refused`] closes itself.
//!
//! **What holds.** Nothing depends on the order in which lanes settle: inputs, sessions and results follow from the graph
//! (see `past.rs`). A plan that was stored and read back goes on as if it had not been. A node is begun once and settled
//! once in each of its repetitions. At most [`MAX_LANES`] lanes are open at once, and a step writes at most [`MAX_ITEMS`] items; what
//! else is ready waits for the next, for which a lane is opened when there would be none.
//!
//! In reading order: [`document`], `read`, `check`, `graph`; `key`, `plan`, `scope`, `past`; `advance`, `failing`, `combine`,
//! `settle`; `stage`,
//! `work`, `people`; `view`, `again`.

mod advance;
mod again;
mod answer;
mod check;
mod combine;
pub mod document;
mod failing;
mod fields;
mod finding;
mod graph;
mod key;
mod past;
mod people;
mod plan;
mod read;
mod retry;
mod scope;
mod settle;
mod stage;
mod template;
mod view;
mod work;

pub use self::{
    again::{CannotRetry, retry_from, take_up},
    check::{Checked, Known, MAX_DEPTH, MAX_EDGES, MAX_NODES, answer_schemas, check, subflow_ids},
    document::Workflow,
    finding::{Code, Finding},
    key::{NodeKey, Role},
    people::{Choice, DefaultAction, InputRequestDraft, PersonsAnswer, RequestContext, RequestKind, allowed_actions},
    plan::{
        Ended, Frame, LaneWork, MAX_BYTES, MAX_ITEMS, MAX_LANES, MAX_RUN_BYTES, MAX_TOUCHED, NodeEvent, NodeRecord,
        NodeState, NodeStatus, Plan, Refused, Run, RunEnd, RunInput, Step,
    },
    retry::{NodeError, NodeErrorCode, RetryRule},
    settle::{LaneEnd, LaneResult, set_waiting, settle, start},
    stage::{AnswerTo, CallResult, LaneSoFar, Stage, stage},
    view::{NodeView, RunView, view},
    work::{Call, DECIDE, SELECT_ROUTE, Tools, Work, with_attachments},
};
