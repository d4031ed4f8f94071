//! What every `main` does first: read its environment, set up its logs, metrics and traces, make its SDK configuration. Nothing about jobs
//! may be here, and nothing that is not called by a `main` or by its `Config::from_env`.

pub mod aws;
pub mod clock;
pub mod env;
#[cfg(feature = "metrics")]
pub mod metrics;
#[cfg(feature = "traces")]
pub mod traces;
pub mod tracing;
