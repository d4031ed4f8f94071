//! The built files, as they are in the binary: compressed, so that nobody compresses at run time and the function's package
//! has each of them once. Who takes nothing compressed, which no browser does, is sent what it unpacks to.

use std::{io::Read as _, sync::LazyLock};

use axum::{
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use flate2::read::GzDecoder;
use sha2::{Digest as _, Sha256};

/// A file.
pub(crate) struct File {
    name: &'static str,
    content_type: &'static str,
    gzip: &'static [u8],
    /// Of the compressed content.
    hash: LazyLock<String>,
}

macro_rules! file {
    ($name:literal, $content_type:literal) => {
        File {
            name: $name,
            content_type: $content_type,
            gzip: include_bytes!(concat!("../dist/", $name, ".gz")),
            hash: LazyLock::new(|| hash(include_bytes!(concat!("../dist/", $name, ".gz")))),
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

impl File {
    pub(crate) fn named(name: &str) -> Option<&'static Self> {
        OTHERS.iter().find(|file| file.name == name)
    }

    /// The answer to a request: nothing when the asker has it already. A browser asks each time, since the names of the
    /// files stay and their contents do not.
    pub(crate) fn answer(&self, headers: &HeaderMap) -> Response {
        let packed = takes_gzip(headers);
        let suffix = if packed { "-gz" } else { "" };
        let tag = format!("\"{}{suffix}\"", self.hash.as_str());
        let known = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
        let has_it = known.flat_map(|value| value.split(',')).any(|one| one.trim().trim_start_matches("W/") == tag);
        let mut answer = if has_it {
            StatusCode::NOT_MODIFIED.into_response()
        } else {
            let mut answer = if packed { self.gzip.into_response() } else { self.unpacked().into_response() };
            answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(self.content_type));
            if packed {
                answer.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
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

    fn unpacked(&self) -> Vec<u8> {
        let mut content = Vec::new();
        #[expect(clippy::expect_used, reason = "it was packed when the page was built, and a test unpacks every file")]
        GzDecoder::new(self.gzip).read_to_end(&mut content).expect("the built files are whole");
        content
    }
}

/// Whether the asker takes what is compressed with gzip, as every browser does on every origin (brotli only on secure
/// ones, where it would save a tenth).
fn takes_gzip(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|one| {
        let (name, quality) = one.split_once(';').unwrap_or((one, ""));
        let refused =
            quality.trim().strip_prefix("q=").is_some_and(|q| q.trim().parse::<f32>().is_ok_and(|q| q <= 0.0));
        name.trim() == "gzip" && !refused
    })
}
