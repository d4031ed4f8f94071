//! What is asked: the bodies of requests.

use std::ops::RangeInclusive;

use domain::limits::JobLimits;
use serde_json::{Map, Value, json};

use super::document::reference;
use crate::job_request as asked;

/// The schemas, by name.
pub(super) fn schemas() -> Map<String, Value> {
    let text = json!({"type": "string"});
    let mut schemas = Map::new();
    let mut add = |name: &str, schema: Value| schemas.insert(name.to_owned(), schema);
    add("StartJob", start_job());
    add("ToolName", json!({"type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$"}));
    add(
        "ChatMessage",
        json!({
            "type": "object", "description": "A message in OpenAI's chat-completions form, image and file parts included.",
            "properties": {"role": {"enum": ["system", "developer", "user", "assistant", "tool"]}}, "required": ["role"],
            "additionalProperties": true,
        }),
    );
    add(
        "WorkflowDocument",
        json!({
            "type": "object", "additionalProperties": true,
            "description": "A workflow as the or3 editor writes it: `nodes`, `edges`. `POST /workflows/validate` says what is wrong with one.",
        }),
    );
    add(
        "Answer",
        closed(
            json!({
                "action": {"type": "string", "description": "approve, reject, skip, submit, modify, or the id of one of the options."},
                "data": {"description": "What goes with it: the input, the edited arguments, the result, a new budget, or `{\"reason\"}`."},
            }),
            &["action"],
        ),
    );
    add(
        "Message",
        closed(
            json!({
                "content": {"anyOf": [{"type": "string", "minLength": 1}, {"type": "array", "minItems": 1}]},
            }),
            &["content"],
        ),
    );
    add("Retry", closed(json!({"node_id": text}), &[]));
    schemas
}

fn start_job() -> Value {
    let text = json!({"type": "string"});
    let tool_name = reference("ToolName");
    let approval = json!({"anyOf": [{"enum": ["never", "always"]}, {"type": "object",
        "description": "A JSON schema: calls whose arguments match it need an approval."}]});
    let function = closed(
        json!({
            "name": tool_name, "description": text, "parameters": {"type": "object"}, "strict": {"type": "boolean"},
        }),
        &["name"],
    );
    let tool = json!({"anyOf": [
        tool_name,
        closed(json!({"type": {"const": "function"}, "function": function, "execution": {"const": "client",
            "description": "The job pauses for each call until its caller sends the result."}}), &["type", "function"]),
        closed(json!({"type": {"const": "mcp"}, "server": text, "tools": {"type": "array", "items": text, "minItems": 1}}),
            &["type", "server"]),
    ]});
    let choice = json!({"anyOf": [
        {"enum": ["auto", "none", "required"]},
        {"type": "object", "properties": {"type": {"const": "function"}}, "required": ["type"], "additionalProperties": true},
    ]});
    let usual = JobLimits::default();
    let limits = closed(
        json!({
            "max_turns": usually(usual.max_turns, within(asked::MAX_TURNS)),
            "max_tool_calls_per_turn": usually(usual.max_tool_calls_per_turn, within(asked::MAX_TOOL_CALLS_PER_TURN)),
            "turn_seconds": usually(usual.turn_seconds, within(asked::TURN_SECONDS)),
            "deadline_seconds": usually(usual.deadline_seconds, within(asked::DEADLINE_SECONDS)),
            "queue_seconds": usually(usual.queue_seconds, within(asked::QUEUE_SECONDS)),
            "input_seconds": usually(usual.input_seconds, within(asked::INPUT_SECONDS)),
            "max_total_tokens": within(asked::TOKENS),
            "max_cost_usd": {"type": "number", "minimum": 0},
        }),
        &[],
    );
    let compaction = closed(
        json!({
            "threshold": usually("auto", json!({"anyOf": [{"const": "auto"}, within(asked::TOKENS)]})),
            "preserve_recent": usually(asked::DEFAULT_PRESERVE_RECENT, within(asked::PRESERVE_RECENT)),
            "strategy": usually("summarize", json!({"enum": ["summarize", "truncate"]})),
        }),
        &[],
    );
    let members = json!({
        "input": {"anyOf": [{"type": "string", "minLength": 1}, {"type": "array", "items": reference("ChatMessage"), "minItems": 1}],
            "description": "What is to be done."},
        "instructions": text,
        "model": {"type": "string", "minLength": 1, "maxLength": asked::MODEL_CHARS},
        "model_api_key": {"type": "string", "minLength": 1, "maxLength": asked::KEY_CHARS, "writeOnly": true,
            "description": "The caller's own key for the model; sealed, and never shown again."},
        "tools": {"type": "array", "items": tool, "maxItems": 128},
        "approval": {"type": "object", "additionalProperties": approval,
            "description": "By tool, or `*` for all others: which calls a person has to approve."},
        "tool_choice": choice,
        "parallel_tool_calls": {"type": "boolean"},
        "temperature": {"type": "number", "minimum": 0, "maximum": 2},
        "top_p": {"type": "number", "minimum": 0, "maximum": 1},
        "max_output_tokens": within(asked::TOKENS),
        "reasoning": {"type": "object", "additionalProperties": true},
        "response_format": {"type": "object", "properties": {"type": text}, "required": ["type"], "additionalProperties": true},
        "workflow": reference("WorkflowDocument"),
        "workflow_id": text,
        "workflow_version": within(1..=u32::MAX),
        "thread_id": text,
        "message_id": text,
        "previous_job_id": {"type": "string", "description": "The job whose conversation it goes on from."},
        "limits": limits,
        "compaction": compaction,
        "metadata": {"type": "object", "maxProperties": asked::METADATA_PAIRS,
            "propertyNames": {"minLength": 1, "maxLength": asked::METADATA_KEY_CHARS},
            "additionalProperties": {"type": "string", "maxLength": asked::METADATA_VALUE_CHARS}},
        "retention_seconds": usually(asked::DEFAULT_RETENTION_SECONDS, within(asked::RETENTION_SECONDS)),
    });
    closed(members, &["input"])
}

/// An object whose other members are refused by name.
fn closed(properties: Value, required: &[&str]) -> Value {
    json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false})
}

fn within(range: RangeInclusive<u32>) -> Value {
    json!({"type": "integer", "minimum": range.start(), "maximum": range.end()})
}

/// A schema with what holds where nothing is said.
fn usually(default: impl Into<Value>, mut schema: Value) -> Value {
    schema["default"] = default.into();
    schema
}
