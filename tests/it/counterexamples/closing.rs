//! A lane that closes another: counterexample 22, and what becomes of a question that the other waited for.

use std::{sync::Arc, time::Duration};

use domain::{
    event::EventBody,
    id::LaneName,
    input_request::{InputRequest, WORKFLOW},
    job::{JobSpec, Status, WorkflowSpec},
};
use futures_util::FutureExt as _;
use local::{
    demo_model::{Call, Script, Turn},
    emulator::fault::{Fault, Gate},
};
use serde_json::{Value, json};
use store::AnswerOutcome;
use tests::{
    documents::{agent, document, node},
    world::{Asked, Meddler, nothing},
};

use super::{
    Schedule,
    pauses::{approve, asking, checked, open, takes},
};

/// A loop in which one agent fails while another waits for a person, and beside it an agent that waits twice.
fn failing_beside_others() -> WorkflowSpec {
    let waits = json!({"enabled": true, "mode": "approval", "timeout": 86_400_000, "defaultAction": "approve"});
    let fails_at_once = |id: &str, hitl: &Value| {
        let once = json!({"mode": "stop", "retry": {"maxRetries": 0, "baseDelay": 0}});
        agent(id, json!({"tools": ["push"], "hitl": hitl, "errorHandling": once}))
    };
    let nodes = [
        node("start", "start", json!({})),
        node("loop", "whileLoop", json!({"loopMode": "fixed", "maxIterations": 1, "conditionPrompt": "More?"})),
        fails_at_once("fork", &Value::Null),
        fails_at_once("waits", &waits),
        fails_at_once("fails", &Value::Null),
        fails_at_once("beside", &waits),
        node("out", "output", json!({"format": "text", "sources": ["beside"]})),
    ];
    let edges = [
        ("start", "output", "loop"),
        ("start", "output", "beside"),
        ("loop", "body", "fork"),
        ("fork", "output", "waits"),
        ("fork", "output", "fails"),
        ("loop", "error", "out"),
        ("beside", "output", "out"),
    ];
    checked(&document("Failing", &nodes, &edges))
}

/// Whether this is what viewers know the node by, in the first round of a loop or outside of one.
fn is_node(shown: Option<&str>, node: &str) -> bool {
    shown.is_some_and(|shown| shown.split('#').next() == Some(node))
}

/// What was asked about a node.
fn about(requests: &[InputRequest], node: &str) -> InputRequest {
    let found = requests.iter().find(|request| is_node(request.node_id.as_deref(), node));
    found.unwrap_or_else(|| panic!("nothing is asked about {node}: {requests:#?}")).clone()
}

async fn lane_of(it: &Schedule, node: &str) -> LaneName {
    let lanes = it.world.record(&it.job).await.unwrap().lanes;
    let found = lanes.values().find(|lane| is_node(lane.node_id.as_deref(), node));
    found.unwrap_or_else(|| panic!("no lane is at work for {node}: {lanes:#?}")).name.clone()
}

/// One agent of a loop waits for a person, and so does one beside the loop; then another one in the loop fails. What was
/// asked about the first.
async fn fails_beside_who_waits(meddler: Meddler) -> (Schedule, InputRequest) {
    let spec = JobSpec { workflow: Some(Box::new(failing_beside_others())), ..asking() };
    let it = Schedule::with(Script::new(), spec).await;
    it.world.model.script_model("test/fork", Script::new().turn(Turn::text("Go on.")));
    it.world.model.script_model("test/beside", Script::new().turn(Turn::text("Done.")));
    let works = it.worker("1");
    let fails = it.world.meddled("2", &it.tools, meddler);
    it.world.deliver(&works).await;
    takes(&works, &it.job, &lane_of(&it, "fork").await).await;
    let [waits_lane, fails_lane, beside_lane] =
        [lane_of(&it, "waits").await, lane_of(&it, "fails").await, lane_of(&it, "beside").await];
    takes(&works, &it.job, &waits_lane).await;
    takes(&works, &it.job, &beside_lane).await;
    let asked = about(&open(&it.world, &it.job).await, "waits");
    takes(&fails, &it.job, &fails_lane).await;
    (it, asked)
}

#[tokio::test]
async fn the_question_of_a_lane_that_is_closed_is_answered_with_it() {
    let (it, asked) = fails_beside_who_waits(nothing()).await;
    let record = it.world.record(&it.job).await.unwrap();
    assert_eq!((record.head.status(), record.head.lanes_at_work), (Status::InputRequired, 0));
    let told = record.events.iter().filter_map(|event| match &event.body {
        EventBody::InputResolved(request) => Some((&request.id, request.answer.as_ref()?.by.as_str())),
        _ => None,
    });
    assert_eq!(told.collect::<Vec<_>>(), [(&asked.id, WORKFLOW)]);
    let person = it.worker("person");
    let late = approve(&person, &it.job, &asked).await;
    assert!(matches!(&late, AnswerOutcome::Answered(it) if it.answer.as_ref().unwrap().by == WORKFLOW), "{late:?}");
    let left = open(&it.world, &it.job).await;
    assert_eq!(left.len(), 1, "{left:#?}");
    let _ = approve(&person, &it.job, &about(&left, "beside")).await;
    while it.world.deliver(&person).await {}
    let record = it.world.record(&it.job).await.unwrap();
    assert_eq!((record.head.status(), record.output.as_deref()), (Status::Completed, Some("Done.")));
}

