//! What went wrong, as callers are told. Every message says what to do; causes inside the system go to the log, once,
//! and never into an answer.

use std::{error::Error, fmt, time::Duration};

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use domain::{limits, workflow};
use http::{HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One thing that is wrong with a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Where: a member's path such as `limits.max_turns`, a parameter's or a header's name, or `body`.
    pub param: String,
    /// What, and what to do about it.
    pub message: String,
    /// What is wrong with a workflow's document, in the words of its format.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<workflow::Code>,
    /// At which of its nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_id: Option<String>,
}

impl Finding {
    /// A finding.
    pub fn new(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self { param: param.into(), message: message.into(), code: None, node_id: None }
    }

    /// A finding about a workflow's document.
    pub fn of_workflow(finding: workflow::Finding) -> Self {
        let workflow::Finding { code, node_id, message } = finding;
        Self { param: "workflow".to_owned(), message, code: Some(code), node_id }
    }
}

/// What there is none of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// A job, or one that is somebody else's.
    Job,
    /// A tool call of the job.
    ToolCall,
    /// A question of the job.
    InputRequest,
    /// A workflow of the catalogue.
    Workflow,
    /// A route.
    Route,
}

/// Why nothing new is accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unavailable {
    /// New jobs are paused by the operator.
    Paused,
    /// The store or the queue does not answer, or asks for patience.
    Overloaded,
}

/// What is behind an error: logged, never shown.
pub type Cause = Box<dyn Error + Send + Sync>;

