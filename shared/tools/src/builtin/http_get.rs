//! `http_get`: what is at an address, as text. Here is what the model is told of it; `remote-tools` fetches.
//!
//! ```text
//! {"url": "https://example.com/"}
//! URL: https://example.com/
//! Type: text/html
//!
//! # Example Domain
//!
//! This domain is for use in documentation examples without needing permission. …
//! ```
//!
//! ```text
//! {"url": "https://api.example.com/rates.json"}
//! URL: https://api.example.com/rates.json
//! Type: application/json
//!
//! {"eur":1.08,"gbp":1.27}
//! ```
//!
//! ```text
//! {"url": "https://example.com/long.html", "start": 40000}
//! URL: https://example.com/long.html
//! Type: text/html
//! (characters 40000 to 80000 of 131072; ask again with "start": 80000 for more)
//!
//! …
//! ```
//!
//! ```text
//! {"url": "http://169.254.169.254/latest/meta-data/"}
//! This address cannot be fetched: 169.254.169.254 is link-local
//! ```

use std::time::Duration;

use domain::tool_call::{Replay, ToolSpec};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::typed;

/// Its name.
pub const NAME: &str = "http_get";
/// What the model reads of it.
pub const DESCRIPTION: &str = "Fetches a page or a file of the public web by HTTP GET and answers with its text: HTML as \
    readable text with its links, JSON and other text as they are. Images, PDF and other binary content are refused. A \
    long text is cut, and says from which character to read on.";
/// It only reads.
pub const REPLAY: Replay = Replay::Safe;
/// How long a fetch may take, redirects and the body included, unless the deployment says otherwise.
pub const TIMEOUT: Duration = Duration::from_secs(10);

/// What it is asked.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Arguments {
    /// The address: `https://…` or `http://…`.
    pub url: String,
    /// The character of the text to begin at, counted from 0, where an earlier answer was cut.
    #[serde(default)]
    pub start: Option<u32>,
}

/// Its definition.
pub fn spec() -> ToolSpec {
    typed::spec::<Arguments>(NAME, DESCRIPTION)
}
