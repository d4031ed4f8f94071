//! How many tokens a conversation has, roughly, and how many a model takes. A tokenizer for each model would be exact and
//! is not worth its tables: what a provider has counted itself is believed instead wherever it is known
//! ([`crate::conversation::Told::tokens`]), and the estimate is for the rest.

use crate::{
    message::{Content, Message, Part},
    tool_call::ToolSpec,
};

/// What every message costs beside its text: its role and its ends.
const PER_MESSAGE: u64 = 4;
/// A picture, whatever its size: providers scale it down to about as much.
const PER_PICTURE: u64 = 1_600;
/// Bytes of a file or a recording for one token: a page of a PDF has about 100 KB and is read as about 2,500 tokens.
const FILE_BYTES_PER_TOKEN: u64 = 40;
/// What a model is taken to take of which nothing is known: little. Too little shortens a conversation early; too much
/// lets its provider refuse it, which shortens it as well.
pub const DEFAULT_CONTEXT: u64 = 32_768;

/// Contexts of models by the beginning of their names, as their vendors' pages give them: platform.openai.com/docs/models,
/// docs.claude.com (models overview), ai.google.dev/gemini-api/docs/models. The longest beginning that fits decides.
const CONTEXTS: [(&str, u64); 14] = [
    ("chatgpt-4o", 128_000),
    ("claude-", 200_000),
    ("claude-2.0", 100_000),
    ("claude-instant", 100_000),
    ("gemini-1.5", 1_048_576),
    ("gemini-2", 1_048_576),
    ("gpt-4-turbo", 128_000),
    ("gpt-4.1", 1_047_576),
    ("gpt-4o", 128_000),
    ("gpt-5", 400_000),
    ("o1", 200_000),
    ("o1-mini", 128_000),
    ("o3", 200_000),
    ("o4-mini", 200_000),
];

/// Tokens that a model takes, prompt and answer together. Of a name in parts, as in `vendor/model:variant`, the model
/// counts.
pub fn context_of(model: &str) -> u64 {
    let name = model.rsplit('/').next().unwrap_or(model).to_ascii_lowercase();
    let fitting = CONTEXTS.iter().filter(|(beginning, _)| name.starts_with(beginning));
    fitting.max_by_key(|(beginning, _)| beginning.len()).map_or(DEFAULT_CONTEXT, |(_, context)| *context)
}

/// Tokens of a text: four characters of English make one, and elsewhere a character may be one by itself.
pub fn of_text(text: &str) -> u64 {
    let ascii = text.bytes().filter(u8::is_ascii).count() as u64;
    let others = text.chars().filter(|character| !character.is_ascii()).count() as u64;
    ascii.div_ceil(4) + others
}

/// Tokens of a message.
pub fn of_message(message: &Message) -> u64 {
    let said = match message {
        Message::System { content } | Message::User { content } | Message::Tool { content, .. } => of_content(content),
        Message::Assistant { content, tool_calls, reasoning_details, reasoning_content } => {
            let calls = tool_calls.iter().map(|call| PER_MESSAGE + of_text(&call.name) + of_text(&call.arguments));
            let extras = tool_calls.iter().filter_map(|call| call.extra_content.as_ref());
            let opaque = reasoning_details.iter().chain(extras).map(|value| of_text(&value.to_string()));
            let reasoning = reasoning_content.as_deref().map_or(0, of_text);
            of_content(content) + calls.sum::<u64>() + opaque.sum::<u64>() + reasoning
        }
    };
    PER_MESSAGE + said
}

/// Tokens of several.
pub fn of_messages(messages: &[Message]) -> u64 {
    messages.iter().map(of_message).sum()
}

/// Tokens of the tools that go with a conversation.
pub fn of_tools(tools: &[ToolSpec]) -> u64 {
    let of = |tool: &ToolSpec| {
        PER_MESSAGE + of_text(&tool.name) + of_text(&tool.description) + of_text(&tool.parameters.to_string())
    };
    tools.iter().map(of).sum()
}

fn of_content(content: &Content) -> u64 {
    match content {
        Content::Text(text) => of_text(text),
        Content::Parts(parts) => parts.iter().map(of_part).sum(),
    }
}

fn of_part(part: &Part) -> u64 {
    // Base64 has four characters for three bytes.
    let of_data = |data: Option<&serde_json::Value>| {
        let characters = data.and_then(serde_json::Value::as_str).map_or(0, str::len) as u64;
        PER_PICTURE.max(characters * 3 / 4 / FILE_BYTES_PER_TOKEN)
    };
    match part {
        Part::Text { text } => of_text(text),
        Part::ImageUrl { .. } => PER_PICTURE,
        Part::File { file } => of_data(file.get("file_data")),
        Part::InputAudio { input_audio } => of_data(input_audio.get("data")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_model_is_known_by_the_longest_beginning_of_its_name() {
        for (model, context) in [
            ("openai/gpt-4.1-mini", 1_047_576),
            ("gpt-4o-mini", 128_000),
            ("anthropic/claude-sonnet-4.5", 200_000),
            ("claude-2.0", 100_000),
            ("google/gemini-2.5-flash:free", 1_048_576),
            ("o1-mini", 128_000),
            ("OpenAI/O3", 200_000),
            ("somebody/own-model", DEFAULT_CONTEXT),
            ("", DEFAULT_CONTEXT),
        ] {
            assert_eq!(context_of(model), context, "{model}");
        }
    }

    #[test]
    fn text_is_counted_by_its_characters_and_a_picture_by_itself() {
        assert_eq!(of_text(""), 0);
        assert_eq!(of_text("four by four"), 3);
        assert_eq!(of_text("漢字"), 2);
        let picture =
            Part::ImageUrl { image_url: json!({"url": format!("data:image/png;base64,{}", "A".repeat(1_000_000))}) };
        let seen = Message::User { content: Content::Parts(vec![Part::Text { text: "Look".into() }, picture]) };
        assert_eq!(of_message(&seen), PER_MESSAGE + 1 + PER_PICTURE);
        let thought = |reasoning_content: Option<&str>| Message::Assistant {
            content: Content::default(),
            tool_calls: vec![],
            reasoning_details: vec![],
            reasoning_content: reasoning_content.map(str::to_owned),
        };
        assert_eq!(of_message(&thought(Some("four by four"))), of_message(&thought(None)) + 3);
        let file = Part::File { file: json!({"file_data": "A".repeat(4_000_000)}) };
        assert_eq!(of_part(&file), 75_000);
    }
}
