//! The counterexamples about people: answers that come when nobody expects them.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use domain::{
    approval::ApprovalRule,
    continuation::Continuation,
    event::EventBody,
    id::{InputRequestId, JobId, LaneName},
    input_request::{Action, InputRequest, NOBODY},
    job::{JobSpec, ModelSettings, Status, ToolRef, WorkflowSpec},
    limits::JobLimits,
    message::{Content, Message},
    workflow::{self, Known, RunInput},
};
use futures_util::FutureExt as _;
use local::{
    demo_model::{Call, Script, Turn},
    emulator::fault::{Fault, Gate},
};
use queue::Line;
use serde_json::{Value, json};
use store::{AnswerOutcome, PostOutcome};
use tests::{
    documents::{agent, document, node},
    world::{Meddler, Worker, World, nothing, without_condition, writes},
};

use super::{Schedule, gets, says};

/// Seconds that a question waits.
pub(super) const WAIT: u32 = 60;

/// A chat whose calls of `push` need an approval.
pub(super) fn asking() -> JobSpec {
    JobSpec {
        messages: vec![Message::user("Go")],
        settings: ModelSettings { model: "scripted".to_owned(), ..Default::default() },
        tools: vec![ToolRef::Registered { name: "push".to_owned() }],
        limits: JobLimits { deadline_seconds: 3600, input_seconds: WAIT, ..JobLimits::default() },
        approval: [("push".to_owned(), ApprovalRule::ALWAYS)].into(),
        ..JobSpec::default()
    }
}

