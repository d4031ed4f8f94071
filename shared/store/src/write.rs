//! Writes with conditions, alone or together in a transaction.
//!
//! A change of an item is made from the item before and after: only what differs is written, so that a lease that was
//! renewed meanwhile, or a viewer that was noted, is not undone by somebody who read the item earlier.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
    time::Duration,
};

use aws_sdk_dynamodb::types::{
    AttributeValue, ConditionCheck, Put, ReturnValuesOnConditionCheckFailure as OnRefusal, TransactWriteItem, Update,
};

use futures_util::FutureExt as _;

use crate::{
    Store,
    error::{Cancelled, Error, Verdict, cancelled},
    item::{Item, place},
    key::{Key, PK, SK},
};

/// How often a write is tried while others are at work on its items, or the table takes no more.
const TRIES: u32 = 10;
/// The pause before the second try, doubled for each further one up to [`LONGEST_PAUSE`]; all of them together take less
/// time than a lease lasts.
const PAUSE: Duration = Duration::from_millis(15);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// One write with its condition.
#[derive(Debug, Clone)]
pub struct Write {
    /// What is done.
    pub kind: WriteKind,
    /// On which condition; a check has one.
    pub condition: Option<String>,
    /// The attributes' names in the expressions.
    pub names: HashMap<String, String>,
    /// The values in the expressions.
    pub values: HashMap<String, AttributeValue>,
}

/// What a write does.
#[derive(Debug, Clone)]
pub enum WriteKind {
    /// Puts an item, replacing what is there.
    Put(Item),
    /// Changes an item.
    Update {
        /// Which.
        key: Key,
        /// By what.
        expression: String,
    },
    /// Changes nothing: the condition on this item has to hold.
    Check(Key),
}

impl Write {
    /// Puts an item, replacing what is there.
    pub(crate) fn put(item: Item) -> Self {
        Self::of(WriteKind::Put(item))
    }

    /// Puts an item where none is.
    pub(crate) fn put_new(item: Item) -> Self {
        Self::put(item).when("attribute_not_exists(#pk)", [])
    }

    /// Only checks a condition.
    pub(crate) fn check(key: Key) -> Self {
        Self::of(WriteKind::Check(key))
    }

    /// Updates by an expression; attributes are written as `#name`.
    pub(crate) fn update<const N: usize>(key: Key, expression: &str, values: [(&str, AttributeValue); N]) -> Self {
        let mut write = Self::of(WriteKind::Update { key, expression: expression.to_owned() });
        write.name_all(expression);
        write.values.extend(values.map(|(name, value)| (name.to_owned(), value)));
        write
    }

    /// Changes an item from what it was to what it shall be; attributes that are the same in both are left alone.
    pub(crate) fn change(key: Key, before: &Item, after: &Item) -> Self {
        let mut write = Self::of(WriteKind::Check(key.clone()));
        let (mut sets, mut removes) = (Vec::new(), Vec::new());
        for (n, (name, value)) in after.iter().filter(|(name, value)| before.get(*name) != Some(value)).enumerate() {
            sets.push(format!("#{name} = :set{n}"));
            write.names.insert(format!("#{name}"), name.clone());
            write.values.insert(format!(":set{n}"), value.clone());
        }
        for name in before.keys().filter(|name| !after.contains_key(*name)) {
            removes.push(format!("#{name}"));
            write.names.insert(format!("#{name}"), name.clone());
        }
        let mut expression = String::new();
        if !sets.is_empty() {
            expression.push_str(&format!("SET {} ", sets.join(", ")));
        }
        if !removes.is_empty() {
            expression.push_str(&format!("REMOVE {}", removes.join(", ")));
        }
        if !expression.is_empty() {
            write.kind = WriteKind::Update { key, expression };
        }
        write
    }

    /// Adds a condition, to hold together with those before; attributes are written as `#name`.
    pub(crate) fn when<const N: usize>(mut self, condition: &str, values: [(&str, AttributeValue); N]) -> Self {
        self.name_all(condition);
        self.values.extend(values.map(|(name, value)| (name.to_owned(), value)));
        self.condition = Some(match self.condition {
            Some(before) => format!("{before} AND ({condition})"),
            None => format!("({condition})"),
        });
        self
    }

    /// Which item it is about, in words.
    fn place(&self) -> String {
        match &self.kind {
            WriteKind::Put(item) => place(item),
            WriteKind::Update { key, .. } | WriteKind::Check(key) => format!("{} {}", key.pk, key.sk),
        }
    }

    fn of(kind: WriteKind) -> Self {
        Self { kind, condition: None, names: HashMap::new(), values: HashMap::new() }
    }

    fn name_all(&mut self, expression: &str) {
        for piece in expression.split('#').skip(1) {
            let end = piece.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(piece.len());
            self.names.insert(format!("#{}", &piece[..end]), piece[..end].to_owned());
        }
    }

    /// As an item of a transaction.
    fn into_transact(self, table: &str) -> Result<TransactWriteItem, Error> {
        let broken = |error: aws_sdk_dynamodb::error::BuildError| Error::Unavailable(Box::new(error));
        let names = (!self.names.is_empty()).then_some(self.names);
        let values = (!self.values.is_empty()).then_some(self.values);
        let item = TransactWriteItem::builder();
        Ok(match self.kind {
            WriteKind::Put(new) => item.put(
                Put::builder()
                    .table_name(table)
                    .set_item(Some(new))
                    .set_condition_expression(self.condition)
                    .set_expression_attribute_names(names)
                    .set_expression_attribute_values(values)
                    .return_values_on_condition_check_failure(OnRefusal::AllOld)
                    .build()
                    .map_err(broken)?,
            ),
            WriteKind::Update { key, expression } => item.update(
                Update::builder()
                    .table_name(table)
                    .set_key(Some(key.into_item()))
                    .update_expression(expression)
                    .set_condition_expression(self.condition)
                    .set_expression_attribute_names(names)
                    .set_expression_attribute_values(values)
                    .return_values_on_condition_check_failure(OnRefusal::AllOld)
                    .build()
                    .map_err(broken)?,
            ),
            WriteKind::Check(key) => item.condition_check(
                ConditionCheck::builder()
                    .table_name(table)
                    .set_key(Some(key.into_item()))
                    .condition_expression(self.condition.unwrap_or_default())
                    .set_expression_attribute_names(names)
                    .set_expression_attribute_values(values)
                    .return_values_on_condition_check_failure(OnRefusal::AllOld)
                    .build()
                    .map_err(broken)?,
            ),
        }
        .build())
    }
}

