//! What the registry keeps every tool to, with the figures and the words that people and models read (R106).

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::time::Duration;

use async_trait::async_trait;
use domain::tool_call::{Replay, ToolOutcome, ToolSpec};
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tools::{Ending, RunsOn, Sent, Tool, ToolContext, ToolError, ToolRegistry, ToolReply};

/// A tool that does as it is told.
struct Does {
    name: &'static str,
    replay: Replay,
    runs_on: RunsOn,
    what: fn() -> Result<ToolReply, ToolError>,
}

#[async_trait]
impl Tool for Does {
    fn spec(&self) -> ToolSpec {
        let parameters =
            json!({"type": "object", "properties": {"text": {"type": "string"}}, "additionalProperties": false});
        ToolSpec { name: self.name.to_owned(), description: "Does as it is told.".to_owned(), parameters }
    }

    fn replay(&self) -> Replay {
        self.replay
    }

    fn runs_on(&self) -> RunsOn {
        self.runs_on
    }

    async fn call(&self, _: Value, _: &ToolContext) -> Result<ToolReply, ToolError> {
        if self.name == "hangs" {
            std::future::pending::<()>().await;
        }
        (self.what)()
    }
}

fn context() -> ToolContext {
    ToolContext {
        user: "user".parse().unwrap(),
        thread: None,
        job: "job_01M839RBJ60QB9X3PRWCTHDWN3".parse().unwrap(),
        lane: domain::id::LaneName::main(),
        turn: 1,
        call: "call_0".parse().unwrap(),
        cancel: CancellationToken::new(),
        deadline: Instant::now() + Duration::from_secs(120),
    }
}

fn registry(name: &'static str, what: fn() -> Result<ToolReply, ToolError>) -> ToolRegistry {
    let mut registry = ToolRegistry::new();
    registry.register(Does { name, replay: Replay::Safe, runs_on: RunsOn::Either, what }).unwrap();
    registry
}

fn done() -> Result<ToolReply, ToolError> {
    Ok(ToolReply::text("done"))
}

