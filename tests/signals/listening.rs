//! Who listens: to the logs, to `/metrics`, and a collector of spans.

use std::{
    io::{self, Write},
    net::Ipv4Addr,
    sync::{Arc, Mutex, OnceLock},
};

use axum::{Router, body::Bytes, extract::State, http::HeaderMap, routing::post};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::any_value::Value as Any,
    trace::v1::{Span, status::StatusCode},
};
use prost::Message as _;
use startup::traces::Traces;
use tests::System;
use tokio::{net::TcpListener, sync::MutexGuard};
use tracing_subscriber::{
    fmt::{self, MakeWriter},
    layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};

/// Everything that was said in the process while it was held.
pub(crate) struct Listening {
    logs: Logs,
    collector: Arc<Mutex<Vec<Bytes>>>,
    pub(crate) traces: Traces,
    _turn: MutexGuard<'static, ()>,
}

#[derive(Clone, Default)]
struct Logs(Arc<Mutex<Vec<u8>>>);

impl Write for Logs {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Logs {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

impl Listening {
    /// Listens from now on, to debug logs; nobody else does meanwhile.
    pub(crate) async fn start() -> Self {
        static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
        static LOGS: OnceLock<Logs> = OnceLock::new();
        let turn = TURN.lock().await;
        let logs = LOGS.get_or_init(|| {
            let logs = Logs::default();
            let filter = startup::tracing::filter("debug").unwrap();
            let lines = fmt::layer().json().flatten_event(true).with_current_span(false).with_span_list(true);
            tracing_subscriber::registry().with(filter).with(lines.with_writer(logs.clone())).init();
            logs
        });
        logs.0.lock().unwrap().clear();
        let collector = Arc::new(Mutex::new(Vec::new()));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().route("/v1/traces", post(collect)).with_state(collector.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        let traces = startup::traces::to(&address, "tests").unwrap();
        Self { logs: logs.clone(), collector, traces, _turn: turn }
    }

    /// The log's lines.
    pub(crate) fn logs(&self) -> String {
        String::from_utf8(self.logs.0.lock().unwrap().clone()).unwrap()
    }

    /// The lines with this message.
    pub(crate) fn lines(&self, message: &str) -> Vec<serde_json::Value> {
        let lines = self.logs();
        let lines = lines.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        lines.filter(|line| line["message"] == message).collect()
    }

    /// What was sent to the collector, as it came.
    pub(crate) async fn sent(&self) -> Vec<Bytes> {
        self.traces.flush().await;
        self.collector.lock().unwrap().clone()
    }

    /// The spans in it.
    pub(crate) async fn spans(&self) -> Vec<Span> {
        let sent = self.sent().await;
        let requests = sent.into_iter().map(|body| ExportTraceServiceRequest::decode(body).unwrap());
        let of_resources = requests.flat_map(|request| request.resource_spans);
        of_resources.flat_map(|spans| spans.scope_spans).flat_map(|spans| spans.spans).collect()
    }
}

async fn collect(State(collector): State<Arc<Mutex<Vec<Bytes>>>>, headers: HeaderMap, body: Bytes) {
    assert_eq!(headers["content-type"], "application/x-protobuf");
    collector.lock().unwrap().push(body);
}

/// An attribute as text.
pub(crate) fn attribute(span: &Span, key: &str) -> Option<String> {
    let value = span.attributes.iter().find(|pair| pair.key == key)?.value.clone()?.value?;
    Some(match value {
        Any::StringValue(text) => text,
        Any::IntValue(number) => number.to_string(),
        Any::DoubleValue(number) => number.to_string(),
        other => format!("{other:?}"),
    })
}

/// Whether a span says that it failed.
pub(crate) fn has_failed(span: &Span) -> bool {
    span.status.as_ref().is_some_and(|status| status.code == StatusCode::Error as i32)
}

/// What `/metrics` says at a moment.
pub(crate) struct Counts(String);

impl Counts {
    pub(crate) async fn now(system: &System) -> Self {
        let answer = system.request(reqwest::Method::GET, "/metrics").send().await.unwrap();
        assert_eq!(answer.headers()["content-type"], "text/plain; version=0.0.4; charset=utf-8");
        Self(answer.text().await.unwrap())
    }

    /// The value of a series, such as `nightshift_turns_total{outcome="committed"}`; 0 where there is none.
    pub(crate) fn of(&self, series: &str) -> f64 {
        let line = self.0.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.map_or(0.0, |value| value.parse().unwrap())
    }

    pub(crate) fn text(&self) -> &str {
        &self.0
    }
}
