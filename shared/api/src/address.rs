//! Where a job's events can be followed: an address with a token for its owner.

use std::time::Duration;

use domain::{
    id::{JobId, UserId},
    time::Timestamp,
};

use crate::{job_view::StreamTokenView, paths, stream_token::StreamTokens};

/// How long an address holds. A viewer whose address has expired asks for a new one and goes on with its cursor.
const VALID_FOR: Duration = Duration::from_secs(15 * 60);

/// Makes the addresses of streams.
#[derive(Debug, Clone)]
pub struct StreamAddresses {
    origin: String,
    tokens: StreamTokens,
}

impl StreamAddresses {
    /// Addresses at the stream function's `origin`.
    pub fn new(origin: impl Into<String>, tokens: StreamTokens) -> Self {
        Self { origin: origin.into(), tokens }
    }

    /// An address for `user` to follow `job` at.
    pub fn issue(&self, job: &JobId, user: &UserId, now: Timestamp) -> StreamTokenView {
        let (token, expires_at) = self.tokens.issue(job, user, now, VALID_FOR);
        StreamTokenView { stream_url: paths::stream_url(&self.origin, job, &token), expires_at }
    }
}
