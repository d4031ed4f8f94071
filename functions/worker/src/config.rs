//! What the worker needs to know, from its environment.

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use aws_sdk_lambda::config::{retry::RetryConfig, timeout::TimeoutConfig};
use domain::{lane::LeaseTimes, price::Prices, sealed::SealingKey};
use engine::{Engine, Settings, SystemClock, Upkeep};
use model_client::{ModelClient, Secret, Timeouts, Url};
use queue::{ContinuationQueue, bus::EventBus};
use remote_tools::{Parts, Secrets};
use startup::env;
use store::Store;
use tools::config::ToolsConfig;

/// How long a connection to Lambda may take. How long a function may, says its tool.
const CONNECT: Duration = Duration::from_secs(2);

/// What the worker needs to know.
#[derive(Debug)]
pub struct Config {
    /// The table.
    pub table: String,
    /// The queue of first turns.
    pub starts_queue: String,
    /// The queue of all other turns.
    pub continuations_queue: String,
    /// The event bus.
    pub event_bus: String,
    /// Where the model is.
    pub model_url: Url,
    /// Opens the keys that callers bring for the model.
    pub sealing: SealingKey,
    /// The key for it; a server of one's own may want none.
    pub model_api_key: Option<Secret>,
    /// How long it may keep a turn waiting.
    pub model_timeouts: Timeouts,
    /// The deployment's tools.
    pub tools: ToolsConfig,
    /// Their secrets.
    pub tool_secrets: Secrets,
    /// What models cost whose provider does not say it.
    pub prices: Prices,
}

impl Config {
    /// Reads the environment.
    ///
    /// # Errors
    /// When a variable is missing or wrong; the error names it.
    pub fn from_env() -> anyhow::Result<Self> {
        let tools = env::document("NIGHTSHIFT_TOOLS")?.unwrap_or_else(|| "{}".to_owned());
        let prices = env::document("NIGHTSHIFT_MODEL_PRICES")?.unwrap_or_else(|| "{}".to_owned());
        let secrets = env::document("NIGHTSHIFT_TOOL_SECRETS")?;
        let usual = Timeouts::default();
        Ok(Self {
            table: env::table("NIGHTSHIFT_TABLE")?,
            starts_queue: env::address("NIGHTSHIFT_STARTS_QUEUE")?,
            continuations_queue: env::address("NIGHTSHIFT_CONTINUATIONS_QUEUE")?,
            event_bus: env::required("NIGHTSHIFT_EVENT_BUS")?,
            model_url: env::parsed("NIGHTSHIFT_MODEL_URL", "a URL such as https://openrouter.ai/api/v1")?,
            sealing: SealingKey::new(env::required("NIGHTSHIFT_SEALING_KEY")?.as_bytes())
                .context("NIGHTSHIFT_SEALING_KEY cannot be used")?,
            model_api_key: env::optional("NIGHTSHIFT_MODEL_API_KEY")?.map(Secret::new),
            model_timeouts: Timeouts {
                headers: env::seconds("NIGHTSHIFT_MODEL_HEADER_SECONDS", Timeouts::SECONDS)?.unwrap_or(usual.headers),
                idle: env::seconds("NIGHTSHIFT_MODEL_IDLE_SECONDS", Timeouts::SECONDS)?.unwrap_or(usual.idle),
            },
            tools: ToolsConfig::parse_deployed(&tools).context("NIGHTSHIFT_TOOLS cannot be used")?,
            tool_secrets: Secrets::new(secrets.as_deref(), env::named)
                .context("NIGHTSHIFT_TOOL_SECRETS cannot be used")?,
            prices: Prices::parse(&prices).context("NIGHTSHIFT_MODEL_PRICES cannot be used")?,
        })
    }

    /// The engine of a worker that is configured so.
    ///
    /// # Errors
    /// When the environment has no region, no client for the model can be made, or a tool cannot be set up.
    pub fn engine(self) -> anyhow::Result<Engine> {
        let aws = startup::aws::config()?;
        let queue = ContinuationQueue::new(aws_sdk_sqs::Client::new(&aws), self.starts_queue, self.continuations_queue);
        let clock = Arc::new(SystemClock);
        let bus = Some(EventBus::new(aws_sdk_eventbridge::Client::new(&aws), self.event_bus));
        let store = Store::new(aws_sdk_dynamodb::Client::new(&aws), self.table, LeaseTimes::default());
        let model = model_client::Config::new(self.model_url, self.model_api_key);
        let model = ModelClient::new(model_client::Config { timeouts: self.model_timeouts, ..model });
        let now = clock.clone();
        let now: tools::builtin::Clock = Arc::new(move || engine::Clock::now(&*now));
        let mut registry = tools::builtin::builtin(now.clone());
        let parts = Parts { secrets: self.tool_secrets, functions: Some(functions((&aws).into())), clock: now };
        remote_tools::register(&mut registry, &self.tools, &parts)
            .context("a tool of NIGHTSHIFT_TOOLS cannot be set up")?;
        Ok(Engine {
            upkeep: Upkeep { store, queue, bus, clock },
            model: model.context("NIGHTSHIFT_MODEL_URL cannot be used")?,
            sealing: Some(self.sealing),
            tools: registry,
            settings: Settings { prices: self.prices, ..Settings::default() },
        })
    }
}

/// A client that waits as long as a tool may take, and tries nothing twice: the registry does, when the tool says that it
/// may.
fn functions(config: aws_sdk_lambda::config::Builder) -> aws_sdk_lambda::Client {
    let times = TimeoutConfig::builder()
        .connect_timeout(CONNECT)
        .disable_read_timeout()
        .disable_operation_attempt_timeout()
        .disable_operation_timeout();
    let config = config.timeout_config(times.build()).retry_config(RetryConfig::disabled());
    aws_sdk_lambda::Client::from_conf(config.build())
}
