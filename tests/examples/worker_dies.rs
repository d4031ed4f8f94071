//! How long a job stands still when only its worker dies: `cargo run -p tests --example worker_dies`. A measure and no
//! test, since it is the machine's business; the goal is ten seconds. Table and queue are the embedded ones in real time;
//! each job has a worker of its own that is killed at some moment of an answer, and others take the jobs over.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a command for developers")]

use std::{sync::Arc, time::Duration};

use aws_sdk_sqs::types::MessageSystemAttributeName;
use domain::{
    id::JobId,
    job::{Asker, JobSpec, ModelSettings, Status},
    lane::LeaseTimes,
    message::Message,
    time::Timestamp,
};
use engine::{Clock as _, Engine, Settings, SystemClock, Upkeep};
use local::{
    demo_model::{self, DemoModel, Fault, Gate, Script, Turn},
    emulator::{
        EmbeddedDynamoDb, EmbeddedSqs,
        fault::{FaultClient, Faults, Process},
    },
};
use model_client::ModelClient;
use queue::ContinuationQueue;
use store::{NewJob, Store};
use tests::world::{self, event_of};
use tokio::time::{Instant, sleep};
use tools::ToolRegistry;

/// Workers that die, each with its job.
const DEATHS: u32 = 12;
/// Those that go on.
const HEIRS: u32 = 4;

struct World {
    dynamodb: EmbeddedDynamoDb,
    sqs: EmbeddedSqs,
    urls: [String; 2],
    model: DemoModel,
    faults: Faults,
}

/// A worker that gets messages until it dies.
struct Worker {
    process: Process,
    engine: Engine,
}

#[tokio::main]
async fn main() {
    startup::aws::install_crypto();
    let dynamodb = EmbeddedDynamoDb::in_memory().unwrap();
    let sqs = EmbeddedSqs::new();
    let urls = ["starts", "continuations"]
        .map(|name| sqs.create_queue(name, &[("VisibilityTimeout", "3960"), ("DelaySeconds", "0")]).unwrap());
    let model = DemoModel::start(demo_model::Options::scripted()).await.unwrap();
    let world = Arc::new(World { dynamodb, sqs, urls, model, faults: Faults::new() });
    world.worker("first").engine.upkeep.store.create_table().await.unwrap();

    // One after the other, so that each message finds its worker; and each dies at another moment between two renewals.
    let renewal = LeaseTimes::default().renew_every;
    let mut deaths = vec![];
    for n in 0..DEATHS {
        let gate = Gate::new();
        let said = Turn::pieces(["One ", "two ", "three."]).fault(Fault::StallAfter(1, gate.clone()));
        world.model.script(format!("Job {n}"), Script::new().turn(said));
        let doomed = Arc::new(world.worker(&format!("doomed {n}")));
        let job = start(&doomed, n).await;
        let at_work = tokio::spawn({
            let (world, doomed) = (world.clone(), doomed.clone());
            async move { world.deliver(&doomed).await }
        });
        gate.reached().await;
        deaths.push(tokio::spawn(async move {
            sleep(renewal * 2 + renewal * n / DEATHS).await;
            doomed.process.kill();
            let died_at = SystemClock.now();
            at_work.await.unwrap();
            (job, died_at)
        }));
    }
    for n in 0..HEIRS {
        let (world, heir) = (world.clone(), world.worker(&format!("heir {n}")));
        tokio::spawn(async move {
            loop {
                world.deliver(&heir).await;
            }
        });
    }
    let mut spans = vec![];
    for death in deaths {
        let (job, died_at) = death.await.unwrap();
        spans.push(went_on_at(&world, &job, died_at).await.since(died_at));
    }
    spans.sort_unstable();
    let seconds = |n: usize| spans.get(n).map_or(0.0, Duration::as_secs_f64);
    println!(
        "{DEATHS} workers died: their jobs stood still for {:.1} to {:.1} s, {:.1} s in the middle",
        seconds(0),
        seconds(spans.len() - 1),
        seconds(spans.len() / 2)
    );
}

/// When the first event after a moment came.
async fn went_on_at(world: &World, job: &JobId, after: Timestamp) -> Timestamp {
    let eyes = Store::new(world.dynamodb.client(), "nightshift", LeaseTimes::default());
    loop {
        let record = eyes.whole(job).await.unwrap().unwrap();
        let restarted = record.events.iter().find(|event| event.at > after && event.body.name() == "turn.restarted");
        if let (Status::Completed, Some(event)) = (record.head.status(), restarted) {
            return event.at;
        }
        sleep(Duration::from_millis(20)).await;
    }
}

async fn start(worker: &Worker, n: u32) -> JobId {
    let asker =
        Asker::new(JobId::from_ulid(format!("01JDA7Q3W5T8Z2K4M6N8P0R1{n:02}")).unwrap(), "ann".parse().unwrap(), 3600);
    let spec = JobSpec {
        messages: vec![Message::user(format!("Job {n}"))],
        settings: ModelSettings { model: "scripted".to_owned(), ..Default::default() },
        ..JobSpec::default()
    };
    let new = NewJob { asker, spec, key: None, run: None, max_at_work: 100 };
    world::start(&worker.engine.upkeep, new).await
}

impl World {
    fn worker(&self, name: &str) -> Worker {
        let process = self.faults.process(name);
        let dynamodb = self
            .dynamodb
            .client_with(|config| config.http_client(FaultClient::wrap(self.dynamodb.http_client(), &process)));
        let sqs =
            self.sqs.client_with(|config| config.http_client(FaultClient::wrap(self.sqs.http_client(), &process)));
        let upkeep = Upkeep {
            store: Store::new(dynamodb, "nightshift", LeaseTimes::default()),
            queue: ContinuationQueue::new(sqs, &self.urls[0], &self.urls[1]),
            bus: None,
            clock: Arc::new(SystemClock),
        };
        let engine = Engine {
            upkeep,
            model: ModelClient::new(model_client::Config::new(self.model.url().clone(), None)).unwrap(),
            sealing: None,
            tools: ToolRegistry::new(),
            settings: Settings::default(),
        };
        Worker { process, engine }
    }

    /// What the event source does with the next message of each queue, if there is one.
    async fn deliver(&self, worker: &Worker) {
        let client = self.sqs.client();
        for (name, url) in ["starts", "continuations"].into_iter().zip(&self.urls) {
            let receive = client.receive_message().queue_url(url).wait_time_seconds(0);
            let received =
                receive.message_system_attribute_names(MessageSystemAttributeName::All).send().await.unwrap();
            let Some(message) = received.messages.unwrap_or_default().pop() else { continue };
            let receipt = message.receipt_handle.clone().unwrap();
            let event = event_of(name, message);
            let until = Instant::now() + Duration::from_secs(300);
            let response = tokio::select! {
                biased;
                () = worker.process.died() => return,
                response = worker::handle(&worker.engine, &event, until) => response,
            };
            if response.batch_item_failures.is_empty() {
                client.delete_message().queue_url(url).receipt_handle(receipt).send().await.unwrap();
            }
        }
        sleep(Duration::from_millis(10)).await;
    }
}
