//! The built files, as they are in the binary: each whole and compressed, so that nobody compresses at run time.

use std::sync::LazyLock;

use axum::{
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use sha2::{Digest as _, Sha256};

/// A file.
pub(crate) struct File {
    name: &'static str,
    content_type: &'static str,
    plain: &'static [u8],
    gzip: &'static [u8],
    brotli: &'static [u8],
    /// Of the content, whichever way it is encoded.
    hash: LazyLock<String>,
}

macro_rules! file {
    ($name:literal, $content_type:literal) => {
        File {
            name: $name,
            content_type: $content_type,
            plain: include_bytes!(concat!("../dist/", $name)),
            gzip: include_bytes!(concat!("../dist/", $name, ".gz")),
            brotli: include_bytes!(concat!("../dist/", $name, ".br")),
            hash: LazyLock::new(|| hash(include_bytes!(concat!("../dist/", $name)))),
        }
    };
}

static INDEX: File = file!("index.html", "text/html; charset=utf-8");
static OTHERS: [File; 3] = [
    file!("app.js", "text/javascript; charset=utf-8"),
    file!("app.css", "text/css; charset=utf-8"),
    file!("icon.svg", "image/svg+xml"),
];

fn hash(content: &[u8]) -> String {
    Sha256::digest(content).iter().take(12).map(|byte| format!("{byte:02x}")).collect()
}

/// The page itself.
pub(crate) fn page() -> &'static File {
    &INDEX
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Encoding {
    Plain,
    Gzip,
    Brotli,
}

impl File {
    pub(crate) fn named(name: &str) -> Option<&'static Self> {
        OTHERS.iter().find(|file| file.name == name)
    }

    /// The answer to a request: nothing when the asker has it already. A browser asks each time, since the names of the
    /// files stay and their contents do not.
    pub(crate) fn answer(&self, headers: &HeaderMap) -> Response {
        let encoding = accepted(headers);
        let (content, name, suffix) = match encoding {
            Encoding::Plain => (self.plain, None, ""),
            Encoding::Gzip => (self.gzip, Some("gzip"), "-gz"),
            Encoding::Brotli => (self.brotli, Some("br"), "-br"),
        };
        let tag = format!("\"{}{suffix}\"", self.hash.as_str());
        let known = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
        let has_it = known.flat_map(|value| value.split(',')).any(|one| one.trim().trim_start_matches("W/") == tag);
        let mut answer = if has_it {
            StatusCode::NOT_MODIFIED.into_response()
        } else {
            let mut answer = content.into_response();
            answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(self.content_type));
            if let Some(name) = name {
                answer.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static(name));
            }
            answer
        };
        let headers = answer.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
        if let Ok(tag) = HeaderValue::try_from(tag) {
            headers.insert(header::ETAG, tag);
        }
        answer
    }
}

/// The smallest form that the asker takes.
fn accepted(headers: &HeaderMap) -> Encoding {
    let mut best = Encoding::Plain;
    let values = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    for one in values.flat_map(|value| value.split(',')) {
        let (name, quality) = one.split_once(';').unwrap_or((one, ""));
        let refused =
            quality.trim().strip_prefix("q=").is_some_and(|q| q.trim().parse::<f32>().is_ok_and(|q| q <= 0.0));
        match name.trim() {
            _ if refused => {}
            "br" => best = Encoding::Brotli,
            "gzip" if best == Encoding::Plain => best = Encoding::Gzip,
            _ => {}
        }
    }
    best
}
