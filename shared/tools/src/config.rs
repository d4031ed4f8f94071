//! What a deployment says of its tools: the JSON document of `NIGHTSHIFT_TOOLS`. It holds no secret, only names of
//! secrets, since every process reads it that names tools.
//!
//! ```
//! # let document = r#"
//! {
//!   "http_get": {"hosts": ["docs.rs", "*.wikipedia.org"]},
//!   "web_search": {"provider": "brave"},
//!   "tools": [
//!     {
//!       "name": "create_ticket",
//!       "description": "Opens a ticket with the support team. Answers JSON: id, url.",
//!       "parameters": {"type": "object", "properties": {"title": {"type": "string"}}, "required": ["title"]},
//!       "url": "https://tickets.example.com/hooks/create",
//!       "signing_secret": "TICKETS_SECRET"
//!     },
//!     {"name": "refund", "description": "Refunds an order.", "function": "arn:aws:lambda:eu-west-1:123456789012:function:refund"}
//!   ],
//!   "mcp_servers": {
//!     "wiki": {"url": "https://wiki.example.com/mcp", "headers": {"Authorization": "Bearer ${WIKI_TOKEN}"}}
//!   },
//!   "disabled": ["refund", "wiki__delete_page"]
//! }
//! # "#;
//! # tools::config::ToolsConfig::parse(document)?;
//! # Ok::<(), tools::config::ConfigError>(())
//! ```

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use domain::{
    approval::ApprovalRule,
    tool_call::{Replay, ToolSpec},
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    Declared, RegisterError, ToolRegistry,
    builtin::{http_get, web_search},
    limits::DEFAULT_TIMEOUT,
};

/// Seconds that a tool's call may be given; a turn has no more.
const TIMEOUT_SECONDS: std::ops::RangeInclusive<u64> = 1..=600;
/// Seconds for which a server's list of tools is believed, unless it says otherwise.
const CACHE_SECONDS: u64 = 300;

/// What a deployment says of its tools. By default: `http_get` for every public address, and nothing else.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ToolsConfig {
    /// What `http_get` may fetch.
    pub http_get: HttpGetConfig,
    /// Whom `web_search` asks; `None`: there is no such tool.
    pub web_search: Option<WebSearchConfig>,
    /// The deployment's own tools.
    pub tools: Vec<ConfiguredTool>,
    /// MCP servers, by the names that jobs use.
    pub mcp_servers: BTreeMap<String, McpServerConfig>,
    /// Tools that are off (R98): by name, an MCP server's as `server__tool`.
    pub disabled: BTreeSet<String>,
}

/// What `http_get` may fetch.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HttpGetConfig {
    /// Whether there is such a tool.
    pub enabled: bool,
    /// The hosts that may be fetched: names, or `*.` and a name for everything below it; `None`: every public one.
    pub hosts: Option<Vec<String>>,
    /// Whether loopback and private addresses may be fetched: in the local runner only.
    pub allow_private: bool,
    /// Seconds that a fetch may take.
    pub timeout_seconds: Option<u64>,
}

impl Default for HttpGetConfig {
    fn default() -> Self {
        Self { enabled: true, hosts: None, allow_private: false, timeout_seconds: None }
    }
}

/// Who searches the web.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SearchProvider {
    /// Brave's Web Search API.
    Brave,
    /// Tavily's Search.
    Tavily,
}

impl SearchProvider {
    /// The secret that is its key when the deployment names no other.
    pub fn usual_key(self) -> &'static str {
        match self {
            Self::Brave => "BRAVE_API_KEY",
            Self::Tavily => "TAVILY_API_KEY",
        }
    }
}

/// Whom `web_search` asks.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebSearchConfig {
    /// The provider.
    pub provider: SearchProvider,
    /// The name of the secret that is its key; `None`: [`SearchProvider::usual_key`].
    #[serde(default)]
    pub key: Option<String>,
    /// Searches that one process begins in a second (R105); more wait in line. 1 is what Brave's free plan gives.
    #[serde(default = "one")]
    pub calls_per_second: f64,
    /// Another address than the provider's own, such as a proxy's.
    #[serde(default)]
    pub url: Option<String>,
    /// Whether that address may be private.
    #[serde(default)]
    pub allow_private: bool,
}

fn one() -> f64 {
    1.0
}

impl WebSearchConfig {
    /// This provider with the usual key.
    pub fn of(provider: SearchProvider) -> Self {
        Self { provider, key: None, calls_per_second: one(), url: None, allow_private: false }
    }

