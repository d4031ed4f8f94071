//! How long and how large a call may be.

use std::time::Duration;

/// How long a call may run when its tool says nothing else (R12, R45).
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the servers of a job's tools may take to list them, all together.
pub const LIST_TIMEOUT: Duration = DEFAULT_TIMEOUT;

/// The wait before the one retry after a network failure (R65, R114).
pub const RETRY_PAUSE: Duration = Duration::from_millis(250);

/// Bytes of a call's arguments (R184).
pub const ARGUMENT_BYTES: usize = domain::limits::ARGUMENTS_BYTES;

/// Bytes of one result; more is an error (R184).
pub const RESULT_BYTES: usize = domain::limits::RESULT_BYTES;

/// Bytes of a failure's message; a longer one is cut. As much as a viewer is shown of a result: events have it whole.
pub const FAILURE_BYTES: usize = domain::limits::RESULT_VIEW_BYTES;

/// The answer to a call of a tool that only the caller can run, to the letter (R53).
pub const CLIENT_ONLY: &str = "Tool not available in background mode";
