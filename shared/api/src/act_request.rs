//! The bodies of requests that act on a job: an answer, a message, a retry. Everything that is wrong is found at once.

use domain::{
    id::InputRequestId,
    input_request::{Action, InputAnswer, InputKind, InputRequest},
    limits::{ARGUMENTS_BYTES, RESULT_BYTES},
    message::Content,
    time::Timestamp,
};
use serde_json::Value;

use crate::{
    error::{ApiError, Finding},
    members::{Findings, Members},
    schema,
};

/// Longest body of a request that acts on a job, in bytes: a tool's result with room for escapes.
pub const BODY_BYTES: usize = 1024 * 1024;
/// Longest message for a running job, in bytes of JSON: one item of the table holds it.
const MESSAGE_BYTES: usize = 256 * 1024;

/// An answer to a question.
#[derive(Debug, Clone, PartialEq)]
pub struct AnswerRequest {
    /// An action, or the id of one of the question's options.
    pub action: String,
    /// What comes with it.
    pub data: Option<Value>,
}

/// A message for a running job.
#[derive(Debug, Clone, PartialEq)]
pub struct MessageRequest {
    /// What it says.
    pub content: Content,
}

/// A wish to go on where a job failed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RetryRequest {
    /// From this node of a workflow, instead of the one that failed.
    pub node_id: Option<String>,
}

impl AnswerRequest {
    /// Reads a body.
    ///
    /// # Errors
    /// With everything that was found.
    pub fn parse(body: &[u8]) -> Result<Self, ApiError> {
        let mut findings = Findings::default();
        let mut members = object(body, "an object with `action`")?;
        let action = members.text("action", &mut findings);
        if action.is_none() && findings.len() == 0 {
            findings.add("action", "`action` is required: an action, or the id of one of the request's options.");
        }
        let data = members.take("data");
        members.finish(&mut findings);
        findings.into_result(action.map(|action| Self { action, data }))
    }

    /// The answer that this is to `request`, held against its choices and its schema.
    ///
    /// # Errors
    /// A conflict when the request has an answer, unprocessable when this does not fit.
    pub fn answers(self, request: &InputRequest, by: String, at: Timestamp) -> Result<InputAnswer, ApiError> {
        let Self { action, data } = self;
        let answer = request.answer(&action, data, by, at).map_err(|bad| match bad {
            domain::input_request::BadAnswer::Answered(_) => already_answered(request),
            bad @ domain::input_request::BadAnswer::Action { .. } => unfit("action", bad.to_string()),
            bad @ domain::input_request::BadAnswer::NoData(..) => unfit("data", bad.to_string()),
        })?;
        if let (Some(data), Some(schema)) = (&answer.data, &request.input_schema)
            && is_checked(request, answer.action)
            && let Err(findings) = schema::fits(schema, data, "data")
        {
            let listed: Vec<String> = findings.iter().map(|(place, what)| format!("{place}: {what}")).collect();
            return Err(unfit("data", format!("it does not fit `input_schema`: {}", listed.join("; "))));
        }
        let bytes = answer.data.as_ref().map_or(0, |data| data.to_string().len());
        if is_edited_call(request, answer.action) && bytes > ARGUMENTS_BYTES {
            return Err(unfit("data", format!("arguments may have {ARGUMENTS_BYTES} bytes, and these have {bytes}")));
        }
        if request.kind == InputKind::ClientTool && bytes > RESULT_BYTES {
            return Err(unfit("data", format!("a result may have {RESULT_BYTES} bytes, and this has {bytes}")));
        }
        if bytes > MESSAGE_BYTES {
            return Err(unfit("data", format!("it may have {MESSAGE_BYTES} bytes, and has {bytes}")));
        }
        Ok(answer)
    }
}

/// Whether an answer's data is held against the schema: what comes with the approval of a call as it is says nothing.
fn is_checked(request: &InputRequest, action: Action) -> bool {
    match action {
        Action::Reject | Action::Skip => false,
        Action::Approve => request.tool_call.is_none(),
        Action::Submit | Action::Modify => true,
    }
}

fn is_edited_call(request: &InputRequest, action: Action) -> bool {
    request.kind == InputKind::Approval && request.tool_call.is_some() && action == Action::Modify
}

fn unfit(param: &'static str, what: String) -> ApiError {
    ApiError::Unprocessable {
        code: "answer_unfit",
        param: Some(param),
        message: format!("The answer cannot be taken: {what}."),
    }
}

/// Somebody was first.
pub fn already_answered(request: &InputRequest) -> ApiError {
    let how = request.answer.as_ref().map_or_else(String::new, |answer| {
        format!(" with `{}` by {} at {}", answer.action.as_str(), answer.by, answer.at)
    });
    ApiError::Conflict {
        code: "already_answered",
        message: format!("The request was answered{how}. An answer stands; nothing is to be done."),
    }
}

/// The job does not wait for it any more.
pub fn expired(id: &InputRequestId) -> ApiError {
    ApiError::Conflict {
        code: "request_expired",
        message: format!("The request {id} has expired, and its default action was taken. GET /jobs/{{id}} shows it."),
    }
}

/// What it was asked for is not done any more.
pub fn withdrawn(id: &InputRequestId) -> ApiError {
    ApiError::Conflict {
        code: "request_withdrawn",
        message: format!(
            "Nothing waits for the request {id} any more, since something else of the workflow has failed. GET /jobs/{{id}} \
             shows what."
        ),
    }
}

