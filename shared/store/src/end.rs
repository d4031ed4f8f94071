//! Ending a job from any side, and what is owed after its end (PROTOCOL: `finish`, `settle`).

use domain::{
    event::{Event, EventBody, JobSummary, Signature, cut},
    id::{JobId, LaneName, WriterId},
    job::{Command, Ending, Head, Rejected, State, after},
    lane::Fence,
    limits::EVENT_OUTPUT_BYTES,
    replay::Replay,
    time::Timestamp,
    turn::totals,
};

use crate::{
    Store,
    claim::fenced,
    error::{Error, Verdict},
    item::{head_from_item, head_item, n, s, state_word},
    items_ttl,
    key::{Key, Sort},
    log::put_events,
    read::Record,
    workflow::closing,
    write::Write,
};

/// How often an end is tried anew because the job changed meanwhile.
const TRIES: u32 = 8;

/// What became of ending a job.
#[derive(Debug, Clone, PartialEq)]
#[must_use]
pub enum EndOutcome {
    /// It is over now; this is its head. What it owes is still to be settled.
    Ended(Box<Head>),
    /// It was over already, and stays as it was.
    Already(Box<Head>),
    /// The lease under which it was to be ended was lost.
    LeaseLost,
    /// There is no such job.
    Gone,
}

impl Store {
    /// Ends a job: its owner cancels it, its time is up, or (under `fence`) its worker cannot go on. Closes every lane,
    /// so that nothing of the job goes on; puts the terminal event, or records it as owed when somebody is writing to
    /// the log just now. `by` signs the event: a fresh name.
    ///
    /// # Errors
    /// When the table cannot be written; whether the job is over is not known.
    pub async fn end(
        &self,
        job: &JobId,
        ending: Ending,
        fence: Option<&Fence>,
        by: &WriterId,
        now: Timestamp,
    ) -> Result<EndOutcome, Error> {
        let mut tell = true;
        for tried in 0..TRIES {
            let Some(record) = self.whole(job).await? else { return Ok(EndOutcome::Gone) };
            let command = match fence {
                Some(fence) => Command::Fail { fence: fence.clone(), ending: ending.clone() },
                None => Command::End { ending: ending.clone() },
            };
            let mut after = match after(&record.job(), &command, now, &self.times) {
                Ok(after) => after.head,
                Err(Rejected::Finished(_)) => return Ok(EndOutcome::Already(Box::new(record.head))),
                Err(_) => return Ok(EndOutcome::LeaseLost),
            };
            (after.usage, after.metrics) = totals(&record.head, record.lanes.values(), &record.turns, now);
            after.metrics.requests += self.asked.so_far();
            if let State::Finished { owed, .. } = &mut after.state {
                owed.terminal = !tell;
            }
            let mut writes = self.end_writes(&record, &after, fence)?;
            if tell {
                let event = Event {
                    number: record.last_event() + 1,
                    at: now,
                    origin: None,
                    body: terminal_event(&after, &record),
                };
                let by = Signature { writer: by.clone(), count: 1 };
                writes.push(put_events(job, &[event], &by, items_ttl(&record.head))?);
            }
            let token = format!("{by}-{tried}");
            let Err(verdicts) = self.transact(&token, writes).await? else {
                return Ok(EndOutcome::Ended(Box::new(after)));
            };
            if let Some(Verdict::Refused(Some(item))) = verdicts.first() {
                let there = head_from_item(item.clone())?;
                if there.status().is_finished() {
                    return Ok(EndOutcome::Already(Box::new(there)));
                }
            }
            // Somebody is streaming: the event is owed, not raced for.
            if tell && matches!(verdicts.last(), Some(Verdict::Refused(_))) {
                tell = false;
            }
        }
        Err(Error::Contended)
    }

    fn end_writes(&self, record: &Record, after: &Head, fence: Option<&Fence>) -> Result<Vec<Write>, Error> {
        let job = &record.head.id;
        let key = Key::of(job, &Sort::Head);
        let head = Write::change(key, &head_item(&record.head, &self.times)?, &head_item(after, &self.times)?).when(
            "#state = :state AND #lanes_version = :lanes",
            [(":state", s(state_word(&record.head.state))), (":lanes", n(record.head.lanes_version))],
        );
        let mut writes = vec![head, self.leave(&after.user, job)];
        for lane in record.lanes.values().filter(|lane| lane.open) {
            let closed = closing(job, &lane.name);
            writes.push(match fence.filter(|fence| fence.lane == lane.name) {
                Some(fence) => fenced(closed, fence),
                None => closed.when("attribute_exists(#pk)", []),
            });
        }
        Ok(writes)
    }

    /// Puts a finished job's terminal event into its log if it is not there. Anyone may, any number of times.
    ///
    /// # Errors
    /// When the table cannot be read or written.
    pub async fn write_terminal(&self, job: &JobId, by: &WriterId, now: Timestamp) -> Result<(), Error> {
        for _ in 0..TRIES {
            let Some((tail, head)) = self.tail(job).await? else { return Ok(()) };
            if tail.is_terminal || !head.status().is_finished() {
                return Ok(());
            }
            let Some(record) = self.whole(job).await? else { return Ok(()) };
            if record.last_event() != tail.number {
                continue;
            }
            let event = Event { number: tail.number + 1, at: now, origin: None, body: terminal_event(&head, &record) };
            let by = Signature { writer: by.clone(), count: 1 };
            let put = put_events(job, &[event], &by, items_ttl(&head))?;
            if self.write(put).await? == Verdict::Fine {
                return Ok(());
            }
        }
        Err(Error::Contended)
    }

    /// Notes that nothing is owed any more about a finished job: its log has its end, the event bus was told. `true` for
    /// one of those who say so, and once for a job.
    ///
    /// # Errors
    /// When the table cannot be written.
    pub async fn settled(&self, head: &Head) -> Result<bool, Error> {
        let settled = Write::update(
            Key::of(&head.id, &Sort::Head),
            "SET #owed = :nothing REMOVE #due_at, #due_shard",
            [(
                ":nothing",
                aws_sdk_dynamodb::types::AttributeValue::M(
                    [("terminal", false), ("notification", false)]
                        .map(|(name, owed)| (name.to_owned(), aws_sdk_dynamodb::types::AttributeValue::Bool(owed)))
                        .into(),
                ),
            )],
        );
        let owing = settled.when(
            "#state = :finished AND attribute_not_exists(#deleted) AND #owed.#notification = :owing",
            [(":finished", s("finished")), (":owing", aws_sdk_dynamodb::types::AttributeValue::Bool(true))],
        );
        Ok(self.write(owing).await? == Verdict::Fine)
    }
}

/// The last event of a job that ended as `head` says, whose log so far is the record's.
fn terminal_event(head: &Head, record: &Record) -> EventBody {
    let replay = Replay::of(&record.events);
    last_event(head, record.output.as_deref().unwrap_or_else(|| replay.text(&LaneName::main())))
}

/// The last event of a job that ended as `head` says, with this output.
pub(crate) fn last_event(head: &Head, output: &str) -> EventBody {
    let (output, output_truncated) = cut(output, EVENT_OUTPUT_BYTES);
    let ending = head.ending().cloned().unwrap_or(Ending::Cancelled);
    let summary = JobSummary {
        status: ending.status(),
        finish_reason: ending.reason(),
        output,
        output_truncated,
        usage: head.usage,
        metrics: head.metrics,
        error: ending.error().cloned(),
    };
    summary.into_event()
}
