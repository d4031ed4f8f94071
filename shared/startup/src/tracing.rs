//! Logs: one JSON object a line on standard output, which is what CloudWatch reads. What may be logged is decided where
//! it is logged (never prompts, arguments, tokens or keys); here is only where it goes and how much of it.

use std::{
    any::Any,
    panic::{self, PanicHookInfo},
};

use tracing_subscriber::{EnvFilter, util::SubscriberInitExt};

use crate::env::{self, EnvError};

/// The variable that says how much is logged.
pub const VARIABLE: &str = "NIGHTSHIFT_LOG";
const RULE: &str = "a filter of the tracing crate, such as `info` or `warn,engine=debug`";
/// The SDK and the HTTP clients tell of every request at `info` and below.
const DEFAULT: &str = "info,aws_config=warn,aws_smithy_runtime=warn,hyper=warn,hyper_util=warn,h2=warn,rustls=warn";

/// Logs cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TracingError {
    /// [`VARIABLE`] is not a filter.
    #[error(transparent)]
    Env(#[from] EnvError),
    /// They were set up before.
    #[error("logs are set up already: call this once, first in `main`")]
    Repeated(#[from] tracing_subscriber::util::TryInitError),
}

/// Sends logs to standard output, and panics to the logs. Call it once, first in `main`.
///
/// # Errors
/// When [`VARIABLE`] is not a filter, or logs are set up already.
pub fn init() -> Result<(), TracingError> {
    let filter = filter(env::optional(VARIABLE)?.as_deref())?;
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_current_span(true)
        .with_span_list(false)
        .with_env_filter(filter)
        .finish()
        .try_init()?;
    log_panics();
    Ok(())
}

fn filter(text: Option<&str>) -> Result<EnvFilter, EnvError> {
    EnvFilter::try_new(text.unwrap_or(DEFAULT)).map_err(|_| EnvError::Invalid { name: VARIABLE, rule: RULE.to_owned() })
}

/// Panics become log entries, so that alarms see them. Takes the place of the hook that prints them.
fn log_panics() {
    panic::set_hook(Box::new(|panic: &PanicHookInfo<'_>| {
        let location = panic.location().map(ToString::to_string);
        let thread = std::thread::current();
        ::tracing::error!(
            panic.message = message(panic.payload()),
            panic.location = location,
            panic.thread = thread.name(),
            "panicked"
        );
    }));
}

fn message(payload: &(dyn Any + Send)) -> &str {
    payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("(not text)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_that_is_none_is_named_with_the_rule() {
        assert!(filter(None).is_ok());
        assert!(filter(Some("warn,engine=debug")).is_ok());
        assert_eq!(
            filter(Some("engine=loud")).unwrap_err().to_string(),
            "the environment variable NIGHTSHIFT_LOG is invalid: it must be a filter of the tracing crate, such as \
             `info` or `warn,engine=debug`"
        );
    }

    #[test]
    fn a_panics_text_is_found_in_either_form() {
        assert_eq!(message(&"plain"), "plain");
        assert_eq!(message(&"formatted".to_owned()), "formatted");
        assert_eq!(message(&7), "(not text)");
    }
}
