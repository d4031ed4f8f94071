//! What a lane asks of a model or a tool.

use std::{rc::Rc, time::Duration};

use serde_json::{Map, Value, json};

use super::{
    answer::routes,
    combine::branches_text,
    document::{Kind, Mode, WhileLoop},
    key::{NodeKey, Role},
    past::add_user,
    plan::LaneWork,
    read::MAX_TOOL_TURNS,
    retry::RetryRule,
    scope::{Board, Scope},
    template,
};
use crate::message::{Content, Message, Part};

/// A call that a lane has to make.
#[derive(Debug, Clone, PartialEq)]
pub struct Work {
    /// What for, as viewers see the name: a node or a branch.
    pub node: NodeKey,
    /// What.
    pub call: Call,
    /// When it is made again after a failure.
    pub retry: RetryRule,
    /// How long all of it may take from the lane's first claim on, retries included and pauses for answers left out; over
    /// it the model is asked no more, and the lane fails with [`NodeErrorCode::Timeout`](super::NodeErrorCode::Timeout).
    pub timeout: Option<Duration>,
}

/// What is called.
#[derive(Debug, Clone, PartialEq)]
pub enum Call {
    /// A conversation with a model that may call tools, until it calls none or has used up its turns.
    Agent {
        /// The model.
        model: String,
        /// The conversation, standing orders first.
        messages: Vec<Message>,
        /// What goes with its last user message, where the model takes it: [`with_attachments`].
        attachments: Vec<Part>,
        /// What it may call.
        tools: Tools,
        /// 0 to 2.
        temperature: Option<f64>,
        /// Longest answer, in tokens.
        max_tokens: Option<u32>,
        /// Turns with tools, over the whole life of the lane. Whoever reaches them reports it
        /// ([`CallResult::Answered`](super::CallResult::Answered)); what that means is decided here.
        max_tool_turns: u32,
    },
    /// One call at temperature 0 with one tool that the model must call.
    Choose {
        /// The model.
        model: String,
        /// The conversation.
        messages: Vec<Message>,
        /// What goes with its last user message, where the model takes it.
        attachments: Vec<Part>,
        /// The tool's name.
        tool: String,
        /// What the tool is for, in words for the model.
        description: String,
        /// JSON schema of its arguments.
        schema: Value,
    },
    /// One call without tools.
    Complete {
        /// The model.
        model: String,
        /// The conversation.
        messages: Vec<Message>,
    },
    /// A tool, without a model.
    Tool {
        /// Its name.
        name: String,
        /// Its arguments.
        arguments: Value,
    },
}

/// What an agent may call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tools {
    /// Every tool of the job.
    All,
    /// These; perhaps none.
    Named(Vec<String>),
}

/// A conversation whose last user message brings attachments along.
pub fn with_attachments(mut messages: Vec<Message>, attachments: &[Part]) -> Vec<Message> {
    let last = messages.iter_mut().rev().find_map(|message| match message {
        Message::User { content } => Some(content),
        _ => None,
    });
    if let Some(content) = last.filter(|_| !attachments.is_empty()) {
        let mut parts = match std::mem::take(content) {
            Content::Text(text) => vec![Part::Text { text }],
            Content::Parts(parts) => parts,
        };
        parts.extend_from_slice(attachments);
        *content = Content::Parts(parts);
    }
    messages
}

/// What a router's model must call.
pub const SELECT_ROUTE: &str = "select_route";
/// What a loop's model must call.
pub const DECIDE: &str = "decide";

