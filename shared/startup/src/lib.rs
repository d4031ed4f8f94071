//! What every `main` does first: read its environment, set up its logs, make its SDK configuration. Nothing about jobs
//! may be here, and nothing that is not called by a `main` or by its `Config::from_env`.

pub mod aws;
pub mod clock;
pub mod env;
pub mod tracing;
