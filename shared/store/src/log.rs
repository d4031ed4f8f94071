//! A job's log: one writer's appends, and reading on from a cursor (PROTOCOL: `append`, `viewer`).

use std::time::Duration;

use domain::{
    event::{Event, EventBody, Origin, Signature},
    id::{JobId, WriterId},
    job::Head,
    lane::{Fence, Lane},
    time::Timestamp,
};

use crate::{
    Store,
    error::{Error, Verdict},
    item::{MOST_EVENTS, events_from_item, events_item, head_from_item, is_deleted, signature, sort_of},
    items_ttl,
    key::Sort,
    query::Range,
    write::Write,
};

/// No log has an event of a higher number than the next: its key has ten digits.
const LAST_CURSOR: u64 = 9_999_999_998;
/// How often an append whose outcome is unknown is sent again before its invocation gives up.
const APPEND_TRIES: u32 = 6;
const APPEND_PAUSE: Duration = Duration::from_millis(100);
/// Most bytes of events in one item of several; the table allows 400 KB.
const MOST_BYTES: usize = 256 * 1024;
/// How many numbers before its cursor a reader begins: the event that follows on it may be the last of an item.
const LOOK_BACK: u64 = MOST_EVENTS as u64 - 1;

/// The end of a log.
#[derive(Debug, Clone, PartialEq)]
pub struct Tail {
    /// The last event's number; 0 when there is none.
    pub number: u64,
    /// Whether it is a terminal event.
    pub is_terminal: bool,
    /// When the job last moved, by that event; `None` when there is none.
    pub moved_at: Option<Timestamp>,
    /// Whether that event says that the job stands still.
    pub is_stalled: bool,
}

impl Tail {
    /// The end of a log whose last events these are, or which has none.
    pub fn of(events: &[Event]) -> Self {
        let Some(last) = events.last() else {
            return Self { number: 0, is_terminal: false, moved_at: None, is_stalled: false };
        };
        Self {
            number: last.number,
            is_terminal: last.body.is_terminal(),
            moved_at: Some(last.moved_at()),
            is_stalled: matches!(last.body, EventBody::JobStalled { .. }),
        }
    }
}

/// From where a log is read on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    /// After this event, wherever it is.
    Event(u64),
    /// After this event, the last of those that were written with it: where a [`Page`] or a [`Tail`] ended.
    Batch(u64),
}

/// A piece of a log, in order and without a gap.
#[derive(Debug, Clone, PartialEq)]
pub struct Page {
    /// The events that follow on the cursor.
    pub events: Vec<Event>,
    /// The head, when the piece reaches the log's end.
    pub head: Option<Head>,
}

/// Why an event is not in the log.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The lease was lost: stop, write nothing more.
    #[error("the lease was lost")]
    LeaseLost,
    /// The table cannot be written: end the invocation, the message comes back.
    #[error(transparent)]
    Table(#[from] Error),
}

impl Store {
    /// The log's end and the head, read consistently. `None` when there is no such job.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub async fn tail(&self, job: &JobId) -> Result<Option<(Tail, Head)>, Error> {
        Ok(self.recent(job, 1).await?.map(|(events, head)| (Tail::of(&events), head)))
    }

    /// The log's last events, those of so many items, and the head, read consistently. `None` when there is no such job.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub async fn recent(&self, job: &JobId, items: u8) -> Result<Option<(Vec<Event>, Head)>, Error> {
        let range =
            Range { pk: job.as_str(), from: Sort::Event(0).to_string(), to: Sort::Head.to_string(), consistent: true };
        let (page, _) = self.page(&range, Some(1 + i32::from(items)), true, None).await?;
        let mut newest_first = page.into_iter();
        let head = newest_first.next().filter(|item| sort_of(item) == "head" && !is_deleted(item));
        let Some(head) = head else { return Ok(None) };
        let mut events: Vec<Event> = Vec::new();
        for item in newest_first {
            let mut before = events_from_item(&item)?;
            before.append(&mut events);
            events = before;
        }
        Ok(Some((events, head_from_item(head)?)))
    }

    /// The events that follow, as they were written: as many at once as make `limit`, or a few more. `None` when there is
    /// no such job, which only a consistent reader is told for certain.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub async fn events_after(
        &self,
        job: &JobId,
        after: After,
        limit: u32,
        consistent: bool,
    ) -> Result<Option<Page>, Error> {
        let (cursor, look_back) = match after {
            After::Event(cursor) => (cursor.min(LAST_CURSOR), LOOK_BACK),
            After::Batch(cursor) => (cursor.min(LAST_CURSOR), 0),
        };
        let range = Range {
            pk: job.as_str(),
            from: Sort::Event((cursor + 1).saturating_sub(look_back)).to_string(),
            to: Sort::Head.to_string(),
            consistent,
        };
        // One more: the head, if the log ends here.
        let asked = u64::from(limit).saturating_add(1 + look_back);
        let asked = i32::try_from(asked).unwrap_or(i32::MAX);
        let mut events: Vec<Event> = Vec::new();
        let mut start = None;
        loop {
            let (items, next) = self.page(&range, Some(asked), false, start).await?;
            for item in items {
                if sort_of(&item) == "head" {
                    if is_deleted(&item) {
                        return Ok(None);
                    }
                    return Ok(Some(Page { events, head: Some(head_from_item(item)?) }));
                }
                let batch = events_from_item(&item)?.into_iter().filter(|event| event.number > cursor);
                let batch: Vec<Event> = batch.collect();
                let follows = batch.first().is_none_or(|first| first.number == cursor + 1 + events.len() as u64);
                if !follows || events.len() >= limit as usize {
                    // What is missing in between comes later, and the head with it.
                    return Ok(Some(Page { events, head: None }));
                }
                events.extend(batch);
            }
            match next {
                // Nothing but long events before the cursor: they filled the page.
                Some(_) if events.is_empty() => start = next,
                Some(_) => return Ok(Some(Page { events, head: None })),
                None => return Ok((!events.is_empty()).then_some(Page { events, head: None })),
            }
        }
    }

    /// Notes that somebody watches until then.
    ///
    /// # Errors
    /// When the table cannot be written.
    pub async fn watch(&self, job: &JobId, until: Timestamp) -> Result<(), Error> {
        let key = crate::key::Key::of(job, &Sort::Head);
        let noted = Write::update(key, "SET #watched_until = :until", [(":until", crate::item::at(until))])
            .when("attribute_exists(#pk) AND #watched_until < :until", []);
        self.write(noted).await.map(drop)
    }

    /// An appender for the turn of which `fence` is the lease, whose log ended at `tail` before the claim.
    pub fn appender(&self, head: &Head, fence: &Fence, lane: &Lane, tail: u64) -> Appender {
        Appender {
            store: self.clone(),
            job: head.id.clone(),
            fence: fence.clone(),
            origin: origin(lane),
            tail,
            count: 0,
            ttl: items_ttl(head),
        }
    }
}

