//! The commands of `nightshift` that talk to a running system, for people at a terminal and for scripts.
//!
//! A client of the HTTP API and nothing else: what it shows, any other client could show. The stages, each knowing only
//! the one before it: [`client`] asks, [`stream`] follows, [`event`] reads, [`view`] decides what a person sees, and
//! [`screen`] puts it there. No text that others wrote reaches the terminal without passing [`text`].

mod client;
mod event;
mod lines;
mod listing;
mod screen;
mod sse;
mod stream;
mod text;
mod tool_list;
mod view;

#[cfg(test)]
mod tests;

use std::{
    error::Error as _,
    future::Future,
    io::{self, Read},
    pin::{Pin, pin},
    process::ExitCode,
    time::Duration,
};

use anyhow::Context;
use futures_util::{Stream, StreamExt};
use serde_json::{Value, json};
use tokio::time::{Instant, MissedTickBehavior, interval};
use ulid::Ulid;
use url::Url;

pub use self::screen::{Look, Terminal};
use self::{
    client::{Client, ClientError},
    event::{Event, Job},
    screen::{Line, Style},
    stream::{Following, Told},
    view::View,
};
use crate::cli::{CancelArgs, DEFAULT_PORT, FollowArgs, JobsArgs, RunArgs, ShowArgs, ToolsArgs};

/// A job failed, or the API said no.
const FAILED: u8 = 1;
/// The command could not be understood, or the system could not be reached.
const UNUSABLE: u8 = 2;
/// The job was cancelled, or Ctrl-C was pressed.
const CANCELLED: u8 = 130;

/// How long a stream may be out of reach until watching ends.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long to wait before a stream is asked for again, until the server says how long.
const RETRY: Duration = Duration::from_secs(1);
/// How often what moves is drawn.
const FRAME: Duration = Duration::from_millis(100);
/// The longest page of jobs that is asked for.
const PAGE: usize = 100;

/// Starts a job and watches it until it ends.
///
/// # Errors
/// When nothing can be written, or a file or standard input not be read.
pub async fn run(base: &Url, args: &RunArgs, out: &mut Terminal) -> anyhow::Result<ExitCode> {
    let caller = args.caller.user.as_deref();
    let client = match Client::new(base, caller) {
        Ok(client) => client,
        Err(error) => return unusable(&format!("{error:#}"), out),
    };
    let request = match request(args, &client).await {
        Ok(request) => request,
        Err(error) => match error.downcast_ref::<ClientError>() {
            Some(error) => return complain(error, out),
            None => return unusable(&format!("{error:#}"), out),
        },
    };
    let started =
        client.start(&request, &format!("run-{}", Ulid::generate())).await.and_then(|job| read(&client, &job));
    match started {
        Ok(job) => {
            let watch = Watch { base, caller, json: args.json, owned: args.owned, after: 0, patience: PATIENCE };
            watch.job(client, job, interrupted(), out).await
        }
        Err(error) => complain(&error, out),
    }
}

/// Watches a job until it ends.
///
/// # Errors
/// When nothing can be written.
pub async fn follow(base: &Url, args: &FollowArgs, out: &mut Terminal) -> anyhow::Result<ExitCode> {
    let caller = args.caller.user.as_deref();
    let client = match Client::new(base, caller) {
        Ok(client) => client,
        Err(error) => return unusable(&format!("{error:#}"), out),
    };
    match client.job(&args.id).await.and_then(|job| read(&client, &job)) {
        Ok(job) => {
            let watch =
                Watch { base, caller, json: args.json, owned: args.owned, after: args.after, patience: PATIENCE };
            watch.job(client, job, interrupted(), out).await
        }
        Err(error) => complain(&error, out),
    }
}

/// Lists jobs.
///
/// # Errors
/// When nothing can be written.
pub async fn jobs(base: &Url, args: &JobsArgs, out: &mut Terminal) -> anyhow::Result<ExitCode> {
    let client = match Client::new(base, args.caller.user.as_deref()) {
        Ok(client) => client,
        Err(error) => return unusable(&format!("{error:#}"), out),
    };
    let mut jobs: Vec<Value> = Vec::new();
    let mut page: Option<String> = None;
    while jobs.len() < args.limit {
        let limit = (args.limit - jobs.len()).min(PAGE);
        match client.jobs(args.status.as_deref(), limit, page.as_deref()).await {
            Ok((more, next)) => {
                jobs.extend(more);
                page = next;
            }
            Err(error) => return complain(&error, out),
        }
        if page.is_none() {
            break;
        }
    }
    jobs.truncate(args.limit);
    if args.json {
        let text: String = jobs.iter().map(|job| text::json_line(&job.to_string()) + "\n").collect();
        return ended(out.write(&text), ExitCode::SUCCESS);
    }
    let jobs: Vec<Job> = match jobs.iter().map(|job| read(&client, job)).collect() {
        Ok(jobs) => jobs,
        Err(error) => return complain(&error, out),
    };
    let lines = listing::jobs(&jobs, page.is_some(), jiff::Timestamp::now(), out.look());
    ended(out.print(&lines), ExitCode::SUCCESS)
}

