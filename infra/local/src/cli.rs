//! The command line: what can be said, and how it is explained. What is done about it stands in `main.rs` and
//! [`crate::terminal`].

use std::{fmt, path::PathBuf, str::FromStr, time::Duration};

use clap::{
    Args, Parser, Subcommand,
    builder::{FalseyValueParser, RangedI64ValueParser},
};
use model_client::Timeouts;
use url::Url;

/// The port that the system listens at when nothing else is said.
pub const DEFAULT_PORT: u16 = 7070;

/// Durable jobs for AI agents. Without a command, starts the system: the API, its streams, the workers and their data, in
/// this one process.
#[derive(Debug, Clone, Parser)]
#[command(name = "nightshift", version, after_help = EXAMPLES, args_conflicts_with_subcommands = false)]
pub struct Cli {
    /// What to do; without it, serve.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// How the system is started.
    #[command(flatten)]
    pub serve: ServeArgs,
    /// Print plain lines: no colours, nothing that moves. So also when NO_COLOR is set, TERM is dumb or the output is
    /// not a terminal.
    #[arg(long, global = true, env = "NO_COLOR", hide_env = true, value_parser = FalseyValueParser::new())]
    pub plain: bool,
}

const EXAMPLES: &str = "\
Examples:
  nightshift                                            start the system
  nightshift run \"What time is it in Tokyo?\"            start a job and watch it
  nightshift run --workflow flow.json \"...\"            run a workflow and watch its nodes
  nightshift follow job_01J...                          watch a job from its beginning
  nightshift answer job_01J... approve                  answer the question that a job waits for

The model is reached at OPENROUTER_API_KEY's account, or at NIGHTSHIFT_MODEL_URL with NIGHTSHIFT_MODEL_API_KEY; where
neither is set, a demo model answers, which knows clocks and sums. README.md has the other variables: BRAVE_API_KEY,
TAVILY_API_KEY and NIGHTSHIFT_TOOL_SECRETS for tools, NIGHTSHIFT_MODEL_PRICES, and NIGHTSHIFT_LOG for logs.";

/// How the system is started.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "The system")]
pub struct ServeArgs {
    /// The port on 127.0.0.1 that the system listens at, and where the other commands look for it. By default 7070, or a
    /// free one when that is taken.
    #[arg(long, global = true, value_name = "N")]
    pub port: Option<u16>,
    /// Serve the embedded DynamoDB and SQS on loopback ports of their own, for the AWS CLI.
    #[arg(long)]
    pub expose: bool,
    /// The directory that holds jobs and their events. Whatever was unfinished in it goes on at the next start.
    #[arg(long, global = true, value_name = "DIR", env = "NIGHTSHIFT_DATA")]
    pub data: Option<PathBuf>,
    /// The model of jobs that name none.
    #[arg(long, global = true, value_name = "MODEL", env = "NIGHTSHIFT_MODEL", hide_short_help = true)]
    pub default_model: Option<String>,
    /// Where an API in OpenAI's form answers, such as http://localhost:11434/v1.
    #[arg(long, global = true, value_name = "URL", env = "NIGHTSHIFT_MODEL_URL", hide_short_help = true)]
    pub model_url: Option<Url>,
    /// Seconds that the model's server may take until it begins to answer; 30 when nothing is said. One that loads its
    /// model first takes more.
    #[arg(long, global = true, value_name = "N", env = "NIGHTSHIFT_MODEL_HEADER_SECONDS", hide_short_help = true)]
    #[arg(value_parser = timeout_seconds())]
    pub model_header_seconds: Option<u32>,
    /// Seconds that the model may be silent in an answer; 45 when nothing is said. A provider that tells nothing of a
    /// model's reasoning is silent for as long as that lasts.
    #[arg(long, global = true, value_name = "N", env = "NIGHTSHIFT_MODEL_IDLE_SECONDS", hide_short_help = true)]
    #[arg(value_parser = timeout_seconds())]
    pub model_idle_seconds: Option<u32>,
    /// How many jobs of one user may be at work at a time.
    #[arg(long, global = true, value_name = "N", env = "NIGHTSHIFT_MAX_JOBS_PER_USER", hide_short_help = true)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    pub max_jobs_per_user: Option<u32>,
    /// Seconds without anything happening after which a running job is said to stand still.
    #[arg(long, global = true, value_name = "N", env = "NIGHTSHIFT_STALL_SECONDS", hide_short_help = true)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    pub stall_seconds: Option<u32>,
    /// The deployment's tools: a JSON document, or the path of a file that has one (README.md, Configuring tools).
    #[arg(long = "tools-config", global = true, value_name = "FILE", env = "NIGHTSHIFT_TOOLS", hide_short_help = true)]
    pub tools: Option<String>,
    /// The key to `model_url`. Hidden: a command line is no place for secrets.
    #[arg(long, global = true, env = "NIGHTSHIFT_MODEL_API_KEY", hide = true, hide_env_values = true)]
    pub model_api_key: Option<Key>,
    /// The key to OpenRouter.
    #[arg(long, global = true, env = "OPENROUTER_API_KEY", hide = true, hide_env_values = true)]
    pub openrouter_api_key: Option<Key>,
}

