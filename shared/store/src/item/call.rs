//! A tool call: who runs it and whether it ended as attributes, since conditions look at them; the rest packed.

use domain::{
    id::{JobId, WriterId},
    time::Timestamp,
    tool_call::{Progress, ToolCall},
};

use super::{Item, Payload, Unpacked, place, s, stamped, text, unpack};
use crate::{
    error::Error,
    key::{Key, Sort},
};

/// A call as it was read, with the writer that started it last: it alone may record its end.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct CallItem {
    pub(crate) call: ToolCall,
    pub(crate) by: WriterId,
}

/// The call as an item; `by` runs it, or ran it.
pub(crate) fn call_item(job: &JobId, call: &ToolCall, by: &WriterId, ttl: Timestamp) -> Result<Item, Error> {
    let key = Key::of(job, &Sort::Call(&call.lane, call.turn, call.index));
    // Arguments and a result are limited to 320 KB together, so that one item holds them.
    let (mut item, parts) = Payload::pack(call)?.into_items();
    if !parts.is_empty() {
        return Err(Error::corrupt(job.as_str(), "the tool call is too large"));
    }
    let word = match call.progress {
        Progress::Started { .. } => "started",
        Progress::Finished { .. } => "finished",
    };
    item.insert("progress".to_owned(), s(word));
    item.insert("started_by".to_owned(), s(by.as_str()));
    Ok(stamped(key, ttl, item))
}

/// The call in an item.
pub(crate) fn call_from_item(item: &Item) -> Result<CallItem, Error> {
    let Unpacked::Whole(call) = unpack::<ToolCall>(item)? else {
        return Err(Error::corrupt(place(item), "a call has no parts"));
    };
    let by = text(item, "started_by").and_then(|by| by.parse().ok());
    Ok(CallItem { call, by: by.ok_or_else(|| Error::corrupt(place(item), "nobody started it"))? })
}
