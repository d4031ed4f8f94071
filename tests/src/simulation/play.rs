//! The play: the job is started, workers and sweepers come and go, until all is at rest.

use std::time::Duration;

use aws_lambda_events::sqs::{SqsEvent, SqsMessage};
use domain::{
    approval::ApprovalRule,
    continuation::Continuation,
    event::Event,
    id::{JobId, LaneName},
    job::{Asker, Ending, JobSpec, ModelSettings, ToolRef},
    limits::JobLimits,
    message::Message as Words,
    tool_call::ToolSpec,
};
use local::emulator::EmbeddedSqs;
use model_client::Url;
use queue::Line;
use serde_json::json;
use store::{After, CreateOutcome, EndOutcome, IdempotencyKey, NewJob};
use tokio::{
    net::TcpListener,
    time::{Instant, sleep},
};
use tools::ToolRegistry;

use super::{
    Sim, State, WEATHER_LASTS, audience, check, flow,
    life::Life,
    lines::{Message, handle_of},
    model, people, plot,
};

/// How the one job's id begins.
const JOB: &str = "01JDA7Q3W5T8Z2K4M6N8P0R1";
/// When a job that is still not at rest never will be.
pub(super) const NEVER: Duration = Duration::from_secs(3600);
/// How many workers there are at a time.
const WORKERS: usize = 3;
/// How often the sweeper comes.
const SWEEP_EVERY: Duration = Duration::from_secs(20);
/// How long the asker looks on.
const WATCHED: Duration = Duration::from_secs(2);
/// So short that a job whose worker has died stands still before it is taken over.
const STALL_AFTER: Duration = Duration::from_secs(15);

impl Sim {
    pub(super) async fn play(&self) -> Vec<String> {
        let eyes = self.store(None);
        eyes.create_table().await.unwrap();
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = Url::parse(&format!("http://{}/v1", listener.local_addr().unwrap())).unwrap();
        self.state().model_url = Some(url);
        tokio::spawn(model::serve(self.clone(), listener));

        self.note(&format!("{}: {:?}", self.0.weather.name, self.0.plot));
        let job = self.start().await;
        let weather = &self.0.weather;
        let mut cancel_at = self.happens_at(weather.cancelled);
        let mut post_at = self.happens_at(weather.posts);
        let mut viewers = tokio::task::JoinSet::new();
        let streams = weather.streams.then(|| audience::streams(self));
        for _ in 0..self.draw(|random| 1 + random.below(2)) {
            match &streams {
                Some(streams) => viewers.spawn(audience::follow(self.clone(), job.clone(), streams.clone())),
                None => viewers.spawn(view(self.clone(), job.clone())),
            };
        }
        if weather.people {
            for _ in 0..self.draw(|random| 1 + random.below(2)) {
                viewers.spawn(people::look(self.clone(), job.clone(), self.store(None)));
            }
        }
        let tools = plot::registry(self);
        let mut at_work = tokio::task::JoinSet::new();
        let mut sweep_at = SWEEP_EVERY;
        let is_cancelled = cancel_at.is_some();
        let mut n_posts = 0;
        loop {
            while let Some(ended) = at_work.try_join_next() {
                if let Err(error) = ended {
                    self.breaks(format!("somebody panicked: {error}"));
                }
            }
            let now = self.now();
            if now > NEVER {
                self.violated("the job never comes to rest".to_owned());
                break;
            }
            if at_work.len() < WORKERS {
                let message = {
                    let mut state = self.state();
                    let State { lines, random, .. } = &mut *state;
                    lines.receive(now, random)
                };
                if let Some(message) = message {
                    at_work.spawn(work(self.clone(), tools.clone(), message));
                }
            }
            if now >= sweep_at {
                sweep_at = now + if now > WEATHER_LASTS { SWEEP_EVERY * 3 } else { SWEEP_EVERY };
                at_work.spawn(sweep(self.clone()));
            }
            if cancel_at.is_some_and(|at| now >= at) {
                cancel_at = None;
                at_work.spawn(cancel(self.clone(), job.clone()));
            }
            if post_at.is_some_and(|at| now >= at) {
                post_at = if self.draw(|random| random.chance(500)) { self.happens_at(1000) } else { None };
                n_posts += 1;
                at_work.spawn(people::post(self.clone(), job.clone(), n_posts));
            }
            let is_quiet = {
                let state = self.state();
                at_work.is_empty() && state.travelling == 0 && state.lines.is_empty()
            };
            if is_quiet && cancel_at.is_none() && viewers.is_empty() {
                break;
            }
            while let Some(ended) = viewers.try_join_next() {
                if let Err(error) = ended {
                    self.breaks(format!("a viewer panicked: {error}"));
                }
            }
            sleep(self.step(at_work.is_empty(), sweep_at)).await;
        }
        if !self.state().violations.is_empty() {
            return self.state().violations.clone();
        }
        check::check(self, &eyes, &job, is_cancelled).await
    }

