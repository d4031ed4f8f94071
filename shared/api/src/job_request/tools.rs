//! The tools that a job may use, and which of them the model must.

use std::collections::BTreeSet;

use domain::{
    job::{ToolChoice, ToolRef},
    tool_call::ToolSpec,
};
use serde_json::{Value, json};

use super::{Defaults, names};
use crate::members::{Findings, Members};

/// More tools than this no provider takes.
const MOST_TOOLS: usize = 128;

pub(super) fn is_name(name: &str) -> bool {
    (1..=64).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
}

/// The tools, or `None` where one of them could not be read.
pub(super) fn read(
    items: Option<Vec<Value>>,
    defaults: &Defaults,
    is_tool: &dyn Fn(&str) -> bool,
    findings: &mut Findings,
) -> Option<Vec<ToolRef>> {
    let items = items.unwrap_or_default();
    if items.len() > MOST_TOOLS {
        findings.add("tools", format!("`tools` has {} entries and may have {MOST_TOOLS}.", items.len()));
        return None;
    }
    let before = findings.len();
    let mut seen = BTreeSet::new();
    let mut tools = Vec::with_capacity(items.len());
    for (index, item) in items.into_iter().enumerate() {
        let path = format!("tools[{index}]");
        let Some(tool) = read_one(item, &path, defaults, is_tool, findings) else { continue };
        let what = if matches!(tool, ToolRef::Mcp { .. }) { "MCP server" } else { "tool" };
        if !seen.insert((what, tool.name().to_owned())) {
            findings.add(path, format!("The {what} `{}` is named twice; name it once.", tool.name()));
        }
        tools.push(tool);
    }
    (findings.len() == before).then_some(tools)
}

fn read_one(
    item: Value,
    path: &str,
    defaults: &Defaults,
    is_tool: &dyn Fn(&str) -> bool,
    findings: &mut Findings,
) -> Option<ToolRef> {
    match item {
        Value::String(name) => registered(name, path, is_tool, findings),
        Value::Object(_) => {
            let mut members = Members::of(item, path, findings)?;
            match members.take("type") {
                Some(Value::String(kind)) if kind == "function" => client(members, path, is_tool, findings),
                Some(Value::String(kind)) if kind == "mcp" => served(members, path, defaults, findings),
                _ => {
                    findings.add(format!("{path}.type"), format!("`{path}.type` must be `function` or `mcp`."));
                    None
                }
            }
        }
        other => {
            findings.wrong_type(
                path,
                "the name of a registered tool, or an object that defines one of your own or names an MCP server",
                &other,
            );
            None
        }
    }
}

fn registered(name: String, path: &str, is_tool: &dyn Fn(&str) -> bool, findings: &mut Findings) -> Option<ToolRef> {
    if !is_name(&name) {
        findings.add(path, name_rule(path));
        return None;
    }
    if !is_tool(&name) {
        let message = format!(
            "There is no registered tool `{name}`. GET /tools lists those that there are; to run it yourself, define it \
             as `{{\"type\": \"function\", \"function\": {{…}}}}`."
        );
        findings.add(path, message);
        return None;
    }
    Some(ToolRef::Registered { name })
}

/// A tool that the caller runs.
fn client(
    mut members: Members,
    path: &str,
    is_tool: &dyn Fn(&str) -> bool,
    findings: &mut Findings,
) -> Option<ToolRef> {
    let before = findings.len();
    let waits = match members.take("execution") {
        None => false,
        Some(execution) if execution == "client" => true,
        Some(_) => {
            findings.add(
                format!("{path}.execution"),
                format!("`{path}.execution` must be `client`: only its caller can run a tool that a job defines."),
            );
            false
        }
    };
    let Some(mut function) = members.object("function", findings) else {
        if findings.len() == before {
            findings.add(format!("{path}.function"), format!("`{path}.function` is required: an object with `name`."));
        }
        members.finish(findings);
        return None;
    };
    members.finish(findings);
    let name = function.text("name", findings);
    let description = function.text("description", findings).unwrap_or_default();
    let parameters = function.object("parameters", findings).map(Members::into_value);
    // Arguments are always checked against the schema, so there is nothing that `strict` would change.
    function.boolean("strict", findings);
    function.finish(findings);
    let name_path = format!("{path}.function.name");
    match &name {
        None if findings.len() == before => findings.add(name_path.clone(), format!("`{name_path}` is required.")),
        Some(name) if !is_name(name) => findings.add(name_path.clone(), name_rule(&name_path)),
        Some(name) if is_tool(name) => {
            let message = format!(
                "`{name}` is the name of a registered tool. Choose another, or write just \"{name}\" to use that one."
            );
            findings.add(name_path, message);
        }
        _ => {}
    }
    let parameters = parameters.unwrap_or_else(|| json!({"type": "object", "properties": {}}));
    if parameters.get("type").is_some_and(|kind| kind != "object") {
        let path = format!("{path}.function.parameters");
        findings.add(path.clone(), format!("`{path}` must be a JSON schema of type `object`."));
    }
    if findings.len() > before {
        return None;
    }
    Some(ToolRef::Client { spec: ToolSpec { name: name?, description, parameters }, waits })
}

