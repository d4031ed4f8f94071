//! Entries of the log: origin and writer's signature as attributes, the bodies packed. Neighbouring events that one writer
//! puts at once are one item, named after the first.

use std::borrow::Cow;

use domain::{
    event::{Event, EventBody, Origin, Signature},
    id::JobId,
    time::Timestamp,
};
use serde::{Deserialize, Serialize};

use super::{
    Item, Payload, Unpacked, VERSION, at, check_format, n, number, payload::WORTH_COMPRESSING, place, s, sort_of,
    stamped, text, unpack,
};
use crate::{
    error::Error,
    key::{Key, Sort, event_number},
};

/// Most events in one item of the log. Whoever reads on from the middle of a log begins this many less one before its cursor.
pub const MOST_EVENTS: usize = 8;
/// The format of an item with several events, or a long one. A short event alone is written as releases before wrote it:
/// its body in `d`, its time beside it.
const PACKED: u32 = 2;

/// An event among those of a packed item.
#[derive(Serialize, Deserialize)]
struct Entry<'a> {
    at: Timestamp,
    /// Whether it is the job's own, and not of the turn that the item's origin names.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    of_job: bool,
    d: Cow<'a, EventBody>,
}

/// Neighbouring events, at most [`MOST_EVENTS`], as an item that lives until `ttl`. All have the first one's origin, or
/// none.
///
/// # Errors
/// When there is none, or they do not fit into an item.
pub fn events_item(job: &JobId, events: &[Event], by: &Signature, ttl: Timestamp) -> Result<Item, Error> {
    let json = |error| Error::corrupt(job.as_str(), error);
    let Some((first, further)) = events.split_first() else { return Err(Error::corrupt(job.as_str(), "no event")) };
    let key = Key::of(job, &Sort::Event(first.number));
    let mut item = Item::from([("w".to_owned(), s(by.writer.as_str())), ("k".to_owned(), n(by.count))]);
    if let Some(origin) = &first.origin {
        item.insert("lane".to_owned(), s(origin.lane.as_str()));
        item.insert("turn".to_owned(), n(origin.turn));
        item.insert("attempt".to_owned(), n(origin.attempt));
        if let Some(node) = &origin.node_id {
            item.insert("node".to_owned(), s(node.as_str()));
        }
    }
    let mut item = stamped(key, ttl, item);
    let body = serde_json::to_string(&first.body).map_err(json)?;
    if !further.is_empty() || body.len() > WORTH_COMPRESSING {
        let entries: Vec<Entry<'_>> = events
            .iter()
            .map(|event| Entry { at: event.at, of_job: event.origin.is_none(), d: Cow::Borrowed(&event.body) })
            .collect();
        let (packed, parts) = Payload::pack(&entries)?.into_items();
        // One that is too long for an item even when it is compressed may still fit as it is.
        if parts.is_empty() {
            item.extend(packed);
            item.insert(VERSION.to_owned(), n(PACKED));
            return Ok(item);
        }
        if !further.is_empty() {
            return Err(Error::corrupt(job.as_str(), "so many long events do not fit into one item"));
        }
    }
    item.insert("at".to_owned(), at(first.at));
    item.insert("d".to_owned(), s(body));
    Ok(item)
}

/// The events in an item, in order.
///
/// # Errors
/// When it is not an item of events.
pub fn events_from_item(item: &Item) -> Result<Vec<Event>, Error> {
    check_format(item)?;
    let missing = |what: &str| Error::corrupt(place(item), format!("`{what}` is missing or wrong"));
    let first = event_number(sort_of(item)).ok_or_else(|| missing("sk"))?;
    let origin = match text(item, "lane") {
        None => None,
        Some(lane) => Some(Origin {
            lane: lane.parse().map_err(|_| missing("lane"))?,
            turn: number(item, "turn").ok_or_else(|| missing("turn"))?,
            attempt: number(item, "attempt").ok_or_else(|| missing("attempt"))?,
            node_id: text(item, "node").map(str::to_owned),
        }),
    };
    if number(item, VERSION) == Some(PACKED) {
        let Unpacked::Whole(entries) = unpack::<Vec<Entry<'_>>>(item)? else { return Err(missing("z")) };
        let event = |(number, entry): (u64, Entry<'_>)| Event {
            number,
            at: entry.at,
            origin: origin.clone().filter(|_| !entry.of_job),
            body: entry.d.into_owned(),
        };
        return Ok((first..).zip(entries).map(event).collect());
    }
    let at = text(item, "at").and_then(|at| at.parse().ok()).ok_or_else(|| missing("at"))?;
    let body = serde_json::from_str(text(item, "d").ok_or_else(|| missing("d"))?);
    let body = body.map_err(|error| Error::corrupt(place(item), error))?;
    Ok(vec![Event { number: first, at, origin, body }])
}

