//! How a tool says that it failed. Each variant carries what the registry needs to act: no message is read for meaning.

/// A cause, kept for the log. It never reaches the model.
pub type Source = Box<dyn std::error::Error + Send + Sync>;

/// Why a call has no answer.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    /// The arguments fit the schema and are still not usable, and nothing has been done: an unknown time zone, say.
    /// The model reads the message and may try again.
    #[error("{0}")]
    InvalidArguments(String),

    /// It did not work, and the model should know why and go on: the page does not exist, the number is too large.
    #[error("{0}")]
    RespondToModel(String),

    /// The network failed. Tried once more when that cannot do harm (R65): nothing was sent yet, or the tool's `replay`
    /// allows it. After that the model reads the message.
    #[error("network failure: {message}")]
    Network {
        /// What failed, in words for the model: no address with a key in it.
        message: String,
        /// Whether the far side may have got the request.
        sent: Sent,
        /// The failure itself, for the log.
        #[source]
        source: Option<Source>,
    },

    /// The deployment is broken, not the call: a missing secret, a corrupt table. The model is told only that the tool
    /// failed, and the job may be failed (R95).
    #[error("the tool is broken")]
    Fatal(#[source] Source),
}

/// How far a request got before the network failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// Nowhere: no name, no connection.
    Nothing,
    /// Perhaps to the far side, which may have acted on it.
    Perhaps,
}