/// Shows a job in full.
///
/// # Errors
/// When nothing can be written.
pub async fn show(base: &Url, args: &ShowArgs, out: &mut Terminal) -> anyhow::Result<ExitCode> {
    let client = match Client::new(base, args.caller.user.as_deref()) {
        Ok(client) => client,
        Err(error) => return unusable(&format!("{error:#}"), out),
    };
    let answer = match client.job(&args.id).await {
        Ok(answer) => answer,
        Err(error) => return complain(&error, out),
    };
    if args.json {
        return ended(out.write(&(text::json_line(&answer.to_string()) + "\n")), ExitCode::SUCCESS);
    }
    match read(&client, &answer) {
        Ok(job) => {
            let at = answer_at(base, &job.id);
            ended(out.print(&listing::job(&job, jiff::Timestamp::now(), &at, out.look())), ExitCode::SUCCESS)
        }
        Err(error) => complain(&error, out),
    }
}

/// Cancels a job.
///
/// # Errors
/// When nothing can be written.
pub async fn cancel(base: &Url, args: &CancelArgs, out: &mut Terminal) -> anyhow::Result<ExitCode> {
    let client = match Client::new(base, args.caller.user.as_deref()) {
        Ok(client) => client,
        Err(error) => return unusable(&format!("{error:#}"), out),
    };
    match client.cancel(&args.id).await.and_then(|job| read(&client, &job)) {
        Ok(job) => {
            let (glyph, style) = lines::glyph(&job.status);
            let line = Line::of(style, format!("{glyph} ")).with(Style::Bold, &job.id);
            let line = match job.status.as_str() {
                "cancelled" => line.with(style, "  cancelled"),
                "completed" | "failed" => line.with(Style::Plain, format!("  had ended already: {}", job.status)),
                status => line.with(style, format!("  is being cancelled ({})", lines::words(status))),
            };
            ended(out.print(&[line]), ExitCode::SUCCESS)
        }
        Err(error) => complain(&error, out),
    }
}

/// Lists the tools.
///
/// # Errors
/// When nothing can be written.
pub async fn tools(base: &Url, args: &ToolsArgs, out: &mut Terminal) -> anyhow::Result<ExitCode> {
    let client = match Client::new(base, args.caller.user.as_deref()) {
        Ok(client) => client,
        Err(error) => return unusable(&format!("{error:#}"), out),
    };
    match client.tools().await {
        Ok(tools) => list_tools(&tools, args, out),
        Err(error) => complain(&error, out),
    }
}

/// Lists these tools.
///
/// # Errors
/// When nothing can be written.
pub fn list_tools(tools: &[Value], args: &ToolsArgs, out: &mut Terminal) -> anyhow::Result<ExitCode> {
    if args.json {
        let text: String = tools.iter().map(|tool| text::json_line(&tool.to_string()) + "\n").collect();
        return ended(out.write(&text), ExitCode::SUCCESS);
    }
    ended(out.print(&tool_list::tools(tools, out.look())), ExitCode::SUCCESS)
}

/// The body of `POST /jobs`.
async fn request(args: &RunArgs, client: &Client) -> anyhow::Result<Value> {
    let mut request = json!({});
    match args.text.as_deref() {
        Some("-") => {
            let mut text = String::new();
            io::stdin().read_to_string(&mut text).context("standard input cannot be read")?;
            request["input"] = text.into();
        }
        Some(text) => request["input"] = text.into(),
        None => {}
    }
    if let Some(file) = &args.workflow {
        let text = std::fs::read_to_string(file).with_context(|| format!("{} cannot be read", file.display()))?;
        request["workflow"] = serde_json::from_str(&text).with_context(|| format!("{} is not JSON", file.display()))?;
    }
    for (member, value) in [("model", &args.model), ("instructions", &args.instructions)] {
        if let Some(value) = value {
            request[member] = value.as_str().into();
        }
    }
    // A workflow's nodes name their own tools.
    let wants_all = args.tools.is_empty() && !args.no_tools && args.workflow.is_none();
    let tools = if wants_all {
        client.tools().await?.iter().filter_map(listing::tool_name).map(str::to_owned).collect()
    } else {
        args.tools.clone()
    };
    if !tools.is_empty() {
        request["tools"] = tools.into();
    }
    Ok(request)
}

