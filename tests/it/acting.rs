//! Cancelling, ahead of the start, too, and deleting.

use std::time::Duration;

use domain::job::{Asker, JobSpec};
use engine::Clock as _;
use local::demo_model::{Call, Fault, Script, Turn};
use reqwest::Method;
use serde_json::{Value, json};
use store::{CallOffOutcome, CreateOutcome, IdempotencyKey, NewJob};
use tests::{System, types, world::World};

#[tokio::test]
async fn cancelling_reaches_the_model_call_and_the_viewers() {
    let system = System::start().await;
    system.model.script("Cancel me", Script::new().turn(Turn::pieces(["Once ", "upon"]).fault(Fault::HangAfter(1))));
    let job = system.submit(json!({"input": "Cancel me"})).await;
    let mut viewer = system.follow(&job, 0).await;
    while viewer.next().await.unwrap().event != "output.delta" {}
    system.model.wait_for_open_streams(1).await;

    let cancel = format!("/jobs/{}/cancel", job["id"].as_str().unwrap());
    let (status, answer) = system.post(&cancel).await;
    assert_eq!(
        (status.as_u16(), answer["status"].as_str(), answer["output"].as_str()),
        (200, Some("cancelled"), Some("Once "))
    );
    let rest = viewer.rest().await;
    assert_eq!(rest.last().unwrap().event, "job.cancelled");
    assert!(viewer.done);
    system.model.wait_for_open_streams(0).await;
    // Harmless when repeated, and nothing is added.
    let log = system.log(&job).await;
    assert_eq!(system.post(&cancel).await.1["status"], "cancelled");
    assert_eq!(system.log(&job).await, log);
    assert_eq!(types(&log).last(), Some(&"job.cancelled"));
}

#[tokio::test]
async fn cancelling_reaches_a_running_tool() {
    let system = System::start().await;
    let gate = tests::tools::gate("cancelled in a tool");
    let call = Call::new("waits_at_the_gate", json!({"gate": "cancelled in a tool"}).to_string());
    system.model.script("In a tool", Script::new().turn(Turn::calls([call])));
    let job = system.submit(json!({"input": "In a tool", "tools": ["waits_at_the_gate"]})).await;
    gate.reached().await;
    assert_eq!(gate.waiting(), 1);
    // The tool may be at the gate before the log says that it runs.
    let mut viewer = system.follow(&job, 0).await;
    while viewer.next().await.unwrap().event != "tool_call.running" {}
    let (_, answer) = system.post(&format!("/jobs/{}/cancel", job["id"].as_str().unwrap())).await;
    assert_eq!(answer["status"], "cancelled");
    assert_eq!(answer["tool_calls"][0]["status"], "running");
    gate.wait_for_waiting(0).await;
    assert_eq!(system.model.requests().len(), 1);
}

/// Starts a job under a key, or cancels what is started under it.
async fn under(system: &System, user: &str, key: &str, path: &str) -> (u16, Value) {
    let request = system.request(Method::POST, path).header("idempotency-key", key).header("x-nightshift-user", user);
    let request = if path == "/jobs" { request.json(&json!({"input": "Start me"})) } else { request };
    let (status, answer) = system.answer(request).await;
    (status.as_u16(), answer)
}

#[tokio::test]
async fn a_start_can_be_cancelled_ahead_by_its_key_r166() {
    let system = System::start().await;
    system.model.script("Start me", Script::new().turn(Turn::text("Started.")));
    for _ in 0..2 {
        let (status, answer) = under(&system, "ann", "k1", "/jobs/cancel").await;
        assert_eq!((status, answer["object"].as_str()), (202, Some("cancellation")), "{answer}");
    }
    let (status, error) = under(&system, "ann", "k1", "/jobs").await;
    assert_eq!((status, error["error"]["code"].as_str()), (409, Some("cancelled_before_start")), "{error}");
    let of_ann = system.request(Method::GET, "/jobs").header("x-nightshift-user", "ann");
    assert_eq!(system.answer(of_ann).await.1["data"], json!([]));
    // Keys are their users': nobody calls off for somebody else.
    assert_eq!(under(&system, "eve", "k2", "/jobs/cancel").await.0, 202);
    let (status, job) = under(&system, "ann", "k2", "/jobs").await;
    assert_eq!(status, 202, "{job}");
    let (status, error) = system.post("/jobs/cancel").await;
    assert_eq!((status.as_u16(), error["error"]["details"][0]["param"].as_str()), (400, Some("Idempotency-Key")));
}

