//! Group commit: writes that wait for the same connection become one transaction of its database.
//!
//! Beginning and ending transactions (pages to the log, locks, now and then a checkpoint) was a third of what the connection's
//! thread did, and writes that come together share it. Each is answered as if it had been alone: they have no item in common,
//! and a condition looks at its own item, so what one is refused for has nothing to do with the others. These are carried out
//! without it.

use std::collections::HashSet;

use dynoxide::actions::transact_write_items::{TransactWriteItem, TransactWriteItemsRequest};
use dynoxide::errors::CancellationReason;
use dynoxide::{AttributeValue, Database, DynoxideError};
use store::key::{PK, SK};

/// Most items of a group. More than these save nothing that could be measured, and whoever came first waits for all of
/// them; a hundred are what a transaction may have.
const MAX_ITEMS: usize = 25;
/// The reason given for an item that is none.
pub(super) const NO_REASON: &str = "None";

/// A write that waits to be carried out: all of its items or none.
pub(super) struct PendingWrite {
    pub(super) items: Vec<TransactWriteItem>,
    /// Called once, where the write was carried out, with what came of it.
    pub(super) answer: Box<dyn FnOnce(dynoxide::Result<()>) + Send>,
}

impl PendingWrite {
    /// Carries it out, alone, and answers it.
    pub(super) fn carry_out(self, db: &Database) {
        (self.answer)(transact(db, self.items));
    }
}

/// Writes that have no item in common.
#[derive(Default)]
pub(super) struct Group {
    writes: Vec<PendingWrite>,
    keys: HashSet<(String, String, String)>,
    items: usize,
}

impl Group {
    /// Takes `write` in, or gives it back if it has to come after this group.
    pub(super) fn add(&mut self, write: PendingWrite) -> Result<(), PendingWrite> {
        let keys: Vec<_> = write.items.iter().filter_map(key).collect();
        let fits = self.items + write.items.len() <= MAX_ITEMS && !keys.iter().any(|key| self.keys.contains(key));
        if !(fits || self.writes.is_empty()) {
            return Err(write);
        }
        self.items += write.items.len();
        self.keys.extend(keys);
        self.writes.push(write);
        Ok(())
    }

    /// Carries all of them out, and answers each.
    pub(super) fn carry_out(self, db: &Database) {
        let mut writes = self.writes;
        if writes.len() > 1 {
            match transact(db, all_items(&writes)) {
                Ok(()) => return writes.into_iter().for_each(|write| (write.answer)(Ok(()))),
                Err(DynoxideError::TransactionCanceledException(words, reasons)) => {
                    writes = answer_refused(writes, &words, reasons);
                    if writes.len() > 1 && transact(db, all_items(&writes)).is_ok() {
                        return writes.into_iter().for_each(|write| (write.answer)(Ok(())));
                    }
                }
                // One of them cannot be carried out at all, and the answer does not say which.
                Err(_) => {}
            }
        }
        writes.into_iter().for_each(|write| write.carry_out(db));
    }
}

fn all_items(writes: &[PendingWrite]) -> Vec<TransactWriteItem> {
    writes.iter().flat_map(|write| write.items.iter().cloned()).collect()
}

/// Answers those of `writes` that are the reason, and gives the others. The reasons are one for each item, in order.
fn answer_refused(writes: Vec<PendingWrite>, words: &str, reasons: Vec<CancellationReason>) -> Vec<PendingWrite> {
    let mut reasons = reasons.into_iter();
    let mut others = Vec::new();
    for write in writes {
        let theirs: Vec<_> = reasons.by_ref().take(write.items.len()).collect();
        if theirs.iter().all(|reason| reason.code == NO_REASON) {
            others.push(write);
        } else {
            (write.answer)(Err(DynoxideError::TransactionCanceledException(words.to_owned(), theirs)));
        }
    }
    others
}

/// Without a token: nobody repeats a request here, and dynoxide looks through all tokens of the last ten minutes for each.
fn transact(db: &Database, transact_items: Vec<TransactWriteItem>) -> dynoxide::Result<()> {
    let request = TransactWriteItemsRequest { transact_items, ..TransactWriteItemsRequest::default() };
    db.transact_write_items(request).map(drop)
}

