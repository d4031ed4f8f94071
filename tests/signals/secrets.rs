//! What was said in a job is nobody's business but its owner's.

use local::demo_model::{Call, Script, Turn};
use reqwest::Method;
use serde_json::json;
use tests::System;
use tools::{ToolContext, ToolError, ToolReply, TypedTool};

use crate::listening::{Counts, Listening};

/// In everything that a job is made of, and nowhere else.
const MARK: &str = "xyzzy-4711";

struct Echo;

#[derive(serde::Deserialize, schemars::JsonSchema)]
struct Said {
    text: String,
}

#[async_trait::async_trait]
impl TypedTool for Echo {
    type Arguments = Said;
    const NAME: &'static str = "echo";
    const DESCRIPTION: &'static str = "Says what it is told.";

    async fn call(&self, said: Said, _: &ToolContext) -> Result<ToolReply, ToolError> {
        Ok(ToolReply::text(said.text))
    }
}

#[tokio::test]
async fn nothing_of_what_was_said_in_a_job_is_in_logs_metrics_or_spans() {
    let listening = Listening::start().await;
    let system = System::with(|options| {
        options.tools.register(Echo).unwrap();
    })
    .await;
    let input = format!("prompt {MARK}");
    let sum = format!(r#"{{"expression": "1 + 1", "note": "{MARK}"}}"#);
    let echo = format!(r#"{{"text": "{MARK}"}}"#);
    let calls = [
        Call::new("echo", echo.clone()),
        Call::new("calculate", sum),
        Call::new("throws", "{}"),
        Call::new("wants_a_number", format!(r#"{{"n": "{MARK}"}}"#)),
        Call::new("hangs", "{}"),
        Call::new("panics", "{}"),
        Call::new(format!("made_up_{MARK}"), echo.clone()),
        Call::new("callers_own", echo),
    ];
    let script = Script::new()
        .turn(Turn::text(format!("text {MARK}")).then_reasoning([format!("reasoning {MARK}")]).then_calls(calls))
        .turn(Turn::text(format!("answer {MARK}")));
    system.model.script(input.clone(), script);
    let own = json!({"type": "function", "function": {
        "name": "callers_own", "description": MARK, "parameters": {"type": "object"}
    }});
    let mut tools = vec![own];
    tools.extend(["echo", "calculate", "throws", "wants_a_number", "hangs", "panics"].map(|name| json!(name)));
    let body = json!({
        "input": input,
        "instructions": format!("instructions {MARK}"),
        "tools": tools,
        "model_api_key": format!("sk-{MARK}"),
        "metadata": {"note": MARK},
    });
    let request = system.request(Method::POST, "/jobs").header("idempotency-key", format!("key-{MARK}"));
    let (status, job) = system.answer(request.json(&body)).await;
    assert_eq!(status, 202, "{job}");
    let mut viewer = system.follow(&job, 0).await;
    let finished = system.finished(&job).await;
    while viewer.next().await.is_some() {}
    // The mark was where it should be.
    assert_eq!(finished["status"], "completed", "{finished}");
    assert!(finished["output"].as_str().unwrap().contains(MARK));
    assert_eq!(finished["tool_calls"].as_array().unwrap().len(), 8);

    let token = job["stream_url"].as_str().unwrap().split_once("token=").unwrap().1;
    let (logs, metrics) = (listening.logs(), Counts::now(&system).await);
    let spans = listening.sent().await;
    assert!(!listening.lines("job ended").is_empty() && metrics.text().contains("nightshift_turns_total"));
    assert!(spans.iter().any(|body| contains(body, "execute_tool echo")));
    for secret in [MARK, token] {
        let line = logs.lines().find(|line| line.contains(secret));
        assert_eq!(line, None, "{secret} is logged");
        assert!(!metrics.text().contains(secret), "{secret} is counted");
        assert!(!spans.iter().any(|body| contains(body, secret)), "{secret} is in a span");
    }
}

fn contains(body: &[u8], text: &str) -> bool {
    body.windows(text.len()).any(|window| window == text.as_bytes())
}
