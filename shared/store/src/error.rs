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

/// What became of a write alone, or of one of a refused transaction.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// Nothing spoke against it.
    Fine,
    /// Its condition does not hold; the item as it is, if there is one.
    Refused(Option<Item>),
}

/// Why a transaction was not carried out.
pub(crate) enum Cancelled {
    /// Conditions do not hold; one verdict for each item, in order.
    Refused(Vec<Verdict>),
    /// Another transaction was at work on one of its items, or the table took no more just then: try again. With what it
    /// is when that does not help. (The SDK tries nothing again that was cancelled.)
    Busy(Error),
    /// Anything else.
    Failed(Error),
}

/// Sorts a transaction's error.
pub(crate) fn cancelled(error: SdkError<TransactWriteItemsError>) -> Cancelled {
    let Some(TransactWriteItemsError::TransactionCanceledException(cause)) = error.as_service_error() else {
        return match error.as_service_error().and_then(ProvideErrorMetadata::code) {
            Some("TransactionInProgressException") => Cancelled::Busy(Error::Contended),
            _ => Cancelled::Failed(Error::from_sdk(error)),
        };
    };
    let reasons = cause.cancellation_reasons();
    let has = |code: &str| reasons.iter().any(|reason| reason.code() == Some(code));
    if has("ConditionalCheckFailed") {
        return Cancelled::Refused(reasons.iter().map(verdict).collect());
    }
    if has("TransactionConflict") {
        return Cancelled::Busy(Error::Contended);
    }
    if has("ThrottlingError") || has("ProvisionedThroughputExceeded") {
        return Cancelled::Busy(Error::Throttled(Box::new(error)));
    }
    Cancelled::Failed(Error::Unavailable(Box::new(error)))
}

fn verdict(reason: &CancellationReason) -> Verdict {
    match reason.code() {
        Some("ConditionalCheckFailed") => Verdict::Refused(reason.item().filter(|item| !item.is_empty()).cloned()),
        _ => Verdict::Fine,
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_dynamodb::types::{AttributeValue, error::TransactionCanceledException};
    use aws_smithy_runtime_api::{
        client::{orchestrator::HttpResponse, result::ServiceError},
        http::StatusCode,
    };

    use super::*;

    /// The SDK's error of a transaction whose items were answered with these codes.
    fn refused(codes: &[&str]) -> SdkError<TransactWriteItemsError> {
        let reasons = codes.iter().map(|code| CancellationReason::builder().code(*code).build()).collect();
        let cause = TransactionCanceledException::builder().set_cancellation_reasons(Some(reasons)).build();
        let raw = HttpResponse::new(StatusCode::try_from(400).unwrap(), "".into());
        let error = TransactWriteItemsError::TransactionCanceledException(cause);
        SdkError::ServiceError(ServiceError::builder().source(error).raw(raw).build())
    }

    #[test]
    fn a_condition_that_does_not_hold_decides_whatever_else_went_wrong() {
        let Cancelled::Refused(verdicts) =
            cancelled(refused(&["None", "ConditionalCheckFailed", "TransactionConflict"]))
        else {
            panic!("not refused")
        };
        assert_eq!(verdicts, [Verdict::Fine, Verdict::Refused(None), Verdict::Fine]);
    }

    #[test]
    fn a_conflict_and_a_busy_table_are_tried_again() {
        let conflict = cancelled(refused(&["None", "TransactionConflict"]));
        assert!(matches!(conflict, Cancelled::Busy(Error::Contended)));
        for code in ["ThrottlingError", "ProvisionedThroughputExceeded"] {
            assert!(matches!(cancelled(refused(&[code])), Cancelled::Busy(Error::Throttled(_))), "{code}");
        }
        assert!(matches!(cancelled(refused(&["ValidationError"])), Cancelled::Failed(Error::Unavailable(_))));
        for code in ["ProvisionedThroughputExceededException", "RequestLimitExceeded", "ThrottlingException"] {
            assert!(is_throttling(code), "{code}");
        }
        assert!(!is_throttling("ValidationException"));
    }

    #[test]
    fn what_passes_is_told_from_what_does_not() {
        let source = || Source::from("why");
        assert!(Error::Throttled(source()).is_passing() && Error::Unavailable(source()).is_passing());
        assert!(Error::Contended.is_passing() && !Error::corrupt("head", "no JSON").is_passing());
        assert_eq!(Error::corrupt("head", "no JSON").to_string(), "the item head cannot be read: no JSON");
        let item = Item::from([("pk".to_owned(), AttributeValue::S("a".to_owned()))]);
        let reason = CancellationReason::builder().code("ConditionalCheckFailed").set_item(Some(item.clone())).build();
        assert_eq!(verdict(&reason), Verdict::Refused(Some(item)));
    }
}
