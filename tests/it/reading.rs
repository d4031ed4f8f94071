//! Reading jobs: one's own, by every index, and nobody else's.

use std::time::Duration;

use domain::job::{Asker, JobSpec};
use engine::Clock as _;
use local::demo_model::{Call, Fault, Gate, Script, Turn};
use reqwest::Method;
use serde_json::{Value, json};
use store::{CreateOutcome, IdempotencyKey, JobFilter, NewJob};
use tests::{System, world::World};

async fn ids(system: &System, path: &str) -> Vec<Value> {
    system.get(path).await["data"].as_array().unwrap().iter().map(|job| job["id"].clone()).collect()
}

#[tokio::test]
async fn jobs_are_listed_newest_first_by_thread_message_and_status() {
    let system = System::start().await;
    let gate = Gate::new();
    system.model.script("Quick", Script::new().turn(Turn::text("Done.")));
    system.model.script("Slow", Script::new().turn(Turn::text("x").fault(Fault::StallBeforeHeaders(gate))));
    let a = system.submit(json!({"input": "Quick a", "thread_id": "t#1", "message_id": "m1"})).await;
    let b = system.submit(json!({"input": "Quick b", "thread_id": "t#1", "message_id": "m2"})).await;
    let c = system.submit(json!({"input": "Slow c", "thread_id": "t2"})).await;
    system.finished(&a).await;
    system.finished(&b).await;
    system.model.wait_for_requests(3).await;

    let (a, b, c) = (&a["id"], &b["id"], &c["id"]);
    assert_eq!(ids(&system, "/jobs").await, [c.clone(), b.clone(), a.clone()]);
    assert_eq!(ids(&system, "/jobs?thread_id=t%231").await, [b.clone(), a.clone()]);
    assert_eq!(ids(&system, "/jobs?message_id=m1").await, [a].map(Value::clone));
    assert_eq!(ids(&system, "/jobs?status=running").await, [c].map(Value::clone));
    assert_eq!(ids(&system, "/jobs?status=completed&thread_id=t%231").await, [b.clone(), a.clone()]);
    assert_eq!(ids(&system, "/jobs?status=failed").await, Vec::<Value>::new());

    let first = system.get("/jobs?limit=2").await;
    let next = first["next_page"].as_str().unwrap();
    assert_eq!(ids(&system, &format!("/jobs?limit=2&page={next}")).await, [a].map(Value::clone));
}

#[tokio::test]
async fn somebody_elses_job_is_404_on_every_route() {
    let system = System::start().await;
    let job = system.run("Mine", Script::new().turn(Turn::text("Secret."))).await;
    let id = job["id"].as_str().unwrap();
    let routes = [
        (Method::GET, format!("/jobs/{id}")),
        (Method::GET, format!("/jobs/{id}/events")),
        (Method::GET, format!("/jobs/{id}/tool_calls/x")),
        (Method::POST, format!("/jobs/{id}/cancel")),
        (Method::POST, format!("/jobs/{id}/stream_token")),
        (Method::DELETE, format!("/jobs/{id}")),
    ];
    for (method, path) in routes {
        let request = system.request(method, &path).header("x-nightshift-user", "mallory");
        let (status, error) = system.answer(request).await;
        assert_eq!((status.as_u16(), error["error"]["code"].as_str()), (404, Some("job_not_found")), "{path}");
    }
    let list = system.request(Method::GET, "/jobs").header("x-nightshift-user", "mallory");
    assert_eq!(system.answer(list).await.1["data"], json!([]));
    assert_eq!(system.get(&format!("/jobs/{id}")).await["output"], "Secret.");
}

#[tokio::test]
async fn what_does_not_exist_is_404_and_what_is_wrong_is_400() {
    let system = System::start().await;
    for path in ["/jobs/job_01JDA7Q3W5T8Z2K4M6N8P0R1S3", "/jobs/nonsense", "/nowhere"] {
        assert_eq!(system.answer(system.request(Method::GET, path)).await.0, 404, "{path}");
    }
    let job = system.run("Exists", Script::new().turn(Turn::text("Yes."))).await;
    let id = job["id"].as_str().unwrap();
    for query in ["after=-1", "after=x", "limit=0x1", "wait=21", "colour=red"] {
        let (status, error) = system.answer(system.request(Method::GET, &format!("/jobs/{id}/events?{query}"))).await;
        assert_eq!((status.as_u16(), error["error"]["code"].as_str()), (400, Some("invalid_request")), "{query}");
    }
    for limit in 1..6 {
        let page = system.get(&format!("/jobs/{id}/events?limit={limit}")).await;
        assert_eq!(page["data"].as_array().unwrap().len(), limit.min(system.log(&job).await.len()));
    }
    for after in [999, u64::MAX] {
        let beyond = system.get(&format!("/jobs/{id}/events?after={after}")).await;
        assert_eq!((&beyond["data"], beyond["status"].as_str()), (&json!([]), Some("completed")));
    }
    let (status, _) = system.answer(system.request(Method::PATCH, &format!("/jobs/{id}"))).await;
    assert_eq!(status, 405);
}

