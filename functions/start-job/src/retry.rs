//! `POST /jobs/{id}/retry`: a new job that goes on where one failed, with everything before it kept.

use api::{
    act_request::RetryRequest,
    error::{ApiError, Missing},
    idempotency::{self, IdempotencyKey},
    paths,
    user::User,
};
use axum::{
    Json,
    body::Bytes,
    extract::{Path, State},
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
};
use domain::{
    conversation::conversation,
    id::{JobId, LaneName, UserId},
    inbox::InboxMessage,
    job::{Asker, JobSpec, Status, WorkflowSpec},
    time::Timestamp,
    workflow::{Run, RunEnd, retry_from},
};
use store::{NewJob, Record};

use crate::{Starter, unavailable};

pub(crate) async fn retry(
    State(starter): State<Starter>,
    User(user): User,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    let request = RetryRequest::parse(&body)?;
    let key = IdempotencyKey::of(&headers).map_err(|finding| ApiError::Invalid(vec![finding]))?;
    let key = key.map(|key| store::IdempotencyKey {
        key: key.as_str().to_owned(),
        // Another job's retry is another request.
        fingerprint: idempotency::fingerprint(format!("retry {id} {}", String::from_utf8_lossy(&body)).as_bytes()),
    });
    if let Some(key) = &key
        && let Some(known) = starter.store.job_of_key(&user, key, (starter.now)()).await.map_err(unavailable)?
    {
        let (status, view) = starter.answer(known, |_| None).await?;
        return Ok((status, [(header::LOCATION, paths::job(&view.summary.id))], Json(view)).into_response());
    }
    starter.refuse_when_paused().await?;
    let failed = starter.failed(&id, &user).await?;
    let new = again(failed, &request, user, key, starter.max_at_work, (starter.now)())?;
    let new = NewJob { asker: Asker { trace: crate::trace_of(&headers), ..new.asker }, ..new };
    let (status, view) = starter.create(new).await?;
    Ok((status, [(header::LOCATION, paths::job(&view.summary.id))], Json(view)).into_response())
}

impl Starter {
    /// The user's job of this name, which has ended without an answer.
    async fn failed(&self, id: &str, user: &UserId) -> Result<Record, ApiError> {
        let missing = || ApiError::NotFound(Missing::Job);
        let id: JobId = id.parse().map_err(|_| missing())?;
        let record = self.store.load(&id).await.map_err(unavailable)?;
        let record = record.filter(|record| record.head.user == *user && record.head.expires_at > (self.now)());
        let record = record.ok_or_else(missing)?;
        match record.head.status() {
            Status::Failed | Status::Cancelled => Ok(record),
            Status::Completed => Err(ApiError::Conflict {
                code: "job_completed",
                message: "The job has its answer. Start another with `previous_job_id` to go on from its conversation."
                    .to_owned(),
            }),
            Status::Queued | Status::Running | Status::InputRequired => Err(ApiError::Conflict {
                code: "job_at_work",
                message: "The job has not ended. Wait for its end, or cancel it first.".to_owned(),
            }),
        }
    }
}

/// The same job from where it stopped: what its whole turns have said is its conversation, and the turn that failed is the
/// new job's first.
fn again(
    failed: Record,
    request: &RetryRequest,
    user: UserId,
    key: Option<store::IdempotencyKey>,
    max_at_work: u32,
    now: Timestamp,
) -> Result<NewJob, ApiError> {
    let Record { head, lanes, spec, turns, inbox, run, .. } = failed;
    let Some(mut spec) = spec else { return Err(ApiError::NotFound(Missing::Job)) };
    let run = match &spec.workflow {
        Some(flow) => Some(run_again(flow, run.map(|(_, run)| run), request, now)?),
        None => None,
    };
    if request.node_id.is_some() && run.is_none() {
        return Err(ApiError::invalid("node_id", "The job is a chat and has no nodes. Leave `node_id` out."));
    }
    let main = LaneName::main();
    let turn = lanes.get(&main).map_or(1, |lane| lane.turn);
    let messages = match run {
        Some(_) => spec.messages.clone(),
        None => conversation(&spec.messages, &turns, &inbox, &main, turn, head.inbox),
    };
    // The conversation goes on: what was forced in its first turn was forced once (R180).
    spec.settings.tool_choice = spec.settings.tool_choice.in_turn(turn);
    if let Some(flow) = &mut spec.workflow {
        flow.told.extend(inbox.iter().map(InboxMessage::as_message));
    }
    let id = JobId::from_ulid(ulid::Ulid::generate().to_string()).map_err(ApiError::internal)?;
    let key_of = spec.model_api_key.as_ref().map(|_| spec.key_of.clone().unwrap_or_else(|| head.id.clone()));
    let asker = Asker { thread: head.thread, message: head.message, ..Asker::new(id, user, head.retention_seconds) };
    let spec = JobSpec { messages, previous_job: Some(head.id), key_of, ..spec };
    Ok(NewJob { asker, spec, key, run, max_at_work })
}

/// The run from the failed node, or the named one, on: everything before it is kept.
fn run_again(flow: &WorkflowSpec, run: Option<Run>, request: &RetryRequest, now: Timestamp) -> Result<Run, ApiError> {
    let run = run.unwrap_or_default();
    let step = retry_from(&flow.workflow, &flow.input, &run, request.node_id.as_deref(), now)
        .map_err(|error| ApiError::invalid("node_id", format!("{error}.")))?;
    if let Some(RunEnd::Failed { node, error, .. }) = &step.end {
        let why = error.message.trim_end_matches('.');
        let message = format!("The job would fail again at once, at `{node}`: {why}. Start one with another document.");
        return Err(ApiError::Unprocessable { code: "fails_again", param: None, message });
    }
    Ok(Run { plan: step.plan, nodes: step.changed })
}
