//! The processes and what they are made of: each with clients, retries and a clock of its own.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use aws_sdk_dynamodb::config::retry::RetryPartition;
use aws_smithy_types::retry::RetryConfig;
use domain::{id::WriterId, lane::LeaseTimes, time::Timestamp};
use engine::{Batching, Clock, Engine, Settings, Upkeep};
use local::emulator::fault::Process;
use model_client::{ModelClient, Secret};
use queue::ContinuationQueue;
use store::Store;
use tools::ToolRegistry;

use super::{Being, EPOCH_MS, Sim, WEATHER_LASTS, random::Random, wire::Wire};

/// Serial numbers: each process of each run has retries of its own, whatever others have used up.
static PARTITIONS: AtomicU64 = AtomicU64::new(0);

impl Sim {
    pub(super) fn process(&self, kind: &str) -> Process {
        let name = {
            let mut state = self.state();
            state.n_processes += 1;
            format!("{kind}{}", state.n_processes)
        };
        let mut ahead = Duration::ZERO;
        if kind == "worker" && self.now() < WEATHER_LASTS && self.draw(|random| random.chance(self.0.weather.hasty)) {
            ahead = self.draw(|random| random.millis(2_000..14_000));
        }
        let life = Being { is_alive: true, ahead, ..Being::default() };
        self.state().processes.insert(name.clone(), life);
        self.0.faults.process(&name)
    }

    pub(super) fn ends(&self, process: &Process) {
        self.state().processes.entry(process.name().to_owned()).or_default().is_alive = false;
    }

    pub(super) fn store(&self, process: Option<&Process>) -> Store {
        let partition = RetryPartition::new(format!("simulation-{}", PARTITIONS.fetch_add(1, Ordering::Relaxed)));
        let config = aws_sdk_dynamodb::Config::builder()
            .behavior_version(aws_sdk_dynamodb::config::BehaviorVersion::latest())
            .region(aws_sdk_dynamodb::config::Region::from_static("us-east-1"))
            .allow_no_auth()
            .retry_config(retries())
            .retry_partition(partition)
            .timeout_config(aws_smithy_types::timeout::TimeoutConfig::disabled())
            .stalled_stream_protection(aws_sdk_dynamodb::config::StalledStreamProtectionConfig::disabled())
            .http_client(Wire::client(self, process));
        Store::new(aws_sdk_dynamodb::Client::from_conf(config.build()), "nightshift", LeaseTimes::default())
    }

    pub(super) fn queue(&self, process: &Process) -> ContinuationQueue {
        let partition = aws_sdk_sqs::config::retry::RetryPartition::new(format!(
            "simulation-{}",
            PARTITIONS.fetch_add(1, Ordering::Relaxed)
        ));
        let config = aws_sdk_sqs::Config::builder()
            .behavior_version(aws_sdk_sqs::config::BehaviorVersion::latest())
            .region(aws_sdk_sqs::config::Region::from_static("us-east-1"))
            .allow_no_auth()
            .retry_config(retries())
            .retry_partition(partition)
            .timeout_config(aws_smithy_types::timeout::TimeoutConfig::disabled())
            .stalled_stream_protection(aws_sdk_sqs::config::StalledStreamProtectionConfig::disabled())
            .http_client(Wire::client(self, Some(process)));
        let url = |name: &str| format!("https://sqs.us-east-1.amazonaws.com/123456789012/{name}");
        ContinuationQueue::new(aws_sdk_sqs::Client::from_conf(config.build()), url("starts"), url("continuations"))
    }

    pub(super) fn upkeep(&self, process: &Process) -> Upkeep {
        let clock = SimClock { sim: self.clone(), process: process.name().to_owned(), names: AtomicU64::new(0) };
        Upkeep { store: self.store(Some(process)), queue: self.queue(process), bus: None, clock: Arc::new(clock) }
    }

    pub(super) fn engine(&self, process: &Process, tools: &ToolRegistry) -> Engine {
        let url = self.state().model_url.clone().expect("the model is there");
        let key = Secret::new(process.name().to_owned());
        Engine {
            sealing: None,
            upkeep: self.upkeep(process),
            model: ModelClient::new(model_client::Config::new(url, Some(key))).unwrap(),
            tools: tools.clone(),
            // Text is written more often than by default: the more requests, the more can happen to them.
            settings: Settings {
                batching: Batching { unwatched_every: Duration::from_millis(500), ..Batching::default() },
                ..Settings::default()
            },
        }
    }
}

fn retries() -> RetryConfig {
    RetryConfig::standard().with_initial_backoff(Duration::from_millis(20)).with_use_static_exponential_base(true)
}

/// A process's clock: tokio's, and so everybody's.
#[derive(Debug)]
pub(super) struct SimClock {
    pub(super) sim: Sim,
    pub(super) process: String,
    pub(super) names: AtomicU64,
}

impl Clock for SimClock {
    fn now(&self) -> Timestamp {
        let ahead = self.sim.state().processes.get(&self.process).map_or(Duration::ZERO, |being| being.ahead);
        Timestamp::from_millis(EPOCH_MS) + self.sim.now() + ahead
    }

    fn fresh_name(&self) -> WriterId {
        let n = self.names.fetch_add(1, Ordering::Relaxed);
        format!("{}-of-{n}", self.process).parse().unwrap()
    }

    fn jitter(&self) -> f64 {
        self.sim.draw(Random::unit)
    }
}
