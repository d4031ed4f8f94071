//! How many requests were made for one turn: counted where they are made, and on record with its lane.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

/// A count that clones share. By default nothing is counted.
#[derive(Debug, Clone, Default)]
pub struct Asked(Option<Arc<AtomicU32>>);

impl Asked {
    /// A count that begins with `n`.
    pub fn from(n: u32) -> Self {
        Self(Some(Arc::new(AtomicU32::new(n))))
    }

    /// One request more.
    pub fn one_more(&self) {
        if let Some(asked) = &self.0 {
            asked.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Requests so far; 0 where nothing is counted.
    pub fn so_far(&self) -> u32 {
        self.0.as_ref().map_or(0, |asked| asked.load(Ordering::Relaxed))
    }
}