/// Who wrote the events in an item.
pub(crate) fn signature(item: &Item) -> Option<Signature> {
    Some(Signature { writer: text(item, "w")?.parse().ok()?, count: number(item, "k")? })
}

#[cfg(test)]
mod tests {
    use domain::{event::JobState, id::LaneName, job::Status};

    use super::*;

    #[test]
    fn several_events_come_back_as_they_were_put() {
        let job: JobId = "job_01JDA7Q3W5T8Z2K4M6N8P0R1S3".parse().unwrap();
        let origin = Origin { lane: LaneName::main(), turn: 2, attempt: 1, node_id: Some("n".to_owned()) };
        let event = |number, origin, body| Event { number, at: Timestamp::from_millis(number as i64), origin, body };
        let events = [
            event(7, Some(origin.clone()), EventBody::TurnStarted { model: "m".into() }),
            event(8, Some(origin), EventBody::OutputDelta { text: "\u{e9}\"".into() }),
            event(9, None, EventBody::JobRunning(JobState { status: Status::Running })),
        ];
        let by = Signature { writer: "w".parse().unwrap(), count: 3 };
        for n in 1..=events.len() {
            let item = events_item(&job, &events[..n], &by, Timestamp::from_millis(9000)).unwrap();
            assert_eq!(events_from_item(&item).unwrap(), events[..n]);
            assert_eq!(signature(&item), Some(by.clone()));
            assert_eq!(number::<u32>(&item, VERSION), Some(if n == 1 { 1 } else { 2 }));
        }
    }

    #[test]
    fn long_events_are_compressed() {
        let job: JobId = "job_01JDA7Q3W5T8Z2K4M6N8P0R1S3".parse().unwrap();
        let by = Signature { writer: "w".parse().unwrap(), count: 1 };
        for n_bytes in [100, 10_000] {
            let body = EventBody::OutputDelta { text: "word ".repeat(n_bytes / 5) };
            let event = Event { number: 1, at: Timestamp::MIN, origin: None, body };
            let item = events_item(&job, std::slice::from_ref(&event), &by, Timestamp::from_millis(9000)).unwrap();
            assert_eq!(item.contains_key("z"), n_bytes > 1000);
            assert_eq!(events_from_item(&item).unwrap(), [event]);
        }
    }

    /// Never fewer than were handed in.
    #[test]
    fn several_events_that_one_item_cannot_hold_are_refused() {
        let job: JobId = "job_01JDA7Q3W5T8Z2K4M6N8P0R1S3".parse().unwrap();
        let by = Signature { writer: "w".parse().unwrap(), count: 1 };
        let mut state = 1_u32;
        let mut noise = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            char::from_u32(0x23 + (state >> 16) % 57).unwrap()
        };
        let text: String = (0..250_000).map(|_| noise()).collect();
        let event = |number| {
            let body = EventBody::OutputDelta { text: text.chars().rev().skip(number as usize).collect() };
            Event { number, at: Timestamp::MIN, origin: None, body }
        };
        let events = [event(1), event(2), event(3)];
        let refused = events_item(&job, &events, &by, Timestamp::from_millis(9000));
        // The same noise again compresses only where the compressor still sees it: it does not.
        assert!(refused.unwrap_err().to_string().contains("do not fit"));
    }
}