    /// The name of the secret that is its key.
    pub fn key(&self) -> &str {
        self.key.as_deref().unwrap_or_else(|| self.provider.usual_key())
    }
}

/// A tool that is an address, or a Lambda function.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConfiguredTool {
    /// What the model calls it by.
    pub name: String,
    /// What it does, in words for the model.
    pub description: String,
    /// JSON schema of its arguments, an object schema; without it, it takes none.
    #[serde(default = "no_arguments")]
    pub parameters: Value,
    /// The address that its calls are posted to.
    #[serde(default)]
    pub url: Option<String>,
    /// The ARN of the function that its calls invoke.
    #[serde(default)]
    pub function: Option<String>,
    /// The name of the secret (`whsec_…`) that signs what is posted.
    #[serde(default)]
    pub signing_secret: Option<String>,
    /// Further headers of what is posted; `${NAME}` stands for the secret of that name.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Seconds that a call may take (R45).
    #[serde(default)]
    pub timeout_seconds: Option<u64>,
    /// Which calls need a person's approval: `never`, `always`, or a JSON schema of their arguments.
    #[serde(default = "never")]
    pub approval: ApprovalRule,
    /// Whether the address may be loopback or private.
    #[serde(default)]
    pub allow_private: bool,
}

fn never() -> ApprovalRule {
    ApprovalRule::NEVER
}

fn no_arguments() -> Value {
    json!({"type": "object", "properties": {}})
}

impl ConfiguredTool {
    /// Calls carry a key, so that whoever gets one twice can tell.
    pub const REPLAY: Replay = Replay::WithKey;

    /// Its definition.
    pub fn spec(&self) -> ToolSpec {
        let Self { name, description, parameters, .. } = self.clone();
        ToolSpec { name, description, parameters }
    }

    /// How long a call may take.
    pub fn timeout(&self) -> Duration {
        seconds(self.timeout_seconds)
    }
}

/// An MCP server.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct McpServerConfig {
    /// Where it answers (streamable HTTP).
    #[serde(default)]
    pub url: Option<String>,
    /// Headers of every request; `${NAME}` stands for the secret of that name.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// A program with its arguments that is started and spoken to through its standard input and output: in the local
    /// runner only.
    #[serde(default)]
    pub command: Vec<String>,
    /// The program's variables; `${NAME}` stands for the secret of that name.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Seconds that a call may take (R45).
    #[serde(default)]
    pub timeout_seconds: Option<u64>,
    /// Which calls of its tools need a person's approval: `never`, `always`, or a JSON schema of their arguments.
    #[serde(default = "never")]
    pub approval: ApprovalRule,
    /// Seconds for which its list of tools is believed.
    #[serde(default = "cache_seconds")]
    pub cache_seconds: u64,
    /// Whether the address may be loopback or private.
    #[serde(default)]
    pub allow_private: bool,
}

fn cache_seconds() -> u64 {
    CACHE_SECONDS
}

impl McpServerConfig {
    /// How long a call may take.
    pub fn timeout(&self) -> Duration {
        seconds(self.timeout_seconds)
    }
}

fn seconds(given: Option<u64>) -> Duration {
    given.map_or(DEFAULT_TIMEOUT, Duration::from_secs)
}

/// Why the document cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It is not JSON of its form.
    #[error("it is not the JSON of a tools document")]
    Json(#[from] serde_json::Error),
    /// A part of it is not what it must be.
    #[error("`{path}` {rule}")]
    Part {
        /// Which part.
        path: String,
        /// What it must be.
        rule: &'static str,
    },
}

impl ToolsConfig {
    /// Reads a document.
    ///
    /// # Errors
    /// When it is not JSON of this form, or contradicts itself; the error names the part.
    pub fn parse(document: &str) -> Result<Self, ConfigError> {
        let config: Self = serde_json::from_str(document)?;
        config.check()?;
        Ok(config)
    }

    /// The same, where only what is fit for AWS may be said: no child processes, and no private addresses for what the
    /// model chooses.
    ///
    /// # Errors
    /// As [`Self::parse`], and when it says what only the local runner does.
    pub fn parse_deployed(document: &str) -> Result<Self, ConfigError> {
        let config = Self::parse(document)?;
        for (name, server) in &config.mcp_servers {
            part(server.command.is_empty(), || format!("mcp_servers.{name}.command"), "is for the local runner only")?;
        }
        part(!config.http_get.allow_private, || "http_get.allow_private".to_owned(), "is for the local runner only")?;
        Ok(config)
    }

