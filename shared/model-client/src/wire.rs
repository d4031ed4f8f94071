//! The JSON of a chunk and of an error, read as leniently as the servers in the wild write it. Members that nobody here
//! needs are passed over; known members of a wrong kind are an error.

use std::{borrow::Cow, fmt};

use domain::usage::Usage;
use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::Value;

#[derive(Deserialize)]
pub(crate) struct Chunk<'a> {
    #[serde(default, deserialize_with = "null_as_default")]
    pub(crate) choices: Vec<Choice>,
    pub(crate) usage: Option<WireUsage>,
    #[serde(borrow)]
    pub(crate) model: Option<Cow<'a, str>>,
    pub(crate) error: Option<Value>,
}

#[derive(Deserialize)]
pub(crate) struct Choice {
    #[serde(default, deserialize_with = "null_as_default")]
    pub(crate) index: u32,
    #[serde(default, deserialize_with = "null_as_default")]
    pub(crate) delta: Delta,
    pub(crate) finish_reason: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct Delta {
    pub(crate) content: Text,
    /// A refusal in words (OpenAI): what the user is to read instead of an answer.
    #[serde(deserialize_with = "null_as_default")]
    pub(crate) refusal: String,
    #[serde(deserialize_with = "null_as_default")]
    pub(crate) reasoning: String,
    /// The same under the name that DeepSeek, vLLM and llama.cpp use. Some send both.
    pub(crate) reasoning_content: Option<String>,
    #[serde(deserialize_with = "null_as_default")]
    pub(crate) reasoning_details: Vec<Value>,
    #[serde(deserialize_with = "null_as_default")]
    pub(crate) tool_calls: Vec<CallFragment>,
}

#[derive(Deserialize)]
pub(crate) struct CallFragment {
    pub(crate) index: Option<u64>,
    pub(crate) id: Option<String>,
    #[serde(default, deserialize_with = "null_as_default")]
    pub(crate) function: FunctionFragment,
    /// What Google wants back with the call.
    pub(crate) extra_content: Option<Value>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct FunctionFragment {
    #[serde(deserialize_with = "null_as_default")]
    pub(crate) name: String,
    /// JSON text; an object where a server has it wrong.
    pub(crate) arguments: Value,
}

/// Text: a string, null, or an array of parts, of which those with text count.
#[derive(Default)]
pub(crate) struct Text(pub(crate) String);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextVisitor).map(Self)
    }
}

struct TextVisitor;

impl<'de> Visitor<'de> for TextVisitor {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text, null, or an array of parts")
    }

    fn visit_unit<E>(self) -> Result<String, E> {
        Ok(String::new())
    }

    fn visit_str<E>(self, text: &str) -> Result<String, E> {
        Ok(text.to_owned())
    }

    fn visit_string<E>(self, text: String) -> Result<String, E> {
        Ok(text)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<String, A::Error> {
        let mut all = String::new();
        while let Some(Text(part)) = parts.next_element()? {
            all.push_str(&part);
        }
        Ok(all)
    }

    /// A part: `{"type": "text", "text": …}`.
    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<String, A::Error> {
        let mut text = String::new();
        while let Some(key) = members.next_key::<Cow<'_, str>>()? {
            if key == "text" {
                text = members.next_value::<Text>()?.0;
            } else {
                members.next_value::<IgnoredAny>()?;
            }
        }
        Ok(text)
    }
}

#[derive(Deserialize)]
pub(crate) struct WireUsage {
    prompt_tokens: Option<u64>,
    completion_tokens: Option<u64>,
    pub(crate) cost: Option<f64>,
    prompt_tokens_details: Option<PromptDetails>,
    completion_tokens_details: Option<CompletionDetails>,
}

#[derive(Default, Deserialize)]
struct PromptDetails {
    cached_tokens: Option<u64>,
}

#[derive(Default, Deserialize)]
struct CompletionDetails {
    reasoning_tokens: Option<u64>,
}

impl From<WireUsage> for Usage {
    fn from(wire: WireUsage) -> Self {
        Self {
            input_tokens: wire.prompt_tokens.unwrap_or(0),
            output_tokens: wire.completion_tokens.unwrap_or(0),
            reasoning_tokens: wire.completion_tokens_details.and_then(|details| details.reasoning_tokens).unwrap_or(0),
            cached_tokens: wire.prompt_tokens_details.and_then(|details| details.cached_tokens).unwrap_or(0),
            cost_usd: wire.cost.unwrap_or(0.0),
        }
    }
}

