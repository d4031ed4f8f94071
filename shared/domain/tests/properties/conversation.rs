//! What the model is told.

use domain::{
    answer::Answer,
    conversation::conversation,
    id::{LaneName, WriterId},
    job::{FinishReason, JobSpec, ModelSettings},
    limits::{RESULT_BYTES_TO_MODEL, TURN_BYTES_TO_MODEL},
    message::{Content, Message, RequestedCall},
    time::Timestamp,
    tool_call::{Progress, ToolCall, ToolCallError, ToolErrorPhase, ToolOutcome},
    turn::{Turn, Turns},
    usage::Usage,
};
use proptest::{collection::vec, option, prelude::*};

fn spec() -> JobSpec {
    JobSpec {
        messages: vec![Message::system("Be brief."), Message::user("Look.")],
        settings: ModelSettings::default(),
        ..JobSpec::default()
    }
}

/// Results of every size: short, some that share the turn's part, and some that are too long by themselves. Each
/// has characters of several bytes, at every offset from a cut.
fn results() -> impl Strategy<Value = String> {
    let n_characters = prop_oneof![
        4 => 0..20_usize,
        3 => 500..6000_usize,
        2 => 10_000..30_000_usize,
        1 => RESULT_BYTES_TO_MODEL / 3..RESULT_BYTES_TO_MODEL,
    ];
    (n_characters, "[a-d]{0,3}", prop_oneof![Just("é"), Just("漢"), Just("🙂"), Just("x")])
        .prop_map(|(n, start, character)| start + &character.repeat(n))
}

fn progress() -> impl Strategy<Value = Progress> {
    let error = results().prop_map(|message| ToolCallError { phase: ToolErrorPhase::Execution, message });
    let outcome = prop_oneof![
        6 => results().prop_map(ToolOutcome::Completed),
        1 => error.prop_map(ToolOutcome::Error),
        1 => results().prop_map(ToolOutcome::Skipped),
        1 => Just(ToolOutcome::Unknown),
    ];
    let by: WriterId = "w".parse().unwrap();
    prop_oneof![
        1 => Just(Progress::Started { by }),
        6 => outcome.prop_map(|outcome| Progress::Finished { outcome, at: Timestamp::MIN }),
    ]
}

/// A turn of a lane: its calls with their records, some missing, some of calls that the answer does not have.
fn turn(lane: LaneName, turn: u32) -> impl Strategy<Value = Turn> {
    let records =
        prop_oneof![5 => vec(option::weighted(0.9, progress()), 0..6), 1 => vec(option::of(progress()), 0..40)];
    (option::weighted(0.9, prop_oneof![Just(""), Just("Zoë")]), records, 0..3_usize).prop_map(
        move |(text, records, n_strays)| {
            let request = |index: u32| RequestedCall {
                id: format!("{lane}-{turn}-{index}").parse().unwrap(),
                name: format!("tool-{index}"),
                arguments: "{}".to_owned(),
                extra_content: None,
            };
            let n_calls = records.len().saturating_sub(n_strays);
            let calls = (0..).zip(records).filter_map(|(index, progress)| {
                let (request, lane, started_at) = (request(index), lane.clone(), Timestamp::MIN);
                Some((
                    index,
                    ToolCall {
                        request,
                        lane,
                        turn,
                        index,
                        node_id: None,
                        fingerprint: String::new(),
                        attempts: 1,
                        edited: None,
                        started_at,
                        progress: progress?,
                    },
                ))
            });
            let answer = text.map(|text| Answer {
                text: text.to_owned(),
                reasoning: String::new(),
                reasoning_goes_back: false,
                reasoning_details: vec![],
                calls: (0..).map(request).take(n_calls).collect(),
                finish_reason: FinishReason::ToolCalls,
                model: "any".to_owned(),
                usage: Usage::default(),
                model_time_ms: 0,
                inbox: 0,
            });
            Turn { answer, calls: calls.collect(), shortened: vec![] }
        },
    )
}

/// Up to four turns of two lanes.
fn turns() -> impl Strategy<Value = Turns> {
    let lanes: [LaneName; 2] = [LaneName::main(), "other".parse().unwrap()];
    let places = lanes.into_iter().flat_map(|lane| (1..3).map(move |number| (lane.clone(), number)));
    let turns: Vec<_> = places
        .map(|place| option::weighted(0.8, turn(place.0.clone(), place.1)).prop_map(move |turn| (place.clone(), turn)))
        .collect();
    turns.prop_map(|turns| turns.into_iter().filter_map(|(place, turn)| Some((place, turn?))).collect())
}

