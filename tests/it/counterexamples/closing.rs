//! Counterexample 22: a lane that closes another.

use std::sync::Arc;

use domain::{
    id::LaneName,
    input_request::InputRequest,
    job::{JobSpec, Status, WorkflowSpec},
};
use futures_util::FutureExt as _;
use local::{
    demo_model::{Call, Script, Turn},
    emulator::fault::{Fault, Gate},
};
use serde_json::{Value, json};
use tests::world::{Meddler, nothing};

use super::{
    Schedule,
    pauses::{approve, asking, checked, open, takes},
};

/// A loop in which one agent fails while another waits for a person, and beside it an agent that waits twice.
fn failing_beside_others() -> WorkflowSpec {
    let node = |id: &str, kind: &str, mut data: Value| {
        data["label"] = id.into();
        json!({"id": id, "type": kind, "position": {"x": 0, "y": 0}, "data": data})
    };
    let waits = json!({"enabled": true, "mode": "approval", "timeout": 86_400_000, "defaultAction": "approve"});
    let agent = |id: &str, hitl: &Value| {
        let data = json!({"model": format!("test/{id}"), "prompt": "Go.", "tools": ["push"], "hitl": hitl,
            "errorHandling": {"mode": "stop", "retry": {"maxRetries": 0, "baseDelay": 0}}});
        node(id, "agent", data)
    };
    let edge = |source: &str, handle: &str, target: &str| {
        let id = format!("{source}-{handle}-{target}");
        json!({"id": id, "source": source, "sourceHandle": handle, "target": target})
    };
    let document = json!({
        "meta": {"version": "2.0.0", "name": "Failing"},
        "nodes": [
            node("start", "start", json!({})),
            node("loop", "whileLoop", json!({"loopMode": "fixed", "maxIterations": 1, "conditionPrompt": "More?"})),
            agent("fork", &Value::Null),
            agent("waits", &waits),
            agent("fails", &Value::Null),
            agent("beside", &waits),
            node("out", "output", json!({"format": "text", "sources": ["beside"]})),
        ],
        "edges": [
            edge("start", "output", "loop"),
            edge("start", "output", "beside"),
            edge("loop", "body", "fork"),
            edge("fork", "output", "waits"),
            edge("fork", "output", "fails"),
            edge("loop", "error", "out"),
            edge("beside", "output", "out"),
        ],
    });
    checked(&document)
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
