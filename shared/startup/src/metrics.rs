//! Metrics: on Lambda lines of CloudWatch's embedded format on standard output, which CloudWatch makes metrics of. What is
//! counted is said where it happens (`signals`); here is only where it goes.

use std::io::{self, Write as _};

use metrics_cloudwatch_embedded::{Builder, Collector};

use crate::env::{self, EnvError};

/// The variable that names the metrics' namespace. Without it there are none.
pub const VARIABLE: &str = "NIGHTSHIFT_METRICS_NAMESPACE";

/// Metrics cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum MetricsError {
    /// [`VARIABLE`] is not Unicode.
    #[error(transparent)]
    Env(#[from] EnvError),
    /// They were set up before.
    #[error("metrics cannot be set up: {0}")]
    Repeated(String),
}

/// What has been counted and not yet written.
#[derive(Clone, Copy)]
pub struct Metrics(Option<&'static Collector>);

/// Counts from now on, if there is a namespace. Call it once, in `main`.
///
/// # Errors
/// When the variable is not Unicode, or somebody counts already.
pub fn init() -> Result<Metrics, MetricsError> {
    match env::optional(VARIABLE)? {
        Some(namespace) => to(namespace),
        None => Ok(Metrics(None)),
    }
}

/// Counts from now on, under this namespace.
///
/// # Errors
/// When somebody counts already.
pub fn to(namespace: impl Into<String>) -> Result<Metrics, MetricsError> {
    let collector = Builder::new()
        .cloudwatch_namespace(namespace.into())
        .init()
        .map_err(|error| MetricsError::Repeated(error.to_string()))?;
    signals::metric::describe();
    Ok(Metrics(Some(collector)))
}

impl Metrics {
    /// Writes what was counted since the last time: at the end of each invocation, since the process may stand still
    /// afterwards. In one piece, so that no line of the logs comes between.
    pub fn flush(self) {
        let written = self.lines().and_then(|lines| io::stdout().lock().write_all(&lines));
        if let Err(error) = written {
            ::tracing::warn!(error = &error as &dyn std::error::Error, "metrics not written");
        }
    }

    /// The same as lines, for whoever writes them elsewhere.
    ///
    /// # Errors
    /// When a value cannot be written.
    pub fn lines(self) -> io::Result<Vec<u8>> {
        let mut lines = Vec::new();
        if let Some(collector) = self.0 {
            collector.flush(&mut lines)?;
        }
        Ok(lines)
    }
}
