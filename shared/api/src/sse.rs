//! Frames of the stream. Each is written whole, so that whoever sends them never sends half of one; only an entry of the
//! log carries an id, so that nothing else moves a viewer's cursor.

use domain::{
    event::{Event, EventBody},
    id::JobId,
};

use crate::event_view::EventView;

/// The `content-type` of a stream.
pub const CONTENT_TYPE: &str = "text/event-stream";
/// The `cache-control` of a stream: nobody in between may keep or compress it.
pub const CACHE_CONTROL: &str = "no-cache, no-transform";
/// Tells viewers to come back a second after an end.
pub const RETRY: &str = "retry: 1000\n\n";
/// A comment that shows that the connection lives.
pub const PING: &str = ": ping\n\n";
/// Follows the job's last event; after it the stream ends for good.
pub const DONE: &str = "event: done\ndata: [DONE]\n\n";
/// Longest text of a merged event, in bytes.
pub const MERGED_TEXT_BYTES: usize = 64 * 1024;

/// An event's frame.
pub fn frame(job: &JobId, event: &Event) -> String {
    format!("id: {}\nevent: {}\ndata: {}\n\n", event.number, event.body.name(), EventView::new(job, event).to_json())
}

/// Joins runs of neighbouring text events of one lane, turn and attempt: each becomes one event with the run's text and
/// its last event's number and time. An event that is longer than [`MERGED_TEXT_BYTES`] by itself stays as it is.
pub fn merge(events: impl IntoIterator<Item = Event>) -> Vec<Event> {
    let mut merged: Vec<Event> = Vec::new();
    for event in events {
        match merged.last_mut() {
            Some(last) if joins(last, &event) => join(last, &event),
            _ => merged.push(event),
        }
    }
    merged
}

fn joins(last: &Event, next: &Event) -> bool {
    let texts = match (&last.body, &next.body) {
        (EventBody::OutputDelta { text: one }, EventBody::OutputDelta { text: two })
        | (EventBody::ReasoningDelta { text: one }, EventBody::ReasoningDelta { text: two }) => Some((one, two)),
        _ => None,
    };
    texts.is_some_and(|(one, two)| last.origin == next.origin && one.len() + two.len() <= MERGED_TEXT_BYTES)
}

fn join(last: &mut Event, next: &Event) {
    if let (
        EventBody::OutputDelta { text } | EventBody::ReasoningDelta { text },
        EventBody::OutputDelta { text: more } | EventBody::ReasoningDelta { text: more },
    ) = (&mut last.body, &next.body)
    {
        text.push_str(more);
        last.number = next.number;
        last.at = next.at;
    }
}

#[cfg(test)]
mod tests {
    use domain::{
        event::{Origin, ToolCallView},
        id::LaneName,
        limits,
        message::RequestedCall,
        replay::Replay,
        time::Timestamp,
        tool_call::ToolCallStatus,
    };
    use proptest::prelude::*;

    use super::*;
    use crate::event_view::tests::{event, job, one_of_each};

    #[test]
    fn a_frame_is_three_lines_and_an_empty_one() {
        let text = event(57, EventBody::OutputDelta { text: "Hi\r\n\r\nevent: done".into() });
        assert_eq!(
            frame(&job(), &text),
            "id: 57\nevent: output.delta\ndata: {\"type\":\"output.delta\",\"text\":\"Hi\\r\\n\\r\\nevent: done\",\
             \"job_id\":\"job_01JDA7Q3W5T8Z2K4M6N8P0R1S3\",\"at\":\"2025-11-22T08:26:40.120Z\",\"lane\":\"main\",\
             \"turn\":2,\"attempt\":3}\n\n"
        );
    }

    #[test]
    fn no_frame_has_a_line_break_in_its_data() {
        for event in one_of_each() {
            let frame = frame(&job(), &event);
            assert_eq!(frame.matches('\n').count(), 4, "{frame}");
            assert!(!frame.contains('\r') && frame.ends_with("\n\n"), "{frame}");
        }
    }

