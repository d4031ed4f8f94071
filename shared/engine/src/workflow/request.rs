//! What a workflow's node asks its model, and with which settings.

use domain::{
    job::{JobSpec, ModelSettings, ToolChoice},
    message::Message,
    tool_call::ToolSpec,
    workflow::{Call, with_attachments},
};
use tools::ToolRegistry;

use crate::tool_calls::JobTools;

/// What a node asks its model.
#[derive(Default)]
pub(super) struct Request {
    pub(super) settings: ModelSettings,
    /// What is asked; of a conversation, its beginning.
    pub(super) messages: Vec<Message>,
    pub(super) tools: Vec<ToolSpec>,
    /// What it has to know beside.
    pub(super) note: Option<String>,
    /// Whether it goes on over several turns.
    pub(super) is_conversation: bool,
}

impl Request {
    /// What this call of a job's node asks.
    pub(super) async fn of(registered: &ToolRegistry, spec: &JobSpec, call: &Call) -> Self {
        let of_job = ModelSettings { tool_choice: ToolChoice::Auto, response_format: None, ..spec.settings.clone() };
        let mut request = Self { settings: of_job, ..Self::default() };
        let settings = &mut request.settings;
        match call {
            Call::Agent { model, messages, attachments, tools, temperature, max_tokens, .. } => {
                settings.model.clone_from(model);
                settings.temperature = temperature.or(settings.temperature);
                settings.max_output_tokens = max_tokens.or(settings.max_output_tokens);
                request.messages = with_attachments(messages.clone(), attachments);
                let tools = JobTools::new(registered, &spec.tools).await.only(tools);
                (request.note, request.tools, request.is_conversation) = (tools.note(), tools.specs(), true);
            }
            Call::Choose { model, messages, attachments, tool, description, schema } => {
                settings.model.clone_from(model);
                settings.temperature = Some(0.0);
                settings.tool_choice = ToolChoice::Named(tool.clone());
                settings.parallel_tool_calls = None;
                request.messages = with_attachments(messages.clone(), attachments);
                let (name, description, parameters) = (tool.clone(), description.clone(), schema.clone());
                request.tools = vec![ToolSpec { name, description, parameters }];
            }
            Call::Complete { model, messages } => {
                settings.model.clone_from(model);
                request.messages.clone_from(messages);
            }
            Call::Tool { .. } => {}
        }
        request
    }
}
