//! The document, made from the code. Its parts: what is asked, what is answered, and here the routes.

use serde_json::{Map, Value, json};

use super::{answers, requests};
use crate::{page, paths};

/// The whole document.
pub(super) fn document() -> Value {
    let mut schemas = Map::new();
    schemas.extend(requests::schemas());
    schemas.extend(answers::schemas());
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Nightshift",
            "version": env!("CARGO_PKG_VERSION"),
            "license": {"name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0"},
            "description": "Durable jobs of AI agents: start one, leave, come back, and see everything that happened. \
                Every job is its user's alone: to everybody else it answers 404.",
        },
        "security": [{"user": []}],
        "paths": paths(),
        "components": {
            "securitySchemes": {
                "user": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT", "description":
                    "A token of the deployment's issuer; its `sub` is the user. The local system wants none."},
                "stream": {"type": "apiKey", "in": "query", "name": "token", "description":
                    "The token in a job's `stream_url`: of one job and one user, good for 15 minutes."},
            },
            "parameters": {
                "Job": path_parameter("id", "The job's id.", json!({"type": "string"})),
                "IdempotencyKey": header_parameter("Idempotency-Key", "The same key with the same body is the same \
                    request.", idempotency_key()),
                "StartedKey": required(header_parameter("Idempotency-Key", "That of the start that is to be cancelled.",
                    idempotency_key())),
                "After": query_parameter("after", "The number of the last event that was seen. The header \
                    `Last-Event-ID` says the same.", json!({"type": "integer", "minimum": 0, "default": 0})),
            },
            "responses": failures(),
            "schemas": schemas,
        },
    })
}

