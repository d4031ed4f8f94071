//! An entry of the log: its origin and its writer's signature as attributes, its body as JSON.

use domain::{
    event::{Event, Origin, Signature},
    id::JobId,
    time::Timestamp,
};

use super::{Item, at, check_format, n, number, place, s, sort_of, stamped, text};
use crate::{
    error::Error,
    key::{Key, Sort, event_number},
};

/// The event as an item that lives until `ttl`.
pub(crate) fn event_item(job: &JobId, event: &Event, by: &Signature, ttl: Timestamp) -> Result<Item, Error> {
    let key = Key::of(job, &Sort::Event(event.number));
    let body = serde_json::to_string(&event.body).map_err(|error| Error::corrupt(job.as_str(), error))?;
    let mut item = Item::from([
        ("at".to_owned(), at(event.at)),
        ("d".to_owned(), s(body)),
        ("w".to_owned(), s(by.writer.as_str())),
        ("k".to_owned(), n(by.count)),
    ]);
    if let Some(origin) = &event.origin {
        item.insert("lane".to_owned(), s(origin.lane.as_str()));
        item.insert("turn".to_owned(), n(origin.turn));
        item.insert("attempt".to_owned(), n(origin.attempt));
        if let Some(node) = &origin.node_id {
            item.insert("node".to_owned(), s(node.as_str()));
        }
    }
    Ok(stamped(key, ttl, item))
}

/// The event in an item.
pub(crate) fn event_from_item(item: &Item) -> Result<Event, Error> {
    check_format(item)?;
    let missing = |what: &str| Error::corrupt(place(item), format!("`{what}` is missing or wrong"));
    let number_in_log = event_number(sort_of(item)).ok_or_else(|| missing("sk"))?;
    let at = text(item, "at").and_then(|at| at.parse().ok()).ok_or_else(|| missing("at"))?;
    let origin = match text(item, "lane") {
        None => None,
        Some(lane) => Some(Origin {
            lane: lane.parse().map_err(|_| missing("lane"))?,
            turn: number(item, "turn").ok_or_else(|| missing("turn"))?,
            attempt: number(item, "attempt").ok_or_else(|| missing("attempt"))?,
            node_id: text(item, "node").map(str::to_owned),
        }),
    };
    let body = serde_json::from_str(text(item, "d").ok_or_else(|| missing("d"))?)
        .map_err(|error| Error::corrupt(place(item), error))?;
    Ok(Event { number: number_in_log, at, origin, body })
}

/// Who wrote the event in an item.
pub(crate) fn signature(item: &Item) -> Option<Signature> {
    Some(Signature { writer: text(item, "w")?.parse().ok()?, count: number(item, "k")? })
}
