use aws_sdk_lambda::config::BehaviorVersion;
use tools::{RegisteredTool, ToolRegistry, config::ToolsConfig};

use super::*;
use crate::far_side::{clock, context};

const DOCUMENT: &str = r#"{
    "http_get": {"hosts": ["docs.rs"], "timeout_seconds": 20},
    "web_search": {"provider": "brave"},
    "tools": [
        {"name": "ticket", "description": "Opens one.", "url": "https://x.test/", "signing_secret": "S", "timeout_seconds": 30},
        {"name": "refund", "description": "Refunds.", "function": "arn:aws:lambda:eu-west-1:1:function:refund"}
    ],
    "mcp_servers": {"wiki": {"url": "https://wiki.test/mcp"}},
    "disabled": ["refund"]
}"#;

fn parts(functions: bool) -> Parts {
    let secrets = r#"{"S": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "BRAVE_API_KEY": "BSA1"}"#;
    let config = aws_sdk_lambda::Config::builder().behavior_version(BehaviorVersion::latest()).build();
    Parts {
        secrets: Secrets::new(Some(secrets), |_| None).unwrap(),
        functions: functions.then(|| aws_sdk_lambda::Client::from_conf(config)),
        clock: clock(),
    }
}

#[test]
fn what_is_declared_is_what_is_registered() {
    let config = ToolsConfig::parse_deployed(DOCUMENT).unwrap();
    let (mut declared, mut registered) = (ToolRegistry::new(), ToolRegistry::new());
    config.declare(&mut declared).unwrap();
    register(&mut registered, &config, &parts(true)).unwrap();
    let all = |registry: &ToolRegistry| -> Vec<_> {
        let facts = |tool: &RegisteredTool| (tool.spec().clone(), tool.replay(), tool.timeout(), tool.is_enabled());
        registry.list().map(facts).collect()
    };
    assert_eq!(all(&declared), all(&registered));
    assert_eq!(all(&declared).len(), 4);
    assert_eq!(registered.servers().collect::<Vec<_>>(), ["wiki"]);
}

/// R98: a flag of the deployment's decides whether a tool runs.
#[tokio::test]
async fn a_tool_that_the_deployment_switches_off_is_listed_and_not_run_r98() {
    let allowed = ["calculate".to_owned()];
    for (document, told) in [("{}", "42"), (r#"{"disabled": ["calculate"]}"#, "Tool `calculate` is switched off")] {
        let mut registry = tools::builtin::builtin(clock());
        register(&mut registry, &ToolsConfig::parse_deployed(document).unwrap(), &parts(true)).unwrap();
        assert!(registry.list().any(|tool| tool.name() == "calculate"));
        let execution = registry.execute("calculate", r#"{"expression": "6 * 7"}"#, &context(), &allowed).await;
        assert!(execution.outcome.for_model().contains(told), "{execution:?}");
    }
}

/// The one that is for AWS; the local system registers the other.
#[test]
fn the_document_of_the_readme_for_aws_can_be_used_there() {
    let (_, page) = include_str!("../../../README.md").split_once("## Configuring tools").unwrap();
    let document = page.split("```").filter_map(|block| block.strip_prefix("json\n")).nth(1).unwrap();
    let config = ToolsConfig::parse_deployed(document).unwrap();
    let mut registry = tools::builtin::builtin(clock());
    let secrets = Secrets::new(Some(r#"{"WIKI_TOKEN": "hunter2"}"#), |_| None).unwrap();
    register(&mut registry, &config, &Parts { secrets, ..parts(true) }).unwrap();
    assert!(registry.get("refund").is_some() && registry.get("calculate").is_some_and(|tool| !tool.is_enabled()));
}

#[test]
fn what_is_missing_is_named_at_the_start() {
    let config = ToolsConfig::parse_deployed(DOCUMENT).unwrap();
    let told = |parts: &Parts| register(&mut ToolRegistry::new(), &config, parts).unwrap_err().to_string();
    assert_eq!(
        told(&parts(false)),
        "the tool `refund` is a Lambda function, and there is none to invoke here: it needs AWS"
    );
    let poor = Parts { secrets: Secrets::new(Some(r#"{"BRAVE_API_KEY": "x"}"#), |_| None).unwrap(), ..parts(true) };
    assert!(told(&poor).starts_with("there is no secret `S`"), "{}", told(&poor));
    let config = ToolsConfig::parse_deployed(r#"{"disabled": ["calculater"]}"#).unwrap();
    let error = register(&mut tools::builtin::builtin(clock()), &config, &parts(true)).unwrap_err();
    assert_eq!(error.to_string(), "`disabled` names `calculater`, and there is no such tool");
}
