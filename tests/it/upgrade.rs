//! What an earlier release has stored is finished by this one, and what a later release has written is left alone.
//!
//! `tests/fixtures/v<n>/` holds what the release with the n-th form stores: every item of a table (`items.json`, in
//! DynamoDB's own JSON), the messages in its queues and the time then (`queues.json`). Fixtures are never changed: they
//! are what users have on their disks. A release that changes the stored form adds its own, and the test below then
//! finishes those as well:
//!
//! 1. raise [`FORM`] (and `FORMAT` in `store`, or the version of messages in `queue`);
//! 2. `NIGHTSHIFT_WRITE_FIXTURES=1 cargo test -p tests --test it write_the_fixtures`, which also writes those of jobs that
//!    wait for people (`people/`);
//! 3. commit the new directory with an entry in the changelog under **Stored form**.

mod form;
mod people;
mod scenario;

use domain::{
    answer::lane_text,
    id::{JobId, LaneName},
    job::Status,
    replay::Replay,
};
use serde_json::{Value, json};
use store::Record;
use tests::world::{Worker, World};

use self::{
    form::Stored,
    scenario::{JOBS, Outside, Scene},
};

/// The form that this release stores.
const FORM: &str = "v2";

/// A world on what was stored, with a process of this release and the time some seconds later.
async fn resumed(stored: &Stored) -> (World, Worker, Outside) {
    let world = World::new().await;
    scenario::script(&world.model);
    let outside = Outside::default();
    let worker = world.worker("this release", &outside.tools());
    stored.put_into(&world).await;
    (world, worker, outside)
}

/// Delivers and sweeps until nothing is left to do.
async fn to_rest(world: &World, worker: &Worker) {
    for _ in 0..60 {
        while world.deliver(worker).await {}
        let mut at_rest = true;
        for job in &JOBS {
            at_rest &= World::at_rest(&record(world, job.id).await);
        }
        if at_rest {
            return;
        }
        world.advance(std::time::Duration::from_secs(20));
        world.sweep(worker).await;
    }
    panic!("the jobs do not come to rest");
}

async fn record(world: &World, id: &str) -> Record {
    world.record(&id.parse::<JobId>().unwrap()).await.unwrap()
}

#[tokio::test]
async fn jobs_of_every_release_so_far_are_finished_by_this_one() {
    for form in form::kept() {
        let stored = Stored::read(&form);
        let (world, worker, outside) = resumed(&stored).await;
        let finished = record(&world, scenario::FINISHED).await;
        assert_eq!(finished.head.status(), Status::Completed);
        to_rest(&world, &worker).await;

        for job in &JOBS {
            let record = record(&world, job.id).await;
            assert_eq!(record.head.status(), Status::Completed, "{form}: {}", job.input);
            assert!(record.events.last().unwrap().body.is_terminal());
            let replay = Replay::of(&record.events);
            assert_eq!(replay.text(&LaneName::main()), job.output(), "{form}: {}", job.input);
            assert_eq!(lane_text(record.turns.values().filter_map(|turn| turn.answer.as_ref())), job.output());
            let calls = &replay.lanes[&LaneName::main()].tool_calls;
            let calls: Vec<_> = calls.iter().map(|call| (call.name.as_str(), call.status)).collect();
            assert_eq!(calls, job.calls, "{form}: {}", job.input);
        }
        // What had ended is as it was; what was begun and may not be repeated was not; what was done was not done anew.
        assert_eq!(record(&world, scenario::FINISHED).await, finished);
        assert_eq!((outside.n_looked(), outside.n_pushed()), (scenario::LOOKS_LEFT, 0), "{form}");
        let (due, _) = world
            .eyes()
            .due(domain::time::Timestamp::from_millis(i64::MAX), 100, store::DueFrom::default())
            .await
            .unwrap();
        assert_eq!(due, []);
        let items = form::items(&world).await;
        let at_work = items.iter().find(|item| item["sk"]["S"] == "at_work").unwrap();
        assert_eq!(at_work.get("jobs"), None, "{form}: jobs that are over count as being at work");
    }
}

#[tokio::test]
async fn a_message_of_another_version_is_kept_and_not_acted_upon() {
    let stored = Stored::read(FORM);
    for queue in form::QUEUES {
        let (world, worker, _) = resumed(&Stored { messages: vec![], ..stored.clone() }).await;
        let before = form::items(&world).await;
        let body = json!({"v": 2, "job": scenario::IN_TOOLS, "lane": "main", "turn": 2, "and": "more"}).to_string();
        form::send(&world, queue, &body).await;
        for _ in 0..3 {
            assert!(world.deliver(&worker).await, "it has not come back");
            assert!(!world.deliver(&worker).await, "it has bred");
            assert_eq!(world.sqs.depth(queue).in_flight, 1);
            world.advance(form::LONG);
        }
        // It may be hidden for a while, and nothing else is done about it.
        let sent = world.faults.sent();
        assert!(sent.iter().all(|sent| sent.operation == "ChangeMessageVisibility"), "{sent:?}");
        assert_eq!(form::items(&world).await, before);
        assert_eq!(form::messages(&world).await, [(queue.to_owned(), body)]);
    }
}

#[tokio::test]
async fn items_of_a_later_release_are_left_as_they_are_and_their_messages_kept() {
    let mut stored = Stored::read(FORM);
    for item in &mut stored.items {
        item["v"] = json!({"N": "1000"});
    }
    let (world, worker, outside) = resumed(&stored).await;
    let (before, waiting) = (form::items(&world).await, stored.messages.len());
    for _ in 0..3 {
        while world.deliver(&worker).await {}
        world.sweep(&worker).await;
        world.advance(std::time::Duration::from_secs(900));
    }
    let items = form::items(&world).await;
    let changed: Vec<(&Value, &Value)> = before.iter().zip(&items).filter(|(before, after)| before != after).collect();
    assert_eq!((changed, items.len()), (vec![], before.len()));
    assert_eq!(form::messages(&world).await.len(), waiting);
    assert_eq!((outside.n_looked(), outside.n_pushed()), (0, 0));
    assert_eq!(world.model.requests().len(), 0);
}

#[tokio::test]
async fn write_the_fixtures() {
    if startup::env::optional("NIGHTSHIFT_WRITE_FIXTURES").unwrap().is_none() {
        return;
    }
    let scene = Scene::play().await;
    Stored::of(&scene.world).await.write(FORM);
}
