//! Turns whose commit meets trouble: nobody is asked again for what is known, and what follows does not wait for a message
//! to come back.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use aws_smithy_runtime_api::{
    client::{orchestrator::HttpResponse, result::ConnectorError},
    http::StatusCode,
};
use aws_smithy_types::body::SdkBody;
use domain::{
    id::{JobId, LaneName},
    job::{Asker, JobSpec, ModelSettings, Status, ToolRef},
    message::Message,
    tool_call::ToolCallStatus,
};
use futures_util::FutureExt as _;
use local::{
    demo_model::{self, Call, Script, Turn},
    emulator::fault::Gate,
};
use serde_json::{Value, json};
use store::{NewJob, Record};
use tests::{
    tools::registry,
    world::{self, Asked, Meddler, Worker, World},
};
use tools::{ToolContext, ToolError, ToolRegistry, ToolReply, TypedTool};

/// A job whose first turn is in line.
async fn started(world: &World, worker: &Worker, input: &str, script: Script) -> JobId {
    world.model.script(input, script);
    let new = NewJob {
        asker: Asker::new("job_01JDA7Q3W5T8Z2K4M6N8P0R1S3".parse().unwrap(), "ann".parse().unwrap(), 3600),
        spec: JobSpec {
            messages: vec![Message::user(input)],
            settings: ModelSettings { model: "scripted".to_owned(), ..Default::default() },
            tools: ["add", "push"].map(|name| ToolRef::Registered { name: name.to_owned() }).into(),
            ..JobSpec::default()
        },
        key: None,
        run: None,
        max_at_work: 1,
    };
    world::start(&worker.engine.upkeep, new).await
}

async fn to_the_end(world: &World, worker: &Worker, job: &JobId) -> Record {
    world.advance(Duration::from_secs(12));
    while world.deliver(worker).await {
        world.advance(Duration::from_secs(12));
    }
    world.record(job).await.unwrap()
}

/// The table's answer to a transaction that it does not carry out, for another reason than a condition.
fn not_carried_out(asked: &Asked) -> Result<HttpResponse, ConnectorError> {
    let n = asked.body["TransactItems"].as_array().map_or(0, Vec::len);
    let reasons: Vec<Value> = (0..n).map(|_| json!({"Code": "ValidationError"})).collect();
    let body = json!({
        "__type": "com.amazonaws.dynamodb.v20120810#TransactionCanceledException",
        "CancellationReasons": reasons,
    });
    Ok(HttpResponse::new(StatusCode::try_from(400).unwrap(), SdkBody::from(body.to_string())))
}

#[tokio::test]
async fn an_answer_whose_commit_fails_is_not_asked_for_again() {
    let world = World::new().await;
    let failed = Arc::new(AtomicU32::new(0));
    let once = failed.clone();
    let meddler: Meddler = Arc::new(move |asked| {
        let is_last = asked.body["ClientRequestToken"].as_str().is_some_and(|token| token.contains("-l"));
        if is_last && once.fetch_add(1, Ordering::Relaxed) == 0 {
            return async move { not_carried_out(&asked) }.boxed();
        }
        asked.ask().boxed()
    });
    let worker = world.meddled("1", &registry(), meddler);
    let job = started(&world, &worker, "Only once", Script::new().turn(Turn::text("Once."))).await;
    assert!(world.deliver(&worker).await);
    let record = to_the_end(&world, &worker, &job).await;
    assert_eq!(failed.load(Ordering::Relaxed), 2, "the commit failed, and was made by the next attempt");
    assert_eq!(record.head.status(), Status::Completed);
    assert_eq!(domain::replay::Replay::of(&record.events).text(&LaneName::main()), "Once.");
    assert_eq!(world.model.requests().len(), 1, "the answer was paid for once");
}

/// Does something once the gate is open, which nobody may repeat.
struct Push {
    gate: Gate,
    pushed: Arc<AtomicU32>,
}

#[derive(serde::Deserialize, schemars::JsonSchema)]
struct Nothing {}

#[async_trait::async_trait]
impl TypedTool for Push {
    type Arguments = Nothing;
    const NAME: &'static str = "push";
    const DESCRIPTION: &'static str = "A tool with an effect that can be counted.";

    async fn call(&self, _: Nothing, _: &ToolContext) -> Result<ToolReply, ToolError> {
        self.gate.pass().await;
        self.pushed.fetch_add(1, Ordering::Relaxed);
        Ok(ToolReply::text("pushed"))
    }
}

