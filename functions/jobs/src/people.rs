//! What people say to a job that is at work: answers to its questions, and messages.

use std::time::Duration;

use api::{
    act_request::{AnswerRequest, MessageRequest, already_answered, expired, withdrawn},
    error::{ApiError, Missing},
    idempotency::IdempotencyKey,
    job_view::JobView,
    user::User,
};
use axum::{
    Json,
    body::Bytes,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
};
use domain::id::InputRequestId;
use queue::Line;
use store::{AnswerOutcome, PostOutcome};

use crate::{Desk, act::signature, unavailable};

/// `POST /jobs/{id}/input_requests/{request_id}`.
pub(crate) async fn answer(
    State(desk): State<Desk>,
    User(user): User,
    Path((id, request)): Path<(String, String)>,
    body: Bytes,
) -> Result<Json<JobView>, ApiError> {
    let head = desk.own_head(&user, &id).await?;
    let answer = AnswerRequest::parse(&body)?;
    let missing = || ApiError::NotFound(Missing::InputRequest);
    let request: InputRequestId = request.parse().map_err(|_| missing())?;
    let asked = desk.store.input_request(&head.id, &request).await.map_err(unavailable)?.ok_or_else(missing)?;
    let now = (desk.now)();
    let answer = answer.answers(&asked, user.to_string(), now)?;
    let outcome = desk.store.answer(&head.id, &request, &answer, &signature()?, now).await.map_err(unavailable)?;
    match outcome {
        AnswerOutcome::Recorded(owed) => {
            for owed in owed {
                if let Err(error) = desk.queue.send(&owed, Line::Continuations, Duration::ZERO).await {
                    // Recorded as owed: the sweeper sends it.
                    tracing::warn!(job.id = %head.id, error = &error as &dyn std::error::Error, "turn not sent");
                }
            }
        }
        AnswerOutcome::Answered(request) => return Err(already_answered(&request)),
        AnswerOutcome::Expired => return Err(expired(&request)),
        AnswerOutcome::Withdrawn => return Err(withdrawn(&request)),
        AnswerOutcome::Finished(_) => return Err(ApiError::job_finished()),
        AnswerOutcome::Gone => return Err(missing()),
    }
    let record = desk.own_record(&user, &id, true).await?;
    Ok(Json(desk.view(record).await?))
}

/// `POST /jobs/{id}/messages`. Sent again under the same `Idempotency-Key`, a message is accepted once.
pub(crate) async fn post(
    State(desk): State<Desk>,
    User(user): User,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<StatusCode, ApiError> {
    let head = desk.own_head(&user, &id).await?;
    let message = MessageRequest::parse(&body)?;
    let key = IdempotencyKey::of(&headers).map_err(|finding| ApiError::Invalid(vec![finding]))?;
    let request = signature()?;
    let name = key.map_or_else(|| request.to_string(), |key| key.as_str().to_owned());
    let posted = desk.store.post(&head.id, &name, &message.content, user.as_str(), &request, (desk.now)()).await;
    match posted.map_err(unavailable)? {
        PostOutcome::Accepted(_) => Ok(StatusCode::ACCEPTED),
        PostOutcome::Finished(_) => Err(ApiError::job_finished()),
        PostOutcome::IdReused => Err(ApiError::idempotency_key_reused()),
        PostOutcome::Gone => Err(ApiError::NotFound(Missing::Job)),
    }
}
