//! One session with a server. Whoever calls on it holds it, so that giving it up cuts nobody off: it ends with the last
//! call that is under way, and later calls get another.

use std::{
    ops::Deref,
    sync::atomic::{AtomicBool, Ordering},
};

use rmcp::{RoleClient, service::RunningService};
use tokio_util::sync::CancellationToken;

use super::Listener;

/// A session with a server.
pub(super) struct Connection {
    running: RunningService<RoleClient, Listener>,
    /// Whether the far side can forget it and say nothing that is understood: a program cannot, which has but one session
    /// and ends with it.
    can_be_forgotten: bool,
    is_given_up: AtomicBool,
}

impl Connection {
    pub(super) fn new(running: RunningService<RoleClient, Listener>, can_be_forgotten: bool) -> Self {
        Self { running, can_be_forgotten, is_given_up: AtomicBool::new(false) }
    }

    /// Leaves a new one to whoever comes later.
    pub(super) fn give_up(&self) {
        self.is_given_up.store(true, Ordering::Relaxed);
    }

    /// The same where the session may have been forgotten. A program goes on: what it keeps in memory would be lost.
    pub(super) fn doubt(&self) {
        if self.can_be_forgotten {
            self.give_up();
        }
    }

    /// Whether it may be used again, as far as can be told.
    pub(super) fn is_usable(&self) -> bool {
        let is_closed = self.running.is_closed() || self.running.peer().is_transport_closed();
        !is_closed && !self.is_given_up.load(Ordering::Relaxed)
    }
}

impl Deref for Connection {
    type Target = RunningService<RoleClient, Listener>;

    fn deref(&self) -> &Self::Target {
        &self.running
    }
}

/// A call under way. When it is dropped without an answer its time is over, and the server may never answer in this
/// session again; unless the call was cancelled, which says nothing of the server.
pub(super) struct Waiting<'a> {
    connection: &'a Connection,
    cancel: &'a CancellationToken,
    is_answered: bool,
}

impl<'a> Waiting<'a> {
    pub(super) fn on(connection: &'a Connection, cancel: &'a CancellationToken) -> Self {
        Self { connection, cancel, is_answered: false }
    }

    /// Waits for an answer of any kind.
    pub(super) async fn until<T>(mut self, answer: impl Future<Output = T>) -> T {
        let answer = answer.await;
        self.is_answered = true;
        answer
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if !self.is_answered && !self.cancel.is_cancelled() {
            self.connection.doubt();
        }
    }
}
