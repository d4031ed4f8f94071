//! Plays a run to its end: a lane after the other, in an order that the test chooses, with the model and people that it
//! plays. Whatever is stored is written and read back after every step.

use std::collections::{BTreeMap, BTreeSet};

use domain::{
    id::LaneName,
    time::Timestamp,
    workflow::{
        AnswerTo, CallResult, Checked, Finding, InputRequestDraft, Known, LaneSoFar, MAX_LANES, NodeEvent, NodeKey,
        NodeStatus, PersonsAnswer, Refused, Run, RunEnd, RunInput, RunView, Stage, Step, Work, Workflow, check,
        set_waiting, settle, stage, start, view,
    },
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

/// What plays the part of the model, the tools and the people.
pub(crate) trait Players {
    fn call(&mut self, work: &Work) -> CallResult;
    fn person(&mut self, request: &InputRequestDraft) -> PersonsAnswer {
        panic!("nobody is expected to be asked: {request:?}")
    }
    /// Which of so many lanes goes on.
    fn pick(&mut self, lanes: usize) -> usize {
        let _ = lanes;
        0
    }
}

impl<F: FnMut(&Work) -> CallResult> Players for F {
    fn call(&mut self, work: &Work) -> CallResult {
        self(work)
    }
}

pub(crate) fn said(text: &str) -> CallResult {
    CallResult::Answered { text: text.to_owned(), chosen: None, at_limit: 0 }
}

pub(crate) fn answer(action: &str, data: Option<Value>) -> PersonsAnswer {
    PersonsAnswer { action: action.to_owned(), data, by: "ann".to_owned(), at: Timestamp::MIN }
}

/// A run on its way.
pub(crate) struct Play<'w> {
    pub(crate) workflow: &'w Workflow,
    pub(crate) input: RunInput,
    pub(crate) run: Run,
    pub(crate) open: BTreeMap<LaneName, LaneSoFar>,
    pub(crate) events: Vec<NodeEvent>,
    pub(crate) end: Option<RunEnd>,
    /// Every lane that there was.
    pub(crate) lanes: BTreeSet<LaneName>,
    pub(crate) n_steps: usize,
    /// Longest plan, in bytes of JSON.
    pub(crate) plan_bytes: usize,
    clock: i64,
}

fn stored<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(thing: &T) -> T {
    let back = serde_json::from_str(&serde_json::to_string(thing).unwrap()).unwrap();
    assert_eq!(&back, thing);
    back
}

impl<'w> Play<'w> {
    pub(crate) fn new(workflow: &'w Workflow, input: &str) -> Self {
        let input = RunInput { text: input.to_owned(), attachments: vec![] };
        let step = start(workflow, &input, Timestamp::MIN);
        Self::from(workflow, input, step)
    }

    pub(crate) fn from(workflow: &'w Workflow, input: RunInput, first: Step) -> Self {
        let mut play = Self {
            workflow,
            input,
            run: Run::default(),
            open: BTreeMap::new(),
            events: vec![],
            end: None,
            lanes: BTreeSet::new(),
            n_steps: 0,
            plan_bytes: 0,
            clock: 0,
        };
        play.take(first, true);
        play
    }

    fn take(&mut self, step: Step, first: bool) {
        assert!(step.opened.len() <= MAX_LANES, "{} lanes", step.opened.len());
        let items = step.opened.len() + step.closed.len() + step.changed.len();
        assert!(first || items < 98, "{items} items");
        for lane in &step.opened {
            assert!(self.lanes.insert(lane.clone()), "{lane} is opened twice");
            self.open.insert(lane.clone(), LaneSoFar::default());
        }
        assert!(self.open.len() <= MAX_LANES + 1, "{} lanes are open", self.open.len());
        for lane in &step.closed {
            assert!(self.open.remove(lane).is_some(), "{lane} is closed, but is not open");
        }
        self.plan_bytes = self.plan_bytes.max(serde_json::to_string(&step.plan).unwrap().len());
        self.run = self.run.after(&step);
        self.run.plan = stored(&self.run.plan);
        for record in step.changed.values() {
            stored(record);
        }
        self.events.extend(step.events);
        self.n_steps += 1;
        if step.end.is_some() {
            self.end = step.end;
            self.open.clear();
        }
    }

    /// Lets one lane do one thing.
    pub(crate) fn turn(&mut self, lane: &LaneName, players: &mut impl Players) {
        let so_far = stored(&self.open[lane]);
        let stage = match stage(self.workflow, &self.input, &self.run, lane, &so_far) {
            Ok(stage) => stage,
            Err(refused) => {
                assert_eq!(refused, Refused::NotAtWork);
                self.open.remove(lane);
                return;
            }
        };
        match stage {
            Stage::Ask(request) => {
                self.waits(lane, true);
                let current = view(self.workflow, &self.run);
                assert!(current.current_node_ids.contains(&request.node_id));
                assert_eq!(current.node_states[&request.node_id].status, NodeStatus::Waiting);
                let answer = players.person(&stored(&*request));
                self.waits(lane, false);
                let so_far = self.open.get_mut(lane).unwrap();
                match request.kind.answers() {
                    AnswerTo::Before => assert!(so_far.before.replace(answer).is_none(), "asked twice"),
                    AnswerTo::After => assert!(so_far.after.replace(answer).is_none(), "asked twice"),
                    AnswerTo::AtLimit => so_far.at_limit.push(answer),
                }
            }
            Stage::Call(work) => self.open.get_mut(lane).unwrap().result = Some(players.call(&work)),
            Stage::Settle(result) => {
                self.clock += 1;
                let now = Timestamp::from_millis(self.clock);
                let step = settle(self.workflow, &self.input, &self.run, lane, stored(&result), now).unwrap();
                self.open.remove(lane);
                self.take(step, false);
                let again = settle(self.workflow, &self.input, &self.run, lane, result, now);
                assert!(again.is_err(), "{lane} has settled twice");
            }
        }
    }

