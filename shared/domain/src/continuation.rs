//! The message that asks for a lane's next turn. Its bytes belong to `queue`.

use crate::id::{JobId, LaneName};

/// "Take turn n of this lane of this job." A hint: lost, doubled, late or reordered ones change nothing.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Continuation {
    /// The job.
    pub job: JobId,
    /// The lane.
    pub lane: LaneName,
    /// The turn, from 1.
    pub turn: u32,
}