#[tokio::test]
async fn a_question_that_was_left_open_with_a_closed_lane_is_not_said_to_have_expired() {
    let as_before: Meddler = Arc::new(|mut asked| {
        drop_puts(&mut asked, &["input#"]);
        asked.ask().boxed()
    });
    let (it, asked) = fails_beside_who_waits(as_before).await;
    let person = it.worker("person");
    assert_eq!(approve(&person, &it.job, &asked).await, AnswerOutcome::Withdrawn);
    it.world.advance(Duration::from_secs(2 * 86_400));
    assert_eq!(approve(&person, &it.job, &asked).await, AnswerOutcome::Withdrawn, "whatever its time");
}

/// Leaves out what a transaction puts of these kinds.
fn drop_puts(asked: &mut Asked, kinds: &[&str]) {
    if let Some(items) = asked.body["TransactItems"].as_array_mut() {
        let is_kind = |item: &Value, kind: &&str| {
            item["Put"]["Item"]["sk"]["S"].as_str().is_some_and(|sort| sort.starts_with(kind))
        };
        items.retain(|item| !kinds.iter().any(|kind| is_kind(item, kind)));
    }
}

/// The failing agent's lane reads that one of two others waits, and closes it; meanwhile that one is answered, and the
/// other waits. How the job stands, and how many of its lanes are at work: all that is left waits for a person.
async fn closes_what_was_answered(meddler: Meddler) -> (Status, u32) {
    let spec = JobSpec { workflow: Some(Box::new(failing_beside_others())), ..asking() };
    let it = Schedule::with(Script::new(), spec).await;
    let again = Turn::text("Once.").then_calls([Call::new("push", "{}")]);
    it.world.model.script_model("test/beside", Script::new().turn(again).turn(Turn::text("Done.")));
    it.world.model.script_model("test/fork", Script::new().turn(Turn::text("Go on.")));
    it.world.model.script_model("test/waits", Script::new().turn(Turn::text("Late.")));
    let [works, person] = ["1", "person"].map(|name| it.worker(name));
    let fails = it.world.meddled("2", &it.tools, meddler);

    it.world.deliver(&works).await;
    takes(&works, &it.job, &lane_of(&it, "fork").await).await;
    let [waits_lane, fails_lane, beside_lane] =
        [lane_of(&it, "waits").await, lane_of(&it, "fails").await, lane_of(&it, "beside").await];
    takes(&works, &it.job, &waits_lane).await;
    takes(&works, &it.job, &beside_lane).await;
    let asked = open(&it.world, &it.job).await;
    let _ = approve(&person, &it.job, &about(&asked, "beside")).await;

    let gate = Gate::new();
    it.fault("2", "TransactWriteItems", "/plan", Fault::Hold(gate.clone()));
    tokio::join!(takes(&fails, &it.job, &fails_lane), async {
        gate.reached().await;
        let _ = approve(&person, &it.job, &about(&asked, "waits")).await;
        takes(&works, &it.job, &beside_lane).await;
        gate.open();
    });
    // What was refused is done anew.
    for _ in 0..5 {
        while it.world.deliver(&works).await {}
        it.lease_ends();
    }
    let record = it.world.record(&it.job).await.unwrap();
    let left: Vec<_> = record.lanes.values().filter(|lane| lane.open).collect();
    assert!(matches!(left.as_slice(), [lane] if lane.name == beside_lane && lane.waits.is_some()), "{left:#?}");
    (record.head.status(), record.head.lanes_at_work)
}

#[tokio::test]
async fn a_lane_that_is_closed_must_be_as_it_was_read() {
    assert_eq!(closes_what_was_answered(nothing()).await, (Status::InputRequired, 0));
    let unasked: Meddler = Arc::new(|mut asked| {
        // The question, which has an answer by then, would tell as well, and so would the log.
        drop_puts(&mut asked, &["input#", "event#"]);
        let items = asked.body["TransactItems"].as_array_mut().into_iter().flatten();
        for update in items.filter_map(|item| item.get_mut("Update")) {
            if let Some(condition) = update["ConditionExpression"].as_str() {
                update["ConditionExpression"] = condition.replace(" AND attribute_exists(#waits)", "").into();
            }
        }
        asked.ask().boxed()
    });
    let without = closes_what_was_answered(unasked).await;
    assert_eq!(without, (Status::Running, 1), "without the rule a lane that is closed is not counted");
}