    /// How long the stage manager waits.
    pub(super) fn step(&self, is_idle: bool, sweep_at: Duration) -> Duration {
        let step = self.draw(|random| random.millis(10..250));
        let next = self.state().lines.next_at().map_or(sweep_at, |at| at.min(sweep_at));
        if is_idle { step.max(next.saturating_sub(self.now())) } else { step }
    }

    pub(super) fn happens_at(&self, in_a_thousand: u64) -> Option<Duration> {
        let at = self.now() + self.draw(|random| random.millis(1..20_000));
        self.draw(|random| random.chance(in_a_thousand)).then_some(at)
    }

    /// Starts the job as a caller does who repeats the request until it is answered.
    pub(super) async fn start(&self) -> JobId {
        for n in 0_u64.. {
            let process = self.process("starter");
            let upkeep = self.upkeep(&process);
            let started = async {
                // A request that is repeated has a fresh id, and the same key.
                let new = self.new_job(&format!("{JOB}{}{}", n / 10 % 10, n % 10), Some("k"));
                let created = upkeep.store.create(new, upkeep.clock.now()).await.ok()?;
                if let CreateOutcome::Created(head) = &created {
                    let first = Continuation { job: head.id.clone(), lane: LaneName::main(), turn: 1 };
                    let _ = upkeep.queue.send(&first, Line::Starts, Duration::ZERO).await;
                    // Whoever asked is there: text is written in small pieces at first.
                    self.store(None).watch(&head.id, upkeep.clock.now() + WATCHED).await.unwrap();
                }
                match created {
                    CreateOutcome::Created(head) | CreateOutcome::Existing(head) => Some(head.id),
                    other => panic!("{other:?}"),
                }
            };
            let started = tokio::select! {
                biased;
                () = process.died() => None,
                started = Life::new(self, process.name(), started) => started,
            };
            self.ends(&process);
            if let Some(job) = started {
                return job;
            }
        }
        unreachable!("it is tried for ever")
    }
}

/// An invocation of the worker.
async fn work(sim: Sim, tools: ToolRegistry, message: Message) {
    let process = sim.process("worker");
    sim.note(&format!("{} gets {} ({}) {}", process.name(), message.id, message.received, message.body));
    let engine = sim.engine(&process, &tools);
    let mut record = SqsMessage::default();
    record.message_id = Some(message.id.to_string());
    record.receipt_handle = Some(handle_of(&message));
    record.body = Some(message.body.clone());
    record.event_source_arn = Some(EmbeddedSqs::queue_arn(&message.line));
    record.attributes.insert("ApproximateReceiveCount".to_owned(), message.received.to_string());
    let mut event = SqsEvent::default();
    event.records.push(record);
    let lasts = sim.draw(|random| random.pick(&[70, 300, 300, 300]));
    let until = Instant::now() + Duration::from_secs(lasts);
    let response = tokio::select! {
        biased;
        () = process.died() => None,
        () = tokio::time::sleep_until(until) => {
            process.kill();
            None
        }
        response = Life::new(&sim, process.name(), worker::handle(&engine, &event, until)) => Some(response),
    };
    sim.ends(&process);
    let is_done = response.as_ref().is_some_and(|response| response.batch_item_failures.is_empty());
    let (_, undeleted, _) = sim.0.weather.messages;
    let is_deleted = is_done && !sim.strikes(undeleted);
    let how = if response.is_none() {
        "is dead"
    } else if is_done {
        "is done"
    } else {
        "gives back"
    };
    sim.note(&format!("{} {how} {}", process.name(), message.id));
    if is_deleted {
        sim.state().lines.delete(&handle_of(&message));
    }
}

async fn sweep(sim: Sim) {
    let process = sim.process("sweeper");
    let upkeep = sim.upkeep(&process);
    tokio::select! {
        biased;
        () = process.died() => {}
        _ = Life::new(&sim, process.name(), sweeper::handle(&upkeep, Duration::from_secs(30), STALL_AFTER)) => {}
    }
    sim.ends(&process);
}

