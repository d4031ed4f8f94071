//! The body of `POST /jobs`: read member by member instead of by derive, so that a caller learns of everything that is
//! wrong at once, each thing by its path. What comes out has been checked and needs no second look.

mod conversation;
mod tools;

use std::{fmt, ops::RangeInclusive};

use domain::{
    approval::{ApprovalRule, Approvals},
    id::{JobId, MessageId, ThreadId},
    job::{Compaction, CompactionStrategy, CompactionThreshold, JobSpec, Metadata, ModelSettings, ToolChoice, ToolRef},
    limits::{INPUT_BYTES, JobLimits},
    message::Message,
};
use serde_json::Value;

use crate::{
    error::ApiError,
    members::{self, Findings, Members},
    schema,
};

/// The longest body, in bytes: the longest input, and room for everything else.
pub const BODY_BYTES: usize = INPUT_BYTES + 1024 * 1024;
/// Seconds that a job is kept after its end, unless its caller says otherwise: a week.
pub const DEFAULT_RETENTION_SECONDS: u32 = 7 * 24 * 3600;
/// Last messages that compaction keeps as they are, unless the caller says otherwise.
pub(crate) const DEFAULT_PRESERVE_RECENT: u32 = 5;

pub(crate) const MAX_TURNS: RangeInclusive<u32> = 1..=100;
pub(crate) const MAX_TOOL_CALLS_PER_TURN: RangeInclusive<u32> = 1..=100;
pub(crate) const TURN_SECONDS: RangeInclusive<u32> = 1..=600;
pub(crate) const DEADLINE_SECONDS: RangeInclusive<u32> = 1..=86_400;
/// To thirty days: longer pauses would outlive what a job has stored.
pub(crate) const INPUT_SECONDS: RangeInclusive<u32> = 1..=2_592_000;
pub(crate) const QUEUE_SECONDS: RangeInclusive<u32> = 1..=604_800;
pub(crate) const RETENTION_SECONDS: RangeInclusive<u32> = 3600..=31_536_000;
pub(crate) const TOKENS: RangeInclusive<u32> = 1..=u32::MAX;
pub(crate) const PRESERVE_RECENT: RangeInclusive<u32> = 1..=1000;
pub(crate) const METADATA_PAIRS: usize = 16;
pub(crate) const METADATA_KEY_CHARS: usize = 64;
pub(crate) const METADATA_VALUE_CHARS: usize = 512;
pub(crate) const MODEL_CHARS: usize = 256;
pub(crate) const KEY_CHARS: usize = 512;

/// What the deployment decides where the caller does not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Defaults {
    /// The model.
    pub model: Option<String>,
    /// The MCP servers that a job may name.
    pub mcp_servers: Vec<String>,
}

/// A key that is not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct ModelApiKey(String);

impl ModelApiKey {
    /// The key itself, to be sealed.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ModelApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ModelApiKey(…)")
    }
}

/// The workflow that a job is to run.
#[derive(Debug, Clone, PartialEq)]
pub enum WorkflowRef {
    /// This document.
    Inline(Value),
    /// The one that the user keeps under this id.
    Stored {
        /// The id.
        id: String,
        /// The version that it must have by now.
        version: Option<u32>,
    },
}

/// A request to start a job, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct StartJobRequest {
    /// What is asked for. Its messages are the caller's: [`StartJobRequest::continue_from`] puts an earlier job's before
    /// them.
    pub spec: JobSpec,
    /// The caller's conversation that the job belongs to.
    pub thread: Option<ThreadId>,
    /// The caller's message that it answers.
    pub message: Option<MessageId>,
    /// The job whose conversation it goes on from.
    pub previous_job: Option<JobId>,
    /// Seconds that it is kept after its end.
    pub retention_seconds: u32,
    /// The workflow that it is to run, not looked up and not checked yet.
    pub workflow: Option<WorkflowRef>,
    /// The caller's own key for the model, not sealed yet.
    pub model_api_key: Option<ModelApiKey>,
    /// Whether the spec's first message is this request's `instructions`.
    pub has_instructions: bool,
}

