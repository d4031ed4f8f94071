//! What the worker needs to know, from its environment.

use anyhow::Context as _;
use domain::{lane::LeaseTimes, sealed::SealingKey};
use engine::{Engine, Settings, SystemClock, Upkeep};
use model_client::{ModelClient, Secret, Url};
use queue::{ContinuationQueue, bus::EventBus};
use startup::env;
use store::Store;

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
}

impl Config {
    /// Reads the environment.
    ///
    /// # Errors
    /// When a variable is missing or wrong; the error names it.
    pub fn from_env() -> anyhow::Result<Self> {
        Ok(Self {
            table: env::required("NIGHTSHIFT_TABLE")?,
            starts_queue: env::required("NIGHTSHIFT_STARTS_QUEUE")?,
            continuations_queue: env::required("NIGHTSHIFT_CONTINUATIONS_QUEUE")?,
            event_bus: env::required("NIGHTSHIFT_EVENT_BUS")?,
            model_url: env::parsed("NIGHTSHIFT_MODEL_URL", "a URL such as https://openrouter.ai/api/v1")?,
            sealing: SealingKey::new(env::required("NIGHTSHIFT_SEALING_KEY")?.as_bytes())
                .context("NIGHTSHIFT_SEALING_KEY cannot be used")?,
            model_api_key: env::optional("NIGHTSHIFT_MODEL_API_KEY")?.map(Secret::new),
        })
    }

    /// The engine of a worker that is configured so.
    ///
    /// # Errors
    /// When no client for the model can be made.
    pub async fn engine(self) -> anyhow::Result<Engine> {
        let aws = startup::aws::config().await;
        let queue = ContinuationQueue::new(aws_sdk_sqs::Client::new(&aws), self.starts_queue, self.continuations_queue);
        let clock = std::sync::Arc::new(SystemClock);
        let bus = Some(EventBus::new(aws_sdk_eventbridge::Client::new(&aws), self.event_bus));
        let store = Store::new(aws_sdk_dynamodb::Client::new(&aws), self.table, LeaseTimes::default());
        let model = ModelClient::new(model_client::Config::new(self.model_url, self.model_api_key));
        let now = clock.clone();
        Ok(Engine {
            upkeep: Upkeep { store, queue, bus, clock },
            model: model.context("NIGHTSHIFT_MODEL_URL cannot be used")?,
            sealing: Some(self.sealing),
            tools: tools::builtin::builtin(std::sync::Arc::new(move || engine::Clock::now(&*now))),
            settings: Settings::default(),
        })
    }
}
