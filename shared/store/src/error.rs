//! Why the table could not be read or written. The only place where the SDK's errors are inspected.

use aws_sdk_dynamodb::{
    error::{ProvideErrorMetadata, SdkError},
    operation::transact_write_items::TransactWriteItemsError,
    types::CancellationReason,
};

use crate::item::Item;

/// The SDK's own error, kept whole for the log.
pub type Source = Box<dyn std::error::Error + Send + Sync>;

/// Why a request to the table did not do what it should. An answer that callers must act on is an outcome instead.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The table, or the account, takes no more just now.
    #[error("the table is busy")]
    Throttled(#[source] Source),
    /// It could not be reached, or answered with an error. Whether a write happened is not known.
    #[error("the table cannot be reached")]
    Unavailable(#[source] Source),
    /// An item is not as this release, or any before it, writes it.
    #[error("the item {key} cannot be read: {reason}")]
    Corrupt {
        /// Which.
        key: String,
        /// Why.
        reason: String,
    },
    /// A write met others over and over. Nothing was written.
    #[error("the write lost against others too often")]
    Contended,
}

impl Error {
    pub(crate) fn corrupt(key: impl Into<String>, reason: impl ToString) -> Self {
        Self::Corrupt { key: key.into(), reason: reason.to_string() }
    }

    /// Whether the same request may succeed in a moment.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Throttled(_) | Self::Unavailable(_) | Self::Contended => true,
            Self::Corrupt { .. } => false,
        }
    }

    /// What an SDK error amounts to.
    pub(crate) fn from_sdk(error: impl ProvideErrorMetadata + std::error::Error + Send + Sync + 'static) -> Self {
        if error.code().is_some_and(is_throttling) {
            Self::Throttled(Box::new(error))
        } else {
            Self::Unavailable(Box::new(error))
        }
    }
}

fn is_throttling(code: &str) -> bool {
    matches!(
        code,
        "ProvisionedThroughputExceededException" | "RequestLimitExceeded" | "ThrottlingException" | "ThrottlingError"
    )
}

/// What became of one item of a refused transaction.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Verdict {
    /// Nothing spoke against it.
    Fine,
    /// Its condition does not hold; the item as it is, if there is one.
    Refused(Option<Item>),
}

/// Why a transaction was not carried out.
pub(crate) enum Cancelled {
    /// Conditions do not hold; one verdict for each item, in order.
    Refused(Vec<Verdict>),
    /// Another transaction was at work on one of its items: try again.
    Conflict,
    /// Anything else.
    Failed(Error),
}

/// Sorts a transaction's error.
pub(crate) fn cancelled(error: SdkError<TransactWriteItemsError>) -> Cancelled {
    let Some(TransactWriteItemsError::TransactionCanceledException(cause)) = error.as_service_error() else {
        return match error.as_service_error().and_then(ProvideErrorMetadata::code) {
            Some("TransactionInProgressException") => Cancelled::Conflict,
            _ => Cancelled::Failed(Error::from_sdk(error)),
        };
    };
    let reasons = cause.cancellation_reasons();
    let has = |code: &str| reasons.iter().any(|reason| reason.code() == Some(code));
    if has("ConditionalCheckFailed") {
        return Cancelled::Refused(reasons.iter().map(verdict).collect());
    }
    if has("TransactionConflict") {
        return Cancelled::Conflict;
    }
    if has("ThrottlingError") || has("ProvisionedThroughputExceeded") {
        return Cancelled::Failed(Error::Throttled(Box::new(error)));
    }
    Cancelled::Failed(Error::Unavailable(Box::new(error)))
}

fn verdict(reason: &CancellationReason) -> Verdict {
    match reason.code() {
        Some("ConditionalCheckFailed") => Verdict::Refused(reason.item().filter(|item| !item.is_empty()).cloned()),
        _ => Verdict::Fine,
    }
}
