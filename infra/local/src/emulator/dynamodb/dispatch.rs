//! From an operation's name and JSON body to dynoxide's typed call and back to DynamoDB's HTTP form.
//!
//! Decoding and encoding happen outside of the database's lock. dynoxide keeps its own dispatcher private, so the markers
//! with which its decoders classify what they refuse are read here.

use std::future::{Future, ready};
use std::pin::Pin;

use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::ConnectorError;
use dynoxide::{Database, DynoxideError};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::hint::{self, Written};
use super::{Connector, Stopped};
use crate::emulator::response;

pub(super) type Answer = Pin<Box<dyn Future<Output = Result<HttpResponse, ConnectorError>> + Send + 'static>>;

const UNKNOWN_OPERATION: &str = r#"{"__type":"com.amazon.coral.service#UnknownOperationException"}"#;

/// Starts the operation and gives the future of its answer. The request is handed over before the first poll.
pub(super) fn dispatch(to: &Connector, operation: &str, body: &[u8]) -> Answer {
    match operation {
        "PutItem" => call(to, operation, body, hint::put, Database::put_item),
        "UpdateItem" => call(to, operation, body, hint::none, Database::update_item),
        "TransactWriteItems" => call(to, operation, body, hint::transaction, Database::transact_write_items),
        "BatchWriteItem" => call(to, operation, body, hint::batch, Database::batch_write_item),
        "GetItem" => call(to, operation, body, hint::none, Database::get_item),
        "Query" => call(to, operation, body, hint::none, Database::query),
        "DeleteItem" => call(to, operation, body, hint::none, Database::delete_item),
        "TransactGetItems" => call(to, operation, body, hint::none, Database::transact_get_items),
        "BatchGetItem" => call(to, operation, body, hint::none, Database::batch_get_item),
        "Scan" => call(to, operation, body, hint::none, Database::scan),
        "CreateTable" => call(to, operation, body, hint::none, Database::create_table),
        "DeleteTable" => call(to, operation, body, hint::none, Database::delete_table),
        "DescribeTable" => call(to, operation, body, hint::none, Database::describe_table),
        "ListTables" => call(to, operation, body, hint::none, Database::list_tables),
        "UpdateTimeToLive" => call(to, operation, body, hint::none, Database::update_time_to_live),
        "DescribeTimeToLive" => call(to, operation, body, hint::none, Database::describe_time_to_live),
        _ => Box::pin(ready(response(400, UNKNOWN_OPERATION))),
    }
}

fn call<Q, R>(
    to: &Connector,
    operation: &str,
    body: &[u8],
    written: fn(&Q, &mut Written),
    run: fn(&Database, Q) -> dynoxide::Result<R>,
) -> Answer
where
    Q: DeserializeOwned + Send + 'static,
    R: Serialize + Send + 'static,
{
    let request: Q = match serde_json::from_slice(body) {
        Ok(request) => request,
        Err(e) => return Box::pin(ready(refuse(operation_error(operation, refused_body(&e))))),
    };
    let wraps = wraps_validation(operation);
    let answer = match to.request(request, written, run) {
        Ok(answer) => answer,
        Err(stopped) => return Box::pin(ready(Err(stopped.into()))),
    };
    Box::pin(async move {
        match answer.await.map_err(|_| Stopped)? {
            Ok(answer) => match serde_json::to_string(&answer) {
                Ok(json) => response(200, json),
                Err(e) => refuse(DynoxideError::InternalServerError(e.to_string())),
            },
            Err(e) => refuse(envelope(wraps, e)),
        }
    })
}

fn refuse(error: DynoxideError) -> Result<HttpResponse, ConnectorError> {
    response(error.status_code(), error.to_json())
}

fn operation_error(operation: &str, error: DynoxideError) -> DynoxideError {
    envelope(wraps_validation(operation), error)
}

/// Whether DynamoDB words this operation's request validation as "1 validation error detected".
fn wraps_validation(operation: &str) -> bool {
    matches!(operation, "PutItem" | "UpdateItem" | "DeleteItem")
}

fn envelope(wraps: bool, error: DynoxideError) -> DynoxideError {
    match error {
        DynoxideError::EnvelopedValidation(message) if wraps => {
            DynoxideError::ValidationException(format!("1 validation error detected: {message}"))
        }
        other => other,
    }
}

/// What a body that cannot be decoded is refused with. dynoxide's decoders put a marker before the message; serde adds
/// the position behind it.
fn refused_body(error: &serde_json::Error) -> DynoxideError {
    let message = error.to_string();
    let bare = match message.rfind(" at line ") {
        Some(at) => &message[..at],
        None => &message,
    };
    if let Some(m) = bare.strip_prefix("VALIDATION_REQUEST:") {
        DynoxideError::EnvelopedValidation(m.to_owned())
    } else if let Some(m) = bare.strip_prefix("VALIDATION:").or_else(|| bare.strip_prefix("VALIDATION_AS_READ:")) {
        DynoxideError::ValidationException(m.to_owned())
    } else if let Some(m) = bare.strip_prefix("SERIALIZATION:").or_else(|| bare.strip_prefix("SERIALIZATION_AS_READ:"))
    {
        DynoxideError::SerializationException(m.to_owned())
    } else if ["missing field", "unknown variant", "invalid type: null", "AttributeValue"]
        .iter()
        .any(|words| bare.contains(words))
    {
        DynoxideError::ValidationException(bare.to_owned())
    } else {
        DynoxideError::SerializationException(bare.to_owned())
    }
}
