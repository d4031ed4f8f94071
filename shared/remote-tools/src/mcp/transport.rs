//! How a server is reached: streamable HTTP through the guarded client, or, where the local runner turns that on, a child
//! process.

use std::collections::HashMap;

use reqwest::Client;
use rmcp::{
    RoleClient,
    service::{RunningService, serve_client},
    transport::{StreamableHttpClientTransport, streamable_http_client::StreamableHttpClientTransportConfig},
};
use tools::{Source, config::McpServerConfig};

use super::Listener;
use crate::{SetupError, guard::Guard, secrets::Secrets};

/// Bytes of one message of a server: more than a result may have, with room for JSON around it.
const MESSAGE_BYTES: usize = 1024 * 1024;

/// What every program may need of our environment.
#[cfg(feature = "stdio")]
const USUAL_VARIABLES: [&str; 8] = ["HOME", "LANG", "LOGNAME", "PATH", "SHELL", "TERM", "TMPDIR", "USER"];

pub(super) enum Transport {
    Http {
        http: Client,
        config: Box<StreamableHttpClientTransportConfig>,
    },
    #[cfg(feature = "stdio")]
    Stdio {
        command: Vec<String>,
        env: Vec<(String, String)>,
    },
}

impl Transport {
    pub(super) fn new(config: &McpServerConfig, secrets: &Secrets) -> Result<Self, SetupError> {
        let Some(url) = &config.url else { return Self::stdio(config, secrets) };
        let guard = Guard::new().with_private(config.allow_private);
        let url = guard.address(url)?;
        let mut headers = HashMap::new();
        for (name, value) in secrets.headers(&config.headers)? {
            headers.extend(name.map(|name| (name, value)));
        }
        let config = StreamableHttpClientTransportConfig::with_uri(url.as_str())
            .custom_headers(headers)
            .max_sse_event_size(MESSAGE_BYTES)
            .max_json_response_size(MESSAGE_BYTES)
            .reinit_on_expired_session(true);
        // Redirects are not followed: headers that are secrets go nowhere but to their address.
        Ok(Self::Http { http: guard.client(false, None)?, config: Box::new(config) })
    }

    #[cfg(not(feature = "stdio"))]
    fn stdio(_: &McpServerConfig, _: &Secrets) -> Result<Self, SetupError> {
        Err(SetupError::NoChildProcesses)
    }

    #[cfg(feature = "stdio")]
    fn stdio(config: &McpServerConfig, secrets: &Secrets) -> Result<Self, SetupError> {
        // Nothing else of our environment: there are keys in it that are not the program's.
        let usual = USUAL_VARIABLES.iter().filter_map(|&name| Some((name.to_owned(), secrets.get(name).ok()?)));
        let mut env: Vec<(String, String)> = usual.collect();
        for (name, value) in &config.env {
            env.push((name.clone(), secrets.fill(value)?));
        }
        Ok(Self::Stdio { command: config.command.clone(), env })
    }

    /// Whether a server that is reached so can forget a session.
    pub(super) fn can_be_forgotten(&self) -> bool {
        matches!(self, Self::Http { .. })
    }

    pub(super) async fn connect(&self, listener: Listener) -> Result<RunningService<RoleClient, Listener>, Source> {
        match self {
            Self::Http { http, config } => {
                let transport = StreamableHttpClientTransport::with_client(http.clone(), (**config).clone());
                Ok(serve_client(listener, transport).await?)
            }
            #[cfg(feature = "stdio")]
            Self::Stdio { command, env } => {
                let Some((program, arguments)) = command.split_first() else { return Err("no program".into()) };
                let mut child = tokio::process::Command::new(program);
                child.args(arguments).env_clear().envs(env.iter().cloned()).kill_on_drop(true);
                // What it says beside the protocol is its own affair, and not for our terminal.
                let (transport, _) =
                    rmcp::transport::TokioChildProcess::builder(child).stderr(std::process::Stdio::null()).spawn()?;
                Ok(serve_client(listener, transport).await?)
            }
        }
    }
}
