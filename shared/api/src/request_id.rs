//! Which request an answer belongs to: the gateway's own id where there is one, so that a caller's report, our logs and
//! the gateway's meet.

use axum::{body::Body, extract::Request, middleware::Next, response::Response};
use http::{HeaderName, HeaderValue, header};
use lambda_http::request::RequestContext;
use tracing::Instrument;

use crate::error::ErrorBody;

/// The header that every answer carries.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// A layer (`axum::middleware::from_fn(request_id::stamp)`), outermost in every router: names the request in the logs, in
/// the answer's header and in its error.
pub async fn stamp(request: Request, next: Next) -> Response {
    let id = gateway_id(&request).unwrap_or_else(|| format!("req_{}", ulid::Ulid::generate()));
    let span = tracing::info_span!("request", request.id = id, http.method = %request.method());
    let response = next.run(request).instrument(span).await;
    stamped(response, &id)
}

fn gateway_id(request: &Request) -> Option<String> {
    match request.extensions().get::<RequestContext>()? {
        RequestContext::ApiGatewayV2(context) => context.request_id.clone().filter(|id| !id.is_empty()),
        _ => None,
    }
}

fn stamped(mut response: Response, id: &str) -> Response {
    if let Some(mut error) = response.extensions_mut().remove::<ErrorBody>() {
        error.request_id = Some(id.to_owned());
        *response.body_mut() = Body::from(error.to_json().to_string());
        response.headers_mut().remove(header::CONTENT_LENGTH); // it was the length without the id
    }
    if let Ok(value) = HeaderValue::from_str(id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    response
}

#[cfg(test)]
mod tests {
    use axum::{Router, body::to_bytes, middleware, routing::get};
    use domain::id::UserId;
    use serde_json::Value;
    use tower::ServiceExt;

    use super::*;
    use crate::{
        error::{method_not_allowed, route_not_found},
        user,
    };

    fn router() -> Router {
        Router::new()
            .route("/jobs", get(|| async { "fine" }))
            .fallback(route_not_found)
            .method_not_allowed_fallback(method_not_allowed)
            .layer(middleware::from_fn(stamp))
    }

    async fn answer(method: &str, path: &str, id: Option<&str>) -> (u16, String, String) {
        let mut request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
        if let Some(id) = id {
            let user: UserId = "ann".parse().unwrap();
            let RequestContext::ApiGatewayV2(mut context) = user::claims_for(&user) else { panic!("another gateway") };
            context.request_id = Some(id.to_owned());
            request.extensions_mut().insert(RequestContext::ApiGatewayV2(context));
        }
        let response = router().oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let id = response.headers()["x-request-id"].to_str().unwrap().to_owned();
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (status, id, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn an_error_carries_the_gateways_request_id() {
        for (method, path, status) in [("GET", "/nowhere", 404), ("PUT", "/jobs", 405)] {
            let (got, id, body) = answer(method, path, Some("JKJaXmPLvHcESHA=")).await;
            let body: Value = serde_json::from_str(&body).unwrap();
            assert_eq!((got, id.as_str()), (status, "JKJaXmPLvHcESHA="));
            assert_eq!(body["error"]["request_id"], "JKJaXmPLvHcESHA=");
        }
    }

    #[tokio::test]
    async fn a_request_without_an_id_gets_one_and_other_answers_stay_as_they_are() {
        let (status, id, body) = answer("GET", "/jobs", None).await;
        assert_eq!((status, body.as_str()), (200, "fine"));
        assert!(id.starts_with("req_"), "{id}");
    }
}
