//! What is answered. A member that is not `required` may be absent; what may be null says so.

use domain::{
    input_request::{Action, InputKind},
    job::{FailedDuring, FinishReason, JobKind, Status},
    limits::{ANSWER_BYTES, EVENT_OUTPUT_BYTES, JOB_OUTPUT_BYTES, RESULT_VIEW_BYTES},
    tool_call::{ToolCallStatus, ToolErrorPhase},
    workflow::NodeStatus,
};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::document::reference;

/// The schemas, by name.
pub(super) fn schemas() -> Map<String, Value> {
    let mut schemas = vec![
        ("JobStatus", words(&Status::ALL)),
        ("FinishReason", finish_reasons()),
        ("Time", json!({"type": "string", "format": "date-time", "description": "RFC 3339, in UTC."})),
        ("Usage", usage()),
        ("Metrics", metrics()),
        ("JobError", job_error()),
        ("Job", job()),
        ("JobSummary", object(summary(), SUMMARY_OPTIONAL)),
        ("Jobs", list("JobSummary", json!({"next_page": {"type": ["string", "null"]}}))),
        ("ToolCall", object(tool_call(), TOOL_CALL_OPTIONAL)),
        ("InputRequest", object(input_request(), INPUT_REQUEST_OPTIONAL)),
        ("WorkflowRun", workflow_run()),
        ("NodeError", node_error()),
        (
            "WorkflowFinding",
            object(
                json!({
                    "code": text("In the words of the workflow format."), "node_id": text("At which node."),
                    "message": text("What it is, and what to do."),
                }),
                &["node_id"],
            ),
        ),
        ("Event", event()),
        (
            "Events",
            list(
                "Event",
                json!({"last_event": count("The cursor for the next request."), "status": reference("JobStatus")}),
            ),
        ),
        (
            "StreamToken",
            object(json!({"stream_url": text("The address, its token included."), "expires_at": time()}), &[]),
        ),
        ("Cancellation", object(json!({"object": {"const": "cancellation"}, "expires_at": time()}), &[])),
        ("Tools", list("Tool", json!({}))),
        (
            "Tool",
            object(
                json!({
                    "name": text("The name that jobs use it by."), "description": text("What it does."),
                    "parameters": {"type": "object", "description": "The JSON schema of its arguments."},
                    "enabled": {"type": "boolean", "description": "Calls of one that is off are skipped."},
                }),
                &[],
            ),
        ),
        ("Workflows", list("Workflow", json!({}))),
        (
            "Workflow",
            object(
                json!({
                    "id": text("The user's name for it."), "object": {"const": "workflow"},
                    "version": count("Rises with every change, from 1."), "name": text("The document's name."),
                    "created_at": time(), "updated_at": time(),
                    "document": described(reference("WorkflowDocument"), "Left out in lists."),
                    "warnings": array("WorkflowFinding"),
                }),
                &["document", "warnings"],
            ),
        ),
        (
            "Validation",
            object(
                json!({
                    "valid": {"type": "boolean"}, "findings": array("WorkflowFinding"), "warnings": array("WorkflowFinding"),
                }),
                &[],
            ),
        ),
        ("Error", object(json!({"error": error()}), &[])),
    ];
    schemas.drain(..).map(|(name, schema)| (name.to_owned(), schema)).collect()
}

const SUMMARY_OPTIONAL: &[&str] = &[];
const TOOL_CALL_OPTIONAL: &[&str] = &[
    "node_id",
    "fingerprint",
    "attempts",
    "outcome",
    "edited_arguments",
    "result",
    "result_truncated",
    "error",
    "started_at",
    "finished_at",
    "duration_ms",
];
const INPUT_REQUEST_OPTIONAL: &[&str] = &["node_id", "tool_call", "input_schema", "default_data", "answer"];

fn finish_reasons() -> Value {
    use FinishReason as R;
    words(&[
        R::Stop,
        R::Length,
        R::ToolCalls,
        R::ToolLimit,
        R::Deadline,
        R::QueueTimeout,
        R::Budget,
        R::Cancelled,
        R::Rejected,
        R::Error,
    ])
}

fn usage() -> Value {
    object(
        json!({
            "input_tokens": count("Tokens of the prompts."),
            "output_tokens": count("Tokens that the model wrote, reasoning included."),
            "reasoning_tokens": count("Of the output, tokens of reasoning."),
            "cached_tokens": count("Of the input, tokens that the provider had cached."),
            "cost_usd": {"type": "number", "description": "US dollars; 0 when nobody knows."},
        }),
        &[],
    )
}

