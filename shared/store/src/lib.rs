//! The table: jobs, their logs and conversations, and the leases under which they are worked on. Speaks DynamoDB and
//! nothing else; what a write means is decided in `domain`, and written here under the condition that nothing changed.
//!
//! # One table
//!
//! | partition | sort key | item | written by |
//! |---|---|---|---|
//! | job id | `event#<10 digits>` | events of the log, up to eight, under the first one's number | the lane's appender; whoever ends the job |
//! | job id | `head` | the job at a glance | start, the first claim, the last commit, whoever ends it |
//! | job id | `info` | the caller's notes, if there are any | start |
//! | job id | `input#<id>` | a question to a person or a client, and its answer | the lane's worker; the jobs function |
//! | job id | `lane#<name>` | a lane and its lease | claims, renewals, checkpoints, commits, the sweeper |
//! | job id | `message#<id>` | a message for the running job | the jobs function |
//! | job id | `plan`, `node#<node>`, `output` | where a workflow is, what its nodes have said, what came of it | the lane that settles |
//! | job id | `request`, `request#part#<n>` | what was asked for | start |
//! | job id | `turn#<lane>#<turn>#answer` | a turn's checkpoint | the lane's worker |
//! | job id | `turn#<lane>#<turn>#call#<n>` | a tool call | the lane's worker |
//! | job id | `turn#<lane>#<turn>#compaction#<n>` | what stands for the earlier part of a conversation | the lane's worker |
//! | `user#<id>` | `key#<key>` | what an idempotency key stands for, or that it was called off | start; the jobs function |
//! | `user#<id>` | `workflow#<id>` | a workflow that the user keeps, with its version | the jobs function |
//! | `system` | `switches` | what an operator has paused | an operator |
//! | `user#<id>` | `at_work` | the set of a user's jobs at work | start, whoever ends a job |
//!
//! The sort keys are chosen for the readers: events up to `head` is what a viewer asks for; `head` up to the turns is what
//! a worker has to know; events up to the lanes is what an answer about a job is made of. Each is one query.
//!
//! Indexes (keys only): [`schema`]. Every item has `v`, its format, and `ttl`; a job exists as long as its head does, and
//! its other items live longer.

mod catalogue;
mod claim;
mod compaction;
mod create;
mod delete;
mod end;
mod error;
mod in_process;
mod inbox;
mod input;
mod item;
pub mod key;
mod list;
mod log;
mod meter;
mod query;
mod read;
pub mod schema;
mod sweep;
mod switches;
mod tool_calls;
mod turn;
mod workflow;
mod write;

use std::sync::Arc;

use aws_sdk_dynamodb::Client;
use domain::{asked::Asked, job::Head, lane::LeaseTimes, limits::LONGEST_PAUSE, time::Timestamp};

pub use self::{
    catalogue::StoredWorkflow,
    claim::{ClaimOutcome, Claimed, Held},
    create::{CallOffOutcome, CreateOutcome, IdempotencyKey, NewJob},
    delete::DeleteOutcome,
    end::EndOutcome,
    error::{Error, Source, Verdict},
    in_process::{InProcess, InProcessAnswer},
    inbox::PostOutcome,
    input::{AnswerOutcome, PauseOutcome, WaitsFor},
    item::{Item, MOST_EVENTS, events_from_item, events_item},
    list::{JobFilter, JobPage},
    log::{After, AppendError, Appender, Page, Tail},
    meter::{Meter, Metered},
    query::PageRequest,
    read::Record,
    sweep::{Due, DueFrom, Mark, Stall, SweptLane},
    switches::Switches,
    tool_calls::{FinishOutcome, StartOutcome},
    turn::{CommitOutcome, Fenced, LastCommit},
    workflow::SettleOutcome,
    write::{Write, WriteKind},
};

/// The table and a client for it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {
    client: Client,
    in_process: Option<Arc<dyn InProcess>>,
    table: String,
    times: LeaseTimes,
    switches: Arc<switches::Believed>,
    /// Counts what is asked, if that is to be counted.
    asked: Asked,
}

impl Store {
    /// The table of this name; `times` as the workers have them.
    pub fn new(client: Client, table: impl Into<String>, times: LeaseTimes) -> Self {
        let (in_process, switches, asked) = (None, Arc::default(), Asked::default());
        Self { client, in_process, table: table.into(), times, switches, asked }
    }

    /// The same table, which is in this process: what turns and viewers ask of it goes there without the client.
    #[must_use]
    pub fn in_process(self, table: Arc<dyn InProcess>) -> Self {
        Self { in_process: Some(table), ..self }
    }

    /// The same table, with its requests added to `asked`: those of one turn, which go on record with its lane.
    #[must_use]
    pub fn counting(&self, asked: Asked) -> Self {
        Self { asked, ..self.clone() }
    }

    /// The durations of the lease protocol.
    pub fn times(&self) -> &LeaseTimes {
        &self.times
    }
}

/// Until when a job's items other than its head are kept: longer than any pause, so that none is missing while the head
/// is there.
fn items_ttl(head: &Head) -> Timestamp {
    head.expires_at + LONGEST_PAUSE
}
