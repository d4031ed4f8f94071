//! People in the loop: before a node, after it, and at the limit of its turns with tools.

use domain::workflow::{
    Call, CallResult, InputRequestDraft, NodeErrorCode, NodeStatus, PersonsAnswer, RequestKind, RunEnd, Work,
};
use serde_json::{Value, json};

use super::driver::{Play, Played, Players, answer, document, said, workflow};

/// A model that answers with its name, and a person who answers always so.
struct Room {
    answers: Vec<PersonsAnswer>,
    asked: Vec<InputRequestDraft>,
    calls: Vec<Work>,
}

impl Players for Room {
    fn call(&mut self, work: &Work) -> CallResult {
        self.calls.push(work.clone());
        said(&format!("<{}>", work.node.shown()))
    }

    fn person(&mut self, request: &InputRequestDraft) -> PersonsAnswer {
        self.asked.push(request.clone());
        self.answers.remove(0)
    }
}

fn graph(hitl: &Value, rejected: bool) -> Value {
    let nodes = [
        ("s", "start", json!({})),
        ("a", "agent", json!({"label": "Ann", "prompt": "p", "hitl": hitl})),
        ("next", "agent", json!({"prompt": "p"})),
        ("no", "agent", json!({"prompt": "p"})),
        ("o", "output", json!({})),
    ];
    let edge = if rejected { "a rejected no" } else { "a error no" };
    document(&nodes, &["s - a", "a - next", edge, "next - o", "no - o"])
}

fn play(hitl: &Value, rejected: bool, answers: Vec<PersonsAnswer>) -> (Played, Room) {
    let mut room = Room { answers, asked: vec![], calls: vec![] };
    let played = Play::new(&workflow(&graph(hitl, rejected)), "in").play(&mut room);
    assert!(room.answers.is_empty(), "everything was asked");
    (played, room)
}

fn users_text(work: &Work) -> String {
    let Call::Agent { messages, .. } = &work.call else { panic!("only agents") };
    serde_json::to_value(messages.last().unwrap()).unwrap()["content"].as_str().unwrap().to_owned()
}

#[test]
fn approval_lets_the_node_begin_with_its_input() {
    let (played, room) = play(&json!({"enabled": true, "mode": "approval"}), false, vec![answer("approve", None)]);
    assert_eq!((played.output(), users_text(&room.calls[0]).as_str()), ("<a>\n\n<next>", "in"));
    let request = &room.asked[0];
    assert_eq!(
        (request.kind, request.node_id.as_str(), request.context.input.as_str()),
        (RequestKind::Approval, "a", "in")
    );
    assert_eq!(request.prompt, "Review and approve the input for \"Ann\" before proceeding.");
    assert_eq!(request.options.iter().map(|it| it.id.as_str()).collect::<Vec<_>>(), ["approve", "reject"]);
}

#[test]
fn a_request_carries_what_the_document_says() {
    let hitl = json!({"enabled": true, "mode": "input", "prompt": "Who?", "options": [{"id": "me", "label": "Me", "action": "custom"}],
        "inputSchema": {"type": "string"}, "timeout": 1500, "defaultAction": "skip"});
    let (_, room) = play(&hitl, false, vec![answer("me", None)]);
    let request = serde_json::to_value(&room.asked[0]).unwrap();
    assert_eq!(request["kind"], "input");
    assert_eq!(request["options"], json!([{"id": "me", "label": "Me", "action": "custom"}]));
    assert_eq!((&request["prompt"], &request["default_action"]), (&json!("Who?"), &json!("skip")));
    assert_eq!(room.asked[0].timeout, Some(std::time::Duration::from_millis(1500)));
    assert_eq!(room.asked[0].input_schema, Some(json!({"type": "string"})));
}

