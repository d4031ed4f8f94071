//! A job being watched: events in, lines out. Lines either settle, and are never touched again, or are alive and drawn
//! anew each time. Reads no clock and writes nothing.

mod flow;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{
    event::{Body, Compacted, Event, InputRequest, Job, Notice, ToolCall},
    lines,
    outline::Outline,
    screen::{Line, Look, Style},
    text,
    tree::Tree,
};

const MAIN_LANE: &str = "main";
/// How much of the model's reasoning is kept to be shown while it goes on.
const THOUGHT_CHARS: usize = 240;
const RESTARTED: &str = "… the worker was lost; this turn starts again";

/// The view of one job.
#[derive(Debug)]
pub(super) struct View {
    /// What kind of output it is for, as of now.
    pub(super) look: Look,
    job: Job,
    /// The nodes of the job's workflow, if it runs one and they have not settled: in the place of turns, texts and calls.
    tree: Option<Tree>,
    /// The number of the event that watching began after.
    after: u64,
    lanes: BTreeMap<String, Lane>,
    /// The lane whose text is being shown; the others' text waits, for sentences of several lanes must not mix.
    floor: Option<String>,
    calls: Vec<Call>,
    questions: Vec<String>,
    doing: String,
    thought: String,
    /// Lanes whose questions were answered: that their turns are taken up again is no accident.
    resumed: BTreeSet<String>,
    /// Whether questions are put to the person at the terminal, who then reads them in full.
    pub(super) asks_here: bool,
    lost: bool,
    said: String,
    said_since: Duration,
    settled: Vec<Line>,
    block: Option<Block>,
    any_text: bool,
    finished: bool,
}

/// What lines belong together; between different kinds stands an empty line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Block {
    Header,
    Tree,
    Text,
    /// A text that is over: the next one is another.
    TextBefore,
    Notes,
    Status,
    Footer,
}

/// A lane's text of the present turn.
#[derive(Debug, Default)]
struct Lane {
    turn: u32,
    /// The bytes of the lane's text so far; unknown when watching began in its middle.
    received: Option<u64>,
    /// An escape sequence that is not all there yet.
    unfinished: String,
    /// Clean text that has not settled.
    tail: String,
    /// Whether `tail` has the very bytes that were received.
    altered: bool,
    /// Empty lines that are due if more text follows.
    blanks: usize,
    /// Whether text of this turn has settled.
    shown: bool,
    /// Whether a call of this turn was shown.
    shown_calls: bool,
    /// Whether the turn is over.
    over: bool,
}

#[derive(Debug)]
struct Call {
    lane: String,
    call: ToolCall,
}

impl View {
    /// The view of `job`, watched from after the event `after`; `outline` is its workflow's, as far as that is known.
    pub(super) fn new(job: Job, after: u64, outline: Outline, look: Look) -> Self {
        let header = Line::of(Style::Bold, &job.id)
            .with(Style::Dim, job.model.as_ref().map_or(String::new(), |m| format!("  {m}")));
        let doing = if job.status == "queued" { "waiting in line" } else { "catching up" };
        let mut view = Self {
            look,
            tree: job.is_workflow().then(|| Tree::new(outline, &job)),
            job,
            after,
            lanes: BTreeMap::new(),
            floor: None,
            calls: Vec::new(),
            questions: Vec::new(),
            doing: doing.to_owned(),
            thought: String::new(),
            resumed: BTreeSet::new(),
            asks_here: false,
            lost: false,
            said: String::new(),
            said_since: Duration::ZERO,
            settled: Vec::new(),
            block: None,
            any_text: false,
            finished: false,
        };
        view.settle(Block::Header, header);
        view
    }