fn paths() -> Value {
    let job = json!([{"$ref": "#/components/parameters/Job"}]);
    let mut paths = Map::new();
    let mut add = |path: &str, operations: Value| {
        paths.insert(path.to_owned(), operations);
    };
    add(
        paths::JOBS,
        json!({
            "post": {
                "operationId": "startJob",
                "summary": "Start a job",
                "parameters": [{"$ref": "#/components/parameters/IdempotencyKey"}],
                "requestBody": body("StartJob"),
                "responses": answers(&[("200", "Job", "The job that this key started before."), ("202", "Job", "The job, accepted.")],
                    &["400", "401", "404", "409", "413", "422", "429", "500", "503"]),
            },
            "get": {
                "operationId": "listJobs",
                "summary": "Jobs, newest first",
                "parameters": [
                    query_parameter("thread_id", "Of this thread.", json!({"type": "string"})),
                    query_parameter("message_id", "That answer this message.", json!({"type": "string"})),
                    query_parameter("status", "Of this status.", reference("JobStatus")),
                    query_parameter("limit", "How many.", json!({"type": "integer", "minimum": 1,
                        "maximum": page::LARGEST_LIMIT, "default": page::DEFAULT_LIMIT})),
                    query_parameter("page", "The last page's `next_page`.", json!({"type": "string"})),
                ],
                "responses": answers(&[("200", "Jobs", "A page of them.")], &["400", "401", "500", "503"]),
            },
        }),
    );
    add(
        paths::JOB,
        json!({
            "parameters": job,
            "get": of_job("readJob", "A job with its text so far", &[("200", "Job", "The job.")]),
            "delete": {
                "operationId": "deleteJob",
                "summary": "Delete a job; one at work is cancelled first",
                "responses": answers(&[("204", "", "It is gone.")], &["401", "404", "409", "500", "503"]),
            },
        }),
    );
    add(
        paths::JOB_EVENTS,
        json!({
            "parameters": job,
            "get": {
                "operationId": "listEvents",
                "summary": "A job's log, for those who poll",
                "parameters": [
                    {"$ref": "#/components/parameters/After"},
                    query_parameter("limit", "How many.", json!({"type": "integer", "minimum": 0, "maximum": 1000, "default": 100})),
                    query_parameter("wait", "Seconds that the answer may be held back until something is new.",
                        json!({"type": "integer", "minimum": 0, "maximum": 20, "default": 0})),
                ],
                "responses": answers(&[("200", "Events", "The events after the cursor.")], &["400", "401", "404", "500", "503"]),
            },
        }),
    );
    add(
        paths::JOB_STREAM,
        json!({
            "parameters": job,
            "get": {
                "operationId": "followJob",
                "summary": "A job's log as server-sent events, as they are written",
                "description": "At the job's `stream_url`. Each frame's `id` is an event's number, its `event` the type, its \
                    `data` the event as JSON; neighbouring text is merged, and has the last one's number. After the job's last \
                    event comes `event: done`. Any other end means: come back with the cursor.",
                "security": [{"stream": []}],
                "parameters": [{"$ref": "#/components/parameters/After"}],
                "responses": {
                    "200": {"description": "The stream.", "content": {"text/event-stream": {"schema": {"type": "string"}}}},
                    "204": {"description": "Nothing comes after this cursor: the job is over."},
                    "400": failure("400"), "401": failure("401"), "404": failure("404"), "500": failure("500"), "503": failure("503"),
                },
            },
        }),
    );
    add(
        paths::TOOL_CALL,
        json!({
            "parameters": [{"$ref": "#/components/parameters/Job"},
                path_parameter("call_id", "The call's id.", json!({"type": "string"}))],
            "get": of_job("readToolCall", "A call with its whole result", &[("200", "ToolCall", "The call.")]),
        }),
    );
    add(
        paths::CANCEL,
        json!({
            "parameters": job,
            "post": of_job("cancelJob", "Cancel a job; harmless when it is over", &[("200", "Job", "The job.")]),
        }),
    );
    add(
        paths::CANCEL_KEY,
        json!({
            "post": {
                "operationId": "cancelStart",
                "summary": "Cancel what was started under a key, or keep it from being started for ten minutes",
                "parameters": [{"$ref": "#/components/parameters/StartedKey"}],
                "responses": answers(
                    &[("200", "Job", "The job that was started under it."), ("202", "Cancellation", "Nothing was, and nothing will be.")],
                    &["400", "401", "404", "500", "503"],
                ),
            },
        }),
    );
    add(
        paths::INPUT_REQUEST,
        json!({
            "parameters": [{"$ref": "#/components/parameters/Job"},
                path_parameter("request_id", "The question's id.", json!({"type": "string"}))],
            "post": {
                "operationId": "answerInputRequest",
                "summary": "Answer what a job asks",
                "requestBody": body("Answer"),
                "responses": answers(&[("200", "Job", "The job.")], &["400", "401", "404", "409", "413", "422", "500", "503"]),
            },
        }),
    );
    add(
        paths::MESSAGES,
        json!({
            "parameters": job,
            "post": {
                "operationId": "postMessage",
                "summary": "Say something to a running job; its next turn hears it",
                "parameters": [{"$ref": "#/components/parameters/IdempotencyKey"}],
                "requestBody": body("Message"),
                "responses": answers(&[("202", "", "It will be taken in.")],
                    &["400", "401", "404", "409", "413", "422", "500", "503"]),
            },
        }),
    );
    add(
        paths::RETRY,
        json!({
            "parameters": job,
            "post": {
                "operationId": "retryJob",
                "summary": "A new job from where this one failed, or from a node; everything before it is kept",
                "parameters": [{"$ref": "#/components/parameters/IdempotencyKey"}],
                "requestBody": {"required": false, "content": {"application/json": {"schema": reference("Retry")}}},
                "responses": answers(&[("200", "Job", "The job that this key started before."), ("202", "Job", "The new job.")],
                    &["400", "401", "404", "409", "413", "422", "429", "500", "503"]),
            },
        }),
    );
    add(
        paths::STREAM_TOKEN,
        json!({
            "parameters": job,
            "post": of_job("renewStreamToken", "A fresh address of the stream", &[("200", "StreamToken", "The address.")]),
        }),
    );
    add(
        paths::WORKFLOWS,
        json!({
            "get": {
                "operationId": "listWorkflows",
                "summary": "The user's workflows, without their documents",
                "responses": answers(&[("200", "Workflows", "They, by id.")], &["401", "500", "503"]),
            },
        }),
    );
    add(
        paths::VALIDATE_WORKFLOW,
        json!({
            "post": {
                "operationId": "validateWorkflow",
                "summary": "Check a workflow without storing it",
                "requestBody": body("WorkflowDocument"),
                "responses": answers(&[("200", "Validation", "What was found.")], &["400", "401", "413", "500", "503"]),
            },
        }),
    );
    add(
        paths::WORKFLOW,
        json!({
            "parameters": [path_parameter("id", "The user's name for it.", json!({"type": "string", "maxLength": 128}))],
            "get": of_job("readWorkflow", "A workflow", &[("200", "Workflow", "The workflow.")]),
            "put": {
                "operationId": "storeWorkflow",
                "summary": "Store a workflow; its version rises",
                "requestBody": body("WorkflowDocument"),
                "responses": answers(&[("200", "Workflow", "The workflow.")], &["400", "401", "409", "413", "500", "503"]),
            },
            "delete": of_job("deleteWorkflow", "Delete a workflow; jobs keep the version that they run", &[("204", "", "It is gone.")]),
        }),
    );
    add(
        paths::TOOLS,
        json!({
            "get": {
                "operationId": "listTools",
                "summary": "The registered tools, with their schemas",
                "responses": answers(&[("200", "Tools", "They, by name.")], &["401", "500"]),
            },
        }),
    );
    add(
        paths::OPENAPI,
        json!({
            "get": {
                "operationId": "describe",
                "summary": "This document",
                "security": [],
                "responses": {"200": {"description": "It.", "content": {"application/json": {"schema": {"type": "object"}}}}},
            },
        }),
    );
    let text = json!({"type": "string"});
    let health = json!({"type": "object", "properties": {"status": {"const": "ok"}, "service": text, "version": text},
        "required": ["status", "service", "version"]});
    add(
        paths::HEALTH,
        json!({
            "get": {
                "operationId": "health",
                "summary": "Whether the process lives (local system)",
                "security": [],
                "responses": {"200": {"description": "It does.", "content": {"application/json": {"schema": health}}}},
            },
        }),
    );
    add(
        paths::METRICS,
        json!({
            "get": {
                "operationId": "metrics",
                "summary": "Counters in Prometheus' text form (local system)",
                "security": [],
                "responses": {"200": {"description": "The counters.", "content": {"text/plain": {"schema": text}}}},
            },
        }),
    );
    Value::Object(paths)
}

