//! Counting: one function for each thing that happens, so that nobody makes up a name or a dimension.

use std::time::Duration;

use domain::{
    job::{Ending, Head},
    tool_call::ToolOutcome,
    usage::Usage,
};
use metrics::{counter, gauge, histogram};

use crate::metric::{
    COST_MICROS, JOB_TIME, JOB_TURNS, JOBS_ENDED, JOBS_FAILED, JOBS_STALLED, JOBS_STARTED, MODEL_CALLS, MODEL_ERRORS,
    MODEL_FIRST_TOKEN, MODEL_TIME, QUEUE_TIME, RECOVERIES, STREAM_BYTES, STREAM_CONNECTIONS, STREAM_FRAMES,
    STREAM_TIME, STREAM_VIEWERS, SWEEP_TIME, SWEPT, TEXT_BATCHES, TEXT_BYTES, TOKENS, TOOL_CALLS_COMPLETED,
    TOOL_CALLS_FAILED, TOOL_CALLS_SKIPPED, TOOL_CALLS_STARTED, TOOL_TIME, TURN_OVERHEAD, TURN_TIME, TURNS,
};

/// The dimension of every tool that is not the deployment's: callers and servers choose names without end.
pub const OTHER_TOOL: &str = "other";

/// How an attempt at a turn came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TurnOutcome {
    /// It is done, and another follows.
    Committed,
    /// It is to be tried again, or to go on, in another invocation.
    PutOff,
    /// It waits for people.
    Waiting,
    /// The job ended with it, or while it was under way.
    Ended,
    /// Its lease was lost.
    Stopped,
    /// The table or the log did not answer.
    Failed,
}

impl TurnOutcome {
    /// The same in a word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Committed => "committed",
            Self::PutOff => "put_off",
            Self::Waiting => "waiting",
            Self::Ended => "ended",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
        }
    }
}

/// A job was accepted.
pub fn job_started() {
    counter!(JOBS_STARTED.name).increment(1);
}

/// A job ended so.
pub fn job_ended(head: &Head) {
    counter!(JOBS_ENDED.name, "outcome" => head.status().as_str()).increment(1);
    if let Some(Ending::Failed { reason, .. }) = head.ending() {
        counter!(JOBS_FAILED.name, "reason" => reason.as_str()).increment(1);
    }
    let Some((begun, ended)) = head.started_at.zip(head.finished_at()) else { return };
    histogram!(JOB_TIME.name).record(milliseconds(ended.since(begun)));
    histogram!(QUEUE_TIME.name).record(float(head.metrics.queue_time_ms));
    histogram!(JOB_TURNS.name).record(f64::from(head.metrics.total_turns));
    if head.metrics.total_turns > 0 {
        let overhead = float(head.metrics.overhead_ms) / f64::from(head.metrics.total_turns);
        histogram!(TURN_OVERHEAD.name).record(overhead);
    }
}

/// Nothing has happened in a job for too long.
pub fn job_stalled() {
    counter!(JOBS_STALLED.name).increment(1);
}

/// An attempt at a turn is over.
pub fn turn(outcome: TurnOutcome, time: Duration) {
    counter!(TURNS.name, "outcome" => outcome.as_str()).increment(1);
    histogram!(TURN_TIME.name).record(milliseconds(time));
}

/// A turn was taken over from a worker that died.
pub fn recovery() {
    counter!(RECOVERIES.name).increment(1);
}

/// The first piece of an answer came.
pub fn first_token(time: Duration) {
    histogram!(MODEL_FIRST_TOKEN.name).record(milliseconds(time));
}

/// The model answered.
pub fn model_answered(usage: &Usage, time: Duration) {
    counter!(MODEL_CALLS.name, "outcome" => "answered").increment(1);
    histogram!(MODEL_TIME.name).record(milliseconds(time));
    let kinds = [
        ("input", usage.input_tokens),
        ("output", usage.output_tokens),
        ("cached", usage.cached_tokens),
        ("reasoning", usage.reasoning_tokens),
    ];
    for (kind, tokens) in kinds.into_iter().filter(|(_, tokens)| *tokens > 0) {
        counter!(TOKENS.name, "kind" => kind).increment(tokens);
    }
    counter!(COST_MICROS.name).increment(micros(usage.cost_usd));
}

/// The model did not answer; `code`: the failure's, which is one of few.
pub fn model_failed(code: &'static str) {
    counter!(MODEL_CALLS.name, "outcome" => "failed").increment(1);
    counter!(MODEL_ERRORS.name, "code" => code).increment(1);
}

/// A tool call is being run; `tool`: a tool of the deployment, or [`OTHER_TOOL`].
pub fn tool_started(tool: &str) {
    counter!(TOOL_CALLS_STARTED.name, "tool" => tool.to_owned()).increment(1);
}

/// A tool call that was run, or thought to run, has ended.
pub fn tool_ended(tool: &str, outcome: &ToolOutcome, time: Duration) {
    let metric = match outcome {
        ToolOutcome::Completed(_) => TOOL_CALLS_COMPLETED,
        ToolOutcome::Skipped(_) | ToolOutcome::Denied(_) => TOOL_CALLS_SKIPPED,
        ToolOutcome::Error(_) | ToolOutcome::Unknown => TOOL_CALLS_FAILED,
    };
    counter!(metric.name, "tool" => tool.to_owned()).increment(1);
    histogram!(TOOL_TIME.name, "tool" => tool.to_owned()).record(milliseconds(time));
}

/// A tool call was not run.
pub fn tool_skipped(tool: &str) {
    counter!(TOOL_CALLS_SKIPPED.name, "tool" => tool.to_owned()).increment(1);
}

/// An event of so much text was written.
pub fn text_batch(bytes: usize) {
    counter!(TEXT_BATCHES.name).increment(1);
    counter!(TEXT_BYTES.name).increment(bytes as u64);
}

/// A viewer came.
pub fn viewer_came() {
    counter!(STREAM_CONNECTIONS.name).increment(1);
    gauge!(STREAM_VIEWERS.name).increment(1);
}

/// A viewer left.
pub fn viewer_left(stayed: Duration) {
    gauge!(STREAM_VIEWERS.name).decrement(1);
    histogram!(STREAM_TIME.name).record(milliseconds(stayed));
}

/// A frame was sent to a viewer.
pub fn frame(bytes: usize) {
    counter!(STREAM_FRAMES.name).increment(1);
    counter!(STREAM_BYTES.name).increment(bytes as u64);
}

/// A sweep did this, so often.
pub fn swept(what: &'static str, times: u32) {
    if times > 0 {
        counter!(SWEPT.name, "what" => what).increment(times.into());
    }
}

/// A sweep is over.
pub fn sweep(time: Duration) {
    histogram!(SWEEP_TIME.name).record(milliseconds(time));
}

fn milliseconds(span: Duration) -> f64 {
    span.as_secs_f64() * 1000.0
}

fn float(number: u64) -> f64 {
    number as f64
}

/// Dollars in millionths. What is no amount is none.
fn micros(dollars: f64) -> u64 {
    (dollars * 1e6).round().clamp(0.0, 1e15) as u64
}
