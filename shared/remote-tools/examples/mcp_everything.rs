//! What infra/mcp/run runs: the MCP client against `@modelcontextprotocol/server-everything`, a server that we did not
//! write. The argument is a tools document with that server under the name `everything`.

use std::{
    io::{Write as _, stdout},
    sync::Arc,
    time::{Duration, Instant},
};

use domain::{job::ToolRef, time::Timestamp, tool_call::Replay};
use remote_tools::{Parts, Secrets};
use tools::{ToolContext, ToolRegistry, config::ToolsConfig};

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let document = std::env::args().nth(1).ok_or("say which document")?;
    let config = ToolsConfig::parse(&document)?;
    // What a child process may get of our environment goes through here.
    #[expect(clippy::disallowed_methods, reason = "this is a `main`")]
    let secrets = Secrets::new(None, |name| std::env::var(name).ok())?;
    let parts = Parts { secrets, functions: None, clock: Arc::new(|| Timestamp::from_millis(0)) };
    let mut registry = ToolRegistry::new();
    remote_tools::register(&mut registry, &config, &parts)?;
    let names = registry.add_served(&[ToolRef::Mcp { server: "everything".to_owned(), tools: None }]).await;
    check("it is there", registry.absent().is_empty(), &format!("{:?}", registry.absent()))?;
    check("its tools are listed", names.iter().any(|name| name == "get-sum"), &names.join(", "))?;
    check("what it says of them is believed", registry.replay("get-sum") == Replay::Safe, "get-sum")?;

    let run = async |tool: &str, arguments: &str, seconds: u64| {
        let context = context(Duration::from_secs(seconds))?;
        let execution = registry.execute(tool, arguments, &context, &names).await;
        Ok::<String, Failure>(execution.outcome.for_model())
    };
    let said = run("echo", r#"{"message": "Good night"}"#, 10).await?;
    check("echo", said.contains("Good night"), &said)?;
    let said = run("get-sum", r#"{"a": 2, "b": 40}"#, 10).await?;
    check("get-sum", said.contains("42"), &said)?;
    let said = run("get-sum", r#"{"a": "two"}"#, 10).await?;
    check("arguments are checked before they are sent", said.contains("do not fit its schema"), &said)?;
    let said = run("get-tiny-image", "{}", 10).await?;
    check("an image is named and left out", said.contains("[image image/png of"), &said)?;
    let said = run("get-env", "{}", 10).await?;
    check("it knows nothing of our environment's keys", !said.contains("NOT_FOR_THE_SERVER"), "get-env")?;
    let begun = Instant::now();
    let said = run("trigger-long-running-operation", r#"{"duration": 30, "steps": 3}"#, 1).await?;
    check("what takes too long is stopped", said.contains("\"phase\":\"timeout\""), &said)?;
    check("in time", begun.elapsed() < Duration::from_secs(5), &format!("{:?}", begun.elapsed()))?;
    let said = run("echo", r#"{"message": "still there"}"#, 10).await?;
    check("and it goes on", said.contains("still there"), &said)
}

fn check(what: &str, holds: bool, seen: &str) -> Result<(), Failure> {
    if !holds {
        return Err(format!("{what}: {seen}").into());
    }
    writeln!(stdout(), "ok  {what}")?;
    Ok(())
}

fn context(time: Duration) -> Result<ToolContext, Failure> {
    Ok(ToolContext {
        user: "user".parse()?,
        thread: None,
        job: "job_01M839RBJ60QB9X3PRWCTHDWN3".parse()?,
        lane: domain::id::LaneName::main(),
        turn: 1,
        call: "call_0".parse()?,
        cancel: tokio_util::sync::CancellationToken::new(),
        deadline: tokio::time::Instant::now() + time,
    })
}
