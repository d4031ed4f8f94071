//! Logs of several lanes whose attempts are cut anywhere: what replaying them gives.

use std::{collections::BTreeMap, time::Duration};

use domain::{
    answer::{Answer, TURN_SEPARATOR, lane_text},
    event::{Event, EventBody, JobState, Origin, ToolCallView},
    id::LaneName,
    job::{FinishReason, Status},
    lane::{Lane, LeaseTimes, Phase, Take},
    message::RequestedCall,
    replay::Replay,
    time::Timestamp,
    tool_call::ToolCallStatus,
    usage::Usage,
};
use proptest::{collection::vec, prelude::*, strategy::ValueTree, test_runner::TestRunner};

/// What an attempt would do if it came to its end.
#[derive(Debug, Clone)]
struct Attempt {
    /// The model's answer, piece by piece.
    pieces: Vec<String>,
    /// Calls that it asks for.
    n_calls: u32,
    /// After how many writes it dies; the last attempt at a turn does not.
    cut_after: usize,
}

/// A lane's turns, each with its attempts.
type Plan = Vec<Vec<Attempt>>;

/// An entry of a lane's log, and the text that was durable when it was written.
struct Entry {
    origin: Origin,
    body: EventBody,
    durable: String,
}

/// What a lane wrote, and what counts of it.
struct Written {
    lane: Lane,
    entries: Vec<Entry>,
    answers: Vec<Answer>,
    tool_calls: Vec<ToolCallView>,
}

fn plans() -> impl Strategy<Value = (Vec<Plan>, Vec<usize>)> {
    let piece = prop_oneof![3 => "[a-z \n]{1,6}", 2 => "[äß→漢🙂é]{1,4}", 1 => Just(TURN_SEPARATOR.to_owned())];
    let attempt = (vec(piece, 0..5), 0..4_u32, 0..14_usize).prop_map(|(pieces, n_calls, cut_after)| Attempt {
        pieces,
        n_calls,
        cut_after,
    });
    let plan = vec(vec(attempt, 1..5), 1..5);
    (vec(plan, 1..4), vec(0..100_usize, 0..80))
}

fn name(number: usize) -> LaneName {
    format!("lane-{number}").parse().unwrap()
}

/// A life of a lane by the protocol: each attempt claims it, voids what the attempt before it left, asks the model unless
/// its answer is recorded, runs the calls and commits; and dies when its writes are used up.
fn written(name: &LaneName, plan: &Plan) -> Written {
    let (times, mut now) = (LeaseTimes::default(), Timestamp::MIN);
    let mut it = Written { lane: Lane::new(name.clone(), now), entries: vec![], answers: vec![], tool_calls: vec![] };
    for attempts in plan {
        for (n, attempt) in attempts.iter().enumerate() {
            let Take::Claim(lane) = it.lane.take(it.lane.turn, false, &"me".parse().unwrap(), now, &times) else {
                panic!("the lease before has expired");
            };
            it.lane = lane;
            now = now + Duration::from_secs(11);
            let n_writes = if n + 1 == attempts.len() { usize::MAX } else { attempt.cut_after };
            if it.attempt(attempt, n_writes).is_some() {
                it.lane = it.lane.advanced(0, now, &times);
                break;
            }
        }
    }
    it
}