/// The one writer of a lane's events during a turn.
#[derive(Debug)]
pub struct Appender {
    store: Store,
    job: JobId,
    fence: Fence,
    origin: Origin,
    tail: u64,
    count: u64,
    ttl: Timestamp,
}

impl Appender {
    /// The number of the last event that is known to be in the log.
    pub fn tail(&self) -> u64 {
        self.tail
    }

    /// Who writes.
    pub fn writer(&self) -> &WriterId {
        &self.fence.owner
    }

    /// Puts events of the turn into the log, each with its time: as many as one item holds at once, the rest after them.
    ///
    /// # Errors
    /// When the lease was lost, or the table cannot be written.
    pub async fn append(&mut self, entries: Vec<(EventBody, Timestamp)>) -> Result<(), AppendError> {
        let mut entries = entries.into_iter().peekable();
        while entries.peek().is_some() {
            let (mut together, mut bytes) = (Vec::new(), 0);
            while let Some((body, at)) = entries.next_if(|(body, _)| {
                bytes += serde_json::to_string(body).map_or(MOST_BYTES, |json| json.len());
                together.is_empty() || (together.len() < MOST_EVENTS && bytes <= MOST_BYTES)
            }) {
                together.push(Event { number: 0, at, origin: Some(self.origin.clone()), body });
            }
            self.put(together).await?;
        }
        Ok(())
    }

    /// Puts events as one item at the log's end.
    async fn put(&mut self, mut events: Vec<Event>) -> Result<(), AppendError> {
        self.count += 1;
        let by = Signature { writer: self.fence.owner.clone(), count: self.count };
        let mut first = self.tail + 1;
        let mut tried = 0;
        loop {
            for (number, event) in (first..).zip(&mut events) {
                event.number = number;
            }
            match self.store.write(put_events(&self.job, &events, &by, self.ttl)?).await {
                Ok(Verdict::Fine) => break,
                Ok(Verdict::Refused(there)) if there.as_ref().and_then(signature).as_ref() == Some(&by) => break,
                Ok(Verdict::Refused(_)) => first = self.free_number().await?,
                // The same bytes at the same number: it may be there already.
                Err(error) => {
                    tried += 1;
                    if tried == APPEND_TRIES {
                        return Err(error.into());
                    }
                    tokio::time::sleep(APPEND_PAUSE * tried).await;
                }
            }
        }
        self.tail = first - 1 + events.len() as u64;
        Ok(())
    }

    async fn free_number(&self) -> Result<u64, AppendError> {
        self.store.free_number(&self.job, &self.fence).await?.ok_or(AppendError::LeaseLost)
    }
}

impl Store {
    /// The next free number of the log for the holder of this lease; `None` when it was lost. The tail first, and only
    /// then the lease (counterexample 2), or a restart of a newer attempt could come before an event of ours.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub async fn free_number(&self, job: &JobId, fence: &Fence) -> Result<Option<u64>, Error> {
        let Some((tail, _)) = self.tail(job).await? else { return Ok(None) };
        let lane = self.lane(job, &fence.lane).await?;
        Ok(lane.is_some_and(|lane| lane.is_held_by(&fence.owner, fence.epoch)).then_some(tail.number + 1))
    }
}

/// Puts neighbouring events at the log's end, if that is where their numbers still are.
pub(crate) fn put_events(job: &JobId, events: &[Event], by: &Signature, ttl: Timestamp) -> Result<Write, Error> {
    Ok(Write::put_new(events_item(job, events, by, ttl)?))
}

/// Where a lane's events of now belong.
pub(crate) fn origin(lane: &Lane) -> Origin {
    Origin { lane: lane.name.clone(), turn: lane.turn, attempt: lane.attempt, node_id: lane.node_id.clone() }
}
