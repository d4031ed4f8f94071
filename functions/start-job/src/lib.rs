//! Starting jobs: check what is asked for, record it in one transaction, put its first turn in line, answer.

pub mod config;
pub mod events;
mod retry;
mod workflow;

use std::{sync::Arc, time::Duration};

use api::{
    address::StreamAddresses,
    error::{ApiError, Unavailable, method_not_allowed, route_not_found},
    idempotency::{self, IdempotencyKey},
    job_request::{BODY_BYTES, Defaults, ModelApiKey, StartJobRequest},
    job_view::{JobDetails, JobView},
    paths, request_id,
    user::User,
    workflow_view::WorkflowView,
};
use axum::{
    Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State},
    http::{HeaderMap, StatusCode, header},
    middleware::from_fn,
    response::{IntoResponse, Response},
    routing::post,
};
use domain::{
    continuation::Continuation,
    conversation::conversation,
    id::{JobId, LaneName, UserId},
    job::{Asker, Head},
    message::Message,
    sealed::{NONCE_BYTES, Sealed, SealingKey},
    time::Timestamp,
    trace::TraceParent,
};
use queue::{ContinuationQueue, Line, bus::EventBus};
use store::{CreateOutcome, NewJob, Record, Store};

/// When somebody with too many jobs at work may try again.
const TRY_AGAIN: Duration = Duration::from_secs(10);

/// What starting jobs needs.
#[derive(Clone)]
pub struct Starter {
    /// The table.
    pub store: Store,
    /// The queues.
    pub queue: ContinuationQueue,
    /// The event bus, on which events learn that their job could not be started.
    pub bus: Option<EventBus>,
    /// Where streams are.
    pub addresses: StreamAddresses,
    /// What the deployment decides where the caller does not.
    pub defaults: Defaults,
    /// Seals the keys that callers bring for the model; `None`: they may bring none.
    pub sealing: Option<SealingKey>,
    /// Names of the registered tools.
    pub tools: Arc<[String]>,
    /// Jobs that a user may have at work.
    pub max_at_work: u32,
    /// The present.
    pub now: fn() -> Timestamp,
}

/// `POST /jobs`, and what starts a job again.
pub fn router(starter: Starter) -> Router {
    Router::new()
        .route(paths::JOBS, post(start))
        .route(paths::RETRY, post(retry::retry))
        .fallback(route_not_found)
        .method_not_allowed_fallback(method_not_allowed)
        // More than allowed is read, so that what is too long is answered as such.
        .layer(DefaultBodyLimit::max(2 * BODY_BYTES))
        .layer(from_fn(request_id::stamp))
        .with_state(starter)
}

async fn start(
    State(starter): State<Starter>,
    User(user): User,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    let key = IdempotencyKey::of(&headers).map_err(|finding| ApiError::Invalid(vec![finding]))?;
    let key = key.map(|key| store::IdempotencyKey {
        key: key.as_str().to_owned(),
        fingerprint: idempotency::fingerprint(&body),
    });
    let read = |is_tool: &dyn Fn(&str) -> bool| StartJobRequest::parse(&body, &starter.defaults, is_tool);
    let (status, view) = starter.start(user, read, key, trace_of(&headers)).await?;
    let location = [(header::LOCATION, paths::job(&view.summary.id))];
    Ok((status, location, Json(view)).into_response())
}

impl Starter {
    /// Starts the job that a request asks for, or finds the one that it started before. `read` checks the request, given
    /// the names of the tools; `trace`: its place in a trace.
    async fn start(
        &self,
        user: UserId,
        read: impl FnOnce(&dyn Fn(&str) -> bool) -> Result<StartJobRequest, ApiError>,
        key: Option<store::IdempotencyKey>,
        trace: Option<TraceParent>,
    ) -> Result<(StatusCode, JobView), ApiError> {
        if let Some(key) = &key
            && let Some(known) = self.store.job_of_key(&user, key, (self.now)()).await.map_err(unavailable)?
        {
            return self.answer(known, |_| None).await;
        }
        self.refuse_when_paused().await?;
        let is_tool = |name: &str| self.tools.iter().any(|tool| tool == name);
        let mut request = read(&is_tool)?;
        if let Some(previous) = request.previous_job.clone() {
            request.continue_from(self.said_in(&previous, &user).await?);
            let bytes = serde_json::to_vec(&request.spec.messages).map_or(0, |json| json.len());
            if bytes > BODY_BYTES {
                return Err(ApiError::input_too_large(bytes));
            }
        }
        let id = JobId::from_ulid(ulid::Ulid::generate().to_string()).map_err(ApiError::internal)?;
        let StartJobRequest { mut spec, thread, message, retention_seconds, model_api_key, workflow, .. } = request;
        let warnings = match workflow {
            Some(workflow) => self.resolve(workflow, &mut spec, &user).await?,
            None => vec![],
        };
        spec.model_api_key = model_api_key.map(|key| self.seal(&key, &id)).transpose()?;
        let asker = Asker { id, user, thread, message, retention_seconds, trace };
        let (status, mut view) =
            self.create(NewJob { asker, spec, key, run: None, max_at_work: self.max_at_work }).await?;
        if let Some(workflow) = &mut view.workflow {
            workflow.warnings = warnings;
        }
        Ok((status, view))
    }

    async fn refuse_when_paused(&self) -> Result<(), ApiError> {
        if self.store.switches().await.map_err(unavailable)?.jobs_paused {
            return Err(ApiError::Unavailable(Unavailable::Paused, None));
        }
        Ok(())
    }