impl StartJobRequest {
    /// Reads a body. `is_tool` knows the names of the registered tools.
    ///
    /// # Errors
    /// [`ApiError::TooLarge`], or [`ApiError::Invalid`] with everything that was found.
    pub fn parse(body: &[u8], defaults: &Defaults, is_tool: &dyn Fn(&str) -> bool) -> Result<Self, ApiError> {
        if body.len() > BODY_BYTES {
            return Err(ApiError::body_too_large(body.len(), BODY_BYTES));
        }
        if body.iter().all(u8::is_ascii_whitespace) {
            return Err(ApiError::invalid("body", "The body is empty. Send a JSON object with at least `input`."));
        }
        let value: Value = serde_json::from_slice(body).map_err(|error| {
            ApiError::invalid("body", format!("The body is not JSON that can be read: {error}. Correct it there."))
        })?;
        Self::from_value(value, defaults, is_tool)
    }

    /// Reads a body that is JSON already, such as an event's `detail` without its `user_id`.
    ///
    /// # Errors
    /// [`ApiError::TooLarge`], or [`ApiError::Invalid`] with everything that was found.
    pub fn from_value(value: Value, defaults: &Defaults, is_tool: &dyn Fn(&str) -> bool) -> Result<Self, ApiError> {
        let Value::Object(map) = value else {
            return Err(ApiError::invalid("body", "The body must be a JSON object with at least `input`."));
        };
        if let Some(bytes) = map.get("input").map(json_bytes).filter(|bytes| *bytes > INPUT_BYTES) {
            return Err(ApiError::input_too_large(bytes));
        }
        let mut findings = Findings::default();
        let request = Self::read(Members::new(map, ""), defaults, is_tool, &mut findings);
        findings.into_result(request)
    }

    fn read(
        mut body: Members,
        defaults: &Defaults,
        is_tool: &dyn Fn(&str) -> bool,
        findings: &mut Findings,
    ) -> Option<Self> {
        let messages = conversation::read(body.take("input"), findings);
        let instructions = body.text("instructions", findings).filter(|text| !text.is_empty());
        let model_api_key = model_api_key(&mut body, findings);
        let tools = tools::read(body.array("tools", findings), defaults, is_tool, findings);
        let tool_choice = tools::read_choice(body.take("tool_choice"), tools.as_deref(), findings);
        let workflow = workflow(&mut body, findings);
        let settings = settings(&mut body, defaults, tool_choice, workflow.is_some(), findings);
        let limits = limits(body.object("limits", findings), findings);
        let compaction = body.object("compaction", findings).map(|members| compaction(members, findings));
        let approval = body.object("approval", findings).map(|rules| approvals(rules, findings)).unwrap_or_default();
        let metadata = metadata(body.object("metadata", findings), findings);
        let thread = body.id("thread_id", findings);
        let message = body.id("message_id", findings);
        let previous_job: Option<JobId> = body.id("previous_job_id", findings);
        let retention_seconds = body.integer("retention_seconds", RETENTION_SECONDS, findings);
        body.finish(findings);

        let has_instructions = instructions.is_some();
        let messages = instructions.map(Message::system).into_iter().chain(messages?).collect();
        Some(Self {
            spec: JobSpec {
                messages,
                settings: settings?,
                tools: tools?,
                limits,
                metadata,
                previous_job: previous_job.clone(),
                model_api_key: None,
                key_of: None,
                approval,
                workflow: None,
                compaction,
            },
            workflow,
            thread,
            message,
            previous_job,
            retention_seconds: retention_seconds.unwrap_or(DEFAULT_RETENTION_SECONDS),
            model_api_key,
            has_instructions,
        })
    }

    /// Puts the conversation of the previous job before this request's input. Instructions are not inherited where the
    /// request has its own: they take the place of the standing orders that the conversation began with.
    pub fn continue_from(&mut self, conversation: Vec<Message>) {
        let own = std::mem::take(&mut self.spec.messages);
        let mut own = own.into_iter();
        let instructions = if self.has_instructions { own.next() } else { None };
        let replaced = instructions.is_some();
        let earlier =
            conversation.into_iter().skip_while(|message| replaced && matches!(message, Message::System { .. }));
        self.spec.messages = instructions.into_iter().chain(earlier).chain(own).collect();
    }
}

