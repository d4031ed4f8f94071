//! The commands of `nightshift` that talk to a running system, for people at a terminal and for scripts.
//!
//! A client of the HTTP API and nothing else: what it shows, any other client could show. The stages, each knowing only
//! the one before it: [`mod@client`] asks, [`stream`] follows, [`event`] reads, [`view`] decides what a person sees (a
//! workflow's nodes as a [`tree`]), and [`screen`] puts it there; [`watch`] joins them, and puts a job's questions to the
//! [`person`] at the terminal. No text that others wrote reaches the terminal without passing [`text`].

mod ask;
mod client;
mod event;
mod hint;
mod lines;
mod listing;
mod outline;
mod person;
mod screen;
mod sse;
mod stream;
mod text;
mod tool_list;
mod tree;
mod view;
mod watch;

#[cfg(test)]
mod tests;

use std::{
    error::Error as _,
    io::{self, Read},
    process::ExitCode,
    time::Duration,
};

use anyhow::Context;
use serde_json::{Value, json};
use ulid::Ulid;
use url::Url;

use self::{
    client::{Client, ClientError},
    event::{InputRequest, Job},
    hint::Hint,
    outline::Outline,
    screen::{Line, Style},
    watch::{Watch, interrupted},
};
pub use self::{
    person::Person,
    screen::{Look, Terminal},
};
use crate::cli::{
    AnswerArgs, Caller, CancelArgs, FollowArgs, JobsArgs, RetryArgs, RunArgs, SayArgs, ShowArgs, ToolsArgs,
};

/// A job failed, or the API said no.
const FAILED: u8 = 1;
/// The command could not be understood, or the system could not be reached.
const UNUSABLE: u8 = 2;
/// The job waits for an answer that nobody at this terminal gives.
const WAITS: u8 = 3;
/// The job was cancelled, or Ctrl-C was pressed.
pub const CANCELLED: u8 = 130;

/// How long a stream may be out of reach until watching ends.
const PATIENCE: Duration = Duration::from_secs(60);
/// The most waiting jobs of a list whose questions are asked for.
const QUESTIONS: usize = 20;
/// The longest page of jobs that is asked for.
const PAGE: usize = 100;

