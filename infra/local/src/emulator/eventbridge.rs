//! [`EmbeddedEventBridge`]: an event bus in this process, behind the SDK's HTTP-client seam. It knows `PutEvents` and one
//! rule, as `template.yaml` has it: events that ask for a job go to a queue. What was put lately can be looked at.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use aws_sdk_eventbridge::config::{BehaviorVersion, Builder, Region};
use aws_smithy_runtime_api::client::{
    http::{
        HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient, SharedHttpConnector,
    },
    orchestrator::{HttpRequest, HttpResponse},
    result::ConnectorError,
    runtime_components::RuntimeComponents,
};
use aws_smithy_types::{retry::RetryConfig, timeout::TimeoutConfig};
use queue::bus::InProcessBus;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::{REGION, response};

/// Events that are remembered, a few kilobytes each.
const REMEMBERED: usize = 100;

/// Called with every event that asks for a job, as the bus hands it on.
pub type Rule = Arc<dyn Fn(Value) + Send + Sync>;

/// An event bus in this process.
#[derive(Clone)]
pub struct EmbeddedEventBridge(Arc<Bus>);

struct Bus {
    events: watch::Sender<VecDeque<Value>>,
    rule: Mutex<Option<Rule>>,
}

impl EmbeddedEventBridge {
    /// A bus that nothing was put on.
    pub fn new() -> Self {
        Self(Arc::new(Bus { events: watch::Sender::default(), rule: Mutex::new(None) }))
    }

    /// Hands events of this detail type on, as they are put.
    pub fn on_request(&self, rule: Rule) {
        *self.0.rule.lock().unwrap_or_else(PoisonError::into_inner) = Some(rule);
    }

    /// The events that were put lately, oldest first.
    pub fn events(&self) -> Vec<Value> {
        self.0.events.borrow().iter().cloned().collect()
    }

    /// Waits until an event was put that `is` it.
    pub async fn wait_for(&self, mut is: impl FnMut(&Value) -> bool) -> Value {
        let mut events = self.0.events.subscribe();
        loop {
            if let Some(event) = events.borrow_and_update().iter().find(|event| is(event)) {
                return event.clone();
            }
            if events.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// This bus as the queue package may tell it without a client.
    pub fn in_process(&self) -> Arc<dyn InProcessBus> {
        Arc::new(self.clone())
    }

    /// A client with no retries, no time-outs and no signatures.
    pub fn client(&self) -> aws_sdk_eventbridge::Client {
        self.client_with(|config| config)
    }

    /// A client whose settings the caller has the last word on.
    pub fn client_with(&self, configure: impl FnOnce(Builder) -> Builder) -> aws_sdk_eventbridge::Client {
        let config = aws_sdk_eventbridge::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::from_static(REGION))
            .allow_no_auth()
            .retry_config(RetryConfig::disabled())
            .timeout_config(TimeoutConfig::disabled())
            .http_client(self.http_client());
        aws_sdk_eventbridge::Client::from_conf(configure(config).build())
    }

    /// The seam itself, to be wrapped (see [`fault`](super::fault)) and given to a client.
    pub fn http_client(&self) -> SharedHttpClient {
        SharedHttpClient::new(self.clone())
    }

    fn put_events(&self, request: &HttpRequest) -> Result<HttpResponse, ConnectorError> {
        let body: Value = serde_json::from_slice(request.body().bytes().unwrap_or_default()).unwrap_or(Value::Null);
        let Some(entries) = body["Entries"].as_array() else {
            return response(400, r#"{"__type":"ValidationException","message":"Entries is missing"}"#);
        };
        let take = |entry: &Value| {
            let detail = entry["Detail"].as_str().and_then(|detail| serde_json::from_str(detail).ok());
            self.take(entry["Source"].clone(), entry["DetailType"].clone(), detail.unwrap_or(Value::Null))
        };
        let ids: Vec<Value> = entries.iter().map(|entry| json!({"EventId": take(entry)})).collect();
        response(200, json!({"FailedEntryCount": 0, "Entries": ids}).to_string())
    }

    fn take(&self, source: Value, detail_type: Value, detail: Value) -> String {
        let id = ulid::Ulid::generate().to_string();
        let event: Value = json!({
            "version": "0",
            "id": id,
            "source": source,
            "detail-type": detail_type,
            "region": REGION,
            "detail": detail,
        });
        if event["detail-type"] == queue::bus::REQUESTED {
            let rule = self.0.rule.lock().unwrap_or_else(PoisonError::into_inner).clone();
            if let Some(rule) = rule {
                rule(event.clone());
            }
        }
        self.0.events.send_modify(|events| {
            if events.len() == REMEMBERED {
                events.pop_front();
            }
            events.push_back(event);
        });
        id
    }
}

impl InProcessBus for EmbeddedEventBridge {
    fn put(&self, source: &str, detail_type: &str, detail: Value) {
        self.take(source.into(), detail_type.into(), detail);
    }
}

impl Default for EmbeddedEventBridge {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for EmbeddedEventBridge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbeddedEventBridge").finish_non_exhaustive()
    }
}

impl HttpConnector for EmbeddedEventBridge {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let answer = match super::operation(&request) {
            Some("PutEvents") => self.put_events(&request),
            _ => response(400, r#"{"__type":"UnknownOperationException"}"#),
        };
        HttpConnectorFuture::ready(answer)
    }
}

impl HttpClient for EmbeddedEventBridge {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_hundred_events_are_remembered() {
        let bus = EmbeddedEventBridge::new();
        (0..REMEMBERED + 7).for_each(|n| bus.put("shop", "Sold", n.into()));
        let events = bus.events();
        let ends = [events.first(), events.last()].map(|event| event.unwrap()["detail"].as_u64().unwrap());
        assert_eq!((events.len(), ends), (100, [7, 106]));
    }
}