fn timeout_seconds() -> RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(i64::from(*Timeouts::SECONDS.start())..=i64::from(*Timeouts::SECONDS.end()))
}

impl ServeArgs {
    /// How long the model may keep a turn waiting.
    pub fn model_timeouts(&self) -> Timeouts {
        let seconds = |asked: Option<u32>| asked.map(|seconds| Duration::from_secs(seconds.into()));
        let usual = Timeouts::default();
        Timeouts {
            headers: seconds(self.model_header_seconds).unwrap_or(usual.headers),
            idle: seconds(self.model_idle_seconds).unwrap_or(usual.idle),
        }
    }
}

/// How this program was called, for the commands that it tells people to use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invocation {
    /// What stands before a command's name.
    pub program: &'static str,
    /// The data directory that was named.
    pub data: Option<PathBuf>,
}

impl Default for Invocation {
    fn default() -> Self {
        Self { program: "nightshift", data: None }
    }
}

impl Invocation {
    /// Of this process.
    pub fn of(args: &ServeArgs) -> Self {
        // Whoever came by `cargo run` has no `nightshift` in their path.
        let by_cargo = startup::env::optional("CARGO").is_ok_and(|cargo| cargo.is_some());
        Self { program: if by_cargo { "cargo run --" } else { "nightshift" }, data: args.data.clone() }
    }
}

/// A key that is not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Key(String);

impl Key {
    /// The key itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(…)")
    }
}

impl FromStr for Key {
    type Err = std::convert::Infallible;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.trim().to_owned()))
    }
}

/// What to do with a system that runs.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Start a job and watch it until it ends.
    ///
    /// When the job asks something and a person is at the terminal, they are asked.
    ///
    /// Exits with 0 when the job completed, 1 when it failed or was refused, 3 when it waits for an answer that nobody gave,
    /// 130 when it was cancelled or Ctrl-C ended the watching (the job itself goes on), 2 when no system can be reached or
    /// started.
    Run(RunArgs),
    /// List jobs, newest first.
    Jobs(JobsArgs),
    /// Show a job in full.
    Show(ShowArgs),
    /// Watch a job, from its beginning or from an event on; exits as `run` does.
    Follow(FollowArgs),
    /// Answer a question that a job waits for. Where no system runs, starts one and watches the job go on.
    Answer(AnswerArgs),
    /// Say something to a job at work; it is taken in at the next turn.
    Say(SayArgs),
    /// Start a job that goes on where one failed or was cancelled, and watch it; exits as `run` does.
    Retry(RetryArgs),
    /// Cancel a job. Harmless when it has ended.
    Cancel(CancelArgs),
    /// List the tools that jobs can use.
    Tools(ToolsArgs),
}

/// Who asks.
#[derive(Debug, Clone, Default, Args)]
pub struct Caller {
    /// Act as this user; jobs belong to users. By default `local`.
    #[arg(long, value_name = "NAME")]
    pub user: Option<String>,
}

