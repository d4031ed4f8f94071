//! A turn asks two questions, and one of them expires long before the other: its lane is claimed, and waits again.

use std::{
    sync::{Arc, Mutex, atomic::Ordering},
    time::Duration,
};

use aws_smithy_runtime_api::{client::orchestrator::HttpResponse, http::StatusCode};
use aws_smithy_types::body::SdkBody;
use domain::{
    input_request::{InputRequest, NOBODY},
    job::Status,
};
use futures_util::FutureExt as _;
use local::emulator::fault::{Fault, Gate};
use serde_json::{Value, json};
use store::AnswerOutcome;
use tests::world::{Asked, Meddler, nothing, without_condition, writes};

use super::{
    Schedule,
    pauses::{WAIT, approve, asking, open, pushes},
    says,
};

/// The second question waits an hour longer.
fn second_waits_longer() -> Meddler {
    Arc::new(|mut asked| {
        let questions = writes(&mut asked.body).filter_map(|write| match &mut write["Item"]["d"]["S"] {
            Value::String(text) => Some((serde_json::from_str::<InputRequest>(text).ok()?, text)),
            _ => None,
        });
        for (mut request, text) in questions.skip(1) {
            request.expires_at = request.expires_at + Duration::from_secs(3600);
            *text = serde_json::to_string(&request).unwrap();
        }
        asked.ask().boxed()
    })
}

