//! [`FaultClient`]: a process's faults around an SDK HTTP client.

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use serde_json::Value;

use super::{NoAnswer, Process, Service};

/// An SDK HTTP client whose requests go through a [`Process`].
#[derive(Debug)]
pub struct FaultClient {
    inner: SharedHttpClient,
    process: Process,
}

impl FaultClient {
    /// Wraps `inner`; several clients may go through one process.
    pub fn wrap(inner: SharedHttpClient, process: &Process) -> SharedHttpClient {
        SharedHttpClient::new(Self { inner, process: process.clone() })
    }
}

impl HttpClient for FaultClient {
    fn http_connector(&self, settings: &HttpConnectorSettings, components: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(FaultConnector {
            inner: self.inner.http_connector(settings, components),
            process: self.process.clone(),
        })
    }
}

#[derive(Debug)]
struct FaultConnector {
    inner: SharedHttpConnector,
    process: Process,
}

impl HttpConnector for FaultConnector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let target = request.headers().get("x-amz-target").unwrap_or_default();
        let (api, operation) = target.rsplit_once('.').unwrap_or(("", target));
        let service = if api.starts_with("DynamoDB") {
            Service::DynamoDb
        } else if api == "AmazonSQS" {
            Service::Sqs
        } else {
            Service::Other
        };
        let body = request.body().bytes().unwrap_or_default();
        let summary = serde_json::from_slice(body).map_or_else(|_| String::new(), |b| summarise(&b));
        let operation = operation.to_owned();

        let inner = self.inner.clone();
        let send = move || {
            let copy = request.try_clone();
            let inner = inner.clone();
            async move {
                match copy {
                    Some(copy) => inner.call(copy).await,
                    None => Err(ConnectorError::user("a streamed body cannot be sent again".into())),
                }
            }
        };
        let delivered = self.process.deliver(service, &operation, summary, send);
        HttpConnectorFuture::new(async move {
            match delivered.await {
                Ok(answer) => answer,
                Err(lost @ NoAnswer::Lost) => Err(ConnectorError::io(lost.into())),
                // Of no kind that the SDK retries.
                Err(dead @ NoAnswer::Dead) => Err(ConnectorError::other(dead.into(), None)),
            }
        })
    }
}

/// What a request touches, short enough for one line.
fn summarise(body: &Value) -> String {
    if let Some(queue) = body["QueueUrl"].as_str() {
        let queue = queue.rsplit('/').next().unwrap_or(queue);
        let message: String = body["MessageBody"].as_str().unwrap_or_default().chars().take(100).collect();
        return format!("{queue} {message}").trim_end().to_owned();
    }
    if let Some(items) = body["TransactItems"].as_array() {
        let parts: Vec<String> = items
            .iter()
            .filter_map(Value::as_object)
            .flatten()
            .filter_map(|(kind, item)| Some(format!("{kind} {}", key(item)?)))
            .collect();
        return parts.join(", ");
    }
    if let Some(key) = key(body) {
        return key;
    }
    // A query: its index and the values it looks for.
    let index = body["IndexName"].as_str().into_iter().map(str::to_owned);
    let values = body["ExpressionAttributeValues"].as_object().into_iter().flatten();
    let values = values.filter_map(|(name, value)| Some(format!("{name}={}", value["S"].as_str()?)));
    index.chain(values).collect::<Vec<_>>().join(" ")
}

fn key(request: &Value) -> Option<String> {
    let item = request.get("Key").or_else(|| request.get("Item"))?;
    let part = |name: &str| item[name]["S"].as_str();
    match (part("pk"), part("sk")) {
        (Some(pk), Some(sk)) => Some(format!("{pk}/{sk}")),
        (Some(pk), None) => Some(pk.to_owned()),
        _ => None,
    }
}
