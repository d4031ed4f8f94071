//! `web_search`, asked of Brave or Tavily: see [`tools::builtin::web_search`] for what the model is told.

use std::time::Duration;

use async_trait::async_trait;
use domain::tool_call::Replay;
use reqwest::{
    Client, RequestBuilder, StatusCode,
    header::{ACCEPT, ACCEPT_ENCODING, HeaderValue, RETRY_AFTER},
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::time::{Instant, sleep};
use tools::{
    Sent, ToolContext, ToolError, ToolReply, TypedTool,
    builtin::web_search::{Arguments, COUNT, DESCRIPTION, MOST, NAME, REPLAY, TIMEOUT},
    config::{SearchProvider, WebSearchConfig},
};
use url::Url;

use crate::{
    SetupError,
    body::{Body, ENCODINGS},
    guard::{Guard, failure},
    pace::{Pace, TooLong},
    secrets::{SecretError, Secrets},
};

/// Brave's address: <https://api-dashboard.search.brave.com/app/documentation/web-search/get-started>.
const BRAVE: &str = "https://api.search.brave.com/res/v1/web/search";
/// Tavily's address: <https://docs.tavily.com/documentation/api-reference/endpoint/search>.
const TAVILY: &str = "https://api.tavily.com/search";
/// Bytes of an answer that are read.
const BODY_BYTES: usize = 1024 * 1024;
/// Characters of an excerpt.
const EXCERPT_CHARS: usize = 1_000;
/// The pause after a refusal that names none.
const USUAL_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause that is believed.
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);

/// Searches.
pub(crate) struct WebSearch {
    provider: SearchProvider,
    url: Url,
    key: HeaderValue,
    http: Client,
    pace: Pace,
}

impl WebSearch {
    pub(crate) fn new(config: &WebSearchConfig, secrets: &Secrets) -> Result<Self, SetupError> {
        let name = config.key();
        let key = secrets.get(name)?;
        let header = match config.provider {
            SearchProvider::Brave => key,
            SearchProvider::Tavily => format!("Bearer {key}"),
        };
        let rule = "a key of visible ASCII characters";
        let mut key = HeaderValue::try_from(header)
            .map_err(|_| SetupError::Secret(SecretError::Invalid { name: name.to_owned(), rule }))?;
        key.set_sensitive(true);
        let guard = Guard::new().with_private(config.allow_private);
        let usual = match config.provider {
            SearchProvider::Brave => BRAVE,
            SearchProvider::Tavily => TAVILY,
        };
        let url = guard.address(config.url.as_deref().unwrap_or(usual))?;
        let pace = Pace::new(config.calls_per_second);
        Ok(Self { provider: config.provider, url, key, http: guard.client(false, None)?, pace })
    }

    fn request(&self, query: &str, count: u8) -> RequestBuilder {
        match self.provider {
            SearchProvider::Brave => {
                let mut url = self.url.clone();
                url.query_pairs_mut().append_pair("q", query).append_pair("count", &count.to_string());
                self.http.get(url).header("x-subscription-token", self.key.clone())
            }
            SearchProvider::Tavily => self
                .http
                .post(self.url.clone())
                .header("authorization", self.key.clone())
                .json(&json!({"query": query, "max_results": count, "search_depth": "basic"})),
        }
        .header(ACCEPT, "application/json")
        .header(ACCEPT_ENCODING, ENCODINGS)
    }
}

#[async_trait]
impl TypedTool for WebSearch {
    type Arguments = Arguments;
    const NAME: &'static str = NAME;
    const DESCRIPTION: &'static str = DESCRIPTION;

    fn replay(&self) -> Replay {
        REPLAY
    }

    fn timeout(&self) -> Duration {
        TIMEOUT
    }

    async fn call(&self, arguments: Arguments, context: &ToolContext) -> Result<ToolReply, ToolError> {
        let count = arguments.count.unwrap_or(COUNT).clamp(1, MOST);
        let mut is_again = false;
        loop {
            self.pace.wait(context.deadline).await.map_err(|TooLong(line)| busy(line))?;
            let answer = self.request(&arguments.query, count).send().await.map_err(failure)?;
            let status = answer.status();
            if status == StatusCode::TOO_MANY_REQUESTS {
                let pause = retry_after(answer.headers().get(RETRY_AFTER)).unwrap_or(USUAL_PAUSE);
                self.pace.pause(pause);
                if is_again || Instant::now() + pause >= context.deadline {
                    return Err(busy(pause));
                }
                is_again = true;
                sleep(pause).await;
                continue;
            }
            let body = Body::read(answer, BODY_BYTES).await?;
            return match status {
                _ if status.is_success() => read(self.provider, &body.text()),
                StatusCode::UNAUTHORIZED | StatusCode::PAYMENT_REQUIRED | StatusCode::FORBIDDEN => {
                    let name = self.provider;
                    tracing::error!(provider = ?name, status = status.as_u16(), "the search provider refuses the key");
                    Err(ToolError::RespondToModel(
                        "Searching is not possible now: the provider refuses the key".to_owned(),
                    ))
                }
                _ if status.is_server_error() => {
                    let message = format!("the search provider answered {status}");
                    Err(ToolError::Network { message, sent: Sent::Perhaps, source: None })
                }
                _ => Err(ToolError::RespondToModel(format!("The search provider refused the query ({status})"))),
            };
        }
    }
}

fn busy(time: Duration) -> ToolError {
    let seconds = time.as_secs_f64().ceil();
    ToolError::RespondToModel(format!("Too many searches at once; try again in {seconds} s, or go on without"))
}

/// Seconds, as both providers send them.
fn retry_after(header: Option<&HeaderValue>) -> Option<Duration> {
    let seconds: u64 = header?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(LONGEST_PAUSE))
}

#[derive(Serialize)]
struct Answer {
    results: Vec<Found>,
}

#[derive(Serialize)]
struct Found {
    title: String,
    url: String,
    text: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    age: Option<String>,
}

#[derive(Deserialize)]
struct Brave {
    #[serde(default)]
    web: Results,
}

#[derive(Default, Deserialize)]
struct Results {
    #[serde(default)]
    results: Vec<Hit>,
}

/// One result of either; Brave says `description`, Tavily `content`.
#[derive(Deserialize)]
struct Hit {
    #[serde(default)]
    title: String,
    url: String,
    #[serde(default, alias = "content")]
    description: Option<String>,
    #[serde(default)]
    age: Option<String>,
}

fn read(provider: SearchProvider, body: &str) -> Result<ToolReply, ToolError> {
    let hits = match provider {
        SearchProvider::Brave => serde_json::from_str::<Brave>(body).map(|answer| answer.web.results),
        SearchProvider::Tavily => serde_json::from_str::<Results>(body).map(|answer| answer.results),
    };
    let hits = hits.map_err(|error| {
        // By its place alone: the error's text quotes what was found.
        let (line, column) = (error.line(), error.column());
        tracing::error!(line, column, bytes = body.len(), "an unreadable search result");
        ToolError::RespondToModel("The search provider's answer cannot be read".to_owned())
    })?;
    let results = hits
        .into_iter()
        .map(|hit| Found {
            title: plain(&hit.title),
            url: hit.url,
            text: plain(&hit.description.unwrap_or_default()).chars().take(EXCERPT_CHARS).collect(),
            age: hit.age,
        })
        .collect();
    ToolReply::json(&Answer { results })
}

/// Brave marks what was searched for with `<strong>`.
fn plain(text: &str) -> String {
    text.replace("<strong>", "").replace("</strong>", "")
}

#[cfg(test)]
mod tests;