    #[test]
    fn the_largest_event_makes_a_frame_of_bounded_size() {
        // The worst case of JSON: every byte becomes six.
        let call = RequestedCall {
            id: "c".repeat(256).parse().unwrap(),
            name: "n".repeat(64),
            arguments: "\u{1}".repeat(limits::ARGUMENTS_BYTES),
            extra_content: None,
        };
        let view = ToolCallView {
            status: ToolCallStatus::Completed,
            edited_arguments: Some("\u{1}".repeat(limits::ARGUMENTS_BYTES)),
            result: Some("\u{1}".repeat(limits::RESULT_VIEW_BYTES)),
            result_truncated: true,
            ..ToolCallView::pending(&call, &LaneName::main(), u32::MAX, None)
        };
        let largest = (2 * limits::ARGUMENTS_BYTES + limits::RESULT_VIEW_BYTES) * 6 + 2048;
        assert!(frame(&job(), &event(u64::MAX, view.into_event())).len() <= largest);
        let text = "\u{1}".repeat(MERGED_TEXT_BYTES);
        let delta = event(1, EventBody::OutputDelta { text });
        assert!(frame(&job(), &delta).len() <= MERGED_TEXT_BYTES * 6 + 2048);
    }

    #[test]
    fn a_run_of_text_becomes_one_event_with_the_last_number() {
        let delta = |number, text: &str| event(number, EventBody::OutputDelta { text: text.into() });
        let thought = event(4, EventBody::ReasoningDelta { text: "hm".into() });
        let merged = merge([delta(1, "a"), delta(2, "b"), delta(3, "c"), thought.clone(), delta(5, "d")]);
        assert_eq!(merged, [delta(3, "abc"), thought, delta(5, "d")]);
    }

    #[test]
    fn another_lane_turn_or_attempt_is_another_run() {
        let delta = |number, lane: &str, turn, attempt| Event {
            origin: Some(Origin { lane: lane.parse().unwrap(), turn, attempt, node_id: None }),
            ..event(number, EventBody::OutputDelta { text: "x".into() })
        };
        let events = [delta(1, "a", 1, 1), delta(2, "b", 1, 1), delta(3, "b", 2, 1), delta(4, "b", 2, 2)];
        assert_eq!(merge(events.clone()), events);
    }

    fn any_event() -> impl Strategy<Value = Event> {
        let body = prop_oneof![
            6 => prop_oneof!["[a-zé\\n]{0,4}", Just("é".repeat(9_000)), Just("y".repeat(70_000))]
                .prop_map(|text| EventBody::OutputDelta { text }),
            3 => "[a-z]{0,3}".prop_map(|text| EventBody::ReasoningDelta { text }),
            1 => Just(EventBody::TurnStarted { model: "m".into() }),
        ];
        (body, 0..2u32, 1..3u32).prop_map(|(body, lane, turn)| Event {
            number: 0,
            at: Timestamp::MIN,
            origin: Some(Origin { lane: format!("l{lane}").parse().unwrap(), turn, attempt: 1, node_id: None }),
            body,
        })
    }

    /// Every character in order with what it belongs to, which is all that merging may keep.
    fn characters(events: &[Event]) -> Vec<(&'static str, Option<Origin>, String)> {
        let mut runs: Vec<(&'static str, Option<Origin>, String)> = Vec::new();
        for event in events {
            let text = match &event.body {
                EventBody::OutputDelta { text } | EventBody::ReasoningDelta { text } => text.as_str(),
                _ => "|",
            };
            match runs.last_mut() {
                Some((name, origin, run)) if *name == event.body.name() && *origin == event.origin => {
                    run.push_str(text);
                }
                _ => runs.push((event.body.name(), event.origin.clone(), text.to_owned())),
            }
        }
        runs
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn merging_changes_neither_text_nor_order_nor_the_last_number(
            events in prop::collection::vec(any_event(), 0..40), first in 1u64..1000
        ) {
            let events: Vec<Event> =
                events.into_iter().zip(first..).map(|(event, number)| Event { number, ..event }).collect();
            let merged = merge(events.clone());
            prop_assert_eq!(characters(&merged), characters(&events));
            prop_assert_eq!(Replay::of(&merged), Replay::of(&events));
            prop_assert_eq!(merged.last().map(|event| event.number), events.last().map(|event| event.number));
            prop_assert!(merged.windows(2).all(|pair| pair[0].number < pair[1].number));
            prop_assert!(merged.len() <= events.len());
            for event in &merged {
                if let EventBody::OutputDelta { text } = &event.body {
                    let whole = events.iter().any(|one| one.body == event.body);
                    prop_assert!(whole || text.len() <= MERGED_TEXT_BYTES);
                }
            }
            prop_assert_eq!(merge(merged.clone()), merged);
        }
    }
}