/// The answers that the lane's next turn has to know of.
fn answers_before<'a>(turns: &'a Turns, lane: &'a LaneName, next: u32) -> impl Iterator<Item = (&'a Turn, &'a Answer)> {
    let before = move |place: &(LaneName, u32)| place.0 == *lane && place.1 < next;
    turns.iter().filter(move |(place, _)| before(place)).filter_map(|(_, turn)| Some((turn, turn.answer.as_ref()?)))
}

fn result(message: &Message) -> &str {
    match message {
        Message::Tool { content: Content::Text(text), .. } => text,
        other => panic!("{other:?} is no result"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn every_call_that_was_asked_for_has_one_result_in_order_and_nothing_else_has(turns in turns(), next in 0..5_u32) {
        for lane in [LaneName::main(), "other".parse().unwrap(), "absent".parse().unwrap()] {
            let told = conversation(&spec().messages, &turns, &[], &lane, next, 0);
            let mut rest = told.strip_prefix(spec().messages.as_slice()).expect("the request comes first");
            for (_, answer) in answers_before(&turns, &lane, next) {
                if answer.text.is_empty() && answer.calls.is_empty() { continue }
                prop_assert_eq!(&rest[0], &answer.as_message());
                for (message, call) in rest[1..].iter().zip(&answer.calls) {
                    let Message::Tool { tool_call_id, name, .. } = message else {
                        return Err(TestCaseError::fail(format!("{} has no result", call.id)));
                    };
                    prop_assert_eq!((tool_call_id, name.as_deref()), (&call.id, Some(call.name.as_str())));
                }
                rest = &rest[1 + answer.calls.len()..];
            }
            prop_assert_eq!(rest, &[]);
        }
    }

    #[test]
    fn a_turns_results_together_are_no_longer_than_the_model_may_read(turns in turns()) {
        let told = conversation(&spec().messages, &turns, &[], &LaneName::main(), 5, 0);
        let is_result = |message: &Message| matches!(message, Message::Tool { .. });
        for results in told.chunk_by(|a, b| is_result(a) && is_result(b)).filter(|chunk| is_result(&chunk[0])) {
            let total: usize = results.iter().map(|message| result(message).len()).sum();
            prop_assert!(total <= TURN_BYTES_TO_MODEL, "{total}");
        }
    }

    #[test]
    fn a_result_is_whole_or_begins_like_it_and_says_what_is_missing(turns in turns()) {
        for (turn, answer) in answers_before(&turns, &LaneName::main(), 5) {
            let one = Turns::from([((LaneName::main(), 1), turn.clone())]);
            let told = conversation(&spec().messages, &one, &[], &LaneName::main(), 2, 0);
            let told = &told[spec().messages.len()..];
            let wholes: Vec<String> = (0..)
                .zip(&answer.calls)
                .map(|(index, _)| turn.calls.get(&index).and_then(ToolCall::outcome).unwrap_or(&ToolOutcome::Unknown))
                .map(ToolOutcome::for_model)
                .collect();
            let needed: usize = wholes.iter().map(String::len).sum();
            for (message, whole) in told.iter().skip(1).zip(&wholes) {
                let read = result(message);
                if read == whole { continue }
                prop_assert!(needed > TURN_BYTES_TO_MODEL, "cut without need");
                if whole.len() > RESULT_BYTES_TO_MODEL {
                    prop_assert!(read.starts_with("[result omitted: "), "{read:.60}");
                    continue;
                }
                let (kept, note) = read.rsplit_once("\n[truncated: ").expect("it says that it was cut");
                prop_assert!(whole.starts_with(kept));
                prop_assert_eq!(note, format!("{} of {} bytes are missing]", whole.len() - kept.len(), whole.len()));
            }
        }
    }

    #[test]
    fn what_the_model_is_told_grows_and_never_changes(turns in turns(), next in 0..5_u32) {
        let before = conversation(&spec().messages, &turns, &[], &LaneName::main(), next, 0);
        let after = conversation(&spec().messages, &turns, &[], &LaneName::main(), next + 1, 0);
        prop_assert!(after.starts_with(&before));
    }
}