#[tokio::test]
async fn a_call_whose_start_cannot_be_recorded_cuts_off_no_other() {
    let world = World::new().await;
    let (gate, pushed) = (Gate::new(), Arc::new(AtomicU32::new(0)));
    let mut tools = ToolRegistry::new();
    tools.register(Push { gate: gate.clone(), pushed: pushed.clone() }).unwrap();
    let failed = AtomicU32::new(0);
    let meddler: Meddler = Arc::new(move |asked| {
        let is_second = asked.body["ClientRequestToken"].as_str().is_some_and(|token| token.ends_with("-s1"));
        if is_second && failed.fetch_add(1, Ordering::Relaxed) == 0 {
            // The first one is at work by now, and ends after this.
            let gate = gate.clone();
            return async move {
                gate.wait_for_waiting(1).await;
                gate.open();
                not_carried_out(&asked)
            }
            .boxed();
        }
        asked.ask().boxed()
    });
    let worker = world.meddled("1", &tools, meddler);
    let calls = Turn::calls([Call::new("push", "{}"), Call::new("push", "{}")]);
    let job = started(&world, &worker, "Twice", Script::new().turn(calls).turn(Turn::text("Done."))).await;
    assert!(world.deliver(&worker).await);
    let record = to_the_end(&world, &worker, &job).await;
    assert_eq!((record.head.status(), pushed.load(Ordering::Relaxed)), (Status::Completed, 2));
    let replay = domain::replay::Replay::of(&record.events);
    let statuses: Vec<_> = replay.lanes.values().flat_map(|lane| &lane.tool_calls).map(|call| call.status).collect();
    assert_eq!(statuses, [ToolCallStatus::Completed, ToolCallStatus::Completed], "neither is of unknown outcome");
    assert_eq!(world.model.requests().len(), 2);
}

#[tokio::test]
async fn a_replica_that_does_not_know_a_young_job_ends_no_turn() {
    let world = World::new().await;
    let gate = Gate::new();
    let looked = gate.clone();
    let meddler: Meddler = Arc::new(move |asked| {
        let is_look = asked.operation == "GetItem"
            && asked.body["Key"]["sk"]["S"] == "head"
            && asked.body["ConsistentRead"] != true;
        if is_look {
            looked.open();
            return async { Ok(HttpResponse::new(StatusCode::try_from(200).unwrap(), SdkBody::from("{}"))) }.boxed();
        }
        asked.ask().boxed()
    });
    let worker = world.meddled("1", &registry(), meddler);
    let slow = Turn::pieces(["Here ", "I am."]).fault(demo_model::Fault::StallAfter(1, gate));
    let job = started(&world, &worker, "Are you there?", Script::new().turn(slow)).await;
    assert!(world.deliver(&worker).await);
    let record = world.record(&job).await.unwrap();
    assert_eq!((record.head.status(), record.head.metrics.recoveries), (Status::Completed, 0));
}

#[tokio::test]
async fn a_commit_whose_answer_a_renewal_overtakes_is_followed_at_once() {
    let world = World::new().await;
    // The turn's commit is made, and its answer is on its way until a renewal has been refused.
    let gate = Gate::new();
    let meddler: Meddler = Arc::new(move |asked| {
        let gate = gate.clone();
        let of_lane = asked.operation == "UpdateItem" && asked.body["Key"]["sk"]["S"] == "lane#main";
        let names = asked.body["ExpressionAttributeNames"].clone();
        let (is_commit, is_renewal) = (names["#phase"].is_string(), names["#expires_at"].is_string());
        async move {
            let answer = asked.ask().await;
            if of_lane && is_commit {
                gate.pass().await;
            } else if of_lane && is_renewal {
                gate.open();
            }
            answer
        }
        .boxed()
    });
    let worker = world.meddled("1", &registry(), meddler);
    let calls = Turn::calls([Call::new("add", r#"{"a": 1, "b": 1}"#)]);
    let job = started(&world, &worker, "Overtaken", Script::new().turn(calls).turn(Turn::text("2"))).await;
    assert!(world.deliver(&worker).await);
    assert_eq!(world.record(&job).await.unwrap().head.status(), Status::Running);
    // No time has passed for the queue: what is there was sent now.
    assert!(world.deliver(&worker).await, "the next turn was asked for");
    assert_eq!(world.record(&job).await.unwrap().head.status(), Status::Completed);
}
