//! Jobs that an earlier release has left waiting for people: a chat with one question answered of two and a message in its
//! inbox, and a workflow of every kind of node before its last.

use std::time::Duration;

use domain::{
    approval::ApprovalRule,
    id::{JobId, LaneName},
    input_request::InputRequest,
    job::{Asker, JobSpec, ModelSettings, Status, ToolRef},
    limits::JobLimits,
    message::{Content, Message},
    replay::Replay,
    tool_call::ToolCallStatus,
};
use local::demo_model::{Call, Script, Turn};
use queue::Line;
use store::{AnswerOutcome, NewJob};
use tests::world::{self, Worker, World};

use super::{
    FORM,
    form::{self, Stored},
    scenario::Outside,
};
use crate::crash_points::workflow::{script_models, whole_workflow};

const CHAT: &str = "job_01JDA7Q3W5T8Z2K4M6N8P0R1B1";
const FLOW: &str = "job_01JDA7Q3W5T8Z2K4M6N8P0R1B2";

/// Where they are kept.
fn place(form: &str) -> String {
    format!("{form}/people")
}

fn script(world: &World) {
    let calls = [1, 2].map(|n| Call::new("push", format!(r#"{{"n": {n}}}"#)).id(format!("call_{n}")));
    let chat = Script::new().turn(Turn::text("May I?").then_calls(calls)).turn(Turn::text("Thank you, Zoë."));
    world.model.script("Ask twice", chat);
    script_models(world);
}

async fn start(by: &Worker, id: &str, spec: JobSpec) {
    let asker = Asker::new(id.parse().unwrap(), "ann".parse().unwrap(), 30 * 24 * 3600);
    let spec = JobSpec {
        settings: ModelSettings { model: "scripted".to_owned(), ..Default::default() },
        tools: ["look", "push"].map(|name| ToolRef::Registered { name: name.to_owned() }).into(),
        limits: JobLimits { deadline_seconds: 3600, input_seconds: 86_400, ..JobLimits::default() },
        ..spec
    };
    let new = NewJob { asker, spec, key: None, run: None, max_at_work: 100 };
    world::start(&by.engine.upkeep, new).await;
}

/// Somebody approves the first question that is open. Whether there was one.
async fn approve(world: &World, by: &Worker, id: &str) -> bool {
    let job: JobId = id.parse().unwrap();
    let record = world.record(&job).await.unwrap();
    let Some(request) = record.inputs.iter().find(|request| request.is_open()) else { return false };
    let upkeep = &by.engine.upkeep;
    let now = upkeep.clock.now();
    let answer = request.answer("approve", None, "ann".to_owned(), now).unwrap();
    let answered = upkeep.store.answer(&job, &request.id, &answer, &upkeep.clock.fresh_name(), now).await.unwrap();
    match answered {
        AnswerOutcome::Recorded(owed) => {
            for owed in owed {
                upkeep.queue.send(&owed, Line::Continuations, Duration::ZERO).await.unwrap();
            }
        }
        other => panic!("{other:?}"),
    }
    true
}

#[tokio::test]
async fn jobs_that_wait_for_people_are_finished_by_this_release() {
    for form in form::kept() {
        let stored = Stored::read(&place(&form));
        let world = World::new().await;
        script(&world);
        let outside = Outside::default();
        let worker = world.worker("this release", &outside.tools());
        stored.put_into(&world).await;
        for id in [CHAT, FLOW] {
            let job: JobId = id.parse().unwrap();
            assert_eq!(world.record(&job).await.unwrap().head.status(), Status::InputRequired, "{form}: {id}");
            assert!(approve(&world, &worker, id).await && !approve(&world, &worker, id).await);
            while world.deliver(&worker).await {}
            let record = world.record(&job).await.unwrap();
            assert!(
                World::at_rest(&record) && record.head.status() == Status::Completed,
                "{form}: {:?}",
                record.head.state
            );
            let replay = Replay::of(&record.events);
            let calls: Vec<_> = replay.lanes.values().flat_map(|lane| &lane.tool_calls).collect();
            assert!(calls.iter().all(|call| call.status == ToolCallStatus::Completed), "{form}: {calls:?}");
            let (text, n) = if id == CHAT { ("May I?\n\nThank you, Zoë.", 2) } else { ("Published.", 1) };
            assert_eq!(record.output.as_deref().unwrap_or_else(|| replay.text(&LaneName::main())), text, "{form}");
            assert_eq!(calls.len(), n, "{form}");
            if id == CHAT {
                let read = record.turns.values().filter_map(|turn| turn.answer.as_ref()).map(|answer| answer.inbox);
                assert_eq!(read.collect::<Vec<_>>(), [0, 1], "{form}: the message is read");
            }
        }
        assert_eq!(outside.n_pushed(), 3, "{form}");
    }
}

#[tokio::test]
async fn write_the_fixtures_of_people() {
    if startup::env::optional("NIGHTSHIFT_WRITE_FIXTURES").unwrap().is_none() {
        return;
    }
    let world = World::new().await;
    script(&world);
    let worker = world.worker("before", &Outside::default().tools());
    let chat = JobSpec {
        messages: vec![Message::user("Ask twice")],
        approval: [("push".to_owned(), ApprovalRule::ALWAYS)].into(),
        ..JobSpec::default()
    };
    start(&worker, CHAT, chat).await;
    let flow = JobSpec {
        messages: vec![Message::user("Do everything")],
        workflow: Some(Box::new(whole_workflow())),
        ..JobSpec::default()
    };
    start(&worker, FLOW, flow).await;
    while world.deliver(&worker).await {}
    let upkeep = &worker.engine.upkeep;
    let (job, content): (JobId, _) = (CHAT.parse().unwrap(), Content::Text("Hurry".to_owned()));
    let posted = upkeep.store.post(&job, "m1", &content, "ann", &upkeep.clock.fresh_name(), upkeep.clock.now()).await;
    assert!(posted.is_ok(), "{posted:?}");
    assert!(approve(&world, &worker, CHAT).await);
    for (id, n) in [(CHAT, 1), (FLOW, 1)] {
        let record = world.record(&id.parse().unwrap()).await.unwrap();
        assert_eq!(record.head.status(), Status::InputRequired);
        assert_eq!(record.inputs.iter().filter(|request: &&InputRequest| request.is_open()).count(), n);
    }
    Stored::of(&world).await.write(&place(FORM));
}
