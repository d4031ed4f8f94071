//! The network between the system's processes and the table and queues, at the SDK's HTTP-client seam.
//!
//! A request takes its time, is lost, doubled, late, answered from the past or by an error, as the seed has it. When it
//! arrives, it is carried out at once and whole: the table's thread is waited for with everything else standing still, so
//! that no scheduler but ours has a say.

use std::{
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
    thread::{self, Thread},
    time::Duration,
};

use aws_smithy_runtime_api::{
    client::{
        http::{
            HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
            SharedHttpConnector,
        },
        orchestrator::{HttpRequest, HttpResponse},
        result::ConnectorError,
        runtime_components::RuntimeComponents,
    },
    http::StatusCode,
};
use aws_smithy_types::body::SdkBody;
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use local::emulator::fault::{NoAnswer, Process, Service};
use serde_json::{Value, json};
use tokio::{sync::oneshot, time::sleep};

use super::{Sim, weather::Trouble};

/// A request as it goes over the wire.
#[derive(Debug, Clone)]
pub(super) struct Call {
    pub(super) process: String,
    pub(super) target: String,
    pub(super) body: Value,
}

/// An answer as it comes back.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: String,
}

/// The connection broke.
#[derive(Debug, Clone, Copy)]
pub(super) struct Broken;

impl Call {
    pub(super) fn operation(&self) -> &str {
        self.target.rsplit('.').next().unwrap_or_default()
    }

    pub(super) fn is_for_queue(&self) -> bool {
        self.target.starts_with("AmazonSQS")
    }

    pub(super) fn is_write(&self) -> bool {
        matches!(self.operation(), "PutItem" | "UpdateItem" | "TransactWriteItems")
    }

    /// The writes of a request, each with its kind.
    pub(super) fn writes(&self) -> Vec<(&str, &Value)> {
        match self.operation() {
            "PutItem" => vec![("Put", &self.body)],
            "UpdateItem" => vec![("Update", &self.body)],
            "TransactWriteItems" => {
                let items = self.body["TransactItems"].as_array().into_iter().flatten();
                items.filter_map(Value::as_object).flatten().map(|(kind, write)| (kind.as_str(), write)).collect()
            }
            _ => vec![],
        }
    }

    /// The lane that this claims for an owner: nothing else writes a lease.
    pub(super) fn claimed(&self, owner: &str) -> Option<&str> {
        let claims = |write: &Value| {
            let values = write["ExpressionAttributeValues"].as_object();
            values.is_some_and(|values| values.values().any(|value| owner_of(value) == Some(owner)))
        };
        self.writes().into_iter().find(|(_, write)| claims(write)).map(|(_, write)| sort_of(write))
    }

    /// For one line of a trace; the same for the same request, in whatever order its maps are.
    pub(super) fn summary(&self) -> String {
        if let Some(queue) = self.body["QueueUrl"].as_str() {
            let queue = queue.rsplit('/').next().unwrap_or(queue);
            return format!("{queue} {}", self.body["MessageBody"].as_str().unwrap_or_default());
        }
        let writes = self.writes();
        if !writes.is_empty() {
            let parts: Vec<String> = writes.iter().map(|(kind, write)| format!("{kind} {}", sort_of(write))).collect();
            return parts.join(", ");
        }
        if self.body.get("Key").is_some() {
            return sort_of(&self.body).to_owned();
        }
        let values = self.body["ExpressionAttributeValues"].as_object().into_iter().flatten();
        let mut values: Vec<String> =
            values.filter_map(|(name, value)| Some(format!("{name}={}", value["S"].as_str()?))).collect();
        values.sort();
        values.join(" ")
    }
}

/// The range key of what a write writes, or a read reads.
pub(super) fn sort_of(write: &Value) -> &str {
    key_part(write, "sk")
}

/// The partition.
pub(super) fn partition_of(write: &Value) -> &str {
    key_part(write, "pk")
}

/// Whose a lease is.
pub(super) fn owner_of(lease: &Value) -> Option<&str> {
    lease["M"]["owner"]["S"].as_str()
}

fn key_part<'a>(write: &'a Value, part: &str) -> &'a str {
    let item = write.get("Key").or_else(|| write.get("Item")).unwrap_or(write);
    item[part]["S"].as_str().unwrap_or_default()
}

impl Answer {
    pub(super) fn json(status: u16, body: &Value) -> Self {
        Self { status, body: body.to_string() }
    }

