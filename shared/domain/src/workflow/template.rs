//! `{{name}}` in texts, and the forms of an output.

use serde::{Serialize, de::IgnoredAny};
use serde_json::Value;

use super::document::Format;
use crate::time::Timestamp;

/// A text with its `{{name}}`s filled in; those that stand for nothing stay as they are.
pub(super) fn fill(template: &str, resolve: &dyn Fn(&str) -> Option<String>) -> String {
    let mut filled = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        let Some((name, next)) = after.split_once("}}") else { break };
        filled.push_str(before);
        match resolve(name.trim()) {
            Some(text) => filled.push_str(&text),
            None => {
                // Perhaps a later brace begins a name.
                filled.push_str("{{");
                rest = after;
                continue;
            }
        }
        rest = next;
    }
    filled + rest
}

/// The name when a text is one `{{name}}` and nothing else.
pub(super) fn whole(text: &str) -> Option<&str> {
    let name = text.trim().strip_prefix("{{")?.strip_suffix("}}")?.trim();
    (!name.contains("{{")).then_some(name)
}

/// A value with the texts in it filled in.
pub(super) fn fill_value(value: &Value, resolve: &dyn Fn(&str) -> Option<String>) -> Value {
    match value {
        Value::String(text) => Value::from(fill(text, resolve)),
        Value::Array(items) => items.iter().map(|item| fill_value(item, resolve)).collect(),
        Value::Object(members) => {
            Value::Object(members.iter().map(|(key, value)| (key.clone(), fill_value(value, resolve))).collect())
        }
        scalar => scalar.clone(),
    }
}

/// A value as text: text as it is, anything else as JSON.
pub(super) fn as_text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// How an output was made.
#[derive(Serialize)]
pub(super) struct Metadata {
    /// The ids of the nodes before it.
    #[serde(rename = "nodeChain")]
    pub(super) chain: Vec<String>,
    /// When.
    pub(super) timestamp: Timestamp,
}

/// A result in the form that its node asks for.
pub(super) fn formatted(text: String, format: Format, metadata: Option<&Metadata>) -> String {
    match (format, metadata) {
        (Format::Json, _) => json(&text, metadata),
        (_, None) => text,
        (Format::Markdown, Some(it)) => {
            format!("---\nnodeChain: [{}]\ntimestamp: {}\n---\n\n{text}", it.chain.join(", "), it.timestamp)
        }
        (Format::Text, Some(it)) => {
            format!("[Executed: {}]\n[Time: {}]\n\n{text}", it.chain.join(" → "), it.timestamp)
        }
    }
}

fn json(text: &str, metadata: Option<&Metadata>) -> String {
    let is_json = serde_json::from_str::<IgnoredAny>(text).is_ok();
    let value = if is_json { text.to_owned() } else { Value::from(text).to_string() };
    let whole = match metadata.and_then(|it| serde_json::to_string(it).ok()) {
        Some(metadata) => format!("{{\"result\":{value},\"metadata\":{metadata}}}"),
        None if is_json => value,
        None => format!("{{\"result\":{value}}}"),
    };
    pretty(&whole)
}

/// JSON text with two blanks of indentation. Works on the text, so that members keep their order and numbers their
/// spelling.
fn pretty(json: &str) -> String {
    let mut out = String::with_capacity(json.len() * 2);
    let mut depth = 0_usize;
    let line = |out: &mut String, depth: usize| {
        out.push('\n');
        out.push_str(&"  ".repeat(depth));
    };
    let mut signs = json.chars().peekable();
    while let Some(sign) = signs.next() {
        match sign {
            '"' => {
                out.push('"');
                while let Some(sign) = signs.next() {
                    out.push(sign);
                    match sign {
                        '\\' => out.extend(signs.next()),
                        '"' => break,
                        _ => {}
                    }
                }
            }
            '{' | '[' => {
                while signs.next_if(char::is_ascii_whitespace).is_some() {}
                out.push(sign);
                match signs.next_if(|next| matches!(next, '}' | ']')) {
                    Some(end) => out.push(end),
                    None => {
                        depth += 1;
                        line(&mut out, depth);
                    }
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                line(&mut out, depth);
                out.push(sign);
            }
            ',' => {
                out.push(',');
                line(&mut out, depth);
            }
            ':' => out.push_str(": "),
            blank if blank.is_ascii_whitespace() => {}
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_printed_readably_in_its_own_order_and_other_text_becomes_a_result() {
        let text = r#" {"b" : [1.0, {"a":"x,\"y\" {"}, [ ], {}], "a":null}"#;
        let pretty = formatted(text.to_owned(), Format::Json, None);
        assert_eq!(
            pretty,
            "{\n  \"b\": [\n    1.0,\n    {\n      \"a\": \"x,\\\"y\\\" {\"\n    },\n    [],\n    {}\n  ],\n  \"a\": null\n}"
        );
        assert_eq!(formatted("no \"json\"".into(), Format::Json, None), "{\n  \"result\": \"no \\\"json\\\"\"\n}");
        assert_eq!(formatted("7".into(), Format::Json, None), "7");
    }

    #[test]
    fn metadata_is_front_matter_a_member_or_leading_lines() {
        let metadata = Metadata { chain: vec!["start".into(), "a".into()], timestamp: Timestamp::MIN };
        let with = |format| formatted("x".into(), format, Some(&metadata));
        assert_eq!(with(Format::Text), "[Executed: start → a]\n[Time: 1970-01-01T00:00:00.000Z]\n\nx");
        assert_eq!(with(Format::Markdown), "---\nnodeChain: [start, a]\ntimestamp: 1970-01-01T00:00:00.000Z\n---\n\nx");
        let json: Value = serde_json::from_str(&with(Format::Json)).unwrap();
        assert_eq!(json["result"], "x");
        assert_eq!(json["metadata"]["nodeChain"], serde_json::json!(["start", "a"]));
    }

    #[test]
    fn names_are_filled_in_and_what_stands_for_nothing_stays() {
        let resolve = |name: &str| (name == "a-1").then(|| "{{b}}".to_owned());
        assert_eq!(fill("x {{ a-1 }} {{b}} {{ {{a-1}} }} {{", &resolve), "x {{b}} {{b}} {{ {{b}} }} {{");
        assert_eq!((whole(" {{a}} "), whole("{{a}} {{b}}"), whole("a")), (Some("a"), None, None));
    }
}
