//! The head of a job: the attributes of [`Head`], and those that indexes look at.

use aws_sdk_dynamodb::types::AttributeValue;
use domain::{
    id::JobId,
    job::{Head, State},
    lane::LeaseTimes,
};

use super::{Item, TTL, at, check_format, n, place, s, stamped, text, without_nulls};
use crate::{
    error::Error,
    key::{self, Key, PK, Sort},
};

/// The head as an item.
pub(crate) fn head_item(head: &Head, times: &LeaseTimes) -> Result<Item, Error> {
    let key = Key::of(&head.id, &Sort::Head);
    let mut item: Item = serde_dynamo::to_item(head).map_err(|error| Error::corrupt(head.id.as_str(), error))?;
    item.remove("id");
    item.insert("user_status".to_owned(), s(key::user_status(&head.user, head.status())));
    if let Some(thread) = &head.thread {
        item.insert("user_thread".to_owned(), s(key::user_thread(&head.user, thread)));
    }
    if let Some(message) = &head.message {
        item.insert("user_message".to_owned(), s(key::user_message(&head.user, message)));
    }
    if let Some(due) = head.due_at(times.margin) {
        item.insert("due_shard".to_owned(), s(key::due_shard(&head.id)));
        item.insert("due_at".to_owned(), at(due));
    }
    let mut item = stamped(key, head.expires_at, without_nulls(item));
    item.insert(TTL.to_owned(), n(head.expires_at.as_seconds()));
    Ok(item)
}

/// The head in an item.
pub(crate) fn head_from_item(mut item: Item) -> Result<Head, Error> {
    check_format(&item)?;
    let place = place(&item);
    let id: JobId =
        text(&item, PK).unwrap_or_default().parse().map_err(|error| Error::corrupt(place.clone(), error))?;
    item.insert("id".to_owned(), s(id.to_string()));
    serde_dynamo::from_item(item).map_err(|error| Error::corrupt(place, error))
}

/// Whether the head is only the mark of a job that was deleted.
pub(crate) fn is_deleted(item: &Item) -> bool {
    item.contains_key("deleted")
}

/// Attribute of such a mark: the head of a job of whose end the event bus is still to be told.
pub(crate) const OWES: &str = "owes";

/// A head to be kept in the mark of its deleted job until the event bus knows: nothing in it says what was asked.
pub(crate) fn owes_item(head: &Head, times: &LeaseTimes) -> Result<Item, Error> {
    head_item(&Head { title: String::new(), ..head.clone() }, times)
}

/// The head that a mark keeps, if it keeps one.
pub(crate) fn owes_from_mark(mut mark: Item) -> Result<Option<Head>, Error> {
    match mark.remove(OWES) {
        Some(AttributeValue::M(head)) => head_from_item(head).map(Some),
        _ => Ok(None),
    }
}

/// The word under which a head's state is stored.
pub(crate) fn state_word(state: &State) -> &'static str {
    match state {
        State::Queued { .. } => "queued",
        State::Running { .. } => "running",
        State::InputRequired { .. } => "input_required",
        State::Finished { .. } => "finished",
    }
}

#[cfg(test)]
mod tests {
    use domain::{
        job::{Asker, Ending, Fact, FailedDuring, FinishReason, Job, JobError, JobSpec, ModelSettings, accept, evolve},
        message::Message,
        time::Timestamp,
    };

    use super::*;

    fn accepted() -> Head {
        let spec = JobSpec {
            messages: vec![Message::user("Hello")],
            settings: ModelSettings { model: "m".to_owned(), ..Default::default() },
            ..JobSpec::default()
        };
        let asker = Asker {
            thread: Some("t#1".parse().unwrap()),
            ..Asker::new("job_01JDA7Q3W5T8Z2K4M6N8P0R1S3".parse().unwrap(), "ann".parse().unwrap(), 3600)
        };
        accept(asker, &spec, Timestamp::from_millis(1_763_800_000_123), &LeaseTimes::default()).0
    }

    #[test]
    fn every_state_of_a_head_survives_storage() {
        let times = LeaseTimes::default();
        let queued = accepted();
        let job = Job { head: queued.clone(), lanes: Default::default() };
        let now = Timestamp::from_millis(1_763_800_001_000);
        let running = evolve(job, &Fact::Began { at: now, deadline_at: now }).unwrap();
        let error = JobError {
            code: "x".into(),
            message: "y".into(),
            failed_during: FailedDuring::ModelCall,
            tool_name: None,
            node_id: None,
            turn: 1,
        };
        let ending = Ending::Failed { reason: FinishReason::Error, error };
        let mut failed = evolve(running.clone(), &Fact::Finished { ending, at: now }).unwrap().head;
        failed.usage.cost_usd = 0.25;
        let completed = Ending::Completed { reason: FinishReason::Stop };
        let completed = evolve(running.clone(), &Fact::Finished { ending: completed, at: now }).unwrap().head;
        for head in [queued, running.head, failed, completed] {
            let item = head_item(&head, &times).unwrap();
            assert_eq!(text(&item, "state"), Some(state_word(&head.state)));
            assert_eq!(head_from_item(item).unwrap(), head);
        }
    }

    #[test]
    fn a_head_of_a_newer_release_is_not_misread() {
        let mut item = head_item(&accepted(), &LeaseTimes::default()).unwrap();
        item.insert("v".to_owned(), n(99));
        assert!(head_from_item(item).unwrap_err().to_string().contains("newer than this release"));
    }
}