/// Every error that a caller can be told of.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The request is not one that can be understood or granted; everything that was found.
    #[error("the request is invalid")]
    Invalid(Vec<Finding>),
    /// Nobody is signed in.
    #[error("nobody is signed in")]
    Unauthorized,
    /// A stream's address without a token, or with one that was not issued for it.
    #[error("the stream's token is missing or invalid")]
    TokenInvalid,
    /// A stream's token is too old.
    #[error("the stream's token has expired")]
    TokenExpired,
    /// There is no such thing, or it is somebody else's.
    #[error("{0:?} not found")]
    NotFound(Missing),
    /// The route has no such method.
    #[error("method not allowed")]
    MethodNotAllowed,
    /// It cannot be done to the thing as it is now.
    #[error("conflict: {code}")]
    Conflict {
        /// A stable word for programs, such as `job_finished`.
        code: &'static str,
        /// What is in the way and what to do.
        message: String,
    },
    /// The input, or a request's body, is longer than it may be.
    #[error("the {part} is too large")]
    TooLarge {
        /// What is: `input` or `body`.
        part: &'static str,
        /// Bytes that came.
        bytes: usize,
        /// Bytes that may come.
        most: usize,
    },
    /// The request is well formed, and contradicts what is on record.
    #[error("unprocessable: {code}")]
    Unprocessable {
        /// A stable word for programs, such as `idempotency_key_reused`.
        code: &'static str,
        /// The member or header at fault, if one is.
        param: Option<&'static str>,
        /// What does not fit and what to do.
        message: String,
    },
    /// The user has as many jobs at work as allowed.
    #[error("{limit} jobs are at work already")]
    RateLimited {
        /// How many may be.
        limit: u32,
        /// When to try again.
        retry_after: Duration,
    },
    /// Something of ours failed.
    #[error("internal error")]
    Internal(#[source] Cause),
    /// Nothing new is accepted for now.
    #[error("unavailable: {0:?}")]
    Unavailable(Unavailable, #[source] Option<Cause>),
}

impl ApiError {
    /// An invalid request with one finding.
    pub fn invalid(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Invalid(vec![Finding::new(param, message)])
    }

    /// A failure of ours.
    pub fn internal(source: impl Into<Cause>) -> Self {
        Self::Internal(source.into())
    }

    /// A failure of the table's: one that may pass is answered by asking for patience.
    pub fn of_table(error: impl Into<Cause>, is_passing: bool) -> Self {
        let cause = error.into();
        if is_passing { Self::Unavailable(Unavailable::Overloaded, Some(cause)) } else { Self::Internal(cause) }
    }

    /// The job is over, and this cannot be done to it any more.
    pub fn job_finished() -> Self {
        Self::Conflict {
            code: "job_finished",
            message: "The job has finished. Start a new one; with `previous_job_id` it goes on from this conversation."
                .to_owned(),
        }
    }

    /// A job's input is too long, with this many bytes.
    pub fn input_too_large(bytes: usize) -> Self {
        Self::TooLarge { part: "input", bytes, most: limits::INPUT_BYTES }
    }

    /// A request's body is too long, with this many bytes where `most` may come.
    pub fn body_too_large(bytes: usize, most: usize) -> Self {
        Self::TooLarge { part: "body", bytes, most }
    }

    /// The same idempotency key came with another body.
    pub fn idempotency_key_reused() -> Self {
        Self::Unprocessable {
            code: "idempotency_key_reused",
            param: Some("Idempotency-Key"),
            message:
                "This Idempotency-Key was used with another body. Send the first body again to get its job, or use a \
                      new key to start another."
                    .to_owned(),
        }
    }

    /// The HTTP status.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Invalid(_) => StatusCode::BAD_REQUEST,
            Self::Unauthorized | Self::TokenInvalid | Self::TokenExpired => StatusCode::UNAUTHORIZED,
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::Conflict { .. } => StatusCode::CONFLICT,
            Self::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Unprocessable { .. } => StatusCode::UNPROCESSABLE_ENTITY,
            Self::RateLimited { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Unavailable(..) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// When to try again, where waiting helps.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::RateLimited { retry_after, .. } => Some(*retry_after),
            Self::Unavailable(Unavailable::Overloaded, _) => Some(Duration::from_secs(2)),
            Self::Unavailable(Unavailable::Paused, _) => Some(Duration::from_secs(60)),
            _ => None,
        }
    }

    /// What the caller reads. Nothing of a cause is in it.
    pub fn body(&self) -> ErrorBody {
        let (kind, code) = self.kind_and_code();
        let (param, details) = match self {
            Self::Invalid(findings) => (findings.first().map(|finding| finding.param.clone()), findings.clone()),
            Self::Unprocessable { param, .. } => (param.map(str::to_owned), Vec::new()),
            Self::TooLarge { part, .. } => (Some((*part).to_owned()), Vec::new()),
            _ => (None, Vec::new()),
        };
        ErrorBody {
            kind: kind.to_owned(),
            code: code.to_owned(),
            message: self.message(),
            param,
            details,
            request_id: None,
        }
    }

    fn kind_and_code(&self) -> (&'static str, &'static str) {
        match self {
            Self::Invalid(_) => ("invalid_request", "invalid_request"),
            Self::Unauthorized => ("unauthorized", "unauthorized"),
            Self::TokenInvalid => ("unauthorized", "token_invalid"),
            Self::TokenExpired => ("unauthorized", "token_expired"),
            Self::NotFound(Missing::Job) => ("not_found", "job_not_found"),
            Self::NotFound(Missing::ToolCall) => ("not_found", "tool_call_not_found"),
            Self::NotFound(Missing::InputRequest) => ("not_found", "input_request_not_found"),
            Self::NotFound(Missing::Workflow) => ("not_found", "workflow_not_found"),
            Self::NotFound(Missing::Route) => ("not_found", "route_not_found"),
            Self::MethodNotAllowed => ("method_not_allowed", "method_not_allowed"),
            Self::Conflict { code, .. } => ("conflict", code),
            Self::TooLarge { part: "input", .. } => ("too_large", "input_too_large"),
            Self::TooLarge { .. } => ("too_large", "body_too_large"),
            Self::Unprocessable { code, .. } => ("unprocessable", code),
            Self::RateLimited { .. } => ("rate_limited", "too_many_jobs"),
            Self::Internal(_) => ("internal", "internal"),
            Self::Unavailable(Unavailable::Paused, _) => ("unavailable", "paused"),
            Self::Unavailable(Unavailable::Overloaded, _) => ("unavailable", "overloaded"),
        }
    }

    fn message(&self) -> String {
        match self {
            Self::Invalid(findings) => match findings.as_slice() {
                [] => "The request is invalid. Compare it with the API's description.".to_owned(),
                [only] => only.message.clone(),
                [first, rest @ ..] => {
                    format!("{} ({} more in `details`; correct them all and send it again.)", first.message, rest.len())
                }
            },
            Self::Unauthorized => "Nobody is signed in. Send a valid access token.".to_owned(),
            Self::TokenInvalid => {
                "The stream's token is missing or was not issued for this job. Get an address with \
                 POST /jobs/{id}/stream_token."
                    .to_owned()
            }
            Self::TokenExpired => {
                "The stream's token has expired. Get a new address with POST /jobs/{id}/stream_token and go on from your \
                 last event."
                    .to_owned()
            }
            Self::NotFound(Missing::Job) => {
                "There is no such job, or it is not yours, or it is no longer kept. Check the id; GET /jobs lists yours."
                    .to_owned()
            }
            Self::NotFound(Missing::ToolCall) => {
                "The job has no such tool call. GET /jobs/{id} lists its calls in `tool_calls`.".to_owned()
            }
            Self::NotFound(Missing::InputRequest) => {
                "The job has no such input request. GET /jobs/{id} lists them in `input_requests`.".to_owned()
            }
            Self::NotFound(Missing::Workflow) => {
                "You have no workflow of this id. GET /workflows lists yours.".to_owned()
            }
            Self::NotFound(Missing::Route) => {
                "There is no such route. Check the path against the API's description.".to_owned()
            }
            Self::MethodNotAllowed => {
                "The route does not have this method. Use one that the `Allow` header names.".to_owned()
            }
            Self::Conflict { message, .. } | Self::Unprocessable { message, .. } => message.clone(),
            Self::TooLarge { part, bytes, most } => format!(
                "The {part} has {bytes} bytes and may have {most}. Send less of it, or files and images by their address."
            ),
            Self::RateLimited { limit, .. } => format!(
                "You have {limit} jobs at work, as many as allowed. Wait until one has ended, or cancel one, and try again."
            ),
            Self::Internal(_) => {
                "Something failed on our side. Try again; if it stays so, report it with the `request_id`.".to_owned()
            }
            Self::Unavailable(Unavailable::Paused, _) => {
                "New jobs are paused. Try again later; jobs that were accepted go on.".to_owned()
            }
            Self::Unavailable(Unavailable::Overloaded, _) => {
                "The service is short of capacity. Try again after the time in `Retry-After`.".to_owned()
            }
        }
    }

    /// Logs what the caller is not told. Called once, where the answer is made.
    fn log(&self) {
        match self {
            Self::Internal(source) => tracing::error!(error = %Chain(source.as_ref()), "request failed"),
            Self::Unavailable(what, Some(source)) => {
                tracing::error!(error = %Chain(source.as_ref()), reason = ?what, "request refused");
            }
            _ => {}
        }
    }
}

