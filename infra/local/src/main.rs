//! The `nightshift` command.

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use clap::Parser as _;
use local::{
    cli::{Cli, Command, Invocation, ServeArgs},
    serve::{self, System},
    stack::InUse,
    terminal::{self, Terminal},
};
use model_client::Url;
use tracing_subscriber::{fmt, layer::SubscriberExt as _, util::SubscriberInitExt as _};

/// The exit code of a command that cannot be carried out.
const UNUSABLE: u8 = 2;
/// Why a command whose own job is over does not end.
const OTHERS_FOLLOW: &str =
    "Others follow jobs of the system that this command started. It stops when they are done; Ctrl-C stops it now.";

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    match startup::tracing::filter("warn") {
        Ok(filter) => {
            tracing_subscriber::registry().with(filter).with(fmt::layer().with_writer(io::stderr)).init();
        }
        Err(error) => {
            let _ = writeln!(io::stderr(), "error: {error}");
            return ExitCode::from(UNUSABLE);
        }
    }
    startup::aws::install_crypto();
    let done = match cli.command {
        None => serve(&cli.serve).await,
        Some(command) => {
            let mut out = Terminal::stdio(cli.plain, Invocation::of(&cli.serve));
            Box::pin(carry_out(command, &cli.serve, &mut out)).await
        }
    };
    done.unwrap_or_else(|error| {
        let _ = writeln!(io::stderr(), "error: {error:#}");
        ExitCode::from(UNUSABLE)
    })
}

async fn serve(args: &ServeArgs) -> anyhow::Result<ExitCode> {
    let system = match serve::start(args).await {
        Ok(system) => system,
        Err(error) => return already_running(error, Invocation::of(args).program),
    };
    let exposed = if args.expose { Some(system.stack.expose().await?) } else { None };
    system.introduce(exposed)?;
    tokio::signal::ctrl_c().await?;
    system.stop().await;
    Ok(ExitCode::SUCCESS)
}

/// A second system on the same directory would only be in the way of the first: that one can be used.
fn already_running(error: anyhow::Error, program: &str) -> anyhow::Result<ExitCode> {
    let Some(InUse { holder: Some(holder), .. }) = error.downcast_ref::<InUse>() else { return Err(error) };
    let url = holder.url.trim_end_matches('/');
    let port = url.rsplit(':').next().unwrap_or_default();
    writeln!(
        io::stderr(),
        "error: {error}\n\nUse the one that runs: {program} --port {port} run \"…\", jobs, follow, …\n\
         Or start a second one with a directory of its own: {program} --data DIR"
    )?;
    Ok(ExitCode::from(UNUSABLE))
}

async fn carry_out(command: Command, args: &ServeArgs, out: &mut Terminal) -> anyhow::Result<ExitCode> {
    match command {
        Command::Run(mut run) => {
            let (base, system) = found_or_started(args).await?;
            run.owned = system.is_some();
            end(terminal::run(&base, &run, out).await, system).await
        }
        Command::Follow(mut follow) => {
            let (base, system) = found_or_started(args).await?;
            follow.owned = system.is_some();
            end(terminal::follow(&base, &follow, out).await, system).await
        }
        Command::Retry(mut retry) => {
            let (base, system) = found_or_started(args).await?;
            retry.owned = system.is_some();
            end(terminal::retry(&base, &retry, out).await, system).await
        }
        Command::Answer(mut answer) => {
            let (base, system) = found_or_started(args).await?;
            answer.owned = system.is_some();
            end(terminal::answer(&base, &answer, out).await, system).await
        }
        Command::Say(mut say) => {
            let (base, system) = found_or_started(args).await?;
            say.owned = system.is_some();
            end(terminal::say(&base, &say, out).await, system).await
        }
        Command::Jobs(jobs) => terminal::jobs(&found(args).await?, &jobs, out).await,
        Command::Show(show) => terminal::show(&found(args).await?, &show, out).await,
        Command::Cancel(cancel) => terminal::cancel(&found(args).await?, &cancel, out).await,
        Command::Tools(tools) => match serve::find(args).await {
            Some(url) => terminal::tools(&url, &tools, out).await,
            // Nothing has to run for that.
            None => terminal::list_tools(&serve::tools(args)?, &tools, out),
        },
    }
}

/// A running system; where none answers, the address at which the commands then say so.
async fn found(args: &ServeArgs) -> anyhow::Result<Url> {
    match serve::find(args).await {
        Some(url) => Ok(url),
        None => Ok(Url::parse(&format!("http://127.0.0.1:{}", args.port.unwrap_or(local::cli::DEFAULT_PORT)))?),
    }
}

/// A running system, or one of our own.
async fn found_or_started(args: &ServeArgs) -> anyhow::Result<(Url, Option<System>)> {
    if let Some(url) = serve::find(args).await {
        return Ok((url, None));
    }
    let system = serve::start(args).await?;
    Ok((system.stack.url().clone(), Some(system)))
}

/// Stops the system that a command has started, when others do not need it any more. Whoever pressed Ctrl-C does not wait
/// for them, nor does who presses it then.
async fn end(done: anyhow::Result<ExitCode>, system: Option<System>) -> anyhow::Result<ExitCode> {
    let Some(system) = system else { return done };
    if !matches!(&done, Ok(code) if *code == ExitCode::from(terminal::CANCELLED)) {
        let told = || writeln!(io::stderr(), "{OTHERS_FOLLOW}");
        tokio::select! {
            unfollowed = system.until_unfollowed(told) => unfollowed?,
            pressed = tokio::signal::ctrl_c() => pressed?,
        }
    }
    system.stop().await;
    done
}
