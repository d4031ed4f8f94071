//! Reading.

use std::time::Duration;

use api::{
    error::{ApiError, Missing},
    event_view::EventsView,
    job_view::{JobSummaryView, JobView, ToolsView, whole_tool_call},
    openapi,
    page::Page,
    user::User,
};
use axum::{
    Json,
    extract::{Path, Query, State},
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
};
use domain::{event::ToolCallView, id::ToolCallId, replay::Replay};
use store::After;
use tokio::time::Instant;

use crate::{
    Desk,
    parameters::{EventsParameters, ListParameters},
    unavailable,
};

/// How soon a held-back answer looks again, at first and at most.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
const LOOK_AGAIN_AT_MOST: Duration = Duration::from_secs(1);

/// A query as pairs: what is no query names nothing.
type Pairs = Query<Vec<(String, String)>>;

pub(crate) async fn job(
    State(desk): State<Desk>,
    User(user): User,
    Path(id): Path<String>,
) -> Result<Json<JobView>, ApiError> {
    let record = desk.own_record(&user, &id, false).await?;
    Ok(Json(desk.view(record).await?))
}

pub(crate) async fn list(
    State(desk): State<Desk>,
    User(user): User,
    Query(query): Pairs,
) -> Result<Json<Page<JobSummaryView>>, ApiError> {
    let ListParameters { filter, limit, after } = ListParameters::read(query)?;
    let page = desk.store.list(&user, &filter, limit, after.as_ref(), (desk.now)()).await.map_err(unavailable)?;
    Ok(Json(Page::new(page.heads.iter().map(JobSummaryView::new).collect(), page.next)))
}

pub(crate) async fn events(
    State(desk): State<Desk>,
    User(user): User,
    Path(id): Path<String>,
    Query(query): Pairs,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let last_event_id = headers.get("last-event-id").and_then(|value| value.to_str().ok());
    let EventsParameters { after, limit, wait } = EventsParameters::read(query, last_event_id)?;
    let mut head = desk.own_head(&user, &id).await?;
    let until = Instant::now() + wait;
    if !wait.is_zero() && !head.status().is_finished() {
        // Whoever waits for an answer is looking, as much as who follows the stream.
        desk.store.watch(&head.id, (desk.now)() + wait).await.map_err(unavailable)?;
    }
    let mut pause = LOOK_AGAIN;
    loop {
        let page = desk.store.events_after(&head.id, After::Event(after), limit, true).await.map_err(unavailable)?;
        let Some(mut page) = page else { return Err(ApiError::NotFound(Missing::Job)) };
        // It ends where a batch of events does.
        page.events.truncate(limit as usize);
        if let Some(latest) = page.head {
            head = latest;
        }
        let left = until.saturating_duration_since(Instant::now());
        if !page.events.is_empty() || head.status().is_finished() || left.is_zero() {
            return Ok(Json(EventsView::new(&head.id, &page.events, after, head.status())).into_response());
        }
        tokio::time::sleep(pause.min(left)).await;
        pause = (pause * 2).min(LOOK_AGAIN_AT_MOST);
    }
}

pub(crate) async fn tool_call(
    State(desk): State<Desk>,
    User(user): User,
    Path((id, call)): Path<(String, String)>,
) -> Result<Json<ToolCallView>, ApiError> {
    let head = desk.own_head(&user, &id).await?;
    let missing = || ApiError::NotFound(Missing::ToolCall);
    let call: ToolCallId = call.parse().map_err(|_| missing())?;
    if let Some(call) = desk.store.tool_call(&head.id, &call).await.map_err(unavailable)? {
        return Ok(Json(whole_tool_call(&call)));
    }
    // Not on record before it runs, nor while it changes nothing outside: then the log alone tells of it.
    let record = desk.own_record(&user, &id, false).await?;
    let mut calls = Replay::of(&record.events).lanes.into_values().flat_map(|lane| lane.tool_calls);
    calls.find(|shown| shown.id == call.as_str()).map(Json).ok_or_else(missing)
}

pub(crate) async fn tools(State(desk): State<Desk>, User(_): User) -> Json<ToolsView> {
    Json(ToolsView { data: desk.tools.to_vec() })
}

/// `GET /openapi.json`, for everybody: it says nothing of anybody's.
pub(crate) async fn openapi() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], openapi::DOCUMENT)
}