    pub(super) fn value(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }

    /// Whether it refuses a request for what is in it, and not for what is in the table.
    pub(super) fn is_of_malformed(&self) -> bool {
        let value = self.value();
        let mut reasons = value["CancellationReasons"].as_array().into_iter().flatten();
        value["__type"].as_str().is_some_and(|kind| kind.ends_with("ValidationException"))
            || reasons.any(|reason| reason["Code"] == "ValidationError")
    }

    /// The items that it tells of, those that refused a write among them.
    pub(super) fn items(&self) -> Vec<Value> {
        let value = self.value();
        let many = value["Items"].as_array().into_iter().flatten();
        let refusing = value["CancellationReasons"].as_array().into_iter().flatten().map(|reason| &reason["Item"]);
        many.chain(refusing).chain([&value["Item"]]).filter(|item| item.is_object()).cloned().collect()
    }

    fn into_response(self) -> Result<HttpResponse, ConnectorError> {
        let status = StatusCode::try_from(self.status).map_err(|error| ConnectorError::other(error.into(), None))?;
        Ok(HttpResponse::new(status, self.body.into()))
    }
}

/// A process's way to the table and the queues; without a process: the eyes of the test, for which nothing goes wrong.
#[derive(Debug, Clone)]
pub(super) struct Wire {
    sim: Sim,
    process: Option<Process>,
}

impl Wire {
    pub(super) fn client(sim: &Sim, process: Option<&Process>) -> SharedHttpClient {
        SharedHttpClient::new(Self { sim: sim.clone(), process: process.cloned() })
    }
}

impl HttpClient for Wire {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for Wire {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let target = request.headers().get("x-amz-target").unwrap_or_default().to_owned();
        let body = serde_json::from_slice(request.body().bytes().unwrap_or_default()).unwrap_or_default();
        let Some(process) = self.process.clone() else {
            let call = Call { process: String::new(), target, body };
            return HttpConnectorFuture::ready(self.sim.table().ask(&call).into_response());
        };
        let mut call = Call { process: process.name().to_owned(), target, body };
        self.sim.mutate(&mut call);
        let service = if call.is_for_queue() { Service::Sqs } else { Service::DynamoDb };
        let (operation, summary) = (call.operation().to_owned(), call.summary());
        let (sim, on_wire) = (self.sim.clone(), process.clone());
        let send = move || travel(sim.clone(), on_wire.clone(), call.clone());
        let delivered = process.deliver(service, &operation, summary, send);
        HttpConnectorFuture::new(async move {
            match delivered.await {
                Ok(Ok(answer)) => answer.into_response(),
                Ok(Err(Broken)) | Err(NoAnswer::Lost) => Err(ConnectorError::io(NoAnswer::Lost.into())),
                Err(dead @ NoAnswer::Dead) => Err(ConnectorError::other(dead.into(), None)),
            }
        })
    }
}

/// A request's way there and back.
async fn travel(sim: Sim, process: Process, call: Call) -> Result<Answer, Broken> {
    let fate = sim.fate(&call);
    if fate.trouble == Some(Trouble::DieBefore) {
        process.kill();
        return std::future::pending().await;
    }
    if fate.trouble == Some(Trouble::PauseBefore) {
        sim.fall_asleep(&call.process, fate.span);
    }
    let (came_back, answer) = oneshot::channel();
    // What has left is on the network, whatever becomes of its sender.
    let network = sim.clone();
    sim.travels(async move {
        let sim = network;
        sleep(fate.there).await;
        let answer = match fate.trouble {
            Some(Trouble::LoseRequest | Trouble::LoseRequests) => Err(Broken),
            Some(Trouble::Conflict) if call.operation() == "TransactWriteItems" => Ok(conflict(&call)),
            Some(Trouble::Refuse | Trouble::Conflict) => Ok(refusal()),
            Some(Trouble::Twice) => {
                sim.arrive(&call, false);
                Ok(sim.arrive(&call, fate.is_stale))
            }
            Some(Trouble::LoseAnswer | Trouble::LoseAnswers) => {
                sim.arrive(&call, false);
                Err(Broken)
            }
            _ => Ok(sim.arrive(&call, fate.is_stale)),
        };
        match fate.trouble {
            Some(Trouble::DieAfter) => process.kill(),
            Some(Trouble::Pause) => sim.fall_asleep(&call.process, fate.span),
            Some(Trouble::CopyLate) => {
                let (network, copy) = (sim.clone(), call.clone());
                sim.travels(async move {
                    sleep(fate.span).await;
                    network.note(&format!("a copy of {}'s {} {}", copy.process, copy.operation(), copy.summary()));
                    network.arrive(&copy, false);
                });
            }
            _ => {}
        }
        sleep(fate.back).await;
        if let Ok(answer) = &answer {
            sim.answered(&call, answer);
        }
        // Nobody may be there any more.
        let _ = came_back.send(answer);
    });
    answer.await.unwrap_or(Err(Broken))
}

