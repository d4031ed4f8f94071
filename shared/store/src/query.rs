//! Reading ranges and single items.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;

use futures_util::FutureExt as _;

use crate::{
    Store,
    error::Error,
    item::{Item, s},
    key::{Key, PK, SK},
};

/// A range of a partition.
pub(crate) struct Range<'a> {
    pub(crate) pk: &'a str,
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) consistent: bool,
}

/// One page of a range of a partition.
#[derive(Debug, Clone)]
pub struct PageRequest {
    /// The partition.
    pub pk: String,
    /// The range's first sort key.
    pub from: String,
    /// The range's last sort key.
    pub to: String,
    /// Whether every write that was acknowledged has to be seen.
    pub consistent: bool,
    /// How many items at most, if not as many as a page holds.
    pub limit: Option<i32>,
    /// Whether the last comes first.
    pub backwards: bool,
    /// The key that the page begins after.
    pub start: Option<Item>,
}

impl Store {
    /// One item, or nothing.
    pub(crate) async fn get(&self, key: Key, consistent: bool) -> Result<Option<Item>, Error> {
        self.asked.one_more();
        if let Some(table) = &self.in_process {
            return table.get(&self.table, key).await.map_err(Error::Unavailable);
        }
        let got = self.client.get_item().table_name(&self.table).set_key(Some(key.into_item()));
        let got = got.consistent_read(consistent).send().boxed().await;
        Ok(got.map_err(Error::from_sdk)?.item)
    }

    /// The whole of a range, in order.
    pub(crate) async fn range(&self, range: Range<'_>) -> Result<Vec<Item>, Error> {
        let mut items = Vec::new();
        let mut start = None;
        loop {
            let (page, next) = self.page(&range, None, false, start).await?;
            items.extend(page);
            if next.is_none() {
                return Ok(items);
            }
            start = next;
        }
    }

    /// One page of a range, at most `limit` items, and where the next begins.
    pub(crate) async fn page(
        &self,
        range: &Range<'_>,
        limit: Option<i32>,
        backwards: bool,
        start: Option<Item>,
    ) -> Result<(Vec<Item>, Option<Item>), Error> {
        self.asked.one_more();
        if let Some(table) = &self.in_process {
            let Range { pk, from, to, consistent } = range;
            let (pk, from, to) = ((*pk).to_owned(), from.clone(), to.clone());
            let request = PageRequest { pk, from, to, consistent: *consistent, limit, backwards, start };
            return table.page(&self.table, request).await.map_err(Error::Unavailable);
        }
        let values: HashMap<String, AttributeValue> = [
            (":pk".to_owned(), s(range.pk)),
            (":from".to_owned(), s(range.from.as_str())),
            (":to".to_owned(), s(range.to.as_str())),
        ]
        .into();
        let request = self
            .client
            .query()
            .table_name(&self.table)
            .key_condition_expression("#pk = :pk AND #sk BETWEEN :from AND :to")
            .expression_attribute_names("#pk", PK)
            .expression_attribute_names("#sk", SK)
            .set_expression_attribute_values(Some(values))
            .consistent_read(range.consistent)
            .scan_index_forward(!backwards)
            .set_limit(limit)
            .set_exclusive_start_key(start);
        let answer = request.send().boxed().await.map_err(Error::from_sdk)?;
        Ok((answer.items.unwrap_or_default(), answer.last_evaluated_key.filter(|key| !key.is_empty())))
    }
}
