//! What is written down is read back as it was, and what a record asks for is decided for every record.

use domain::{
    answer::Answer,
    event::{EventBody, JobState, JobSummary, Origin, ToolCallView},
    id::WriterId,
    job::{Ending, FailedDuring, FinishReason, Head, JobError, JobKind, Metrics, Owed, State, Status},
    lane::Lane,
    limits::RESULT_VIEW_BYTES,
    message::{Content, Message, Part, RequestedCall},
    time::Timestamp,
    tool_call::{
        Progress, Recovery, Replay, ToolCall, ToolCallError, ToolCallStatus, ToolErrorPhase, ToolOutcome, recovery,
    },
    trace::TraceParent,
    usage::Usage,
};
use proptest::{collection::vec, option, prelude::*};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::lane::{lanes, moments};

/// Written as text and as a tree, and read back from either.
fn comes_back<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(thing: &T) -> Result<(), TestCaseError> {
    let text = serde_json::to_string(thing).unwrap();
    prop_assert_eq!(&serde_json::from_str::<T>(&text).unwrap(), thing, "{}", text);
    prop_assert_eq!(&serde_json::from_value::<T>(serde_json::to_value(thing).unwrap()).unwrap(), thing);
    Ok(())
}

fn texts() -> impl Strategy<Value = String> {
    prop_oneof![Just(String::new()), "\\PC{0,12}", any::<String>()]
}

fn ids<T>() -> impl Strategy<Value = T>
where
    T: TryFrom<String> + std::fmt::Debug,
    T::Error: std::fmt::Debug,
{
    "[a-zA-Z0-9_.:-]{1,20}".prop_map(|id| T::try_from(id).unwrap())
}

fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        prop::num::f64::NORMAL.prop_map(Value::from),
        texts().prop_map(Value::from),
    ];
    leaf.prop_recursive(2, 8, 3, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..3).prop_map(Value::from),
            vec((texts(), inner), 0..3).prop_map(|entries| Value::Object(entries.into_iter().collect())),
        ]
    })
}

fn usages() -> impl Strategy<Value = Usage> {
    (any::<u64>(), any::<u64>(), any::<u64>(), any::<u64>(), 0.0..1000.0).prop_map(
        |(input_tokens, output_tokens, reasoning_tokens, cached_tokens, cost_usd)| Usage {
            input_tokens,
            output_tokens,
            reasoning_tokens,
            cached_tokens,
            cost_usd,
        },
    )
}

fn metrics() -> impl Strategy<Value = Metrics> {
    (any::<[u32; 4]>(), any::<[u64; 5]>().prop_map(|n| n.map(|n| n >> 1))).prop_map(|(counts, times)| Metrics {
        total_turns: counts[0],
        tool_call_count: counts[1],
        tool_execution_time_ms: times[0],
        model_time_ms: times[1],
        queue_time_ms: times[2],
        overhead_ms: times[3],
        recoveries: counts[2],
        requests: counts[3],
    })
}

fn reasons() -> impl Strategy<Value = FinishReason> {
    use FinishReason::{
        Budget, Cancelled, Deadline, Error, Length, QueueTimeout, Rejected, Stop, ToolCalls, ToolLimit,
    };
    prop::sample::select(vec![
        Stop,
        Length,
        ToolCalls,
        ToolLimit,
        Deadline,
        QueueTimeout,
        Budget,
        Cancelled,
        Rejected,
        Error,
    ])
}

fn job_errors() -> impl Strategy<Value = JobError> {
    use FailedDuring::{ModelCall, Queue, ToolExecution, Turn};
    let during = prop::sample::select(vec![Queue, ModelCall, ToolExecution, Turn]);
    (texts(), texts(), during, option::of(texts()), option::of(texts()), any::<u32>()).prop_map(
        |(code, message, failed_during, tool_name, node_id, turn)| JobError {
            code,
            message,
            failed_during,
            tool_name,
            node_id,
            turn,
        },
    )
}

fn endings() -> impl Strategy<Value = Ending> {
    prop_oneof![
        reasons().prop_map(|reason| Ending::Completed { reason }),
        (reasons(), job_errors()).prop_map(|(reason, error)| Ending::Failed { reason, error }),
        Just(Ending::Cancelled),
    ]
}

