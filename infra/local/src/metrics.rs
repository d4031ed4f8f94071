//! `GET /metrics`: what CloudWatch is told on AWS, in Prometheus' text form.

use std::sync::OnceLock;

use axum::{
    http::header,
    response::{IntoResponse, Response},
};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use metrics_util::layers::{Layer as _, PrefixLayer};

/// Before each name.
const PREFIX: &str = "nightshift";
const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The process's counts; the first to ask has them begin.
pub(crate) fn counts() -> &'static PrometheusHandle {
    static COUNTS: OnceLock<PrometheusHandle> = OnceLock::new();
    COUNTS.get_or_init(|| {
        let recorder = PrometheusBuilder::new().with_recommended_naming(true).build_recorder();
        let counts = recorder.handle();
        if ::metrics::set_global_recorder(PrefixLayer::new(PREFIX).layer(recorder)).is_err() {
            tracing::warn!("somebody counts already; /metrics stays empty");
        }
        signals::metric::describe();
        counts
    })
}

/// The page.
pub(crate) fn page() -> Response {
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], counts().render()).into_response()
}
