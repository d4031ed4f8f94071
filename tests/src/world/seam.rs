//! Between a process and the table: requests are changed, or answered with something else. Only for tests that show what
//! happens without a rule of the protocol.

use std::{fmt, sync::Arc};

use aws_smithy_runtime_api::client::{
    http::{
        HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient, SharedHttpConnector,
    },
    orchestrator::{HttpRequest, HttpResponse},
    result::ConnectorError,
    runtime_components::RuntimeComponents,
};
use aws_smithy_types::body::SdkBody;
use futures_util::{FutureExt as _, future::BoxFuture};
use serde_json::Value;

/// What is done with a request.
pub type Meddler = Arc<dyn Fn(Asked) -> BoxFuture<'static, Result<HttpResponse, ConnectorError>> + Send + Sync>;

/// A request on its way to the table.
pub struct Asked {
    /// What it asks for, such as `PutItem`.
    pub operation: String,
    /// Its body.
    pub body: Value,
    inner: SharedHttpConnector,
}

impl Asked {
    /// Asks, with the body as it is by now.
    pub async fn ask(self) -> Result<HttpResponse, ConnectorError> {
        let (operation, body) = (self.operation.clone(), self.body.clone());
        self.ask_for(&operation, &body).await
    }

    /// Asks for something else.
    pub async fn ask_for(&self, operation: &str, body: &Value) -> Result<HttpResponse, ConnectorError> {
        let mut request = HttpRequest::new(SdkBody::from(body.to_string()));
        request.headers_mut().insert("x-amz-target", format!("DynamoDB_20120810.{operation}"));
        self.inner.call(request).await
    }
}

/// Nobody meddles.
pub fn nothing() -> Meddler {
    Arc::new(|asked| asked.ask().boxed())
}

/// The writes of a transaction.
pub fn writes(transaction: &mut Value) -> impl Iterator<Item = &mut Value> {
    let items = transaction["TransactItems"].as_array_mut().into_iter().flatten();
    items.filter_map(|item| item.as_object_mut()?.values_mut().next())
}

/// Makes of a write one that asks for nothing.
pub fn without_condition(write: &mut Value) {
    write.as_object_mut().map(|write| write.remove("ConditionExpression"));
    prune(write);
}

/// The table refuses names and values that are not used.
pub(crate) fn prune(write: &mut Value) {
    let text = |name: &str| write[name].as_str().unwrap_or_default().to_owned();
    let expressions = format!("{} {}", text("ConditionExpression"), text("UpdateExpression"));
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '#' || c == ':';
    let used: Vec<&str> = expressions
        .split(|c: char| !is_part(c))
        .flat_map(|word| word.split('.'))
        .filter(|word| !word.is_empty())
        .collect();
    let Some(write) = write.as_object_mut() else { return };
    for part in ["ExpressionAttributeNames", "ExpressionAttributeValues"] {
        let is_left = write.get_mut(part).and_then(Value::as_object_mut).is_none_or(|map| {
            map.retain(|name, _| used.contains(&name.as_str()));
            !map.is_empty()
        });
        if !is_left {
            write.remove(part);
        }
    }
}

/// An HTTP client somebody meddles with.
pub(super) struct Seam {
    pub(super) inner: SharedHttpClient,
    pub(super) meddler: Meddler,
}

impl fmt::Debug for Seam {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seam").finish_non_exhaustive()
    }
}

impl HttpClient for Seam {
    fn http_connector(&self, settings: &HttpConnectorSettings, components: &RuntimeComponents) -> SharedHttpConnector {
        let (inner, meddler) = (self.inner.http_connector(settings, components), self.meddler.clone());
        SharedHttpConnector::new(Connector { inner, meddler })
    }
}

struct Connector {
    inner: SharedHttpConnector,
    meddler: Meddler,
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector").finish_non_exhaustive()
    }
}

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let target = request.headers().get("x-amz-target").unwrap_or_default();
        let operation = target.rsplit('.').next().unwrap_or_default().to_owned();
        let body = serde_json::from_slice(request.body().bytes().unwrap_or_default()).unwrap_or_default();
        HttpConnectorFuture::new((self.meddler)(Asked { operation, body, inner: self.inner.clone() }))
    }
}
