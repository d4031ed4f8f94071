//! What must hold when a run has come to rest.

use std::{collections::HashSet, panic::AssertUnwindSafe, sync::PoisonError};

use domain::{
    answer::lane_text,
    event::{Event, EventBody},
    id::{JobId, LaneName},
    job::Status,
    replay::Replay,
    tool_call::ToolCallStatus,
};
use engine::Clock as _;
use store::{CreateOutcome, NewJob, Record};
use tests::world::World;

use super::{
    run::{Outside, Run, new_job},
    scenarios::{People, Scenario, TEXT_ONLY},
};

/// What must hold however the job came to its end.
pub(super) fn check(scenario: &Scenario, record: &Record, outside: &Outside) {
    // A job may be over before it can be cancelled.
    let over_before = scenario.cancelled && record.head.status() == Status::Completed;
    assert!(over_before || record.head.status() == scenario.status, "{:?}", record.head.state);
    let events = &record.events;
    let terminal = events.iter().filter(|event| event.body.is_terminal()).count();
    assert!(terminal == 1 && events.last().unwrap().body.is_terminal(), "one end, and nothing after it");
    let (EventBody::JobCompleted(summary) | EventBody::JobCancelled(summary)) = &events.last().unwrap().body else {
        panic!("{:?}", events.last());
    };

    let replay = Replay::of(events);
    let text = record.output.as_deref().unwrap_or_else(|| replay.text(&LaneName::main()));
    assert_eq!(summary.output, text);
    let calls: Vec<_> = replay.lanes.values().flat_map(|lane| &lane.tool_calls).collect();
    let names: Vec<&str> = calls.iter().map(|call| call.name.as_str()).collect();
    if scenario.cancelled {
        // How far it got before it was cancelled depends on what went wrong.
        assert!(scenario.text.starts_with(text) && scenario.calls.starts_with(&names), "{text:?} {names:?}");
    } else {
        assert_eq!((text, names.as_slice()), (scenario.text, scenario.calls));
        if !scenario.is_workflow {
            assert_eq!(lane_text(record.turns.values().filter_map(|turn| turn.answer.as_ref())), scenario.text);
        }
        assert_eq!(record.head.metrics.tool_call_count as usize, scenario.calls.len());
        for call in calls.iter().filter(|call| call.name != "push") {
            assert_eq!(call.status, ToolCallStatus::Completed, "{call:?}");
        }
    }
    let n_called = |name: &str| scenario.calls.iter().filter(|call| **call == name).count();
    assert!(scenario.cancelled || outside.looked as usize >= n_called("look"));
    assert_eq!(outside.sent.len(), n_called("send"), "the far side saw each thing once");
    for pushed in calls.iter().filter(|call| call.name == "push") {
        match pushed.status {
            ToolCallStatus::Skipped if scenario.people == People::Away => assert_eq!(outside.pushed, 0),
            ToolCallStatus::Completed => assert_eq!(outside.pushed, 1),
            _ if scenario.cancelled => assert!(outside.pushed <= 1),
            ToolCallStatus::Unknown => assert!(outside.pushed <= 1, "what may not be repeated was repeated"),
            other => panic!("{other:?}"),
        }
    }
    let n_said = events.iter().filter(|event| matches!(event.body, EventBody::MessageAdded { .. })).count();
    let n_resolved = events.iter().filter(|event| matches!(event.body, EventBody::InputResolved(_))).count();
    assert_eq!(n_said, usize::from(scenario.people == People::Present && !scenario.is_workflow));
    assert_eq!(n_resolved, usize::from(scenario.people != People::Unasked));
    if scenario.budget.is_some() {
        let asked = events.iter().filter(|event| matches!(event.body, EventBody::InputRequested(_))).count();
        assert_eq!((asked, record.inputs.len()), (1, 1), "people are asked once for all lanes");
    } else if scenario.is_workflow {
        ran_once(record);
    }
    fenced(events);
}