fn metrics() -> Value {
    object(
        json!({
            "total_turns": count("Turns that ended."),
            "tool_call_count": count("Tool calls."),
            "tool_execution_time_ms": count("Milliseconds in tools, summed over calls."),
            "model_time_ms": count("Milliseconds in model calls."),
            "queue_time_ms": count("Milliseconds from the start request to the first turn."),
            "overhead_ms": count("Milliseconds that were none of these, pauses left out."),
            "recoveries": count("Turns that were taken over from a worker that died."),
            "requests": count("Requests to the table and the queues that its start and its turns made."),
        }),
        &[],
    )
}

fn job_error() -> Value {
    use FailedDuring as D;
    object(
        json!({
            "code": text("A stable word for programs."),
            "message": text("A sentence for people."),
            "failed_during": words(&[D::Queue, D::ModelCall, D::ToolExecution, D::Turn]),
            "tool_name": text("The tool, if one was at fault."),
            "node_id": text("The workflow's node, if in one."),
            "turn": count("The turn; 0 before the first."),
        }),
        &["tool_name", "node_id"],
    )
}

fn summary() -> Value {
    json!({
        "id": text("Its id."),
        "object": {"const": "job"},
        "kind": words(&[JobKind::Chat, JobKind::Workflow]),
        "status": reference("JobStatus"),
        "created_at": time(),
        "started_at": or_null(time()),
        "finished_at": or_null(time()),
        "deadline_at": described(or_null(time()), "Null while that clock does not run."),
        "expires_at": described(time(), "When it ceases to be kept."),
        "user_id": text("Whose it is."),
        "thread_id": {"type": ["string", "null"]},
        "message_id": {"type": ["string", "null"]},
        "title": text("What it is about: the `title` of its metadata, or the first line of what was asked, to 100 characters."),
        "model": text("The model that it asks."),
        "usage": reference("Usage"),
        "metrics": reference("Metrics"),
        "finish_reason": or_null(reference("FinishReason")),
        "error": or_null(reference("JobError")),
    })
}

fn job() -> Value {
    let more = json!({
        "output": text(&format!("Its text so far, or all of it, to {JOB_OUTPUT_BYTES} bytes.")),
        "output_truncated": {"type": "boolean"},
        "turn": count("The turn under way, or the last."),
        "attempt": count("The attempt at it."),
        "last_event": count("The number of its last event: a cursor to follow it from here."),
        "tool_calls": array("ToolCall"),
        "input_requests": array("InputRequest"),
        "shortened": {"type": "boolean", "description": format!(
            "Whether texts of calls, nodes and answered questions are cut, or the oldest left out, since the answer would have \
             more than {ANSWER_BYTES} bytes. A call that is asked for alone is whole."
        )},
        "workflow": reference("WorkflowRun"),
        "stream_url": text("Where its events can be followed, for 15 minutes."),
        "metadata": {"type": "object", "additionalProperties": {"type": "string"}},
    });
    object(joined(summary(), more), &["output_truncated", "shortened", "workflow", "stream_url"])
}

fn tool_call() -> Value {
    use ToolCallStatus as S;
    use ToolErrorPhase as P;
    json!({
        "id": text("Its id."),
        "lane": text("In which lane of the job."),
        "turn": count("In which turn."),
        "node_id": text("The workflow's node, if in one."),
        "name": text("The tool."),
        "arguments": text("As the model wrote them; empty while it does."),
        "status": words(&[S::Pending, S::Running, S::Completed, S::Error, S::Skipped, S::Unknown]),
        "fingerprint": text("Of name and arguments: equal for calls that ask for the same thing."),
        "attempts": count("How often it was started."),
        "outcome": {"enum": ["done", "failed", "timed_out", "denied", "skipped", "unknown"]},
        "edited_arguments": text("Those that a person put in place of the model's."),
        "result": text(&format!("To {RESULT_VIEW_BYTES} bytes, but where the call alone is asked for.")),
        "result_truncated": {"type": "boolean"},
        "error": object(json!({
            "phase": words(&[P::Validation, P::Execution, P::Timeout]), "message": text("What happened."),
        }), &["phase"]),
        "started_at": time(),
        "finished_at": time(),
        "duration_ms": count("Milliseconds between."),
    })
}

fn actions() -> Value {
    words(&[Action::Approve, Action::Reject, Action::Skip, Action::Submit, Action::Modify])
}

