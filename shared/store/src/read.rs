//! Reading a job: as much of it as the reader asks for, in one query.

use std::collections::BTreeMap;

use domain::{
    answer::Answer,
    event::Event,
    id::{JobId, LaneName, ToolCallId},
    inbox::Inbox,
    input_request::InputRequest,
    job::{Head, Job, JobKind, JobSpec, Metadata, WorkflowSpec},
    lane::Lane,
    tool_call::ToolCall,
    turn::Turns,
    workflow::{NodeKey, Plan, Run},
};

use crate::{
    Store,
    compaction::shortened_from_item,
    error::Error,
    item::{
        Item, Unpacked, call_from_item, events_from_item, head_from_item, input_from_item, is_deleted, join,
        lane_from_item, number, place, sort_of, text, unpack,
    },
    key::{AFTER_LANES, AFTER_PLAN, AFTER_TURNS, BEFORE_LANES, Key, Sort},
    query::Range,
};

/// What was read of a job. Parts that were not asked for are empty.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// Its head.
    pub head: Head,
    /// Its lanes.
    pub lanes: BTreeMap<LaneName, Lane>,
    /// The caller's notes.
    pub metadata: Metadata,
    /// What was asked for.
    pub spec: Option<JobSpec>,
    /// What its turns have left behind.
    pub turns: Turns,
    /// Its questions to people and clients, by when they were asked.
    pub inputs: Vec<InputRequest>,
    /// The messages that came in, in order.
    pub inbox: Inbox,
    /// Where its workflow is, and the version of the plan; nothing before its first turn, and in a chat.
    pub run: Option<(u64, Run)>,
    /// Its workflow's final output.
    pub output: Option<String>,
    /// Its log, without a gap, from the first event.
    pub events: Vec<Event>,
}

impl Record {
    /// The job that rules are applied to.
    pub fn job(&self) -> Job {
        Job { head: self.head.clone(), lanes: self.lanes.clone() }
    }

    /// The number of the last event that was read.
    pub fn last_event(&self) -> u64 {
        self.events.last().map_or(0, |event| event.number)
    }
}

impl Store {
    /// A job's head; `None` when there is no such job (any more).
    ///
    /// # Errors
    /// When the table cannot be read.
    pub async fn head(&self, job: &JobId, consistent: bool) -> Result<Option<Head>, Error> {
        let item = self.get(Key::of(job, &Sort::Head), consistent).await?;
        item.filter(|item| !is_deleted(item)).map(head_from_item).transpose()
    }

