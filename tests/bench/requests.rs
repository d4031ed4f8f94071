//! What one job asks of the table and the queues, and what a million such jobs cost.

use std::time::Duration;

use serde_json::{Value, json};
use tests::documents::{agent, document, node};

use crate::{
    caller::Caller,
    model::{Model, Plan},
    report::{Goal, Report},
    system::{Metered, Setup, System},
};

/// List prices in US dollars, us-east-1, on demand, Lambda on arm64, as their pages had them in November 2026. Free tiers
/// are left out.
mod price {
    pub(super) const MILLION_WRITE_UNITS: f64 = 0.625;
    pub(super) const MILLION_READ_UNITS: f64 = 0.125;
    pub(super) const MILLION_QUEUE_REQUESTS: f64 = 0.40;
    pub(super) const MILLION_EVENTS: f64 = 1.00;
    pub(super) const MILLION_API_REQUESTS: f64 = 1.00;
    pub(super) const MILLION_INVOCATIONS: f64 = 0.20;
    pub(super) const GB_SECOND: f64 = 0.000_013_333_4;
}

/// As in `template.yaml`.
const WORKER_GB: f64 = 0.5;
const STREAM_GB: f64 = 0.25;

/// After a job's end its worker settles, and its viewers' poller ends: nothing more was asked for so long.
const SETTLED: Duration = Duration::from_millis(1000);

/// The write units of the standard job that nobody watches.
const WRITE_UNITS: f64 = 60.0;

struct Kind {
    name: &'static str,
    plan: &'static str,
    /// How often the model is asked.
    asks: usize,
    watched: bool,
    /// How long the model takes in all of its turns, in seconds.
    model: f64,
    goal: Option<Goal>,
}

pub(crate) async fn measure(report: Report, quick: bool) {
    let model = Model::start().await;
    let pace = (Duration::from_millis(200), Duration::from_millis(10));
    model.plan("standard", Plan::standard(100));
    model.plan("paced", Plan::standard(100).at_pace(pace.0, pace.1));
    model.plan("text", Plan::text(300));
    model.plan("paced text", Plan::text(300).at_pace(pace.0, pace.1));
    model.plan("long text", Plan::text(2000).at_pace(pace.0, pace.1));
    model.plan("node", Plan::text(100));
    let data = tempfile::tempdir().unwrap();
    let system = System::start(&Setup { metered: true, ..Setup::new(data.path(), &model.url) });
    let caller = Caller::new(&system.url);
    for n in 0..3 {
        let job = caller.start("standard", &format!("warm-up {n}")).await;
        caller.until_done(&job).await;
    }
    let _ = at_rest(&system).await;
    let standard = |name, plan, watched, model, goal| Kind { name, plan, asks: 3, watched, model, goal };
    let text = |name, plan, watched, model| Kind { name, plan, asks: 1, watched, model, goal: None };
    let goal = Some(Goal::AtMost(WRITE_UNITS));
    let mut kinds = vec![
        standard("standard job, unwatched, at once", "standard", false, 0.0, goal),
        standard("standard job, watched, at once", "standard", true, 0.0, None),
        text("text job, unwatched, at once", "text", false, 0.0),
        text("text job, watched, at once", "text", true, 0.0),
        Kind { name: "workflow of two agents, at once", plan: "", asks: 2, watched: false, model: 0.0, goal: None },
    ];
    if !quick {
        kinds.extend([
            standard("standard job, unwatched, 10 ms a token", "paced", false, 3.6, goal),
            standard("standard job, watched, 10 ms a token", "paced", true, 3.6, None),
            text("text job, unwatched, 10 ms a token", "paced text", false, 3.2),
            text("text job, watched, 10 ms a token", "paced text", true, 3.2),
            text("a text of 2,000 tokens, unwatched, 10 ms a token", "long text", false, 20.2),
            text("a text of 2,000 tokens, watched, 10 ms a token", "long text", true, 20.2),
        ]);
    }
    for kind in &kinds {
        count(&report, &model, &system, &caller, kind).await;
    }
    report.note("units as the embedded table reports them; refused requests would be charged and are not in them");
    report.note("dollars at list prices, the worker billed for the model's time alone; the model itself costs more");
}

async fn count(report: &Report, model: &Model, system: &System, caller: &Caller, kind: &Kind) {
    let before = system.metered();
    let body = match kind.plan {
        "" => json!({"input": kind.name, "workflow": two_agents()}),
        plan => json!({"model": plan, "input": kind.name, "tools": ["calculate"]}),
    };
    let job = caller.start_with(&body).await;
    if kind.watched {
        caller.until_done(&job).await;
    } else if !kind.plan.is_empty() {
        // A workflow's nodes are asked about other things than the job was.
        model.answered(kind.name, kind.asks).await;
    }
    let Metered { table, queues } = at_rest(system).await.since(&before);
    let view = caller.until_over(&job).await;
    assert_eq!(view["status"], "completed", "{view}");
    let name = kind.name;
    report.value(&format!("{name}: write units"), table.write_units, "", kind.goal);
    report.value(&format!("{name}: read units"), table.read_units, "", None);
    let requests = |counted: &std::collections::BTreeMap<String, u64>| {
        counted.iter().map(|(operation, n)| format!("{n} {operation}")).collect::<Vec<_>>().join(", ")
    };
    report.note(&format!("{name}: {} ({} refused); {}", requests(&table.requests), table.refused, requests(&queues)));
    let dollars = dollars(kind, &table, &queues);
    report.value(&format!("{name}: a million of them"), dollars.iter().map(|(_, dollars)| dollars).sum(), "USD", None);
    let parts: Vec<String> = dollars.iter().map(|(what, dollars)| format!("{what} {dollars:.1}")).collect();
    report.note(&format!("{name}: USD: {}", parts.join(", ")));
}

/// What was asked for by the time that nothing more is.
async fn at_rest(system: &System) -> Metered {
    let mut asked = system.metered();
    loop {
        tokio::time::sleep(SETTLED).await;
        let now = system.metered();
        if now == asked {
            return asked;
        }
        asked = now;
    }
}

fn dollars(
    kind: &Kind,
    table: &store::Metered,
    queues: &std::collections::BTreeMap<String, u64>,
) -> Vec<(&'static str, f64)> {
    let turns = kind.asks as f64;
    // A start; and for who watches its stream, otherwise an answer at the end.
    let (requests, watching) = if kind.watched { (1.0, kind.model) } else { (2.0, 0.0) };
    let invocations = turns + requests + f64::from(u8::from(kind.watched));
    vec![
        ("writes", table.write_units * price::MILLION_WRITE_UNITS),
        ("reads", table.read_units * price::MILLION_READ_UNITS),
        ("queues", queues.values().sum::<u64>() as f64 * price::MILLION_QUEUE_REQUESTS),
        ("events", price::MILLION_EVENTS),
        ("API", requests * price::MILLION_API_REQUESTS),
        ("invocations", invocations * price::MILLION_INVOCATIONS),
        ("workers", kind.model * WORKER_GB * price::GB_SECOND * 1e6),
        ("streams", watching * STREAM_GB * price::GB_SECOND * 1e6),
    ]
}

pub(crate) fn two_agents() -> Value {
    let writes = |id: &str| agent(id, json!({"model": "node", "prompt": "Write one sentence."}));
    let output = json!({"mode": "combine", "format": "text", "sources": ["editor"]});
    let nodes =
        [node("start", "start", json!({})), writes("writer"), writes("editor"), node("output", "output", output)];
    let edges = [("start", "output", "writer"), ("writer", "output", "editor"), ("editor", "output", "output")];
    document("Two agents", &nodes, &edges)
}
