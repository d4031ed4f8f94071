//! Items and what they stand for. Conversions only: no requests.
//!
//! Heads and lanes are written attribute by attribute, since conditions and indexes look at them. What is only read as a
//! whole (a request, an answer, a call, an event) is JSON text in one attribute: `d`, or compressed in `z`.

mod call;
mod event;
mod head;
mod input;
mod lane;
mod payload;

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use domain::time::Timestamp;

pub use self::event::{MOST_EVENTS, events_from_item, events_item};
pub(crate) use self::{
    call::{call_from_item, call_item},
    event::signature,
    head::{OWES, head_from_item, head_item, is_deleted, owes_from_mark, owes_item, state_word},
    input::{input_from_item, input_item, message_item},
    lane::{lane_from_item, lane_item},
    payload::{Payload, Unpacked, join, unpack},
};
use crate::{
    error::Error,
    key::{Key, PK, SK},
};

/// An item as the SDK has it.
pub type Item = HashMap<String, AttributeValue>;

/// The format of every item that this release writes, except where its module says otherwise. Rises when an older release
/// could not read what is written.
pub(crate) const FORMAT: u32 = 1;
/// The newest format that this release reads.
const NEWEST: u32 = 2;

/// Attribute: the format of the item.
const VERSION: &str = "v";
/// Attribute: when the table may forget the item, in seconds since 1970.
pub(crate) const TTL: &str = "ttl";

pub(crate) fn s(text: impl Into<String>) -> AttributeValue {
    AttributeValue::S(text.into())
}

pub(crate) fn n(number: impl ToString) -> AttributeValue {
    AttributeValue::N(number.to_string())
}

/// A moment, as text that sorts as time does.
pub(crate) fn at(moment: Timestamp) -> AttributeValue {
    s(moment.to_string())
}

/// The item's key, format and end of life.
pub(crate) fn stamped(key: Key, ttl: Timestamp, mut item: Item) -> Item {
    item.insert(VERSION.to_owned(), n(FORMAT));
    item.insert(TTL.to_owned(), n(ttl.as_seconds()));
    item.extend(key.into_item());
    item
}

/// The item's key and format; it is kept until somebody removes it.
pub(crate) fn kept(key: Key, mut item: Item) -> Item {
    item.insert(VERSION.to_owned(), n(FORMAT));
    item.extend(key.into_item());
    item
}

/// The range key of an item.
pub(crate) fn sort_of(item: &Item) -> &str {
    text(item, SK).unwrap_or_default()
}

/// The hash key of an item.
pub(crate) fn partition_of(item: &Item) -> &str {
    text(item, PK).unwrap_or_default()
}

pub(crate) fn text<'a>(item: &'a Item, name: &str) -> Option<&'a str> {
    item.get(name)?.as_s().ok().map(String::as_str)
}

pub(crate) fn number<T: std::str::FromStr>(item: &Item, name: &str) -> Option<T> {
    item.get(name)?.as_n().ok()?.parse().ok()
}

/// Where an item is, for error messages.
pub(crate) fn place(item: &Item) -> String {
    format!("{}/{}", partition_of(item), sort_of(item))
}

/// Whether this release can read the item.
pub(crate) fn check_format(item: &Item) -> Result<(), Error> {
    match number::<u32>(item, VERSION) {
        Some(1..=NEWEST) => Ok(()),
        Some(newer) => Err(Error::corrupt(place(item), format!("its format {newer} is newer than this release"))),
        None => Err(Error::corrupt(place(item), "it has no format")),
    }
}

/// Attributes that are null are left out: an index has no place for them, and conditions ask whether they exist.
pub(crate) fn without_nulls(mut item: Item) -> Item {
    item.retain(|_, value| !value.is_null());
    item
}