    /// Records a job, puts its first turn in line, and answers with it.
    async fn create(&self, new: NewJob) -> Result<(StatusCode, JobView), ApiError> {
        let (workflow, run) = (new.spec.workflow.clone(), new.run.clone());
        let created = self.store.create(new, (self.now)()).await.map_err(unavailable)?;
        if let CreateOutcome::Created(head) = &created {
            signals::count::job_started();
            tracing::info!(job.id = %head.id, trace.id = %signals::trace::trace_id(head), "job accepted");
            let first = Continuation { job: head.id.clone(), lane: LaneName::main(), turn: 1 };
            if let Err(error) = self.queue.send(&first, Line::Starts, Duration::ZERO).await {
                // Recorded as owed: the sweeper sends it.
                tracing::warn!(job.id = %head.id, error = &error as &dyn std::error::Error, "first turn not sent");
            }
        }
        let begun = |head: &Head| Some(WorkflowView::new(&*workflow?, head, run.as_ref(), &Default::default()));
        self.answer(created, begun).await
    }

    fn seal(&self, key: &ModelApiKey, job: &JobId) -> Result<Sealed, ApiError> {
        let Some(sealing) = &self.sealing else {
            let message = "This deployment takes no keys of its callers. Leave `model_api_key` out.";
            return Err(ApiError::invalid("model_api_key", message));
        };
        let mut nonce = [0; NONCE_BYTES];
        getrandom::fill(&mut nonce).map_err(|error| ApiError::internal(error.to_string()))?;
        Ok(sealing.seal(nonce, key.reveal(), job))
    }

    /// The answer to a start. `begun`: where the workflow of a job that was just created is, if it is one.
    async fn answer(
        &self,
        outcome: CreateOutcome,
        begun: impl FnOnce(&Head) -> Option<WorkflowView>,
    ) -> Result<(StatusCode, JobView), ApiError> {
        match outcome {
            CreateOutcome::Created(head) => {
                let details = JobDetails { turn: 1, last_event: 1, workflow: begun(&head), ..JobDetails::default() };
                Ok((StatusCode::ACCEPTED, self.view(&head, details)))
            }
            CreateOutcome::Existing(head) => {
                let record = self.store.with_log(&head.id, true).await.map_err(unavailable)?;
                let Some(record) = record else { return Err(gone(&head.id)) };
                let workflow = self.store.workflow_of(&record).await.map_err(unavailable)?;
                let Record { head, events, lanes, inputs, metadata, output, run, .. } = record;
                let run = run.as_ref().map(|(_, run)| run);
                let workflow = workflow.map(|workflow| WorkflowView::new(&workflow, &head, run, &lanes));
                let details = JobDetails::of(&head, &events, lanes.values(), inputs, metadata, (self.now)());
                let details = JobDetails { output: output.unwrap_or(details.output), workflow, ..details };
                Ok((StatusCode::OK, self.view(&head, details)))
            }
            CreateOutcome::ExistingGone(job) => Err(gone(&job)),
            CreateOutcome::KeyReused => Err(ApiError::idempotency_key_reused()),
            CreateOutcome::CalledOff => Err(called_off()),
            CreateOutcome::TooManyJobs => {
                Err(ApiError::RateLimited { limit: self.max_at_work, retry_after: TRY_AGAIN })
            }
        }
    }

    fn view(&self, head: &Head, details: JobDetails) -> JobView {
        let address = self.addresses.issue(&head.id, &head.user, (self.now)());
        JobView::new(head, JobDetails { stream_url: Some(address.stream_url), ..details })
    }

    /// What was said in an earlier job of the same user.
    async fn said_in(&self, previous: &JobId, user: &UserId) -> Result<Vec<Message>, ApiError> {
        let record = self.store.load(previous).await.map_err(unavailable)?;
        let record = record.filter(|record| record.head.user == *user && record.head.expires_at > (self.now)());
        let Some(record) = record else {
            let message = "There is no such job of yours. Leave `previous_job_id` out to begin a new conversation.";
            return Err(ApiError::invalid("previous_job_id", message));
        };
        if !record.head.status().is_finished() {
            return Err(ApiError::Conflict {
                code: "previous_job_at_work",
                message: "The previous job has not finished. Wait for its end, or cancel it first.".to_owned(),
            });
        }
        let Some(spec) = &record.spec else { return Ok(vec![]) };
        let (main, known) = (LaneName::main(), record.head.inbox);
        let mut said = conversation(&spec.messages, &record.turns, &record.inbox, &main, u32::MAX, known);
        // A workflow's lanes have said it in pieces; what its user was told is its output.
        said.extend(record.output.filter(|output| !output.is_empty()).map(Message::assistant));
        Ok(said)
    }
}

/// The caller's place in a trace. What cannot be read is, by the standard, as good as none.
fn trace_of(headers: &HeaderMap) -> Option<TraceParent> {
    headers.get("traceparent")?.to_str().ok()?.parse().ok()
}

fn called_off() -> ApiError {
    ApiError::Conflict {
        code: "cancelled_before_start",
        message:
            "What was to be started under this Idempotency-Key was cancelled before. Use a new key to start it all \
                  the same."
                .to_owned(),
    }
}

fn gone(job: &JobId) -> ApiError {
    ApiError::Conflict {
        code: "job_gone",
        message: format!(
            "This Idempotency-Key started {job}, which is no longer kept. Use a new key to start another job."
        ),
    }
}

/// What a failure of the table amounts to for the caller.
fn unavailable(error: store::Error) -> ApiError {
    let is_passing = error.is_passing();
    ApiError::of_table(error, is_passing)
}