/// `nightshift run`.
#[derive(Debug, Clone, Default, Args)]
pub struct RunArgs {
    /// What the job is to do; `-` reads it from standard input.
    #[arg(value_name = "TEXT", required_unless_present = "workflow")]
    pub text: Option<String>,
    /// The model, by the provider's name for it.
    #[arg(long, short, value_name = "MODEL")]
    pub model: Option<String>,
    /// A tool that the model may use; can be given several times. By default all that `nightshift tools` lists.
    #[arg(long = "tool", short, value_name = "NAME")]
    pub tools: Vec<String>,
    /// Let the model use no tools.
    #[arg(long, conflicts_with = "tools")]
    pub no_tools: bool,
    /// Instructions to the model, beside the text.
    #[arg(long, short, value_name = "TEXT")]
    pub instructions: Option<String>,
    /// Run the workflow in this file (JSON); the text is its input. Its agents that name no tools may use those that are
    /// named here.
    #[arg(long, short, value_name = "FILE")]
    pub workflow: Option<PathBuf>,
    /// Whether calls of a tool need a person's approval; can be given several times. The tool may be `*`: all others.
    #[arg(long = "approval", value_name = "TOOL=always|never", value_parser = approval)]
    pub approvals: Vec<(String, String)>,
    /// Print each event as one line of JSON.
    #[arg(long)]
    pub json: bool,
    /// Who starts it.
    #[command(flatten)]
    pub caller: Caller,
    /// Whether the system runs inside this very process, and so stops with it.
    #[arg(skip)]
    pub owned: bool,
}

/// `nightshift jobs`.
#[derive(Debug, Clone, Default, Args)]
pub struct JobsArgs {
    /// Only jobs of this status.
    #[arg(long, short, value_parser = ["queued", "running", "input_required", "completed", "failed", "cancelled"])]
    pub status: Option<String>,
    /// How many at most.
    #[arg(long, short = 'n', value_name = "N", default_value_t = 20)]
    pub limit: usize,
    /// Print each job as one line of JSON.
    #[arg(long)]
    pub json: bool,
    /// Whose jobs.
    #[command(flatten)]
    pub caller: Caller,
}

/// `nightshift show`.
#[derive(Debug, Clone, Default, Args)]
pub struct ShowArgs {
    /// The job.
    pub id: String,
    /// Print the job as JSON.
    #[arg(long)]
    pub json: bool,
    /// Whose job.
    #[command(flatten)]
    pub caller: Caller,
}

/// `nightshift follow`.
#[derive(Debug, Clone, Default, Args)]
pub struct FollowArgs {
    /// The job.
    pub id: String,
    /// Begin after this event's number.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub after: u64,
    /// Print each event as one line of JSON.
    #[arg(long)]
    pub json: bool,
    /// Whose job.
    #[command(flatten)]
    pub caller: Caller,
    /// Whether the system runs inside this very process, and so stops with it.
    #[arg(skip)]
    pub owned: bool,
}

/// `nightshift answer`.
#[derive(Debug, Clone, Default, Args)]
#[command(override_usage = "nightshift answer [OPTIONS] <JOB> [REQUEST] <ACTION> [DATA]")]
pub struct AnswerArgs {
    /// The job.
    #[arg(value_name = "JOB")]
    pub id: String,
    /// The question, unless there is only one; an action (approve, reject, skip, submit, modify) or the id of one of the
    /// question's options; and what comes with it: text, JSON where the question wants that, or `-` to read it from
    /// standard input.
    #[arg(value_name = "[REQUEST] ACTION [DATA]", num_args = 1..=3, required = true)]
    pub words: Vec<String>,
    /// Whose job.
    #[command(flatten)]
    pub caller: Caller,
    /// Whether the system runs inside this very process, and so stops with it.
    #[arg(skip)]
    pub owned: bool,
}

/// `nightshift say`.
#[derive(Debug, Clone, Default, Args)]
pub struct SayArgs {
    /// The job.
    #[arg(value_name = "JOB")]
    pub id: String,
    /// What is said; `-` reads it from standard input.
    pub text: String,
    /// Whose job.
    #[command(flatten)]
    pub caller: Caller,
    /// Whether the system runs inside this very process, and so stops with it.
    #[arg(skip)]
    pub owned: bool,
}

/// `nightshift retry`.
#[derive(Debug, Clone, Default, Args)]
pub struct RetryArgs {
    /// The job that failed or was cancelled.
    #[arg(value_name = "JOB")]
    pub id: String,
    /// Go on from this node of its workflow instead of the one that failed.
    #[arg(long, value_name = "NODE")]
    pub node: Option<String>,
    /// Print each event as one line of JSON.
    #[arg(long)]
    pub json: bool,
    /// Whose job.
    #[command(flatten)]
    pub caller: Caller,
    /// Whether the system runs inside this very process, and so stops with it.
    #[arg(skip)]
    pub owned: bool,
}

