//! Rules of which the simulation does not miss the absence: their schedules, with the rule and without it.

use std::sync::{Arc, Mutex, atomic::Ordering};

use aws_smithy_runtime_api::{client::orchestrator::HttpResponse, http::StatusCode};
use aws_smithy_types::body::SdkBody;
use domain::{event::EventBody, id::WriterId, job::Status, time::Timestamp, tool_call::ToolCallStatus};
use engine::Clock;
use futures_util::FutureExt as _;
use local::emulator::fault::{Fault, Gate};
use serde_json::{Value, json};
use store::Record;
use tests::world::{Asked, Meddler, Worker, nothing, without_condition};

use super::{Schedule, is_in_order, long_text, push_and_text, says, text};

/// The lease is read first and the tail then.
fn lease_before_tail() -> Meddler {
    let remembered: Arc<Mutex<Option<Value>>> = Arc::default();
    Arc::new(move |asked: Asked| {
        let remembered = remembered.clone();
        async move {
            let key = |body: &Value| body["Key"]["sk"]["S"].as_str().map(str::to_owned);
            if asked.operation == "Query" && asked.body["ScanIndexForward"] == false {
                let pk = asked.body["ExpressionAttributeValues"][":pk"].clone();
                let lane = json!({"TableName": "nightshift", "Key": {"pk": pk, "sk": {"S": "lane#main"}}, "ConsistentRead": true});
                let answer = asked.ask_for("GetItem", &lane).await?;
                let lane = serde_json::from_slice(answer.body().bytes().unwrap_or_default()).unwrap();
                *remembered.lock().unwrap() = Some(lane);
            } else if asked.operation == "GetItem" && key(&asked.body).as_deref() == Some("lane#main") {
                let lane = remembered.lock().unwrap().take();
                if let Some(lane) = lane {
                    return Ok(HttpResponse::new(StatusCode::try_from(200).unwrap(), SdkBody::from(lane.to_string())));
                }
            }
            asked.ask().await
        }
        .boxed()
    })
}

/// Counterexample 2, with the worker stopped between its two reads. The log as it is in the end.
async fn overtakes(meddler: Meddler) -> Record {
    let it = Schedule::of(long_text()).await;
    let [one, three] = ["1", "3"].map(|name| it.worker(name));
    let two = it.world.meddled("2", &it.tools, meddler);
    let [text_held, restart_held, tail_held] = [(); 3].map(|()| Gate::new());
    it.fault("1", "PutItem", "event#", Fault::Hold(text_held.clone()));
    it.fault("1", "PutItem", "event#", Fault::CutBefore);
    it.fault("2", "PutItem", "event#", Fault::Hold(restart_held.clone()));
    tokio::join!(it.world.deliver(&one), async {
        text_held.reached().await;
        it.lease_ends();
        tokio::join!(it.world.deliver(&two), async {
            restart_held.reached().await;
            text_held.open();
            one.process.died().await;
            it.fault("2", "Query", "event#", Fault::Hold(tail_held.clone()));
            restart_held.open();
            tail_held.reached().await;
            it.lease_ends();
            it.world.deliver(&three).await;
            tail_held.open();
        });
    });
    it.world.record(&it.job).await.unwrap()
}

#[tokio::test]
async fn an_append_must_read_the_tail_before_the_lease() {
    let record = overtakes(nothing()).await;
    assert!(record.events.last().unwrap().body.is_terminal());
    let record = overtakes(lease_before_tail()).await;
    assert!(!record.events.last().unwrap().body.is_terminal(), "without the rule nothing follows on the end");
}

/// That a call's outcome is unknown is written whatever the call is by now.
fn unknown_unconditional() -> Meddler {
    Arc::new(|mut asked| {
        let is_unknown = asked.body["ClientRequestToken"].as_str().is_some_and(|token| token.ends_with("-u0"));
        if is_unknown {
            without_condition(&mut asked.body["TransactItems"][1]["Put"]);
        }
        asked.ask().boxed()
    })
}

/// Counterexample 11: a call is finished by its worker while another is about to call it unknown.
async fn finishes_late(meddler: Meddler) -> Record {
    let it = Schedule::of(push_and_text()).await;
    let one = it.worker("1");
    let two = it.world.meddled("2", &it.tools, meddler);
    let [finish, unknown] = [(); 2].map(|()| Gate::new());
    it.fault("1", "PutItem", "#call#", Fault::Hold(finish.clone()));
    it.fault("2", "TransactWriteItems", "#call#", Fault::Hold(unknown.clone()));
    tokio::join!(it.world.deliver(&one), async {
        finish.reached().await;
        // Its events must not meet the restart of the other: it would be stopped before it has finished.
        let runs = |record: &Record| record.events.iter().any(|it| matches!(it.body, EventBody::ToolCallRunning(_)));
        while !runs(&it.world.record(&it.job).await.unwrap()) {
            tokio::task::yield_now().await;
        }
        it.lease_ends();
        tokio::join!(it.world.deliver(&two), async {
            unknown.reached().await;
            finish.open();
            while it.world.record(&it.job).await.unwrap().turns.values().any(|turn| turn.calls[&0].outcome().is_none())
            {
                tokio::task::yield_now().await;
            }
            unknown.open();
        });
    });
    let record = it.rests(Status::Completed).await;
    says(&record, "First.\n\nThen.");
    assert_eq!(it.pushed.load(Ordering::Relaxed), 1);
    record
}

