//! The store's requests, taken as they are: no client and no JSON between the store and dynoxide.

use std::collections::HashMap;
use std::fmt;

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue as Theirs;
use dynoxide::actions::get_item::GetItemRequest;
use dynoxide::actions::query::QueryRequest;
use dynoxide::actions::transact_write_items::{TransactConditionCheck, TransactPut, TransactUpdate, TransactWriteItem};
use dynoxide::{AttributeValue, Database, DynoxideError};
use futures_util::FutureExt as _;
use store::key::{Key, PK, SK};
use store::{InProcess, InProcessAnswer, Item, PageRequest, Source, Verdict, Write, WriteKind};
use tokio::sync::oneshot;

use super::group::{NO_REASON, PendingWrite};
use super::{Connector, Requests, Stopped, hint};

/// A condition's refusal tells the item as it is.
const OLD: &str = "ALL_OLD";
/// What a condition's refusal is called among a transaction's reasons.
const REFUSED: &str = "ConditionalCheckFailed";

/// A database's own form of the [`InProcess`] table.
pub(super) struct Direct {
    pub(super) connector: Connector,
    pub(super) reads: Requests,
}

impl Direct {
    /// Has all of `writes` carried out, or none, and tells of what they put.
    fn ask_writer(&self, table: &str, writes: Vec<Write>) -> InProcessAnswer<Result<(), Vec<Verdict>>> {
        let items: Vec<_> = writes.into_iter().map(|write| transacted(table, write)).collect();
        let hints = self.connector.hints.clone();
        let mut put = hint::Written::default();
        if hints.wanted() {
            hint::items(&items, &mut put);
        }
        let (reply, answered) = oneshot::channel();
        let answer = Box::new(move |answer: dynoxide::Result<()>| {
            if answer.is_ok() {
                hints.tell(&put);
            }
            let _ = reply.send(verdicts(answer));
        });
        let asked = self.connector.requests.write(PendingWrite { items, answer });
        async move {
            asked?;
            answered.await.map_err(|_| Stopped)?
        }
        .boxed()
    }

    /// Has a request carried out that only reads, and makes of what comes of it what the store is answered.
    fn ask_reader<Q: Send + 'static, R: Send + 'static, T: Send + 'static>(
        &self,
        request: Q,
        run: fn(&Database, Q) -> dynoxide::Result<R>,
        answer: impl FnOnce(dynoxide::Result<R>) -> Result<T, Source> + Send + 'static,
    ) -> InProcessAnswer<T> {
        let asked = self.reads.ask(move |db| run(db, request));
        async move { answer(asked?.await.map_err(|_| Stopped)?) }.boxed()
    }
}

impl InProcess for Direct {
    fn get(&self, table: &str, key: Key) -> InProcessAnswer<Option<Item>> {
        let request = GetItemRequest { table_name: table.to_owned(), key: of_key(key), ..GetItemRequest::default() };
        self.ask_reader(request, Database::get_item, |answer| Ok(answer?.item.map(out)))
    }

    fn page(&self, table: &str, request: PageRequest) -> InProcessAnswer<(Vec<Item>, Option<Item>)> {
        // Every read sees what was answered before it: all are consistent.
        let PageRequest { pk, from, to, consistent: _, limit, backwards, start } = request;
        let values = [(":pk", pk), (":from", from), (":to", to)];
        let request = QueryRequest {
            table_name: table.to_owned(),
            key_condition_expression: Some("#pk = :pk AND #sk BETWEEN :from AND :to".to_owned()),
            expression_attribute_names: Some([("#pk", PK), ("#sk", SK)].map(|(a, b)| (a.into(), b.into())).into()),
            expression_attribute_values: Some(values.map(|(a, b)| (a.into(), AttributeValue::S(b))).into()),
            scan_index_forward: !backwards,
            limit: limit.and_then(|limit| usize::try_from(limit).ok()),
            exclusive_start_key: start.map(into),
            ..QueryRequest::default()
        };
        self.ask_reader(request, Database::query, |answer| {
            let answer = answer?;
            let items = answer.items.unwrap_or_default().into_iter().map(out).collect();
            Ok((items, answer.last_evaluated_key.map(out)))
        })
    }

    fn write(&self, table: &str, write: Write) -> InProcessAnswer<Verdict> {
        let answer = self.ask_writer(table, vec![write]);
        async move {
            match answer.await? {
                Ok(()) => Ok(Verdict::Fine),
                Err(verdicts) => verdicts.into_iter().next().ok_or_else(|| "a refusal without a verdict".into()),
            }
        }
        .boxed()
    }

    fn transact(&self, table: &str, writes: Vec<Write>) -> InProcessAnswer<Result<(), Vec<Verdict>>> {
        self.ask_writer(table, writes)
    }
}

impl fmt::Debug for Direct {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.connector.fmt(f)
    }
}

