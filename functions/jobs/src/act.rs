//! Acting on a job.

use api::{
    error::{ApiError, Missing},
    idempotency::{self, IdempotencyKey},
    job_view::{CancellationView, JobView, StreamTokenView},
    user::User,
};
use axum::{
    Json,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use domain::{
    id::{JobId, WriterId},
    job::Ending,
};
use store::{CallOffOutcome, DeleteOutcome, EndOutcome};

use crate::{Desk, unavailable};

pub(crate) async fn cancel(
    State(desk): State<Desk>,
    User(user): User,
    Path(id): Path<String>,
) -> Result<Json<JobView>, ApiError> {
    let head = desk.own_head(&user, &id).await?;
    desk.end(&head.id).await?;
    let record = desk.own_record(&user, &id, true).await?;
    Ok(Json(desk.view(record).await?))
}

/// Cancels the job that was started under a key; or, where none was yet, keeps one from being started for a while, so that
/// a start request that is still on its way, or was lost and is sent again, starts nothing (R166).
pub(crate) async fn cancel_key(
    State(desk): State<Desk>,
    User(user): User,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let key = IdempotencyKey::of(&headers).map_err(|finding| ApiError::Invalid(vec![finding]))?;
    let key = key.ok_or_else(|| {
        let message = "Send the `Idempotency-Key` of the start that is to be cancelled, or cancel a job by its id.";
        ApiError::invalid(idempotency::HEADER, message)
    })?;
    match desk.store.call_off(&user, key.as_str(), (desk.now)()).await.map_err(unavailable)? {
        CallOffOutcome::CalledOff(until) => {
            Ok((StatusCode::ACCEPTED, Json(CancellationView::new(until))).into_response())
        }
        CallOffOutcome::Started(job) => {
            Ok(cancel(State(desk), User(user), Path(job.to_string())).await?.into_response())
        }
    }
}

pub(crate) async fn delete(
    State(desk): State<Desk>,
    User(user): User,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    let mut head = desk.own_head(&user, &id).await?;
    if !head.status().is_finished() {
        desk.end(&head.id).await?;
        let ended = desk.store.head(&head.id, true).await.map_err(unavailable)?;
        head = ended.ok_or(ApiError::NotFound(Missing::Job))?;
    }
    match desk.store.delete(&head, (desk.now)()).await.map_err(unavailable)? {
        DeleteOutcome::Deleted => Ok(StatusCode::NO_CONTENT),
        DeleteOutcome::AtWork => Err(ApiError::Conflict {
            code: "job_at_work",
            message: "The job could not be ended just now. Cancel it, then delete it.".to_owned(),
        }),
    }
}

pub(crate) async fn stream_token(
    State(desk): State<Desk>,
    User(user): User,
    Path(id): Path<String>,
) -> Result<Json<StreamTokenView>, ApiError> {
    let head = desk.own_head(&user, &id).await?;
    Ok(Json(desk.addresses.issue(&head.id, &user, (desk.now)())))
}

impl Desk {
    /// Ends a job, unless it is over, and writes its last event. What else is owed is the sweeper's.
    async fn end(&self, job: &JobId) -> Result<(), ApiError> {
        let (by, now) = (signature()?, (self.now)());
        match self.store.end(job, Ending::Cancelled, None, &by, now).await.map_err(unavailable)? {
            EndOutcome::Ended(head) | EndOutcome::Already(head) if head.owed().terminal => {
                self.store.write_terminal(job, &by, now).await.map_err(unavailable)
            }
            EndOutcome::Ended(_) | EndOutcome::Already(_) => Ok(()),
            EndOutcome::LeaseLost | EndOutcome::Gone => Err(ApiError::NotFound(Missing::Job)),
        }
    }
}

/// A name that nothing had before, to sign an event with.
pub(crate) fn signature() -> Result<WriterId, ApiError> {
    ulid::Ulid::generate().to_string().parse().map_err(ApiError::internal)
}
