//! What it means that a call has no result: of the connection, and to the model.

use rmcp::{
    ServiceError,
    transport::{DynamicTransportError, streamable_http_client::StreamableHttpError},
};
use tools::{Sent, Source, ToolError};

use super::connection::Connection;

/// Characters of a server's error that the model reads.
const ERROR_CHARS: usize = 2_000;

/// The code with which many servers refuse a session that they do not know. It says other things as well; giving up a
/// connection costs little.
const SERVER_ERROR: i32 = -32_000;

/// What a call's failure says of the server of this name. A connection that is lost, or may be, is given up.
pub(super) fn failure(server: &str, error: ServiceError, connection: &Connection) -> ToolError {
    match error {
        ServiceError::McpError(error) => {
            if error.code.0 == SERVER_ERROR {
                connection.doubt();
            }
            refusal(server, &error.message)
        }
        ServiceError::TransportSend(error) => not_sent(server, error, connection),
        ServiceError::TransportClosed => {
            connection.give_up();
            ended(server, error.into())
        }
        _ => unreadable(server, &error),
    }
}

fn refusal(server: &str, said: &str) -> ToolError {
    let said: String = said.chars().take(ERROR_CHARS).collect();
    ToolError::RespondToModel(format!("MCP server `{server}` refused the call: {said}"))
}

/// The SDK's name for whatever became of a request but a message in return: an HTTP answer, over a connection that works,
/// as well as none.
fn not_sent(server: &str, error: DynamicTransportError, connection: &Connection) -> ToolError {
    let http = match error.error.downcast::<StreamableHttpError<reqwest::Error>>() {
        Ok(http) => *http,
        Err(other) => {
            connection.give_up();
            return lost(server, Sent::Perhaps, other);
        }
    };
    match http {
        StreamableHttpError::HttpStatus(answer) => ToolError::Network {
            message: format!("MCP server `{server}` answered with HTTP {}", answer.status),
            sent: Sent::Perhaps,
            source: Some(answer.into()),
        },
        StreamableHttpError::ResponseBodyTooLarge { max_size } => {
            says(format!("MCP server `{server}` answered with more than {max_size} bytes"))
        }
        StreamableHttpError::UnexpectedContentType(kind) => {
            let kind: String = kind.as_deref().unwrap_or("nothing").chars().take(100).collect();
            says(format!("MCP server `{server}` answered with {kind}, which is not of the protocol"))
        }
        StreamableHttpError::AuthRequired(_) | StreamableHttpError::InsufficientScope(_) => {
            tracing::warn!(server.name = server, "an MCP server does not accept our credentials");
            says(format!("MCP server `{server}` does not let us in"))
        }
        StreamableHttpError::UnexpectedServerResponse(said) => {
            connection.doubt(); // its words may be about the session
            refusal(server, &said)
        }
        StreamableHttpError::Client(error) => {
            connection.give_up();
            let sent = if error.is_connect() { Sent::Nothing } else { Sent::Perhaps };
            lost(server, sent, error.without_url().into())
        }
        other => {
            connection.give_up();
            lost(server, Sent::Perhaps, other.into())
        }
    }
}

fn says(message: String) -> ToolError {
    ToolError::RespondToModel(message)
}

fn lost(server: &str, sent: Sent, source: Source) -> ToolError {
    let message = match sent {
        Sent::Nothing => format!("MCP server `{server}` cannot be reached"),
        Sent::Perhaps => format!("the connection to MCP server `{server}` was lost"),
    };
    ToolError::Network { message, sent, source: Some(source) }
}

/// A stream that ends without its answer, which the SDK does to one with a message that is too long, and says no more.
fn ended(server: &str, source: Source) -> ToolError {
    let message = format!("the connection to MCP server `{server}` was lost, or its answer is longer than 1 MiB");
    ToolError::Network { message, sent: Sent::Perhaps, source: Some(source) }
}

fn unreadable(server: &str, error: &ServiceError) -> ToolError {
    tracing::warn!(server.name = server, error = error as &dyn std::error::Error, "an MCP call failed");
    says(format!("MCP server `{server}` gave no answer that can be read"))
}