/// The table and the key of the item that `item` is about, if it has one.
fn key(item: &TransactWriteItem) -> Option<(String, String, String)> {
    let (table, of) = match item {
        TransactWriteItem { put: Some(put), .. } => (&put.table_name, &put.item),
        TransactWriteItem { update: Some(update), .. } => (&update.table_name, &update.key),
        TransactWriteItem { condition_check: Some(check), .. } => (&check.table_name, &check.key),
        TransactWriteItem { delete: Some(delete), .. } => (&delete.table_name, &delete.key),
        _ => return None,
    };
    match (of.get(PK), of.get(SK)) {
        (Some(AttributeValue::S(pk)), Some(AttributeValue::S(sk))) => Some((table.clone(), pk.clone(), sk.clone())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    const TABLE: &str = "table";

    /// A write of an item that may or may not be there, as a request has it.
    fn action() -> impl Strategy<Value = Value> {
        let condition = prop_oneof![
            4 => Just("attribute_exists(pk)"),
            8 => Just("attribute_not_exists(pk)"),
            8 => Just("n <> :n"),
            1 => Just("no condition at all ("),
        ];
        (0..3_u8, "[a-h]", prop::option::weighted(0.6, condition), 0..4_u8).prop_map(|(kind, key, condition, n)| {
            let values = json!({":n": {"N": n.to_string()}});
            let key = json!({"pk": {"S": key}, "sk": {"S": "x"}});
            let mut action = json!({"TableName": TABLE, "ReturnValuesOnConditionCheckFailure": "ALL_OLD"});
            if let Some(condition) = condition {
                action["ConditionExpression"] = condition.into();
            }
            let is_used = kind == 1 || condition.is_some_and(|condition| condition.contains(":n"));
            if is_used {
                action["ExpressionAttributeValues"] = values;
            }
            match kind {
                0 => {
                    action["Item"] = key;
                    action["Item"]["n"] = json!({"N": n.to_string()});
                    json!({"Put": action})
                }
                // Invalid where the item has no number yet.
                1 => {
                    action["Key"] = key;
                    action["UpdateExpression"] = "SET n = n + :n".into();
                    json!({"Update": action})
                }
                _ => {
                    action["Key"] = key;
                    action["ConditionExpression"] = condition.unwrap_or("attribute_exists(sk)").into();
                    json!({"ConditionCheck": action})
                }
            }
        })
    }

    fn table() -> Database {
        let db = Database::memory().unwrap();
        let texts = ["pk", "sk"].map(|name| json!({"AttributeName": name, "AttributeType": "S"}));
        let request = json!({
            "TableName": TABLE,
            "BillingMode": "PAY_PER_REQUEST",
            "AttributeDefinitions": texts,
            "KeySchema": [
                {"AttributeName": "pk", "KeyType": "HASH"},
                {"AttributeName": "sk", "KeyType": "RANGE"},
            ],
        });
        db.create_table(serde_json::from_value(request).unwrap()).unwrap();
        db
    }

    /// What is in the table.
    fn content(db: &Database) -> Value {
        let all = db.scan(serde_json::from_value(json!({"TableName": TABLE})).unwrap()).unwrap();
        let mut items: Vec<Value> = all.items.iter().flatten().map(|item| json!(item)).collect();
        items.sort_by_key(Value::to_string);
        items.into()
    }

    fn told(answer: dynoxide::Result<()>) -> Value {
        match answer {
            Ok(()) => "done".into(),
            Err(DynoxideError::TransactionCanceledException(_, reasons)) => {
                reasons.iter().map(|reason| json!([reason.code, reason.message, reason.item])).collect()
            }
            Err(error) => error.to_string().into(),
        }
    }

    fn items(write: &[Value]) -> Vec<TransactWriteItem> {
        write.iter().map(|action| serde_json::from_value(action.clone()).unwrap()).collect()
    }

    proptest! {
        #[test]
        fn writes_of_a_group_are_answered_as_if_alone(
            writes in prop::collection::vec(prop::collection::vec(action(), 1..4), 1..16)
        ) {
            let (one_by_one, grouped) = (table(), table());
            let alone: Vec<Value> = writes.iter().map(|write| told(transact(&one_by_one, items(write)))).collect();

            let (answers, answered) = mpsc::channel();
            let mut group = Group::default();
            for (n, write) in writes.iter().enumerate() {
                let answers = answers.clone();
                let answer = Box::new(move |answer| answers.send((n, told(answer))).unwrap());
                if let Err(later) = group.add(PendingWrite { items: items(write), answer }) {
                    std::mem::take(&mut group).carry_out(&grouped);
                    prop_assert!(group.add(later).is_ok());
                }
            }
            group.carry_out(&grouped);
            drop(answers);

            let mut together: Vec<(usize, Value)> = answered.iter().collect();
            together.sort_by_key(|(n, _)| *n);
            prop_assert_eq!(alone, together.into_iter().map(|(_, answer)| answer).collect::<Vec<_>>());
            prop_assert_eq!(content(&one_by_one), content(&grouped));
        }
    }

    #[test]
    fn a_group_has_no_item_twice_and_an_end() {
        let put = |pk: &str| {
            let put = json!({"Put": {"TableName": TABLE, "Item": {"pk": {"S": pk}, "sk": {"S": "x"}}}});
            PendingWrite { items: items(&[put]), answer: Box::new(drop) }
        };
        let mut group = Group::default();
        assert!(group.add(put("a")).is_ok());
        assert!(group.add(put("b")).is_ok());
        assert!(group.add(put("a")).is_err(), "it sees what the first one wrote");
        for n in 2..MAX_ITEMS {
            assert!(group.add(put(&n.to_string())).is_ok());
        }
        assert!(group.add(put("c")).is_err());
    }
}
