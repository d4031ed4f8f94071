//! What a job asks of the table and the queues, to the request. These are no limits but what is so: whoever adds a write
//! sees it here, and says why in the commit that changes the number. `cargo bench -p tests -- requests` turns them into
//! units and dollars at a model's pace.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use domain::{
    id::JobId,
    job::{Asker, JobSpec, ModelSettings, ToolRef, WorkflowSpec},
    lane::LeaseTimes,
    message::Message,
    time::Timestamp,
    workflow::{self, Known, RunInput},
};
use engine::Batching;
use local::{
    demo_model::{Call, Script, Turn},
    emulator::fault::Service,
};
use serde_json::json;
use store::{Meter, NewJob, Store};
use tests::{
    documents::{agent, document, node},
    world::{Worker, World, start},
};

/// Longer than any test takes: nothing happens by itself.
const LONG: Duration = Duration::from_secs(3600);

/// What was asked of the table and of the queues, by operation, and the write units. Left out is `GetItem`: the switches are
/// read again every five seconds, which a busy machine may take.
type Asked = (Vec<(String, u64)>, Vec<(String, u64)>, f64);

/// Runs a job to its end, with nobody watching unless `watched`, and counts.
async fn count(spec: JobSpec, script: impl FnOnce(&World), watched: bool) -> Asked {
    let world = World::new().await;
    script(&world);
    let meter = Meter::default();
    let tools = tools::builtin::builtin(Arc::new(|| Timestamp::from_millis(1_763_800_000_000)));
    let Worker { mut engine, process } = world.worker("worker", &tools);
    let times = LeaseTimes { renew_every: LONG, look_soonest: LONG, look_every: LONG, ..LeaseTimes::default() };
    let client = world.dynamodb.client_with(|config| config.interceptor(meter.clone()));
    engine.upkeep.store = Store::new(client, "nightshift", times);
    engine.settings.batching = Batching { watched_every: LONG, unwatched_every: LONG, ..Batching::default() };
    let worker = Worker { engine, process };

    let upkeep = &worker.engine.upkeep;
    let id = JobId::from_ulid("01JDA7Q3W5T8Z2K4M6N8P0R1S3".to_owned()).unwrap();
    let asker = Asker::new(id.clone(), "ann".parse().unwrap(), 3600);
    let new = NewJob { asker, spec, key: None, run: None, max_at_work: 1 };
    start(upkeep, new).await;
    if watched {
        world.eyes().watch(&id, upkeep.clock.now() + LONG).await.unwrap();
    }
    while world.deliver(&worker).await {}
    let done = world.rested(&id).await.expect("nothing is left");

    let mut queues = BTreeMap::new();
    for sent in world.faults.sent().into_iter().filter(|sent| sent.service == Service::Sqs) {
        *queues.entry(sent.operation).or_default() += 1;
    }
    let metered = meter.read();
    // What the job says of itself: the deliveries' receiving and deleting as well, which this world does without a client.
    let table: u64 = metered.requests.values().sum();
    let [hidden, sent] = ["ChangeMessageVisibility", "SendMessage"].map(|name| queues.get(name).copied().unwrap_or(0));
    let said = done.head.metrics.requests;
    assert_eq!(u64::from(said), table + 3 * hidden + sent);
    assert_eq!(metered.refused, 0);
    let table = metered.requests.into_iter().filter(|(operation, _)| operation != "GetItem").collect();
    (table, queues.into_iter().collect(), metered.write_units)
}

/// What the standard job asks of the queues, and its write units.
const QUEUES: [(&str, u64); 2] = [("ChangeMessageVisibility", 3), ("SendMessage", 3)];
const UNITS: f64 = 57.0;

/// The same as it is expected.
fn expected(table: &[(&str, u64)], queues: &[(&str, u64)], write_units: f64) -> Asked {
    let owned = |counts: &[(&str, u64)]| counts.iter().map(|(operation, n)| ((*operation).to_owned(), *n)).collect();
    (owned(table), owned(queues), write_units)
}

fn chat() -> JobSpec {
    JobSpec {
        messages: vec![Message::user("Go")],
        settings: ModelSettings { model: "scripted".to_owned(), ..Default::default() },
        tools: vec![ToolRef::Registered { name: "calculate".to_owned() }],
        ..JobSpec::default()
    }
}

/// A hundred tokens.
fn tokens() -> Turn {
    Turn::pieces((0..100).map(|n| format!("{n:04} ")))
}

/// Three turns, two tools, three hundred tokens.
fn standard(world: &World) {
    let calculate = |n: u32| Call::new("calculate", json!({"expression": format!("{n} + {n}")}).to_string());
    let script = Script::new()
        .turn(tokens().then_calls([calculate(1)]))
        .turn(tokens().then_calls([calculate(2)]))
        .turn(tokens());
    world.model.script("Go", script);
}

#[tokio::test]
async fn the_standard_job_makes_so_many_requests_and_no_more() {
    let table = [("PutItem", 6), ("Query", 3), ("TransactWriteItems", 5), ("UpdateItem", 5)];
    assert_eq!(count(chat(), standard, false).await, expected(&table, &QUEUES, UNITS));
}

#[tokio::test]
async fn watching_costs_the_standard_job_writes_of_text_and_nothing_else() {
    let (table, queues, units) = count(chat(), standard, true).await;
    let others = [("Query", 3), ("TransactWriteItems", 5), ("UpdateItem", 5)];
    let (puts, rest): (Vec<_>, Vec<_>) = table.into_iter().partition(|(operation, _)| operation == "PutItem");
    assert_eq!((rest, queues, 0.0), expected(&others, &QUEUES, 0.0));
    // What comes while a batch is being written is the next one: how much that is nobody knows. Ten tokens are enough.
    assert!((6..=6 + 30 + 6).contains(&puts[0].1), "{puts:?}");
    assert!(units < UNITS + 40.0, "{units}");
}

#[tokio::test]
async fn a_job_of_one_answer_makes_so_many_requests_and_no_more() {
    let text = |world: &World| world.model.script("Go", Script::new().turn(tokens()));
    let table = [("Query", 1), ("TransactWriteItems", 3), ("UpdateItem", 1)];
    let queues = [("ChangeMessageVisibility", 1), ("SendMessage", 1)];
    assert_eq!(count(chat(), text, false).await, expected(&table, &queues, 39.0));
}

#[tokio::test]
async fn a_workflow_of_two_agents_makes_so_many_requests_and_no_more() {
    let writes = |id: &str| agent(id, json!({"model": id, "prompt": "Write one sentence."}));
    let nodes =
        [node("start", "start", json!({})), writes("writer"), writes("editor"), node("output", "output", json!({}))];
    let edges = [("start", "output", "writer"), ("writer", "output", "editor"), ("editor", "output", "output")];
    let document = document("Two agents", &nodes, &edges);
    let checked = workflow::check(&document, &Known::default()).unwrap();
    let input = RunInput { text: "Go".to_owned(), attachments: vec![] };
    let flow = WorkflowSpec { id: None, version: None, workflow: checked.workflow, input, told: vec![] };
    let spec = JobSpec { workflow: Some(Box::new(flow)), tools: vec![], ..chat() };
    let agents = |world: &World| {
        for model in ["writer", "editor"] {
            world.model.script_model(model, Script::new().turn(Turn::text("One sentence.")));
        }
    };
    let table = [("PutItem", 6), ("Query", 7), ("TransactWriteItems", 7), ("UpdateItem", 3)];
    let queues = [("ChangeMessageVisibility", 3), ("SendMessage", 3)];
    assert_eq!(count(spec, agents, false).await, expected(&table, &queues, 83.0));
}
