//! Values that are read as a whole: JSON, compressed when that saves write units, split over items when one cannot hold
//! it.

use std::{
    cell::RefCell,
    io::{Read as _, Write as _},
};

use aws_sdk_dynamodb::{primitives::Blob, types::AttributeValue};
use flate2::{Compression, read::ZlibDecoder, write::ZlibEncoder};
use serde::{Serialize, de::DeserializeOwned};

use super::{Item, place, s, text};
use crate::error::Error;

/// A write unit is a kilobyte: below it, compressing saves nothing.
pub(super) const WORTH_COMPRESSING: usize = 1024;
/// An item may have 400 KB; this leaves room for its other attributes.
const PART_BYTES: usize = 350 * 1024;
/// What is unpacked at most: more than any limit of ours lets in.
const LONGEST_UNPACKED: u64 = 64 * 1024 * 1024;

/// A value, packed.
#[derive(Debug)]
pub(crate) struct Payload {
    bytes: Packed,
}

#[derive(Debug)]
enum Packed {
    Plain(String),
    Compressed(Vec<u8>),
}

/// A value as it was found: whole in one item, or the number of its parts.
pub(crate) enum Unpacked<T> {
    Whole(T),
    Parts(u32),
}

impl Payload {
    /// Packs a value.
    pub(crate) fn pack(value: &impl Serialize) -> Result<Self, Error> {
        let json = serde_json::to_string(value).map_err(|error| Error::corrupt("a new item", error))?;
        if json.len() <= WORTH_COMPRESSING {
            return Ok(Self { bytes: Packed::Plain(json) });
        }
        let compressed = deflate(json.as_bytes()).map_err(|error| Error::corrupt("a new item", error))?;
        Ok(Self { bytes: Packed::Compressed(compressed) })
    }

    /// The attributes of the one item, or those of the first item and the parts that follow it.
    pub(crate) fn into_items(self) -> (Item, Vec<Item>) {
        match self.bytes {
            Packed::Plain(json) => (Item::from([("d".to_owned(), s(json))]), vec![]),
            Packed::Compressed(bytes) if bytes.len() <= PART_BYTES => (binary(bytes), vec![]),
            Packed::Compressed(bytes) => {
                let parts: Vec<Item> = bytes.chunks(PART_BYTES).map(|chunk| binary(chunk.to_vec())).collect();
                (Item::from([("parts".to_owned(), super::n(parts.len()))]), parts)
            }
        }
    }
}

fn binary(bytes: Vec<u8>) -> Item {
    Item::from([("z".to_owned(), AttributeValue::B(Blob::new(bytes)))])
}

/// The value in an item, or how many parts it has.
pub(crate) fn unpack<T: DeserializeOwned>(item: &Item) -> Result<Unpacked<T>, Error> {
    super::check_format(item)?;
    if let Some(parts) = super::number(item, "parts") {
        return Ok(Unpacked::Parts(parts));
    }
    if let Some(json) = text(item, "d") {
        return serde_json::from_str(json).map(Unpacked::Whole).map_err(|error| Error::corrupt(place(item), error));
    }
    inflate(compressed(item)?, &place(item)).map(Unpacked::Whole)
}

/// The value in parts, in order.
pub(crate) fn join<'a, T: DeserializeOwned>(
    parts: impl IntoIterator<Item = &'a Item>,
    place: &str,
) -> Result<T, Error> {
    let mut bytes = Vec::new();
    for part in parts {
        bytes.extend_from_slice(compressed(part)?);
    }
    inflate(&bytes, place)
}

fn compressed(item: &Item) -> Result<&[u8], Error> {
    match item.get("z") {
        Some(AttributeValue::B(bytes)) => Ok(bytes.as_ref()),
        _ => Err(Error::corrupt(place(item), "it holds nothing")),
    }
}

/// A thread's values go through one compressor: making it is half of what compressing a few kilobytes costs.
fn deflate(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    thread_local! {
        static ENCODER: RefCell<ZlibEncoder<Vec<u8>>> = RefCell::new(ZlibEncoder::new(vec![], Compression::fast()));
    }
    ENCODER.with_borrow_mut(|encoder| {
        encoder.write_all(bytes)?;
        encoder.reset(vec![])
    })
}

fn inflate<T: DeserializeOwned>(bytes: &[u8], place: &str) -> Result<T, Error> {
    let mut json = Vec::new();
    let read = ZlibDecoder::new(bytes).take(LONGEST_UNPACKED).read_to_end(&mut json);
    read.map_err(|error| Error::corrupt(place, error))?;
    serde_json::from_slice(&json).map_err(|error| Error::corrupt(place, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn there_and_back(value: &String) -> (usize, String) {
        let (mut item, parts) = Payload::pack(value).unwrap().into_items();
        item.insert("v".to_owned(), super::super::n(1));
        let back = match unpack(&item).unwrap() {
            Unpacked::Whole(value) => value,
            Unpacked::Parts(n) => {
                assert_eq!(n as usize, parts.len());
                join(&parts, "here").unwrap()
            }
        };
        (parts.len(), back)
    }

    #[test]
    fn values_of_every_size_come_back_whole() {
        let noise: String = (0u32..400_000)
            .scan(1u32, |x, _| {
                *x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                char::from_u32(0x21 + (*x >> 16) % 90)
            })
            .collect();
        for (value, parts) in [(String::new(), 0), ("é".repeat(100_000), 0), (noise.repeat(3), 3)] {
            let (n, back) = there_and_back(&value);
            assert_eq!(back, value);
            assert!(n == 0 || n >= 2, "{n} parts, expected about {parts}");
            assert_eq!(n > 0, parts > 0);
        }
    }
}