impl MessageRequest {
    /// Reads a body.
    ///
    /// # Errors
    /// With everything that was found.
    pub fn parse(body: &[u8]) -> Result<Self, ApiError> {
        let mut findings = Findings::default();
        let mut members = object(body, "an object with `content`")?;
        let content = members.take("content");
        members.finish(&mut findings);
        let content = match content {
            None => {
                findings.add("content", "`content` is required: what the message says.");
                None
            }
            Some(value) if value.to_string().len() > MESSAGE_BYTES => {
                findings.add("content", format!("`content` may have {MESSAGE_BYTES} bytes as JSON."));
                None
            }
            Some(value) => match serde_json::from_value::<Content>(value) {
                Ok(content) if !content.is_empty() => Some(content),
                Ok(_) => {
                    findings.add("content", "`content` is empty. Say something.");
                    None
                }
                Err(_) => {
                    findings.add("content", "`content` must be a string, or an array of content parts.");
                    None
                }
            },
        };
        findings.into_result(content.map(|content| Self { content }))
    }
}

impl RetryRequest {
    /// Reads a body, which may be empty.
    ///
    /// # Errors
    /// With everything that was found.
    pub fn parse(body: &[u8]) -> Result<Self, ApiError> {
        if body.iter().all(u8::is_ascii_whitespace) {
            return Ok(Self::default());
        }
        let mut findings = Findings::default();
        let mut members = object(body, "an object, or nothing")?;
        let node_id = members.text("node_id", &mut findings);
        members.finish(&mut findings);
        findings.into_result(Some(Self { node_id }))
    }
}

fn object(body: &[u8], expected: &str) -> Result<Members, ApiError> {
    if body.len() > BODY_BYTES {
        return Err(ApiError::body_too_large(body.len(), BODY_BYTES));
    }
    match serde_json::from_slice(body) {
        Ok(Value::Object(map)) => Ok(Members::new(map, "")),
        _ => Err(ApiError::Invalid(vec![Finding::new("body", format!("The body must be JSON: {expected}."))])),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn message(error: ApiError) -> String {
        error.body().message
    }

    /// A question whether a call of `add` may run.
    fn about_a_call() -> InputRequest {
        let (created_at, expires_at) = (Timestamp::from_millis(0), Timestamp::from_millis(9));
        let schema = json!({"type": "object", "properties": {"a": {"type": "integer"}, "s": {}}, "required": ["a"]});
        InputRequest {
            id: "main.1.call0".parse().unwrap(),
            kind: InputKind::Approval,
            lane: domain::id::LaneName::main(),
            turn: 1,
            node_id: None,
            tool_call: Some(domain::input_request::AskedCall {
                id: "call_1".to_owned(),
                name: "add".to_owned(),
                arguments: r#"{"a": 1}"#.to_owned(),
                fingerprint: String::new(),
            }),
            prompt: "May it?".to_owned(),
            options: vec![],
            input_schema: Some(schema),
            context: domain::input_request::InputContext::default(),
            created_at,
            expires_at,
            default_action: Action::Reject,
            default_data: None,
            answer: None,
        }
    }

    #[test]
    fn edited_arguments_have_to_fit_the_tool_and_nothing_else_has_to() {
        let request = about_a_call();
        let answer = |action: &str, data: Option<Value>| {
            let answer = AnswerRequest { action: action.to_owned(), data };
            answer.answers(&request, "ann".to_owned(), Timestamp::from_millis(1)).map(|answer| answer.action)
        };
        let unfit = answer("modify", Some(json!({"a": "one"}))).unwrap_err();
        assert_eq!((unfit.status().as_u16(), unfit.body().code.as_str()), (422, "answer_unfit"));
        assert!(message(unfit).contains("data.a"));
        let long = answer("modify", Some(json!({"a": 1, "s": "x".repeat(ARGUMENTS_BYTES)}))).unwrap_err();
        assert!(message(long).contains("arguments may have"));
        assert_eq!(answer("modify", Some(json!({"a": 2}))).unwrap(), Action::Modify);
        assert_eq!(answer("approve", Some(json!({"note": "fine"}))).unwrap(), Action::Approve);
        assert_eq!(answer("approve", None).unwrap(), Action::Approve);
        assert_eq!(answer("reject", Some(json!({"reason": "no"}))).unwrap(), Action::Reject);
    }

    #[test]
    fn what_is_wrong_with_a_body_is_said() {
        let answer = |body: &str| AnswerRequest::parse(body.as_bytes());
        assert_eq!(answer(r#"{"action": "approve"}"#).unwrap().action, "approve");
        assert!(message(answer("{}").unwrap_err()).contains("`action` is required"));
        assert!(message(answer(r#"{"action": 1}"#).unwrap_err()).contains("must be a string"));
        assert!(message(answer(r#"{"action": "a", "reason": "x"}"#).unwrap_err()).contains("no member `reason`"));
        assert!(message(answer("nonsense").unwrap_err()).contains("must be JSON"));
        assert!(message(MessageRequest::parse(br#"{"content": ""}"#).unwrap_err()).contains("is empty"));
        assert!(message(MessageRequest::parse(br#"{"content": 5}"#).unwrap_err()).contains("must be a string"));
        assert_eq!(RetryRequest::parse(b"").unwrap(), RetryRequest::default());
    }
}
