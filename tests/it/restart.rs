//! The process ends, and starts again.

use local::demo_model::{self, Call, DemoModel, Fault, Gate, Script, Turn};
use serde_json::json;
use tests::{System, replayed};

#[tokio::test]
async fn a_job_goes_on_when_the_process_was_restarted_in_the_middle_of_a_turn() {
    let data = tempfile::tempdir().unwrap();
    let model = DemoModel::start(demo_model::Options::scripted()).await.unwrap();
    let gate = Gate::new();
    let script = Script::new()
        .turn(Turn::text("Looking.").then_calls([Call::new("add", r#"{"a":20,"b":22}"#)]))
        .turn(Turn::pieces(["It ", "is ", "42."]).fault(Fault::StallAfter(1, gate.clone())));
    model.script("Survive", script);

    let system = System::at(data.path(), model).await;
    let job = system.submit(json!({"input": "Survive", "tools": ["add"]})).await;
    gate.reached().await;
    let model = system.stop().await;

    let system = System::at(data.path(), model).await;
    assert_eq!(system.stack.taken_over(), 1);
    let job = system.finished(&job).await;
    assert_eq!((job["status"].as_str(), job["output"].as_str()), (Some("completed"), Some("Looking.\n\nIt is 42.")));
    assert_eq!(job["metrics"]["recoveries"], 1);
    assert_eq!(job["metrics"]["tool_call_count"], 1);
    let log = system.log(&job).await;
    assert_eq!(replayed(&log), "Looking.\n\nIt is 42.");
    // A stream of the first process is followed on in the second.
    let frames = system.follow(&job, 3).await.rest().await;
    assert_eq!(frames.first().map(|frame| frame.id), Some(4));
}

#[tokio::test]
async fn a_second_system_on_the_same_directory_is_told_about_the_first() {
    let data = tempfile::tempdir().unwrap();
    let model = DemoModel::start(demo_model::Options::scripted()).await.unwrap();
    let system = System::at(data.path(), model).await;
    let mut options = local::stack::Options::new(system.model.url().clone());
    options.data = Some(data.path().to_owned());
    let refused = local::stack::Stack::start(options).await.err().unwrap();
    let in_use = refused.downcast_ref::<local::stack::InUse>().unwrap();
    assert_eq!(in_use.holder.as_ref().unwrap().url, system.stack.url().as_str());
}
