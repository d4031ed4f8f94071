//! Logs: one JSON object a line on standard output, which is what CloudWatch reads. What may be logged is decided where
//! it is logged (never prompts, arguments, tokens or keys); here is only where it goes and how much of it.

use std::{
    panic::{self, PanicHookInfo},
    str::FromStr,
};

use tracing_subscriber::{filter::Targets, layer::SubscriberExt, util::SubscriberInitExt};

use crate::env::{self, EnvError};

/// The variable that says how much is logged.
pub const VARIABLE: &str = "NIGHTSHIFT_LOG";
const RULE: &str = "a filter by crates and levels, such as `info` or `warn,engine=debug`";
/// What is logged where nothing is said.
const DEFAULT: &str = "info";
/// What others would tell of every request, and of what is in it, at `info` and below: it has to be asked for by name, so
/// that `debug` is safe to say. The exporter of metrics complains of each value that is one too many for a line.
const QUIET: &str = "aws_config=warn,aws_sdk_dynamodb=warn,aws_sdk_eventbridge=warn,aws_sdk_lambda=warn,aws_sdk_sqs=warn,\
                     aws_sigv4=warn,aws_smithy_http_client=warn,aws_smithy_runtime=warn,aws_smithy_runtime_api=warn,\
                     dynoxide=warn,h2=warn,hyper=warn,hyper_util=warn,lambda_http=info,lambda_runtime=info,\
                     lambda_runtime_api_client=warn,metrics_cloudwatch_embedded=off,opentelemetry=warn,\
                     opentelemetry_otlp=warn,opentelemetry_sdk=warn,reqwest=warn,rmcp=warn,rustls=warn";

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
    let filter = filter(DEFAULT)?;
    let lines =
        tracing_subscriber::fmt::layer().json().flatten_event(true).with_current_span(false).with_span_list(true);
    tracing_subscriber::registry().with(filter).with(lines).try_init()?;
    log_panics();
    Ok(())
}

/// The filter that [`VARIABLE`] says, or this one (R146).
///
/// # Errors
/// When it is none.
pub fn filter(usual: &str) -> Result<Targets, EnvError> {
    parse(env::optional(VARIABLE)?.as_deref().unwrap_or(usual))
}

fn parse(text: &str) -> Result<Targets, EnvError> {
    // What is said last about a crate holds. Not an `EnvFilter`, whose filters by fields bring an engine for regular
    // expressions into each function's package.
    Targets::from_str(&format!("{QUIET},{text}"))
        .map_err(|_| EnvError::Invalid { name: VARIABLE, rule: RULE.to_owned() })
}

/// Panics become log entries, so that alarms see them. Takes the place of the hook that prints them. By their place alone:
/// a panic's text may quote what was being worked on.
fn log_panics() {
    panic::set_hook(Box::new(|panic: &PanicHookInfo<'_>| {
        let location = panic.location().map(ToString::to_string);
        let thread = std::thread::current();
        ::tracing::error!(panic.location = location, panic.thread = thread.name(), "panicked");
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_that_is_none_is_named_with_the_rule() {
        assert!(parse(DEFAULT).is_ok());
        assert!(parse("warn,engine=debug").is_ok());
        assert!(parse("[turn{job.id=1}]=debug").is_err(), "there are no filters by spans");
        assert_eq!(
            parse("engine=loud").unwrap_err().to_string(),
            "the environment variable NIGHTSHIFT_LOG is invalid: it must be a filter by crates and levels, such \
             as `info` or `warn,engine=debug`"
        );
    }

    #[test]
    fn r146_debug_is_about_us_and_others_have_to_be_named() {
        let said = parse("debug").unwrap().to_string();
        assert!(said.contains("aws_smithy_runtime=warn") && said.contains("debug"), "{said}");
        let named = parse("debug,aws_smithy_runtime=trace").unwrap().to_string();
        assert!(named.contains("aws_smithy_runtime=trace") && !named.contains("aws_smithy_runtime=warn"), "{named}");
    }
}
