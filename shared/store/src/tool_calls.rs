//! The records of tool calls: finished after they ran and, unless a call changes nothing outside, started before
//! (PROTOCOL: `run_call`).

use domain::{
    time::Timestamp,
    tool_call::{Progress, ToolCall, ToolOutcome},
};

use crate::{
    Held, Store,
    claim::fenced,
    error::{Error, Verdict},
    item::{call_from_item, call_item, s},
    key::{Key, Sort},
    write::Write,
};

/// What became of recording a call's start.
#[derive(Debug, Clone, PartialEq)]
#[must_use]
pub enum StartOutcome {
    /// It is recorded: run it.
    Started,
    /// Somebody recorded something else meanwhile: the call as it is.
    Taken(Box<ToolCall>),
    /// The lease was lost, or the job is over.
    LeaseLost,
}

/// What became of recording a call's end.
#[derive(Debug, Clone, PartialEq)]
#[must_use]
pub enum FinishOutcome {
    /// It is recorded.
    Finished,
    /// Another worker has recorded an end of it: that stands.
    Taken(Box<ToolCall>),
    /// Another worker took the call over.
    Lost,
}

impl Store {
    /// Records that a call is about to run, or to run again: `known` is the record that was read, if there was one.
    ///
    /// # Errors
    /// When the table cannot be written.
    pub async fn start_call(
        &self,
        held: &Held,
        call: &ToolCall,
        known: Option<&ToolCall>,
    ) -> Result<StartOutcome, Error> {
        let item = call_item(held.id(), call, &held.fence.owner, held.ttl())?;
        let record = match known {
            None => Write::put_new(item),
            Some(_) => Write::put(item).when("#progress = :started", [(":started", s("started"))]),
        };
        self.record_call(held, call, record, "s").await
    }

    /// Records that nobody knows how a call ended that somebody else had started.
    ///
    /// # Errors
    /// When the table cannot be written.
    pub async fn mark_call_unknown(&self, held: &Held, call: &ToolCall, now: Timestamp) -> Result<StartOutcome, Error> {
        let unknown =
            ToolCall { progress: Progress::Finished { outcome: ToolOutcome::Unknown, at: now }, ..call.clone() };
        let item = call_item(held.id(), &unknown, &held.fence.owner, held.ttl())?;
        let record = Write::put(item).when("#progress = :started", [(":started", s("started"))]);
        self.record_call(held, call, record, "u").await
    }

    async fn record_call(
        &self,
        held: &Held,
        call: &ToolCall,
        record: Write,
        what: &str,
    ) -> Result<StartOutcome, Error> {
        let lane = fenced(Write::check(Key::of(held.id(), &Sort::Lane(&held.fence.lane))), &held.fence);
        let token = format!("{}-{what}{}", held.fence.owner, call.index);
        match self.transact(&token, vec![lane, record]).await? {
            Ok(()) => Ok(StartOutcome::Started),
            Err(verdicts) => match verdicts.as_slice() {
                [Verdict::Fine, Verdict::Refused(Some(item))] => {
                    let there = call_from_item(item)?;
                    // Our own record, whose answer was lost.
                    let ours = there.by == held.fence.owner && there.call.progress == call.progress;
                    Ok(if ours { StartOutcome::Started } else { StartOutcome::Taken(Box::new(there.call)) })
                }
                _ => Ok(StartOutcome::LeaseLost),
            },
        }
    }

    /// Records how a call ended that we ran. `is_started`: its start is on record, and must still be ours; otherwise the
    /// first end to be recorded stands, whoever of us ran it.
    ///
    /// # Errors
    /// When the table cannot be written.
    pub async fn finish_call(&self, held: &Held, call: &ToolCall, is_started: bool) -> Result<FinishOutcome, Error> {
        let item = call_item(held.id(), call, &held.fence.owner, held.ttl())?;
        let record = if is_started {
            Write::put(item).when(
                "#started_by = :me AND #progress = :started",
                [(":me", s(held.fence.owner.as_str())), (":started", s("started"))],
            )
        } else {
            Write::put_new(item)
        };
        match self.write(record).await? {
            Verdict::Fine => Ok(FinishOutcome::Finished),
            Verdict::Refused(Some(item)) => {
                let there = call_from_item(&item)?;
                // Ours, whose answer was lost: nobody else finishes a call in our name.
                let ours = there.by == held.fence.owner && there.call.progress == call.progress;
                Ok(match there.call.outcome() {
                    _ if ours => FinishOutcome::Finished,
                    Some(_) => FinishOutcome::Taken(Box::new(there.call)),
                    None => FinishOutcome::Lost,
                })
            }
            Verdict::Refused(None) => Ok(FinishOutcome::Lost),
        }
    }
}
