//! The write hint: who waits for a job's events is told of them at once, instead of finding them at the next poll.
//!
//! Only a hint. With it cut, everything still happens, a little later.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use dynoxide::AttributeValue;
use dynoxide::actions::batch_write_item::BatchWriteItemRequest;
use dynoxide::actions::put_item::PutItemRequest;
use dynoxide::actions::transact_write_items::{TransactWriteItem, TransactWriteItemsRequest};
use store::Item;

use super::direct;

/// Called with the partition key of an item that was written, and the item.
pub type WriteHint = Arc<dyn Fn(&str, &Arc<Item>) + Send + Sync>;

/// The items, worth a hint, that one request puts, and their partitions.
pub(super) type Written = Vec<(String, Arc<Item>)>;

#[derive(Clone, Default)]
pub(super) struct Hints {
    wanted: Arc<AtomicBool>,
    callbacks: Arc<RwLock<Vec<WriteHint>>>,
}

impl Hints {
    pub(super) fn add(&self, hint: WriteHint) {
        self.callbacks.write().unwrap_or_else(PoisonError::into_inner).push(hint);
        self.wanted.store(true, Ordering::Release);
    }

    pub(super) fn wanted(&self) -> bool {
        self.wanted.load(Ordering::Acquire)
    }

    pub(super) fn tell(&self, written: &Written) {
        if written.is_empty() {
            return;
        }
        let callbacks = self.callbacks.read().unwrap_or_else(PoisonError::into_inner);
        for (partition, item) in written {
            for callback in callbacks.iter() {
                callback(partition, item);
            }
        }
    }
}

pub(super) fn put(request: &PutItemRequest, written: &mut Written) {
    note(&request.item, written);
}

pub(super) fn transaction(request: &TransactWriteItemsRequest, written: &mut Written) {
    items(&request.transact_items, written);
}

pub(super) fn items(items: &[TransactWriteItem], written: &mut Written) {
    for item in items {
        if let Some(put) = &item.put {
            note(&put.item, written);
        }
    }
}

pub(super) fn batch(request: &BatchWriteItemRequest, written: &mut Written) {
    for write in request.request_items.values().flatten() {
        if let Some(put) = &write.put_request {
            note(&put.item, written);
        }
    }
}

pub(super) fn none<Q>(_request: &Q, _written: &mut Written) {}

fn note(item: &HashMap<String, AttributeValue>, written: &mut Written) {
    if let (Some(AttributeValue::S(pk)), Some(AttributeValue::S(sk))) = (item.get("pk"), item.get("sk"))
        && sk.starts_with("event#")
    {
        written.push((pk.clone(), Arc::new(direct::out(item.clone()))));
    }
}
