//! JSON with one spelling: equal values have equal texts, however they were written.

use std::fmt::Write as _;

use serde_json::Value;

/// The value's text with sorted members and without white space. (Recursion is bounded: serde_json refuses to read what
/// is nested deeper than 128.)
pub fn canonical(value: &Value) -> String {
    let mut text = String::new();
    write(value, &mut text);
    text
}

fn write(value: &Value, out: &mut String) {
    match value {
        Value::Object(members) => {
            // Sorted here because the map itself keeps the order of its text when some crate asks serde_json for it.
            let mut members: Vec<_> = members.iter().collect();
            members.sort_unstable_by_key(|(key, _)| *key);
            out.push('{');
            for (n, (key, value)) in members.into_iter().enumerate() {
                if n > 0 {
                    out.push(',');
                }
                let _ = write!(out, "{}:", Value::from(key.as_str())); // writing to a String cannot fail
                write(value, out);
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for (n, item) in items.iter().enumerate() {
                if n > 0 {
                    out.push(',');
                }
                write(item, out);
            }
            out.push(']');
        }
        scalar => {
            let _ = write!(out, "{scalar}");
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_order_of_members_and_white_space_do_not_count() {
        let texts = [r#"{"b": [1, {"d": null, "c": "x"}], "a": 2}"#, r#"{"a":2,"b":[1,{"c":"x","d":null}]}"#];
        let [one, two] = texts.map(|text| canonical(&serde_json::from_str(text).unwrap()));
        assert_eq!((one.as_str(), one == two), (texts[1], true));
        assert_ne!(canonical(&json!([1, 2])), canonical(&json!([2, 1])));
    }
}
