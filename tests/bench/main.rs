//! What Nightshift costs beside the model and the tools: time, memory, requests.
//!
//! `cargo bench -p tests` measures everything, prints a table and writes `target/bench.json`. Names choose scenarios
//! (`cargo bench -p tests -- overhead viewers`), `--quick` makes all of them small, `--list` names them. The system under
//! measure is the embedded one, on a file, in a process of its own; callers, viewers and the model are in this one, over
//! loopback HTTP.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "a command for developers")]

mod caller;
mod instructions;
mod killed;
mod log;
mod machine;
mod model;
mod overhead;
mod pace;
mod report;
mod requests;
mod steady;
mod system;
mod throughput;
mod viewers;

use std::{pin::Pin, process::ExitCode};

use report::Report;

type Running = Pin<Box<dyn Future<Output = ()>>>;

/// A scenario: its name, what it measures, and how; `true`: in small.
struct Scenario {
    name: &'static str,
    about: &'static str,
    run: fn(Report, bool) -> Running,
}

const SCENARIOS: [Scenario; 9] = [
    Scenario {
        name: "overhead",
        about: "a job of three turns, alone: what is not the model's time",
        run: |report, quick| Box::pin(overhead::measure(report, quick)),
    },
    Scenario {
        name: "realistic",
        about: "the same with a model that takes its time: the share of the job",
        run: |report, quick| Box::pin(overhead::realistic(report, quick)),
    },
    Scenario {
        name: "throughput",
        about: "20 and 100 jobs at once: jobs a second, latency, memory",
        run: |report, quick| Box::pin(throughput::measure(report, quick)),
    },
    Scenario {
        name: "viewers",
        about: "1,000 tokens at 5 ms with 10 and 100 viewers: latency, frames, processor time",
        run: |report, quick| Box::pin(viewers::measure(report, quick)),
    },
    Scenario {
        name: "steady",
        about: "1,000 jobs one after another and 1,000 by twenties: memory, and what is left behind",
        run: |report, quick| Box::pin(steady::measure(report, quick)),
    },
    Scenario {
        name: "killed",
        about: "SIGKILL in the second turn, and a worker alone that dies: how long until the job goes on",
        run: |report, quick| Box::pin(killed::measure(report, quick)),
    },
    Scenario {
        name: "requests",
        about: "requests and units of a job, and dollars for a million",
        run: |report, quick| Box::pin(requests::measure(report, quick)),
    },
    Scenario {
        name: "instructions",
        about: "instructions of the inner loops, by callgrind",
        run: |report, quick| Box::pin(instructions::measure(report, quick)),
    },
    Scenario {
        name: "log",
        about: "a finished job's log of 10,000 events, read",
        run: |report, quick| Box::pin(log::measure(report, quick)),
    },
];

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let Some(asked) = words.iter().find_map(|word| word.strip_prefix("--work=")) {
        instructions::work(asked);
        return ExitCode::SUCCESS;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    if let Some(asked) = words.iter().find_map(|word| word.strip_prefix("--system=")) {
        runtime.block_on(system::serve(serde_json::from_str(asked).unwrap()));
        return ExitCode::SUCCESS;
    }
    if words.iter().any(|word| word == "--list") {
        for Scenario { name, about, .. } in &SCENARIOS {
            println!("{name:12} {about}");
        }
        return ExitCode::SUCCESS;
    }
    let quick = words.iter().any(|word| word == "--quick");
    // `cargo bench` says `--bench`.
    let names: Vec<&String> = words.iter().filter(|word| !word.starts_with("--")).collect();
    if let Some(unknown) = names.iter().find(|name| SCENARIOS.iter().all(|scenario| scenario.name != **name)) {
        println!("There is no scenario {unknown}; `--list` names those that there are.");
        return ExitCode::from(2);
    }
    startup::aws::install_crypto();
    let report = Report::begin(quick);
    for Scenario { name, about, run } in &SCENARIOS {
        if names.is_empty() || names.iter().any(|wanted| wanted == name) {
            report.section(name, about);
            runtime.block_on(run(report.clone(), quick));
        }
    }
    report.finish();
    ExitCode::SUCCESS
}