/// An error with all its sources on one line.
pub struct Chain<'a>(pub &'a (dyn Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut next = self.0.source();
        while let Some(source) = next {
            write!(f, ": {source}")?;
            next = source.source();
        }
        Ok(())
    }
}

/// The inside of an error's JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// The class, one per status.
    #[serde(rename = "type")]
    pub kind: String,
    /// The case, a stable word for programs.
    pub code: String,
    /// For people: what is wrong and what to do.
    pub message: String,
    /// What is at fault, if one thing is; the first of several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub param: Option<String>,
    /// Every finding.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<Finding>,
    /// Which request it was: [`crate::request_id`] fills it in.
    #[serde(default)]
    pub request_id: Option<String>,
}

impl ErrorBody {
    /// The whole JSON of an answer.
    pub fn to_json(&self) -> Value {
        serde_json::json!({ "error": self })
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        self.log();
        let body = self.body();
        let mut response = Response::new(Body::from(body.to_json().to_string()));
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(wait) = self.retry_after() {
            let seconds = wait.as_millis().div_ceil(1000).max(1);
            headers.insert(header::RETRY_AFTER, HeaderValue::from(u64::try_from(seconds).unwrap_or(u64::MAX)));
        }
        response.extensions_mut().insert(body);
        response
    }
}

/// The fallback of routers: no such route.
pub async fn route_not_found() -> ApiError {
    ApiError::NotFound(Missing::Route)
}