/// What a provider says went wrong.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Complaint {
    /// Its code as text: a status, a word, or nothing.
    pub(crate) code: String,
    /// Its words.
    pub(crate) message: String,
}

impl Complaint {
    /// From an error's JSON: `{code, message, metadata?}`, or bare text.
    pub(crate) fn from_error(error: &Value) -> Self {
        let text = |key: &str| error.get(key).and_then(Value::as_str).unwrap_or_default();
        let code = match error.get("code") {
            Some(Value::String(code)) => code.clone(),
            Some(Value::Number(code)) => code.to_string(),
            _ => text("type").to_owned(),
        };
        let mut message = error.as_str().unwrap_or_else(|| text("message")).to_owned();
        // OpenRouter's own words are often just "Provider returned error"; the provider's are in here.
        if let Some(raw) = error.pointer("/metadata/raw").and_then(Value::as_str) {
            message = format!("{message}: {raw}");
        }
        Self { code, message }
    }

    /// From the body of an error's response, which may be anything.
    pub(crate) fn from_body(body: &[u8]) -> Self {
        let json = serde_json::from_slice::<Value>(body).map(|json| match json {
            // Google's errors stand in an array.
            Value::Array(mut items) if matches!(items.as_slice(), [Value::Object(_)]) => items.remove(0),
            other => other,
        });
        match json {
            Ok(Value::Object(body)) => match (body.get("error"), body.get("detail")) {
                (Some(error), _) if !error.is_null() => Self::from_error(error),
                (_, Some(detail)) => Self::from_error(detail),
                _ => Self::from_error(&Value::Object(body)),
            },
            Ok(text @ Value::String(_)) => Self::from_error(&text),
            _ => Self { code: String::new(), message: String::from_utf8_lossy(body).into_owned() },
        }
    }

    /// With the body itself for words where it has none in a form that is known here.
    pub(crate) fn or_body(self, body: &[u8]) -> Self {
        let message = if self.message.is_empty() { String::from_utf8_lossy(body).into_owned() } else { self.message };
        Self { message, ..self }
    }
}

fn null_as_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_error_body_may_be_of_many_forms() {
        let read = |body: &str| {
            let Complaint { code, message } = Complaint::from_body(body.as_bytes());
            (code, message)
        };
        let expected = |code: &str, message: &str| (code.to_owned(), message.to_owned());
        assert_eq!(read(r#"{"error":{"code":402,"message":"no credit"}}"#), expected("402", "no credit"));
        assert_eq!(
            read(r#"{"error":{"code":400,"message":"Provider returned error","metadata":{"raw":"too long"}}}"#),
            expected("400", "Provider returned error: too long")
        );
        assert_eq!(
            read(r#"{"error":{"code":null,"type":"server_error","message":"x"}}"#),
            expected("server_error", "x")
        );
        assert_eq!(read(r#"{"error":"model not found"}"#), expected("", "model not found"));
        assert_eq!(read(r#"{"detail":"Not Found"}"#), expected("", "Not Found"));
        assert_eq!(read(r#"{"object":"error","message":"bad","code":400}"#), expected("400", "bad"));
        assert_eq!(read(r#"[{"error":{"code":400,"message":"bad","status":"X"}}]"#), expected("400", "bad"));
        assert_eq!(read("[1,2]"), expected("", "[1,2]"));
        assert_eq!(read("<html>Bad Gateway</html>"), expected("", "<html>Bad Gateway</html>"));
    }

    #[test]
    fn words_in_an_unknown_form_are_told_as_they_came() {
        let told = |body: &str| Complaint::from_body(body.as_bytes()).or_body(body.as_bytes()).message;
        let details = r#"{"detail":[{"loc":["body","model"],"msg":"field required"}]}"#;
        assert_eq!(told(details), details);
        let errors = r#"{"errors":[{"code":7003,"message":"no route"}],"success":false}"#;
        assert_eq!(told(errors), errors);
        assert_eq!(told(r#"{"error":{"code":402,"message":"no credit"}}"#), "no credit");
    }

    #[test]
    fn content_may_be_text_or_null_or_parts() {
        let read = |content: Value| serde_json::from_value::<Text>(content).unwrap().0;
        assert_eq!(read(json!("a")), "a");
        assert_eq!(read(json!(null)), "");
        assert_eq!(
            read(json!([{"type": "text", "text": "a"}, {"type": "image", "url": {}}, {"text": "b", "type": "text"}])),
            "ab"
        );
        assert!(serde_json::from_value::<Text>(json!(7)).is_err());
    }
}