/// Starts a job and watches it until it ends.
///
/// # Errors
/// When nothing can be written, or a file or standard input not be read.
pub async fn run(base: &Url, args: &RunArgs, out: &mut Terminal) -> anyhow::Result<ExitCode> {
    let client = match client(base, &args.caller) {
        Ok(client) => client,
        Err(error) => return unusable(&error, out),
    };
    let request = match request(args, &client).await {
        Ok(request) => request,
        Err(error) => match error.downcast_ref::<ClientError>() {
            Some(error) => return complain(error, out),
            None => return unusable(&error, out),
        },
    };
    let outline = Outline::of(&request["workflow"]);
    let key = format!("run-{}", Ulid::generate());
    match client.start(&request, &key).await.and_then(|job| read(&client, &job)) {
        Ok(job) => {
            let watch = Watch { outline, json: args.json, ..Watch::new(base, &args.caller, args.owned) };
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
    let client = match client(base, &args.caller) {
        Ok(client) => client,
        Err(error) => return unusable(&error, out),
    };
    match client.job(&args.id).await.and_then(|job| read(&client, &job)) {
        Ok(job) => {
            let outline = outline(&job);
            let watch =
                Watch { outline, json: args.json, after: args.after, ..Watch::new(base, &args.caller, args.owned) };
            watch.job(client, job, interrupted(), out).await
        }
        Err(error) => complain(&error, out),
    }
}

/// Starts the job that goes on where one ended without an answer, and watches it.
///
/// # Errors
/// When nothing can be written.
pub async fn retry(base: &Url, args: &RetryArgs, out: &mut Terminal) -> anyhow::Result<ExitCode> {
    let client = match client(base, &args.caller) {
        Ok(client) => client,
        Err(error) => return unusable(&error, out),
    };
    let key = format!("retry-{}", Ulid::generate());
    match client.retry(&args.id, args.node.as_deref(), &key).await.and_then(|job| read(&client, &job)) {
        Ok(job) => {
            let outline = outline(&job);
            let watch = Watch { outline, json: args.json, ..Watch::new(base, &args.caller, args.owned) };
            watch.job(client, job, interrupted(), out).await
        }
        Err(error) => complain(&error, out),
    }
}

/// Answers a question of a job. In a system of this process's own, watches the job go on.
///
/// # Errors
/// When nothing can be written, or standard input not be read.
pub async fn answer(base: &Url, args: &AnswerArgs, out: &mut Terminal) -> anyhow::Result<ExitCode> {
    let client = match client(base, &args.caller) {
        Ok(client) => client,
        Err(error) => return unusable(&error, out),
    };
    let job = match client.job(&args.id).await.and_then(|job| read(&client, &job)) {
        Ok(job) => job,
        Err(error) => return complain(&error, out),
    };
    let (request, rest) = match asked(&job, &args.words) {
        Ok(asked) => asked,
        Err(why) => {
            let hint = Hint::new(out, base, args.caller.user.as_deref(), args.owned);
            let code = refuse(&why, FAILED, out)?;
            for request in job.open_requests() {
                let look = out.look();
                for line in lines::question_with_commands(&job.id, request, &hint, look) {
                    out.tell(&line)?;
                }
            }
            return Ok(code);
        }
    };
    let action = rest.first().map_or("", String::as_str);
    let typed = match rest.get(1) {
        Some(text) => Some(text_or_stdin(text)?),
        None => None,
    };
    let data = match typed.map_or(Ok(None), |typed| ask::data(request, action, typed.trim_end())) {
        Ok(data) => data,
        Err(why) => return refuse(&why, FAILED, out),
    };
    match client.answer(&job.id, &request.id, action, data.as_ref()).await.and_then(|job| read(&client, &job)) {
        Ok(now) => {
            let line = Line::of(Style::Green, "✓ ").with(Style::Bold, &now.id);
            let line = line.with(Style::Plain, format!("  answered: {action}"));
            out.print(&[line.with(Style::Dim, format!("  {}", text::one_line(&request.id)))])?;
            go_on(base, &args.caller, args.owned, client, now, out).await
        }
        Err(error) => complain(&error, out),
    }
}

/// Says something to a job at work. In a system of this process's own, watches the job go on.
///
/// # Errors
/// When nothing can be written, or standard input not be read.
pub async fn say(base: &Url, args: &SayArgs, out: &mut Terminal) -> anyhow::Result<ExitCode> {
    let client = match client(base, &args.caller) {
        Ok(client) => client,
        Err(error) => return unusable(&error, out),
    };
    let text = text_or_stdin(&args.text)?;
    let said = client.say(&args.id, &text, &format!("say-{}", Ulid::generate())).await;
    let job = match said {
        Ok(()) => client.job(&args.id).await.and_then(|job| read(&client, &job)),
        Err(error) => return complain(&error, out),
    };
    match job {
        Ok(job) => {
            let line = Line::of(Style::Green, "✓ ").with(Style::Bold, &job.id);
            out.print(&[line.with(Style::Plain, "  the message is taken in at the next turn")])?;
            go_on(base, &args.caller, args.owned, client, job, out).await
        }
        Err(error) => complain(&error, out),
    }
}

/// Watches a job whose system stops with this process: otherwise nothing would come of what was just said to it.
async fn go_on(
    base: &Url,
    caller: &Caller,
    owned: bool,
    client: Client,
    job: Job,
    out: &mut Terminal,
) -> anyhow::Result<ExitCode> {
    if !owned {
        return Ok(ExitCode::SUCCESS);
    }
    let outline = outline(&job);
    let watch = Watch { outline, after: job.last_event.unwrap_or(0), ..Watch::new(base, caller, owned) };
    watch.job(client, job, interrupted(), out).await
}

/// The question that `words` are about, and the words without its name.
fn asked<'a>(job: &'a Job, words: &'a [String]) -> Result<(&'a InputRequest, &'a [String]), String> {
    let open: Vec<&InputRequest> = job.open_requests().collect();
    if let Some((first, rest)) = words.split_first().filter(|(_, rest)| !rest.is_empty())
        && let Some(request) = job.input_requests.iter().flatten().find(|request| request.id == *first)
    {
        return Ok((request, rest));
    }
    match open.as_slice() {
        [] => Err(format!("{} asks nothing; it is {}", job.id, lines::words(&job.status))),
        [request] if words.len() <= 2 => Ok((request, words)),
        [request] => Err(format!("{} has no question {}; it asks {}", job.id, words[0], request.id)),
        open => Err(format!("{} asks {} questions; say which one you answer", job.id, open.len())),
    }
}

/// The outline of a job's workflow, as far as the job tells it.
fn outline(job: &Job) -> Outline {
    job.workflow.as_ref().map_or_else(Outline::default, |run| Outline::of(&run.graph))
}

fn client(base: &Url, caller: &Caller) -> anyhow::Result<Client> {
    Client::new(base, caller.user.as_deref())
}

fn text_or_stdin(text: &str) -> anyhow::Result<String> {
    if text != "-" {
        return Ok(text.to_owned());
    }
    let mut text = String::new();
    io::stdin().read_to_string(&mut text).context("standard input cannot be read")?;
    Ok(text)
}

/// Lists jobs.
///
/// # Errors
/// When nothing can be written.
pub async fn jobs(base: &Url, args: &JobsArgs, out: &mut Terminal) -> anyhow::Result<ExitCode> {
    let client = match client(base, &args.caller) {
        Ok(client) => client,
        Err(error) => return unusable(&error, out),
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
    let mut jobs: Vec<Job> = match jobs.iter().map(|job| read(&client, job)).collect() {
        Ok(jobs) => jobs,
        Err(error) => return complain(&error, out),
    };
    // A list does not say what its jobs wait for.
    for job in jobs.iter_mut().filter(|job| job.status == "input_required").take(QUESTIONS) {
        if let Ok(whole) = client.job(&job.id).await.and_then(|job| read(&client, &job)) {
            job.input_requests = whole.input_requests;
        }
    }
    let hint = Hint::new(out, base, args.caller.user.as_deref(), false);
    let lines = listing::jobs(&jobs, page.is_some(), jiff::Timestamp::now(), &hint, out.look());
    ended(out.print(&lines), ExitCode::SUCCESS)
}

/// Shows a job in full.
///
/// # Errors
/// When nothing can be written.
pub async fn show(base: &Url, args: &ShowArgs, out: &mut Terminal) -> anyhow::Result<ExitCode> {
    let client = match client(base, &args.caller) {
        Ok(client) => client,
        Err(error) => return unusable(&error, out),
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
            let hint = Hint::new(out, base, args.caller.user.as_deref(), false);
            let tree = tree::Tree::new(outline(&job), &job);
            let page = listing::job(&job, &tree, jiff::Timestamp::now(), &hint, out.look());
            ended(out.print(&page), ExitCode::SUCCESS)
        }
        Err(error) => complain(&error, out),
    }
}

/// Cancels a job.
///
/// # Errors
/// When nothing can be written.
pub async fn cancel(base: &Url, args: &CancelArgs, out: &mut Terminal) -> anyhow::Result<ExitCode> {
    let client = match client(base, &args.caller) {
        Ok(client) => client,
        Err(error) => return unusable(&error, out),
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
    let client = match client(base, &args.caller) {
        Ok(client) => client,
        Err(error) => return unusable(&error, out),
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
    if let Some(text) = args.text.as_deref() {
        request["input"] = text_or_stdin(text)?.into();
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
    if !args.approvals.is_empty() {
        request["approval"] = args.approvals.iter().map(|(tool, rule)| (tool.clone(), json!(rule))).collect();
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

fn read(client: &Client, job: &Value) -> Result<Job, ClientError> {
    match Job::parse(job) {
        Ok(job) if !job.id.is_empty() => Ok(job),
        Ok(_) => Err(client.strange("a job without an id")),
        Err(error) => Err(client.strange(&error.to_string())),
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
            (format!("{error}. Start it with: {}", out.invocation().program.trim_end_matches(" --")), UNUSABLE)
        }
        ClientError::Unreachable { source, .. } => {
            let cause = source.source().map_or_else(|| source.to_string(), ToString::to_string);
            (format!("{error}: {cause}"), UNUSABLE)
        }
        ClientError::Strange { .. } => (error.to_string(), UNUSABLE),
    };
    refuse(&what, code, out)
}

fn unusable(error: &anyhow::Error, out: &mut Terminal) -> anyhow::Result<ExitCode> {
    refuse(&format!("{error:#}"), UNUSABLE, out)
}

fn refuse(what: &str, code: u8, out: &mut Terminal) -> anyhow::Result<ExitCode> {
    let line = Line::of(Style::Red, format!("error: {}", text::one_line(what)));
    ended(out.tell(&line), ExitCode::from(code))
}

/// A reader who closed the pipe has seen enough.
fn ended(written: io::Result<()>, code: ExitCode) -> anyhow::Result<ExitCode> {
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(code),
        written => Ok(written.map(|()| code)?),
    }
}