impl Written {
    /// `None` when it was cut.
    fn attempt(&mut self, attempt: &Attempt, n_writes: usize) -> Option<()> {
        let mut left = n_writes;
        let mut write = move || {
            left = left.checked_sub(1)?;
            Some(())
        };
        if self.lane.attempt > 1 {
            write()?;
            self.log(EventBody::TurnRestarted { output_offset: self.lane.output_bytes });
        }
        if self.lane.phase == Phase::Model {
            for (n, piece) in attempt.pieces.iter().enumerate() {
                write()?;
                let apart = if n == 0 && self.lane.output_bytes > 0 { TURN_SEPARATOR } else { "" };
                self.log(EventBody::OutputDelta { text: format!("{apart}{piece}") });
            }
            let answer = self.answer(attempt);
            for index in 0..answer.calls.len() {
                write()?;
                self.log(self.call(&answer, index, ToolCallStatus::Pending).into_event());
            }
            write()?;
            self.lane = self.lane.checkpointed(answer.adds_bytes(self.lane.output_bytes));
            self.answers.push(answer);
        }
        let answer = self.answers.last().expect("it is recorded").clone();
        let calls = |status| (0..answer.calls.len()).map(move |index| (index, status));
        for (index, status) in calls(ToolCallStatus::Running).chain(calls(ToolCallStatus::Completed)) {
            write()?;
            self.log(self.call(&answer, index, status).into_event());
        }
        write()?;
        for (index, status) in calls(ToolCallStatus::Completed) {
            self.tool_calls.push(self.call(&answer, index, status));
        }
        Some(())
    }

    fn log(&mut self, body: EventBody) {
        let origin =
            Origin { lane: self.lane.name.clone(), turn: self.lane.turn, attempt: self.lane.attempt, node_id: None };
        let durable = lane_text(&self.answers);
        assert_eq!(durable.len() as u64, self.lane.output_bytes, "the lane counts the bytes of its text");
        self.entries.push(Entry { origin, body, durable });
    }

    /// The answer of this attempt: its calls have the same ids as those of any other, but other arguments.
    fn answer(&self, attempt: &Attempt) -> Answer {
        let Lane { turn, attempt: number, .. } = self.lane;
        let call = |index| RequestedCall {
            id: format!("call_{index}").parse().unwrap(),
            name: "look".to_owned(),
            arguments: format!("{turn} {number}"),
            extra_content: None,
        };
        Answer {
            text: attempt.pieces.concat(),
            reasoning: String::new(),
            reasoning_goes_back: false,
            reasoning_details: vec![],
            calls: (0..attempt.n_calls).map(call).collect(),
            finish_reason: FinishReason::Stop,
            model: "any".to_owned(),
            usage: Usage::default(),
            model_time_ms: 0,
            inbox: 0,
        }
    }

    fn call(&self, answer: &Answer, index: usize, status: ToolCallStatus) -> ToolCallView {
        let call = &answer.calls[index];
        ToolCallView { status, ..ToolCallView::pending(call, &self.lane.name, self.lane.turn, None) }
    }
}

/// One log of what several lanes wrote, and beside each event what was durable of its lane.
fn interleaved(lanes: &[Written], order: &[usize]) -> (Vec<Event>, Vec<String>) {
    let mut queues: Vec<_> = lanes.iter().map(|lane| lane.entries.iter().peekable()).collect();
    let mut order = order.iter().cycle();
    let queued = EventBody::JobQueued(JobState { status: Status::Queued });
    let mut events = vec![Event { number: 1, at: Timestamp::MIN, origin: None, body: queued }];
    let mut durable = vec![String::new()];
    loop {
        queues.retain_mut(|queue| queue.peek().is_some());
        if queues.is_empty() {
            return (events, durable);
        }
        let place = order.next().copied().unwrap_or_default() % queues.len();
        if let Some(Entry { origin, body, durable: text }) = queues[place].next() {
            let number = events.len() as u64 + 1;
            events.push(Event { number, at: Timestamp::MIN, origin: Some(origin.clone()), body: body.clone() });
            durable.push(text.clone());
        }
    }
}

fn all_written(plans: &[Plan]) -> Vec<Written> {
    plans.iter().enumerate().map(|(number, plan)| written(&name(number), plan)).collect()
}