/// The fallback of routes: no such method.
pub async fn method_not_allowed() -> ApiError {
    ApiError::MethodNotAllowed
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;
    use serde_json::json;

    use super::*;

    async fn read(error: ApiError) -> (u16, Option<String>, Value) {
        let response = error.into_response();
        let status = response.status().as_u16();
        let retry = response.headers().get("retry-after").map(|value| value.to_str().unwrap().to_owned());
        assert_eq!(response.headers()["content-type"], "application/json");
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (status, retry, serde_json::from_slice(&body).unwrap())
    }

    #[tokio::test]
    async fn an_invalid_request_lists_every_finding() {
        let error = ApiError::Invalid(vec![
            Finding::new("temperature", "`temperature` must be a number from 0 to 2."),
            Finding::new("top_p", "`top_p` must be a number from 0 to 1."),
        ]);
        let (status, _, body) = read(error).await;
        assert_eq!(status, 400);
        assert_eq!(
            body,
            json!({"error": {
                "type": "invalid_request", "code": "invalid_request", "param": "temperature",
                "message": "`temperature` must be a number from 0 to 2. (1 more in `details`; correct them all and send it again.)",
                "details": [
                    {"param": "temperature", "message": "`temperature` must be a number from 0 to 2."},
                    {"param": "top_p", "message": "`top_p` must be a number from 0 to 1."}],
                "request_id": null
            }})
        );
    }

    #[derive(Debug, thiserror::Error)]
    #[error("table secret-table is gone")]
    struct Inner;

    #[tokio::test]
    async fn a_cause_is_never_shown() {
        for error in [ApiError::internal(Inner), ApiError::Unavailable(Unavailable::Overloaded, Some(Box::new(Inner)))]
        {
            let (_, _, body) = read(error).await;
            assert!(!body.to_string().contains("secret-table"), "{body}");
        }
    }

    #[tokio::test]
    async fn every_error_has_its_status_type_and_code() {
        let second = Duration::from_millis(1001);
        let table = [
            (ApiError::Unauthorized, 401, "unauthorized", "unauthorized", None),
            (ApiError::TokenInvalid, 401, "unauthorized", "token_invalid", None),
            (ApiError::TokenExpired, 401, "unauthorized", "token_expired", None),
            (ApiError::NotFound(Missing::Job), 404, "not_found", "job_not_found", None),
            (ApiError::NotFound(Missing::ToolCall), 404, "not_found", "tool_call_not_found", None),
            (ApiError::NotFound(Missing::Route), 404, "not_found", "route_not_found", None),
            (ApiError::MethodNotAllowed, 405, "method_not_allowed", "method_not_allowed", None),
            (ApiError::job_finished(), 409, "conflict", "job_finished", None),
            (ApiError::input_too_large(5_000_000), 413, "too_large", "input_too_large", None),
            (ApiError::body_too_large(5_000_000, 1_000_000), 413, "too_large", "body_too_large", None),
            (ApiError::idempotency_key_reused(), 422, "unprocessable", "idempotency_key_reused", None),
            (ApiError::RateLimited { limit: 5, retry_after: second }, 429, "rate_limited", "too_many_jobs", Some("2")),
            (ApiError::internal(Inner), 500, "internal", "internal", None),
            (ApiError::Unavailable(Unavailable::Paused, None), 503, "unavailable", "paused", Some("60")),
            (ApiError::Unavailable(Unavailable::Overloaded, None), 503, "unavailable", "overloaded", Some("2")),
        ];
        for (error, status, kind, code, retry_after) in table {
            let (got_status, got_retry, body) = read(error).await;
            assert_eq!((got_status, got_retry.as_deref()), (status, retry_after), "{body}");
            assert_eq!((&body["error"]["type"], &body["error"]["code"]), (&json!(kind), &json!(code)));
            assert!(body["error"]["message"].as_str().is_some_and(|message| message.len() > 30), "{body}");
        }
    }

    #[test]
    fn a_chain_names_every_source() {
        let error = ApiError::internal(Inner);
        assert_eq!(Chain(&error).to_string(), "internal error: table secret-table is gone");
    }
}
