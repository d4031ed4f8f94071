//! What a job at work has used and done, as its log says it. Once it is over, [`crate::turn::totals`] knows better: there
//! are the answers themselves.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    event::{Event, EventBody},
    id::LaneName,
    job::{Head, Metrics, State},
    lane::Lane,
    replay::Replay,
    time::Timestamp,
    tool_call::ToolCallStatus,
    usage::Usage,
};

/// A turn, as far as it is told.
#[derive(Debug, Default)]
struct Told {
    /// Since when the model is being asked.
    asked_at: Option<Timestamp>,
    model_time: Duration,
    usage: Option<Usage>,
    /// From the first start of a call to the last end.
    tools: Option<(Timestamp, Timestamp)>,
}

/// What a job that is not over has used and done at `now`. A turn's usage is known when the turn has ended; a model call or
/// a tool that is under way counts as long as it has lasted.
pub fn so_far<'a>(
    head: &Head,
    lanes: impl IntoIterator<Item = &'a Lane>,
    events: &[Event],
    now: Timestamp,
) -> (Usage, Metrics) {
    let mut turns: BTreeMap<(&LaneName, u32), Told> = BTreeMap::new();
    for event in events {
        let Some(origin) = &event.origin else { continue };
        let told = turns.entry((&origin.lane, origin.turn)).or_default();
        match &event.body {
            EventBody::TurnStarted { .. } => told.asked_at = Some(event.at),
            // Without its arguments it is still being written.
            EventBody::ToolCallPending(call) if !call.arguments.is_empty() => told.answered(event.at),
            // It was put off: nobody asks meanwhile.
            EventBody::ModelWaiting { .. } => told.asked_at = None,
            EventBody::TurnCompleted { usage, .. } => {
                told.answered(event.at);
                told.usage = Some(*usage);
            }
            _ => {}
        }
    }
    let mut metrics = Metrics {
        queue_time_ms: head.started_at.map_or(millis(now.since(head.created_at)), |_| head.metrics.queue_time_ms),
        ..Metrics::begun(head, lanes)
    };
    let replay = Replay::of(events);
    let calls = replay.lanes.iter().flat_map(|(lane, replay)| replay.tool_calls.iter().map(move |call| (lane, call)));
    for (lane, call) in calls.filter(|(_, call)| call.status != ToolCallStatus::Pending) {
        metrics.tool_call_count += 1;
        let Some(begun) = call.started_at else { continue };
        let ended = call.finished_at.unwrap_or(now);
        metrics.tool_execution_time_ms += millis(ended.since(begun));
        let told = turns.entry((lane, call.turn)).or_default();
        let (first, last) = told.tools.unwrap_or((begun, ended));
        told.tools = Some((first.min(begun), last.max(ended)));
    }
    let (mut usage, mut at_work) = (Usage::default(), 0);
    for told in turns.values() {
        if let Some(of_turn) = told.usage {
            metrics.total_turns += 1;
            usage += of_turn;
        }
        let model = millis(told.asked_at.map_or(told.model_time, |asked| now.since(asked)));
        metrics.model_time_ms += model;
        at_work += model + told.tools.map_or(0, |(first, last)| millis(last.since(first)));
    }
    let pause = match head.state {
        State::InputRequired { since, .. } => millis(now.since(since)),
        _ => 0,
    };
    let life = millis(now.since(head.started_at.unwrap_or(now)));
    metrics.overhead_ms = life.saturating_sub(at_work + head.paused_ms + pause);
    (usage, metrics)
}

impl Told {
    fn answered(&mut self, at: Timestamp) {
        if let Some(asked) = self.asked_at.take() {
            self.model_time = at.since(asked);
        }
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        event::{Origin, ToolCallView},
        job::{Asker, FinishReason, JobSpec, accept},
        lane::LeaseTimes,
        message::RequestedCall,
    };

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    fn head() -> Head {
        let asker = Asker::new("job_01JDA7Q3W5T8Z2K4M6N8P0R1S3".parse().unwrap(), "ann".parse().unwrap(), 3600);
        let (mut head, _) = accept(asker, &JobSpec::default(), at(0), &LeaseTimes::default());
        head.started_at = Some(at(2));
        head.metrics.queue_time_ms = 2000;
        head.state = State::Running { deadline_at: at(300) };
        head
    }

    fn event(seconds: i64, turn: u32, body: EventBody) -> Event {
        let origin = Origin { lane: LaneName::main(), turn, attempt: 1, node_id: None };
        Event { number: 1, at: at(seconds), origin: Some(origin), body }
    }

    fn call(status: ToolCallStatus, started: i64, finished: Option<i64>) -> ToolCallView {
        let request = RequestedCall {
            id: "c".parse().unwrap(),
            name: "look".into(),
            arguments: "{}".into(),
            extra_content: None,
        };
        let view = ToolCallView::pending(&request, &LaneName::main(), 1, None);
        let finished_at = finished.map(at);
        ToolCallView { status, started_at: Some(at(started)), finished_at, ..view }
    }

    fn asked(seconds: i64, turn: u32) -> Event {
        event(seconds, turn, EventBody::TurnStarted { model: "m".into() })
    }

    #[test]
    fn what_has_ended_and_what_is_under_way_count() {
        let usage = Usage { input_tokens: 7, ..Usage::default() };
        let done = EventBody::TurnCompleted { model: "m".into(), finish_reason: FinishReason::ToolCalls, usage };
        let pending = ToolCallView { started_at: None, ..call(ToolCallStatus::Pending, 0, None) };
        let events = [
            asked(3, 1),
            event(7, 1, pending.into_event()),
            event(8, 1, call(ToolCallStatus::Running, 8, None).into_event()),
            event(10, 1, call(ToolCallStatus::Completed, 8, Some(10)).into_event()),
            event(10, 1, done),
            asked(11, 2),
        ];
        let (used, metrics) = so_far(&head(), [], &events, at(14));
        assert_eq!(used, usage);
        // Asked for 4 s and again for 3 so far, 2 s in the tool; 12 s since the first turn began.
        let expected = Metrics {
            total_turns: 1,
            tool_call_count: 1,
            tool_execution_time_ms: 2000,
            model_time_ms: 7000,
            queue_time_ms: 2000,
            overhead_ms: 3000,
            recoveries: 0,
            requests: 0,
        };
        assert_eq!(metrics, expected);
        let (_, during) = so_far(&head(), [], &events[..3], at(9));
        assert_eq!((during.tool_execution_time_ms, during.model_time_ms, during.total_turns), (1000, 4000, 0));
    }

    #[test]
    fn an_attempt_that_was_cut_off_counts_once_and_a_wait_is_no_ones_work() {
        let waits = EventBody::ModelWaiting { until: at(60), code: "x".into(), message: "y".into() };
        let cut = [asked(3, 1), asked(20, 1)];
        assert_eq!(so_far(&head(), [], &cut, at(25)).1.model_time_ms, 5000);
        let waiting = [asked(3, 1), event(4, 1, waits)];
        assert_eq!(so_far(&head(), [], &waiting, at(30)).1.model_time_ms, 0);
    }
}