proptest! {
    #[test]
    fn a_replay_gives_the_text_and_the_calls_of_the_attempts_that_counted((plans, order) in plans()) {
        let lanes = all_written(&plans);
        let (events, _) = interleaved(&lanes, &order);
        let replay = Replay::of(&events);
        for lane in &lanes {
            prop_assert_eq!(replay.text(&lane.lane.name), lane_text(&lane.answers));
            let calls = replay.lanes.get(&lane.lane.name).map_or(&[][..], |lane| &lane.tool_calls);
            prop_assert_eq!(calls, &lane.tool_calls);
        }
        prop_assert!(replay.lanes.len() <= lanes.len(), "the job's own events belong to no lane");
    }

    #[test]
    fn at_no_point_of_a_log_is_durable_text_missing((plans, order) in plans()) {
        let (events, durable) = interleaved(&all_written(&plans), &order);
        let mut replay = Replay::default();
        for (event, durable) in events.iter().zip(&durable) {
            replay.apply(event);
            if let Some(origin) = &event.origin {
                let text = replay.text(&origin.lane);
                prop_assert!(text.starts_with(durable.as_str()), "{text:?} lacks {durable:?}");
                if let EventBody::TurnRestarted { .. } = event.body {
                    prop_assert_eq!(text, durable);
                }
            }
        }
    }

    #[test]
    fn one_lanes_text_does_not_depend_on_the_others((plans, order) in plans()) {
        let lanes = all_written(&plans);
        let (events, _) = interleaved(&lanes, &order);
        let together = Replay::of(&events);
        for lane in &lanes {
            let (alone, _) = interleaved(std::slice::from_ref(lane), &[]);
            let alone = Replay::of(&alone);
            prop_assert_eq!(alone.lanes.get(&lane.lane.name), together.lanes.get(&lane.lane.name));
        }
    }

    #[test]
    fn an_offset_that_nobody_should_have_written_harms_nothing(text in ".{0,20}", output_offset in any::<u64>()) {
        let origin = Origin { lane: LaneName::main(), turn: 1, attempt: 1, node_id: None };
        let bodies = [EventBody::OutputDelta { text: text.clone() }, EventBody::TurnRestarted { output_offset }];
        let events = bodies.map(|body| Event { number: 1, at: Timestamp::MIN, origin: Some(origin.clone()), body });
        prop_assert!(text.starts_with(Replay::of(&events).text(&LaneName::main())));
        prop_assert_eq!(domain::event::cut(&text, usize::MAX), (text.clone(), false));
    }
}

/// Without this, logs might never be cut where it matters.
#[test]
fn five_hundred_logs_are_cut_everywhere() {
    let mut runner = TestRunner::deterministic();
    let plans = plans();
    let mut counts = BTreeMap::from([
        ("restarts that void text", 0),
        ("restarts that void several bytes to a character", 0),
        ("restarts that void calls", 0),
        ("restarts after the answer", 0),
        ("restarts missing between attempts", 0),
        ("turns without text between turns with", 0),
    ]);
    let mut count = |what: &'static str, happened: bool| *counts.get_mut(what).unwrap() += usize::from(happened);
    for _ in 0..500 {
        let (plans, order) = plans.new_tree(&mut runner).unwrap().current();
        let lanes = all_written(&plans);
        let (events, _) = interleaved(&lanes, &order);
        let mut replay = Replay::default();
        for event in &events {
            let before = event.origin.as_ref().and_then(|origin| replay.lanes.get(&origin.lane)).cloned();
            replay.apply(event);
            let (Some(before), EventBody::TurnRestarted { output_offset }) = (before, &event.body) else { continue };
            let origin = event.origin.as_ref().unwrap();
            let void = &before.text[usize::try_from(*output_offset).unwrap()..];
            count("restarts that void text", !void.is_empty());
            count("restarts that void several bytes to a character", !void.is_ascii());
            count("restarts that void calls", before.tool_calls.iter().any(|call| call.turn == origin.turn));
            let finished = |call: &ToolCallView| call.turn == origin.turn && call.status == ToolCallStatus::Completed;
            count("restarts after the answer", before.tool_calls.iter().any(finished));
            count("restarts missing between attempts", origin.attempt > 2);
        }
        for lane in &lanes {
            let texts: Vec<bool> = lane.answers.iter().map(|answer| answer.text.is_empty()).collect();
            count("turns without text between turns with", texts.windows(3).any(|texts| texts == [false, true, false]));
        }
    }
    assert!(counts.values().all(|count| *count >= 20), "{counts:?}");
}