fn input_request() -> Value {
    use InputKind as K;
    json!({
        "id": text("Its id."),
        "kind": words(&[K::Approval, K::Input, K::Review, K::ClientTool, K::Budget, K::ToolLimit]),
        "lane": text("The lane that waits."),
        "turn": count("In which of its turns."),
        "node_id": text("The workflow's node, if in one."),
        "tool_call": object(json!({
            "id": text("The call's id."), "name": text("The tool."), "arguments": text("The exact arguments."),
            "fingerprint": text("Of them: an approval holds for these alone."),
        }), &[]),
        "prompt": text("The question in words."),
        "options": {"type": "array", "items": object(json!({
            "id": text("By which an answer names it."), "label": text("What people read."), "action": actions(),
        }), &[])},
        "input_schema": {"type": "object", "description": "The JSON schema of an answer's data."},
        "context": object(json!({"input": text("What went in."), "output": text("What came out.")}), &["input", "output"]),
        "created_at": time(),
        "expires_at": described(time(), "When the default action is taken."),
        "default_action": actions(),
        "default_data": {"description": "What comes with that."},
        "answer": object(json!({
            "action": actions(), "option": text("The option that was chosen."), "data": {"description": "What came with it."},
            "by": text("Who answered: a user's id, `timeout`, or `workflow` where something else had failed."), "at": time(),
        }), &["option", "data"]),
    })
}

fn workflow_run() -> Value {
    let node = object(
        json!({
            "status": node_statuses(), "output": text("Its output."), "error": reference("NodeError"),
            "started_at": time(), "finished_at": time(), "route": text("The route that it took."),
            "iteration": count("The iteration that it is in; of a loop, how many it has begun."),
        }),
        &["output", "error", "started_at", "finished_at", "route", "iteration"],
    );
    let names = json!({"type": "array", "items": {"type": "string"}});
    object(
        json!({
            "id": text("The catalogue's id of it."),
            "name": text("Its name."),
            "version": count("The catalogue's version that the job keeps to."),
            "graph": object(json!({
                "nodes": {"type": "array", "items": object(json!({
                    "id": text("Its id."), "type": text("What it is, as documents say it."), "label": text("Its name for people."),
                    "description": text("What it is for."),
                }), &["description"])},
                "edges": {"type": "array", "items": object(json!({
                    "source": text("From which node."), "target": text("To which node."), "label": text("Its label."),
                }), &["label"])},
            }), &[]),
            "node_states": {"type": "object", "additionalProperties": node},
            "execution_order": names,
            "current_node_ids": names,
            "failed_node_id": text("The node that the run failed at."),
            "warnings": array("WorkflowFinding"),
        }),
        &["id", "version", "failed_node_id", "warnings"],
    )
}

fn node_statuses() -> Value {
    use NodeStatus as S;
    words(&[S::Pending, S::Active, S::Waiting, S::Completed, S::Error, S::Skipped])
}

fn node_error() -> Value {
    object(
        json!({
            "message": text("A sentence for people."), "code": text("The same for programs."),
            "nodeId": text("The node that failed."), "statusCode": count("The provider's HTTP status."),
        }),
        &["statusCode"],
    )
}

fn error() -> Value {
    object(
        json!({
            "type": text("The class, one per status."),
            "code": text("The case, a stable word for programs."),
            "message": text("For people: what is wrong and what to do."),
            "param": text("What is at fault, the first of several."),
            "details": {"type": "array", "items": object(json!({
                "param": text("Where: a member's path, a parameter's or a header's name, or `body`."),
                "message": text("What, and what to do about it."),
                "code": text("What is wrong with a workflow, in the words of its format."), "node_id": text("At which node."),
            }), &["code", "node_id"])},
            "request_id": {"type": ["string", "null"], "description": "Which request it was, as the log has it."},
        }),
        &["param", "details"],
    )
}

/// Members, and the names of those that may be absent.
type Members = (Value, &'static [&'static str]);

