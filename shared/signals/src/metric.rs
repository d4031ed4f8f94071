//! The metrics: their names, units and dimensions.

use metrics::Unit;

/// What is done with a metric's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// They are added up.
    Counter,
    /// The last one holds.
    Gauge,
    /// They are distributed.
    Histogram,
}

/// A metric.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// Its name, in every system that takes it.
    pub name: &'static str,
    /// What is done with its values.
    pub kind: Kind,
    /// What is counted.
    pub unit: Unit,
    /// It always has these dimensions, and no others.
    pub dimensions: &'static [&'static str],
    /// What it is.
    pub text: &'static str,
}

macro_rules! metrics {
    ($($constant:ident $name:literal $kind:ident $unit:ident $dimensions:tt $text:literal)*) => {
        $(
            #[doc = $text]
            pub const $constant: Metric = Metric {
                name: $name,
                kind: Kind::$kind,
                unit: Unit::$unit,
                dimensions: &$dimensions,
                text: $text,
            };
        )*

        /// All of them.
        pub const ALL: &[Metric] = &[$($constant),*];
    };
}

metrics! {
    JOBS_STARTED "jobs_started" Counter Count [] "Jobs that were accepted."
    JOBS_ENDED "jobs_ended" Counter Count ["outcome"] "Jobs that ended."
    JOBS_FAILED "jobs_failed" Counter Count ["reason"] "Jobs that failed, by their finish reason."
    JOBS_STALLED "jobs_stalled" Counter Count [] "Jobs in which nothing had happened for too long."
    JOB_TIME "job_time" Histogram Milliseconds [] "From a job's first turn to its end."
    JOB_TURNS "job_turns" Histogram Count [] "Turns of a job that ended."
    QUEUE_TIME "queue_time" Histogram Milliseconds [] "From a job's start request to its first turn."
    TURN_OVERHEAD "turn_overhead" Histogram Milliseconds []
        "A job's time that neither the model, nor tools, nor people took, for each of its turns."
    TURNS "turns" Counter Count ["outcome"] "Attempts at turns."
    TURN_TIME "turn_time" Histogram Milliseconds [] "An attempt at a turn, from its claim to its end."
    RECOVERIES "recoveries" Counter Count [] "Turns taken over from a worker that died."
    MODEL_CALLS "model_calls" Counter Count ["outcome"] "Model calls."
    MODEL_ERRORS "model_errors" Counter Count ["code"] "Model calls that failed, by the failure's code."
    MODEL_TIME "model_time" Histogram Milliseconds [] "A model call that was answered."
    MODEL_FIRST_TOKEN "model_first_token" Histogram Milliseconds []
        "From asking the model to the first piece of its answer."
    TOKENS "tokens" Counter Count ["kind"] "Tokens of the model."
    COST_MICROS "cost_micros" Counter Count [] "What model calls cost, in millionths of a US dollar."
    TOOL_CALLS_STARTED "tool_calls_started" Counter Count ["tool"] "Tool calls that were run."
    TOOL_CALLS_COMPLETED "tool_calls_completed" Counter Count ["tool"] "Tool calls that were run and completed."
    TOOL_CALLS_FAILED "tool_calls_failed" Counter Count ["tool"]
        "Tool calls that failed, timed out, or were cut off with an unknown outcome."
    TOOL_CALLS_SKIPPED "tool_calls_skipped" Counter Count ["tool"] "Tool calls that were not run."
    TOOL_TIME "tool_time" Histogram Milliseconds ["tool"] "A tool call that was run."
    TEXT_BATCHES "text_batches" Counter Count [] "Events of text that were written."
    TEXT_BYTES "text_bytes" Counter Bytes [] "Text of the events that were written."
    STREAM_VIEWERS "stream_viewers" Gauge Count [] "Viewers of this process at the moment."
    STREAM_CONNECTIONS "stream_connections" Counter Count [] "Viewers that came."
    STREAM_FRAMES "stream_frames" Counter Count [] "Frames that were sent to viewers."
    STREAM_BYTES "stream_bytes" Counter Bytes [] "Bytes that were sent to viewers."
    STREAM_TIME "stream_time" Histogram Milliseconds [] "How long a viewer stayed."
    SWEPT "swept" Counter Count ["what"] "What sweeps did."
    SWEEP_TIME "sweep_time" Histogram Milliseconds [] "A sweep."
}

/// Tells the recorder that is installed what they are.
pub fn describe() {
    for Metric { name, kind, unit, text, .. } in ALL.iter().copied() {
        match kind {
            Kind::Counter => metrics::describe_counter!(name, unit, text),
            Kind::Gauge => metrics::describe_gauge!(name, unit, text),
            Kind::Histogram => metrics::describe_histogram!(name, unit, text),
        }
    }
}
