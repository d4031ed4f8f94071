//! How long a branch may take: neither its time in line counts, nor that of people.

use std::{sync::atomic::Ordering, time::Duration};

use domain::{
    approval::ApprovalRule,
    job::{JobSpec, Status, WorkflowSpec},
};
use local::demo_model::Script;
use serde_json::{Value, json};
use store::Record;
use tests::world::Worker;

use super::{
    Schedule,
    pauses::{approve, asking, checked, open, pushes},
};

/// Seconds that the branch may take.
const MOST: u64 = 60;

/// A branch that calls `push`, with so long an approval that only the branch's own time-out could end it.
async fn one_branch(approval: ApprovalRule) -> Schedule {
    let mut spec = JobSpec { workflow: Some(Box::new(parallel())), ..asking() };
    spec.approval.insert("push".to_owned(), approval);
    spec.limits.input_seconds = 900;
    let it = Schedule::with(Script::new(), spec).await;
    it.world.model.script_model("test/only", pushes(["{}"]));
    it
}

fn parallel() -> WorkflowSpec {
    let node = |id: &str, data: Value| json!({"id": id, "type": id, "position": {"x": 0, "y": 0}, "data": data});
    let branch = json!({"id": "only", "label": "Only", "model": "test/only", "prompt": "Go.", "tools": ["push"]});
    let edge = |source: &str, handle: &str, target: &str| json!({"id": format!("{source}-{target}"), "source": source, "sourceHandle": handle, "target": target});
    checked(&json!({
        "meta": {"version": "2.0.0", "name": "A branch"},
        "nodes": [
            node("start", json!({"label": "Start"})),
            node("parallel", json!({"label": "P", "branches": [branch], "branchTimeout": MOST * 1000})),
            node("output", json!({"label": "Out", "format": "text"})),
        ],
        "edges": [edge("start", "output", "parallel"), edge("parallel", "merged", "output")],
    }))
}

/// To the end of what there is to do; nothing goes wrong on the way.
async fn ended(it: &Schedule, works: &Worker) -> Record {
    while it.world.deliver(works).await {}
    it.world.record(&it.job).await.unwrap()
}

#[tokio::test]
async fn a_branch_that_waits_in_line_and_for_a_person_has_its_time_all_the_same() {
    let it = one_branch(ApprovalRule::ALWAYS).await;
    let [works, person] = ["1", "person"].map(|name| it.worker(name));
    it.world.deliver(&works).await;
    it.world.advance(Duration::from_secs(MOST + 10));
    ended(&it, &works).await;
    let [request] = open(&it.world, &it.job).await.try_into().unwrap();
    it.world.advance(Duration::from_secs(6 * MOST));
    let _ = approve(&person, &it.job, &request).await;
    let record = ended(&it, &works).await;
    assert_eq!(record.head.status(), Status::Completed);
    assert_eq!(it.pushed.load(Ordering::Relaxed), 1, "what was approved is run");
    assert_eq!(record.output.as_deref(), Some("## Only\nThen."));
}

#[tokio::test]
async fn a_branch_that_is_at_work_for_too_long_is_asked_no_more() {
    let it = one_branch(ApprovalRule::NEVER).await;
    let works = it.worker("1");
    for _ in 0..2 {
        it.world.deliver(&works).await;
    }
    it.world.advance(Duration::from_secs(MOST + 1));
    let record = ended(&it, &works).await;
    assert_eq!(it.world.model.requests().len(), 1);
    let error = record.head.ending().and_then(|ending| ending.error()).unwrap();
    assert_eq!(error.code, "timeout", "{error:?}");
}
