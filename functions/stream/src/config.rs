//! What streaming needs to know, from the environment.

use std::sync::Arc;

use anyhow::Context as _;
use api::stream_token::StreamTokens;
use domain::{lane::LeaseTimes, time::Timestamp};
use startup::env;
use store::Store;

use crate::{Settings, Streams};

/// What streaming needs to know.
#[derive(Debug)]
pub struct Config {
    /// The table.
    pub table: String,
    /// Checks the streams' tokens.
    pub tokens: StreamTokens,
}

impl Config {
    /// Reads the environment.
    ///
    /// # Errors
    /// When a variable is missing or wrong; the error names it.
    pub fn from_env() -> anyhow::Result<Self> {
        let key = env::required("NIGHTSHIFT_STREAM_TOKEN_KEY")?;
        Ok(Self {
            table: env::table("NIGHTSHIFT_TABLE")?,
            tokens: StreamTokens::new(key.as_bytes()).context("NIGHTSHIFT_STREAM_TOKEN_KEY cannot be used")?,
        })
    }

    /// The streams of a function that is configured so.
    ///
    /// # Errors
    /// When the environment has no region.
    pub fn streams(self) -> anyhow::Result<Streams> {
        let aws = startup::aws::config()?;
        let store = Store::new(aws_sdk_dynamodb::Client::new(&aws), self.table, LeaseTimes::default());
        Ok(Streams::new(store, self.tokens, Arc::new(now), Settings::default()))
    }
}

fn now() -> Timestamp {
    Timestamp::from_millis(startup::clock::now_ms())
}