/// The job's owner cancels it, until that is answered.
async fn cancel(sim: Sim, job: JobId) {
    loop {
        let process = sim.process("canceller");
        let upkeep = sim.upkeep(&process);
        let ended = tokio::select! {
            biased;
            () = process.died() => None,
            ended = Life::new(&sim, process.name(), upkeep.end(&job, Ending::Cancelled)) => ended.ok(),
        };
        sim.ends(&process);
        sim.note(&format!("cancelled: {}", ended.is_some()));
        match ended {
            Some(EndOutcome::Ended(_) | EndOutcome::Already(_)) => return,
            Some(other) => panic!("{other:?}"),
            None => {}
        }
    }
}

/// Follows the job from somewhere, and compares what it saw with the log when it has seen the end.
async fn view(sim: Sim, job: JobId) {
    let process = sim.process("viewer");
    let store = sim.store(Some(&process));
    sleep(sim.draw(|random| random.millis(1..30_000))).await;
    let written = sim.table().event_numbers(job.as_str()).len() as u64;
    let from = sim.draw(|random| random.below(written + 1));
    let mut seen: Vec<Event> = vec![];
    while !seen.last().is_some_and(|event| event.body.is_terminal()) {
        if sim.now() > NEVER {
            sim.violated(format!("{} waits for ever after event {}", process.name(), from + seen.len() as u64));
            return;
        }
        if sim.is_at_end(&job, from) {
            break;
        }
        let limit = sim.draw(|random| 1 + random.below(20));
        let cursor = from + seen.len() as u64;
        if let Ok(Some(page)) =
            store.events_after(&job, After::Event(cursor), u32::try_from(limit).unwrap(), false).await
        {
            seen.extend(page.events);
        }
        let pause = if sim.now() > WEATHER_LASTS { 5_000..60_000 } else { 200..4_000 };
        sleep(sim.draw(|random| random.millis(pause))).await;
    }
    sim.ends(&process);
    let numbers: Vec<u64> = seen.iter().map(|event| event.number).collect();
    let expected: Vec<u64> = (from + 1..=from + seen.len() as u64).collect();
    if numbers != expected {
        sim.violated(format!("{} saw {numbers:?} after {from}", process.name()));
    }
    let log = sim.store(None).whole(&job).await.ok().flatten().map(|record| record.events).unwrap_or_default();
    let rest = log.get(usize::try_from(from).unwrap()..).unwrap_or_default();
    if rest != seen {
        sim.violated(format!("{} saw something else than the log after {from}", process.name()));
    }
}

impl Sim {
    pub(super) fn new_job(&self, id: &str, key: Option<&str>) -> NewJob {
        let mut tools: Vec<ToolRef> = plot::TOOLS.map(|name| ToolRef::Registered { name: name.to_owned() }).into();
        let mut limits = JobLimits {
            deadline_seconds: 7 * 24 * 3600,
            queue_seconds: 7 * 24 * 3600,
            turn_seconds: 24 * 3600,
            ..JobLimits::default()
        };
        let people = self.0.plot.people();
        if let Some(people) = people {
            limits.input_seconds = people.wait;
            let parameters = json!({"type": "object"});
            let spec = ToolSpec { name: plot::CALLERS.to_owned(), description: "Fetches.".to_owned(), parameters };
            tools.push(ToolRef::Client { spec, waits: true });
        }
        let approved = people.filter(|_| !self.0.weather.workflow).into_iter().flat_map(|people| &people.approved);
        NewJob {
            asker: Asker::new(JobId::from_ulid(id.to_owned()).unwrap(), "ann".parse().unwrap(), 30 * 24 * 3600),
            spec: JobSpec {
                messages: vec![Words::user("Do everything")],
                settings: ModelSettings { model: model::CHAT.to_owned(), ..Default::default() },
                tools,
                limits,
                approval: approved.map(|tool| ((*tool).to_owned(), ApprovalRule::ALWAYS)).collect(),
                workflow: self.0.weather.workflow.then(|| Box::new(flow::spec())),
                ..JobSpec::default()
            },
            key: key.map(|key| IdempotencyKey { key: key.to_owned(), fingerprint: "f".to_owned() }),
            run: None,
            max_at_work: 1,
        }
    }

    /// Whether a viewer that comes with this cursor has seen everything.
    fn is_at_end(&self, job: &JobId, cursor: u64) -> bool {
        let events = self.table().events(job.as_str());
        events.last().is_some_and(|(number, kind)| *number == cursor && crate::is_terminal(kind))
    }
}
