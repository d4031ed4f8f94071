//! What following needs of the table, as two functions: then its timing can be tested without one.

use domain::{id::JobId, time::Timestamp};
use futures_util::future::BoxFuture;
use store::{After, Error, Page, Store};

/// Reads what follows on a cursor, consistently or not.
pub(crate) type ReadPage =
    Box<dyn Fn(JobId, After, bool) -> BoxFuture<'static, Result<Option<Page>, Error>> + Send + Sync>;
/// Notes until when a job is watched.
pub(crate) type NoteWatched = Box<dyn Fn(JobId, Timestamp) -> BoxFuture<'static, Result<(), Error>> + Send + Sync>;

/// The logs of all jobs.
pub(crate) struct Log {
    pub(crate) read_page: ReadPage,
    pub(crate) note_watched: NoteWatched,
}

impl Log {
    /// The logs in this table, read in pages of about so many events.
    pub(crate) fn of(store: Store, page: u32) -> Self {
        let reader = store.clone();
        Self {
            read_page: Box::new(move |job, after, consistent| {
                let store = reader.clone();
                Box::pin(async move { store.events_after(&job, after, page, consistent).await })
            }),
            note_watched: Box::new(move |job, until| {
                let store = store.clone();
                Box::pin(async move { store.watch(&job, until).await })
            }),
        }
    }

    /// The events that follow. `None` when there is certainly no such job.
    pub(crate) async fn after(&self, job: &JobId, after: After, consistent: bool) -> Result<Option<Page>, Error> {
        match (self.read_page)(job.clone(), after, consistent).await? {
            None if !consistent => (self.read_page)(job.clone(), after, true).await,
            page => Ok(page),
        }
    }
}
