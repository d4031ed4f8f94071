//! Whether what a viewer saw is what the log says.

use serde_json::Value;

use crate::Frame;

/// The viewer that joined after event `after` saw the log from there to its end, each event once and in order. Texts of
/// one attempt may have come merged, under their last number.
///
/// # Panics
/// When it saw anything else.
pub fn assert_seen(log: &[Value], after: u64, frames: &[Frame]) {
    let mut cursor = after;
    for frame in frames {
        assert!(frame.id > cursor && frame.id <= log.len() as u64, "{} after {cursor} of {}", frame.id, log.len());
        let covered = &log[place(cursor)..place(frame.id)];
        let (last, earlier) = covered.split_last().unwrap();
        let mut expected = last.as_object().unwrap().clone();
        expected.remove("number");
        if !earlier.is_empty() {
            let text: String = covered.iter().map(|event| event["text"].as_str().unwrap()).collect();
            expected.insert("text".to_owned(), text.into());
            let one = |event: &Value| ["type", "lane", "turn", "attempt"].map(|name| event[name].clone());
            assert!(earlier.iter().all(|event| one(event) == one(last)), "merged into {}: {covered:?}", frame.id);
        }
        assert_eq!(frame.data, Value::Object(expected), "event {}", frame.id);
        assert_eq!(frame.data["type"], frame.event);
        cursor = frame.id;
    }
    assert_eq!(cursor, log.len() as u64, "the log goes on");
}

fn place(number: u64) -> usize {
    usize::try_from(number).unwrap()
}
