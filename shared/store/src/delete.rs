//! Deleting a job: gone for readers at once, and its items after its leases are over.

use std::{collections::HashMap, time::Duration};

use aws_sdk_dynamodb::types::{AttributeValue, DeleteRequest, WriteRequest};
use domain::{id::JobId, job::Head, time::Timestamp};

use crate::{
    Store,
    error::Error,
    item::{Item, OWES, at, owes_item, s, sort_of, stamped},
    key::{Key, Sort, due_shard},
    list::key_of,
    query::Range,
    write::Write,
};

/// How long the mark of a deleted job stays: longer than any message or viewer that may still ask for it.
const MARK_LIVES: Duration = Duration::from_secs(15 * 24 * 3600);
/// How many items one request may delete.
const BATCH: usize = 25;
/// Pauses before the rest of a batch is tried again.
const BATCH_PAUSE: Duration = Duration::from_millis(50);

/// What became of a deletion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeleteOutcome {
    /// Readers do not see the job any more.
    Deleted,
    /// It is still at work: end it first.
    AtWork,
}

impl Store {
    /// Marks a finished job as deleted. Its items go with [`Store::purge`]: at once when nobody can be at work on it any
    /// more and the event bus knows of its end, else when the sweeper comes by.
    ///
    /// # Errors
    /// When the table cannot be written.
    pub async fn delete(&self, head: &Head, now: Timestamp) -> Result<DeleteOutcome, Error> {
        if !head.status().is_finished() {
            return Ok(DeleteOutcome::AtWork);
        }
        let purge_at = now + self.times.length + self.times.margin;
        // In the head's place: whose the job was, what it was about and how it went goes at once, or as soon as the event bus
        // knows that it has ended.
        let mut mark = Item::from([
            ("deleted".to_owned(), AttributeValue::Bool(true)),
            ("due_at".to_owned(), at(purge_at)),
            ("due_shard".to_owned(), s(due_shard(&head.id))),
        ]);
        let is_owed = head.owed().notification;
        if is_owed {
            mark.insert(OWES.to_owned(), AttributeValue::M(owes_item(head, &self.times)?));
        }
        let mark = Write::put(stamped(Key::of(&head.id, &Sort::Head), now + MARK_LIVES, mark));
        self.write(mark.when("attribute_exists(#pk)", [])).await?;
        let over_for = head.finished_at().map_or(Duration::ZERO, |ended| now.since(ended));
        if over_for > self.times.length && !is_owed {
            self.purge(&head.id).await?;
        }
        Ok(DeleteOutcome::Deleted)
    }

    /// Deletes every item of a job that is marked as deleted, but for the mark.
    ///
    /// # Errors
    /// When the table cannot be written; what is left goes the next time.
    pub async fn purge(&self, job: &JobId) -> Result<(), Error> {
        let range = Range { pk: job.as_str(), from: " ".to_owned(), to: "~".to_owned(), consistent: true };
        let mut start = None;
        loop {
            let (items, next) = self.page(&range, None, false, start).await?;
            self.delete_all(items.iter().filter(|item| sort_of(item) != "head")).await?;
            if next.is_none() {
                break;
            }
            start = next;
        }
        let done = Write::update(Key::of(job, &Sort::Head), "REMOVE #due_at, #due_shard, #owes", []);
        self.write(done.when("attribute_exists(#deleted)", [])).await.map(drop)
    }

    async fn delete_all(&self, items: impl Iterator<Item = &Item>) -> Result<(), Error> {
        let requests: Vec<WriteRequest> = items
            .filter_map(|item| DeleteRequest::builder().set_key(key_of(item)).build().ok())
            .map(|delete| WriteRequest::builder().delete_request(delete).build())
            .collect();
        for batch in requests.chunks(BATCH) {
            let mut left = HashMap::from([(self.table.clone(), batch.to_vec())]);
            while !left.is_empty() {
                let answer = self.client.batch_write_item().set_request_items(Some(left)).send().await;
                left = answer.map_err(Error::from_sdk)?.unprocessed_items.unwrap_or_default();
                if !left.is_empty() {
                    tokio::time::sleep(BATCH_PAUSE).await;
                }
            }
        }
        Ok(())
    }
}
