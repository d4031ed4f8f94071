//! The workflow that a job is to run: found, checked with everything that it needs, and pinned to the job.

use api::{
    error::{ApiError, Finding, Missing},
    job_request::WorkflowRef,
    schema,
};
use domain::{
    id::UserId,
    job::{JobSpec, ToolRef, WorkflowSpec, served_name},
    message::{Content, Message, Part},
    workflow::{self, Checked, Known, RunInput, check},
};

use crate::{Starter, unavailable};

impl Starter {
    /// Puts the workflow into the job's spec; what is odd about it.
    pub(crate) async fn resolve(
        &self,
        wanted: WorkflowRef,
        spec: &mut JobSpec,
        user: &UserId,
    ) -> Result<Vec<workflow::Finding>, ApiError> {
        let (document, id, version) = match wanted {
            WorkflowRef::Inline(document) => (document, None, None),
            WorkflowRef::Stored { id, version } => {
                let stored = self.store.workflow(user, &id).await.map_err(unavailable)?;
                let stored = stored.ok_or(ApiError::NotFound(Missing::Workflow))?;
                if let Some(version) = version.filter(|version| *version != stored.version) {
                    return Err(ApiError::Conflict {
                        code: "workflow_changed",
                        message: format!(
                            "The workflow is at version {} by now, not {version}. Read it again, or leave \
                             `workflow_version` out.",
                            stored.version
                        ),
                    });
                }
                (stored.document, Some(id), Some(stored.version))
            }
        };
        let known = Known {
            default_model: Some(spec.settings.model.clone()).filter(|model| !model.is_empty()),
            tools: named(&spec.tools).map(|named| named.chain(self.tools.iter().cloned()).collect()),
            subflows: self.store.subflows(user, &document).await.map_err(unavailable)?,
        };
        let Checked { workflow, warnings } = check(&document, &known).map_err(|findings| {
            let wrong = findings.into_iter().filter(|finding| !finding.code.is_warning());
            ApiError::Invalid(wrong.map(Finding::of_workflow).collect())
        })?;
        let wrong = schema::of_workflow(&workflow);
        if !wrong.is_empty() {
            return Err(ApiError::Invalid(wrong.into_iter().map(Finding::of_workflow).collect()));
        }
        let input = input(&spec.messages)
            .ok_or_else(|| ApiError::invalid("input", "`input` has no message of a user. A workflow runs on one."))?;
        spec.workflow = Some(Box::new(WorkflowSpec { id, version, workflow, input, told: vec![] }));
        Ok(warnings)
    }
}

/// The tools that nodes may name of those that the job brings. Nothing when nobody can tell, since all tools of a server
/// are among them.
fn named(tools: &[ToolRef]) -> Option<impl Iterator<Item = String>> {
    let names = tools.iter().map(|tool| match tool {
        ToolRef::Registered { name } => Some(vec![name.clone()]),
        ToolRef::Client { spec, .. } => Some(vec![spec.name.clone()]),
        ToolRef::Mcp { server, tools: served } => {
            let served = served.as_ref()?.iter();
            Some(served.map(|tool| served_name(tools, server, tool)).collect())
        }
    });
    Some(names.collect::<Option<Vec<_>>>()?.into_iter().flatten())
}

/// What a workflow runs on: the last thing that the user said, and what came with it.
fn input(messages: &[Message]) -> Option<RunInput> {
    let content = messages.iter().rev().find_map(|message| match message {
        Message::User { content } => Some(content),
        _ => None,
    })?;
    let attachments = match content {
        Content::Text(_) => vec![],
        Content::Parts(parts) => parts.iter().filter(|part| !matches!(part, Part::Text { .. })).cloned().collect(),
    };
    Some(RunInput { text: content.text(), attachments })
}
