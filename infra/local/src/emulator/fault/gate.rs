//! [`Gate`]: holds a request until the test has done what shall happen meanwhile.

use std::sync::Arc;

use tokio::sync::watch;

/// Closed until opened, once. Clones are the same gate.
#[derive(Debug, Clone)]
pub struct Gate(Arc<Doors>);

#[derive(Debug)]
struct Doors {
    reached: watch::Sender<bool>,
    open: watch::Sender<bool>,
    waiting: watch::Sender<usize>,
}

/// Counts somebody as waiting for as long as it lives.
struct Waiting<'a>(&'a watch::Sender<usize>);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|waiting| *waiting -= 1);
    }
}

impl Gate {
    /// A closed gate.
    pub fn new() -> Self {
        Self(Arc::new(Doors {
            reached: watch::Sender::new(false),
            open: watch::Sender::new(false),
            waiting: watch::Sender::new(0),
        }))
    }

    /// Resolves when something is held at the gate, or was.
    pub async fn reached(&self) {
        wait(&self.0.reached).await;
    }

    /// How many wait at the gate now.
    pub fn waiting(&self) -> usize {
        *self.0.waiting.borrow()
    }

    /// Resolves when so many wait at the gate.
    pub async fn wait_for_waiting(&self, n: usize) {
        // The sender is borrowed, so the channel cannot close.
        let _ = self.0.waiting.subscribe().wait_for(|waiting| *waiting == n).await;
    }

    /// Lets through what is held, and everything later.
    pub fn open(&self) {
        self.0.open.send_replace(true);
    }

    /// Waits at the gate until it is open.
    pub async fn pass(&self) {
        self.0.waiting.send_modify(|waiting| *waiting += 1);
        let _counted = Waiting(&self.0.waiting);
        self.0.reached.send_replace(true);
        wait(&self.0.open).await;
    }
}

impl Default for Gate {
    fn default() -> Self {
        Self::new()
    }
}

async fn wait(door: &watch::Sender<bool>) {
    // The sender is borrowed, so the channel cannot close.
    let _ = door.subscribe().wait_for(|open| *open).await;
}
