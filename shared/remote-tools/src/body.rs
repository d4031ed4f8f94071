//! What comes back: read up to a size, unpacked up to a size, and text or nothing.

use std::io::Read;

use encoding_rs::{Encoding, UTF_8};
use flate2::read::{MultiGzDecoder, ZlibDecoder};
use reqwest::{
    Response,
    header::{CONTENT_ENCODING, CONTENT_TYPE},
};
use tools::ToolError;

use crate::guard::failure;

/// What is asked for with `Accept-Encoding`: what is unpacked here.
pub(crate) const ENCODINGS: &str = "gzip, deflate, identity";
/// Where an HTML page says how it is written.
const META_BYTES: usize = 1024;

/// A body, whole or cut.
#[derive(Debug)]
pub(crate) struct Body {
    /// Without parameters, in lower case; empty when the server said none.
    pub(crate) media_type: String,
    charset: Option<String>,
    bytes: Vec<u8>,
    /// Whether it is longer than may be read.
    pub(crate) is_cut: bool,
}

impl Body {
    /// Reads an answer's body: at most `limit` bytes as they come, and at most `limit` when they are unpacked. What is
    /// longer is cut, not waited for.
    pub(crate) async fn read(mut response: Response, limit: usize) -> Result<Self, ToolError> {
        let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let (media_type, charset) = media_type(header(CONTENT_TYPE));
        let encoding = header(CONTENT_ENCODING).trim().to_ascii_lowercase();
        let mut bytes = Vec::new();
        let mut is_cut = false;
        while let Some(chunk) = response.chunk().await.map_err(failure)? {
            let room = limit - bytes.len();
            bytes.extend_from_slice(&chunk[..chunk.len().min(room)]);
            if chunk.len() > room {
                is_cut = true;
                break;
            }
        }
        let (bytes, unpacked_cut) = unpacked(bytes, &encoding, limit)?;
        Ok(Self { media_type, charset, bytes, is_cut: is_cut || unpacked_cut })
    }

    /// Whether it is text, as far as the server says.
    pub(crate) fn is_text(&self) -> bool {
        let kind = self.media_type.as_str();
        let (_, subtype) = kind.split_once('/').unwrap_or_default();
        kind.starts_with("text/")
            || subtype.ends_with("+json")
            || subtype.ends_with("+xml")
            || matches!(subtype, "json" | "xml" | "javascript" | "ecmascript" | "x-ndjson" | "yaml" | "x-yaml" | "toml")
            // Whoever says nothing may still send text: what it is then shows.
            || (kind.is_empty() && !self.bytes.contains(&0))
    }

    /// Whether it is a page.
    pub(crate) fn is_html(&self) -> bool {
        matches!(self.media_type.as_str(), "text/html" | "application/xhtml+xml")
    }

    /// Its text, whatever it is written in.
    pub(crate) fn text(&self) -> String {
        let named = self.charset.as_deref().and_then(|label| Encoding::for_label(label.as_bytes()));
        let encoding = named.or_else(|| self.is_html().then(|| self.meta_charset()).flatten()).unwrap_or(UTF_8);
        encoding.decode(&self.bytes).0.into_owned()
    }

    fn meta_charset(&self) -> Option<&'static Encoding> {
        let head = String::from_utf8_lossy(&self.bytes[..self.bytes.len().min(META_BYTES)]).to_ascii_lowercase();
        let (_, rest) = head.split_once("charset=")?;
        let rest = rest.trim_start_matches(['"', '\'']);
        let label = rest.split(|c: char| !c.is_ascii_alphanumeric() && !"-_:.".contains(c)).next()?;
        Encoding::for_label(label.as_bytes())
    }
}

fn media_type(header: &str) -> (String, Option<String>) {
    let mut parts = header.split(';');
    let media_type = parts.next().unwrap_or_default().trim().to_ascii_lowercase();
    let charset = parts.find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("charset").then(|| value.trim().trim_matches('"').to_owned())
    });
    (media_type, charset)
}

/// What was packed, up to `limit` bytes of it: a bomb goes off no further than that.
fn unpacked(bytes: Vec<u8>, encoding: &str, limit: usize) -> Result<(Vec<u8>, bool), ToolError> {
    let reader: Box<dyn Read> = match encoding {
        "" | "identity" => return Ok((bytes, false)),
        "gzip" | "x-gzip" => Box::new(MultiGzDecoder::new(bytes.as_slice())),
        "deflate" => Box::new(ZlibDecoder::new(bytes.as_slice())),
        other => {
            let other: String = other.chars().take(40).collect();
            return Err(ToolError::RespondToModel(format!(
                "The answer is packed as `{other}`, which cannot be unpacked"
            )));
        }
    };
    let mut plain = Vec::new();
    let read = reader.take(limit as u64 + 1).read_to_end(&mut plain);
    if plain.len() > limit {
        plain.truncate(limit);
        return Ok((plain, true));
    }
    match read {
        // What was cut before it was unpacked ends early; so far as it goes, it is good.
        Err(_) if plain.is_empty() => Err(ToolError::RespondToModel("The answer cannot be unpacked".to_owned())),
        Err(_) => Ok((plain, true)),
        Ok(_) => Ok((plain, false)),
    }
}
