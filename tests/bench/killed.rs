//! What a death costs: of the whole system, and of a worker alone.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use aws_sdk_sqs::types::MessageSystemAttributeName;
use domain::{
    id::JobId,
    job::{Asker, JobSpec, ModelSettings},
    lane::LeaseTimes,
    message::Message,
};
use engine::{Clock as _, Engine, SystemClock, Upkeep};
use local::emulator::{EmbeddedDynamoDb, EmbeddedSqs};
use model_client::ModelClient;
use queue::ContinuationQueue;
use store::{NewJob, Store};
use tests::world::{event_of, start};

use crate::{
    caller::Caller,
    model::{Model, Plan},
    report::Report,
    system::{Setup, System},
};

const TOKENS: usize = 100;
const PACE: Duration = Duration::from_millis(10);

pub(crate) async fn measure(report: Report, quick: bool) {
    let times = if quick { 1 } else { 5 };
    let (mut since_kill, mut since_restart) = (vec![], vec![]);
    for _ in 0..times {
        let (killed, restarted) = system_dies().await;
        since_kill.push(killed);
        since_restart.push(restarted);
    }
    report.spans("SIGKILL, started again at once: until the model is asked", &since_kill, None);
    report.spans("the same from the moment that the new process answers", &since_restart, None);
    report.spans("a worker alone dies: until the model is asked", &[worker_dies().await], None);
    report.note("a dead worker's lease lasts 9 s, and its message is hidden for up to 10: nobody can know sooner");
}

fn plan() -> Plan {
    Plan::standard(TOKENS).at_pace(PACE, PACE)
}

/// The whole system is killed in the middle of the second turn's answer, and started again on the same directory.
async fn system_dies() -> (Duration, Duration) {
    let model = Model::start().await;
    model.plan("slow", plan());
    let data = tempfile::tempdir().unwrap();
    let setup = Setup::new(data.path(), &model.url);
    let system = System::start(&setup);
    let job = Caller::new(&system.url).start("slow", "killed").await;
    model.wait_for("killed", 2).await;
    tokio::time::sleep(PACE * 20).await;
    let died = Instant::now();
    system.kill();
    let system = System::start(&setup);
    let up = Instant::now();
    let again = model.wait_for("killed", 3).await[2].at;
    let view = Caller::new(&system.url).until_over(&job).await;
    assert_eq!(view["metrics"]["recoveries"], 1, "{view}");
    // It may ask before it has said that it answers.
    (again - died, again.saturating_duration_since(up))
}

/// One invocation is dropped in the middle of the second turn's answer; its message comes back to the next.
async fn worker_dies() -> Duration {
    let model = Model::start().await;
    model.plan("slow", plan());
    let data = tempfile::tempdir().unwrap();
    let table = EmbeddedDynamoDb::open(&data.path().join("table.db")).unwrap();
    let sqs = EmbeddedSqs::new();
    let urls = ["starts", "continuations"].map(|name| sqs.create_queue(name, &[("VisibilityTimeout", "900")]).unwrap());
    let store = Store::new(table.client(), "nightshift", LeaseTimes::default());
    store.create_table().await.unwrap();
    let queue = ContinuationQueue::new(sqs.client(), &urls[0], &urls[1]);
    let clock = Arc::new(SystemClock);
    let engine = Engine {
        upkeep: Upkeep { store, queue, bus: None, clock: clock.clone() },
        model: ModelClient::new(model_client::Config::new(model.url.clone(), None)).unwrap(),
        sealing: None,
        tools: tools::builtin::builtin(Arc::new(move || clock.now())),
        settings: engine::Settings::default(),
    };
    let id = JobId::from_ulid(SystemClock.fresh_name().to_string()).unwrap();
    let new = NewJob {
        asker: Asker::new(id, "bench".parse().unwrap(), 3600),
        spec: JobSpec {
            messages: vec![Message::user("killed")],
            settings: ModelSettings { model: "slow".to_owned(), ..Default::default() },
            ..JobSpec::default()
        },
        key: None,
        run: None,
        max_at_work: 1,
    };
    start(&engine.upkeep, new).await;
    deliver(&engine, &sqs, "starts", &urls[0]).await;
    let died = tokio::select! {
        () = deliver(&engine, &sqs, "continuations", &urls[1]) => panic!("it was to be interrupted"),
        _ = async {
            model.wait_for("killed", 2).await;
            tokio::time::sleep(PACE * 20).await;
        } => Instant::now(),
    };
    tokio::select! {
        () = deliver(&engine, &sqs, "continuations", &urls[1]) => {}
        _ = model.wait_for("killed", 3) => {}
    }
    model.wait_for("killed", 3).await[2].at - died
}

/// Waits for the next message and hands it to a worker, as the event source does.
async fn deliver(engine: &Engine, sqs: &EmbeddedSqs, name: &str, url: &str) {
    let client = sqs.client();
    let message = loop {
        let receive = client.receive_message().queue_url(url).wait_time_seconds(20);
        let names = MessageSystemAttributeName::All;
        let received = receive.message_system_attribute_names(names).send().await.unwrap();
        if let Some(message) = received.messages.unwrap_or_default().pop() {
            break message;
        }
    };
    let receipt = message.receipt_handle.clone().unwrap();
    let event = event_of(name, message);
    let until = tokio::time::Instant::now() + Duration::from_secs(300);
    let response = worker::handle(engine, &event, until).await;
    if response.batch_item_failures.is_empty() {
        client.delete_message().queue_url(url).receipt_handle(receipt).send().await.unwrap();
    }
}
