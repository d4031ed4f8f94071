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
    item::{event_from_item, event_item, head_from_item, is_deleted, signature, sort_of},
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
        let range =
            Range { pk: job.as_str(), from: Sort::Event(0).to_string(), to: Sort::Head.to_string(), consistent: true };
        let (mut items, _) = self.page(&range, Some(2), true, None).await?;
        if items.first().is_none_or(|item| sort_of(item) != "head" || is_deleted(item)) {
            return Ok(None);
        }
        let head = head_from_item(items.swap_remove(0))?;
        let tail = match items.first() {
            None => Tail { number: 0, is_terminal: false, moved_at: None, is_stalled: false },
            Some(item) => {
                let event = event_from_item(item)?;
                Tail {
                    number: event.number,
                    is_terminal: event.body.is_terminal(),
                    moved_at: Some(event.moved_at()),
                    is_stalled: matches!(event.body, EventBody::JobStalled { .. }),
                }
            }
        };
        Ok(Some((tail, head)))
    }

    /// The events that follow on `cursor`, at most `limit` of them. `None` when there is no such job, which only a
    /// consistent reader is told for certain.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub async fn events_after(
        &self,
        job: &JobId,
        cursor: u64,
        limit: u32,
        consistent: bool,
    ) -> Result<Option<Page>, Error> {
        let range = Range {
            pk: job.as_str(),
            from: Sort::Event(cursor.min(LAST_CURSOR) + 1).to_string(),
            to: Sort::Head.to_string(),
            consistent,
        };
        // One more: the head, if the log ends here.
        let asked = i32::try_from(limit.saturating_add(1)).unwrap_or(i32::MAX);
        let (items, next) = self.page(&range, Some(asked), false, None).await?;
        let mut page = Page { events: Vec::with_capacity(items.len()), head: None };
        let mut missing = false;
        for item in items {
            if sort_of(&item) == "head" {
                if is_deleted(&item) {
                    return Ok(None);
                }
                page.head = (!missing).then(|| head_from_item(item)).transpose()?;
                return Ok(Some(page));
            }
            if page.events.len() >= limit as usize {
                return Ok(Some(page));
            }
            if !missing {
                let event = event_from_item(&item)?;
                missing = event.number != cursor.min(LAST_CURSOR) + 1 + page.events.len() as u64;
                if !missing {
                    page.events.push(event);
                }
            }
        }
        Ok((next.is_some() || !page.events.is_empty()).then_some(page))
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

    /// An appender for the turn of which `fence` is the lease, where `tail` was read before the claim.
    pub fn appender(&self, head: &Head, fence: &Fence, lane: &Lane, tail: &Tail) -> Appender {
        Appender {
            store: self.clone(),
            job: head.id.clone(),
            fence: fence.clone(),
            origin: Origin {
                lane: fence.lane.clone(),
                turn: lane.turn,
                attempt: lane.attempt,
                node_id: lane.node_id.clone(),
            },
            tail: tail.number,
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

    /// Puts an event of the turn into the log.
    ///
    /// # Errors
    /// When the lease was lost, or the table cannot be written.
    pub async fn append(&mut self, body: EventBody, at: Timestamp) -> Result<u64, AppendError> {
        self.count += 1;
        let by = Signature { writer: self.fence.owner.clone(), count: self.count };
        let mut event = Event { number: self.tail + 1, at, origin: Some(self.origin.clone()), body };
        let mut tried = 0;
        loop {
            let put = Write::put_new(event_item(&self.job, &event, &by, self.ttl)?);
            match self.store.write(put).await {
                Ok(Verdict::Fine) => break,
                Ok(Verdict::Refused(there)) if there.as_ref().and_then(signature).as_ref() == Some(&by) => break,
                Ok(Verdict::Refused(_)) => event.number = self.free_number().await?,
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
        self.tail = event.number;
        Ok(event.number)
    }

    /// The next free number: the tail first, and only then the lease (counterexample 2), or a restart of a newer attempt
    /// could come before an event of ours.
    async fn free_number(&self) -> Result<u64, AppendError> {
        let Some((tail, _)) = self.store.tail(&self.job).await? else { return Err(AppendError::LeaseLost) };
        let lane = self.store.lane(&self.job, &self.fence.lane).await?;
        if lane.is_some_and(|lane| lane.is_held_by(&self.fence.owner, self.fence.epoch)) {
            Ok(tail.number + 1)
        } else {
            Err(AppendError::LeaseLost)
        }
    }
}
