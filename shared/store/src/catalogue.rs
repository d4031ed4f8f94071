//! The workflows that users keep: one item each, with its version.

use std::collections::{BTreeMap, BTreeSet};

use domain::{
    id::UserId,
    time::Timestamp,
    workflow::{MAX_DEPTH, subflow_ids},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    Store,
    error::{Error, Verdict},
    item::{Item, Payload, Unpacked, join, kept, n, number, place, sort_of, unpack},
    key::{Key, user_partition, workflow_sort},
    query::Range,
    write::Write,
};

/// How often a write is tried anew because somebody else stored another version meanwhile.
const TRIES: u32 = 8;

/// A stored workflow.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StoredWorkflow {
    /// The user's name for it.
    pub id: String,
    /// Rises with every change, from 1.
    #[serde(skip)]
    pub version: u32,
    /// When it was first stored.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
    /// The document as it came.
    pub document: Value,
}

impl Store {
    /// A user's workflow, read consistently.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub async fn workflow(&self, user: &UserId, id: &str) -> Result<Option<StoredWorkflow>, Error> {
        let from = workflow_sort(id);
        let to = format!("{from}#~");
        let pk = user_partition(user);
        let items = self.range(Range { pk: &pk, from, to, consistent: true }).await?;
        Ok(assemble(&items)?.into_iter().find(|workflow| workflow.id == id))
    }

    /// A user's workflows, by id.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub async fn workflows(&self, user: &UserId) -> Result<Vec<StoredWorkflow>, Error> {
        let pk = user_partition(user);
        let range = Range { pk: &pk, from: "workflow#".to_owned(), to: "workflow#~".to_owned(), consistent: true };
        assemble(&self.range(range).await?)
    }

    /// The user's documents that a document names, and those that these name.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub async fn subflows(&self, user: &UserId, document: &Value) -> Result<BTreeMap<String, Value>, Error> {
        let mut found = BTreeMap::new();
        let mut wanted = subflow_ids(document);
        for _ in 0..=MAX_DEPTH {
            let mut next = BTreeSet::new();
            for id in wanted {
                if !found.contains_key(&id)
                    && let Some(stored) = self.workflow(user, &id).await?
                {
                    next.extend(subflow_ids(&stored.document));
                    found.insert(id, stored.document);
                }
            }
            wanted = next;
        }
        Ok(found)
    }

    /// Stores a workflow under its user's name for it. The same document again changes nothing.
    ///
    /// # Errors
    /// When the table cannot be read or written.
    pub async fn put_workflow(
        &self,
        user: &UserId,
        id: &str,
        document: Value,
        now: Timestamp,
    ) -> Result<StoredWorkflow, Error> {
        for _ in 0..TRIES {
            let known = self.workflow(user, id).await?;
            if let Some(known) = known.as_ref().filter(|known| known.document == document) {
                return Ok(known.clone());
            }
            let workflow = StoredWorkflow {
                id: id.to_owned(),
                version: known.as_ref().map_or(0, |known| known.version) + 1,
                created_at: known.as_ref().map_or(now, |known| known.created_at),
                updated_at: now,
                document: document.clone(),
            };
            let (mut item, parts) = Payload::pack(&workflow)?.into_items();
            item.insert("version".to_owned(), n(workflow.version));
            let key = |sk: String| Key { pk: user_partition(user), sk };
            for (number, part) in (0..).zip(parts) {
                let sk = part_sort(id, workflow.version, number);
                self.write(Write::put(kept(key(sk), part))).await?;
            }
            let put = Write::put(kept(key(workflow_sort(id)), item));
            let put = match &known {
                None => put.when("attribute_not_exists(#pk)", []),
                Some(known) => put.when("#version = :read", [(":read", n(known.version))]),
            };
            if self.write(put).await? == Verdict::Fine {
                self.drop_parts(user, id, workflow.version).await?;
                return Ok(workflow);
            }
        }
        Err(Error::Contended)
    }

    /// Removes a workflow; whether there was one. Jobs that were started with it keep what they need.
    ///
    /// # Errors
    /// When the table cannot be written.
    pub async fn delete_workflow(&self, user: &UserId, id: &str) -> Result<bool, Error> {
        let key = Key { pk: user_partition(user), sk: workflow_sort(id) };
        let was = self.get(key.clone(), true).await?.is_some();
        self.client
            .delete_item()
            .table_name(&self.table)
            .set_key(Some(key.into_item()))
            .send()
            .await
            .map_err(Error::from_sdk)?;
        self.drop_parts(user, id, u32::MAX).await?;
        Ok(was)
    }

    /// Removes the parts of versions below `version`.
    async fn drop_parts(&self, user: &UserId, id: &str, version: u32) -> Result<(), Error> {
        let pk = user_partition(user);
        let (from, to) = (part_sort(id, 0, 0), part_sort(id, version, 0));
        for part in self.range(Range { pk: &pk, from, to, consistent: true }).await? {
            let key = Key { pk: pk.clone(), sk: sort_of(&part).to_owned() };
            let delete = self.client.delete_item().table_name(&self.table).set_key(Some(key.into_item()));
            delete.send().await.map_err(Error::from_sdk)?;
        }
        Ok(())
    }
}

fn part_sort(id: &str, version: u32, number: u32) -> String {
    format!("{}#{version:010}#{number:04}", workflow_sort(id))
}

fn assemble(items: &[Item]) -> Result<Vec<StoredWorkflow>, Error> {
    let mut workflows = vec![];
    for item in items.iter().filter(|item| item.contains_key("version")) {
        let version: u32 = number(item, "version").unwrap_or_default();
        let workflow: StoredWorkflow = match unpack(item)? {
            Unpacked::Whole(workflow) => workflow,
            Unpacked::Parts(count) => {
                let prefix = format!("{}#{version:010}#", sort_of(item));
                let parts: Vec<&Item> = items.iter().filter(|part| sort_of(part).starts_with(&prefix)).collect();
                if parts.len() != count as usize {
                    return Err(Error::corrupt(place(item), "a part of it is missing"));
                }
                join(parts, &place(item))?
            }
        };
        workflows.push(StoredWorkflow { version, ..workflow });
    }
    Ok(workflows)
}
