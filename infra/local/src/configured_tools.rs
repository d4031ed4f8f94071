//! The tools of the local system beside the built-in ones: those that `NIGHTSHIFT_TOOLS` configures, with secrets from
//! `NIGHTSHIFT_TOOL_SECRETS` and from the environment. MCP servers may be programs here, which are started when a job
//! needs them; Lambda functions there are none.

use std::sync::Arc;

use anyhow::Context as _;
use engine::{Clock as _, SystemClock};
use remote_tools::{Parts, Secrets};
use startup::env;
use tools::{
    ToolRegistry,
    config::{SearchProvider, ToolsConfig, WebSearchConfig},
};

/// Those that every deployment has.
pub(crate) fn built_in() -> ToolRegistry {
    tools::builtin::builtin(Arc::new(|| SystemClock.now()))
}

/// Adds what a document configures: its text, or the path of a file that has it.
///
/// # Errors
/// When the document cannot be read, a secret is missing, or an address may not be asked.
pub(crate) fn add(registry: &mut ToolRegistry, document: Option<&str>) -> anyhow::Result<()> {
    let secrets = env::document("NIGHTSHIFT_TOOL_SECRETS")?;
    let secrets = Secrets::new(secrets.as_deref(), env::named)?;
    add_with(registry, document, secrets)
}

fn add_with(registry: &mut ToolRegistry, document: Option<&str>, secrets: Secrets) -> anyhow::Result<()> {
    let text = document.map(read).transpose()?.unwrap_or_else(|| "{}".to_owned());
    let mut config = ToolsConfig::parse(&text).context("the tools' configuration cannot be used")?;
    if config.web_search.is_none() {
        // Whoever has a key in the environment means it to be used.
        let has_key = |provider: &SearchProvider| secrets.has(provider.usual_key());
        let provider = [SearchProvider::Brave, SearchProvider::Tavily].into_iter().find(has_key);
        config.web_search = provider.map(WebSearchConfig::of);
    }
    let parts = Parts { secrets, functions: None, clock: Arc::new(|| SystemClock.now()) };
    remote_tools::register(registry, &config, &parts).context("a tool cannot be set up")
}

fn read(document: &str) -> anyhow::Result<String> {
    if document.trim_start().starts_with('{') {
        return Ok(document.to_owned());
    }
    std::fs::read_to_string(document).with_context(|| format!("the tools' configuration {document} cannot be read"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(document: Option<&str>, secrets: &str) -> anyhow::Result<Vec<String>> {
        let mut registry = ToolRegistry::new();
        add_with(&mut registry, document, Secrets::new(Some(secrets), |_| None)?)?;
        Ok(registry.list().map(|tool| tool.name().to_owned()).collect())
    }

    #[test]
    fn a_key_in_the_environment_is_enough_for_web_search_r81() {
        assert_eq!(names(None, "{}").unwrap(), ["http_get"]);
        assert_eq!(names(None, r#"{"TAVILY_API_KEY": "tvly-1"}"#).unwrap(), ["http_get", "web_search"]);
        assert_eq!(names(Some(r#"{"http_get": {"enabled": false}}"#), "{}").unwrap(), [""; 0]);
    }

    /// The first of the two, which is for here.
    #[test]
    fn the_document_of_the_readme_for_the_local_system_can_be_used() {
        let (_, page) = include_str!("../../../README.md").split_once("## Configuring tools").unwrap();
        let document = page.split("```").find_map(|block| block.strip_prefix("json\n")).unwrap();
        let secrets =
            r#"{"BRAVE_API_KEY": "1", "TICKETS_SECRET": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "WIKI_TOKEN": "2"}"#;
        let mut registry = built_in();
        add_with(&mut registry, Some(document), Secrets::new(Some(secrets), |_| None).unwrap()).unwrap();
        assert!(registry.get("create_ticket").is_some() && registry.get("web_search").is_some());
        assert_eq!(registry.servers().collect::<Vec<_>>(), ["files", "wiki"]);
    }

    #[test]
    fn what_cannot_be_used_is_said_with_its_reason() {
        let told = |document: &str| format!("{:#}", names(Some(document), "{}").unwrap_err());
        assert!(told("/nowhere/tools.json").contains("/nowhere/tools.json cannot be read"));
        assert!(told(r#"{"tols": []}"#).contains("unknown field `tols`"));
        let function = r#"{"tools": [{"name": "t", "description": "d", "function": "arn:aws:lambda:x:1:function:f"}]}"#;
        assert!(
            told(r#"{"disabled": ["http_gett"]}"#).contains("`disabled` names `http_gett`, and there is no such tool")
        );
        assert!(told(function).contains("the tool `t` is a Lambda function, and there is none to invoke here"));
    }
}