/// Every type of event with what it has; `domain::event::EventBody` is the list, and a test holds one of each against
/// this.
fn event() -> Value {
    let state: Members = (json!({"status": reference("JobStatus")}), &[]);
    let summary: Members = (
        json!({
            "status": reference("JobStatus"), "finish_reason": reference("FinishReason"),
            "output": text(&format!("Its text, to {EVENT_OUTPUT_BYTES} bytes.")), "output_truncated": {"type": "boolean"},
            "usage": reference("Usage"), "metrics": reference("Metrics"), "error": reference("JobError"),
        }),
        &["output_truncated", "error"],
    );
    let node: Members = (
        json!({
            "node_id": text("Which."), "iteration": count("In which iteration of a loop."),
            "output": text(&format!("Its output, to {RESULT_VIEW_BYTES} bytes.")), "output_truncated": {"type": "boolean"},
            "error": reference("NodeError"), "route": text("The route that it took."), "note": text("What else is to be known."),
        }),
        &["iteration", "output", "output_truncated", "error", "route", "note"],
    );
    let content = json!({"anyOf": [{"type": "string"}, {"type": "array"}]});
    let message = object(
        json!({
            "number": count("Its place among the job's messages."), "id": text("Its id."), "content": content,
            "by": text("Whose it is."), "at": time(),
        }),
        &[],
    );
    let groups: [(&[&str], Members); 13] = [
        (&["job.queued", "job.running", "job.input_required"], state),
        (&["job.completed", "job.failed", "job.cancelled"], summary),
        (&["turn.started"], (json!({"model": text("The model that is asked.")}), &[])),
        (
            &["turn.completed"],
            (
                json!({
                    "model": text("The model that answered."), "finish_reason": reference("FinishReason"), "usage": reference("Usage"),
                }),
                &[],
            ),
        ),
        (
            &["turn.restarted"],
            (
                json!({"output_offset":
            count("Bytes of this lane's text that stand; its text after them, and this turn's tool events, are void.")}),
                &[],
            ),
        ),
        (&["output.delta", "reasoning.delta"], (json!({"text": text("The piece.")}), &[])),
        (
            &[
                "tool_call.pending",
                "tool_call.running",
                "tool_call.completed",
                "tool_call.error",
                "tool_call.skipped",
                "tool_call.unknown",
            ],
            (tool_call(), TOOL_CALL_OPTIONAL),
        ),
        (&["node.active", "node.waiting", "node.completed", "node.error", "node.skipped"], node),
        (&["input.requested", "input.resolved"], (input_request(), INPUT_REQUEST_OPTIONAL)),
        (&["message.added"], (json!({"message": message}), &[])),
        (
            &["context.compacted"],
            (
                json!({
                    "messages": count("Messages that were made one, or left out."), "tokens_before": count("What there was."),
                    "tokens_after": count("What there is now, about."),
                    "strategy": {"enum": ["summarize", "truncate"]}, "error": text("Why it was not done as asked."),
                }),
                &["error"],
            ),
        ),
        (
            &["model.waiting"],
            (
                json!({
                    "until": time(), "code": text("What the provider said, a stable word."), "message": text("The same for people."),
                }),
                &[],
            ),
        ),
        (&["job.stalled"], (json!({"since": time()}), &[])),
    ];
    let variants = groups.into_iter().map(|(types, (members, optional))| {
        let place = json!({
            "type": {"enum": types}, "job_id": text("The job."), "at": time(),
            "number": count("Its place in the log, where events are polled; in frames it is the frame's id."),
            "lane": text("The lane."), "turn": count("The turn."), "attempt": count("The attempt at it."),
            "node_id": text("The workflow's node, if in one."),
        });
        let own: Vec<&str> = members.as_object().into_iter().flatten().map(|(name, _)| name.as_str()).collect();
        let placed = ["number", "lane", "turn", "attempt", "node_id"].into_iter().filter(|name| !own.contains(name));
        let optional: Vec<&str> = optional.iter().copied().chain(placed).collect();
        object(joined(place, members.clone()), &optional)
    });
    json!({"oneOf": variants.collect::<Vec<_>>()})
}

fn object(properties: Value, optional: &[&str]) -> Value {
    let names = properties.as_object().into_iter().flatten().map(|(name, _)| name);
    let required: Vec<&String> = names.filter(|name| !optional.contains(&name.as_str())).collect();
    json!({"type": "object", "properties": properties, "required": required})
}

fn joined(mut first: Value, second: Value) -> Value {
    if let (Value::Object(first), Value::Object(second)) = (&mut first, second) {
        first.extend(second);
    }
    first
}

fn list(items: &str, more: Value) -> Value {
    object(joined(json!({"data": array(items)}), more), &[])
}

fn array(items: &str) -> Value {
    json!({"type": "array", "items": reference(items)})
}

fn text(words: &str) -> Value {
    json!({"type": "string", "description": words})
}

fn count(words: &str) -> Value {
    json!({"type": "integer", "minimum": 0, "description": words})
}

fn time() -> Value {
    reference("Time")
}

fn or_null(schema: Value) -> Value {
    json!({"anyOf": [schema, {"type": "null"}]})
}

fn described(mut schema: Value, words: &str) -> Value {
    schema["description"] = json!(words);
    schema
}

/// The words that the code writes for these.
fn words<T: Serialize>(values: &[T]) -> Value {
    json!({"enum": values})
}