/// How many bytes a value has as JSON, without writing it anywhere.
fn json_bytes(value: &Value) -> usize {
    struct Count(usize);
    impl std::io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    let _ = serde_json::to_writer(&mut count, value); // counting cannot fail
    count.0
}

fn model_api_key(body: &mut Members, findings: &mut Findings) -> Option<ModelApiKey> {
    let key = body.text("model_api_key", findings)?;
    if (1..=KEY_CHARS).contains(&key.len()) && key.bytes().all(|b| b.is_ascii_graphic()) {
        return Some(ModelApiKey(key));
    }
    findings.add("model_api_key", format!("`model_api_key` must have 1 to {KEY_CHARS} printable ASCII characters."));
    None
}

fn settings(
    body: &mut Members,
    defaults: &Defaults,
    tool_choice: ToolChoice,
    is_workflow: bool,
    findings: &mut Findings,
) -> Option<ModelSettings> {
    let named = body.has("model");
    let model = body.text("model", findings);
    let model = match model {
        Some(model) if (1..=MODEL_CHARS).contains(&model.chars().count()) && !model.chars().any(char::is_control) => {
            Some(model)
        }
        Some(_) => {
            findings.add(
                "model",
                format!("`model` must have 1 to {MODEL_CHARS} characters, none of them a control character."),
            );
            None
        }
        None if named => None, // of a wrong type, which has been said
        None if is_workflow => Some(defaults.model.clone().unwrap_or_default()), // its nodes may name their own
        None => defaults.model.clone().or_else(|| {
            findings.add(
                "model",
                "`model` is required: this deployment has no default. Name one, such as `openai/gpt-4o-mini`.",
            );
            None
        }),
    };
    let settings = ModelSettings {
        model: model.clone().unwrap_or_default(),
        temperature: body.number("temperature", 0.0..=2.0, findings),
        top_p: body.number("top_p", 0.0..=1.0, findings),
        max_output_tokens: body.integer("max_output_tokens", TOKENS, findings),
        reasoning: body.object("reasoning", findings).map(Members::into_value),
        response_format: body.object("response_format", findings).and_then(|format| response_format(format, findings)),
        tool_choice,
        parallel_tool_calls: body.boolean("parallel_tool_calls", findings),
    };
    model.map(|_| settings)
}

fn response_format(format: Members, findings: &mut Findings) -> Option<Value> {
    let value = format.into_value();
    match value.get("type").and_then(Value::as_str) {
        None => findings.add(
            "response_format.type",
            "`response_format.type` is required: `text`, `json_object`, `json_schema`, or another that the model knows.",
        ),
        Some("json_schema") if !value.get("json_schema").is_some_and(Value::is_object) => findings.add(
            "response_format.json_schema",
            "`response_format.json_schema` is required with this type: an object with `name` and `schema`.",
        ),
        Some(_) => {}
    }
    Some(value)
}

fn limits(members: Option<Members>, findings: &mut Findings) -> JobLimits {
    let default = JobLimits::default();
    let Some(mut members) = members else { return default };
    let mut read = |name, range, default| members.integer(name, range, findings).unwrap_or(default);
    let limits = JobLimits {
        max_turns: read("max_turns", MAX_TURNS, default.max_turns),
        max_tool_calls_per_turn: read(
            "max_tool_calls_per_turn",
            MAX_TOOL_CALLS_PER_TURN,
            default.max_tool_calls_per_turn,
        ),
        turn_seconds: read("turn_seconds", TURN_SECONDS, default.turn_seconds),
        deadline_seconds: read("deadline_seconds", DEADLINE_SECONDS, default.deadline_seconds),
        queue_seconds: read("queue_seconds", QUEUE_SECONDS, default.queue_seconds),
        input_seconds: read("input_seconds", INPUT_SECONDS, default.input_seconds),
        max_total_tokens: members.integer("max_total_tokens", TOKENS, findings).map(u64::from),
        max_cost_usd: members.number("max_cost_usd", 0.0..=1_000_000.0, findings),
    };
    members.finish(findings);
    limits
}

