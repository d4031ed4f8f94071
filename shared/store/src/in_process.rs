//! A table in this process. The requests of turns and viewers go to it as they are: what an SDK does for a request (a form
//! for the network and back, an address, credentials, retries) takes longer there than what the request asks for.

use std::fmt;

use futures_util::future::BoxFuture;

use crate::{Source, error::Verdict, item::Item, key::Key, query::PageRequest, write::Write};

/// An answer of a table in this process. It is carried out even when nobody waits for it. An error means what a failed
/// request means: whether a write happened is not known.
pub type InProcessAnswer<T> = BoxFuture<'static, Result<T, Source>>;

/// A table in this process, which does for these four requests what DynamoDB does. Everything else is asked by the client
/// of the same table.
pub trait InProcess: fmt::Debug + Send + Sync {
    /// One item, or nothing.
    fn get(&self, table: &str, key: Key) -> InProcessAnswer<Option<Item>>;

    /// One page of a range, and the key after which the next one begins.
    fn page(&self, table: &str, request: PageRequest) -> InProcessAnswer<(Vec<Item>, Option<Item>)>;

    /// One write alone, which is not a check.
    fn write(&self, table: &str, write: Write) -> InProcessAnswer<Verdict>;

    /// All of the writes; or none, and then a verdict for each, in order.
    fn transact(&self, table: &str, writes: Vec<Write>) -> InProcessAnswer<Result<(), Vec<Verdict>>>;
}