#[test]
fn what_a_person_submits_before_a_node_is_its_input() {
    for (action, data, text) in [("submit", json!("mine"), "mine"), ("modify", json!({"n": 1}), r#"{"n":1}"#)] {
        let hitl = json!({"enabled": true, "mode": "input"});
        let (played, room) = play(&hitl, false, vec![answer(action, Some(data))]);
        assert_eq!(users_text(&room.calls[0]), text);
        assert_eq!(played.output(), "<a>\n\n<next>");
    }
}

#[test]
fn a_skip_before_a_node_passes_it_over_with_its_input_as_output() {
    let (played, room) = play(&json!({"enabled": true, "mode": "approval"}), false, vec![answer("skip", None)]);
    assert_eq!(room.calls.len(), 1, "only the next node is called");
    assert_eq!((played.output_of("a"), played.status_of("a")), (Some("in"), NodeStatus::Skipped));
    assert_eq!(played.view.execution_order, ["s", "a", "next", "o"]);
    assert_eq!((played.output(), users_text(&room.calls[0]).as_str()), ("in\n\n<next>", "in"));
}

#[test]
fn a_refusal_fails_the_run_with_who_refused_and_nothing_is_asked_again() {
    for mode in ["approval", "input", "review"] {
        let hitl = json!({"enabled": true, "mode": mode});
        let (played, room) = play(&hitl, false, vec![answer("reject", None)]);
        assert_eq!(played.failure(), ("a".to_owned(), "Rejected by ann".to_owned()), "{mode}");
        let RunEnd::Failed { error, rejected, .. } = &played.end else { panic!("it failed") };
        assert_eq!((error.code, *rejected), (NodeErrorCode::Rejected, true));
        assert_eq!((room.asked.len(), played.status_of("no")), (1, NodeStatus::Pending), "no error edge is taken");
        assert_eq!(played.output_of("a"), (mode == "review").then_some("<a>"), "what was refused is kept");
    }
}

#[test]
fn a_refusal_takes_the_rejected_edge_where_there_is_one() {
    let (played, room) = play(&json!({"enabled": true, "mode": "approval"}), true, vec![answer("reject", None)]);
    assert_eq!(
        (played.output(), played.status_of("next"), played.status_of("a")),
        ("<no>", NodeStatus::Skipped, NodeStatus::Error)
    );
    assert_eq!(users_text(&room.calls[0]), "in", "what was to be done goes on");

    let (played, room) =
        play(&json!({"enabled": true, "mode": "review"}), true, vec![answer("reject", Some(json!("too long")))]);
    assert_eq!(users_text(&room.calls[1]), "<a>", "what was refused goes on");
    assert_eq!(played.view.node_states["a"].error.as_ref().unwrap().message, "Rejected by ann: too long");
}

#[test]
fn a_review_may_leave_or_replace_the_output() {
    for (given, output) in [
        (answer("approve", None), "<a>"),
        (answer("skip", None), "<a>"),
        (answer("modify", None), "<a>"),
        (answer("modify", Some(json!("better"))), "better"),
        (answer("submit", Some(json!("better"))), "better"),
    ] {
        let (played, room) = play(&json!({"enabled": true, "mode": "review"}), false, vec![given]);
        assert_eq!(played.output_of("a"), Some(output));
        assert_eq!(room.asked[0].context.output.as_deref(), Some("<a>"));
        let Call::Agent { messages, .. } = &room.calls[1].call else { panic!("an agent") };
        let session: Vec<Value> =
            messages.iter().skip(1).map(|it| serde_json::to_value(it).unwrap()["content"].clone()).collect();
        assert_eq!(
            json!(session),
            json!(["in", output, output]),
            "the session has it once, and it is the next one's input"
        );
    }
}

#[test]
fn who_is_not_enabled_is_not_asked() {
    let (played, room) = play(&json!({"enabled": false, "mode": "approval"}), false, vec![]);
    assert_eq!((played.output(), room.asked.len()), ("<a>\n\n<next>", 0));
}

#[test]
fn a_reviewed_router_keeps_its_route_and_passes_its_input_on() {
    let nodes = [
        ("s", "start", json!({})),
        ("r", "router", json!({"hitl": {"enabled": true, "mode": "review"}})),
        ("a", "agent", json!({"prompt": "p"})),
        ("b", "agent", json!({"prompt": "p"})),
    ];
    let document = document(&nodes, &["s - r", "r route-1 a", "r route-2 b"]);
    struct Sure(Vec<InputRequestDraft>);
    impl Players for Sure {
        fn call(&mut self, work: &Work) -> CallResult {
            match &work.call {
                Call::Choose { .. } => said("2"),
                _ => said(&users_text(work)),
            }
        }
        fn person(&mut self, request: &InputRequestDraft) -> PersonsAnswer {
            self.0.push(request.clone());
            answer("modify", Some(json!("to B, then")))
        }
    }
    let mut sure = Sure(vec![]);
    let played = Play::new(&workflow(&document), "in").play(&mut sure);
    assert_eq!(sure.0[0].context.output.as_deref(), Some("Routed to b"));
    assert_eq!((played.output_of("r"), played.output()), (Some("to B, then"), "in"));
}

/// A model that always wants one more turn with tools than it may have.
struct Greedy {
    answers: Vec<PersonsAnswer>,
    turns: Vec<u32>,
    until: u32,
}

impl Players for Greedy {
    fn call(&mut self, work: &Work) -> CallResult {
        let Call::Agent { max_tool_turns, .. } = &work.call else { panic!("only agents") };
        self.turns.push(*max_tool_turns);
        let times = u32::try_from(self.turns.len()).unwrap();
        let at_limit = if times > self.until { 0 } else { times };
        CallResult::Answered { text: format!("text {times}"), chosen: None, at_limit }
    }

    fn person(&mut self, request: &InputRequestDraft) -> PersonsAnswer {
        assert_eq!((request.kind, request.options[0].id.as_str()), (RequestKind::ToolLimit, "continue"));
        self.answers.remove(0)
    }
}

fn greedy(policy: &str, until: u32, answers: Vec<PersonsAnswer>) -> (Played, Vec<u32>) {
    let a = json!({"prompt": "p", "maxToolIterations": 3, "onMaxToolIterations": policy});
    let nodes = [("s", "start", json!({})), ("a", "agent", a), ("o", "output", json!({}))];
    let flow = workflow(&document(&nodes, &["s - a", "a - o"]));
    let mut greedy = Greedy { answers, turns: vec![], until };
    let played = Play::new(&flow, "in").play(&mut greedy);
    assert!(greedy.answers.is_empty());
    (played, greedy.turns)
}

#[test]
fn at_the_limit_of_its_turns_an_agent_ends_fails_or_asks() {
    assert_eq!(greedy("warning", 9, vec![]).0.output(), "text 1");
    assert_eq!(greedy("error", 9, vec![]).0.failure().1, "Maximum tool iterations (3) reached. Execution stopped.");
    let (played, turns) = greedy("hitl", 2, vec![answer("continue", None), answer("approve", None)]);
    assert_eq!((played.output(), turns), ("text 3", vec![3, 6, 9]));
    let (played, turns) = greedy("hitl", 9, vec![answer("continue", None), answer("stop", None)]);
    assert_eq!((played.output(), turns), ("text 2", vec![3, 6]));
}
