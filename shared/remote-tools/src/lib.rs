//! Tools that reach out: the code behind `http_get`, `web_search`, a deployment's own addresses and functions, and MCP
//! servers. `tools` knows them by name and schema; this package is the one that links HTTP clients for them, so that the
//! functions that only name tools do not.
//!
//! Everything that a tool connects to goes through one [`Guard`]: no tool makes a client of its own. Secrets come from
//! the deployment's configuration by [`Secrets`] and are in no error, no log and no answer.
//!
//! # Adding one
//!
//! A definition in `tools::builtin` (so that everybody knows it), a file here that implements [`tools::TypedTool`] with
//! it, and a line in [`register`].

mod address;
mod body;
mod guard;
mod html;
mod http_get;
mod http_tool;
mod lambda_tool;
mod mcp;
mod pace;
mod secrets;
mod signature;
mod web_search;

use tools::{RegisterError, ToolRegistry, builtin::Clock, config::ToolsConfig};

pub use self::{
    guard::{Guard, Lookup, Refused},
    secrets::{SecretError, Secrets},
};

/// Why the deployment's tools cannot be set up. It names the tool's secret or address, and shows no secret.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// A secret is missing or wrong.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// An address may not be asked.
    #[error("an address of the tools cannot be used: {0}")]
    Address(#[from] Refused),
    /// A name is taken or a schema is none.
    #[error(transparent)]
    Register(#[from] RegisterError),
    /// No HTTP client can be made.
    #[error("cannot make an HTTP client")]
    Client(#[from] reqwest::Error),
    /// A tool is a function, and this process has no client for those.
    #[error("the tool `{0}` is a Lambda function, and there is none to invoke here: it needs AWS")]
    NoFunctions(String),
    /// A server is a child process, and this process starts none.
    #[error("MCP servers that are programs are for the local runner only")]
    NoChildProcesses,
}

/// What tools are made of.
#[derive(Clone)]
pub struct Parts {
    /// The secrets that the configuration names.
    pub secrets: Secrets,
    /// Invokes functions; `None`: there are none to invoke.
    pub functions: Option<aws_sdk_lambda::Client>,
    /// The time.
    pub clock: Clock,
}

/// Registers every tool and server of a configuration beside the built-in ones, the same that [`ToolsConfig::declare`]
/// declares, and switches off those that are to be off.
///
/// # Errors
/// When a secret is missing, an address may not be asked, a name is taken, or a tool that is to be off is not there.
pub fn register(registry: &mut ToolRegistry, config: &ToolsConfig, parts: &Parts) -> Result<(), SetupError> {
    let Parts { secrets, functions, clock } = parts;
    if config.http_get.enabled {
        let guard =
            Guard::new().with_private(config.http_get.allow_private).with_hosts(config.http_get.hosts.as_deref());
        registry.register(http_get::HttpGet::new(guard, config.http_get.timeout()))?;
    }
    if let Some(search) = &config.web_search {
        registry.register(web_search::WebSearch::new(search, secrets)?)?;
    }
    for tool in &config.tools {
        match (&tool.url, &tool.function, functions) {
            (Some(url), _, _) => {
                registry.register(http_tool::HttpTool::new(tool, url, secrets, clock.clone())?)?;
            }
            (None, Some(function), Some(client)) => {
                registry.register(lambda_tool::LambdaTool::new(tool, function, client.clone()))?;
            }
            (None, _, _) => return Err(SetupError::NoFunctions(tool.name.clone())),
        }
    }
    for (name, server) in &config.mcp_servers {
        registry.register_server(name, mcp::McpServer::new(name, server, secrets)?);
    }
    Ok(config.switch_off(registry)?)
}

#[cfg(test)]
mod far_side;
#[cfg(test)]
mod tests;