impl<'a> Board<'a> {
    /// What a lane calls; `input` is what the node works on, `times` how often it has been granted its turns with tools.
    pub(super) fn work(&self, scope: &Rc<Scope<'a>>, lane: &LaneWork, input: String, times: u32) -> Option<Work> {
        let node = scope.node(lane.node);
        let mut work_key = lane.key.clone();
        let mut timeout = None;
        let call = match (&node.kind, lane.role) {
            (Kind::Agent(it), Role::Node) => Call::Agent {
                model: self.model(it.model.as_ref()),
                messages: self.agent_messages(scope, lane.node, &it.prompt, input),
                attachments: self.input.attachments.clone(),
                tools: if it.tools.is_empty() { Tools::All } else { Tools::Named(it.tools.clone()) },
                temperature: it.temperature,
                max_tokens: it.max_tokens,
                max_tool_turns: it.max_tool_turns.saturating_mul(times),
            },
            (Kind::Router(it), Role::Node) => self.choose_route(scope, lane.node, it.model.as_ref(), &it.prompt, input),
            (Kind::Tool(it), Role::Node) => {
                let resolve = |name: &str| match name {
                    "input" | "output" => Some(input.clone()),
                    _ => self.resolve(scope, lane.node, name),
                };
                Call::Tool { name: it.tool.clone(), arguments: template::fill_value(&it.arguments, &resolve) }
            }
            (Kind::Output(it), Role::Node) => {
                let Mode::Synthesis { prompt, model } = &it.mode else { return None };
                let text = self.to_synthesize(scope, lane.node, &it.sources, input);
                let usual = "Combine the following inputs into a cohesive document.";
                let system = if prompt.trim().is_empty() { usual } else { prompt };
                let messages = vec![Message::system(system), Message::user(text)];
                Call::Complete { model: self.model(model.as_ref()), messages }
            }
            (Kind::Parallel(it), Role::Branch(n)) => {
                let branch = it.branches.get(n)?;
                work_key = lane.key.branch(&branch.id);
                timeout = it.branch_timeout;
                let usual = "You are a helpful assistant.";
                let system = if branch.prompt.is_empty() { usual } else { &branch.prompt };
                Call::Agent {
                    model: self.model(branch.model.as_ref().or(it.model.as_ref())),
                    messages: vec![Message::system(system), Message::user(input)],
                    attachments: self.input.attachments.clone(),
                    tools: Tools::Named(branch.tools.clone()),
                    temperature: None,
                    max_tokens: None,
                    max_tool_turns: MAX_TOOL_TURNS,
                }
            }
            (Kind::Parallel(it), Role::Merge) => {
                let text = format!(
                    "Here are the outputs from parallel agents:\n\n{}\n\nPlease merge/summarize these outputs according to your instructions.",
                    branches_text(self, &lane.key, it)
                );
                let messages = vec![Message::system(it.prompt.as_str()), Message::user(text)];
                Call::Complete { model: self.model(it.model.as_ref()), messages }
            }
            (Kind::Loop(it), Role::Guard(iteration)) => self.ask_loop(scope, lane.node, it, iteration),
            _ => return None,
        };
        Some(Work { node: work_key, call, retry: node.retry(), timeout })
    }

    fn agent_messages(&self, scope: &Rc<Scope<'a>>, node: usize, prompt: &str, input: String) -> Vec<Message> {
        let mut system = match prompt {
            "" => format!("You are a helpful assistant named {}.", scope.node(node).label),
            prompt => prompt.to_owned(),
        };
        let latest = self.latest(scope, node);
        let spoke = latest.iter().filter(|said| !said.output.is_empty());
        let context: Vec<String> = spoke.map(|said| format!("[{}]: {}", said.node.label, said.output)).collect();
        if !context.is_empty() {
            system.push_str("\n\nContext from previous agents:\n");
            system.push_str(&context.join("\n\n"));
        }
        let mut messages = vec![Message::system(system)];
        messages.extend(self.session(scope, node));
        add_user(&mut messages, input);
        messages
    }