fn refusal() -> Answer {
    Answer::json(500, &json!({"__type": "com.amazonaws.dynamodb.v20120810#InternalServerError", "message": "weather"}))
}

fn conflict(call: &Call) -> Answer {
    let reasons: Vec<Value> =
        call.writes().iter().map(|_| json!({"Code": "TransactionConflict", "Message": "weather"})).collect();
    let kind = "com.amazonaws.dynamodb.v20120810#TransactionCanceledException";
    Answer::json(400, &json!({"__type": kind, "message": "[TransactionConflict]", "CancellationReasons": reasons}))
}

/// The table, asked with everything else standing still.
#[derive(Debug, Clone)]
pub(super) struct Table(pub(super) SharedHttpConnector);

impl Table {
    pub(super) fn ask(&self, call: &Call) -> Answer {
        let mut request = HttpRequest::new(SdkBody::from(call.body.to_string()));
        request.headers_mut().insert("x-amz-target", call.target.clone());
        let answer = wait_for(self.0.call(request)).expect("the table answers");
        let body = String::from_utf8_lossy(answer.body().bytes().unwrap_or_default()).into_owned();
        Answer { status: answer.status().as_u16(), body }
    }

    /// An item as it is.
    pub(super) fn item(&self, pk: &str, sk: &str) -> Option<Value> {
        let key = json!({"pk": {"S": pk}, "sk": {"S": sk}});
        let body = json!({"TableName": "nightshift", "Key": key, "ConsistentRead": true});
        let answer = self.ask(&Call { process: String::new(), target: "DynamoDB_20120810.GetItem".to_owned(), body });
        answer.value().get("Item").cloned()
    }

    /// The items of a job between these.
    pub(super) fn items(&self, pk: &str, from: &str, to: &str) -> Vec<Value> {
        let body = json!({
            "TableName": "nightshift",
            "KeyConditionExpression": "pk = :pk AND sk BETWEEN :from AND :to",
            "ExpressionAttributeValues": {":pk": {"S": pk}, ":from": {"S": from}, ":to": {"S": to}},
            "ConsistentRead": true,
        });
        let answer = self.ask(&Call { process: String::new(), target: "DynamoDB_20120810.Query".to_owned(), body });
        answer.value()["Items"].as_array().cloned().unwrap_or_default()
    }

    /// A job's events as they are: number and type.
    pub(super) fn events(&self, pk: &str) -> Vec<(u64, Value)> {
        let events = self.items(pk, "event#", "event#~").into_iter().flat_map(|item| {
            let first = sort_of(&item).strip_prefix("event#").and_then(|number| number.parse().ok()).unwrap_or(0);
            (first..).zip(bodies(&item).into_iter().map(|body| body["type"].clone()))
        });
        events.collect()
    }

    /// Their numbers.
    pub(super) fn event_numbers(&self, pk: &str) -> Vec<u64> {
        self.events(pk).into_iter().map(|(number, _)| number).collect()
    }
}

/// The events in an item: one as it is, or several packed.
fn bodies(item: &Value) -> Vec<Value> {
    let parsed: Value = match (item["d"]["S"].as_str(), item["z"]["B"].as_str()) {
        (Some(json), _) => serde_json::from_str(json).unwrap(),
        (None, Some(packed)) => {
            let packed = BASE64.decode(packed).unwrap();
            serde_json::from_reader(flate2::read::ZlibDecoder::new(packed.as_slice())).unwrap()
        }
        (None, None) => panic!("an item without an event: {item}"),
    };
    match parsed {
        Value::Array(entries) => entries.into_iter().map(|mut entry| entry["d"].take()).collect(),
        body => vec![body],
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits on this very thread.
fn wait_for<T>(future: impl Future<Output = T>) -> T {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(value) => return value,
            Poll::Pending => thread::park_timeout(Duration::from_secs(1)),
        }
    }
}
