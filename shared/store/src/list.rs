//! A user's jobs, newest first, by the indexes. Nothing here scans.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::{AttributeValue, KeysAndAttributes};
use domain::{
    id::{JobId, MessageId, ThreadId, UserId},
    job::{Head, Status},
    time::Timestamp,
};

use crate::{
    Store,
    error::Error,
    item::{Item, head_from_item, is_deleted, partition_of, s},
    key::{Key, PK, SK, Sort, user_message, user_status, user_thread},
    schema::Index,
};

/// How many keys one request may ask for.
const BATCH: usize = 100;

/// Which of a user's jobs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JobFilter {
    /// Those of this thread.
    pub thread: Option<ThreadId>,
    /// Those that answer this message.
    pub message: Option<MessageId>,
    /// Those of this status.
    pub status: Option<Status>,
}

/// Some of them.
#[derive(Debug, Clone, PartialEq)]
pub struct JobPage {
    /// Newest first.
    pub heads: Vec<Head>,
    /// The job after which the next page begins, if there may be more.
    pub next: Option<JobId>,
}

impl JobFilter {
    /// The narrowest index that holds them, and its key.
    fn index(&self, user: &UserId) -> (Index, String) {
        match (&self.message, &self.thread, self.status) {
            (Some(message), _, _) => (Index::ByUserMessage, user_message(user, message)),
            (None, Some(thread), _) => (Index::ByUserThread, user_thread(user, thread)),
            (None, None, Some(status)) => (Index::ByUserStatus, user_status(user, status)),
            (None, None, None) => (Index::ByUser, user.to_string()),
        }
    }

    fn takes(&self, head: &Head) -> bool {
        let same = |wanted: Option<&str>, is: Option<&str>| wanted.is_none() || wanted == is;
        same(self.thread.as_ref().map(ThreadId::as_str), head.thread.as_ref().map(ThreadId::as_str))
            && same(self.message.as_ref().map(MessageId::as_str), head.message.as_ref().map(MessageId::as_str))
            && self.status.is_none_or(|status| status == head.status())
    }
}

impl Store {
    /// A page of a user's jobs, those created before `after` when it is given. What is no longer kept at `now` is not
    /// among them, however late the table forgets it.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub async fn list(
        &self,
        user: &UserId,
        filter: &JobFilter,
        limit: usize,
        after: Option<&JobId>,
        now: Timestamp,
    ) -> Result<JobPage, Error> {
        let (index, key) = filter.index(user);
        let is_shown = |head: &Head| head.user == *user && head.expires_at > now && filter.takes(head);
        let mut heads: Vec<Head> = Vec::new();
        let mut after = after.cloned();
        loop {
            let (ids, more) = self.index_page(index, &key, limit, after.as_ref()).await?;
            let mut found = self.heads(&ids).await?;
            for id in &ids {
                after = Some(id.clone());
                // The index lags behind: what it says is checked against the head.
                if let Some(head) = found.remove(id).filter(is_shown) {
                    heads.push(head);
                    if heads.len() == limit {
                        let next = (more || ids.last() != Some(id)).then(|| id.clone());
                        return Ok(JobPage { heads, next });
                    }
                }
            }
            if !more {
                return Ok(JobPage { heads, next: None });
            }
        }
    }

    async fn index_page(
        &self,
        index: Index,
        key: &str,
        limit: usize,
        after: Option<&JobId>,
    ) -> Result<(Vec<JobId>, bool), Error> {
        let start: Option<Item> = after.map(|job| {
            let mut start = Key::of(job, &Sort::Head).into_item();
            start.insert(index.hash().to_owned(), s(key));
            start
        });
        let answer = self
            .client
            .query()
            .table_name(&self.table)
            .index_name(index.name())
            .key_condition_expression("#key = :key")
            .expression_attribute_names("#key", index.hash())
            .expression_attribute_values(":key", s(key))
            .scan_index_forward(false)
            .limit(i32::try_from(limit.min(BATCH)).unwrap_or(1))
            .set_exclusive_start_key(start)
            .send()
            .await
            .map_err(Error::from_sdk)?;
        let more = answer.last_evaluated_key.is_some_and(|key| !key.is_empty());
        let ids = answer.items.unwrap_or_default().iter().filter_map(|item| partition_of(item).parse().ok()).collect();
        Ok((ids, more))
    }

    /// The heads of these jobs (at most 100), those that exist.
    async fn heads(&self, jobs: &[JobId]) -> Result<HashMap<JobId, Head>, Error> {
        let mut heads = HashMap::new();
        let mut wanted: Vec<Item> = jobs.iter().map(|job| Key::of(job, &Sort::Head).into_item()).collect();
        while !wanted.is_empty() {
            let keys = KeysAndAttributes::builder().set_keys(Some(wanted)).consistent_read(true).build();
            let keys = keys.map_err(|error| Error::Unavailable(Box::new(error)))?;
            let answer = self.client.batch_get_item().request_items(&self.table, keys).send().await;
            let answer = answer.map_err(Error::from_sdk)?;
            for item in answer.responses.unwrap_or_default().into_values().flatten() {
                if !is_deleted(&item) {
                    let head = head_from_item(item)?;
                    heads.insert(head.id.clone(), head);
                }
            }
            let left = answer.unprocessed_keys.unwrap_or_default().remove(&self.table);
            wanted = left.map(|left| left.keys).unwrap_or_default();
        }
        Ok(heads)
    }
}

/// Keys for a deletion in batches.
pub(crate) fn key_of(item: &Item) -> Option<HashMap<String, AttributeValue>> {
    Some([(PK.to_owned(), item.get(PK)?.clone()), (SK.to_owned(), item.get(SK)?.clone())].into())
}