    fn choose_route(
        &self,
        scope: &Rc<Scope<'a>>,
        node: usize,
        model: Option<&String>,
        rules: &str,
        input: String,
    ) -> Call {
        let routes = routes(scope, node);
        let described = routes.iter().map(|route| {
            let description = match route.description.as_str() {
                "" => String::new(),
                description => format!("\nDescription: {description}"),
            };
            format!("Route ID: \"{}\"\nName: \"{}\"{description}", route.id, route.name)
        });
        let rules = if rules.is_empty() { String::new() } else { format!("\n\n## Routing Rules\n\n{rules}") };
        let system = format!(
            "You are a routing classifier. Your task is to select which route best handles the user's message.\n\n\
             ## Routes\n\n{}{rules}\n\n## Instructions\n\n- Analyze the user's message.\n\
             - Select the most appropriate route based on the descriptions and rules.\n\
             - Use the '{SELECT_ROUTE}' tool to make your decision.",
            described.collect::<Vec<_>>().join("\n\n")
        );
        let ids: Vec<&str> = routes.iter().map(|route| route.id.as_str()).collect();
        Call::Choose {
            model: self.model(model),
            messages: vec![Message::system(system), Message::user(input)],
            attachments: self.input.attachments.clone(),
            tool: SELECT_ROUTE.to_owned(),
            description: "Selects the appropriate route for the user input".to_owned(),
            schema: json!({
                "type": "object",
                "properties": {
                    "route_id": {"type": "string", "description": "The ID of the selected route", "enum": ids},
                    "reasoning": {"type": "string", "description": "Brief explanation for why this route was selected"},
                },
                "required": ["route_id", "reasoning"],
            }),
        }
    }

    fn ask_loop(&self, scope: &Rc<Scope<'a>>, node: usize, it: &WhileLoop, iteration: u32) -> Call {
        let outputs = self.iterations(scope, node, 1, iteration);
        let (what, text) = match outputs.last() {
            Some(last) => ("Last output", last.clone()),
            None => ("Initial input", self.input_of(scope, node)),
        };
        let before = match outputs.len() {
            0 | 1 => String::new(),
            n => format!("\nPrevious outputs: {n} iterations"),
        };
        let question = format!(
            "{}\n\nCurrent iteration: {iteration}\n{what}: {text}{before}\n\n\
             Use the '{DECIDE}' tool, or respond with only \"continue\" or \"done\".",
            it.condition_prompt
        );
        let mut properties = Map::new();
        properties
            .insert("continue".into(), json!({"type": "boolean", "description": "Whether to run another iteration"}));
        properties.insert("reason".into(), json!({"type": "string", "description": "Brief explanation"}));
        Call::Choose {
            model: self.model(it.condition_model.as_ref()),
            messages: vec![
                Message::system("You are a loop controller. Decide whether the loop goes on."),
                Message::user(question),
            ],
            attachments: vec![],
            tool: DECIDE.to_owned(),
            description: "Decides whether the loop runs another iteration".to_owned(),
            schema: json!({"type": "object", "properties": properties, "required": ["continue", "reason"]}),
        }
    }

    fn to_synthesize(&self, scope: &Rc<Scope<'a>>, node: usize, sources: &[String], input: String) -> String {
        if sources.is_empty() {
            return input;
        }
        let parts = sources.iter().map(|source| {
            let text = self.output_named(scope, node, source).filter(|text| !text.is_empty());
            let text = text.unwrap_or_else(|| "(No output)".to_owned());
            format!("--- Output from {} ---\n{text}", source_label(scope, source))
        });
        parts.collect::<Vec<_>>().join("\n\n")
    }
}

/// What a source is called: a node's label, and its branch's.
fn source_label(scope: &Scope<'_>, source: &str) -> String {
    let label = |id: &str| scope.flow.position(id).map(|n| scope.node(n));
    if let Some(node) = label(source) {
        return node.label.clone();
    }
    let split = source.split_once(':').and_then(|(id, branch)| Some((label(id)?, branch)));
    match split.map(|(node, branch)| (node, &node.kind, branch)) {
        Some((node, Kind::Parallel(it), branch)) => {
            let known = it.branches.iter().find(|known| known.id == branch);
            format!("{} → {}", node.label, known.map_or(branch, |known| known.label.as_str()))
        }
        _ => source.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attachments_go_with_the_last_message_of_the_user() {
        let image = Part::ImageUrl { image_url: json!({"url": "data:,"}) };
        let messages = vec![Message::user("one"), Message::user("two"), Message::system("three")];
        assert_eq!(with_attachments(messages.clone(), &[]), messages);
        let with = with_attachments(messages.clone(), std::slice::from_ref(&image));
        let parts = Content::Parts(vec![Part::Text { text: "two".into() }, image]);
        assert_eq!(with, [messages[0].clone(), Message::User { content: parts }, messages[2].clone()]);
    }
}
