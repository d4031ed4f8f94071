//! What a call may know of the job that it belongs to. Nothing wider: no store, no secrets, no conversation.

use std::fmt::Write as _;

use domain::id::{JobId, LaneName, ThreadId, ToolCallId, UserId};
use sha2::{Digest, Sha256};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// For whom a call runs, and how it is told to stop (R78).
#[derive(Debug, Clone)]
pub struct ToolContext {
    /// Whose job it is.
    pub user: UserId,
    /// The conversation that the job belongs to, if it belongs to one.
    pub thread: Option<ThreadId>,
    /// The job.
    pub job: JobId,
    /// The lane that asked.
    pub lane: LaneName,
    /// The turn of the lane that asked, from 1.
    pub turn: u32,
    /// The model's id of this call.
    pub call: ToolCallId,
    /// Cancelled when the call must stop: the job was cancelled, the worker ends, or the call's time is over.
    pub cancel: CancellationToken,
    /// When the call's time is over. As the registry is handed it: when the turn's time is over; as a tool gets it: the
    /// earlier of that and the tool's own limit.
    pub deadline: Instant,
}

impl ToolContext {
    /// The key under which the far side can recognise a repetition of this call: the same whenever this call is run
    /// again, and no other call's. (The model's own id is only unique within a conversation, and some models count from
    /// zero each time.) ASCII, at most 64 bytes, fit for an `Idempotency-Key` header.
    pub fn idempotency_key(&self) -> String {
        let mut hash = Sha256::new();
        hash.update(self.lane.as_str());
        hash.update([0]);
        hash.update(self.turn.to_be_bytes());
        hash.update(self.call.as_str());
        let mut key = format!("{}_", self.job);
        for byte in &hash.finalize()[..16] {
            let _ = write!(key, "{byte:02x}"); // writing to a String cannot fail
        }
        key
    }
}