/// Whoever asked the model for an answer, and however often, told it what is on record.
pub(super) fn one_conversation(scenario: &Scenario, record: &Record, world: &World) {
    let shortened: Vec<_> = record.turns.values().flat_map(|turn| &turn.shortened).collect();
    assert_eq!(shortened.len(), scenario.n_shortened, "{shortened:#?}");
    if shortened.is_empty() {
        return;
    }
    let stand_ins: HashSet<&str> = shortened.iter().map(|shortened| shortened.text.as_str()).collect();
    for request in world.model.requests() {
        let [first, rest @ ..] = request.messages() else { panic!("nothing was said") };
        let is_summary = first["role"] == "system";
        // The first turn's conversation is as it was asked.
        let as_asked = rest.is_empty() && first["content"] == "Do everything";
        let told = first["content"].as_str().unwrap();
        assert!(is_summary || as_asked || stand_ins.contains(told), "{told:?} is not on record: {stand_ins:#?}");
    }
    let mut events: Vec<_> = record
        .events
        .iter()
        .filter_map(|event| match &event.body {
            EventBody::ContextCompacted(told) => Some(told),
            _ => None,
        })
        .collect();
    events.dedup();
    let told: Vec<_> = shortened.iter().map(|shortened| &shortened.told).collect();
    assert_eq!(events, told, "viewers are told what is on record, in its order");
}

/// The workflow went the way that it has to, each node once.
fn ran_once(record: &Record) {
    let (_, run) = record.run.as_ref().unwrap();
    let view = domain::workflow::view(&record.spec.as_ref().unwrap().workflow.as_ref().unwrap().workflow, run);
    assert_eq!(view.execution_order, ["start", "route", "fan", "loop", "sub", "last", "out"]);
    let outputs =
        [("fan", "Both views."), ("body#1", "A draft."), ("sub/inner", "From within."), ("last", "Published.")];
    for (node, output) in outputs {
        assert_eq!(view.node_states[node].output.as_deref(), Some(output), "{node}");
    }
    let is_open = |state: &domain::workflow::NodeView| !state.status.is_settled();
    assert!(!view.node_states.values().any(is_open), "{view:#?}");
    // What was told last of each node is what it came to.
    let told = record.events.iter().filter(|event| event.body.name() == "node.completed").count();
    assert!(told >= view.execution_order.len(), "{told}");
}

/// Attempts follow one another; each after the first says first that it is one.
fn fenced(events: &[Event]) {
    let mut lasts = std::collections::BTreeMap::new();
    for event in events {
        let Some(origin) = &event.origin else { continue };
        let place = (origin.turn, origin.attempt);
        let last = lasts.entry(&origin.lane).or_insert((1, 1));
        assert!(place >= *last, "{place:?} after {last:?}");
        if place > *last && origin.attempt > 1 {
            assert!(matches!(event.body, EventBody::TurnRestarted { .. }), "{event:?}");
        }
        *last = place;
    }
}

/// The text and the events that every viewer must end up with are checked; now what is left in the queues and indexes.
pub(super) async fn check_nothing_is_left(run: &Run) {
    let told = run.world.events.events();
    let waits = |event: &serde_json::Value| event["detail-type"] == "Nightshift Job Input Required";
    assert_eq!(told.iter().any(waits), run.scenario.people != People::Unasked, "{told:?}");
    let told: Vec<_> = told.into_iter().filter(|event| !waits(event)).collect();
    assert!(!told.is_empty(), "the job's end was not told");
    assert!(told.iter().all(|event| event["detail"] == told[0]["detail"]), "{told:?}");
    let (due, _) = run
        .world
        .eyes()
        .due(domain::time::Timestamp::from_millis(i64::MAX), 100, store::DueFrom::default())
        .await
        .unwrap();
    assert_eq!(due, []);
    // Room for another job: the first has left its user's set.
    let another = new_job(JobId::from_ulid("01JDA7Q3W5T8Z2K4M6N8P0R1T0").unwrap(), &TEXT_ONLY);
    let another = NewJob { key: None, ..another };
    let created = run.world.eyes().create(another, run.world.clock.now()).await.unwrap();
    assert!(matches!(created, CreateOutcome::Created(_)), "{created:?}");
}

/// Whether something else may happen in a run, and the run is one of the scenario all the same.
pub(super) async fn checked(run: &mut Run, fault: &str, job: &JobId, record: &Record) {
    let sent = run.world.faults.sent();
    let checked = std::panic::catch_unwind(AssertUnwindSafe(|| {
        check(&run.scenario, record, &run.outside.lock().unwrap_or_else(PoisonError::into_inner));
        one_conversation(&run.scenario, record, &run.world);
    }));
    if checked.is_err() {
        let trace: String = sent.iter().map(|sent| format!("  {sent}\n")).collect();
        panic!("{job} did not survive {fault}, at {:?}:\n{trace}", run.world.faults.hits());
    }
}
