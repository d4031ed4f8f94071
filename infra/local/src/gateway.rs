//! What stands before the functions on AWS: routes to each, and an authorizer. Here the authorizer believes a header,
//! which is why nothing but this machine may reach it.

use api::{
    error::{ApiError, Finding},
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
    // A web page could have a name of its own resolve to this machine: its requests then carry that name.
    if !is_loopback(request.headers()) {
        return StatusCode::FORBIDDEN.into_response();
    }
    let user = match user(request.headers()) {
        Ok(user) => user,
        Err(error) => return error.into_response(),
    };
    request.extensions_mut().insert(claims_for(&user));
    let path = request.uri().path();
    let function = if path == paths::JOBS && request.method() == Method::POST {
        functions.start_job
    } else if path.starts_with("/jobs/") && path.ends_with("/stream") {
        functions.stream
    } else {
        functions.jobs
    };
    function.oneshot(request).await.into_response()
}

fn user(headers: &HeaderMap) -> Result<UserId, ApiError> {
    let name = match headers.get(USER_HEADER) {
        None => DEFAULT_USER,
        Some(value) => value.to_str().unwrap_or_default(),
    };
    name.parse().map_err(|error| ApiError::Invalid(vec![Finding::new(USER_HEADER, format!("{error}."))]))
}

fn is_loopback(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(header::HOST).and_then(|host| host.to_str().ok()) else { return false };
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    matches!(name, "localhost" | "127.0.0.1" | "[::1]")
}
