//! What must hold when a run has come to rest, whatever happened in it.

use std::collections::{BTreeMap, BTreeSet};

use domain::{
    answer::lane_text,
    event::{Event, EventBody},
    id::{JobId, LaneName},
    input_request::NOBODY,
    job::Status,
    limits::MAX_TRIES,
    replay::Replay,
    time::Timestamp,
    tool_call::ToolCallStatus,
};
use engine::Clock as _;
use store::{CreateOutcome, DueFrom, Record, Store};

use super::{Sim, cast::SimClock, flow, model, people::allows, plot, plot::Effect};

/// Another job of the same user.
const ANOTHER: &str = "01JDA7Q3W5T8Z2K4M6N8P0R1T0";

/// What does not hold.
pub(super) async fn check(sim: &Sim, eyes: &Store, job: &JobId, may_be_cancelled: bool) -> Vec<String> {
    let record = match eyes.whole(job).await {
        Ok(Some(record)) => record,
        other => return vec![format!("the job cannot be read: {other:?}")],
    };
    let mut checks = Checks { record: &record, wrong: vec![] };
    checks.at_rest();
    checks.ended(may_be_cancelled);
    checks.log(&sim.table().event_numbers(job.as_str()));
    if sim.0.weather.workflow {
        checks.nodes(sim);
    } else {
        checks.text(sim);
    }
    checks.calls(&sim.state().effects);
    checks.people(sim);
    let mut wrong = checks.wrong;
    match eyes.due(Timestamp::from_millis(i64::MAX), 100, DueFrom::default()).await {
        Ok((due, _)) if due.is_empty() => {}
        other => wrong.push(format!("something is due for ever: {other:?}")),
    }
    let clock = SimClock { sim: sim.clone(), process: "eyes".to_owned(), names: Default::default() };
    let created = eyes.create(sim.new_job(ANOTHER, None), clock.now()).await;
    if !matches!(created, Ok(CreateOutcome::Created(_))) {
        wrong.push(format!("the user's set is not empty: {created:?}"));
    }
    if sim.state().lines.n_sent() > 300 {
        wrong.push("messages breed".to_owned());
    }
    for what in &wrong {
        sim.note(&format!("VIOLATION: {what}"));
    }
    wrong
}

struct Checks<'a> {
    record: &'a Record,
    wrong: Vec<String>,
}

