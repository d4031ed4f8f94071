//! Starting the system from the command line: which model, which port, which directory, and what is said about it.

use std::{
    io::{self, Write as _},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;
use domain::price::Prices;
use model_client::{Secret, Url};
use startup::traces::Traces;
use tokio_util::task::AbortOnDropHandle;

use crate::{
    cli::{DEFAULT_PORT, Invocation, ServeArgs},
    data_dir,
    demo_model::{self, DemoModel},
    stack::{Options, Stack},
};

/// Where jobs are kept when nothing is said: beside the project that one works on.
const DEFAULT_DATA: &str = ".nightshift";
const OPENROUTER: &str = "https://openrouter.ai/api/v1";
/// What OpenRouter is asked for when no model is named: cheap, quick, and good with tools.
const OPENROUTER_MODEL: &str = "openai/gpt-4.1-mini";
const HEALTH_TIMEOUT: Duration = Duration::from_secs(2);
const SEND_SPANS_EVERY: Duration = Duration::from_secs(1);
/// How often to look whether jobs are followed.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Whoever has left is gone after so many looks.
const LOOKS_UNTIL_GONE: u32 = 5;
/// Whoever has not come back after so many will not: streams end now and then, and are asked for again after a second.
const LOOKS_UNTIL_NOT_BACK: u32 = 20;
/// The demo model's name.
const DEMO: &str = "demo";

/// A running system with the model that it uses.
#[derive(Debug)]
pub struct System {
    /// The system.
    pub stack: Stack,
    /// The demo model, if that is the one.
    pub demo: Option<DemoModel>,
    data: PathBuf,
    model: String,
    traces: Traces,
    _sender: AbortOnDropHandle<()>,
}

/// Starts the system as the arguments say.
///
/// # Errors
/// When it cannot be started; [`crate::stack::InUse`] when one runs on the same data directory already.
pub async fn start(args: &ServeArgs) -> anyhow::Result<System> {
    let (model_url, key) = model(args)?;
    let demo = match &model_url {
        Some(_) => None,
        None => Some(DemoModel::start(demo_model::Options::default()).await?),
    };
    let url = match (&model_url, &demo) {
        (Some(url), _) => url.clone(),
        (None, Some(demo)) => demo.url().clone(),
        (None, None) => anyhow::bail!("there is no model"),
    };
    let openrouter = model_url.as_ref().is_some_and(|url| url.as_str().starts_with(OPENROUTER));
    let fallback = if demo.is_some() { Some(DEMO.to_owned()) } else { openrouter.then(|| OPENROUTER_MODEL.to_owned()) };
    let default_model = args.default_model.clone().or(fallback);
    let data = args.data.clone().unwrap_or_else(|| PathBuf::from(DEFAULT_DATA));
    let named = default_model.as_deref().unwrap_or("named by each job");
    let model = if demo.is_some() { format!("{named} (built in)") } else { format!("{named} at {url}") };
    let mut options = Options {
        data: Some(data.clone()),
        port: args.port.unwrap_or(DEFAULT_PORT),
        model_api_key: key,
        model_timeouts: args.model_timeouts(),
        default_model,
        ..Options::new(url)
    };
    crate::configured_tools::add(&mut options.tools, args.tools.as_deref())?;
    if let Some(most) = args.max_jobs_per_user {
        options.max_jobs_per_user = most;
    }
    if args.port.is_none() && !is_free(DEFAULT_PORT).await {
        options.port = 0;
    }
    if let Some(prices) = startup::env::document("NIGHTSHIFT_MODEL_PRICES")? {
        options.engine.prices = Prices::parse(&prices).context("NIGHTSHIFT_MODEL_PRICES cannot be used")?;
    }
    if let Some(seconds) = args.stall_seconds {
        options.stall_after = Duration::from_secs(seconds.into());
    }
    let traces = startup::traces::init("nightshift").context("no traces can be sent")?;
    let stack = Stack::start(options).await?;
    let sender = AbortOnDropHandle::new(tokio::spawn(send(traces.clone())));
    Ok(System { stack, demo, data, model, traces, _sender: sender })
}

/// Sends spans as they end.
async fn send(traces: Traces) {
    loop {
        tokio::time::sleep(SEND_SPANS_EVERY).await;
        traces.flush().await;
    }
}

/// The model's address and key, if any are given.
fn model(args: &ServeArgs) -> anyhow::Result<(Option<Url>, Option<Secret>)> {
    let secret = |key: &Option<crate::cli::Key>| {
        key.as_ref().map(|key| key.reveal().to_owned()).filter(|key| !key.is_empty()).map(Secret::new)
    };
    let key = secret(&args.model_api_key);
    if let Some(url) = &args.model_url {
        return Ok((Some(url.clone()), key));
    }
    match secret(&args.openrouter_api_key).or(key) {
        Some(key) => Ok((Some(Url::parse(OPENROUTER).context("OpenRouter's address")?), Some(key))),
        None => Ok((None, None)),
    }
}

async fn is_free(port: u16) -> bool {
    tokio::net::TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, port)).await.is_ok()
}

