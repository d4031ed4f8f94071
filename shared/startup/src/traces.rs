//! Traces: spans go to a collector that speaks OTLP over HTTP, where one is configured; otherwise none is made. They are
//! sent at the end of each invocation, since the process may stand still afterwards, through the SDK's HTTP client, so
//! that there is one TLS stack.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use aws_smithy_http_client::{
    Connector,
    tls::{Provider, rustls_provider::CryptoMode},
};
use aws_smithy_runtime_api::{
    client::{
        http::{HttpConnector as _, HttpConnectorSettings},
        orchestrator::HttpRequest,
    },
    http::Response as SdkResponse,
};
use aws_smithy_types::body::SdkBody;
use http_body_util::BodyExt as _;
use opentelemetry::{
    Context, global,
    trace::{SpanId, TraceId},
};
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{ExporterBuildError, RetryPolicy, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    trace::{IdGenerator, RandomIdGenerator, SdkTracerProvider, Span, SpanData, SpanExporter as _, SpanProcessor},
};

use crate::env::{self, EnvError};

/// The variable that says where the collector is; spans go to `/v1/traces` under it. Without it there are no traces. What
/// the collector wants to see in headers is in `OTEL_EXPORTER_OTLP_HEADERS`, as OpenTelemetry says.
pub const VARIABLE: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
/// How long the collector may take. An invocation waits for it.
const WITHIN: Duration = Duration::from_secs(3);
/// Spans that wait to be sent; what comes beyond is dropped and not told.
const WAITING: usize = 2048;

/// Traces cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TracesError {
    /// [`VARIABLE`] is not Unicode.
    #[error(transparent)]
    Env(#[from] EnvError),
    /// No exporter can be made.
    #[error("traces cannot be set up with the address in {VARIABLE} and its headers")]
    Exporter(#[from] ExporterBuildError),
}

/// Spans that have ended and are not yet sent.
#[derive(Debug, Clone, Default)]
pub struct Traces(Option<Arc<Outbox>>);

/// Takes spans from now on, if a collector is configured. `service`: whose they are.
///
/// # Errors
/// When the variable cannot be used.
pub fn init(service: &'static str) -> Result<Traces, TracesError> {
    match env::optional(VARIABLE)? {
        Some(endpoint) => to(&endpoint, service),
        None => Ok(Traces::default()),
    }
}

/// Takes spans from now on, for the collector at this address.
///
/// # Errors
/// When it is none.
pub fn to(endpoint: &str, service: &'static str) -> Result<Traces, TracesError> {
    let resource = Resource::builder_empty().with_service_name(service).build();
    let mut exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(Collector::new())
        .with_endpoint(format!("{}/v1/traces", endpoint.trim_end_matches('/')))
        .with_timeout(WITHIN)
        // Between two tries the exporter would put the thread to sleep, and with it every turn of the process.
        .with_retry_policy(RetryPolicy::disabled())
        .build()?;
    exporter.set_resource(&resource);
    let outbox = Arc::new(Outbox { exporter, ended: Mutex::default() });
    let provider = SdkTracerProvider::builder()
        .with_resource(resource)
        .with_id_generator(Ids::default())
        .with_span_processor(Taker(outbox.clone()))
        .build();
    global::set_tracer_provider(provider);
    signals::trace::switch_on();
    Ok(Traces(Some(outbox)))
}

impl Traces {
    /// Sends what has ended. A collector that does not answer is logged, and what was for it is lost: an invocation is not
    /// held up twice.
    pub async fn flush(&self) {
        let Some(outbox) = &self.0 else { return };
        let ended = std::mem::take(&mut *outbox.ended());
        if ended.is_empty() {
            return;
        }
        let spans = ended.len();
        if let Err(error) = outbox.exporter.export(ended).await {
            ::tracing::warn!(error = &error as &dyn std::error::Error, spans, "spans not sent");
        }
    }
}

/// Where spans wait for [`Traces::flush`].
#[derive(Debug)]
struct Outbox {
    exporter: SpanExporter,
    ended: Mutex<Vec<SpanData>>,
}

impl Outbox {
    fn ended(&self) -> std::sync::MutexGuard<'_, Vec<SpanData>> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Puts spans into the outbox. The SDK's own processors send from threads of theirs, which stand still with the process.
#[derive(Debug)]
struct Taker(Arc<Outbox>);

impl SpanProcessor for Taker {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        let mut ended = self.0.ended();
        if ended.len() < WAITING {
            ended.push(span);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

/// Ids at random, but for the spans that are named after their job.
#[derive(Debug, Default)]
struct Ids(RandomIdGenerator);

impl IdGenerator for Ids {
    fn new_trace_id(&self) -> TraceId {
        signals::trace::named_ids().map_or_else(|| self.0.new_trace_id(), |(trace, _)| trace)
    }

    fn new_span_id(&self) -> SpanId {
        signals::trace::named_ids().map_or_else(|| self.0.new_span_id(), |(_, span)| span)
    }
}

/// The SDK's HTTP client, as exporters want one.
struct Collector(Connector);

impl Collector {
    fn new() -> Self {
        crate::aws::install_crypto();
        let times = HttpConnectorSettings::builder().connect_timeout(WITHIN).read_timeout(WITHIN).build();
        let connector = Connector::builder().connector_settings(times).tls_provider(Provider::Rustls(CryptoMode::Ring));
        Self(connector.build())
    }
}

impl fmt::Debug for Collector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Collector")
    }
}

#[async_trait]
impl HttpClient for Collector {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let request = HttpRequest::try_from(request.map(SdkBody::from))?;
        let response: SdkResponse = self.0.call(request).await?;
        let (parts, body) = response.try_into_http1x()?.into_parts();
        Ok(Response::from_parts(parts, body.collect().await?.to_bytes()))
    }
}