#[tokio::test]
async fn a_job_that_was_started_is_cancelled_by_its_key_r166() {
    let system = System::start().await;
    system.model.script("Start me", Script::new().turn(Turn::pieces(["Once ", "upon"]).fault(Fault::HangAfter(1))));
    let (_, job) = under(&system, "ann", "k", "/jobs").await;
    let (status, cancelled) = under(&system, "ann", "k", "/jobs/cancel").await;
    assert_eq!((status, cancelled["status"].as_str()), (200, Some("cancelled")), "{cancelled}");
    assert_eq!(cancelled["id"], job["id"]);
    let (status, again) = under(&system, "ann", "k", "/jobs").await;
    assert_eq!((status, again["status"].as_str()), (200, Some("cancelled")), "the key stands for its job");
}

#[tokio::test]
async fn a_key_that_was_called_off_is_free_again_after_ten_minutes_r166() {
    let world = World::new().await;
    let store = world.eyes();
    let ann = "ann".parse().unwrap();
    let CallOffOutcome::CalledOff(until) = store.call_off(&ann, "k", world.clock.now()).await.unwrap() else {
        panic!("nothing was started");
    };
    assert_eq!(until.since(world.clock.now()), Duration::from_secs(600));
    let start = async || {
        let asker = Asker::new("job_01JDA7Q3W5T8Z2K4M6N8P0R1S3".parse().unwrap(), "ann".parse().unwrap(), 3600);
        let key = Some(IdempotencyKey { key: "k".to_owned(), fingerprint: "f".to_owned() });
        let new = NewJob { asker, spec: JobSpec::default(), key, run: None, max_at_work: 1 };
        store.create(new, world.clock.now()).await.unwrap()
    };
    world.advance(Duration::from_secs(599));
    assert_eq!(start().await, CreateOutcome::CalledOff);
    world.advance(Duration::from_secs(1));
    let CreateOutcome::Created(head) = start().await else { panic!("the key is not free") };
    let now = world.clock.now();
    assert_eq!(store.call_off(&ann, "k", now).await.unwrap(), CallOffOutcome::Started(head.id));
}

#[tokio::test]
async fn a_deleted_job_is_gone_for_everybody() {
    let system = System::start().await;
    let job = system.run("Forget me", Script::new().turn(Turn::text("Forgotten."))).await;
    let path = format!("/jobs/{}", job["id"].as_str().unwrap());
    let (status, _) = system.answer(system.request(Method::DELETE, &path)).await;
    assert_eq!(status, 204);
    for path in [path.clone(), format!("{path}/events")] {
        let (status, error) = system.answer(system.request(Method::GET, &path)).await;
        assert_eq!((status.as_u16(), error["error"]["code"].as_str()), (404, Some("job_not_found")), "{error}");
    }
    let (status, _) = system.answer(system.request(Method::DELETE, &path)).await;
    assert_eq!(status, 404);
    assert_eq!(system.get("/jobs").await["data"], json!([]));
}

#[tokio::test]
async fn deleting_a_job_at_work_cancels_it_first() {
    let system = System::start().await;
    system.model.script("Stop and go", Script::new().turn(Turn::pieces(["x"]).fault(Fault::HangAfter(1))));
    let job = system.submit(json!({"input": "Stop and go"})).await;
    system.model.wait_for_open_streams(1).await;
    let path = format!("/jobs/{}", job["id"].as_str().unwrap());
    let (status, _) = system.answer(system.request(Method::DELETE, &path)).await;
    assert_eq!(status, 204);
    assert_eq!(system.answer(system.request(Method::GET, &path)).await.0, 404);
    system.model.wait_for_open_streams(0).await;
}

#[tokio::test]
async fn an_operator_pauses_turns_and_new_jobs_and_nothing_is_lost() {
    let system = System::start().await;
    let store = &system.stack.engine.upkeep.store;
    store.switch(store::Switches { turns_paused: true, jobs_paused: false }).await.unwrap();
    system.model.script("Later", Script::new().turn(Turn::text("At last.")));
    let job = system.submit(json!({"input": "Later"})).await;
    store.switch(store::Switches { turns_paused: true, jobs_paused: true }).await.unwrap();
    let refused = system.request(Method::POST, "/jobs").json(&json!({"input": "Later"}));
    let (status, error) = system.answer(refused).await;
    assert_eq!((status.as_u16(), error["error"]["code"].as_str()), (503, Some("paused")), "{error}");
    let log = system.log(&job).await;
    assert_eq!(types(&log), ["job.queued"]);

    store.switch(store::Switches::default()).await.unwrap();
    assert_eq!(system.finished(&job).await["output"], "At last.");
}
