//! Values that fit a JSON schema: for answers in a given form, and for the arguments of a tool that has to be called.

use serde_json::{Map, Value, json};

/// What may be put into the blanks.
pub(super) struct Ink<'a> {
    /// The answer in words.
    pub(super) answer: &'a str,
    /// What was asked.
    pub(super) question: &'a str,
    /// Numbers to use, the best first.
    pub(super) numbers: &'a [f64],
    /// A time zone to use.
    pub(super) zone: &'a str,
    /// A point in time to use.
    pub(super) time: Option<&'a str>,
}

/// A value that fits the schema as far as demo answers need it: types, enums, required properties, bounds, local
/// references.
pub(super) fn fill(schema: &Value, ink: &Ink<'_>) -> Value {
    Filler { root: schema, ink, n_numbers: 0 }.value("", schema, 0)
}

struct Filler<'a> {
    root: &'a Value,
    ink: &'a Ink<'a>,
    /// How many of the ink's numbers have been used.
    n_numbers: usize,
}

impl Filler<'_> {
    fn value(&mut self, name: &str, schema: &Value, depth: usize) -> Value {
        if depth > 16 {
            return Value::Null;
        }
        for given in ["const", "default"] {
            if let Some(given) = schema.get(given).filter(|given| !given.is_null()) {
                return given.clone();
            }
        }
        if let Some(first) = schema.pointer("/enum/0").or_else(|| schema.pointer("/examples/0")) {
            return first.clone();
        }
        if let Some(target) = schema.get("$ref").and_then(Value::as_str) {
            let target = target.strip_prefix('#').and_then(|pointer| self.root.pointer(pointer)).cloned();
            return target.map_or(Value::Null, |target| self.value(name, &target, depth + 1));
        }
        for choice in ["/anyOf/0", "/oneOf/0", "/allOf/0"] {
            if let Some(choice) = schema.pointer(choice) {
                return self.value(name, choice, depth + 1);
            }
        }
        let kind = match schema.get("type") {
            Some(Value::String(kind)) => kind.as_str(),
            Some(Value::Array(kinds)) => {
                kinds.iter().filter_map(Value::as_str).find(|k| *k != "null").unwrap_or("null")
            }
            _ if schema.get("properties").is_some() => "object",
            _ if schema.get("items").is_some() => "array",
            _ => "string",
        };
        match kind {
            "object" => self.object(schema, depth),
            "array" => {
                let n = schema.get("minItems").and_then(Value::as_u64).unwrap_or(1).clamp(1, 100);
                let items = schema.get("items").cloned().unwrap_or_else(|| json!({"type": "string"}));
                Value::Array((0..n).map(|_| self.value(name, &items, depth + 1)).collect())
            }
            "integer" => {
                let number = self.number(schema, 1.0);
                #[expect(clippy::cast_possible_truncation, reason = "a made-up value; the cast saturates")]
                let whole = number.round() as i64;
                whole.into()
            }
            "number" => {
                let number = self.number(schema, 0.000_001);
                json!(number)
            }
            "boolean" => true.into(),
            "null" => Value::Null,
            _ => self.text(name, schema).into(),
        }
    }

    /// The required properties; all of them where none is.
    fn object(&mut self, schema: &Value, depth: usize) -> Value {
        let empty = Map::new();
        let properties = schema.get("properties").and_then(Value::as_object).unwrap_or(&empty);
        let required: Option<Vec<&str>> = schema
            .get("required")
            .and_then(Value::as_array)
            .map(|names| names.iter().filter_map(Value::as_str).collect());
        let names = match required {
            Some(names) if !names.is_empty() => names,
            _ => properties.keys().map(String::as_str).collect(),
        };
        let anything = json!({});
        let filled = names.into_iter().map(|name| {
            let schema = properties.get(name).unwrap_or(&anything);
            (name.to_owned(), self.value(name, schema, depth + 1))
        });
        Value::Object(filled.collect())
    }

    fn number(&mut self, schema: &Value, step: f64) -> f64 {
        let bound = |key: &str| schema.get(key).and_then(Value::as_f64);
        let least = bound("minimum").or_else(|| bound("exclusiveMinimum").map(|bound| bound + step));
        let most = bound("maximum").or_else(|| bound("exclusiveMaximum").map(|bound| bound - step));
        let given = self.ink.numbers.get(self.n_numbers).copied();
        self.n_numbers += usize::from(given.is_some());
        let mut number = given.unwrap_or(1.0);
        if let Some(factor) = bound("multipleOf").filter(|factor| *factor > 0.0) {
            number = (number / factor).ceil() * factor;
        }
        number.min(most.unwrap_or(f64::INFINITY)).max(least.unwrap_or(f64::NEG_INFINITY))
    }

    fn text(&self, name: &str, schema: &Value) -> String {
        let ink = self.ink;
        let format = schema.get("format").and_then(Value::as_str).unwrap_or_default();
        let plain = name.to_lowercase().replace(['_', '-'], "");
        let time = ink.time.unwrap_or("2026-01-01T00:00:00+00:00");
        let text = match (format, plain.as_str()) {
            ("date-time", _) => time,
            ("date", _) | ("", "date" | "day") => time.get(..10).unwrap_or(time),
            ("time", _) => time.get(11..).unwrap_or(time),
            ("email", _) | ("", "email") => "somebody@example.com",
            ("uri" | "url", _) | ("", "url" | "uri" | "link") => "https://example.com/",
            ("uuid", _) => "00000000-0000-4000-8000-000000000000",
            (_, "timezone" | "zone" | "tz") => ink.zone,
            (_, "datetime" | "time" | "timestamp") if ink.time.is_some() => time,
            (_, "name") => "Nightshift",
            (_, "language" | "lang" | "locale") => "en",
            (_, "expression") => "1 + 1",
            (_, "query" | "question" | "prompt" | "input" | "topic" | "title" | "subject") => ink.question,
            _ => ink.answer,
        };
        let bound = |key: &str| schema.get(key).and_then(Value::as_u64).and_then(|n| usize::try_from(n).ok());
        let most = bound("maxLength").unwrap_or(usize::MAX);
        let mut text: String = text.chars().take(most).collect();
        let least = bound("minLength").unwrap_or(0).min(10_000);
        for _ in text.chars().count()..least {
            text.push('.');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_is_filled_with_what_fits_it() {
        let schema = json!({
            "type": "object",
            "$defs": {"kind": {"enum": ["short", "long"]}},
            "properties": {
                "answer": {"type": "string"},
                "kind": {"$ref": "#/$defs/kind"},
                "count": {"type": "integer", "minimum": 3, "maximum": 9},
                "share": {"type": ["number", "null"]},
                "tags": {"type": "array", "items": {"type": "string", "maxLength": 2}, "minItems": 2},
                "ok": {"type": "boolean"},
                "zone": {"type": "string"},
                "unwanted": {"type": "string"},
            },
            "required": ["answer", "kind", "count", "share", "tags", "ok", "zone"],
        });
        let ink = Ink { answer: "Yes.", question: "?", numbers: &[20.0, 0.5], zone: "Asia/Tokyo", time: None };
        assert_eq!(
            fill(&schema, &ink),
            json!({"answer": "Yes.", "kind": "short", "count": 9, "share": 0.5, "tags": ["Ye", "Ye"], "ok": true,
                "zone": "Asia/Tokyo"})
        );
    }
}