/// Both are asked, and the first has expired: its message is in the queue. The one that is open.
async fn one_has_expired() -> (Schedule, InputRequest) {
    let it = Schedule::with(pushes(["{}", r#"{"again": 1}"#]), asking()).await;
    let (asks, sweeper) = (it.world.meddled("1", &it.tools, second_waits_longer()), it.worker("sweeper"));
    it.world.deliver(&asks).await;
    let mut asked = open(&it.world, &it.job).await;
    asked.sort_by_key(|request| request.expires_at);
    let [first, second] = asked.try_into().unwrap();
    assert!(first.expires_at < second.expires_at);
    it.world.advance(Duration::from_secs(u64::from(WAIT) + 1));
    it.world.sweep(&sweeper).await;
    (it, second)
}

/// A worker that has claimed the lane and found that one question expired is late with its pause for the other, which
/// another worker pauses for, and which is answered then. How the job stands when nothing is left to do, and how many
/// questions are open.
async fn pauses_late(meddler: Meddler) -> (Status, usize) {
    let (it, second) = one_has_expired().await;
    let late = it.world.meddled("2", &it.tools, meddler);
    let [takes_over, person] = ["3", "person"].map(|name| it.worker(name));
    let pause = Gate::new();
    // With the pause the job leaves its user's set first, and says so then.
    it.fault("2", "TransactWriteItems", "at_work, Put", Fault::Hold(pause.clone()));
    tokio::join!(it.world.deliver(&late), async {
        pause.reached().await;
        it.lease_ends();
        while it.world.deliver(&takes_over).await {}
        assert!(matches!(approve(&person, &it.job, &second).await, AnswerOutcome::Recorded(owed) if owed.len() == 1));
        pause.open();
    });
    let record = it.ends().await;
    let answers = record.inputs.iter().filter_map(|request| request.answer.as_ref());
    assert_eq!(answers.filter(|answer| answer.by == NOBODY).count(), 1);
    assert!(it.pushed.load(Ordering::Relaxed) <= 1);
    (record.head.status(), record.inputs.iter().filter(|request| request.is_open()).count())
}

#[tokio::test]
async fn a_pause_must_be_fenced() {
    assert_eq!(pauses_late(nothing()).await, (Status::Completed, 0));
    let unfenced: Meddler = Arc::new(|mut asked| {
        if asked.body["ClientRequestToken"].as_str().is_some_and(|token| token.contains("-p")) {
            writes(&mut asked.body).filter(|write| write["Key"]["sk"]["S"] == "lane#main").for_each(without_condition);
        }
        asked.ask().boxed()
    });
    let without = pauses_late(unfenced).await;
    assert_eq!(without, (Status::InputRequired, 0), "without the rule nobody waits for what is answered");
}

/// Counterexample 24: the second question is answered while the lane is claimed for the first.
async fn answered_between(meddler: Meddler) -> (AnswerOutcome, Schedule) {
    let (it, second) = one_has_expired().await;
    let (finds, person) = (it.worker("2"), it.world.meddled("person", &it.tools, meddler));
    let expiry = Gate::new();
    it.fault("2", "TransactWriteItems", "input#", Fault::Hold(expiry.clone()));
    let (_, outcome) = tokio::join!(it.world.deliver(&finds), async {
        expiry.reached().await;
        let (outcome, ()) = tokio::join!(approve(&person, &it.job, &second), async {
            let has_looked = || {
                let sent = it.world.faults.sent();
                sent.iter().any(|sent| sent.process == "person" && sent.summary.contains("lane#main"))
            };
            while !has_looked() {
                tokio::task::yield_now().await;
            }
            expiry.open();
        });
        outcome
    });
    (outcome, it)
}

#[tokio::test]
async fn an_answer_between_two_pauses_must_be_tried_again() {
    let (outcome, it) = answered_between(nothing()).await;
    assert!(matches!(outcome, AnswerOutcome::Recorded(_)), "{outcome:?}");
    says(&it.rests(Status::Completed).await, "First.\n\nThen.");
    assert_eq!(it.pushed.load(Ordering::Relaxed), 1);
    // As if a lane that does not wait were one that is past the question.
    let past: Meddler = Arc::new(|asked| {
        async move {
            if asked.operation != "GetItem" || asked.body["Key"]["sk"]["S"] != "lane#main" {
                return asked.ask().await;
            }
            let answer = asked.ask().await?;
            let mut lane: Value = serde_json::from_slice(answer.body().bytes().unwrap_or_default()).unwrap();
            if lane["Item"].get("waits").is_none() {
                lane["Item"]["turn"] = json!({"N": "2"});
            }
            Ok(json_answer(&lane))
        }
        .boxed()
    });
    let (outcome, _) = answered_between(past).await;
    assert_eq!(outcome, AnswerOutcome::Expired, "without the rule an open question is not refused");
}

fn json_answer(body: &Value) -> HttpResponse {
    HttpResponse::new(StatusCode::try_from(200).unwrap(), SdkBody::from(body.to_string()))
}

/// Counterexample 24, its other half: somebody reads a question, and its lane when another's answer has let it go on.
async fn looks_at_the_lane_late(meddler: Meddler) -> AnswerOutcome {
    let it = Schedule::with(pushes(["{}"]), asking()).await;
    let [asks, quick] = ["1", "quick"].map(|name| it.worker(name));
    let slow = it.world.meddled("slow", &it.tools, meddler);
    it.world.deliver(&asks).await;
    let question = open(&it.world, &it.job).await.swap_remove(0);
    let lane = Gate::new();
    it.fault("slow", "GetItem", "lane#main", Fault::Hold(lane.clone()));
    let (outcome, ()) = tokio::join!(approve(&slow, &it.job, &question), async {
        lane.reached().await;
        let _ = approve(&quick, &it.job, &question).await;
        while it.world.deliver(&asks).await {}
        lane.open();
    });
    let _ = it.rests(Status::Completed).await;
    outcome
}

#[tokio::test]
async fn a_question_must_be_looked_at_again_before_it_is_called_expired() {
    let outcome = looks_at_the_lane_late(nothing()).await;
    assert!(matches!(outcome, AnswerOutcome::Answered(_) | AnswerOutcome::Recorded(_)), "{outcome:?}");
    // What was read of it first is what is there.
    let first: Arc<Mutex<Option<Value>>> = Arc::default();
    let once: Meddler = Arc::new(move |asked: Asked| {
        let first = first.clone();
        async move {
            let is_question = asked.body["Key"]["sk"]["S"].as_str().is_some_and(|sort| sort.starts_with("input#"));
            if asked.operation != "GetItem" || !is_question {
                return asked.ask().await;
            }
            let known = first.lock().unwrap().clone();
            if let Some(known) = known {
                return Ok(json_answer(&known));
            }
            let answer = asked.ask().await?;
            let read = serde_json::from_slice(answer.body().bytes().unwrap_or_default()).unwrap();
            *first.lock().unwrap() = Some(read);
            Ok(answer)
        }
        .boxed()
    });
    let without = looks_at_the_lane_late(once).await;
    assert_eq!(without, AnswerOutcome::Finished(Status::Completed), "without the second look it is not lost");
}