/// What became of writes: a verdict for each if one of them was refused.
fn verdicts(answer: dynoxide::Result<()>) -> Result<Result<(), Vec<Verdict>>, Source> {
    match answer {
        Ok(()) => Ok(Ok(())),
        Err(DynoxideError::TransactionCanceledException(words, reasons)) => {
            let other = reasons.iter().find(|reason| reason.code != NO_REASON && reason.code != REFUSED);
            if other.is_some() || reasons.iter().all(|reason| reason.code == NO_REASON) {
                return Err(other.and_then(|reason| reason.message.clone()).unwrap_or(words).into());
            }
            let verdicts = reasons.into_iter().map(|reason| match reason.code.as_str() {
                REFUSED => Verdict::Refused(reason.item.filter(|item| !item.is_empty()).map(out)),
                _ => Verdict::Fine,
            });
            Ok(Err(verdicts.collect()))
        }
        Err(error) => Err(error.into()),
    }
}

fn transacted(table: &str, write: Write) -> TransactWriteItem {
    let (table_name, returned) = (table.to_owned(), Some(OLD.to_owned()));
    let Write { kind, condition, names, values } = write;
    let (names, values) = (some(names), some(values).map(into));
    let mut item = TransactWriteItem::default();
    match kind {
        WriteKind::Put(new) => {
            item.put = Some(TransactPut {
                table_name,
                item: into(new),
                condition_expression: condition,
                expression_attribute_names: names,
                expression_attribute_values: values,
                return_values_on_condition_check_failure: returned,
            });
        }
        WriteKind::Update { key, expression } => {
            item.update = Some(TransactUpdate {
                table_name,
                key: of_key(key),
                update_expression: expression,
                condition_expression: condition,
                expression_attribute_names: names,
                expression_attribute_values: values,
                return_values_on_condition_check_failure: returned,
            });
        }
        WriteKind::Check(key) => {
            item.condition_check = Some(TransactConditionCheck {
                table_name,
                key: of_key(key),
                condition_expression: condition.unwrap_or_default(),
                expression_attribute_names: names,
                expression_attribute_values: values,
                return_values_on_condition_check_failure: returned,
            });
        }
    }
    item
}

fn some<T>(map: HashMap<String, T>) -> Option<HashMap<String, T>> {
    (!map.is_empty()).then_some(map)
}

fn of_key(key: Key) -> HashMap<String, AttributeValue> {
    [(PK, key.pk), (SK, key.sk)].map(|(name, value)| (name.to_owned(), AttributeValue::S(value))).into()
}

fn into(item: Item) -> HashMap<String, AttributeValue> {
    item.into_iter().map(|(name, value)| (name, value_into(value))).collect()
}

pub(super) fn out(item: HashMap<String, AttributeValue>) -> Item {
    item.into_iter().map(|(name, value)| (name, value_out(value))).collect()
}

fn value_into(value: Theirs) -> AttributeValue {
    match value {
        Theirs::S(text) => AttributeValue::S(text),
        Theirs::N(number) => AttributeValue::N(number),
        Theirs::B(bytes) => AttributeValue::B(bytes.into_inner()),
        Theirs::Bool(is) => AttributeValue::BOOL(is),
        Theirs::Null(is) => AttributeValue::NULL(is),
        Theirs::Ss(texts) => AttributeValue::SS(texts),
        Theirs::Ns(numbers) => AttributeValue::NS(numbers),
        Theirs::Bs(several) => AttributeValue::BS(several.into_iter().map(Blob::into_inner).collect()),
        Theirs::L(list) => AttributeValue::L(list.into_iter().map(value_into).collect()),
        Theirs::M(map) => AttributeValue::M(into(map)),
        // The enum is open; what it may have one day is nothing that the store writes.
        _ => AttributeValue::NULL(true),
    }
}

fn value_out(value: AttributeValue) -> Theirs {
    match value {
        AttributeValue::S(text) => Theirs::S(text),
        AttributeValue::N(number) => Theirs::N(number),
        AttributeValue::B(bytes) => Theirs::B(Blob::new(bytes)),
        AttributeValue::BOOL(is) => Theirs::Bool(is),
        AttributeValue::NULL(is) => Theirs::Null(is),
        AttributeValue::SS(texts) => Theirs::Ss(texts),
        AttributeValue::NS(numbers) => Theirs::Ns(numbers),
        AttributeValue::BS(several) => Theirs::Bs(several.into_iter().map(Blob::new).collect()),
        AttributeValue::L(list) => Theirs::L(list.into_iter().map(value_out).collect()),
        AttributeValue::M(map) => Theirs::M(out(map)),
    }
}

#[cfg(test)]
mod tests {
    use dynoxide::errors::CancellationReason;

    use super::*;

    #[test]
    fn only_a_refusal_is_one() {
        let cancelled = |codes: &[&str]| {
            let reason = |code: &&str| CancellationReason {
                code: (*code).to_owned(),
                message: (*code != NO_REASON).then(|| format!("it is a {code}")),
                item: None,
            };
            let reasons = codes.iter().map(reason).collect();
            verdicts(Err(DynoxideError::TransactionCanceledException("cancelled".to_owned(), reasons)))
        };
        let refused = cancelled(&[NO_REASON, REFUSED]).unwrap().unwrap_err();
        assert!(matches!(refused[..], [Verdict::Fine, Verdict::Refused(None)]));
        for codes in [&[NO_REASON, "ValidationError"], &[REFUSED, "ValidationError"]] {
            assert_eq!(cancelled(codes).unwrap_err().to_string(), "it is a ValidationError");
        }
        assert_eq!(cancelled(&[NO_REASON]).unwrap_err().to_string(), "cancelled");
    }
}