/// How a job is watched.
struct Watch<'a> {
    base: &'a Url,
    caller: Option<&'a str>,
    json: bool,
    owned: bool,
    after: u64,
    patience: Duration,
}

impl Watch<'_> {
    async fn job(
        &self,
        client: Client,
        job: Job,
        interrupted: impl Future<Output = ()>,
        out: &mut Terminal,
    ) -> anyhow::Result<ExitCode> {
        let stream_url = match client.stream_url_of(&job).await {
            Ok(stream_url) => stream_url,
            Err(error) => return complain(&error, out),
        };
        let from =
            Following { job_id: job.id.clone(), stream_url, after: self.after, retry: RETRY, patience: self.patience };
        let mut told = pin!(stream::follow(client.clone(), from));
        let mut interrupted = pin!(interrupted);
        let watched = if self.json {
            self.print_events(told.as_mut(), interrupted.as_mut(), out).await
        } else {
            let view = View::new(job.clone(), self.after, answer_at(self.base, &job.id), out.look());
            self.draw_events(view, &client, told.as_mut(), interrupted.as_mut(), out).await
        };
        match watched {
            Ok(Some(status)) => Ok(exit_code(&status)),
            // The stream had nothing more to tell: the job says how it ended.
            Ok(None) => match client.job(&job.id).await.and_then(|job| read(&client, &job)) {
                Ok(job) => Ok(exit_code(&job.status)),
                Err(error) => complain(&error, out),
            },
            Err(WatchError::Interrupted) => ended(self.tell_how_to_return(&job.id, out), ExitCode::from(CANCELLED)),
            Err(WatchError::Client(error)) => {
                let code = complain(&error, out)?;
                self.tell_how_to_return(&job.id, out)?;
                Ok(code)
            }
            Err(WatchError::Output(error)) => ended(Err(error), ExitCode::SUCCESS),
        }
    }

    /// Prints each event's data. How the job ended, if an event told.
    async fn print_events(
        &self,
        mut told: Pin<&mut impl Stream<Item = Result<Told, ClientError>>>,
        mut interrupted: Pin<&mut impl Future<Output = ()>>,
        out: &mut Terminal,
    ) -> Result<Option<String>, WatchError> {
        let mut status = None;
        loop {
            let next = tokio::select! {
                biased;
                next = told.next() => next,
                () = interrupted.as_mut() => return Err(WatchError::Interrupted),
            };
            match next {
                Some(Ok(Told::Event(frame))) => {
                    out.write(&(text::json_line(&frame.data) + "\n"))?;
                    status = ending(&frame.event).map(str::to_owned).or(status);
                }
                Some(Ok(Told::Lost | Told::Back)) => {}
                Some(Err(error)) => return Err(error.into()),
                None => return Ok(status),
            }
        }
    }

    /// Draws what happens. How the job ended.
    async fn draw_events(
        &self,
        mut view: View,
        client: &Client,
        mut told: Pin<&mut impl Stream<Item = Result<Told, ClientError>>>,
        mut interrupted: Pin<&mut impl Future<Output = ()>>,
        out: &mut Terminal,
    ) -> Result<Option<String>, WatchError> {
        let begin = Instant::now();
        let mut frames = interval(FRAME);
        frames.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut status = None;
        let mut outcome = loop {
            let next = tokio::select! {
                biased;
                () = interrupted.as_mut() => break Err(WatchError::Interrupted),
                next = told.next() => next,
                _ = frames.tick(), if out.look() != Look::Plain => {
                    draw(&mut view, begin, out)?;
                    continue;
                }
            };
            view.look = out.look();
            match next {
                Some(Ok(Told::Event(frame))) => {
                    let event = match Event::parse(&frame.data) {
                        Ok(event) => event,
                        Err(error) => {
                            let what = format!("event {}: {error}", frame.id.unwrap_or_default());
                            break Err(client.strange(&what).into());
                        }
                    };
                    view.apply(&event, begin.elapsed());
                    status = ending(&frame.event).map(str::to_owned).or(status);
                }
                Some(Ok(Told::Lost)) => view.set_lost(true, begin.elapsed()),
                Some(Ok(Told::Back)) => view.set_lost(false, begin.elapsed()),
                Some(Err(error)) => break Err(error.into()),
                None => break Ok(()),
            }
            draw(&mut view, begin, out)?;
        };
        if outcome.is_ok() && status.is_none() {
            match client.job(view.job_id()).await.and_then(|job| read(client, &job)) {
                Ok(job) => {
                    view.conclude(&job);
                    status = Some(job.status);
                }
                Err(error) => outcome = Err(error.into()),
            }
        }
        view.release();
        out.print(&view.take_settled())?;
        outcome.map(|()| status)
    }

    fn tell_how_to_return(&self, id: &str, out: &mut Terminal) -> io::Result<()> {
        let mut command = format!("nightshift follow {id}");
        if let Some(port) = self.base.port_or_known_default().filter(|port| *port != DEFAULT_PORT && !self.owned) {
            command.push_str(&format!(" --port {port}"));
        }
        if let Some(user) = self.caller {
            command.push_str(&format!(" --user {user}"));
        }
        let what = if self.owned {
            "the job goes on the next time the system starts (nightshift); then watch it with: "
        } else {
            "the job goes on; watch it with: "
        };
        out.tell(&Line::of(Style::Dim, what).with(Style::Bold, command))
    }
}

