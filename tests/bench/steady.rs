//! Many jobs one after another: what they leave behind in the process.

use std::time::Duration;

use serde_json::Value;

use crate::{
    caller::Caller,
    model::{Model, Plan},
    report::Report,
    system::{Setup, System},
    throughput,
};

pub(crate) async fn measure(report: Report, quick: bool) {
    let jobs = if quick { 40 } else { 1000 };
    for at_once in [1, 20] {
        let model = Model::start().await;
        model.plan("standard", Plan::standard(1));
        let data = tempfile::tempdir().unwrap();
        let system = System::start(&Setup::new(data.path(), &model.url));
        let caller = Caller::new(&system.url);
        let begun = system.state();
        throughput::run(&caller, &model, "warm-up", at_once, jobs / 10).await;
        let before = system.usage().resident_mb;
        let mut grown = vec![before];
        for part in 0..4 {
            throughput::run(&caller, &model, &format!("part {part}"), at_once, jobs / 4).await;
            grown.push(system.usage().resident_mb);
        }
        let state = at_rest(&system, &begun).await;
        let what = format!("{jobs} jobs, {at_once} at once");
        report.value(&format!("{what}: memory after a tenth of them"), before, "MB", None);
        report.value(&format!("{what}: memory at the end"), grown[4], "MB", None);
        let tail = grown[4] - grown[2];
        report.value(&format!("{what}: growth in the second half"), tail, "MB", None);
        report.note(&format!("{what}: left behind: {state}"));
    }
}

/// The state once the last job has settled: nothing followed, no message, nothing due.
async fn at_rest(system: &System, begun: &Value) -> Value {
    for _ in 0..500 {
        let state = system.state();
        let empty = ["jobs_followed", "messages", "entries_due"].iter().all(|part| state[*part] == 0);
        // Connections that callers keep open are tasks of theirs.
        if empty {
            let tasks = state["tasks"].as_i64().unwrap() - begun["tasks"].as_i64().unwrap();
            let files = state["open_files"].as_i64().unwrap() - begun["open_files"].as_i64().unwrap();
            return serde_json::json!({
                "jobs_followed": 0, "messages": 0, "entries_due": 0,
                "tasks_more_than_at_start": tasks, "files_more_than_at_start": files,
            });
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("something is left: {}", system.state());
}
