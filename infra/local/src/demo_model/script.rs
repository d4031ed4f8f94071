//! Scripts: what the demo model answers in a test, turn by turn, and how it breaks.

use std::{
    borrow::Cow,
    collections::VecDeque,
    sync::{Mutex, PoisonError},
};

use bytes::Bytes;
use domain::usage::Usage;
use serde_json::{Value, json};

use crate::emulator::fault::Gate;

/// The answers to one conversation, in order.
#[derive(Debug, Default)]
pub struct Script {
    turns: Vec<ScriptedTurn>,
}

#[derive(Debug)]
struct ScriptedTurn {
    turn: Turn,
    /// One for each of the next requests.
    faults: Mutex<VecDeque<Fault>>,
}

impl Script {
    /// A script without turns.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the next turn.
    pub fn turn(mut self, mut turn: Turn) -> Self {
        let faults = std::mem::take(&mut turn.faults).into();
        self.turns.push(ScriptedTurn { turn, faults: Mutex::new(faults) });
        self
    }

    /// The turn for a request, and the fault that this attempt at it meets.
    pub(super) fn next(&self, turn: usize) -> Option<(&Turn, Option<Fault>)> {
        let ScriptedTurn { turn, faults } = self.turns.get(turn)?;
        Some((turn, faults.lock().unwrap_or_else(PoisonError::into_inner).pop_front()))
    }
}

/// One answer of the model.
#[derive(Debug, Clone, Default)]
pub struct Turn {
    pieces: Vec<Value>,
    n_calls: usize,
    faults: Vec<Fault>,
    pub(super) finish: Option<&'static str>,
    pub(super) usage: Option<Usage>,
    pub(super) split: Option<usize>,
    pub(super) raw: Option<Bytes>,
}

impl Turn {
    /// An answer in one piece.
    pub fn text(text: impl Into<String>) -> Self {
        Self::pieces([text])
    }

    /// An answer in several pieces, each a chunk of its own.
    pub fn pieces<T: Into<String>>(pieces: impl IntoIterator<Item = T>) -> Self {
        Self::default().then_text(pieces)
    }

    /// An answer that asks for tools.
    pub fn calls(calls: impl IntoIterator<Item = Call>) -> Self {
        Self::default().then_calls(calls)
    }

    /// An answer that is these bytes, whatever they are, and nothing more. The faults that count pieces do not apply.
    pub fn raw(bytes: impl Into<Bytes>) -> Self {
        Self { raw: Some(bytes.into()), ..Self::default() }
    }

    /// Adds pieces of text.
    pub fn then_text<T: Into<String>>(mut self, pieces: impl IntoIterator<Item = T>) -> Self {
        self.pieces.extend(pieces.into_iter().map(|piece| json!({"content": piece.into()})));
        self
    }

    /// Adds pieces of visible reasoning.
    pub fn then_reasoning<T: Into<String>>(mut self, pieces: impl IntoIterator<Item = T>) -> Self {
        self.pieces.extend(pieces.into_iter().map(|piece| json!({"reasoning": piece.into()})));
        self
    }

    /// Adds tool calls. Each fragment of one is a piece.
    pub fn then_calls(mut self, calls: impl IntoIterator<Item = Call>) -> Self {
        for call in calls {
            self.pieces.extend(call.pieces(self.n_calls));
            self.n_calls += 1;
        }
        self
    }

    /// Ends it for another reason than `stop` or `tool_calls`.
    pub fn finish(mut self, reason: &'static str) -> Self {
        self.finish = Some(reason);
        self
    }

    /// Reports this usage; an estimate from the texts otherwise.
    pub fn usage(mut self, usage: Usage) -> Self {
        self.usage = Some(usage);
        self
    }

    /// Sends the answer in writes of so many bytes, down to one, wherever that cuts it.
    pub fn split(mut self, n_bytes: usize) -> Self {
        self.split = Some(n_bytes.max(1));
        self
    }

    /// Breaks the next request for this turn. The first fault breaks the first request, the second the second, and those
    /// after the last fault are answered well.
    pub fn fault(mut self, fault: Fault) -> Self {
        self.faults.push(fault);
        self
    }

    pub(super) fn deltas(&self) -> &[Value] {
        &self.pieces
    }

    pub(super) fn asks_for_tools(&self) -> bool {
        self.n_calls > 0
    }
}

/// A tool call in a [`Turn`].
#[derive(Debug, Clone)]
pub struct Call {
    name: Cow<'static, str>,
    arguments: String,
    id: Option<String>,
    has_id: bool,
    n_fragments: usize,
}

impl Call {
    /// A call with these arguments, as text: they need not be JSON. Its id is made up: `call_<place>`, with the tool's
    /// name.
    pub fn new(name: impl Into<Cow<'static, str>>, arguments: impl Into<String>) -> Self {
        Self { name: name.into(), arguments: arguments.into(), id: None, has_id: true, n_fragments: 1 }
    }

    /// With this id.
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// Without any id, as some servers send it.
    pub fn without_id(mut self) -> Self {
        self.has_id = false;
        self
    }

    /// With its arguments in so many fragments.
    pub fn fragments(mut self, n: usize) -> Self {
        self.n_fragments = n.max(1);
        self
    }

    fn pieces(self, index: usize) -> Vec<Value> {
        let chars: Vec<char> = self.arguments.chars().collect();
        let size = chars.len().div_ceil(self.n_fragments).max(1);
        let mut fragments: Vec<String> = chars.chunks(size).map(|chunk| chunk.iter().collect()).collect();
        if fragments.is_empty() {
            fragments.push(String::new());
        }
        let mut pieces: Vec<Value> = fragments
            .into_iter()
            .map(|arguments| json!({"index": index, "function": {"arguments": arguments}}))
            .collect();
        pieces[0]["type"] = json!("function");
        pieces[0]["function"]["name"] = json!(self.name);
        if self.has_id {
            pieces[0]["id"] = json!(self.id.unwrap_or_else(|| format!("call_{index}_{}", self.name)));
        }
        pieces.into_iter().map(|piece| json!({"tool_calls": [piece]})).collect()
    }
}

/// How one request goes wrong. Pieces are counted as the chunks of the turn: texts, reasoning, fragments of calls.
#[derive(Debug, Clone)]
pub enum Fault {
    /// This HTTP status in place of a stream. A body that begins with `{` or `<` is sent as it is; anything else is the
    /// message of an error in the provider's form.
    Status(u16, &'static str),
    /// The same, with a `Retry-After` header: seconds, or a date.
    StatusRetryAfter(u16, &'static str, &'static str),
    /// After so many pieces the connection is closed: no finish, no end of the body.
    CutAfter(usize),
    /// After so many pieces comes an error inside the stream, with this code and message.
    ErrorAfter(usize, &'static str, &'static str),
    /// Nothing comes, not even headers, until the client goes away.
    HangBeforeHeaders,
    /// After so many pieces nothing more comes, until the client goes away.
    HangAfter(usize),
    /// The headers wait for the gate; then the answer is good.
    StallBeforeHeaders(Gate),
    /// After so many pieces the answer waits for the gate; then it goes on, and is good.
    StallAfter(usize, Gate),
}
