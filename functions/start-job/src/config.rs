//! What starting jobs needs to know, from the environment.

use std::num::NonZeroU32;

use anyhow::Context as _;
use api::{address::StreamAddresses, job_request::Defaults, stream_token::StreamTokens};
use domain::{lane::LeaseTimes, sealed::SealingKey, time::Timestamp};
use queue::{ContinuationQueue, bus::EventBus};
use startup::env;
use store::Store;
use tools::{ToolRegistry, config::ToolsConfig};

use crate::Starter;

/// What starting jobs needs to know.
#[derive(Debug)]
pub struct Config {
    /// The table.
    pub table: String,
    /// The queue of first turns.
    pub starts_queue: String,
    /// The queue of all other turns.
    pub continuations_queue: String,
    /// The queue of events that ask for jobs.
    pub requests_queue: String,
    /// The event bus.
    pub event_bus: String,
    /// Where the stream function is.
    pub stream_url: String,
    /// Signs the streams' tokens.
    pub tokens: StreamTokens,
    /// Seals the keys that callers bring for the model.
    pub sealing: SealingKey,
    /// The model of jobs that name none.
    pub model: Option<String>,
    /// Jobs that a user may have at work.
    pub max_at_work: u32,
    /// The deployment's tools, by definition alone.
    pub tools: ToolRegistry,
    /// The deployment's MCP servers.
    pub mcp_servers: Vec<String>,
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
            table: env::table("NIGHTSHIFT_TABLE")?,
            starts_queue: env::address("NIGHTSHIFT_STARTS_QUEUE")?,
            continuations_queue: env::address("NIGHTSHIFT_CONTINUATIONS_QUEUE")?,
            requests_queue: env::address("NIGHTSHIFT_REQUESTS_QUEUE")?,
            event_bus: env::required("NIGHTSHIFT_EVENT_BUS")?,
            stream_url: env::address("NIGHTSHIFT_STREAM_URL")?,
            tokens: StreamTokens::new(key.as_bytes()).context("NIGHTSHIFT_STREAM_TOKEN_KEY cannot be used")?,
            sealing: SealingKey::new(env::required("NIGHTSHIFT_SEALING_KEY")?.as_bytes())
                .context("NIGHTSHIFT_SEALING_KEY cannot be used")?,
            model: env::optional("NIGHTSHIFT_MODEL")?,
            max_at_work: env::parsed::<NonZeroU32>("NIGHTSHIFT_MAX_JOBS_PER_USER", "a number from 1 on")?.get(),
            tools,
            mcp_servers: config.mcp_servers.into_keys().collect(),
        })
    }

    /// The clients of a function that is configured so.
    ///
    /// # Errors
    /// When the environment has no region.
    pub fn starter(self) -> anyhow::Result<Starter> {
        let aws = startup::aws::config()?;
        Ok(Starter {
            store: Store::new(aws_sdk_dynamodb::Client::new(&aws), self.table, LeaseTimes::default()),
            queue: ContinuationQueue::new(aws_sdk_sqs::Client::new(&aws), self.starts_queue, self.continuations_queue)
                .with_requests(Some(self.requests_queue)),
            bus: Some(EventBus::new(aws_sdk_eventbridge::Client::new(&aws), self.event_bus)),
            addresses: StreamAddresses::new(self.stream_url, self.tokens),
            defaults: Defaults { model: self.model, mcp_servers: self.mcp_servers },
            sealing: Some(self.sealing),
            tools: self.tools.list().map(|tool| tool.name().to_owned()).collect(),
            max_at_work: self.max_at_work,
            now,
        })
    }
}

fn now() -> Timestamp {
    Timestamp::from_millis(startup::clock::now_ms())
}
