//! Figures, as a table for people and as JSON.

use std::{
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::{Value, json};

use crate::machine;

/// What is to be reached.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Goal {
    AtMost(f64),
    AtLeast(f64),
}

/// What was measured so far. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Report(Arc<Mutex<Measured>>);

struct Measured {
    machine: Value,
    quick: bool,
    scenario: &'static str,
    figures: Vec<Value>,
}

impl Report {
    pub(crate) fn begin(quick: bool) -> Self {
        let machine = machine::describe();
        let text = |name: &str| machine[name].as_str().unwrap_or_default().to_owned();
        println!(
            "{} x {}, {}, Linux {}, load {}{}",
            machine["cores"],
            text("processor"),
            text("memory"),
            text("kernel"),
            text("load"),
            if quick { "; quick: few repetitions, a smoke run" } else { "" },
        );
        Self(Arc::new(Mutex::new(Measured { machine, quick, scenario: "", figures: vec![] })))
    }

    pub(crate) fn section(&self, name: &'static str, about: &str) {
        self.0.lock().unwrap().scenario = name;
        println!("\n{name}: {about} (load {})", machine::load());
    }

    /// One value.
    pub(crate) fn value(&self, name: &str, value: f64, unit: &str, goal: Option<Goal>) {
        println!("  {name:58} {value:10.2} {unit:6} {}", judged(value, goal));
        self.keep(json!({"name": name, "unit": unit, "value": value, "goal": wanted(goal), "met": met(value, goal)}));
    }

    /// Many values, in milliseconds: what is in the middle is held against the goal.
    pub(crate) fn spans(&self, name: &str, spans: &[Duration], goal: Option<Goal>) {
        let sorted = in_ms(spans);
        let p = |part| percentile(&sorted, part);
        let (p50, p95, p99) = (p(50.0), p(95.0), p(99.0));
        let judged = judged(p50, goal);
        println!("  {name:58} p50 {p50:7.2}  p95 {p95:7.2}  p99 {p99:7.2} ms  n {} {judged}", sorted.len());
        let (goal, met) = (wanted(goal), met(p50, goal));
        self.keep(json!({"name": name, "unit": "ms", "n": sorted.len(), "p5": p(5.0), "p50": p50, "p95": p95,
                         "p99": p99, "goal": goal, "met": met}));
    }

    /// What came of several rounds: the one in the middle is held against the goal.
    pub(crate) fn rounds(&self, name: &str, rounds: &[f64], unit: &str, goal: Option<Goal>) {
        let mut sorted = rounds.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (least, p50, most) = (sorted[0], percentile(&sorted, 50.0), sorted[sorted.len() - 1]);
        let judged = judged(p50, goal);
        println!("  {name:58} p50 {p50:7.2}  from {least:7.2} to {most:7.2} {unit}  n {} {judged}", sorted.len());
        let (goal, met) = (wanted(goal), met(p50, goal));
        self.keep(json!({"name": name, "unit": unit, "rounds": rounds, "p50": p50, "goal": goal, "met": met}));
    }

    /// A line that is no figure.
    pub(crate) fn note(&self, text: &str) {
        println!("  {text}");
        self.keep(json!({"note": text}));
    }

    /// Anything, for the JSON alone.
    pub(crate) fn keep(&self, mut figure: Value) {
        let mut measured = self.0.lock().unwrap();
        figure["scenario"] = measured.scenario.into();
        measured.figures.push(figure);
    }

    /// Writes the JSON.
    pub(crate) fn finish(&self) {
        let measured = self.0.lock().unwrap();
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("target/bench.json");
        let (machine, quick, figures) = (&measured.machine, measured.quick, &measured.figures);
        let whole = json!({"machine": machine, "quick": quick, "figures": figures});
        std::fs::write(&path, serde_json::to_string_pretty(&whole).unwrap()).unwrap();
        println!("\n{}", path.display());
    }
}

/// Milliseconds, sorted.
pub(crate) fn in_ms(spans: &[Duration]) -> Vec<f64> {
    let mut sorted: Vec<f64> = spans.iter().map(|span| span.as_secs_f64() * 1000.0).collect();
    sorted.sort_by(f64::total_cmp);
    sorted
}

/// Of sorted values, the one that so many percent do not exceed.
pub(crate) fn percentile(sorted: &[f64], percent: f64) -> f64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a place in a list")]
    let at = (sorted.len() as f64 * percent / 100.0).ceil() as usize;
    sorted[at.clamp(1, sorted.len()) - 1]
}

fn met(value: f64, goal: Option<Goal>) -> Option<bool> {
    goal.map(|goal| match goal {
        Goal::AtMost(most) => value <= most,
        Goal::AtLeast(least) => value >= least,
    })
}

fn wanted(goal: Option<Goal>) -> Option<String> {
    goal.map(|goal| match goal {
        Goal::AtMost(most) => format!("at most {most}"),
        Goal::AtLeast(least) => format!("at least {least}"),
    })
}

fn judged(value: f64, goal: Option<Goal>) -> String {
    let verdict = met(value, goal).map_or("", |met| if met { "met" } else { "MISSED" });
    wanted(goal).map(|wanted| format!("({wanted}: {verdict})")).unwrap_or_default()
}