    /// Takes in the next event, `now` after watching began.
    pub(super) fn apply(&mut self, event: &Event, now: Duration) {
        let lane = event.origin.lane.clone().unwrap_or_else(|| MAIN_LANE.to_owned());
        let turn = event.origin.turn.unwrap_or(0);
        if self.tree.is_some() && self.grow(event, now) {
            self.mark(now);
            return;
        }
        match &event.body {
            Body::JobQueued => self.happens("queued", "waiting in line"),
            Body::JobRunning if self.tree.is_some() => self.happens("running", "going on"),
            Body::JobRunning => self.happens("running", "asking the model"),
            Body::JobInputRequired => self.happens("input required", "waiting for an answer"),
            Body::JobStalled(notice) => {
                let still = event.origin.at.zip(notice.since).map(|(at, since)| at.duration_since(since).as_millis());
                let still = still.and_then(|ms| u64::try_from(ms).ok()).map_or("a while".to_owned(), text::span);
                self.note(Style::Yellow, format!("… nothing has happened for {still}"));
            }
            Body::JobFinished(summary) => {
                let mut job = (**summary).clone();
                if job.status.is_empty() {
                    job.status = event.origin.kind.trim_start_matches("job.").to_owned();
                }
                job.finished_at = job.finished_at.or(event.origin.at);
                self.conclude(&job);
            }
            Body::TurnStarted => {
                let after = self.after;
                let state = self.lane(&lane);
                if state.turn != turn {
                    let received = if after == 0 { Some(state.received.unwrap_or(0)) } else { state.received };
                    (state.turn, state.received) = (turn, received);
                    (state.shown, state.shown_calls, state.over) = (false, false, false);
                }
                self.happens(&titled(&lane, &format!("turn {turn}")), "asking the model");
            }
            Body::TurnCompleted { .. } => self.end_turn(&lane),
            Body::TurnRestarted { output_offset } => self.restart(&lane, turn, *output_offset),
            Body::OutputDelta { text } => self.hear(&lane, text),
            Body::ReasoningDelta { text } => {
                "thinking".clone_into(&mut self.doing);
                self.thought.push_str(text);
                let excess = self.thought.chars().count().saturating_sub(THOUGHT_CHARS);
                self.thought = self.thought.chars().skip(excess).collect();
            }
            Body::ToolCall(call) => self.take_call(&lane, event, call),
            // Only jobs with a tree have nodes.
            Body::Node(_) | Body::Unknown => {}
            Body::InputRequested(request) => self.ask(request),
            Body::InputResolved(request) => {
                self.questions.retain(|id| *id != request.id);
                self.resumed.insert(lane);
                let answer = request.answer.clone().unwrap_or_default();
                let by = answer.by.map_or(String::new(), |by| format!("  by {by}"));
                let line = Line::of(Style::Green, "  ✓ ").with(Style::Plain, format!("answered: {}", answer.action));
                self.settle(Block::Notes, line.with(Style::Dim, by));
                "going on".clone_into(&mut self.doing);
            }
            Body::MessageAdded => self.note(Style::Dim, "… a message was added".to_owned()),
            Body::ContextCompacted(compacted) => self.note(Style::Dim, condensed(compacted)),
            Body::ModelWaiting(notice) => {
                let span = event.origin.at.zip(notice.until).map(|(at, until)| until.duration_since(at).as_millis());
                let again = span.map_or(String::new(), |ms| {
                    format!("; asking again in {}", text::span(u64::try_from(ms).unwrap_or(0)))
                });
                let what = format!("the model's provider asks for patience{}{again}", after_colon(notice));
                self.happens(&what, &what);
            }
        }
        if !matches!(event.body, Body::ReasoningDelta { .. }) {
            self.thought.clear();
        }
        self.mark(now);
    }

    /// Says whether there is a connection.
    pub(super) fn set_lost(&mut self, lost: bool, now: Duration) {
        self.lost = lost;
        if self.is_plain() {
            let what = if lost { "… connection lost, trying again" } else { "… connected again" };
            self.note(Style::Dim, what.to_owned());
        }
        self.mark(now);
    }

    /// The job has ended so.
    pub(super) fn conclude(&mut self, end: &Job) {
        if std::mem::replace(&mut self.finished, true) {
            return;
        }
        if let Some(tree) = &mut self.tree {
            tree.stop();
        }
        let has_tree = self.tree.is_some();
        self.release();
        let output = end.output.as_deref().unwrap_or_default();
        if !self.any_text && (self.after == 0 || has_tree) && !output.trim().is_empty() {
            // Whatever wrote it, a workflow's last node for one, wrote it without a stream.
            self.hear(MAIN_LANE, output);
            self.end_turn(MAIN_LANE);
            if end.output_truncated {
                self.note(Style::Dim, "… the output is longer; show has all of it".to_owned());
            }
        }
        let created_at = end.created_at.or(self.job.created_at);
        let (line, reason) = lines::footer(end, created_at);
        self.settle(Block::Footer, line);
        for line in
            reason.iter().flat_map(|reason| lines::indented(Style::Red, reason, 2, self.look)).collect::<Vec<_>>()
        {
            self.settle(Block::Footer, line);
        }
    }

