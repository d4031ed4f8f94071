//! What the job is about: what the model says, and tools whose effects can be counted.

use std::time::Duration;

use async_trait::async_trait;
use domain::tool_call::Replay;
use serde_json::{Value, json};
use tools::{ToolContext, ToolError, ToolRegistry, ToolReply, TypedTool};

use super::{Sim, random::Random};

/// The tools' names.
pub(super) const TOOLS: [&str; 3] = ["look", "send", "push"];

/// The caller's own tool.
pub(super) const CALLERS: &str = "fetch";

/// How a router says which way.
pub(super) const ROUTES: &str = "select_route";

/// What the model says, turn by turn, and what people have to do with it.
#[derive(Debug, Clone)]
pub(super) struct Plot {
    turns: Vec<Said>,
    people: Option<People>,
}

/// What needs people.
#[derive(Debug, Clone)]
pub(super) struct People {
    /// Tools that run only when somebody approves.
    pub(super) approved: Vec<&'static str>,
    /// Seconds that a question waits.
    pub(super) wait: u32,
}

/// An answer: pieces of text, and tools that are asked for.
#[derive(Debug, Clone)]
pub(super) struct Said {
    pub(super) pieces: Vec<String>,
    pub(super) calls: Vec<&'static str>,
}

impl Said {
    pub(super) fn text(&self) -> String {
        self.pieces.concat()
    }

    /// The answer on the wire, event by event.
    pub(super) fn frames(&self, turn: u32) -> Vec<String> {
        let chunk = |delta: Value, finish: Option<&str>| {
            let choice = json!({"index": 0, "delta": delta, "finish_reason": finish});
            let chunk = json!({"id": "c", "object": "chat.completion.chunk", "created": 0, "model": "scripted", "choices": [choice]});
            format!("data: {chunk}\n\n")
        };
        let mut frames: Vec<String> =
            self.pieces.iter().map(|piece| chunk(json!({"role": "assistant", "content": piece}), None)).collect();
        for (index, name) in self.calls.iter().enumerate() {
            let arguments = match *name {
                ROUTES => r#"{"route_id": "route-2", "reasoning": "so"}"#.to_owned(),
                // Something else each time: what is repeated is not run.
                _ => format!(r#"{{"n": {turn}{index}}}"#),
            };
            let function = json!({"name": name, "arguments": arguments});
            let call = json!({"index": index, "id": call_id(turn, index), "type": "function", "function": function});
            frames.push(chunk(json!({"role": "assistant", "tool_calls": [call]}), None));
        }
        let finish = if self.calls.is_empty() { "stop" } else { "tool_calls" };
        frames.push(chunk(json!({}), Some(finish)) + "data: [DONE]\n\n");
        frames
    }
}

/// The model's id of a call.
pub(super) fn call_id(turn: u32, index: usize) -> String {
    format!("call_{turn}_{index}")
}

impl Plot {
    pub(super) fn draw(random: &mut Random) -> Self {
        let n = 1 + random.below(3);
        let words = ["Zoë ", "looks ", "things up. ", "And ", "once more, ", "the answer "];
        let mut turns: Vec<Said> = (0..n)
            .map(|_| {
                let pieces = (0..random.below(4)).map(|_| random.pick(&words).to_owned()).collect();
                let calls = (0..=random.below(3)).map(|_| random.pick(&TOOLS)).collect();
                Said { pieces, calls }
            })
            .collect();
        let last = turns.last_mut().unwrap();
        last.calls.clear();
        last.pieces.extend(["is ".to_owned(), "42.".to_owned()]);
        Self { turns, people: None }
    }

    /// People come into it: some tools need them, and the caller's own tool is called.
    pub(super) fn involve(&mut self, random: &mut Random) {
        let approved = TOOLS.into_iter().filter(|_| random.chance(600)).collect();
        let (_, before) = self.turns.split_last_mut().unwrap();
        for said in before {
            said.calls.extend((0..random.below(3)).map(|_| CALLERS));
        }
        self.people = Some(People { approved, wait: random.pick(&[4, 30, 90, 600]) });
    }

    pub(super) fn people(&self) -> Option<&People> {
        self.people.as_ref()
    }

    /// What is said in a turn, from 1. After the last one it is said that there is nothing to add.
    pub(super) fn said(&self, turn: u32) -> Said {
        let n = usize::try_from(turn - 1).unwrap();
        let nothing = || Said { pieces: vec![format!("Message {turn} "), "is read.".to_owned()], calls: vec![] };
        self.turns.get(n).cloned().unwrap_or_else(nothing)
    }

    /// How many turns there are when nobody interferes.
    pub(super) fn n_turns(&self) -> usize {
        self.turns.len()
    }
}

/// Something that a tool did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Effect {
    pub(super) tool: &'static str,
    pub(super) turn: u32,
    pub(super) call: String,
    pub(super) key: String,
}

#[derive(serde::Deserialize, schemars::JsonSchema)]
struct Nth {
    n: u32,
}

macro_rules! effect {
    ($name:ident, $tool:literal, $replay:expr) => {
        struct $name(Sim);

        #[async_trait]
        impl TypedTool for $name {
            type Arguments = Nth;
            const NAME: &'static str = $tool;
            const DESCRIPTION: &'static str = "A tool with an effect that can be counted.";

            fn replay(&self) -> Replay {
                $replay
            }

            fn timeout(&self) -> Duration {
                Duration::from_secs(60)
            }

            async fn call(&self, Nth { n }: Nth, context: &ToolContext) -> Result<ToolReply, ToolError> {
                let (before, after) = self.0.tool_takes();
                tokio::time::sleep(before).await;
                self.0.effect($tool, context);
                tokio::time::sleep(after).await;
                Ok(ToolReply::text(format!("{} {n} is done", $tool)))
            }
        }
    };
}

effect!(Look, "look", Replay::Safe);
effect!(Send, "send", Replay::WithKey);
effect!(Push, "push", Replay::Never);

/// The tools, all of which tell this simulation what they do.
pub(super) fn registry(sim: &Sim) -> ToolRegistry {
    let mut registry = ToolRegistry::new();
    registry.register(Look(sim.clone())).unwrap();
    registry.register(Send(sim.clone())).unwrap();
    registry.register(Push(sim.clone())).unwrap();
    registry
}
