//! Every cap, and why it is what it is. Requirement numbers refer to the product's checklist.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Longest input of a job, in bytes of JSON. Lambda's own limit on a request is 6 MB; this leaves room for base64.
pub const INPUT_BYTES: usize = 4 * 1024 * 1024;
/// Longest text in a terminal event, in bytes; the job itself has the whole.
pub const EVENT_OUTPUT_BYTES: usize = 64 * 1024;
/// Longest output in an answer about a job, in bytes.
pub const JOB_OUTPUT_BYTES: usize = 1024 * 1024;
/// Largest answer of the API, in bytes of JSON: a Lambda function may answer with 6 MB (Lambda's quotas, response payload).
pub const ANSWER_BYTES: usize = 4 * 1024 * 1024;
/// Longest tool result in an event or in an answer about a job, in bytes (R184).
pub const RESULT_VIEW_BYTES: usize = 32 * 1024;
/// Longest arguments of a tool call, in bytes (R184).
pub const ARGUMENTS_BYTES: usize = 64 * 1024;
/// Longest tool result that is stored, in bytes (R184).
pub const RESULT_BYTES: usize = 256 * 1024;
/// Bytes of one result that the model may read; a larger one is replaced by a note (R184).
pub const RESULT_BYTES_TO_MODEL: usize = 128 * 1024;
/// Bytes of all the results of a turn that the model may read together (R50).
pub const TURN_BYTES_TO_MODEL: usize = 50 * 1024;
/// A worker dies, another takes the turn over: so often, then the job fails.
pub const MAX_TRIES: u32 = 5;
/// Longest time that a job waits for a person, whatever it asks for.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(30 * 24 * 3600);

/// The failure text of a job whose model asks for tools in more turns than it may (R48).
pub const TOOL_LIMIT_TEXT: &str = "Tool execution limit exceeded";
/// The same call so often in a row is answered with a hint instead of being run.
pub const REPEATED_CALLS: usize = 3;
/// The failure text of a job whose model asks for more calls in a turn than it may (R49).
pub const CALL_LIMIT_TEXT: &str = "Too many concurrent tool calls";

/// What a job may use, as its caller set it or by default.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct JobLimits {
    /// Turns that may ask for tools (R48).
    pub max_turns: u32,
    /// Tool calls in one turn (R49).
    pub max_tool_calls_per_turn: u32,
    /// Seconds that one turn may take (R85).
    pub turn_seconds: u32,
    /// Seconds of progress after which the job fails (R69); a pause for a person does not count.
    pub deadline_seconds: u32,
    /// Seconds that the job may wait for its first turn.
    pub queue_seconds: u32,
    /// Seconds that a question of the job waits for an answer, unless it says otherwise.
    #[serde(default = "input_seconds")]
    pub input_seconds: u32,
    /// Tokens after which the job pauses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_total_tokens: Option<u64>,
    /// US dollars after which the job pauses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_cost_usd: Option<f64>,
}

/// Fifteen minutes: long enough to be found on a phone.
fn input_seconds() -> u32 {
    900
}

impl Default for JobLimits {
    fn default() -> Self {
        Self {
            max_turns: 10,
            max_tool_calls_per_turn: 20,
            turn_seconds: 120,
            deadline_seconds: 300,
            queue_seconds: 3600,
            input_seconds: input_seconds(),
            max_total_tokens: None,
            max_cost_usd: None,
        }
    }
}

impl JobLimits {
    /// Time that one turn may take.
    pub fn turn(&self) -> Duration {
        Duration::from_secs(self.turn_seconds.into())
    }

    /// Time of progress that the job may take.
    pub fn deadline(&self) -> Duration {
        Duration::from_secs(self.deadline_seconds.into())
    }

    /// Time that a question may wait.
    pub fn input(&self) -> Duration {
        Duration::from_secs(self.input_seconds.into())
    }

    /// Time that the job may wait in line.
    pub fn queue(&self) -> Duration {
        Duration::from_secs(self.queue_seconds.into())
    }
}