    fn check(&self) -> Result<(), ConfigError> {
        in_time(self.http_get.timeout_seconds, || "http_get".to_owned())?;
        if let Some(search) = &self.web_search {
            let calls = search.calls_per_second;
            let rule = "must be a number above 0, at most 1000";
            part(calls > 0.0 && calls <= 1000.0, || "web_search.calls_per_second".to_owned(), rule)?;
            is_address(search.url.as_deref(), || "web_search.url".to_owned())?;
        }
        for (index, tool) in self.tools.iter().enumerate() {
            let path = |member: &str| format!("tools[{index}]{member} ({})", tool.name);
            in_time(tool.timeout_seconds, || path(""))?;
            is_address(tool.url.as_deref(), || path(".url"))?;
            part(tool.url.is_some() != tool.function.is_some(), || path(""), "must have either `url` or `function`")?;
            is_rule(&tool.approval, || path(".approval"))?;
            let is_arn = |arn: &String| arn.starts_with("arn:") && arn.contains(":lambda:");
            part(tool.function.as_ref().is_none_or(is_arn), || path(".function"), "must be the ARN of a function")?;
            let posts = tool.url.is_some() || (tool.signing_secret.is_none() && tool.headers.is_empty());
            part(posts, || path(""), "invokes a function, which has neither `signing_secret` nor `headers`")?;
        }
        for (name, server) in &self.mcp_servers {
            let path = |member: &str| format!("mcp_servers.{name}{member}");
            let fits = (1..=32).contains(&name.len())
                && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
            part(fits, || path(""), "must have a name of 1 to 32 letters, digits, `_` and `-`")?;
            in_time(server.timeout_seconds, || path(""))?;
            is_address(server.url.as_deref(), || path(".url"))?;
            is_rule(&server.approval, || path(".approval"))?;
            part(
                server.url.is_some() == server.command.is_empty(),
                || path(""),
                "must have either `url` or `command`",
            )?;
        }
        Ok(())
    }

    /// Registers every tool of the document by its definition alone, for processes that run none, beside the built-in
    /// ones, and [switches off](Self::switch_off) those that are to be off.
    ///
    /// # Errors
    /// When a name is taken, or is none, or a schema cannot be used, or a tool that is to be off is not there.
    pub fn declare(&self, registry: &mut ToolRegistry) -> Result<(), RegisterError> {
        if self.http_get.enabled {
            registry.register(Declared::new(http_get::spec(), http_get::REPLAY, self.http_get.timeout()))?;
        }
        if self.web_search.is_some() {
            registry.register(Declared::new(web_search::spec(), web_search::REPLAY, web_search::TIMEOUT))?;
        }
        for tool in &self.tools {
            registry.register(Declared::new(tool.spec(), ConfiguredTool::REPLAY, tool.timeout()))?;
        }
        self.switch_off(registry)
    }

    /// Switches off what is to be off, in a registry that has every tool. Which tools an MCP server has shows when it is
    /// asked, so that of theirs only the server's name is checked.
    ///
    /// # Errors
    /// When there is no such tool.
    pub fn switch_off(&self, registry: &mut ToolRegistry) -> Result<(), RegisterError> {
        for name in &self.disabled {
            let is_of = |server: &String| name.strip_prefix(server.as_str()).is_some_and(|rest| rest.starts_with("__"));
            if registry.set_enabled(name, false) {
                continue;
            }
            if !self.mcp_servers.keys().any(is_of) {
                return Err(RegisterError::Absent(name.clone()));
            }
            registry.switch_off_served(name);
        }
        Ok(())
    }
}

impl HttpGetConfig {
    /// How long a fetch may take.
    pub fn timeout(&self) -> Duration {
        self.timeout_seconds.map_or(http_get::TIMEOUT, Duration::from_secs)
    }
}

fn part(holds: bool, path: impl FnOnce() -> String, rule: &'static str) -> Result<(), ConfigError> {
    if holds { Ok(()) } else { Err(ConfigError::Part { path: path(), rule }) }
}

fn in_time(seconds: Option<u64>, path: impl FnOnce() -> String) -> Result<(), ConfigError> {
    let holds = seconds.is_none_or(|seconds| TIMEOUT_SECONDS.contains(&seconds));
    part(holds, path, "has a `timeout_seconds` that is not from 1 to 600")
}

fn is_rule(rule: &ApprovalRule, path: impl FnOnce() -> String) -> Result<(), ConfigError> {
    let holds = !matches!(rule, ApprovalRule::Matching(schema) if !schema.is_object());
    part(holds, path, "must be `never`, `always` or a JSON schema")
}