impl Checks<'_> {
    fn hold(&mut self, holds: bool, otherwise: impl FnOnce() -> String) {
        if !holds {
            self.wrong.push(otherwise());
        }
    }

    fn at_rest(&mut self) {
        let Record { head, lanes, .. } = self.record;
        self.hold(head.status().is_finished(), || format!("the job rests and is {:?}", head.status()));
        self.hold(!head.owed().any(), || format!("still owed: {:?}", head.owed()));
        for lane in lanes.values() {
            self.hold(!lane.open && lane.lease.is_none(), || format!("a lane is left: {lane:?}"));
        }
    }

    fn ended(&mut self, may_be_cancelled: bool) {
        let Record { head, lanes, turns, .. } = self.record;
        match head.status() {
            Status::Completed if self.record.run.is_some() => {}
            Status::Completed => {
                let seen = turns.values().last().and_then(|turn| turn.answer.as_ref()).map(|answer| answer.inbox);
                self.hold(seen == Some(head.inbox), || {
                    format!("{} messages were accepted, and the last answer saw {seen:?}", head.inbox)
                });
                self.hold(head.metrics.total_turns as usize == turns.len(), || {
                    format!("{} turns are counted, and there are {}", head.metrics.total_turns, turns.len())
                });
            }
            Status::Cancelled => self.hold(may_be_cancelled, || "nobody cancelled the job".to_owned()),
            Status::Failed => {
                let tries: Vec<u32> = lanes.values().map(|lane| lane.tries).collect();
                self.hold(tries.iter().any(|tries| *tries > MAX_TRIES), || {
                    format!("the job failed after {tries:?} tries: {:?}", head.ending())
                });
            }
            _ => {}
        }
    }

    fn log(&mut self, numbers: &[u64]) {
        let events = &self.record.events;
        let all: Vec<u64> = (1..=events.len() as u64).collect();
        self.hold(numbers == all, || format!("the log has a gap: {numbers:?}"));
        let terminal = events.iter().filter(|event| event.body.is_terminal()).count();
        self.hold(terminal == 1, || format!("{terminal} terminal events"));
        self.hold(events.last().is_some_and(|event| event.body.is_terminal()), || {
            format!("the log does not end with the end: {:?}", events.last())
        });
        let mut lasts = BTreeMap::new();
        for event in events {
            let Some(origin) = &event.origin else { continue };
            let place = (origin.turn, origin.attempt);
            let last = lasts.get(&origin.lane).copied().unwrap_or((1, 1));
            self.hold(place >= last, || format!("event {} of {place:?} after {last:?}", event.number));
            if place > last && origin.attempt > 1 {
                self.hold(matches!(event.body, EventBody::TurnRestarted { .. }), || {
                    format!("an attempt does not begin with its restart: {event:?}")
                });
            }
            lasts.insert(&origin.lane, last.max(place));
        }
    }

    fn text(&mut self, sim: &Sim) {
        let Record { head, turns, lanes, events, .. } = self.record;
        let main = LaneName::main();
        let replay = Replay::of(events);
        let shown = replay.text(&main).to_owned();
        let recorded = lane_text(turns.values().filter_map(|turn| turn.answer.as_ref()));
        for ((_, turn), there) in turns {
            let said = sim.state().said.get(&(model::CHAT.to_owned(), *turn)).cloned().unwrap_or_default();
            let answer = there.answer.as_ref().map(|answer| answer.text.clone());
            self.hold(answer.as_ref().is_none_or(|answer| said.contains(answer)), || {
                format!("turn {turn} has {answer:?}, and the model said {said:?}")
            });
        }
        if head.status() == Status::Completed {
            self.hold(shown == recorded, || format!("viewers see {shown:?}, and {recorded:?} is recorded"));
            let said = match events.last().map(|event: &Event| &event.body) {
                Some(EventBody::JobCompleted(summary)) => Some(&summary.output),
                _ => None,
            };
            self.hold(said == Some(&recorded), || format!("the end says {said:?}, and {recorded:?} is recorded"));
            let n = turns.len();
            let expected = sim.0.plot.n_turns() + usize::try_from(head.inbox).unwrap();
            self.hold(n >= sim.0.plot.n_turns() && n <= expected, || {
                format!("{n} turns for a plot of at most {expected}")
            });
        } else {
            let durable = lanes.get(&main).map_or(0, |lane| usize::try_from(lane.output_bytes).unwrap());
            self.hold(shown.get(..durable) == recorded.get(..durable) && shown.len() >= durable, || {
                format!("viewers see {shown:?}, and of {recorded:?} {durable} bytes were committed")
            });
        }
    }

    /// Each node of the workflow went its way once, with what its model said.
    fn nodes(&mut self, sim: &Sim) {
        let Record { head, run, spec, output, .. } = self.record;
        if head.status() != Status::Completed {
            return;
        }
        let (Some((_, run)), Some(flow)) = (run, spec.as_ref().and_then(|spec| spec.workflow.as_ref())) else {
            return self.hold(false, || "the run is missing".to_owned());
        };
        let view = domain::workflow::view(&flow.workflow, run);
        let order: Vec<&str> = view.execution_order.iter().map(String::as_str).collect();
        self.hold(order.starts_with(&flow::ORDER), || format!("the nodes went {order:?}"));
        for (node, state) in &view.node_states {
            self.hold(state.status.is_settled(), || format!("node {node} is {state:?}"));
        }
        for node in ["left", "right", "last"] {
            let said = sim.state().said.iter().filter(|((name, _), _)| *name == format!("test/{node}")).count();
            let output = view.node_states.get(node).and_then(|state| state.output.clone()).unwrap_or_default();
            let texts = sim.state().said.clone();
            let is_said =
                texts.iter().any(|((name, _), texts)| *name == format!("test/{node}") && texts.contains(&output));
            self.hold(said > 0 && is_said, || format!("node {node} says {output:?}"));
        }
        let last = view.node_states.get("last").and_then(|state| state.output.clone());
        self.hold(*output == last, || format!("the output is {output:?}, and the last node said {last:?}"));
    }

    /// What people were told is so: an answer that was accepted stands, what they are told has expired was answered by the
    /// clock, and the log says each once.
    fn people(&mut self, sim: &Sim) {
        let Record { head, inputs, events, .. } = self.record;
        let state = sim.state();
        for (id, answer) in &state.accepted {
            let there = inputs.iter().find(|request| request.id == *id).and_then(|request| request.answer.as_ref());
            self.hold(there == Some(answer), || format!("{id}: {answer:?} was accepted, and {there:?} is recorded"));
        }
        for id in &state.told_expired {
            let by = inputs.iter().find(|request| request.id == *id).and_then(|request| request.answer.as_ref());
            let is_over = head.status() != Status::Completed;
            self.hold(is_over || by.is_some_and(|answer| answer.by == NOBODY), || format!("{id} had expired: {by:?}"));
        }
        for request in inputs {
            let told = |name: &str| {
                let of_it = |event: &&Event| match &event.body {
                    EventBody::InputRequested(told) | EventBody::InputResolved(told) => told.id == request.id,
                    _ => false,
                };
                events.iter().filter(of_it).filter(|event| event.body.name() == name).count()
            };
            let (asked, resolved) = (told("input.requested"), told("input.resolved"));
            self.hold(asked > 0 && resolved == usize::from(!request.is_open()), || {
                format!("{}: asked {asked} times, answered {resolved} times in the log: {request:?}", request.id)
            });
            self.hold(head.status() != Status::Completed || !request.is_open(), || format!("{} is open", request.id));
        }
        let said = events.iter().filter(|event| matches!(event.body, EventBody::MessageAdded { .. })).count();
        self.hold(said == head.inbox as usize && said >= state.posted as usize, || {
            format!("{} messages are counted, {said} are in the log, {} were accepted", head.inbox, state.posted)
        });
    }

    fn calls(&mut self, effects: &[Effect]) {
        let Record { head, turns, events, inputs, .. } = self.record;
        let replay = Replay::of(events);
        let shown: BTreeMap<(u32, String), ToolCallStatus> = replay
            .lanes
            .values()
            .flat_map(|lane| &lane.tool_calls)
            .map(|call| ((call.turn, call.id.clone()), call.status))
            .collect();
        let mut known = BTreeSet::new();
        for ((_, turn), there) in turns {
            let calls = there.answer.as_ref().map_or(&[][..], |answer| &answer.calls);
            let asked = calls.iter().filter(|call| call.name != plot::ROUTES).count();
            if head.status() == Status::Completed {
                self.hold(there.calls.len() == asked, || {
                    format!("turn {turn}: {asked} calls, {} records", there.calls.len())
                });
            }
            for call in there.calls.values() {
                let (id, name) = (call.request.id.to_string(), call.request.name.clone());
                known.insert((*turn, id.clone()));
                let of_it: Vec<&Effect> = effects.iter().filter(|e| e.turn == *turn && e.call == id).collect();
                let asked =
                    inputs.iter().find(|it| it.turn == *turn && it.tool_call.as_ref().is_some_and(|it| it.id == id));
                let answer = asked.and_then(|request| request.answer.as_ref()).map(|answer| allows(answer.action));
                let keys: BTreeSet<&str> = of_it.iter().map(|effect| effect.key.as_str()).collect();
                let status = call.outcome().map(domain::tool_call::ToolOutcome::status);
                let place = format!("{name} of turn {turn} ({id}), {status:?}, done {} times", of_it.len());
                self.hold(keys.len() <= 1, || format!("{place}: the far side saw {keys:?}"));
                match (name.as_str(), status) {
                    _ if asked.is_some() && answer != Some(true) => {
                        let is_refused = status
                            .is_none_or(|status| status == ToolCallStatus::Skipped || status == ToolCallStatus::Error);
                        self.hold(of_it.is_empty() && is_refused, || format!("{place}: {answer:?}"));
                    }
                    (plot::CALLERS, status) => {
                        let is_done = asked.is_some() && matches!(status, None | Some(ToolCallStatus::Completed));
                        self.hold(is_done && of_it.is_empty(), || format!("{place}: {asked:?}"));
                    }
                    (plot::ROUTES, _) => {}
                    ("push", Some(ToolCallStatus::Completed)) => {
                        self.hold(of_it.len() == 1, || format!("{place}: not exactly once"));
                    }
                    ("push", _) => self.hold(of_it.len() <= 1, || format!("{place}: more than once")),
                    (_, Some(ToolCallStatus::Completed)) => {
                        self.hold(!of_it.is_empty(), || format!("{place}: never"));
                    }
                    (_, None) if head.status() != Status::Completed => {}
                    _ => self.hold(false, || format!("{place}: neither done nor cut off")),
                }
                if head.status() == Status::Completed {
                    let seen = shown.get(&(*turn, id)).copied();
                    self.hold(seen == status, || format!("{place}: viewers see {seen:?}"));
                }
            }
        }
        // What changes nothing outside may have been done by a worker that died before it said so.
        for effect in effects.iter().filter(|effect| effect.tool != "look") {
            self.hold(known.contains(&(effect.turn, effect.call.clone())), || format!("nobody recorded {effect:?}"));
        }
    }
}