async fn told(registry: &ToolRegistry, name: &str, arguments: &str) -> String {
    let execution = registry.execute(name, arguments, &context(), &[name.to_owned()]).await;
    match execution.outcome {
        ToolOutcome::Error(error) => error.message,
        ToolOutcome::Skipped(message) => message,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_has_10_seconds_unless_its_deployment_says_otherwise_r12_r45_r46() {
    let mut registry = registry("hangs", done);
    let begun = Instant::now();
    assert_eq!(told(&registry, "hangs", "{}").await, "Tool `hangs` was stopped after the 10s that it may take");
    assert_eq!(begun.elapsed(), Duration::from_secs(10));
    assert!(registry.set_timeout("hangs", Duration::from_secs(30)));
    assert_eq!(told(&registry, "hangs", "{}").await, "Tool `hangs` was stopped after the 30s that it may take");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_must_not_run_twice_says_that_it_may_have_happened() {
    let mut registry = ToolRegistry::new();
    let hangs = Does { name: "hangs", replay: Replay::Never, runs_on: RunsOn::Server, what: done };
    registry.register(hangs).unwrap();
    assert_eq!(
        told(&registry, "hangs", "{}").await,
        "Tool `hangs` was stopped after the 10s that it may take; it may have taken effect, so check before repeating it"
    );
}

#[tokio::test]
async fn arguments_may_have_64_kib_r184() {
    let registry = registry("writes", done);
    let arguments = |bytes: usize| format!(r#"{{"text":"{}"}}"#, "x".repeat(bytes - r#"{"text":""}"#.len()));
    let execution = registry.execute("writes", &arguments(65_536), &context(), &["writes".to_owned()]).await;
    assert_eq!(execution.outcome, ToolOutcome::Completed("done".to_owned()));
    assert_eq!(
        told(&registry, "writes", &arguments(65_537)).await,
        "The arguments of `writes` have 65537 bytes; at most 65536 are taken"
    );
}

#[tokio::test]
async fn a_result_may_have_256_kib_r184() {
    let registry_of = registry;
    let fits = registry_of("answers", || Ok(ToolReply::text("x".repeat(262_144))));
    let execution = fits.execute("answers", "{}", &context(), &["answers".to_owned()]).await;
    assert_eq!(execution.outcome, ToolOutcome::Completed("x".repeat(262_144)));
    let too_long = registry_of("answers", || Ok(ToolReply::text("x".repeat(262_145))));
    assert_eq!(
        told(&too_long, "answers", "{}").await,
        "Tool `answers` answered with 262145 bytes; at most 262144 are kept"
    );
}

/// What a viewer is shown of a result (R184) is all that is kept of a failure.
#[tokio::test]
async fn a_failure_may_have_32_kib_and_says_that_it_was_cut() {
    let fits = registry("fails", || Err(ToolError::RespondToModel("x".repeat(32_768))));
    assert_eq!(told(&fits, "fails", "{}").await, "x".repeat(32_768));
    let failures: [fn() -> Result<ToolReply, ToolError>; 2] = [
        || Err(ToolError::RespondToModel("é".repeat(600_000))),
        || Err(ToolError::InvalidArguments("é".repeat(600_000))),
    ];
    for what in failures {
        let told = told(&registry("fails", what), "fails", "{}").await;
        assert!((32_700..=32_768).contains(&told.len()), "{}", told.len());
        assert!(told.starts_with("éé") && told.ends_with("é\n[cut: it has 1200000 bytes]"), "{}", &told[32_600..]);
    }
}

/// Findings quote names and values that the model made up.
#[tokio::test]
async fn what_is_wrong_with_arguments_is_told_in_short() {
    let mut registry = ToolRegistry::new();
    registry.register(Strict).unwrap();
    let name = "x".repeat(60_000);
    for arguments in [format!(r#"{{"{name}": 1}}"#), format!(r#"{{"text": {{"{name}": 1}}}}"#)] {
        let told = told(&registry, "strict", &arguments).await;
        assert!(told.contains("do not fit its schema") && told.len() < 1_000, "{}", told.len());
    }
}

/// Wants text, under any name.
struct Strict;

#[async_trait]
impl Tool for Strict {
    fn spec(&self) -> ToolSpec {
        let texts = json!({"type": "object", "additionalProperties": {"type": "string"}});
        let parameters = json!({"type": "object", "properties": {"text": texts}, "additionalProperties": false});
        ToolSpec { name: "strict".to_owned(), description: "Wants text, under any name.".to_owned(), parameters }
    }

    async fn call(&self, _: Value, _: &ToolContext) -> Result<ToolReply, ToolError> {
        done()
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_call_is_told_r11_r13_r53_r179() {
    let mut registry = registry("writes", done);
    let phone = Does { name: "on_the_phone", replay: Replay::Never, runs_on: RunsOn::Client, what: done };
    registry.register(phone).unwrap();
    let unknown = registry.execute("look", "{}", &context(), &["writes".to_owned()]).await;
    assert!(unknown.outcome.for_model().contains("Tool `look` does not exist; available: writes"));
    let unnamed = registry.execute("writes", "{}", &context(), &[]).await;
    assert_eq!(unnamed.outcome, ToolOutcome::Skipped("Tool `writes` is not one of this job's tools".to_owned()));
    assert!(
        told(&registry, "writes", r#"{"txt": 1}"#)
            .await
            .starts_with("The arguments of `writes` do not fit its schema:")
    );
    assert!(told(&registry, "writes", "{").await.starts_with("The arguments of `writes` are not valid JSON"));
    assert_eq!(told(&registry, "on_the_phone", "{}").await, "Tool not available in background mode");
    assert!(registry.set_enabled("writes", false));
    assert_eq!(told(&registry, "writes", "{}").await, "Tool `writes` is switched off");
}

#[tokio::test]
async fn a_panic_is_a_failed_call_r66_r141() {
    let registry = registry("panics", || panic!("as it should"));
    assert_eq!(told(&registry, "panics", "{}").await, "Tool `panics` stopped unexpectedly");
}

#[tokio::test(start_paused = true)]
async fn a_network_failure_is_tried_once_more_where_that_can_do_no_harm_r65() {
    let fails = |sent| ToolError::Network { message: "no answer".to_owned(), sent, source: None };
    for (replay, sent, attempts) in [
        (Replay::Safe, Sent::Perhaps, 2),
        (Replay::WithKey, Sent::Perhaps, 2),
        (Replay::Never, Sent::Nothing, 2),
        (Replay::Never, Sent::Perhaps, 1),
    ] {
        let what: fn() -> _ = match sent {
            Sent::Perhaps => {
                || Err(ToolError::Network { message: "no answer".to_owned(), sent: Sent::Perhaps, source: None })
            }
            Sent::Nothing => {
                || Err(ToolError::Network { message: "no answer".to_owned(), sent: Sent::Nothing, source: None })
            }
        };
        let mut registry = ToolRegistry::new();
        registry.register(Does { name: "asks", replay, runs_on: RunsOn::Server, what }).unwrap();
        let execution = registry.execute("asks", "{}", &context(), &["asks".to_owned()]).await;
        assert_eq!(execution.attempts, attempts, "{replay:?}, {sent:?}");
        assert!(execution.outcome.for_model().contains(&fails(sent).to_string()), "{execution:?}");
    }
}

#[tokio::test]
async fn a_cancelled_call_stops_r47() {
    let registry = registry("hangs", done);
    let context = context();
    let allowed = ["hangs".to_owned()];
    let (execution, ()) = tokio::join!(registry.execute("hangs", "{}", &context, &allowed), async {
        tokio::task::yield_now().await;
        context.cancel.cancel();
    });
    assert!(matches!(execution.ending, Ending::Cancelled), "{execution:?}");
}
