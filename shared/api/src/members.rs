//! Reading the members of an object, each by name and type, and collecting what is wrong with them.

use std::{ops::RangeInclusive, str::FromStr};

use domain::id::InvalidId;
use serde_json::{Map, Value};

use crate::error::{ApiError, Finding};

/// More findings than this help nobody, and a hostile body could cause millions.
const MOST_FINDINGS: usize = 50;
const LONGEST_NAME: usize = 64;

/// What is wrong so far.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    list: Vec<Finding>,
    dropped: usize,
}

impl Findings {
    pub(crate) fn add(&mut self, param: impl Into<String>, message: impl Into<String>) {
        if self.list.len() < MOST_FINDINGS {
            self.list.push(Finding::new(param, message));
        } else {
            self.dropped += 1;
        }
    }

    pub(crate) fn wrong_type(&mut self, path: &str, expected: &str, got: &Value) {
        self.add(path, format!("`{path}` must be {expected}, not {}.", describe(got)));
    }

    pub(crate) fn len(&self) -> usize {
        self.list.len() + self.dropped
    }

    /// What was read, if nothing was found.
    pub(crate) fn into_result<T>(mut self, read: Option<T>) -> Result<T, ApiError> {
        if self.dropped > 0 {
            self.list.push(Finding::new("body", format!("{} more findings are left out.", self.dropped)));
        }
        match read {
            Some(read) if self.list.is_empty() => Ok(read),
            _ => Err(ApiError::Invalid(self.list)),
        }
    }
}

/// The path of a member; names are cut, since they may be megabytes.
pub(crate) fn join(path: &str, name: &str) -> String {
    let name: String = name.chars().take(LONGEST_NAME).collect();
    if path.is_empty() { name } else { format!("{path}.{name}") }
}

fn describe(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// The members of an object that were not read yet. A member that is null counts as left out.
#[derive(Debug)]
pub(crate) struct Members {
    map: Map<String, Value>,
    path: String,
}

impl Members {
    /// The members of the object at `path`.
    pub(crate) fn new(map: Map<String, Value>, path: &str) -> Self {
        Self { map, path: path.to_owned() }
    }

    /// The members of `value` at `path`, or a finding.
    pub(crate) fn of(value: Value, path: &str, findings: &mut Findings) -> Option<Self> {
        match value {
            Value::Object(map) => Some(Self::new(map, path)),
            other => {
                findings.wrong_type(path, "an object", &other);
                None
            }
        }
    }

    pub(crate) fn path(&self, name: &str) -> String {
        join(&self.path, name)
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.peek(name).is_some()
    }

    pub(crate) fn peek(&self, name: &str) -> Option<&Value> {
        self.map.get(name).filter(|value| !value.is_null())
    }

    pub(crate) fn take(&mut self, name: &str) -> Option<Value> {
        self.map.remove(name).filter(|value| !value.is_null())
    }

    pub(crate) fn text(&mut self, name: &str, findings: &mut Findings) -> Option<String> {
        match self.take(name)? {
            Value::String(text) => Some(text),
            other => {
                findings.wrong_type(&self.path(name), "a string", &other);
                None
            }
        }
    }

    /// One of a few words.
    pub(crate) fn word(&mut self, name: &str, words: &[&str], findings: &mut Findings) -> Option<String> {
        let text = self.take(name)?;
        let path = self.path(name);
        let expected: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
        match text {
            Value::String(text) if words.contains(&text.as_str()) => Some(text),
            _ => {
                findings.add(path.clone(), format!("`{path}` must be {}.", expected.join(" or ")));
                None
            }
        }
    }

    pub(crate) fn boolean(&mut self, name: &str, findings: &mut Findings) -> Option<bool> {
        match self.take(name)? {
            Value::Bool(value) => Some(value),
            other => {
                findings.wrong_type(&self.path(name), "true or false", &other);
                None
            }
        }
    }

    pub(crate) fn array(&mut self, name: &str, findings: &mut Findings) -> Option<Vec<Value>> {
        match self.take(name)? {
            Value::Array(items) => Some(items),
            other => {
                findings.wrong_type(&self.path(name), "an array", &other);
                None
            }
        }
    }

    pub(crate) fn object(&mut self, name: &str, findings: &mut Findings) -> Option<Members> {
        let value = self.take(name)?;
        Members::of(value, &self.path(name), findings)
    }

    pub(crate) fn integer(&mut self, name: &str, range: RangeInclusive<u32>, findings: &mut Findings) -> Option<u32> {
        let value = self.take(name)?;
        let path = self.path(name);
        let expected = format!("an integer from {} to {}", range.start(), range.end());
        if !value.is_number() {
            findings.wrong_type(&path, &expected, &value);
            return None;
        }
        // 10.0 is an integer to JSON, though not to serde.
        let whole =
            value.as_u64().or_else(|| value.as_f64().filter(|n| n.fract() == 0.0 && *n >= 0.0).map(|n| n as u64));
        let number = whole.and_then(|n| u32::try_from(n).ok()).filter(|n| range.contains(n));
        if number.is_none() {
            findings.add(path.clone(), format!("`{path}` must be {expected}."));
        }
        number
    }

    pub(crate) fn number(&mut self, name: &str, range: RangeInclusive<f64>, findings: &mut Findings) -> Option<f64> {
        let value = self.take(name)?;
        let path = self.path(name);
        let expected = format!("a number from {} to {}", range.start(), range.end());
        if !value.is_number() {
            findings.wrong_type(&path, &expected, &value);
            return None;
        }
        let number = value.as_f64().filter(|n| range.contains(n));
        if number.is_none() {
            findings.add(path.clone(), format!("`{path}` must be {expected}."));
        }
        number
    }

    pub(crate) fn id<T: FromStr<Err = InvalidId>>(&mut self, name: &str, findings: &mut Findings) -> Option<T> {
        let text = self.text(name, findings)?;
        text.parse()
            .map_err(|error: InvalidId| findings.add(self.path(name), id_message(&self.path(name), &error)))
            .ok()
    }

    /// The object as it came.
    pub(crate) fn into_value(self) -> Value {
        Value::Object(self.map)
    }

    /// The members as they came.
    pub(crate) fn into_pairs(self) -> Map<String, Value> {
        self.map
    }

    /// Names every member that nobody asked for.
    pub(crate) fn finish(self, findings: &mut Findings) {
        for name in self.map.keys() {
            let path = self.path(name);
            let message = match hint(&path) {
                Some(hint) => format!("There is no member `{path}`; {hint}."),
                None => format!("There is no member `{path}`. Remove it, or correct its spelling."),
            };
            findings.add(path, message);
        }
    }
}

pub(crate) fn id_message(path: &str, error: &InvalidId) -> String {
    format!("`{path}` is not a valid {}: {}.", error.kind, error.rule)
}

/// What people mean who know other interfaces.
fn hint(path: &str) -> Option<&'static str> {
    Some(match path {
        "messages" | "prompt" => "put the conversation into `input`",
        "system" => "put it into `instructions`",
        "max_tokens" | "max_completion_tokens" => "it is called `max_output_tokens`",
        "reasoning_effort" => "write `\"reasoning\": {\"effort\": …}`",
        "stream" => "every job can be followed at its `stream_url`",
        "previous_response_id" => "it is called `previous_job_id`",
        "user" | "user_id" => "the user is who is signed in",
        "max_turns" => "it is `limits.max_turns`",
        "functions" | "function_call" => "use `tools` and `tool_choice`",
        _ => return None,
    })
}
