//! Reading jobs and acting on them. Every route answers 404 for a job of somebody else's.

mod act;
mod catalogue;
pub mod config;
mod parameters;
mod people;
mod read;

use std::sync::Arc;

use api::{
    address::StreamAddresses,
    error::{ApiError, Missing, method_not_allowed, route_not_found},
    job_request::BODY_BYTES,
    job_view::{JobDetails, JobView, ToolView},
    paths, request_id,
    workflow_view::WorkflowView,
};
use axum::{
    Router,
    extract::DefaultBodyLimit,
    middleware::from_fn,
    routing::{get, post},
};
use domain::{
    id::{JobId, UserId},
    job::Head,
    time::Timestamp,
};
use queue::ContinuationQueue;
use store::{Record, Store};
use web_console::Console;

/// What reading jobs and acting on them needs.
#[derive(Clone)]
pub struct Desk {
    /// The table.
    pub store: Store,
    /// The queues, for turns that an answer lets go on.
    pub queue: ContinuationQueue,
    /// Where streams are.
    pub addresses: StreamAddresses,
    /// The registered tools.
    pub tools: Arc<[ToolView]>,
    /// The web page, which is served beside the API that it uses.
    pub console: Console,
    /// The present.
    pub now: fn() -> Timestamp,
}

/// Every route of jobs but the start and the stream; and the console.
pub fn router(desk: Desk) -> Router {
    let console = web_console::router(desk.console.clone());
    Router::new()
        .route(paths::JOBS, get(read::list))
        .route(paths::JOB, get(read::job).delete(act::delete))
        .route(paths::JOB_EVENTS, get(read::events))
        .route(paths::TOOL_CALL, get(read::tool_call))
        .route(paths::CANCEL, post(act::cancel))
        .route(paths::CANCEL_KEY, post(act::cancel_key))
        .route(paths::STREAM_TOKEN, post(act::stream_token))
        .route(paths::MESSAGES, post(people::post))
        .route(paths::INPUT_REQUEST, post(people::answer))
        .route(paths::TOOLS, get(read::tools))
        .route(paths::OPENAPI, get(read::openapi))
        .route(paths::WORKFLOWS, get(catalogue::list))
        .route(paths::VALIDATE_WORKFLOW, post(catalogue::validate))
        .route(paths::WORKFLOW, get(catalogue::get).put(catalogue::put).delete(catalogue::delete))
        .fallback(route_not_found)
        .method_not_allowed_fallback(method_not_allowed)
        // More than allowed is read, so that what is too long is answered as such.
        .layer(DefaultBodyLimit::max(BODY_BYTES))
        .layer(from_fn(request_id::stamp))
        .with_state(desk)
        .merge(console)
}

impl Desk {
    /// The user's job of this name, as a path has it.
    async fn own_head(&self, user: &UserId, id: &str) -> Result<Head, ApiError> {
        let id = job_id(id)?;
        let head = match self.store.head(&id, false).await.map_err(unavailable)? {
            Some(head) => Some(head),
            // Perhaps only too new for this read.
            None => self.store.head(&id, true).await.map_err(unavailable)?,
        };
        head.filter(|head| self.is_own(user, head)).ok_or(ApiError::NotFound(Missing::Job))
    }

    /// The user's job of this name with its log, as a path has it.
    async fn own_record(&self, user: &UserId, id: &str, consistent: bool) -> Result<Record, ApiError> {
        let id = job_id(id)?;
        let record = match self.store.with_log(&id, consistent).await.map_err(unavailable)? {
            Some(record) => Some(record),
            None if consistent => None,
            None => self.store.with_log(&id, true).await.map_err(unavailable)?,
        };
        record.filter(|record| self.is_own(user, &record.head)).ok_or(ApiError::NotFound(Missing::Job))
    }

    fn is_own(&self, user: &UserId, head: &Head) -> bool {
        head.user == *user && head.expires_at > (self.now)()
    }

    async fn view(&self, record: Record) -> Result<JobView, ApiError> {
        let workflow = self.store.workflow_of(&record).await.map_err(unavailable)?;
        let run = record.run.as_ref().map(|(_, run)| run);
        let workflow = workflow.map(|workflow| WorkflowView::new(&workflow, &record.head, run, &record.lanes));
        let address = self.addresses.issue(&record.head.id, &record.head.user, (self.now)());
        let Record { head, lanes, metadata, inputs, events, output, .. } = record;
        let details = JobDetails::of(&head, &events, lanes.values(), inputs, metadata, (self.now)());
        let details = JobDetails {
            output: output.unwrap_or(details.output),
            workflow,
            stream_url: Some(address.stream_url),
            ..details
        };
        Ok(JobView::new(&head, details))
    }
}

/// A job's id from a path. What is no id names no job.
fn job_id(text: &str) -> Result<JobId, ApiError> {
    text.parse().map_err(|_| ApiError::NotFound(Missing::Job))
}

/// What a failure of the table amounts to for the caller.
fn unavailable(error: store::Error) -> ApiError {
    let is_passing = error.is_passing();
    ApiError::of_table(error, is_passing)
}