/// The tools that a system would have that were started so, as `GET /tools` lists them.
///
/// # Errors
/// When they cannot be set up.
pub fn tools(args: &ServeArgs) -> anyhow::Result<Vec<serde_json::Value>> {
    let mut registry = crate::configured_tools::built_in();
    crate::configured_tools::add(&mut registry, args.tools.as_deref())?;
    let views = registry.list().map(|tool| api::job_view::ToolView::new(tool.spec(), tool.is_enabled()));
    views.map(|view| Ok(serde_json::to_value(view)?)).collect()
}

impl System {
    /// Resolves when nobody follows a job here any more: what is followed would stop with the system. Calls `told` if that
    /// takes a while.
    ///
    /// # Errors
    /// Those of `told`.
    pub async fn until_unfollowed(&self, told: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        for _ in 0..LOOKS_UNTIL_GONE {
            if self.stack.streams.n_followed() == 0 {
                return Ok(());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        told()?;
        let mut n_quiet = 0;
        while n_quiet < LOOKS_UNTIL_NOT_BACK {
            tokio::time::sleep(LOOK_EVERY).await;
            n_quiet = if self.stack.streams.n_followed() == 0 { n_quiet + 1 } else { 0 };
        }
        Ok(())
    }

    /// Ends every task, in the middle of whatever it does, and sends the spans that have ended.
    pub async fn stop(self) {
        self.stack.stop().await;
        self.traces.flush().await;
    }

    /// Says what runs and where.
    ///
    /// # Errors
    /// When standard output is gone.
    pub fn introduce(&self, exposed: Option<(std::net::SocketAddr, std::net::SocketAddr)>) -> io::Result<()> {
        let url = self.stack.url().as_str().trim_end_matches('/');
        let mut out = io::stdout().lock();
        writeln!(out, "Nightshift {} is running.\n", env!("CARGO_PKG_VERSION"))?;
        writeln!(out, "  Console   {url}/")?;
        writeln!(out, "  API       {url}")?;
        writeln!(out, "  Jobs      {}", shown(&self.data))?;
        writeln!(out, "  Model     {}", self.model)?;
        if let Some((dynamodb, sqs)) = exposed {
            writeln!(out, "  DynamoDB  http://{dynamodb} (aws --endpoint-url, any credentials, us-east-1)")?;
            writeln!(out, "  SQS       http://{sqs}")?;
        }
        if self.demo.is_some() {
            writeln!(
                out,
                "\nNo model is configured, so a built-in demo model answers. It knows clocks and sums.\n\
                 For a real one set OPENROUTER_API_KEY, or NIGHTSHIFT_MODEL_URL (Ollama, vLLM, any OpenAI-compatible API)."
            )?;
        }
        match self.stack.taken_over() {
            0 => {}
            1 => writeln!(out, "\n1 unfinished turn of an earlier run goes on.")?,
            n => writeln!(out, "\n{n} unfinished turns of an earlier run go on.")?,
        }
        let command = Invocation::of(&ServeArgs::default()).program;
        writeln!(
            out,
            "\nTry it:\n  curl -s {url}/jobs -H 'content-type: application/json' \\\n    \
             -d '{{\"input\": \"What time is it in Tokyo?\", \"tools\": [\"get_current_time\"]}}'\n\
             or, in another terminal: {command} run \"What time is it in Tokyo, and what is 17% of 2,340?\"\n\n\
             Ctrl-C stops it; unfinished jobs go on at the next start."
        )?;
        out.flush()
    }
}

fn shown(path: &Path) -> String {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).display().to_string()
}

/// Where a running system answers, if one does: whoever is at the port, or holds the data directory.
pub async fn find(args: &ServeArgs) -> Option<Url> {
    let data = args.data.as_deref().unwrap_or(Path::new(DEFAULT_DATA));
    let held = data_dir::holder(data).map(|holder| holder.url);
    // Whoever names a directory, and no port, means the system of that directory and no other.
    let port = args.port.or(args.data.is_none().then_some(DEFAULT_PORT));
    let at_port = port.map(|port| format!("http://127.0.0.1:{port}"));
    for url in [at_port, held].into_iter().flatten() {
        if let Ok(url) = Url::parse(&url)
            && is_nightshift(&url).await
        {
            return Some(url);
        }
    }
    None
}

async fn is_nightshift(url: &Url) -> bool {
    startup::aws::install_crypto();
    let Ok(health) = url.join("/health") else { return false };
    let Ok(client) = reqwest::Client::builder().no_proxy().timeout(HEALTH_TIMEOUT).build() else { return false };
    match client.get(health).send().await {
        Ok(answer) => answer.text().await.is_ok_and(|text| text.contains("\"service\":\"nightshift\"")),
        Err(_) => false,
    }
}
