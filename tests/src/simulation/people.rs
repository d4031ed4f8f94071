//! People: they look now and then, answer what is asked, at once, late or never, and say something.

use std::time::Duration;

use domain::{
    id::JobId,
    input_request::{Action, InputKind, InputRequest},
    message::Content,
};
use local::emulator::fault::Process;
use queue::Line;
use serde_json::json;
use store::{AnswerOutcome, PostOutcome, Store};
use tokio::time::sleep;

use super::{Sim, WEATHER_LASTS, life::Life, play::NEVER};

/// How often somebody repeats what was not answered.
const PERSISTENCE: u32 = 40;

/// Somebody who looks at the job until it is over.
pub(super) async fn look(sim: Sim, job: JobId, eyes: Store) {
    while sim.now() < NEVER {
        let longest = sim.draw(|random| random.weighted(&[(20, 3), (900, 3), (6_000, 2), (40_000, 1)]));
        sleep(sim.draw(|random| random.millis(1..longest))).await;
        let Ok(Some(record)) = eyes.load(&job).await else { return };
        if record.head.status().is_finished() {
            return;
        }
        let open: Vec<&InputRequest> = record.inputs.iter().filter(|request| request.is_open()).collect();
        if open.is_empty() {
            continue;
        }
        let n = sim.draw(|random| random.below(open.len() as u64));
        let is_sure = sim.now() > WEATHER_LASTS || sim.draw(|random| random.chance(800));
        if let Some(request) = open.get(usize::try_from(n).unwrap()).filter(|_| is_sure) {
            answer(&sim, &job, request).await;
        }
    }
}

async fn answer(sim: &Sim, job: &JobId, request: &InputRequest) {
    let approves = sim.0.weather.workflow || sim.draw(|random| random.chance(700));
    let (named, data) = match (request.kind, approves) {
        (InputKind::ClientTool, true) => ("submit", Some(json!("fetch is done"))),
        (_, true) => ("approve", None),
        (_, false) => ("reject", None),
    };
    for _ in 0..PERSISTENCE {
        let process = sim.process("person");
        let upkeep = sim.upkeep(&process);
        let answer = request.answer(named, data.clone(), "ann".to_owned(), upkeep.clock.now()).unwrap();
        let said = async {
            let (name, now) = (upkeep.clock.fresh_name(), upkeep.clock.now());
            let outcome = upkeep.store.answer(job, &request.id, &answer, &name, now).await.ok()?;
            if let AnswerOutcome::Recorded(owed) = &outcome {
                sim.state().accepted.push((request.id.clone(), answer.clone()));
                for owed in owed {
                    let _ = upkeep.queue.send(owed, Line::Continuations, Duration::ZERO).await;
                }
            }
            Some(outcome)
        };
        let outcome = alive(sim, &process, said).await;
        sim.note(&format!("{} answers {}: {named}: {}", process.name(), request.id, told(outcome.as_ref())));
        match outcome {
            None => {}
            Some(AnswerOutcome::Expired) => {
                sim.state().told_expired.push(request.id.clone());
                return;
            }
            Some(AnswerOutcome::Gone) => {
                return sim.violated(format!("{} is asked and cannot be answered", request.id));
            }
            Some(
                AnswerOutcome::Recorded(_)
                | AnswerOutcome::Answered(_)
                | AnswerOutcome::Withdrawn
                | AnswerOutcome::Finished(_),
            ) => return,
        }
    }
}

fn told(outcome: Option<&AnswerOutcome>) -> &'static str {
    match outcome {
        None => "nobody answers",
        Some(AnswerOutcome::Recorded(_)) => "recorded",
        Some(AnswerOutcome::Answered(_)) => "answered before",
        Some(AnswerOutcome::Expired) => "expired",
        Some(AnswerOutcome::Withdrawn) => "not asked any more",
        Some(AnswerOutcome::Finished(_)) => "the job is over",
        Some(AnswerOutcome::Gone) => "unknown",
    }
}

/// Somebody says something, again under the same id until that is answered.
pub(super) async fn post(sim: Sim, job: JobId, nth: u32) {
    let (id, content) = (format!("m{nth}"), Content::Text(format!("Message {nth}")));
    loop {
        let process = sim.process("poster");
        let upkeep = sim.upkeep(&process);
        let said = async {
            let (name, now) = (upkeep.clock.fresh_name(), upkeep.clock.now());
            upkeep.store.post(&job, &id, &content, "ann", &name, now).await.ok()
        };
        let outcome = alive(&sim, &process, said).await;
        sim.note(&format!("{} posts {id}: {outcome:?}", process.name()));
        match outcome {
            Some(PostOutcome::Accepted(_)) => {
                sim.state().posted += 1;
                return;
            }
            Some(PostOutcome::Finished(_)) => return,
            Some(other) => return sim.violated(format!("{id}: {other:?}")),
            None => {}
        }
    }
}

/// What a process does, unless it dies.
async fn alive<T>(sim: &Sim, process: &Process, work: impl Future<Output = Option<T>>) -> Option<T> {
    let done = tokio::select! {
        biased;
        () = process.died() => None,
        done = Life::new(sim, process.name(), work) => done,
    };
    sim.ends(process);
    done
}

/// Whether this lets the call run.
pub(super) fn allows(action: Action) -> bool {
    matches!(action, Action::Approve | Action::Submit | Action::Modify)
}
