//! What a job's turns have left behind, and what it adds up to.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    answer::Answer,
    compaction::Shortened,
    id::LaneName,
    job::{Head, Metrics},
    lane::Lane,
    time::Timestamp,
    tool_call::{Progress, ToolCall},
    usage::Usage,
};

/// What a turn has left behind.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Turn {
    /// The model's answer, once it was whole.
    pub answer: Option<Answer>,
    /// The calls that were started, by their place in the answer.
    pub calls: BTreeMap<u32, ToolCall>,
    /// How the conversation was made shorter before the model was asked, in order.
    pub shortened: Vec<Shortened>,
}

/// The turns of a job, by lane and number.
pub type Turns = BTreeMap<(LaneName, u32), Turn>;

impl Turn {
    /// From the first start of a call to the last end.
    fn tool_span(&self) -> Duration {
        let ended = |call: &ToolCall| match call.progress {
            Progress::Finished { at, .. } => at,
            Progress::Started { .. } => call.started_at,
        };
        let first = self.calls.values().map(|call| call.started_at).min();
        let last = self.calls.values().map(ended).max();
        first.zip(last).map_or(Duration::ZERO, |(first, last)| last.since(first))
    }
}

/// What a job has used and done, from its turns; `now` is its end, or the present.
pub fn totals<'a>(
    head: &Head,
    lanes: impl IntoIterator<Item = &'a Lane>,
    turns: &Turns,
    now: Timestamp,
) -> (Usage, Metrics) {
    let mut usage = Usage::default();
    let mut metrics = Metrics::begun(head, lanes);
    let mut at_work = 0;
    for turn in turns.values() {
        for shortened in &turn.shortened {
            usage += shortened.usage;
            metrics.model_time_ms += shortened.model_time_ms;
            at_work += shortened.model_time_ms;
        }
        if let Some(answer) = &turn.answer {
            usage += answer.usage;
            metrics.total_turns += 1;
            metrics.model_time_ms += answer.model_time_ms;
            at_work += answer.model_time_ms;
        }
        metrics.tool_call_count += u32::try_from(turn.calls.len()).unwrap_or(u32::MAX);
        metrics.tool_execution_time_ms += turn.calls.values().filter_map(ToolCall::duration).map(millis).sum::<u64>();
        at_work += millis(turn.tool_span());
    }
    let life = millis(now.since(head.started_at.unwrap_or(now)));
    metrics.overhead_ms = life.saturating_sub(at_work + head.paused_ms);
    (usage, metrics)
}

/// How often the lane asked for the very same call in a row, right before the call at `index` of its turn `turn`: calls
/// in the order of the answers, by their fingerprints.
pub fn repetitions(turns: &Turns, lane: &LaneName, turn: u32, fingerprints: &[String], index: usize) -> usize {
    let Some(this) = fingerprints.get(index) else { return 0 };
    let earlier = turns
        .range((lane.clone(), 1)..(lane.clone(), turn.max(1)))
        .flat_map(|(_, turn)| turn.calls.values().map(|call| &call.fingerprint));
    let in_order: Vec<&String> = earlier.chain(&fingerprints[..index]).collect();
    in_order.into_iter().rev().take_while(|fingerprint| *fingerprint == this).count()
}

/// Tokens and money that the job's turns have used so far, summaries included.
pub fn used(turns: &Turns) -> Usage {
    let mut usage = Usage::default();
    for turn in turns.values() {
        let answer = turn.answer.iter().map(|answer| answer.usage);
        for used in turn.shortened.iter().map(|shortened| shortened.usage).chain(answer) {
            usage += used;
        }
    }
    usage
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
