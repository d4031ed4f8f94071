//! The stored form as files: items in DynamoDB's JSON, one after another and sorted, so that a change can be read.

use std::{collections::HashMap, fs, path::PathBuf};

use aws_sdk_dynamodb::{primitives::Blob, types::AttributeValue};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use domain::time::Timestamp;
use engine::Clock as _;
use serde_json::{Map, Value, json};
use tests::world::World;

/// The queues' names.
pub(super) const QUEUES: [&str; 2] = ["starts", "continuations"];
const TABLE: &str = "nightshift";
/// Longer than any lease and any delay: by then every message can be received.
pub(super) const LONG: std::time::Duration = std::time::Duration::from_secs(12 * 3600);

/// All that a release has stored.
#[derive(Debug, Clone)]
pub(super) struct Stored {
    /// When.
    pub(super) at: Timestamp,
    /// The table.
    pub(super) items: Vec<Value>,
    /// The queues' names and the messages in them.
    pub(super) messages: Vec<(String, String)>,
}

/// The forms of which there are fixtures, oldest first.
pub(super) fn kept() -> Vec<String> {
    let entries = fs::read_dir(directory("")).unwrap();
    let mut forms: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    forms.sort_by_key(|form| form[1..].parse::<u32>().unwrap());
    assert!(forms.contains(&super::FORM.to_owned()), "this release has no fixtures: {forms:?}");
    forms
}

fn directory(form: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(form)
}

impl Stored {
    /// What a world has stored. Takes the messages out of its queues.
    pub(super) async fn of(world: &World) -> Self {
        Self { at: world.clock.now(), items: items(world).await, messages: messages(world).await }
    }

    /// The fixtures of this form.
    pub(super) fn read(form: &str) -> Self {
        let read = |file: &str| -> Value {
            let path = directory(form).join(file);
            let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            serde_json::from_str(&text).unwrap()
        };
        let queues = read("queues.json");
        let message = |message: &Value| {
            let text = |name: &str| message[name].as_str().unwrap().to_owned();
            (text("queue"), text("body"))
        };
        Self {
            at: queues["at"].as_str().unwrap().parse().unwrap(),
            items: read("items.json").as_array().unwrap().clone(),
            messages: queues["messages"].as_array().unwrap().iter().map(message).collect(),
        }
    }

    /// Writes them.
    pub(super) fn write(&self, form: &str) {
        let messages: Vec<Value> =
            self.messages.iter().map(|(queue, body)| json!({"queue": queue, "body": body})).collect();
        let queues = json!({"at": self.at.to_string(), "messages": messages});
        let write = |file: &str, value: &Value| {
            fs::write(directory(form).join(file), format!("{}\n", serde_json::to_string_pretty(value).unwrap()))
                .unwrap();
        };
        fs::create_dir_all(directory(form)).unwrap();
        write("items.json", &Value::Array(self.items.clone()));
        write("queues.json", &queues);
    }

    /// Puts them into a fresh world, whose time is then a little later: whoever held a lease is long dead.
    pub(super) async fn put_into(&self, world: &World) {
        let client = world.dynamodb.client();
        for item in &self.items {
            let item = attributes(item.as_object().unwrap());
            client.put_item().table_name(TABLE).set_item(Some(item)).send().await.unwrap();
        }
        for (queue, body) in &self.messages {
            send(world, queue, body).await;
        }
        world.advance(self.at.since(world.clock.now()) + std::time::Duration::from_secs(30));
    }
}

/// Every item of the world's table, sorted.
pub(super) async fn items(world: &World) -> Vec<Value> {
    let client = world.dynamodb.client();
    let mut found = vec![];
    let mut start = None;
    loop {
        let page = client.scan().table_name(TABLE).set_exclusive_start_key(start).send().await.unwrap();
        found.extend(page.items.unwrap_or_default());
        start = page.last_evaluated_key;
        if start.is_none() {
            break;
        }
    }
    let mut items: Vec<Value> = found.iter().map(object).collect();
    let place = |item: &Value| ["pk", "sk"].map(|key| item[key]["S"].as_str().unwrap().to_owned());
    items.sort_by_key(place);
    items
}

/// The messages in the world's queues; takes them out.
pub(super) async fn messages(world: &World) -> Vec<(String, String)> {
    world.sqs.advance(LONG);
    let client = world.sqs.client();
    let mut found = vec![];
    for queue in QUEUES {
        let url = client.get_queue_url().queue_name(queue).send().await.unwrap().queue_url.unwrap();
        loop {
            let received = client.receive_message().queue_url(&url).wait_time_seconds(0).send().await.unwrap();
            let Some(message) = received.messages.unwrap_or_default().pop() else { break };
            client
                .delete_message()
                .queue_url(&url)
                .receipt_handle(message.receipt_handle.unwrap())
                .send()
                .await
                .unwrap();
            found.push((queue.to_owned(), message.body.unwrap()));
        }
    }
    found.sort();
    found
}

/// Puts a message into one of the world's queues.
pub(super) async fn send(world: &World, queue: &str, body: &str) {
    let client = world.sqs.client();
    let url = client.get_queue_url().queue_name(queue).send().await.unwrap().queue_url.unwrap();
    client.send_message().queue_url(url).message_body(body).send().await.unwrap();
}

fn object(item: &HashMap<String, AttributeValue>) -> Value {
    Value::Object(item.iter().map(|(name, value)| (name.clone(), written(value))).collect())
}

/// An attribute in DynamoDB's JSON.
fn written(value: &AttributeValue) -> Value {
    match value {
        AttributeValue::S(text) => json!({"S": text}),
        AttributeValue::N(number) => json!({"N": number}),
        AttributeValue::Bool(is) => json!({"BOOL": is}),
        AttributeValue::Null(_) => json!({"NULL": true}),
        AttributeValue::B(bytes) => json!({"B": BASE64_STANDARD.encode(bytes)}),
        AttributeValue::Ss(set) => {
            let mut set = set.clone();
            set.sort();
            json!({"SS": set})
        }
        AttributeValue::M(map) => json!({"M": object(map)}),
        AttributeValue::L(list) => json!({"L": list.iter().map(written).collect::<Vec<_>>()}),
        other => panic!("nothing stores {other:?} so far"),
    }
}

fn attributes(item: &Map<String, Value>) -> HashMap<String, AttributeValue> {
    item.iter().map(|(name, value)| (name.clone(), read(value))).collect()
}

fn read(value: &Value) -> AttributeValue {
    let (kind, value) = value.as_object().unwrap().iter().next().unwrap();
    let text = || value.as_str().unwrap().to_owned();
    match kind.as_str() {
        "S" => AttributeValue::S(text()),
        "N" => AttributeValue::N(text()),
        "BOOL" => AttributeValue::Bool(value.as_bool().unwrap()),
        "NULL" => AttributeValue::Null(true),
        "B" => AttributeValue::B(Blob::new(BASE64_STANDARD.decode(text()).unwrap())),
        "SS" => {
            let set = value.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned());
            AttributeValue::Ss(set.collect())
        }
        "M" => AttributeValue::M(attributes(value.as_object().unwrap())),
        "L" => AttributeValue::L(value.as_array().unwrap().iter().map(read).collect()),
        other => panic!("{other}"),
    }
}