impl Key {
    pub(crate) fn into_item(self) -> Item {
        [(PK.to_owned(), AttributeValue::S(self.pk)), (SK.to_owned(), AttributeValue::S(self.sk))].into()
    }
}

impl Store {
    /// One write alone. `Refused` carries the item as it is.
    // Requests of the SDK are large futures, which everything that awaits them would carry about: on the heap.
    pub(crate) async fn write(&self, write: Write) -> Result<Verdict, Error> {
        if let WriteKind::Check(_) = write.kind {
            // Nothing differs: there is nothing to write.
            return Ok(Verdict::Fine);
        }
        if let Some(table) = &self.in_process {
            self.asked.one_more();
            return table.write(&self.table, write).await.map_err(Error::Unavailable);
        }
        let place = write.place();
        for tried in 0..TRIES {
            match self.send(write.clone()).await {
                Err(Refusal::Conflict) => tokio::time::sleep(pause(&place, tried)).await,
                Err(Refusal::Failed(error)) => return Err(error),
                Ok(verdict) => return Ok(verdict),
            }
        }
        Err(Error::Contended)
    }

    async fn send(&self, write: Write) -> Result<Verdict, Refusal> {
        self.asked.one_more();
        let Write { kind, condition, names, values } = write;
        let names = (!names.is_empty()).then_some(names);
        let values = (!values.is_empty()).then_some(values);
        let sent = match kind {
            WriteKind::Put(item) => {
                let put = self
                    .client
                    .put_item()
                    .table_name(&self.table)
                    .set_item(Some(item))
                    .set_condition_expression(condition)
                    .set_expression_attribute_names(names)
                    .set_expression_attribute_values(values)
                    .return_values_on_condition_check_failure(OnRefusal::AllOld);
                put.send().boxed().await.map(drop).map_err(aws_sdk_dynamodb::Error::from)
            }
            WriteKind::Update { key, expression } => {
                let update = self
                    .client
                    .update_item()
                    .table_name(&self.table)
                    .set_key(Some(key.into_item()))
                    .update_expression(expression)
                    .set_condition_expression(condition)
                    .set_expression_attribute_names(names)
                    .set_expression_attribute_values(values)
                    .return_values_on_condition_check_failure(OnRefusal::AllOld);
                update.send().boxed().await.map(drop).map_err(aws_sdk_dynamodb::Error::from)
            }
            WriteKind::Check(_) => Ok(()),
        };
        match sent {
            Ok(()) => Ok(Verdict::Fine),
            Err(error) => refusal(error),
        }
    }

    /// All of the writes, or none. `token`: at most 36 characters, the same for the same writes only, by which the
    /// table knows a repetition of this request (for ten minutes).
    pub(crate) async fn transact(&self, token: &str, writes: Vec<Write>) -> Result<Result<(), Vec<Verdict>>, Error> {
        if let Some(table) = &self.in_process {
            self.asked.one_more();
            return table.transact(&self.table, writes).await.map_err(Error::Unavailable);
        }
        let items: Vec<TransactWriteItem> =
            writes.into_iter().map(|write| write.into_transact(&self.table)).collect::<Result<_, _>>()?;
        let mut busy = Error::Contended;
        for tried in 0..TRIES {
            self.asked.one_more();
            let request =
                self.client.transact_write_items().set_transact_items(Some(items.clone())).client_request_token(token);
            match request.send().boxed().await {
                Ok(_) => return Ok(Ok(())),
                Err(error) => match cancelled(error) {
                    Cancelled::Refused(verdicts) => return Ok(Err(verdicts)),
                    Cancelled::Busy(error) => busy = error,
                    Cancelled::Failed(error) => return Err(error),
                },
            }
            tokio::time::sleep(pause(token, tried)).await;
        }
        Err(busy)
    }
}

/// How long to wait after a try. Several that met each other must not meet again: each waits a time of its own.
fn pause(of: &str, tried: u32) -> Duration {
    let mut hasher = DefaultHasher::new();
    (of, tried).hash(&mut hasher);
    let share = 0.5 + (hasher.finish() % 1024) as f64 / 1024.0;
    PAUSE.saturating_mul(1 << tried.min(10)).min(LONGEST_PAUSE).mul_f64(share)
}

/// Why a write alone has no verdict.
enum Refusal {
    /// A transaction was at work on its item: try again.
    Conflict,
    Failed(Error),
}

fn refusal(error: aws_sdk_dynamodb::Error) -> Result<Verdict, Refusal> {
    match error {
        aws_sdk_dynamodb::Error::TransactionConflictException(_) => Err(Refusal::Conflict),
        aws_sdk_dynamodb::Error::ConditionalCheckFailedException(refused) => {
            Ok(Verdict::Refused(refused.item().filter(|item| !item.is_empty()).cloned()))
        }
        other => Err(Refusal::Failed(Error::from_sdk(other))),
    }
}
