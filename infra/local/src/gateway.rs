//! What stands before the functions on AWS: routes to each, and an authorizer. Here the authorizer believes a header,
//! which is why nothing but this machine may reach it.

use api::{
    error::{ApiError, ErrorBody, Finding},
    paths,
    user::claims_for,
};
use axum::{
    Json, Router,
    extract::{Request, State},
    http::{HeaderMap, Method, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use domain::id::UserId;
use serde_json::json;
use tower::ServiceExt as _;

/// The header that names the user.
pub(crate) const USER_HEADER: &str = "x-nightshift-user";
/// Where what was counted is shown; on AWS it is CloudWatch that shows it.
const METRICS: &str = "/metrics";
/// The user when there is none.
const DEFAULT_USER: &str = "local";

/// The functions behind HTTP.
#[derive(Clone)]
pub(crate) struct Functions {
    pub(crate) start_job: Router,
    pub(crate) jobs: Router,
    pub(crate) stream: Router,
}

/// All of them at one origin.
pub(crate) fn router(functions: Functions) -> Router {
    Router::new().route(paths::HEALTH, get(health)).fallback(forward).with_state(functions)
}

async fn health() -> Response {
    Json(json!({"status": "ok", "service": "nightshift", "version": env!("CARGO_PKG_VERSION")})).into_response()
}

async fn forward(State(functions): State<Functions>, mut request: Request) -> Response {
    // A web page could have a name of its own resolve to this machine: its requests then carry that name. Or it could
    // send what needs no preflight: that carries its origin.
    if !is_local(request.headers()) {
        return not_from_here();
    }
    let user = match user(request.headers()) {
        Ok(user) => user,
        Err(error) => return error.into_response(),
    };
    request.extensions_mut().insert(claims_for(&user));
    let path = request.uri().path();
    if path == METRICS && request.method() == Method::GET {
        return crate::metrics::page();
    }
    let starts = path == paths::JOBS || path.starts_with("/jobs/") && path.ends_with("/retry");
    let function = if starts && request.method() == Method::POST {
        functions.start_job
    } else if path.starts_with("/jobs/") && path.ends_with("/stream") {
        functions.stream
    } else {
        functions.jobs
    };
    function.oneshot(request).await.into_response()
}

fn not_from_here() -> Response {
    let error = ErrorBody {
        kind: "forbidden".to_owned(),
        code: "not_from_this_machine".to_owned(),
        message:
            "Nightshift on a machine of its own answers that machine alone: use http://127.0.0.1 or http://localhost \
                  with its port as the address, and no page of another origin. Through a proxy, let that send such a \
                  `Host`, and no `Origin`."
                .to_owned(),
        param: None,
        details: Vec::new(),
        request_id: None,
    };
    (StatusCode::FORBIDDEN, Json(json!({"error": error}))).into_response()
}

fn user(headers: &HeaderMap) -> Result<UserId, ApiError> {
    let name = match headers.get(USER_HEADER) {
        None => DEFAULT_USER,
        Some(value) => value.to_str().unwrap_or_default(),
    };
    name.parse().map_err(|error| ApiError::Invalid(vec![Finding::new(USER_HEADER, format!("{error}."))]))
}

fn is_local(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    let origin = text(header::ORIGIN).map(|origin| origin.split_once("://").map_or("", |(_, host)| host));
    text(header::HOST).is_some_and(is_loopback) && origin.is_none_or(is_loopback)
}

fn is_loopback(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    matches!(name, "localhost" | "127.0.0.1" | "[::1]")
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use http_body_util::BodyExt as _;

    use super::*;

    #[test]
    fn only_this_machine_is_let_in() {
        let local = |host: &str, origin: Option<&str>| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, host.parse().unwrap());
            if let Some(origin) = origin {
                headers.insert(header::ORIGIN, origin.parse().unwrap());
            }
            is_local(&headers)
        };
        assert!(local("127.0.0.1:7070", None) && local("localhost", Some("http://localhost:3000")));
        assert!(!local("evil.example:7070", None));
        for origin in ["https://evil.example", "null", "http://127.0.0.1.evil.example"] {
            assert!(!local("127.0.0.1:7070", Some(origin)), "{origin}");
        }
        assert!(!is_local(&HeaderMap::new()));
    }

    #[tokio::test]
    async fn who_is_not_let_in_is_told_what_to_do() {
        let functions = Functions { start_job: Router::new(), jobs: Router::new(), stream: Router::new() };
        let request = Request::builder().uri("/jobs").header(header::HOST, "evil.example").body(Body::empty()).unwrap();
        let answer = router(functions).oneshot(request).await.unwrap();
        assert_eq!(answer.status(), StatusCode::FORBIDDEN);
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["error"]["code"], "not_from_this_machine");
        assert!(body["error"]["message"].as_str().unwrap().contains("http://127.0.0.1"), "{body}");
    }
}