    /// Lets everything that is alive settle as it stands: watching ends.
    pub(super) fn release(&mut self) {
        if let Some(tree) = self.tree.take().filter(|_| !self.is_plain()) {
            for line in tree.lines(self.look) {
                self.settle(Block::Tree, line);
            }
        }
        let names: Vec<String> = self.floor.take().into_iter().chain(self.lanes.keys().cloned()).collect();
        for name in names {
            self.settle_text(&name, true);
        }
        for Call { call, .. } in std::mem::take(&mut self.calls) {
            self.settle_call(&call);
        }
    }

    /// The lines that settled since this was last asked.
    pub(super) fn take_settled(&mut self) -> Vec<Line> {
        std::mem::take(&mut self.settled)
    }

    /// The lines that are alive.
    pub(super) fn alive(&self, now: Duration) -> Vec<Line> {
        let Look::Live { columns, rows } = self.look else { return Vec::new() };
        if self.finished {
            return Vec::new();
        }
        let mut text = Vec::new();
        if let Some((name, lane)) = self.floor.as_ref().and_then(|name| self.lanes.get_key_value(name))
            && !lane.tail.trim().is_empty()
        {
            if lane.shown && self.block == Some(Block::Text) {
                text.extend(std::iter::repeat_n(Line::new(), lane.blanks));
            } else if !lane.shown && name != MAIN_LANE {
                text.push(Line::of(Style::Dim, format!("{name}:")));
            }
            text.push(Line::of(Style::Plain, lane.tail.trim_end()));
        }
        let room = rows.saturating_sub(6).max(2);
        let nodes = self.tree.as_ref().map_or(Vec::new(), |tree| tree.alive(self.look, room, now));
        let mut calls: Vec<Line> =
            self.calls.iter().take(room).flat_map(|call| lines::call(&call.call, self.look)).collect();
        if self.calls.len() > room {
            calls.push(Line::of(Style::Dim, format!("    … {} more", self.calls.len() - room)));
        }
        let mut alive = Vec::new();
        let mut block = self.block;
        let status = vec![self.status(columns, now)];
        for (kind, lines) in [(Block::Text, text), (Block::Notes, calls), (Block::Tree, nodes), (Block::Status, status)]
        {
            if !lines.is_empty() {
                if block.is_some_and(|before| before != kind) {
                    alive.push(Line::new());
                }
                block = Some(kind);
                alive.extend(lines.into_iter().map(|line| line.shortened(columns - 1)));
            }
        }
        alive
    }

    fn status(&self, columns: usize, now: Duration) -> Line {
        let mut line = Line::of(Style::Cyan, lines::spinner(now)).with(Style::Dim, format!(" {}", self.said));
        let span = now.saturating_sub(self.said_since);
        if span >= Duration::from_secs(1) {
            line = line.with(Style::Dim, format!("  {}", text::span(span.as_secs() * 1000)).replace(".0", ""));
        }
        let thought = text::one_line(&self.thought);
        let room = columns.saturating_sub(line.width() + 6);
        if thought.is_empty() || room < 10 {
            return line;
        }
        line.with(Style::Dim, format!("  {}", text::ending(&thought, room + 1)))
    }

    /// What is going on, in words; how long it has been going on is counted from when these change.
    fn mark(&mut self, now: Duration) {
        let mut at_work = self.calls.iter().filter(|call| is_open(&call.call)).map(|call| &call.call.name);
        let said = match (at_work.next(), at_work.count()) {
            _ if self.lost => "connection lost, trying again".to_owned(),
            _ if !self.questions.is_empty() => "waiting for an answer".to_owned(),
            (Some(name), 0) => format!("running {name}"),
            (Some(_), more) => format!("running {} tools", more + 1),
            (None, _) => match self.tree.as_ref().map(Tree::at_work) {
                Some((1, Some(node))) => format!("working on {}", text::one_line(node)),
                Some((n, Some(_))) => format!("working on {n} nodes"),
                _ => self.doing.clone(),
            },
        };
        if said != self.said {
            (self.said, self.said_since) = (said, now);
        }
    }

    /// Something begins: a line where there are only lines, a word beside the spinner where there is one.
    fn happens(&mut self, plain: &str, doing: &str) {
        doing.clone_into(&mut self.doing);
        if self.is_plain() {
            self.note(Style::Plain, plain.to_owned());
        }
    }

