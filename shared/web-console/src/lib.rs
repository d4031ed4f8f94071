//! The console: the web page on which people start jobs and watch them. It is built from `page/` into `dist/`, which is
//! part of the repository, so that nothing but Rust is needed to have it (`check` proves that the one is made from the
//! other).
//!
//! The page is a user of the public API like any other: nothing here knows what a job is, and nothing of the system may
//! be used here. It asks for no authority, since the page holds nothing of anybody's.

mod files;

use std::{fmt, sync::Arc};

use axum::{
    Json, Router,
    extract::{Path, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header},
    response::{IntoResponse, Response},
    routing::get,
};
use serde::Serialize;

use crate::files::File;

/// The page.
pub const PAGE: &str = "/";
/// What the page has to know of where it is.
pub const CONFIG: &str = "/console.json";
/// The page's other files.
pub const FILE: &str = "/console/{file}";

/// Every route, as a gateway has to pass it on: without asking who it is.
pub const ROUTES: [&str; 3] = [PAGE, CONFIG, FILE];

/// Whether the page has to ask for a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SignIn {
    /// Whoever reaches the API is its user.
    None,
    /// Requests carry a bearer token, which the page asks its user, its address or its embedder for.
    Bearer,
}

/// Where the page is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Whether the page has to ask for a token.
    pub sign_in: SignIn,
    /// Where streams are; `None` when it is where the page is.
    pub stream_url: Option<String>,
    /// Origins whose pages may embed this one and pass it a token. What is no origin, such as `*`, is left out.
    pub embedders: Vec<String>,
    /// What the page says that it belongs to.
    pub version: &'static str,
}

/// The page as it is served somewhere. Cheap to clone.
#[derive(Clone)]
pub struct Console {
    served: Arc<Served>,
}

struct Served {
    policy: HeaderValue,
    config: Config,
}

#[derive(Clone, Serialize)]
struct Config {
    /// Before the API's paths: nothing, since it is where the page is.
    api: &'static str,
    sign_in: SignIn,
    streams_at_api: bool,
    embedders: Vec<String>,
    version: &'static str,
}

impl Console {
    /// The page with these settings.
    pub fn new(settings: Settings) -> Self {
        let embedders: Vec<String> = settings.embedders.iter().filter_map(|text| origin(text)).collect();
        let streams = settings.stream_url.as_deref().and_then(origin);
        let policy = policy(streams.as_deref(), &embedders);
        let config = Config {
            api: "",
            sign_in: settings.sign_in,
            streams_at_api: settings.stream_url.is_none(),
            embedders,
            version: settings.version,
        };
        Self { served: Arc::new(Served { policy, config }) }
    }
}

impl fmt::Debug for Console {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Console").field("policy", &self.served.policy).finish_non_exhaustive()
    }
}

/// The routes.
pub fn router(console: Console) -> Router {
    Router::new().route(PAGE, get(page)).route(CONFIG, get(config)).route(FILE, get(file)).with_state(console)
}

async fn page(State(console): State<Console>, headers: HeaderMap) -> Response {
    console.guard(files::page().answer(&headers))
}

async fn config(State(console): State<Console>) -> Response {
    let no_store = [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];
    console.guard((no_store, Json(console.served.config.clone())).into_response())
}

async fn file(State(console): State<Console>, Path(name): Path<String>, headers: HeaderMap) -> Response {
    match File::named(&name) {
        Some(file) => console.guard(file.answer(&headers)),
        None => console.guard(StatusCode::NOT_FOUND.into_response()),
    }
}

impl Console {
    /// Adds what keeps the page from doing, and being used for, what it is not for.
    fn guard(&self, mut answer: Response) -> Response {
        let headers = answer.headers_mut();
        headers.insert(header::CONTENT_SECURITY_POLICY, self.served.policy.clone());
        for (name, value) in GUARDS {
            headers.insert(name, HeaderValue::from_static(value));
        }
        answer
    }
}

const GUARDS: [(HeaderName, &str); 5] = [
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (
        HeaderName::from_static("permissions-policy"),
        "camera=(), geolocation=(), microphone=(), payment=(), usb=(), clipboard-write=(self)",
    ),
];

/// Everything from here, nothing inline, and no text that becomes HTML (`trusted-types 'none'`).
fn policy(streams: Option<&str>, embedders: &[String]) -> HeaderValue {
    let connect = streams.map_or_else(|| "'self'".to_owned(), |streams| format!("'self' {streams}"));
    let ancestors = if embedders.is_empty() { "'none'".to_owned() } else { embedders.join(" ") };
    let policy = format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src {connect}; \
         base-uri 'none'; form-action 'none'; frame-ancestors {ancestors}; \
         require-trusted-types-for 'script'; trusted-types 'none'"
    );
    // Origins are visible ASCII: nothing else is let into it.
    HeaderValue::try_from(policy).unwrap_or(HeaderValue::from_static("default-src 'none'"))
}

/// The origin of a web address.
fn origin(address: &str) -> Option<String> {
    let uri: Uri = address.trim().parse().ok()?;
    let scheme = uri.scheme_str().filter(|scheme| matches!(*scheme, "http" | "https"))?;
    let authority = uri.authority()?.as_str();
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b':' | b'[' | b']');
    authority.bytes().all(plain).then(|| format!("{scheme}://{authority}"))
}

#[cfg(test)]
mod tests;
