use aws_sdk_lambda::config::BehaviorVersion;
use tools::{RegisteredTool, ToolRegistry, config::ToolsConfig};

use super::*;
use crate::far_side::clock;

const DOCUMENT: &str = r#"{
    "http_get": {"hosts": ["docs.rs"], "timeout_seconds": 20},
    "web_search": {"provider": "brave"},
    "tools": [
        {"name": "ticket", "description": "Opens one.", "url": "https://x.test/", "signing_secret": "S", "timeout_seconds": 30},
        {"name": "refund", "description": "Refunds.", "function": "arn:aws:lambda:eu-west-1:1:function:refund"}
    ],
    "mcp_servers": {"wiki": {"url": "https://wiki.test/mcp"}}
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
        registry.list().map(|tool: &RegisteredTool| (tool.spec().clone(), tool.replay(), tool.timeout())).collect()
    };
    assert_eq!(all(&declared), all(&registered));
    assert_eq!(all(&declared).len(), 4);
    assert_eq!(registered.servers().collect::<Vec<_>>(), ["wiki"]);
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
}
