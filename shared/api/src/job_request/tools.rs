//! The tools that a job may use, and which of them the model must.

use std::collections::BTreeSet;

use domain::{
    job::{ToolChoice, ToolRef},
    tool_call::ToolSpec,
};
use serde_json::{Value, json};

use super::{names, unsupported};
use crate::members::{Findings, Members};

/// More tools than this no provider takes.
const MOST_TOOLS: usize = 128;

pub(super) fn is_name(name: &str) -> bool {
    (1..=64).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
}

/// The tools, or `None` where one of them could not be read.
pub(super) fn read(
    items: Option<Vec<Value>>,
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
        let Some(tool) = read_one(item, &path, is_tool, findings) else { continue };
        if !seen.insert(tool.name().to_owned()) {
            findings.add(path, format!("The tool `{}` is named twice; name it once.", tool.name()));
        }
        tools.push(tool);
    }
    (findings.len() == before).then_some(tools)
}

fn read_one(item: Value, path: &str, is_tool: &dyn Fn(&str) -> bool, findings: &mut Findings) -> Option<ToolRef> {
    match item {
        Value::String(name) => registered(name, path, is_tool, findings),
        Value::Object(_) => {
            let mut members = Members::of(item, path, findings)?;
            match members.take("type") {
                Some(Value::String(kind)) if kind == "function" => client(members, path, is_tool, findings),
                Some(Value::String(kind)) if kind == "mcp" && unsupported::is_unsupported("tools.mcp") => {
                    findings.add(path, unsupported::message("A tool of type `mcp`"));
                    None
                }
                _ => {
                    findings.add(format!("{path}.type"), format!("`{path}.type` must be `function`."));
                    None
                }
            }
        }
        other => {
            findings.wrong_type(
                path,
                "the name of a registered tool, or an object that defines one of your own",
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
    if let Some(tools) = tools.filter(|tools| !tools.iter().any(|tool| tool.name() == name)) {
        let name: String = name.chars().take(64).collect();
        findings
            .add(path, format!("`tool_choice` names `{name}`, which is not among the job's tools: {}.", names(tools)));
    }
    ToolChoice::Named(name)
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
