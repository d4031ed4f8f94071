//! From what an MCP tool answers to text for the model.

use rmcp::model::{CallToolResult, ContentBlock, ResourceContents};
use tools::{ToolError, ToolReply};

/// In place of what a later protocol may bring.
const UNKNOWN: &str = "[a part of an unknown kind, left out]";

/// The answer as text; a failed call's is an error that the model reads.
pub(super) fn reply(result: CallToolResult) -> Result<ToolReply, ToolError> {
    let mut text = result.content.iter().map(block).collect::<Vec<_>>().join("\n");
    if text.is_empty()
        && let Some(structured) = &result.structured_content
    {
        text = structured.to_string();
    }
    if result.is_error == Some(true) {
        return Err(ToolError::RespondToModel(if text.is_empty() { "The tool failed".to_owned() } else { text }));
    }
    Ok(ToolReply::text(text))
}

/// One part of an answer; of what is not text, what it is.
fn block(block: &ContentBlock) -> String {
    match block {
        ContentBlock::Text(text) => text.text.clone(),
        ContentBlock::Image(image) => left_out("image", Some(&image.mime_type), &image.data),
        ContentBlock::Audio(audio) => left_out("audio", Some(&audio.mime_type), &audio.data),
        ContentBlock::Resource(embedded) => match &embedded.resource {
            ResourceContents::TextResourceContents { uri, text, .. } => format!("[{uri}]\n{text}"),
            ResourceContents::BlobResourceContents { uri, mime_type, blob, .. } => {
                format!("[{uri}]\n{}", left_out("file", mime_type.as_deref(), blob))
            }
            _ => UNKNOWN.to_owned(),
        },
        ContentBlock::ResourceLink(link) => format!("[{}]({})", link.title.as_ref().unwrap_or(&link.name), link.uri),
        _ => UNKNOWN.to_owned(),
    }
}

fn left_out(what: &str, media_type: Option<&str>, base64: &str) -> String {
    let media_type = media_type.map(|kind| format!(" {kind}")).unwrap_or_default();
    format!("[{what}{media_type} of {} bytes, left out]", base64.len() / 4 * 3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_passed_on_and_the_rest_is_named() {
        let result = CallToolResult::success(vec![
            ContentBlock::text("Two things:"),
            ContentBlock::image("AAAAAAAA", "image/png"),
        ]);
        assert_eq!(reply(result).unwrap().into_text(), "Two things:\n[image image/png of 6 bytes, left out]");
    }

    #[test]
    fn an_error_is_told_to_the_model() {
        let error = reply(CallToolResult::error(vec![ContentBlock::text("no such page")])).unwrap_err();
        assert!(matches!(error, ToolError::RespondToModel(message) if message == "no such page"));
    }

    #[test]
    fn an_answer_that_is_only_structured_is_json() {
        let mut result = CallToolResult::success(vec![]);
        result.structured_content = Some(serde_json::json!({"n": 1}));
        assert_eq!(reply(result).unwrap().into_text(), r#"{"n":1}"#);
    }
}
