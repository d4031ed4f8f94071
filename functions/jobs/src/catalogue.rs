//! The workflows that a user keeps: stored, listed, checked.

use api::{
    error::{ApiError, Finding, Missing},
    schema,
    user::User,
    workflow_view::{StoredWorkflowView, ValidationView, WorkflowsView},
};
use axum::{
    Json,
    body::Bytes,
    extract::{Path, State},
    http::StatusCode,
};
use domain::{
    id::UserId,
    workflow::{Checked, Known, check},
};
use serde_json::Value;
use store::StoredWorkflow;

use crate::{Desk, unavailable};

/// Longest id of a workflow, in characters.
const ID_CHARS: usize = 128;
/// Longest document, in bytes.
const DOCUMENT_BYTES: usize = 1024 * 1024;

pub(crate) async fn put(
    State(desk): State<Desk>,
    User(user): User,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Json<StoredWorkflowView>, ApiError> {
    if !(1..=ID_CHARS).contains(&id.chars().count()) || id.chars().any(char::is_control) || id == "validate" {
        return Err(ApiError::invalid("id", format!("A workflow's id has 1 to {ID_CHARS} printable characters.")));
    }
    let document = document(&body)?;
    let checked = desk.check(&user, &document).await?.map_err(invalid)?;
    let stored = desk.store.put_workflow(&user, &id, document, (desk.now)()).await.map_err(unavailable)?;
    Ok(Json(StoredWorkflowView { warnings: checked.warnings, ..shown(stored, true) }))
}

pub(crate) async fn get(
    State(desk): State<Desk>,
    User(user): User,
    Path(id): Path<String>,
) -> Result<Json<StoredWorkflowView>, ApiError> {
    let stored = desk.store.workflow(&user, &id).await.map_err(unavailable)?;
    Ok(Json(shown(stored.ok_or(ApiError::NotFound(Missing::Workflow))?, true)))
}

pub(crate) async fn delete(
    State(desk): State<Desk>,
    User(user): User,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    match desk.store.delete_workflow(&user, &id).await.map_err(unavailable)? {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(ApiError::NotFound(Missing::Workflow)),
    }
}

pub(crate) async fn list(State(desk): State<Desk>, User(user): User) -> Result<Json<WorkflowsView>, ApiError> {
    let stored = desk.store.workflows(&user).await.map_err(unavailable)?;
    Ok(Json(WorkflowsView { data: stored.into_iter().map(|workflow| shown(workflow, false)).collect() }))
}

pub(crate) async fn validate(
    State(desk): State<Desk>,
    User(user): User,
    body: Bytes,
) -> Result<Json<ValidationView>, ApiError> {
    let document = document(&body)?;
    let view = match desk.check(&user, &document).await? {
        Ok(checked) => ValidationView { valid: true, findings: vec![], warnings: checked.warnings },
        Err(findings) => {
            let (warnings, findings) = findings.into_iter().partition(|finding| finding.code.is_warning());
            ValidationView { valid: false, findings, warnings }
        }
    };
    Ok(Json(view))
}

impl Desk {
    /// Whether a job of this user could run the document, whatever tools and model it brings.
    async fn check(
        &self,
        user: &UserId,
        document: &Value,
    ) -> Result<Result<Checked, Vec<domain::workflow::Finding>>, ApiError> {
        let subflows = self.store.subflows(user, document).await.map_err(unavailable)?;
        // The job may bring a model and tools of its own.
        let known = Known { default_model: Some("the job's".to_owned()), tools: None, subflows };
        Ok(check(document, &known).and_then(|checked| {
            let wrong = schema::of_workflow(&checked.workflow);
            if wrong.is_empty() { Ok(checked) } else { Err([wrong, checked.warnings].concat()) }
        }))
    }
}

fn document(body: &[u8]) -> Result<Value, ApiError> {
    if body.len() > DOCUMENT_BYTES {
        return Err(ApiError::body_too_large(body.len(), DOCUMENT_BYTES));
    }
    match serde_json::from_slice(body) {
        Ok(document @ Value::Object(_)) => Ok(document),
        _ => Err(ApiError::invalid(
            "body",
            "The body must be a workflow document: a JSON object with `nodes` and `edges`.",
        )),
    }
}

fn invalid(findings: Vec<domain::workflow::Finding>) -> ApiError {
    ApiError::Invalid(findings.into_iter().filter(|it| !it.code.is_warning()).map(Finding::of_workflow).collect())
}

fn shown(stored: StoredWorkflow, whole: bool) -> StoredWorkflowView {
    let name = ["/meta/name", "/name"].iter().find_map(|at| stored.document.pointer(at)?.as_str());
    StoredWorkflowView {
        name: name.unwrap_or(&stored.id).to_owned(),
        id: stored.id,
        object: "workflow".to_owned(),
        version: stored.version,
        created_at: stored.created_at,
        updated_at: stored.updated_at,
        document: whole.then_some(stored.document),
        warnings: vec![],
    }
}