#[tokio::test]
async fn a_call_that_has_finished_must_not_become_unknown() {
    let outcome = |record: &Record| {
        record
            .turns
            .values()
            .next()
            .and_then(|turn| turn.calls[&0].outcome().map(domain::tool_call::ToolOutcome::status))
    };
    assert_eq!(outcome(&finishes_late(nothing()).await), Some(ToolCallStatus::Completed));
    let without = outcome(&finishes_late(unknown_unconditional()).await);
    assert_eq!(without, Some(ToolCallStatus::Unknown), "without the rule the result is not lost");
}

/// A clock whose process calls itself the same in all of its invocations.
#[derive(Debug)]
struct OneName(Arc<dyn Clock>);

impl Clock for OneName {
    fn now(&self) -> Timestamp {
        self.0.now()
    }

    fn fresh_name(&self) -> WriterId {
        "process".parse().unwrap()
    }

    fn jitter(&self) -> f64 {
        self.0.jitter()
    }
}

/// Counterexample 5: two deliveries in one process, the second while the first one's event is on its way.
async fn two_deliveries(name: impl Fn(Worker) -> Worker) -> Schedule {
    let it = Schedule::of(text()).await;
    let [one, two] = ["1", "2"].map(|worker| name(it.worker(worker)));
    let [started, restarted] = [(); 2].map(|()| Gate::new());
    it.fault("1", "PutItem", "event#", Fault::Hold(started.clone()));
    it.fault("2", "PutItem", "event#", Fault::Hold(restarted.clone()));
    tokio::join!(it.world.deliver(&one), async {
        started.reached().await;
        it.lease_ends();
        tokio::join!(it.world.deliver(&two), async {
            restarted.reached().await;
            started.open();
            while it.world.record(&it.job).await.unwrap().events.len() < 3 {
                tokio::task::yield_now().await;
            }
            restarted.open();
        });
    });
    it
}

#[tokio::test]
async fn an_owner_must_be_an_invocation_and_not_a_process() {
    let restarts = |record: &Record| {
        record.events.iter().filter(|event| matches!(event.body, EventBody::TurnRestarted { .. })).count()
    };
    let with = two_deliveries(|worker| worker).await.rests(Status::Completed).await;
    assert_eq!(restarts(&with), 1);
    let without = two_deliveries(|mut worker| {
        worker.engine.upkeep.clock = Arc::new(OneName(worker.engine.upkeep.clock));
        worker
    });
    // The second attempt takes the first one's event for its own restart, or the first goes on in the second's lease.
    let without = without.await.ends().await;
    assert!(restarts(&without) == 0 || !is_in_order(&without), "without the rule nothing is lost");
}

/// A claim asks for what it read but for the phase.
fn claim_without_phase() -> Meddler {
    Arc::new(|mut asked| {
        let condition = asked.body["ConditionExpression"].as_str().unwrap_or_default().to_owned();
        if let Some((before, after)) = condition.split_once(" AND #phase = :phase") {
            asked.body["ConditionExpression"] = json!(format!("{before}{after}"));
            let values = asked.body["ExpressionAttributeValues"].as_object_mut().unwrap();
            values.remove(":phase");
            if !asked.body["UpdateExpression"].as_str().unwrap().contains("#phase") {
                asked.body["ExpressionAttributeNames"].as_object_mut().unwrap().remove("#phase");
            }
        }
        asked.ask().boxed()
    })
}

/// Counterexample 25: a worker that has lost its time records its answer between another's look at the lane and its claim.
/// How often the model was asked.
async fn answers_late(meddler: Meddler) -> usize {
    let it = Schedule::of(push_and_text()).await;
    let one = it.worker("1");
    let two = it.world.meddled("2", &it.tools, meddler);
    let [answer, claim] = [(); 2].map(|()| Gate::new());
    it.fault("1", "TransactWriteItems", "#answer", Fault::Hold(answer.clone()));
    it.fault("1", "PutItem", "#call#", Fault::CutAfter);
    it.fault("2", "UpdateItem", "lane#main", Fault::Hold(claim.clone()));
    tokio::join!(it.world.deliver(&one), async {
        answer.reached().await;
        it.lease_ends();
        tokio::join!(it.world.deliver(&two), async {
            claim.reached().await;
            answer.open();
            one.process.died().await;
            claim.open();
        });
    });
    let record = it.rests(Status::Completed).await;
    assert_eq!(it.pushed.load(Ordering::Relaxed), 1);
    says(&record, "First.\n\nThen.");
    it.world.model.requests().len()
}

#[tokio::test]
async fn a_claim_must_ask_for_the_phase() {
    assert_eq!(answers_late(nothing()).await, 2);
    assert_eq!(answers_late(claim_without_phase()).await, 3, "without the rule the turn has one answer");
}