/// Why watching ended before the job did.
#[derive(Debug, thiserror::Error)]
enum WatchError {
    #[error("interrupted")]
    Interrupted,
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Output(#[from] io::Error),
}

fn draw(view: &mut View, begin: Instant, out: &mut Terminal) -> io::Result<()> {
    view.look = out.look();
    out.draw(&view.take_settled(), &view.alive(begin.elapsed()))
}

/// Ctrl-C. Where that cannot be noticed, it ends the process as it always does.
async fn interrupted() {
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}

fn read(client: &Client, job: &Value) -> Result<Job, ClientError> {
    match Job::parse(job) {
        Ok(job) if !job.id.is_empty() => Ok(job),
        Ok(_) => Err(client.strange("a job without an id")),
        Err(error) => Err(client.strange(&error.to_string())),
    }
}

fn answer_at(base: &Url, id: &str) -> String {
    format!("{}/jobs/{id}/input_requests", base.as_str().trim_end_matches('/'))
}

/// The status that an event ends a job with.
fn ending(event: &str) -> Option<&str> {
    event.strip_prefix("job.").filter(|status| matches!(*status, "completed" | "failed" | "cancelled"))
}

fn exit_code(status: &str) -> ExitCode {
    match status {
        "completed" => ExitCode::SUCCESS,
        "cancelled" => ExitCode::from(CANCELLED),
        _ => ExitCode::from(FAILED),
    }
}

/// Says why there is no result, in one line.
fn complain(error: &ClientError, out: &mut Terminal) -> anyhow::Result<ExitCode> {
    let (what, code) = match error {
        ClientError::Refused(refusal) => {
            let message = refusal.message.trim_end_matches(['.', ':']);
            let details = refusal.details.join("; ");
            (if details.is_empty() { message.to_owned() } else { format!("{message}: {details}") }, FAILED)
        }
        ClientError::Unreachable { source, .. } if source.is_connect() => {
            (format!("{error}. Start it with: nightshift"), UNUSABLE)
        }
        ClientError::Unreachable { source, .. } => {
            let cause = source.source().map_or_else(|| source.to_string(), ToString::to_string);
            (format!("{error}: {cause}"), UNUSABLE)
        }
        ClientError::Strange { .. } => (error.to_string(), UNUSABLE),
    };
    ended(out.tell(&Line::of(Style::Red, format!("error: {}", text::one_line(&what)))), ExitCode::from(code))
}

fn unusable(what: &str, out: &mut Terminal) -> anyhow::Result<ExitCode> {
    let line = Line::of(Style::Red, format!("error: {}", text::one_line(what)));
    ended(out.tell(&line), ExitCode::from(UNUSABLE))
}

/// A reader who closed the pipe has seen enough.
fn ended(written: io::Result<()>, code: ExitCode) -> anyhow::Result<ExitCode> {
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(code),
        written => Ok(written.map(|()| code)?),
    }
}