fn states() -> impl Strategy<Value = State> {
    let owed = any::<(bool, bool)>().prop_map(|(terminal, notification)| Owed { terminal, notification });
    prop_oneof![
        moments().prop_map(|until| State::Queued { until }),
        moments().prop_map(|deadline_at| State::Running { deadline_at }),
        (moments(), any::<u64>()).prop_map(|(since, remaining_ms)| State::InputRequired { since, remaining_ms }),
        (endings(), moments(), owed).prop_map(|(ending, at, owed)| State::Finished { ending, at, owed }),
    ]
}

fn heads() -> impl Strategy<Value = Head> {
    let kind = prop_oneof![Just(JobKind::Chat), Just(JobKind::Workflow)];
    let names = (ids(), kind, option::of(ids()), option::of(ids()), (texts(), texts()));
    let at = (moments(), option::of(moments()), moments(), moments());
    (names, at, states(), any::<[u32; 6]>(), usages(), metrics()).prop_map(
        |((user, kind, thread, message, (title, model)), at, state, numbers, usage, metrics)| Head {
            id: "job_01JDA7Q3W5T8Z2K4M6N8P0R1S3".parse().unwrap(),
            user,
            kind,
            thread,
            message,
            title,
            model,
            created_at: at.0,
            started_at: at.1,
            state,
            deadline_seconds: numbers[0],
            retention_seconds: numbers[1],
            expires_at: at.2,
            lanes_version: numbers[2],
            inbox: numbers[3],
            lanes_at_work: numbers[4],
            paused_ms: numbers[5].into(),
            watched_until: at.3,
            trace: (numbers[0] % 2 == 0).then_some(TraceParent {
                trace: u128::from(numbers[1]) + 1,
                span: u64::from(numbers[2]) + 1,
                is_sampled: numbers[3] % 2 == 0,
            }),
            usage,
            metrics,
        },
    )
}

fn requests() -> impl Strategy<Value = RequestedCall> {
    let extra = option::of(values().prop_filter("null is nothing", |value| !value.is_null()));
    (ids(), texts(), texts(), extra).prop_map(|(id, name, arguments, extra_content)| RequestedCall {
        id,
        name,
        arguments,
        extra_content,
    })
}

fn outcomes() -> impl Strategy<Value = ToolOutcome> {
    use ToolErrorPhase::{Execution, Timeout, Validation};
    let error = (prop::sample::select(vec![Validation, Execution, Timeout]), texts());
    prop_oneof![
        texts().prop_map(ToolOutcome::Completed),
        (1..3_usize).prop_map(|n| ToolOutcome::Completed("é漢x".repeat(n * RESULT_VIEW_BYTES / 6))),
        error.prop_map(|(phase, message)| ToolOutcome::Error(ToolCallError { phase, message })),
        texts().prop_map(ToolOutcome::Skipped),
        option::of(texts()).prop_map(ToolOutcome::Denied),
        Just(ToolOutcome::Unknown),
    ]
}

fn tool_calls() -> impl Strategy<Value = ToolCall> {
    let progress = prop_oneof![
        ids().prop_map(|by| Progress::Started { by }),
        (outcomes(), moments()).prop_map(|(outcome, at)| Progress::Finished { outcome, at }),
    ];
    let ledger = (texts(), any::<u32>(), option::of(texts()));
    (requests(), ids(), any::<u32>(), any::<u32>(), moments(), progress, ledger).prop_map(
        |(request, lane, turn, index, started_at, progress, (fingerprint, attempts, edited))| ToolCall {
            request,
            lane,
            turn,
            index,
            node_id: None,
            fingerprint,
            attempts,
            edited,
            started_at,
            progress,
        },
    )
}

fn answers() -> impl Strategy<Value = Answer> {
    let said = ((texts(), texts(), any::<bool>()), vec(values(), 0..3), vec(requests(), 0..3));
    (said, reasons(), texts(), usages(), any::<u64>(), any::<u32>()).prop_map(
        |(
            ((text, reasoning, reasoning_goes_back), reasoning_details, calls),
            finish_reason,
            model,
            usage,
            model_time_ms,
            inbox,
        )| Answer {
            text,
            reasoning,
            reasoning_goes_back,
            reasoning_details,
            calls,
            finish_reason,
            model,
            usage,
            model_time_ms,
            inbox,
        },
    )
}

