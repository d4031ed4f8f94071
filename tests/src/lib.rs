//! The whole system for tests: embedded, on a scripted model, over real HTTP.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod described;
pub mod documents;
mod seen;
pub mod simulation;
pub mod tools;
mod viewer;
pub mod world;

use std::{path::Path, time::Duration};

use domain::lane::LeaseTimes;
use local::{
    demo_model::{self, DemoModel, Script},
    stack::{Options, Stack},
};
use reqwest::{Client, Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};

pub use self::{
    seen::assert_seen,
    viewer::{Frame, Viewer},
};

/// A running system with its scripted model, and a client of its API.
pub struct System {
    /// The system.
    pub stack: Stack,
    /// Its model.
    pub model: DemoModel,
    http: Client,
}

/// Everything as quick as it can be without changing what happens.
pub fn quick(mut options: Options) -> Options {
    options.default_model = Some("scripted".to_owned());
    options.tools = tools::registry();
    options.times = LeaseTimes {
        length: Duration::from_secs(3),
        renew_every: Duration::from_millis(600),
        look_soonest: Duration::from_millis(20),
        look_every: Duration::from_millis(100),
        margin: Duration::from_millis(500),
    };
    options.engine.batching.watched_every = Duration::from_millis(5);
    options.engine.batching.unwatched_every = Duration::from_millis(5);
    options.sweep_every = Duration::from_millis(200);
    options
}

impl System {
    /// A system in memory.
    pub async fn start() -> Self {
        Self::with(|_| {}).await
    }

    /// A system in memory, with other options.
    pub async fn with(change: impl FnOnce(&mut Options)) -> Self {
        let model = DemoModel::start(demo_model::Options::scripted()).await.unwrap();
        Self::on(model, change).await
    }

    /// A system on a data directory.
    pub async fn at(data: &Path, model: DemoModel) -> Self {
        Self::at_with(data, model, |_| {}).await
    }

    /// A system on a data directory, with other options.
    pub async fn at_with(data: &Path, model: DemoModel, change: impl FnOnce(&mut Options)) -> Self {
        let change = |options: &mut Options| {
            options.data = Some(data.to_owned());
            change(options);
        };
        Self::on(model, change).await
    }

    async fn on(model: DemoModel, change: impl FnOnce(&mut Options)) -> Self {
        let mut options = quick(Options::new(model.url().clone()));
        change(&mut options);
        let stack = Stack::start(options).await.unwrap();
        let http = Client::builder().no_proxy().build().unwrap();
        Self { stack, model, http }
    }

    /// Ends the system as a power cut would; its model lives on.
    pub async fn stop(self) -> DemoModel {
        self.stack.stop().await;
        self.model
    }

    /// A request to the API.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let url = self.stack.url().join(path).unwrap();
        self.http.request(method, url)
    }

    /// An answer's status and JSON, which are as the API's description has them.
    pub async fn answer(&self, request: RequestBuilder) -> (StatusCode, Value) {
        let request = request.build().unwrap();
        let (method, path) = (request.method().clone(), request.url().path().to_owned());
        let asked = request.body().and_then(reqwest::Body::as_bytes).and_then(|body| serde_json::from_slice(body).ok());
        let answer = self.http.execute(request).await.unwrap();
        let status = answer.status();
        let text = answer.text().await.unwrap();
        let answer = if text.is_empty() { Value::Null } else { serde_json::from_str(&text).unwrap() };
        described::hold(method.as_str(), &path, asked.as_ref(), status.as_u16(), &answer);
        (status, answer)
    }

    /// `GET`, which must succeed.
    pub async fn get(&self, path: &str) -> Value {
        let (status, body) = self.answer(self.request(Method::GET, path)).await;
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    /// `POST` without a body.
    pub async fn post(&self, path: &str) -> (StatusCode, Value) {
        self.answer(self.request(Method::POST, path)).await
    }

    /// Starts a job.
    pub async fn submit(&self, body: Value) -> Value {
        let (status, job) = self.answer(self.request(Method::POST, "/jobs").json(&body)).await;
        assert_eq!(status, 202, "{job}");
        job
    }

    /// Scripts the model for this input, starts a job with every tool, and waits for its end.
    pub async fn run(&self, input: &str, script: Script) -> Value {
        self.model.script(input, script);
        let job = self.submit(json!({"input": input, "tools": tools::NAMES})).await;
        self.finished(&job).await
    }

    /// Waits for a job's end.
    pub async fn finished(&self, job: &Value) -> Value {
        let id = job["id"].as_str().unwrap();
        let mut after = 0;
        loop {
            let page = self.get(&format!("/jobs/{id}/events?after={after}&wait=20&limit=1000")).await;
            after = page["last_event"].as_u64().unwrap();
            let events = page["data"].as_array().unwrap();
            if events.iter().any(|event| is_terminal(&event["type"])) {
                return self.get(&format!("/jobs/{id}")).await;
            }
        }
    }

    /// The job once it waits for a person, which it has to before its end.
    pub async fn waiting(&self, job: &Value) -> Value {
        let id = job["id"].as_str().unwrap();
        let mut after = 0;
        loop {
            let now = self.get(&format!("/jobs/{id}")).await;
            if now["status"] == "input_required" {
                return now;
            }
            assert!(now["finished_at"].is_null(), "{now}");
            let page = self.get(&format!("/jobs/{id}/events?after={after}&wait=20&limit=1000")).await;
            after = page["last_event"].as_u64().unwrap();
        }
    }

    /// A job's whole log.
    pub async fn log(&self, job: &Value) -> Vec<Value> {
        let id = job["id"].as_str().unwrap();
        let mut events: Vec<Value> = vec![];
        loop {
            let page = self.get(&format!("/jobs/{id}/events?after={}&limit=1000", events.len())).await;
            match page["data"].as_array().unwrap().as_slice() {
                [] => break,
                more => events.extend(more.iter().cloned()),
            }
        }
        for (n, event) in events.iter().enumerate() {
            assert_eq!(event["number"], n + 1, "the log has a gap");
        }
        events
    }

    /// How many jobs have viewers now.
    pub fn streams_open(&self) -> usize {
        self.stack.streams.n_followed()
    }

    /// Waits until nobody follows anything.
    pub async fn wait_for_no_streams(&self) {
        while self.streams_open() > 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Follows a job from after an event.
    pub async fn follow(&self, job: &Value, after: u64) -> Viewer {
        Viewer::connect(&self.http, job["stream_url"].as_str().unwrap(), after).await
    }
}

/// Whether an event of this type is a job's last.
pub fn is_terminal(kind: &Value) -> bool {
    matches!(kind.as_str(), Some("job.completed" | "job.failed" | "job.cancelled"))
}

/// The types of events, text left out: what happened, in order.
pub fn types(log: &[Value]) -> Vec<&str> {
    log.iter().filter_map(|event| event["type"].as_str()).filter(|kind| !kind.ends_with(".delta")).collect()
}

/// The text that a log amounts to, by the rules that viewers follow.
pub fn replayed(log: &[Value]) -> String {
    let mut text = String::new();
    for event in log {
        match event["type"].as_str() {
            Some("output.delta") => text.push_str(event["text"].as_str().unwrap()),
            Some("turn.restarted") => {
                text.truncate(usize::try_from(event["output_offset"].as_u64().unwrap()).unwrap());
            }
            _ => {}
        }
    }
    text
}