/// Those of an MCP server.
fn served(mut members: Members, path: &str, defaults: &Defaults, findings: &mut Findings) -> Option<ToolRef> {
    let before = findings.len();
    let server_path = format!("{path}.server");
    let server = members.text("server", findings);
    match &server {
        None if findings.len() == before => {
            findings.add(server_path, format!("`{path}.server` is required: the name of an MCP server."));
        }
        Some(server) if !defaults.mcp_servers.contains(server) => {
            let there: Vec<String> = defaults.mcp_servers.iter().map(|server| format!("`{server}`")).collect();
            let there = if there.is_empty() { "none".to_owned() } else { there.join(", ") };
            let server: String = server.chars().take(64).collect();
            findings.add(server_path, format!("This deployment has no MCP server `{server}`; it has {there}."));
        }
        _ => {}
    }
    let named = members.array("tools", findings).map(|items| {
        let texts = items.iter().map(|item| item.as_str().map(str::to_owned));
        let names: Option<Vec<String>> = texts.collect();
        names.filter(|names| (1..=MOST_TOOLS).contains(&names.len()))
    });
    if named == Some(None) {
        let path = format!("{path}.tools");
        let message =
            format!("`{path}` must have 1 to {MOST_TOOLS} names; leave it out for all of the server's tools.");
        findings.add(path, message);
    }
    members.finish(findings);
    (findings.len() == before).then_some(ToolRef::Mcp { server: server?, tools: named.flatten() })
}

fn name_rule(path: &str) -> String {
    format!("`{path}` is not the name of a tool: it has 1 to 64 letters, digits, `_` and `-`.")
}

/// `tools` is `None` where they could not be read: then nothing is said of what the choice names.
pub(super) fn read_choice(choice: Option<Value>, tools: Option<&[ToolRef]>, findings: &mut Findings) -> ToolChoice {
    let path = "tool_choice";
    let name = match choice {
        None => return ToolChoice::Auto,
        Some(Value::String(word)) => match word.as_str() {
            "auto" => return ToolChoice::Auto,
            "none" => return ToolChoice::None,
            "required" => {
                if tools.is_some_and(<[ToolRef]>::is_empty) {
                    findings.add(
                        path,
                        "`tool_choice` is `required` and the job has no tools. Add `tools`, or leave it out.",
                    );
                }
                return ToolChoice::Required;
            }
            _ => None,
        },
        Some(choice) => named(&choice),
    };
    let Some(name) = name else {
        findings.add(
            path,
            "`tool_choice` must be `auto`, `none`, `required`, or `{\"type\": \"function\", \"function\": {\"name\": …}}`.",
        );
        return ToolChoice::Auto;
    };
    if let Some(tools) = tools.filter(|tools| !tools.iter().any(|tool| may_be(tool, &name))) {
        let name: String = name.chars().take(64).collect();
        findings
            .add(path, format!("`tool_choice` names `{name}`, which is not among the job's tools: {}.", names(tools)));
    }
    ToolChoice::Named(name)
}

/// Whether a choice may mean this. What a server's tools are called is known when they are listed.
fn may_be(tool: &ToolRef, name: &str) -> bool {
    let is_prefixed = |server: &str| name.strip_prefix(server).is_some_and(|rest| rest.starts_with("__"));
    tool.may_name(name) || matches!(tool, ToolRef::Mcp { server, .. } if is_prefixed(server))
}

/// The name in OpenAI's two forms: of chat completions, and of responses.
fn named(choice: &Value) -> Option<String> {
    let members = choice.as_object()?;
    let name = match (members.get("type")?.as_str()?, members.len()) {
        ("function", 2) => match members.get("function") {
            Some(function) if function.as_object().is_some_and(|function| function.len() == 1) => {
                function.get("name")?
            }
            Some(_) => return None,
            None => members.get("name")?,
        },
        _ => return None,
    };
    name.as_str().map(str::to_owned)
}
