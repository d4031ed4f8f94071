//! Instructions of the inner loops, counted by callgrind: they do not depend on what else the machine does. Each kind of
//! work is run under it twice, once and a few hundred times, in a process that does nothing else; the difference is the
//! work's own.

use std::{collections::BTreeMap, hint::black_box, process::Command, time::Duration};

use axum::http;
use domain::{
    event::{Event, EventBody, Origin},
    id::{JobId, LaneName},
    time::Timestamp,
    workflow::{CallResult, Known, LaneSoFar, Run, RunInput, Stage, Step, Workflow, check, settle, stage, start},
};
use futures_util::StreamExt;
use model_client::ModelStream;

use crate::{
    model::{self, Turn},
    report::Report,
    requests::two_agents,
};

/// Tokens of an answer that is parsed, and events of a frame's work.
const EACH: usize = 100;

/// A kind of work: what one repetition of it comes to.
const WORKS: [(&str, &str, f64); 3] = [
    ("parser", "the model's stream: bytes to events, a token", EACH as f64),
    ("frames", "an event of text as a viewer's frame", EACH as f64),
    ("planner", "a workflow of two agents, from its start to its end", 1.0),
];

pub(crate) async fn measure(report: Report, quick: bool) {
    let (few, many) = (1, if quick { 11 } else { 201 });
    for (name, about, parts) in WORKS {
        let (Some(once), Some(often)) = (counted(name, few), counted(name, many)) else {
            report.note("valgrind cannot be run: no instructions are counted");
            return;
        };
        let each = (often - once) / (many - few) as f64 / parts;
        report.value(about, each, "instr", None);
    }
}

/// The instructions of a process that does the work so often.
fn counted(name: &str, times: usize) -> Option<f64> {
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]);
    let done = valgrind.arg(std::env::current_exe().unwrap()).arg(format!("--work={name}:{times}")).output().ok()?;
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let said = String::from_utf8(done.stderr).unwrap();
    let collected = said.lines().find_map(|line| line.split_once("Collected :")).unwrap().1;
    Some(collected.trim().parse().unwrap())
}

/// What the counted process does.
pub(crate) fn work(asked: &str) {
    let (name, times) = asked.split_once(':').unwrap();
    let times: usize = times.parse().unwrap();
    match name {
        "parser" => parse(times),
        "frames" => frame(times),
        "planner" => plan(times),
        other => panic!("there is no work {other}"),
    }
}

fn parse(times: usize) {
    let (frames, rest) = model::frames(Turn { tokens: EACH, calls: 0, thinks: false }, 0);
    let bytes = frames.concat() + &rest;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        for _ in 0..times {
            let response = reqwest::Response::from(http::Response::new(bytes.clone()));
            let mut events = ModelStream::new(response, Duration::from_secs(60), 1024 * 1024);
            while let Some(event) = events.next().await {
                black_box(event.unwrap());
            }
        }
    });
}

fn frame(times: usize) {
    let job: JobId = "job_01JDA7Q3W5T8Z2K4M6N8P0R1S3".parse().unwrap();
    let origin = Some(Origin { lane: LaneName::main(), turn: 1, attempt: 1, node_id: None });
    let body = EventBody::OutputDelta { text: (0..10).map(model::token).collect() };
    let event = Event { number: 1234, at: Timestamp::from_millis(1_763_800_000_000), origin, body };
    for _ in 0..times * EACH {
        black_box(api::sse::frame(&job, black_box(&event)));
    }
}

fn plan(times: usize) {
    let workflow = check(&two_agents(), &Known::default()).unwrap().workflow;
    let input = RunInput { text: "Go".to_owned(), attachments: vec![] };
    for _ in 0..times {
        black_box(played(&workflow, &input));
    }
}

/// A run, from its start to its end.
fn played(workflow: &Workflow, input: &RunInput) -> Run {
    let mut open: BTreeMap<LaneName, LaneSoFar> = BTreeMap::new();
    let mut run = Run::default();
    let mut step = start(workflow, input, Timestamp::MIN);
    loop {
        let Step { opened, closed, end, .. } = &step;
        open.extend(opened.iter().map(|lane| (lane.clone(), LaneSoFar::default())));
        open.retain(|lane, _| !closed.contains(lane));
        run = run.after(&step);
        if end.is_some() {
            return run;
        }
        step = loop {
            let (lane, so_far) = open.iter_mut().next().unwrap();
            match stage(workflow, input, &run, lane, so_far).unwrap() {
                Stage::Call(_) => {
                    let text = "One sentence.".to_owned();
                    so_far.result = Some(CallResult::Answered { text, chosen: None, at_limit: 0 });
                }
                Stage::Settle(result) => {
                    let lane = lane.clone();
                    open.remove(&lane);
                    break settle(workflow, input, &run, &lane, result, Timestamp::MIN).unwrap();
                }
                Stage::Ask(_) => unreachable!("nobody is asked"),
            }
        };
    }
}
