//! A question and a message for a job: packed, with what conditions look at beside it.

use aws_sdk_dynamodb::types::AttributeValue;
use domain::{id::JobId, inbox::InboxMessage, input_request::InputRequest, time::Timestamp};
use serde::{Serialize, de::DeserializeOwned};

use super::{Item, Payload, Unpacked, place, stamped, unpack};
use crate::{
    error::Error,
    key::{Key, Sort},
};

/// The question as an item.
pub(crate) fn input_item(job: &JobId, request: &InputRequest, ttl: Timestamp) -> Result<Item, Error> {
    let mut item = packed(job, request)?;
    item.insert("answered".to_owned(), AttributeValue::Bool(!request.is_open()));
    Ok(stamped(Key::of(job, &Sort::Input(&request.id)), ttl, item))
}

/// The message as an item.
pub(crate) fn message_item(job: &JobId, message: &InboxMessage, ttl: Timestamp) -> Result<Item, Error> {
    Ok(stamped(Key::of(job, &Sort::Message(&message.id)), ttl, packed(job, message)?))
}

/// What is asked and said is limited, so that one item holds it.
fn packed(job: &JobId, value: &impl Serialize) -> Result<Item, Error> {
    let (item, parts) = Payload::pack(value)?.into_items();
    if parts.is_empty() { Ok(item) } else { Err(Error::corrupt(job.as_str(), "what came in is too large")) }
}

/// The question, or the message, in an item.
pub(crate) fn input_from_item<T: DeserializeOwned>(item: &Item) -> Result<T, Error> {
    match unpack(item)? {
        Unpacked::Whole(value) => Ok(value),
        Unpacked::Parts(_) => Err(Error::corrupt(place(item), "it has no parts")),
    }
}