pub(super) fn pushes<const N: usize>(calls: [&'static str; N]) -> Script {
    let calls = calls.map(|arguments| Call::new("push", arguments).id(format!("call_{arguments}")));
    Script::new().turn(Turn::text("First.").then_calls(calls)).turn(Turn::text("Then."))
}

/// The job's questions that have no answer.
pub(super) async fn open(world: &World, job: &JobId) -> Vec<InputRequest> {
    world.record(job).await.unwrap().inputs.into_iter().filter(InputRequest::is_open).collect()
}

/// The job's questions when there are so many, without any sweeper. On a slow machine a worker loses its lease at times.
async fn asked(it: &Schedule, worker: &Worker, n: usize) -> Vec<InputRequest> {
    for _ in 0..20 {
        while it.world.deliver(worker).await {}
        let open = open(&it.world, &it.job).await;
        if open.len() >= n {
            return open;
        }
        it.lease_ends();
    }
    open(&it.world, &it.job).await
}

/// Somebody approves, and sends what is owed then.
pub(super) async fn approve(by: &Worker, job: &JobId, request: &InputRequest) -> AnswerOutcome {
    let upkeep = &by.engine.upkeep;
    let answer = request.answer("approve", None, "ann".to_owned(), upkeep.clock.now()).unwrap();
    let (name, now) = (upkeep.clock.fresh_name(), upkeep.clock.now());
    let outcome = upkeep.store.answer(job, &request.id, &answer, &name, now).await.unwrap();
    if let AnswerOutcome::Recorded(owed) = &outcome
        && let [owed] = owed.as_slice()
    {
        upkeep.queue.send(owed, Line::Continuations, Duration::ZERO).await.unwrap();
    }
    outcome
}

/// A worker gets a message for this lane's first turn.
pub(super) async fn takes(worker: &Worker, job: &JobId, lane: &LaneName) {
    gets(worker, (Continuation { job: job.clone(), lane: lane.clone(), turn: 1 }, false)).await;
}

/// Counterexample 20, up to where both questions are answered. Nobody sweeps, and nothing expires: no time passes.
async fn answered_before_told(meddler: Meddler) -> Schedule {
    let it = Schedule::with(pushes(["{}", r#"{"again": 1}"#]), asking()).await;
    let [person, goes_on] = ["person", "2"].map(|name| it.worker(name));
    let asks = it.world.meddled("1", &it.tools, meddler);
    let gate = Gate::new();
    it.fault("1", "UpdateItem", "lane#main", Fault::Hold(gate.clone()));
    tokio::join!(it.world.deliver(&asks), async {
        gate.reached().await;
        let first = open(&it.world, &it.job).await.swap_remove(0);
        assert_eq!(approve(&person, &it.job, &first).await, AnswerOutcome::Recorded(vec![]));
        gate.open();
    });
    let second = open(&it.world, &it.job).await.swap_remove(0);
    let _ = approve(&person, &it.job, &second).await;
    while it.world.deliver(&goes_on).await {}
    it
}

#[tokio::test]
async fn an_answer_that_comes_before_the_pause_is_told_counts() {
    let it = answered_before_told(nothing()).await;
    says(&it.rests(Status::Completed).await, "First.\n\nThen.");
    assert_eq!(it.pushed.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn telling_of_a_pause_must_not_write_the_pause() {
    let whole: Meddler = Arc::new(|mut asked| {
        if asked.body["UpdateExpression"].as_str().is_some_and(|it| it.starts_with("SET #waits.#announced")) {
            asked.body["UpdateExpression"] =
                "SET #waits.#announced = :yes, #waits.#pending = :two, #due_at = :until, #sweeps = :none".into();
            asked.body["ExpressionAttributeNames"]["#pending"] = "pending".into();
            asked.body["ExpressionAttributeValues"][":two"] = json!({"N": "2"});
        }
        asked.ask().boxed()
    });
    let it = answered_before_told(whole).await;
    let record = it.world.record(&it.job).await.unwrap();
    assert_eq!(record.inputs.iter().filter(|request| request.is_open()).count(), 0);
    assert_eq!(record.head.status(), Status::InputRequired, "without the rule it does not wait for what is answered");
}

/// Two people answer one question of two, the second of them while the first does. What is recorded.
async fn two_answers(meddler: Meddler) -> Option<Action> {
    let it = Schedule::with(pushes(["{}", r#"{"again": 1}"#]), asking()).await;
    let [asks, first] = ["1", "first"].map(|name| it.worker(name));
    let second = it.world.meddled("second", &it.tools, meddler);
    it.world.deliver(&asks).await;
    let request = open(&it.world, &it.job).await.swap_remove(0);
    let gate = Gate::new();
    it.fault("second", "TransactWriteItems", "input#", Fault::Hold(gate.clone()));
    let upkeep = &second.engine.upkeep;
    let rejects = request.answer("reject", None, "bob".to_owned(), upkeep.clock.now()).unwrap();
    let (name, now) = (upkeep.clock.fresh_name(), upkeep.clock.now());
    let (outcome, ()) = tokio::join!(upkeep.store.answer(&it.job, &request.id, &rejects, &name, now), async {
        gate.reached().await;
        assert_eq!(approve(&first, &it.job, &request).await, AnswerOutcome::Recorded(vec![]));
        gate.open();
    });
    let request = it.world.record(&it.job).await.unwrap().inputs.into_iter().find(|it| it.id == request.id).unwrap();
    let recorded = request.answer.as_ref().map(|answer| answer.action);
    let is_told = matches!(outcome, Ok(AnswerOutcome::Answered(_)));
    assert_eq!(is_told, recorded == Some(Action::Approve), "{outcome:?}");
    recorded
}

#[tokio::test]
async fn an_answer_must_have_a_condition() {
    assert_eq!(two_answers(nothing()).await, Some(Action::Approve));
    // At the log's end as it is by then, and whatever was answered.
    let unconditional: Meddler = Arc::new(|mut asked| {
        let is_answer = asked.operation == "TransactWriteItems";
        if let Some(items) = asked.body["TransactItems"].as_array_mut().filter(|_| is_answer) {
            items.retain(|item| item["Put"]["Item"]["sk"]["S"].as_str().is_some_and(|sort| sort.starts_with("input#")));
            items.iter_mut().for_each(|item| without_condition(&mut item["Put"]));
        }
        asked.ask().boxed()
    });
    assert_eq!(two_answers(unconditional).await, Some(Action::Reject), "without a condition the first answer stands");
}

/// Counterexample 23.
#[tokio::test]
async fn that_a_question_has_expired_is_in_the_log_once_whoever_dies() {
    for fault in [Fault::CutBefore, Fault::CutAfter, Fault::LoseAnswer] {
        let it = Schedule::with(pushes(["{}"]), asking()).await;
        let [asks, finds, sweeper] = ["1", "2", "sweeper"].map(|name| it.worker(name));
        it.world.deliver(&asks).await;
        it.world.advance(Duration::from_secs(u64::from(WAIT) + 1));
        it.world.sweep(&sweeper).await;
        it.fault("2", "TransactWriteItems", "input#", fault);
        it.world.deliver(&finds).await;
        let record = it.rests(Status::Completed).await;
        let told = record.events.iter().filter_map(|event| match &event.body {
            EventBody::InputResolved(request) => request.answer.as_ref().map(|answer| answer.by.as_str()),
            _ => None,
        });
        assert_eq!(told.collect::<Vec<_>>(), [NOBODY]);
        assert_eq!(it.pushed.load(Ordering::Relaxed), 0);
    }
}

/// Two agents side by side, each of which a person lets begin; the second asks again for its tool.
fn side_by_side() -> WorkflowSpec {
    let asks = |id: &str, wait_ms: u64| {
        let hitl = json!({"enabled": true, "mode": "approval", "timeout": wait_ms, "defaultAction": "approve"});
        agent(id, json!({"tools": ["push"], "hitl": hitl}))
    };
    let nodes = [
        node("start", "start", json!({})),
        asks("soon", u64::from(WAIT) * 1000),
        asks("late", 86_400_000),
        node("output", "output", json!({"format": "text", "sources": ["soon", "late"]})),
    ];
    let edges = [
        ("start", "output", "soon"),
        ("start", "output", "late"),
        ("soon", "output", "output"),
        ("late", "output", "output"),
    ];
    checked(&document("Two", &nodes, &edges))
}

/// The run of a document whose agents may call `push`.
pub(super) fn checked(document: &Value) -> WorkflowSpec {
    let known = Known { tools: Some(["push".to_owned()].into()), ..Known::default() };
    let checked = workflow::check(document, &known).unwrap_or_else(|findings| panic!("{findings:#?}"));
    let input = RunInput { text: "Go".to_owned(), attachments: vec![] };
    WorkflowSpec { id: None, version: None, workflow: checked.workflow, input, told: vec![] }
}

/// Counterexample 21, up to where everything waits again; what the head says then.
async fn answered_while_claimed(meddler: Meddler) -> (Schedule, Worker, Status, u32) {
    let spec = JobSpec { workflow: Some(Box::new(side_by_side())), ..asking() };
    let it = Schedule::with(Script::new(), spec).await;
    it.world.model.script_model("test/soon", Script::new().turn(Turn::text("Soon.")));
    let late = Turn::text("Late.").then_calls([Call::new("push", "{}")]);
    it.world.model.script_model("test/late", Script::new().turn(late).turn(Turn::text("Done.")));
    let [asks, works, person] = ["1", "3", "person"].map(|name| it.worker(name));
    let claims = it.world.meddled("2", &it.tools, meddler);
    let of = |requests: Vec<InputRequest>, node: &str| -> InputRequest {
        let found = requests.into_iter().find(|request| request.node_id.as_deref() == Some(node));
        found.unwrap_or_else(|| panic!("nothing is asked about {node}"))
    };
    while it.world.deliver(&asks).await {}
    let (soon, late) = (of(open(&it.world, &it.job).await, "soon"), of(open(&it.world, &it.job).await, "late"));

    // The first question expires, and its lane is about to be claimed, with one lane at work: the other, held up.
    it.world.advance(Duration::from_secs(u64::from(WAIT) + 1));
    it.world.sweep(&asks).await;
    let _ = approve(&person, &it.job, &late).await;
    let [claim, pause] = [(); 2].map(|()| Gate::new());
    let lane_of = |request: &InputRequest| format!("lane#{}", request.lane);
    it.fault("3", "TransactWriteItems", "input#", Fault::Hold(pause.clone()));
    it.fault("2", "TransactWriteItems", &lane_of(&soon), Fault::Hold(claim.clone()));
    tokio::join!(takes(&works, &it.job, &late.lane), async {
        pause.reached().await;
        tokio::join!(takes(&claims, &it.job, &soon.lane), async {
            claim.reached().await;
            // Answered after all: two are at work. The other pauses: one is, as the claim has read it.
            let _ = approve(&person, &it.job, &soon).await;
            pause.open();
            while it.world.record(&it.job).await.unwrap().head.lanes_at_work > 1 {
                tokio::task::yield_now().await;
            }
            claim.open();
        });
    });
    for _ in 0..5 {
        it.lease_ends();
        while it.world.deliver(&works).await {}
    }
    let head = it.world.record(&it.job).await.unwrap().head;
    (it, person, head.status(), head.lanes_at_work)
}

#[tokio::test]
async fn a_lane_that_is_answered_while_its_expiry_is_being_claimed_is_counted_once() {
    let (it, person, status, at_work) = answered_while_claimed(nothing()).await;
    assert_eq!((status, at_work), (Status::InputRequired, 0));
    let again = open(&it.world, &it.job).await.swap_remove(0);
    let _ = approve(&person, &it.job, &again).await;
    let record = it.rests(Status::Completed).await;
    assert_eq!(record.output.as_deref(), Some("Soon.\n\nDone."));
}

#[tokio::test]
async fn a_claim_must_ask_whether_the_lane_still_waits() {
    let unasked: Meddler = Arc::new(|mut asked| {
        let items = asked.body["TransactItems"].as_array_mut().into_iter().flatten();
        for update in items.filter_map(|item| item.get_mut("Update")) {
            if let Some(condition) = update["ConditionExpression"].as_str() {
                update["ConditionExpression"] = condition.replace(" AND (attribute_exists(#waits))", "").into();
            }
        }
        asked.ask().boxed()
    });
    let (_, _, status, at_work) = answered_while_claimed(unasked).await;
    assert_eq!((status, at_work), (Status::Running, 1), "without the rule the lane is not counted twice");
}

/// A message that comes while the job waits for an answer is read by the turn that goes on.
#[tokio::test]
async fn a_message_that_comes_during_a_pause_is_read() {
    let it = Schedule::with(pushes(["{}"]), asking()).await;
    let [asks, person] = ["1", "person"].map(|name| it.worker(name));
    it.fault("1", "TransactWriteItems", "input#", Fault::LoseAnswer);
    it.world.deliver(&asks).await;
    let upkeep = &person.engine.upkeep;
    let content = Content::Text("Hurry".to_owned());
    let posted =
        upkeep.store.post(&it.job, "m1", &content, "ann", &upkeep.clock.fresh_name(), upkeep.clock.now()).await;
    assert!(matches!(posted, Ok(PostOutcome::Accepted(_))), "{posted:?}");
    let request = open(&it.world, &it.job).await.swap_remove(0);
    assert_eq!(request.id, InputRequestId::of(&request.lane, 1, "call0"));
    let _ = approve(&person, &it.job, &request).await;
    let record = it.rests(Status::Completed).await;
    let read = record.turns.values().filter_map(|turn| turn.answer.as_ref()).map(|answer| answer.inbox);
    assert_eq!(read.collect::<Vec<_>>(), [0, 1]);
}

/// Counterexample 19, without any sweeper: whoever opened lanes died before their first turns were asked for.
#[tokio::test]
async fn the_message_of_a_lane_that_has_closed_asks_for_the_lanes_that_it_opened() {
    let spec = JobSpec { workflow: Some(Box::new(side_by_side())), ..asking() };
    let it = Schedule::with(Script::new(), spec).await;
    let [dies, finds] = ["1", "2"].map(|name| it.worker(name));
    it.fault("1", "SendMessage", "", Fault::CutBefore);
    it.world.deliver(&dies).await;
    assert!(it.world.faults.was_hit());
    let lanes = it.world.record(&it.job).await.unwrap().lanes;
    // By their names: `late`, `main`, `soon`.
    assert_eq!(
        lanes.values().map(|lane| (lane.open, lane.epoch)).collect::<Vec<_>>(),
        [(true, 0), (false, 2), (true, 0)]
    );
    // As if it had not been delivered before, it is dropped: the lanes would wait for the sweeper.
    takes(&finds, &it.job, &LaneName::main()).await;
    assert_eq!(it.world.sqs.depth("starts").visible, 0);
    it.lease_ends();
    assert_eq!(asked(&it, &finds, 2).await.len(), 2);
}

/// A transaction has a hundred items, and a turn may have a hundred calls.
#[tokio::test]
async fn a_turn_may_ask_more_than_one_pause_holds() {
    let calls = (0..100).map(|n| Call::new("push", format!(r#"{{"n": {n}}}"#)).id(format!("call_{n}")));
    let script = Script::new().turn(Turn::calls(calls)).turn(Turn::text("Then."));
    let mut spec = asking();
    (spec.limits.max_tool_calls_per_turn, spec.limits.input_seconds) = (100, 86_400);
    let it = Schedule::with(script, spec).await;
    let [worker, person] = ["1", "person"].map(|name| it.worker(name));
    it.fault("1", "TransactWriteItems", "input#", Fault::LoseAnswer);
    for asked in [90, 10] {
        let open = self::asked(&it, &worker, asked).await;
        assert_eq!(open.len(), asked);
        for request in &open {
            assert!(matches!(approve(&person, &it.job, request).await, AnswerOutcome::Recorded(_)));
        }
    }
    let record = it.rests(Status::Completed).await;
    assert_eq!((record.head.status(), it.pushed.load(Ordering::Relaxed)), (Status::Completed, 100));
}

/// Counterexample 13: two lanes end at once, the second on the plan as it was before the first. How the job stands when
/// nothing is left to do.
async fn ends_at_once(meddler: Meddler) -> Status {
    let spec = JobSpec { workflow: Some(Box::new(side_by_side())), ..asking() };
    let it = Schedule::with(Script::new(), spec).await;
    for model in ["test/soon", "test/late"] {
        it.world.model.script_model(model, Script::new().turn(Turn::text("Done.")));
    }
    let [first, person] = ["1", "person"].map(|name| it.worker(name));
    let second = it.world.meddled("2", &it.tools, meddler);
    let requests = asked(&it, &first, 2).await;
    for request in &requests {
        let _ = approve(&person, &it.job, request).await;
    }
    let gate = Gate::new();
    it.fault("2", "TransactWriteItems", "/plan", Fault::Hold(gate.clone()));
    tokio::join!(takes(&second, &it.job, &requests[0].lane), async {
        gate.reached().await;
        takes(&first, &it.job, &requests[1].lane).await;
        gate.open();
    });
    let last = it.worker("last");
    for _ in 0..10 {
        while it.world.deliver(&last).await {}
        it.lease_ends();
        it.world.sweep(&last).await;
    }
    let record = it.world.record(&it.job).await.unwrap();
    assert!(record.lanes.values().all(|lane| !lane.open), "{:#?}", record.lanes);
    record.head.status()
}

#[tokio::test]
async fn a_plan_must_be_written_under_its_version() {
    assert_eq!(ends_at_once(nothing()).await, Status::Completed);
    // Neither the plan's version nor the head's counts, which would tell as well.
    let unversioned: Meddler = Arc::new(|mut asked| {
        let is_end = asked.body["ClientRequestToken"].as_str().is_some_and(|token| token.contains("-w"));
        for write in writes(&mut asked.body).filter(|_| is_end) {
            let sort = write["Key"]["sk"]["S"].as_str().or(write["Item"]["sk"]["S"].as_str()).unwrap_or_default();
            if sort == "plan" || sort == "head" {
                without_condition(write);
            }
        }
        asked.ask().boxed()
    });
    assert_eq!(ends_at_once(unversioned).await, Status::Running, "without the rule the join happens");
}