    fn note(&mut self, style: Style, what: String) {
        self.settle(Block::Notes, Line::of(style, what));
    }

    fn hear(&mut self, name: &str, piece: &str) {
        "writing".clone_into(&mut self.doing);
        let lane = self.lane(name);
        if lane.over {
            // Text of the turn before still waits for its turn to be shown.
            (lane.over, lane.altered) = (false, true);
            lane.tail.push_str("\n\n");
        }
        lane.received = lane.received.map(|n| n + piece.len() as u64);
        let raw = std::mem::take(&mut lane.unfinished) + piece;
        let (ready, unfinished) = raw.split_at(text::whole_sequences(&raw));
        unfinished.clone_into(&mut lane.unfinished);
        let clean = text::clean(ready);
        lane.altered |= clean != piece;
        lane.tail.push_str(&clean);
        if self.floor.is_none() {
            self.floor = Some(name.to_owned());
        }
        if self.floor.as_deref() == Some(name) {
            self.settle_text(name, false);
        }
    }

    /// Settles a lane's text as far as later text cannot change it, or all of it.
    fn settle_text(&mut self, name: &str, whole: bool) {
        let columns = match self.look {
            Look::Plain => usize::MAX,
            Look::Live { columns, .. } => columns - 1,
        };
        self.settle_lines(name, whole, columns);
    }

    fn settle_lines(&mut self, name: &str, whole: bool, columns: usize) {
        let Some(mut lane) = self.lanes.remove(name) else { return };
        while let Some(end) = lane.tail.find('\n') {
            let line: String = lane.tail.drain(..=end).collect();
            self.settle_line(name, &mut lane, line.trim_end(), columns);
        }
        if whole {
            let rest = std::mem::take(&mut lane.tail);
            lane.unfinished.clear();
            if !rest.trim().is_empty() {
                self.settle_line(name, &mut lane, rest.trim_end(), columns);
            }
            lane.blanks = 0;
            if self.block == Some(Block::Text) {
                self.block = Some(Block::TextBefore);
            }
        } else if columns < usize::MAX {
            let mut lines = text::wrap(&lane.tail, columns);
            lane.tail = lines.pop().unwrap_or_default();
            for line in lines {
                self.settle_line(name, &mut lane, &line, columns);
            }
        }
        lane.altered &= !lane.tail.is_empty();
        self.lanes.insert(name.to_owned(), lane);
    }

    fn settle_line(&mut self, name: &str, lane: &mut Lane, line: &str, columns: usize) {
        if line.trim().is_empty() {
            lane.blanks = usize::from(lane.shown);
            return;
        }
        if !lane.shown && name != MAIN_LANE {
            self.settle(Block::Text, Line::of(Style::Dim, format!("{name}:")));
        }
        if self.block == Some(Block::Text) && lane.shown {
            self.settled.extend(std::iter::repeat_n(Line::new(), lane.blanks));
        }
        (lane.blanks, lane.shown, self.any_text) = (0, true, true);
        for line in if columns < usize::MAX { text::wrap(line, columns) } else { vec![line.to_owned()] } {
            self.settle(Block::Text, Line::of(Style::Plain, line));
        }
    }

    fn end_turn(&mut self, name: &str) {
        if self.floor.as_deref() != Some(name) {
            self.lane(name).over = true;
            return;
        }
        self.settle_text(name, true);
        self.floor = None;
        // Whoever waited longest is not known; the lanes' order is as good.
        let waiting: Vec<(String, bool)> = self
            .lanes
            .iter()
            .filter(|(_, lane)| !lane.tail.trim().is_empty())
            .map(|(name, lane)| (name.clone(), lane.over))
            .collect();
        for (name, over) in waiting {
            self.settle_text(&name, over);
            if !over {
                self.floor = Some(name);
                break;
            }
        }
    }