    /// One lane of a job, read consistently.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub async fn lane(&self, job: &JobId, lane: &LaneName) -> Result<Option<Lane>, Error> {
        self.get(Key::of(job, &Sort::Lane(lane)), true).await?.map(lane_from_item).transpose()
    }

    /// The lanes of a job, read consistently.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub async fn lanes(&self, job: &JobId) -> Result<Vec<Lane>, Error> {
        let range =
            Range { pk: job.as_str(), from: BEFORE_LANES.to_owned(), to: AFTER_LANES.to_owned(), consistent: true };
        self.range(range).await?.into_iter().map(lane_from_item).collect()
    }

    /// What a turn has to know, read consistently: head, lanes, request and turns, in this order, so that the head's
    /// inbox count never promises more than was read.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub async fn load(&self, job: &JobId) -> Result<Option<Record>, Error> {
        self.read(job, Sort::Head, AFTER_TURNS.to_owned(), true).await
    }

    /// What was asked for.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub async fn spec(&self, job: &JobId) -> Result<Option<JobSpec>, Error> {
        let from = Sort::Request.to_string();
        let to = format!("{from}#~");
        let items = self.range(Range { pk: job.as_str(), from, to, consistent: true }).await?;
        let mut parts: BTreeMap<String, Item> =
            items.into_iter().map(|item| (sort_of(&item).to_owned(), item)).collect();
        let request = parts.remove(&Sort::Request.to_string());
        request.map(|item| whole(&item, &parts, |n| Sort::RequestPart(n).to_string())).transpose()
    }

    /// The workflow that a job runs, if it runs one.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub async fn workflow_of(&self, record: &Record) -> Result<Option<Box<WorkflowSpec>>, Error> {
        match record.head.kind {
            JobKind::Chat => Ok(None),
            JobKind::Workflow => Ok(self.spec(&record.head.id).await?.and_then(|spec| spec.workflow)),
        }
    }

    /// What an answer about a job is made of: its log, head, notes, lanes, and where its workflow is.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub async fn with_log(&self, job: &JobId, consistent: bool) -> Result<Option<Record>, Error> {
        self.read(job, Sort::Event(0), AFTER_PLAN.to_owned(), consistent).await
    }

    /// All of it, read consistently.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub async fn whole(&self, job: &JobId) -> Result<Option<Record>, Error> {
        self.read(job, Sort::Event(0), AFTER_TURNS.to_owned(), true).await
    }

    /// A tool call by the model's id of it.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub async fn tool_call(&self, job: &JobId, call: &ToolCallId) -> Result<Option<ToolCall>, Error> {
        let range = Range { pk: job.as_str(), from: "turn#".to_owned(), to: AFTER_TURNS.to_owned(), consistent: false };
        for item in self.range(range).await?.iter().filter(|item| item.contains_key("progress")) {
            let found = call_from_item(item)?.call;
            if found.request.id == *call {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    async fn read(&self, job: &JobId, from: Sort<'_>, to: String, consistent: bool) -> Result<Option<Record>, Error> {
        let items = self.range(Range { pk: job.as_str(), from: from.to_string(), to, consistent }).await?;
        assemble(items)
    }
}

/// Sorts a job's items into a record; nothing, when there is no head.
fn assemble(items: Vec<Item>) -> Result<Option<Record>, Error> {
    let mut head = None;
    let mut lanes = BTreeMap::new();
    let mut metadata = Metadata::new();
    let mut events: Vec<Event> = Vec::new();
    let mut turns = Turns::new();
    let (mut inputs, mut inbox) = (Vec::<InputRequest>::new(), Inbox::new());
    let (mut request, mut plan, mut output): (Option<Item>, Option<Item>, Option<Item>) = (None, None, None);
    let mut nodes: Vec<Item> = Vec::new();
    let mut answers: Vec<(LaneName, u32, Item)> = Vec::new();
    let mut parts: BTreeMap<String, Item> = BTreeMap::new();
    for item in items {
        let sort = sort_of(&item).to_owned();
        let mut words = sort.split('#');
        match (words.next(), words.next(), words.next(), words.next(), words.next()) {
            (Some("event"), ..) => {
                for event in events_from_item(&item)? {
                    // A page read eventually consistently may lack one in the middle: what follows comes later.
                    if event.number == events.last().map_or(1, |last: &Event| last.number + 1) {
                        events.push(event);
                    }
                }
            }
            (Some("head"), None, ..) if is_deleted(&item) => return Ok(None),
            (Some("head"), None, ..) => head = Some(head_from_item(item)?),
            (Some("lane"), Some(_), ..) => {
                let lane = lane_from_item(item)?;
                lanes.insert(lane.name.clone(), lane);
            }
            (Some("input"), Some(_), ..) => inputs.push(input_from_item(&item)?),
            (Some("message"), Some(_), ..) => inbox.push(input_from_item(&item)?),
            (Some("info"), None, ..) => metadata = whole(&item, &parts, |n| Sort::RequestPart(n).to_string())?,
            (Some("node"), Some(_), None, ..) => nodes.push(item),
            (Some("output"), None, ..) => output = Some(item),
            (Some("plan"), None, ..) => plan = Some(item),
            (Some("request"), None, ..) => request = Some(item),
            (Some("turn"), Some(lane), Some(turn), Some("answer"), None) => {
                let lane = lane.parse().map_err(|error| Error::corrupt(place(&item), error))?;
                let turn = turn.parse().map_err(|error| Error::corrupt(place(&item), error))?;
                answers.push((lane, turn, item));
            }
            (Some("turn"), _, _, Some("call"), _) => {
                let call = call_from_item(&item)?.call;
                let turn = turns.entry((call.lane.clone(), call.turn)).or_default();
                turn.calls.insert(call.index, call);
            }
            // In the order of their keys, which is that in which they were made.
            (Some("turn"), Some(lane), Some(turn), Some("compaction"), Some(_)) => {
                let lane = lane.parse().map_err(|error| Error::corrupt(place(&item), error))?;
                let turn = turn.parse().map_err(|error| Error::corrupt(place(&item), error))?;
                turns.entry((lane, turn)).or_default().shortened.push(shortened_from_item(&item)?);
            }
            _ => drop(parts.insert(sort, item)),
        }
    }
    for (lane, turn, item) in answers {
        let answer: Answer = whole(&item, &parts, |n| {
            let by = text(&item, "parts_by").unwrap_or_default();
            Sort::AnswerPart(&lane, turn, by, n).to_string()
        })?;
        turns.entry((lane.clone(), turn)).or_default().answer = Some(answer);
    }
    let spec = request.map(|item| whole(&item, &parts, |n| Sort::RequestPart(n).to_string())).transpose()?;
    let run = plan.map(|plan| run(&plan, &nodes, &parts)).transpose()?;
    let output =
        output.map(|item| whole(&item, &parts, |n| Sort::OutputPart(writer_of(&item), n).to_string())).transpose()?;
    inputs.sort_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
    inbox.sort_by_key(|message| message.number);
    Ok(head.map(|head| Record { head, lanes, metadata, spec, turns, inputs, inbox, run, output, events }))
}

/// The run in its items.
fn run(plan: &Item, nodes: &[Item], parts: &BTreeMap<String, Item>) -> Result<(u64, Run), Error> {
    let version = number(plan, "version").ok_or_else(|| Error::corrupt(place(plan), "it has no version"))?;
    let stored: Plan = whole(plan, parts, |n| Sort::PlanPart(writer_of(plan), n).to_string())?;
    let mut run = Run { plan: stored, ..Run::default() };
    for item in nodes {
        let key = text(item, "node").ok_or_else(|| Error::corrupt(place(item), "it has no node"))?;
        let key = NodeKey::stored(key);
        let record = whole(item, parts, |n| Sort::NodePart(&key, writer_of(item), n).to_string())?;
        run.nodes.insert(key, record);
    }
    Ok((version, run))
}

/// Who wrote an item's parts.
fn writer_of(item: &Item) -> &str {
    text(item, "parts_by").unwrap_or_default()
}

/// The value in an item, or in its parts.
fn whole<T: serde::de::DeserializeOwned>(
    item: &Item,
    parts: &BTreeMap<String, Item>,
    name: impl Fn(u32) -> String,
) -> Result<T, Error> {
    match unpack(item)? {
        Unpacked::Whole(value) => Ok(value),
        Unpacked::Parts(count) => {
            let parts: Option<Vec<&Item>> = (0..count).map(|n| parts.get(&name(n))).collect();
            join(parts.ok_or_else(|| Error::corrupt(place(item), "a part of it is missing"))?, &place(item))
        }
    }
}
