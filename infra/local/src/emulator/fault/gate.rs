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
}

impl Gate {
    /// A closed gate.
    pub fn new() -> Self {
        Self(Arc::new(Doors { reached: watch::Sender::new(false), open: watch::Sender::new(false) }))
    }

    /// Resolves when something is held at the gate, or was.
    pub async fn reached(&self) {
        wait(&self.0.reached).await;
    }

    /// Lets through what is held, and everything later.
    pub fn open(&self) {
        self.0.open.send_replace(true);
    }

    pub(crate) async fn pass(&self) {
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