/// An operation that only names what it is about.
fn of_job(operation: &str, summary: &str, good: &[(&str, &str, &str)]) -> Value {
    json!({
        "operationId": operation,
        "summary": summary,
        "responses": answers(good, &["401", "404", "500", "503"]),
    })
}

/// Answers that are good (status, schema, words), and the statuses of those that are not.
fn answers(good: &[(&str, &str, &str)], bad: &[&str]) -> Value {
    let mut answers = Map::new();
    for (status, schema, words) in good {
        let mut answer = json!({"description": words});
        if !schema.is_empty() {
            answer["content"] = json!({"application/json": {"schema": reference(schema)}});
        }
        answers.insert((*status).to_owned(), answer);
    }
    answers.extend(bad.iter().map(|status| ((*status).to_owned(), failure(status))));
    Value::Object(answers)
}

const FAILURES: [(&str, &str); 10] = [
    ("400", "Something is wrong with the request; `details` has every finding."),
    ("401", "Nobody is signed in, or the stream's token is not good (any more)."),
    ("404", "There is no such thing, or it is somebody else's."),
    ("405", "The route has other methods."),
    ("409", "It cannot be done as things are."),
    ("413", "It is too large."),
    ("422", "It was understood and does not fit."),
    ("429", "Too many jobs at work; `Retry-After` says when to come back."),
    ("500", "A mistake of ours; the log has the request's id."),
    ("503", "Not at the moment: the table does not answer, or jobs are paused."),
];

fn failures() -> Value {
    let one = |(status, words): &(&str, &str)| {
        let mut answer = json!({"description": words, "content": {"application/json": {"schema": reference("Error")}}});
        if matches!(*status, "429" | "503") {
            let seconds = json!({"description": "Seconds.", "schema": {"type": "integer"}});
            answer["headers"] = json!({"Retry-After": seconds});
        }
        ((*status).to_owned(), answer)
    };
    Value::Object(FAILURES.iter().map(one).collect())
}

fn failure(status: &str) -> Value {
    json!({"$ref": format!("#/components/responses/{status}")})
}

fn body(schema: &str) -> Value {
    json!({"required": true, "content": {"application/json": {"schema": reference(schema)}}})
}

/// A reference to a schema of the document.
pub(super) fn reference(schema: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{schema}")})
}

fn path_parameter(name: &str, words: &str, schema: Value) -> Value {
    json!({"name": name, "in": "path", "required": true, "description": words, "schema": schema})
}

fn query_parameter(name: &str, words: &str, schema: Value) -> Value {
    json!({"name": name, "in": "query", "description": words, "schema": schema})
}

fn header_parameter(name: &str, words: &str, schema: Value) -> Value {
    json!({"name": name, "in": "header", "description": words, "schema": schema})
}

fn idempotency_key() -> Value {
    json!({"type": "string", "minLength": 1, "maxLength": 255})
}

/// The parameter as one that may not be left out.
fn required(mut parameter: Value) -> Value {
    parameter["required"] = true.into();
    parameter
}