fn is_address(url: Option<&str>, path: impl FnOnce() -> String) -> Result<(), ConfigError> {
    let holds = url.is_none_or(|url| url.starts_with("https://") || url.starts_with("http://"));
    part(holds, path, "must begin with https:// or http://")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(document: &str) -> String {
        ToolsConfig::parse_deployed(document).unwrap_err().to_string()
    }

    #[test]
    fn without_a_word_there_is_http_get_and_no_search() {
        let mut registry = ToolRegistry::new();
        ToolsConfig::parse("{}").unwrap().declare(&mut registry).unwrap();
        let names: Vec<&str> = registry.list().map(crate::RegisteredTool::name).collect();
        assert_eq!(names, ["http_get"]);
    }

    #[test]
    fn web_search_is_there_when_it_is_configured_r81() {
        let config = ToolsConfig::parse(r#"{"http_get": {"enabled": false}, "web_search": {"provider": "tavily"}}"#);
        let config = config.unwrap();
        assert_eq!(config.web_search.as_ref().unwrap().key(), "TAVILY_API_KEY");
        let mut registry = ToolRegistry::new();
        config.declare(&mut registry).unwrap();
        assert_eq!(registry.list().map(crate::RegisteredTool::name).collect::<Vec<_>>(), ["web_search"]);
    }

    #[test]
    fn what_is_disabled_is_declared_and_off_and_has_to_be_there_r98() {
        let declared = |disabled: &str| {
            let mut registry = crate::builtin::declared();
            let servers = r#"{"wiki": {"url": "https://wiki.test/mcp"}}"#;
            let config = ToolsConfig::parse(&format!(r#"{{"mcp_servers": {servers}, "disabled": [{disabled}]}}"#));
            config.unwrap().declare(&mut registry).map(|()| registry)
        };
        let registry = declared(r#""calculate", "http_get", "wiki__search""#).unwrap();
        let on: Vec<&str> = registry.list().filter(|tool| tool.is_enabled()).map(crate::RegisteredTool::name).collect();
        assert_eq!((registry.list().count(), on), (3, vec!["get_current_time"]));
        for absent in ["calculator", "wiki", "wiki_search", "files__read"] {
            let error = declared(&format!("\"{absent}\"")).unwrap_err().to_string();
            assert_eq!(error, format!("`disabled` names `{absent}`, and there is no such tool"));
        }
    }

    #[test]
    fn what_contradicts_itself_is_named() {
        let tool = |rest: &str| refusal(&format!(r#"{{"tools": [{{"name": "t", "description": "d"{rest}}}]}}"#));
        assert_eq!(tool(""), "`tools[0] (t)` must have either `url` or `function`");
        assert_eq!(tool(r#", "url": "ftp://x""#), "`tools[0].url (t)` must begin with https:// or http://");
        assert_eq!(tool(r#", "function": "refund""#), "`tools[0].function (t)` must be the ARN of a function");
        assert_eq!(
            tool(r#", "url": "https://x", "approval": "sometimes""#),
            "`tools[0].approval (t)` must be `never`, `always` or a JSON schema"
        );
        assert_eq!(
            tool(r#", "url": "https://x", "timeout_seconds": 601"#),
            "`tools[0] (t)` has a `timeout_seconds` that is not from 1 to 600"
        );
        assert_eq!(
            refusal(r#"{"mcp_servers": {"a b": {"url": "https://x"}}}"#),
            "`mcp_servers.a b` must have a name of 1 to 32 letters, digits, `_` and `-`"
        );
        assert_eq!(refusal(r#"{"mcp_servers": {"a": {}}}"#), "`mcp_servers.a` must have either `url` or `command`");
        assert_eq!(refusal(r#"{"web_serch": {}}"#), "it is not the JSON of a tools document");
    }

    #[test]
    fn what_only_the_local_runner_does_is_refused_on_aws() {
        let stdio = r#"{"mcp_servers": {"files": {"command": ["mcp-files", "/tmp"]}}}"#;
        assert!(ToolsConfig::parse(stdio).is_ok());
        assert_eq!(refusal(stdio), "`mcp_servers.files.command` is for the local runner only");
        let private = r#"{"http_get": {"allow_private": true}}"#;
        assert!(ToolsConfig::parse(private).is_ok());
        assert_eq!(refusal(private), "`http_get.allow_private` is for the local runner only");
    }
}