#[tokio::test]
async fn a_poll_is_held_until_something_is_new() {
    let system = System::start().await;
    let gate = Gate::new();
    system.model.script("Held", Script::new().turn(Turn::text("Now.").fault(Fault::StallBeforeHeaders(gate.clone()))));
    let job = system.submit(json!({"input": "Held"})).await;
    gate.reached().await;
    let id = job["id"].as_str().unwrap();
    let seen = system.log(&job).await.len();
    let path = format!("/jobs/{id}/events?after={seen}&wait=20");
    let (page, ()) = tokio::join!(system.get(&path), async { gate.open() });
    assert_eq!(page["data"][0]["number"], seen + 1);
}

#[tokio::test]
async fn notes_are_kept_and_shown() {
    let system = System::start().await;
    system.model.script("Noted", Script::new().turn(Turn::text("Ok.")));
    let job = system.submit(json!({"input": "Noted", "metadata": {"order": "42"}})).await;
    assert_eq!(system.finished(&job).await["metadata"], json!({"order": "42"}));
}

#[tokio::test]
async fn tools_are_listed_with_their_schemas() {
    let system = System::start().await;
    let tools = system.get("/tools").await;
    let add = tools["data"].as_array().unwrap().iter().find(|tool| tool["name"] == "add").unwrap();
    assert_eq!(add["parameters"]["required"], json!(["a", "b"]));
}

#[tokio::test]
async fn a_call_that_has_no_record_yet_can_be_read_alone() {
    let system = System::start().await;
    let script = Script::new().turn(Turn::calls([Call::new("add", r#"{"a": 1, "b": 1}"#)])).turn(Turn::text("2"));
    system.model.script("Ask first", script);
    let job = system.submit(json!({"input": "Ask first", "tools": ["add"], "approval": {"add": "always"}})).await;
    let path = format!("/jobs/{}", job["id"].as_str().unwrap());
    let waiting = loop {
        let job = system.get(&path).await;
        assert!(job["finished_at"].is_null(), "{job}");
        if job["status"] == "input_required" {
            break job;
        }
    };
    let call = &waiting["tool_calls"][0];
    assert_eq!(call["status"], "pending");
    assert_eq!(system.get(&format!("{path}/tool_calls/{}", call["id"].as_str().unwrap())).await, *call);
    assert_eq!(system.answer(system.request(Method::GET, &format!("{path}/tool_calls/none"))).await.0, 404);
}

#[tokio::test]
async fn a_job_that_is_no_longer_kept_is_not_listed_and_its_key_says_so() {
    let world = World::new().await;
    let store = world.eyes();
    let (ann, key) = ("ann".parse().unwrap(), IdempotencyKey { key: "k".to_owned(), fingerprint: "f".to_owned() });
    let new = NewJob {
        asker: Asker::new("job_01JDA7Q3W5T8Z2K4M6N8P0R1S3".parse().unwrap(), "ann".parse().unwrap(), 3600),
        spec: JobSpec::default(),
        key: Some(key.clone()),
        run: None,
        max_at_work: 1,
    };
    let CreateOutcome::Created(head) = store.create(new, world.clock.now()).await.unwrap() else {
        panic!("not created")
    };
    let listed = async |now| store.list(&ann, &JobFilter::default(), 10, None, now).await.unwrap().heads.len();
    let known = async |now| store.job_of_key(&ann, &key, now).await.unwrap();
    let last = head.expires_at - Duration::from_millis(1);
    assert_eq!((listed(last).await, known(last).await), (1, Some(CreateOutcome::Existing(head.clone()))));
    // The table forgets it some time later.
    let over = head.expires_at;
    assert_eq!((listed(over).await, known(over).await), (0, Some(CreateOutcome::ExistingGone(head.id))));
}