    fn waits(&mut self, lane: &LaneName, waits: bool) {
        let now = Timestamp::from_millis(self.clock);
        let step = set_waiting(self.workflow, &self.input, &self.run, lane, waits, now).unwrap();
        self.take(step, false);
    }

    pub(crate) fn play(mut self, players: &mut impl Players) -> Played {
        for _ in 0..200_000 {
            if self.end.is_some() {
                break;
            }
            let lanes: Vec<LaneName> = self.open.keys().cloned().collect();
            assert!(!lanes.is_empty(), "no lane is open, and the run is not over: {:?}", self.run.plan);
            let lane = &lanes[players.pick(lanes.len()) % lanes.len()];
            self.turn(lane, players);
        }
        let Self { workflow, input, run, events, end, n_steps, plan_bytes, .. } = self;
        let view = view(workflow, &run);
        Played { input, run, events, view, end: end.expect("the run ends"), n_steps, plan_bytes }
    }
}

/// A run that is over.
pub(crate) struct Played {
    pub(crate) input: RunInput,
    pub(crate) run: Run,
    pub(crate) events: Vec<NodeEvent>,
    pub(crate) view: RunView,
    pub(crate) end: RunEnd,
    pub(crate) n_steps: usize,
    pub(crate) plan_bytes: usize,
}

impl Played {
    pub(crate) fn output(&self) -> &str {
        match &self.end {
            RunEnd::Completed { output } => output,
            RunEnd::Failed { .. } => panic!("the run failed: {:?}", self.end),
        }
    }

    /// Why the run failed: the node and the message.
    pub(crate) fn failure(&self) -> (String, String) {
        match &self.end {
            RunEnd::Failed { node, error, .. } => (node.shown(), error.message.clone()),
            RunEnd::Completed { .. } => panic!("the run completed: {:?}", self.end),
        }
    }

    pub(crate) fn output_of(&self, node: &str) -> Option<&str> {
        self.view.node_states[node].output.as_deref()
    }

    pub(crate) fn status_of(&self, node: &str) -> NodeStatus {
        self.view.node_states[node].status
    }

    /// What does not depend on time: statuses, routes, iterations and texts by node, the order, and the end.
    pub(crate) fn outcome(&self) -> String {
        let mut nodes = self.run.plan.nodes.clone();
        for state in nodes.values_mut() {
            (state.started_at, state.finished_at) = (None, None);
        }
        format!("{:#?}\n{:#?}\n{:#?}\n{:#?}", nodes, self.run.nodes, self.view.execution_order, self.end)
    }

    pub(crate) fn notes(&self) -> Vec<(&NodeKey, &str)> {
        self.events.iter().filter_map(|event| Some((&event.key, event.note.as_deref()?))).collect()
    }
}

pub(crate) fn known() -> Known {
    Known { default_model: Some("test/default".to_owned()), ..Known::default() }
}

/// A document that has to be sound, with what was found odd.
pub(crate) fn checked(document: &Value, known: &Known) -> Checked {
    let checked = check(document, known).unwrap_or_else(|findings: Vec<Finding>| panic!("{findings:#?}"));
    stored(&checked.workflow);
    checked
}

pub(crate) fn workflow(document: &Value) -> Workflow {
    checked(document, &known()).workflow
}

/// A document of these nodes and edges: `(id, type, data)`, and `source handle target` with `-` for no handle.
pub(crate) fn document(nodes: &[(&str, &str, Value)], edges: &[&str]) -> Value {
    let nodes: Vec<Value> = nodes
        .iter()
        .map(|(id, kind, data)| {
            let mut data = data.clone();
            if data.get("label").is_none() {
                data["label"] = Value::from(*id);
            }
            serde_json::json!({"id": id, "type": kind, "position": {"x": 0, "y": 0}, "data": data})
        })
        .collect();
    let edges: Vec<Value> = edges
        .iter()
        .enumerate()
        .map(|(n, edge)| {
            let [source, handle, target] = edge.split_whitespace().collect::<Vec<_>>()[..] else { panic!("{edge}") };
            let handle = (handle != "-").then_some(handle);
            serde_json::json!({"id": format!("e{n}"), "source": source, "sourceHandle": handle, "target": target})
        })
        .collect();
    serde_json::json!({"meta": {"version": "2.0.0", "name": "test"}, "nodes": nodes, "edges": edges})
}
