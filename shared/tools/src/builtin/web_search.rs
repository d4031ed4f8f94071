//! `web_search`: what a search engine finds (R81). Here is what the model is told of it; `remote-tools` asks Brave or
//! Tavily. There is no such tool where no key is configured.
//!
//! ```text
//! {"query": "durable execution engines", "count": 2}
//! {"results":[
//!   {"title":"Durable execution","url":"https://…","text":"An overview of engines that …"},
//!   {"title":"…","url":"https://…","text":"…","age":"2 days ago"}
//! ]}
//! ```

use std::time::Duration;

use domain::tool_call::{Replay, ToolSpec};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::typed;

/// Its name.
pub const NAME: &str = "web_search";
/// What the model reads of it.
pub const DESCRIPTION: &str = "Searches the web. Answers JSON: results, each with title, url, text (an excerpt) and \
    perhaps age, best first. Read a result in full with http_get where the job has that tool.";
/// It only reads. (A search that is run again is paid for again.)
pub const REPLAY: Replay = Replay::Safe;
/// How long a search may take, its place in line included.
pub const TIMEOUT: Duration = Duration::from_secs(10);
/// Results unless the model asks for another number.
pub const COUNT: u8 = 5;
/// Most results of one search.
pub const MOST: u8 = 20;

/// What it is asked.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Arguments {
    /// What to search for, in words, at most 400 characters.
    #[schemars(length(min = 1, max = 400))]
    pub query: String,
    /// How many results, 1 to 20; 5 when left out.
    #[serde(default)]
    #[schemars(range(min = 1, max = 20))]
    pub count: Option<u8>,
}

/// Its definition.
pub fn spec() -> ToolSpec {
    typed::spec::<Arguments>(NAME, DESCRIPTION)
}
