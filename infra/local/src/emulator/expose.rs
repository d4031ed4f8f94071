//! Serves an emulator's connector on a loopback port, for the AWS CLI and the like.
//!
//! Requests take the very path that the functions' requests take, so hints fire for them too. Whoever can reach the port
//! can do everything: it is bound to loopback and asks for a loopback `Host`, so that no web page reaches it by a name
//! of its own.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::Context as _;
use aws_smithy_runtime_api::client::http::{HttpConnector, SharedHttpConnector};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_types::body::SdkBody;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use tokio_util::task::AbortOnDropHandle;

/// DynamoDB takes bodies of up to 16 MB.
const MAX_BODY: usize = 16 * 1024 * 1024;

#[derive(Clone)]
struct Exposed {
    uri: String,
    connector: SharedHttpConnector,
}

pub(super) async fn serve(
    port: u16,
    region: &str,
    service: &str,
    connector: SharedHttpConnector,
) -> anyhow::Result<(SocketAddr, AbortOnDropHandle<()>)> {
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port))
        .await
        .with_context(|| format!("cannot serve {service} on 127.0.0.1:{port}"))?;
    let address = listener.local_addr()?;
    let exposed = Exposed { uri: format!("https://{service}.{region}.amazonaws.com/"), connector };
    let router = Router::new().fallback(post(forward)).layer(DefaultBodyLimit::max(MAX_BODY)).with_state(exposed);
    let task = tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router).await {
            tracing::error!(%error, "the exposed emulator stopped");
        }
    });
    Ok((address, AbortOnDropHandle::new(task)))
}

async fn forward(State(to): State<Exposed>, headers: HeaderMap, body: Bytes) -> Response {
    let text = |name| headers.get(name).and_then(|v| v.to_str().ok());
    if !text(header::HOST).is_some_and(is_loopback) {
        return StatusCode::FORBIDDEN.into_response();
    }
    let mut request = HttpRequest::new(SdkBody::from(body));
    if request.set_method("POST").is_err() || request.set_uri(to.uri.as_str()).is_err() {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
    let Some(target) = headers.get("x-amz-target").and_then(|v| v.to_str().ok()) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    request.headers_mut().insert("x-amz-target", target.to_owned());
    let Ok(mut answer) = to.connector.call(request).await else {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    let status = StatusCode::from_u16(answer.status().as_u16()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let body = answer.take_body();
    let body = Bytes::copy_from_slice(body.bytes().unwrap_or_default());
    let content_type = [(header::CONTENT_TYPE, "application/x-amz-json-1.0")];
    (status, content_type, body).into_response()
}

fn is_loopback(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    matches!(name, "localhost" | "127.0.0.1")
}