fn messages() -> impl Strategy<Value = Message> {
    let part = prop_oneof![
        texts().prop_map(|text| Part::Text { text }),
        texts().prop_map(|url| Part::ImageUrl { image_url: json!({"url": url}) }),
        texts().prop_map(|data| Part::File { file: json!({"file_data": data}) }),
        texts().prop_map(|data| Part::InputAudio { input_audio: json!({"data": data, "format": "wav"}) }),
    ];
    let content = prop_oneof![texts().prop_map(Content::Text), vec(part, 0..3).prop_map(Content::Parts)];
    let content = || content.clone();
    prop_oneof![
        content().prop_map(|content| Message::System { content }),
        content().prop_map(|content| Message::User { content }),
        (content(), vec(requests(), 0..3), vec(values(), 0..2), option::of(texts())).prop_map(
            |(content, tool_calls, reasoning_details, reasoning_content)| Message::Assistant {
                content,
                tool_calls,
                reasoning_details,
                reasoning_content,
            }
        ),
        (ids(), option::of(texts()), content()).prop_map(|(tool_call_id, name, content)| Message::Tool {
            tool_call_id,
            name,
            content
        }),
    ]
}

fn bodies() -> impl Strategy<Value = EventBody> {
    let state = || prop::sample::select(Status::ALL.to_vec()).prop_map(|status| JobState { status });
    let summary = (endings(), texts(), any::<bool>(), usages(), metrics()).prop_map(
        |(ending, output, output_truncated, usage, metrics)| JobSummary {
            status: ending.status(),
            finish_reason: ending.reason(),
            output,
            output_truncated,
            usage,
            metrics,
            error: ending.error().cloned(),
        },
    );
    let pending = tool_calls().prop_map(|call| ToolCallView {
        status: ToolCallStatus::Pending,
        started_at: None,
        node_id: Some("node".to_owned()),
        ..ToolCallView::of(&call)
    });
    let call = prop_oneof![5 => tool_calls().prop_map(|call| ToolCallView::of(&call)), 1 => pending];
    prop_oneof![
        state().prop_map(EventBody::JobQueued),
        state().prop_map(EventBody::JobRunning),
        state().prop_map(EventBody::JobInputRequired),
        summary.prop_map(JobSummary::into_event),
        texts().prop_map(|model| EventBody::TurnStarted { model }),
        (texts(), reasons(), usages()).prop_map(|(model, finish_reason, usage)| EventBody::TurnCompleted {
            model,
            finish_reason,
            usage
        }),
        any::<u64>().prop_map(|output_offset| EventBody::TurnRestarted { output_offset }),
        texts().prop_map(|text| EventBody::OutputDelta { text }),
        texts().prop_map(|text| EventBody::ReasoningDelta { text }),
        call.prop_map(ToolCallView::into_event),
        (moments(), texts(), texts()).prop_map(|(until, code, message)| EventBody::ModelWaiting {
            until,
            code,
            message
        }),
    ]
}

proptest! {
    #[test]
    fn a_head_is_read_back_as_it_was_written(head in heads()) {
        comes_back(&head)?;
    }

    #[test]
    fn a_lane_is_read_back_as_it_was_written(lane in lanes()) {
        comes_back::<Lane>(&lane)?;
    }

    #[test]
    fn an_answer_is_read_back_as_it_was_written(answer in answers()) {
        comes_back(&answer)?;
    }

    #[test]
    fn a_tool_call_is_read_back_as_it_was_written(call in tool_calls()) {
        comes_back(&call)?;
    }

    #[test]
    fn a_message_is_read_back_as_it_was_written(message in messages()) {
        comes_back(&message)?;
    }

    #[test]
    fn an_event_is_read_back_as_it_was_written_and_bears_its_name(body in bodies(), turn in any::<u32>()) {
        comes_back(&body)?;
        comes_back(&Origin { lane: "main".parse().unwrap(), turn, attempt: 1, node_id: None })?;
        prop_assert_eq!(&serde_json::to_value(&body).unwrap()["type"], body.name());
        prop_assert_eq!(body.is_terminal(), ["job.completed", "job.failed", "job.cancelled"].contains(&body.name()));
        prop_assert_eq!(body.tool_call().is_some(), body.name().starts_with("tool_call."));
    }

    #[test]
    fn a_calls_event_tells_its_status_and_as_much_of_its_result_as_viewers_may_have(call in tool_calls()) {
        let view = ToolCallView::of(&call);
        if let Some(ToolOutcome::Completed(whole)) = call.outcome() {
            let shown = view.result.clone().expect("it has a result");
            prop_assert!(shown.len() <= RESULT_VIEW_BYTES && whole.starts_with(&shown));
            prop_assert!(whole.len() - shown.len() < 4 || shown.len() > RESULT_VIEW_BYTES - 4);
            prop_assert_eq!(view.result_truncated, shown.len() < whole.len());
        }
        prop_assert_eq!(view.result.is_some(), call.status() == ToolCallStatus::Completed);
        prop_assert_eq!(view.error.is_some(), call.status().is_settled() && view.result.is_none());
        let status = serde_json::to_value(call.status()).unwrap();
        let event = view.into_event();
        prop_assert_eq!(event.name().strip_prefix("tool_call."), status.as_str());
    }

    #[test]
    fn the_order_of_times_is_the_order_of_their_text(a in moments(), b in moments(), far in any::<i64>()) {
        for (a, b) in [(a, b), (a, Timestamp::from_millis(far)), (b, Timestamp::from_millis(a.as_millis() + 1))] {
            prop_assert_eq!(a.cmp(&b), a.to_string().cmp(&b.to_string()), "{} {}", a, b);
            prop_assert_eq!(a.to_string().parse(), Ok(a));
            prop_assert_eq!(a.max(b).since(a.min(b)).as_millis(), a.as_millis().abs_diff(b.as_millis()).into());
            prop_assert_eq!(a + b.since(a), a.max(b));
        }
    }

    #[test]
    fn no_span_takes_a_time_out_of_the_years_that_sort(at in moments(), span in any::<std::time::Duration>()) {
        prop_assert!(at - span <= at && at <= at + span);
        prop_assert_eq!((at + span).to_string().len(), 24);
        prop_assert_eq!((at - span).to_string().len(), 24);
    }
}