fn approval(text: &str) -> Result<(String, String), String> {
    match text.rsplit_once('=') {
        Some((tool, rule @ ("always" | "never"))) if !tool.is_empty() => Ok((tool.to_owned(), rule.to_owned())),
        _ => Err("it must be a tool's name or *, `=`, and `always` or `never`".to_owned()),
    }
}

/// `nightshift cancel`.
#[derive(Debug, Clone, Default, Args)]
pub struct CancelArgs {
    /// The job.
    pub id: String,
    /// Whose job.
    #[command(flatten)]
    pub caller: Caller,
}

/// `nightshift tools`.
#[derive(Debug, Clone, Default, Args)]
pub struct ToolsArgs {
    /// Print the tools with their schemas as JSON.
    #[arg(long)]
    pub json: bool,
    /// Who asks.
    #[command(flatten)]
    pub caller: Caller,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn without_a_command_it_serves() {
        let cli = Cli::try_parse_from(["nightshift", "--port", "8080", "--data", "/tmp/x"]).unwrap();
        assert!(cli.command.is_none());
        assert_eq!((cli.serve.port, cli.serve.data), (Some(8080), Some(PathBuf::from("/tmp/x"))));
    }

    #[test]
    fn a_run_takes_tools_one_by_one_and_the_port_anywhere() {
        let line =
            ["nightshift", "run", "--model", "m", "--tool", "a", "--tool", "b", "--json", "do it", "--port", "1"];
        let cli = Cli::try_parse_from(line).unwrap();
        let Some(Command::Run(run)) = cli.command else { panic!("not a run") };
        assert_eq!((run.text.as_deref(), run.model.as_deref(), run.json), (Some("do it"), Some("m"), true));
        assert_eq!((run.tools, cli.serve.port), (vec!["a".to_owned(), "b".to_owned()], Some(1)));
    }

    #[test]
    fn a_run_needs_a_text_or_a_workflow() {
        assert!(Cli::try_parse_from(["nightshift", "run"]).is_err());
        assert!(Cli::try_parse_from(["nightshift", "run", "--workflow", "flow.json"]).is_ok());
    }

    #[test]
    fn an_answer_has_an_action_and_perhaps_a_question_and_data() {
        let words = |line: &[&str]| match Cli::try_parse_from([&["nightshift", "answer", "job_1"], line].concat()) {
            Ok(Cli { command: Some(Command::Answer(answer)), .. }) => Some(answer.words),
            _ => None,
        };
        assert_eq!(words(&["approve"]).unwrap(), ["approve"]);
        assert_eq!(words(&["r.1", "modify", "-", "--user", "ada"]).unwrap(), ["r.1", "modify", "-"]);
        assert_eq!(words(&[]), None);
        assert_eq!(words(&["a", "b", "c", "d"]), None);
    }

    #[test]
    fn an_approval_names_a_tool_and_a_rule() {
        let approvals =
            |of: &str| Cli::try_parse_from(["nightshift", "run", "Hi", "--approval", of, "--approval", "*=never"]);
        let Some(Command::Run(run)) = approvals("send=always").unwrap().command else { panic!("not a run") };
        assert_eq!(run.approvals[0], ("send".to_owned(), "always".to_owned()));
        for wrong in ["send", "send=perhaps", "=always"] {
            assert!(approvals(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_models_time_outs_are_seconds_that_a_turn_may_last() {
        let timeouts = |line: &[&str]| {
            let cli = Cli::try_parse_from([&["nightshift"], line].concat());
            cli.map(|cli| cli.serve.model_timeouts())
        };
        assert_eq!(timeouts(&[]).unwrap(), Timeouts::default());
        let (headers, idle) = (Duration::from_secs(120), Duration::from_secs(600));
        assert_eq!(
            timeouts(&["--model-header-seconds", "120", "--model-idle-seconds", "600"]).unwrap(),
            Timeouts { headers, idle }
        );
        for flag in ["--model-header-seconds", "--model-idle-seconds"] {
            for wrong in ["0", "601", "soon"] {
                assert!(timeouts(&[flag, wrong]).is_err(), "{flag} {wrong}");
            }
        }
    }

    #[test]
    fn keys_are_not_shown() {
        let cli = Cli::try_parse_from(["nightshift", "--openrouter-api-key", "sk-secret"]).unwrap();
        assert_eq!(cli.serve.openrouter_api_key.as_ref().map(Key::reveal), Some("sk-secret"));
        assert!(!format!("{cli:?}").contains("secret"));
    }
}