/// The workflow that is to be run, if one is.
fn workflow(body: &mut Members, findings: &mut Findings) -> Option<WorkflowRef> {
    let version = body.integer("workflow_version", 1..=u32::MAX, findings);
    let id = body.text("workflow_id", findings);
    let document = body.object("workflow", findings).map(Members::into_value);
    if version.is_some() && id.is_none() {
        findings.add("workflow_version", "`workflow_version` goes with `workflow_id`. Leave it out.");
    }
    match (document, id) {
        (Some(_), Some(_)) => {
            findings.add("workflow_id", "Send either `workflow` or `workflow_id`, not both.");
            None
        }
        (Some(document), None) => Some(WorkflowRef::Inline(document)),
        (None, Some(id)) => Some(WorkflowRef::Stored { id, version }),
        (None, None) => None,
    }
}

/// Which calls a person has to approve, by tool.
fn approvals(rules: Members, findings: &mut Findings) -> Approvals {
    let mut approvals = Approvals::new();
    for (tool, rule) in rules.into_pairs() {
        let path = members::join("approval", &tool);
        if tool != "*" && !tools::is_name(&tool) {
            findings.add(path, "A member of `approval` must be the name of a tool, or `*` for all others.");
            continue;
        }
        let rule = match rule {
            Value::String(word) if word == "never" => ApprovalRule::NEVER,
            Value::String(word) if word == "always" => ApprovalRule::ALWAYS,
            Value::Object(schema) => match schema::check(&Value::Object(schema.clone())) {
                Ok(()) => ApprovalRule::Matching(Value::Object(schema)),
                Err(why) => {
                    findings.add(path.clone(), format!("`{path}` is not a JSON schema: {why}."));
                    continue;
                }
            },
            _ => {
                findings.add(
                    path.clone(),
                    format!(
                        "`{path}` must be `never`, `always`, or a JSON schema of the arguments that need approval."
                    ),
                );
                continue;
            }
        };
        approvals.insert(tool, rule);
    }
    approvals
}

fn compaction(mut members: Members, findings: &mut Findings) -> Compaction {
    let threshold = match members.peek("threshold") {
        Some(Value::Number(_)) => members
            .integer("threshold", TOKENS, findings)
            .map_or(CompactionThreshold::Auto, CompactionThreshold::Tokens),
        _ => {
            members.word("threshold", &["auto"], findings);
            CompactionThreshold::Auto
        }
    };
    let preserve_recent = members.integer("preserve_recent", PRESERVE_RECENT, findings);
    let strategy = match members.word("strategy", &["summarize", "truncate"], findings).as_deref() {
        Some("truncate") => CompactionStrategy::Truncate,
        _ => CompactionStrategy::Summarize,
    };
    members.finish(findings);
    Compaction { threshold, preserve_recent: preserve_recent.unwrap_or(DEFAULT_PRESERVE_RECENT), strategy }
}

fn metadata(members: Option<Members>, findings: &mut Findings) -> Metadata {
    let Some(members) = members else { return Metadata::new() };
    let mut metadata = Metadata::new();
    let pairs = members.into_pairs();
    if pairs.len() > METADATA_PAIRS {
        findings.add("metadata", format!("`metadata` has {} pairs and may have {METADATA_PAIRS}.", pairs.len()));
        return metadata;
    }
    for (key, value) in pairs {
        let path = members::join("metadata", &key);
        if !(1..=METADATA_KEY_CHARS).contains(&key.chars().count()) {
            findings.add(path, format!("A key of `metadata` must have 1 to {METADATA_KEY_CHARS} characters."));
            continue;
        }
        match value {
            Value::String(text) if text.chars().count() <= METADATA_VALUE_CHARS => {
                metadata.insert(key, text);
            }
            Value::String(_) => {
                let message = format!("`{path}` must have at most {METADATA_VALUE_CHARS} characters.");
                findings.add(path, message);
            }
            other => findings.wrong_type(&path, "a string", &other),
        }
    }
    metadata
}

/// The tools that a spec names, for messages.
fn names(tools: &[ToolRef]) -> String {
    let names: Vec<String> = tools.iter().map(|tool| format!("`{}`", tool.name())).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

#[cfg(test)]
mod tests;