#[test]
fn an_answer_of_an_earlier_release_is_read_and_one_that_has_nothing_to_go_back_is_written_as_then() {
    let then = json!({
        "text": "Let me look.",
        "reasoning": "hm",
        "reasoning_details": [{"type": "reasoning.text", "text": "hm"}],
        "calls": [{"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}],
        "finish_reason": "tool_calls",
        "model": "m",
        "usage": Usage::default(),
        "model_time_ms": 5,
        "inbox": 0,
    });
    let answer: Answer = serde_json::from_value(then.clone()).unwrap();
    assert_eq!(serde_json::to_value(&answer).unwrap(), then);
    let Message::Assistant { reasoning_content, tool_calls, .. } = answer.as_message() else { panic!("not its") };
    assert_eq!((reasoning_content, tool_calls[0].extra_content.as_ref()), (None, None));
    // A model that did not think was asked to: that it thought nothing goes back as well.
    for reasoning in ["hm", ""] {
        let answer = Answer { reasoning: reasoning.to_owned(), reasoning_goes_back: true, ..answer.clone() };
        let message = serde_json::to_value(answer.as_message()).unwrap();
        assert_eq!(message["reasoning_content"], reasoning);
    }
}

#[test]
fn a_call_that_was_cut_off_is_run_again_only_if_its_tool_allows_it() {
    let me: WriterId = "me".parse().unwrap();
    let record = |progress| ToolCall {
        request: RequestedCall {
            id: "c".parse().unwrap(),
            name: "t".into(),
            arguments: "{}".into(),
            extra_content: None,
        },
        lane: "main".parse().unwrap(),
        turn: 1,
        index: 0,
        node_id: None,
        fingerprint: String::new(),
        attempts: 1,
        edited: None,
        started_at: Timestamp::MIN,
        progress,
    };
    let started = |by: &str| Some(record(Progress::Started { by: by.parse().unwrap() }));
    let finished = |outcome| Some(record(Progress::Finished { outcome, at: Timestamp::MIN }));
    let error = ToolCallError { phase: ToolErrorPhase::Execution, message: "It failed.".into() };
    // One row for each record that there can be; the columns are Safe, WithKey and Never.
    let table = [
        (None, [Recovery::Start; 3]),
        (started("me"), [Recovery::TakeOver; 3]),
        (started("another"), [Recovery::TakeOver, Recovery::TakeOver, Recovery::MarkUnknown]),
        (finished(ToolOutcome::Completed("42".into())), [Recovery::Use; 3]),
        (finished(ToolOutcome::Error(error)), [Recovery::Use; 3]),
        (finished(ToolOutcome::Skipped("no such tool".into())), [Recovery::Use; 3]),
        (finished(ToolOutcome::Unknown), [Recovery::Use; 3]),
    ];
    for (record, row) in table {
        for (replay, expected) in [Replay::Safe, Replay::WithKey, Replay::Never].into_iter().zip(row) {
            assert_eq!(recovery(record.as_ref(), replay, &me), expected, "{record:?} {replay:?}");
        }
    }
    assert_eq!(Replay::default(), Replay::Never);
}
