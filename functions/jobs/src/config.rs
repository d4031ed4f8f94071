//! What reading and acting on jobs needs to know, from the environment.

use anyhow::Context as _;
use api::{address::StreamAddresses, job_view::ToolView, stream_token::StreamTokens};
use domain::{lane::LeaseTimes, time::Timestamp};
use queue::ContinuationQueue;
use startup::env;
use store::Store;
use tools::{ToolRegistry, config::ToolsConfig};
use web_console::{Console, Settings, SignIn};

use crate::Desk;

/// What reading and acting on jobs needs to know.
#[derive(Debug)]
pub struct Config {
    /// The table.
    pub table: String,
    /// The queue of first turns.
    pub starts_queue: String,
    /// The queue of all other turns.
    pub continuations_queue: String,
    /// Where the stream function is.
    pub stream_url: String,
    /// Signs the streams' tokens.
    pub tokens: StreamTokens,
    /// The sites that may embed the console.
    pub embedders: Vec<String>,
    /// The deployment's tools, by definition alone.
    pub tools: ToolRegistry,
}

impl Config {
    /// Reads the environment.
    ///
    /// # Errors
    /// When a variable is missing or wrong; the error names it.
    pub fn from_env() -> anyhow::Result<Self> {
        let key = env::required("NIGHTSHIFT_STREAM_TOKEN_KEY")?;
        let document = env::document("NIGHTSHIFT_TOOLS")?.unwrap_or_else(|| "{}".to_owned());
        let config = ToolsConfig::parse_deployed(&document).context("NIGHTSHIFT_TOOLS cannot be used")?;
        let mut tools = tools::builtin::declared();
        config.declare(&mut tools).context("NIGHTSHIFT_TOOLS cannot be used")?;
        Ok(Self {
            tools,
            table: env::table("NIGHTSHIFT_TABLE")?,
            starts_queue: env::address("NIGHTSHIFT_STARTS_QUEUE")?,
            continuations_queue: env::address("NIGHTSHIFT_CONTINUATIONS_QUEUE")?,
            stream_url: env::address("NIGHTSHIFT_STREAM_URL")?,
            tokens: StreamTokens::new(key.as_bytes()).context("NIGHTSHIFT_STREAM_TOKEN_KEY cannot be used")?,
            embedders: env::optional("NIGHTSHIFT_CONSOLE_EMBEDDERS")?
                .map(|origins| origins.split(',').map(str::to_owned).collect())
                .unwrap_or_default(),
        })
    }

    /// The clients of a function that is configured so.
    ///
    /// # Errors
    /// When the environment has no region.
    pub fn desk(self) -> anyhow::Result<Desk> {
        let aws = startup::aws::config()?;
        let console = Console::new(Settings {
            sign_in: SignIn::Bearer,
            stream_url: Some(self.stream_url.clone()),
            embedders: self.embedders,
            version: env!("CARGO_PKG_VERSION"),
        });
        Ok(Desk {
            store: Store::new(aws_sdk_dynamodb::Client::new(&aws), self.table, LeaseTimes::default()),
            queue: ContinuationQueue::new(aws_sdk_sqs::Client::new(&aws), self.starts_queue, self.continuations_queue),
            addresses: StreamAddresses::new(self.stream_url, self.tokens),
            tools: self.tools.list().map(|tool| ToolView::new(tool.spec(), tool.is_enabled())).collect(),
            console,
            now,
        })
    }
}

fn now() -> Timestamp {
    Timestamp::from_millis(startup::clock::now_ms())
}
