//! Callers: they start jobs over HTTP and follow them to the end, reading as little as that takes.

use std::time::Instant;

use futures_util::StreamExt;
use model_client::Url;
use reqwest::Client;
use serde_json::{Value, json};

/// Somebody who starts jobs. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Caller {
    pub(crate) http: Client,
    base: Url,
}

/// A job that was accepted.
#[derive(Debug, Clone)]
pub(crate) struct Started {
    pub(crate) id: String,
    pub(crate) stream_url: String,
    /// When it was asked for, and when the answer was there.
    pub(crate) asked: Instant,
    pub(crate) accepted: Instant,
}

impl Caller {
    pub(crate) fn new(base: &Url) -> Self {
        let http = Client::builder().no_proxy().tcp_nodelay(true).pool_max_idle_per_host(1000).build().unwrap();
        Self { http, base: base.clone() }
    }

    /// Starts a job with this input, by this plan.
    pub(crate) async fn start(&self, plan: &str, input: &str) -> Started {
        let body = json!({"model": plan, "input": input, "tools": ["calculate"]});
        self.start_with(&body).await
    }

    /// Starts a job.
    pub(crate) async fn start_with(&self, body: &Value) -> Started {
        let asked = Instant::now();
        let answer = self.http.post(self.base.join("/jobs").unwrap()).json(body).send().await.unwrap();
        let status = answer.status();
        let text = answer.text().await.unwrap();
        let accepted = Instant::now();
        assert_eq!(status, 202, "{text}");
        let job: Value = serde_json::from_str(&text).unwrap();
        let member = |name: &str| job[name].as_str().unwrap().to_owned();
        Started { id: member("id"), stream_url: member("stream_url"), asked, accepted }
    }

    /// Follows a job to its end, and says when its last event was there.
    pub(crate) async fn until_done(&self, job: &Started) -> Instant {
        const DONE: &[u8] = b"event: done";
        let answer = self.http.get(&job.stream_url).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        let (mut bytes, mut seen) = (answer.bytes_stream(), Vec::new());
        loop {
            let piece = bytes.next().await.expect("the stream ends with a word").unwrap();
            let now = Instant::now();
            seen.extend_from_slice(&piece);
            if seen.windows(DONE.len()).any(|window| window == DONE) {
                let completed = b"event: job.completed";
                assert!(seen.windows(completed.len()).any(|window| window == completed) || seen.len() > 4096);
                return now;
            }
            // Enough for the mark, and for the last event before it.
            seen.drain(..seen.len().saturating_sub(4096));
        }
    }

    /// A `GET` of the API.
    pub(crate) async fn get(&self, path: &str) -> Value {
        let answer = self.http.get(self.base.join(path).unwrap()).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{path}");
        answer.json().await.unwrap()
    }

    /// Waits for a job's end without following it, so that nobody counts as watching.
    pub(crate) async fn until_over(&self, job: &Started) -> Value {
        loop {
            let view = self.get(&format!("/jobs/{}", job.id)).await;
            if view["status"] == "completed" {
                return view;
            }
            assert!(["queued", "running"].contains(&view["status"].as_str().unwrap()), "{view}");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }
}