    fn restart(&mut self, name: &str, turn: u32, output_offset: u64) {
        let live = !self.is_plain() && self.floor.as_deref() == Some(name);
        let lane = self.lane(name);
        let in_view = live && !lane.tail.trim().is_empty();
        let void = match lane.received {
            Some(received) => received.saturating_sub(output_offset),
            // Where this lane's text began is not known: what was heard of this turn is void.
            None => u64::from(lane.shown || !lane.tail.is_empty()) * u64::MAX,
        };
        lane.received = Some(output_offset);
        let mut seen = lane.shown_calls;
        if void > 0 {
            let kept = usize::try_from(void).ok().and_then(|void| lane.tail.len().checked_sub(void));
            match kept.filter(|kept| !lane.altered && lane.unfinished.is_empty() && lane.tail.is_char_boundary(*kept)) {
                Some(kept) if !in_view => lane.tail.truncate(kept),
                _ => {
                    seen |= in_view || lane.shown;
                    if !in_view {
                        lane.tail.clear();
                    }
                }
            }
        }
        lane.unfinished.clear();
        (lane.turn, lane.shown_calls) = (turn, false);
        if void > 0 && live {
            // What was in view stays there, so that the note below it makes sense.
            self.settle_text(name, true);
        }
        if void > 0 {
            let lane = self.lane(name);
            (lane.shown, lane.blanks) = (false, 0);
        }
        self.calls.retain(|call| call.lane != name || call.call.turn != turn);
        let resumed = self.resumed.remove(name);
        if (seen || self.is_plain()) && !resumed {
            self.settle(Block::Notes, Line::of(Style::Dim, titled(name, RESTARTED)));
        }
        "asking the model".clone_into(&mut self.doing);
    }

    fn take_call(&mut self, name: &str, event: &Event, call: &ToolCall) {
        if self.floor.as_deref() == Some(name) {
            self.settle_text(name, true);
        }
        let mut call = call.clone();
        if call.turn == 0 {
            call.turn = event.origin.turn.unwrap_or(0);
        }
        if call.status.is_empty() {
            call.status = event.origin.kind.trim_start_matches("tool_call.").to_owned();
        }
        if self.is_plain() {
            if call.status != "pending" {
                self.lane(name).shown_calls = true;
                self.settle_call(&call);
            }
            return;
        }
        self.lane(name).shown_calls = true;
        match self.calls.iter_mut().find(|known| known.lane == name && known.call.id == call.id) {
            Some(known) => known.call = call,
            None => self.calls.push(Call { lane: name.to_owned(), call }),
        }
        // In their order, so that none jumps over another.
        while self.calls.first().is_some_and(|call| !is_open(&call.call)) {
            let Call { call, .. } = self.calls.remove(0);
            self.settle_call(&call);
        }
        "asking the model".clone_into(&mut self.doing);
    }

    fn settle_call(&mut self, call: &ToolCall) {
        for line in lines::call(call, self.look) {
            self.settle(Block::Notes, line);
        }
    }

    fn ask(&mut self, request: &InputRequest) {
        self.questions.push(request.id.clone());
        if !self.asks_here {
            let node = self.node_of(request);
            self.settle(Block::Notes, lines::asked(request, node.as_deref(), self.look));
        }
    }

    /// Goes on below lines that others have put there.
    pub(super) fn go_on_below(&mut self) {
        self.block = Some(Block::Notes);
    }

    fn settle(&mut self, block: Block, line: Line) {
        // Where every event is a line of its own, the first one is no different.
        let block = if block == Block::Header && self.is_plain() { Block::Notes } else { block };
        if self.block.is_some_and(|before| before != block) {
            self.settled.push(Line::new());
        }
        self.block = Some(block);
        self.settled.push(line);
    }

    fn lane(&mut self, name: &str) -> &mut Lane {
        let received = (self.after == 0).then_some(0);
        self.lanes.entry(name.to_owned()).or_insert_with(|| Lane { received, ..Lane::default() })
    }

    fn is_plain(&self) -> bool {
        self.look == Look::Plain
    }
}

fn is_open(call: &ToolCall) -> bool {
    matches!(call.status.as_str(), "pending" | "running")
}

fn titled(lane: &str, what: &str) -> String {
    if lane == MAIN_LANE { what.to_owned() } else { format!("{lane}: {what}") }
}

fn after_colon(notice: &Notice) -> String {
    if notice.message.is_empty() { String::new() } else { format!(": {}", text::one_line(&notice.message)) }
}

fn condensed(compacted: &Compacted) -> String {
    let Compacted { messages, tokens_before, tokens_after, strategy, error } = compacted;
    let how = if strategy == "truncate" { "left out" } else { "summarised" };
    let (before, after) = (text::grouped(*tokens_before), text::grouped(*tokens_after));
    let why = error.as_ref().map_or(String::new(), |error| format!(": {}", text::one_line(error)));
    format!("… {} {how}, about {before} tokens became {after}{why}", text::counted(*messages, "older message"))
}
