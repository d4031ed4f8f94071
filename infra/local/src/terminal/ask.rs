//! A question of a job, put to a person: what can be chosen, what goes with it, and the answer that comes of the lines that
//! they type. Reads and writes nothing.

use domain::input_request::InputKind;
use serde_json::{Value, json};

use super::{event::InputRequest, text};

/// A question being asked.
#[derive(Debug)]
pub(super) struct Dialog {
    /// The question.
    pub(super) request: InputRequest,
    choices: Vec<Choice>,
    /// The choice whose data is asked for.
    chosen: Option<usize>,
}

/// Something to choose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Choice {
    /// By which the answer names it.
    pub(super) name: String,
    /// What people read.
    pub(super) label: String,
    /// What it does.
    pub(super) action: String,
}

/// What comes of a line.
#[derive(Debug, PartialEq)]
pub(super) enum Next {
    /// The prompt changed, or stays, for this reason.
    Ask(Option<String>),
    /// This is the answer.
    Send(String, Option<Value>),
    /// There shall be none now.
    Later,
}

impl Dialog {
    pub(super) fn new(request: InputRequest) -> Self {
        Self { choices: choices(&request), chosen: None, request }
    }

    /// What the person is asked for now.
    pub(super) fn prompt(&self) -> String {
        let Some(choice) = self.chosen.map(|n| &self.choices[n]) else {
            return format!("  1-{}, or a name (Enter leaves it waiting): ", self.choices.len());
        };
        match wants(&self.request, &choice.action) {
            Wants::Reason => "  why (may be left empty): ".to_owned(),
            Wants::Json => "  as JSON, in one line (Enter goes back): ".to_owned(),
            Wants::Limit => "  the new limit in tokens, or as JSON (Enter goes back): ".to_owned(),
            Wants::Text | Wants::Nothing => "  the text, in one line (Enter goes back): ".to_owned(),
        }
    }

    /// Takes in what was typed.
    pub(super) fn take(&mut self, line: &str) -> Next {
        let line = line.trim();
        let Some(n) = self.chosen else {
            if line.is_empty() {
                return Next::Later;
            }
            let nth = line.parse::<usize>().ok().and_then(|n| n.checked_sub(1)).filter(|n| *n < self.choices.len());
            let Some(n) = self.choices.iter().position(|choice| choice.name == line).or(nth) else {
                return Next::Ask(Some(format!("there is no choice “{}”", text::shorten(&text::one_line(line), 40))));
            };
            if wants(&self.request, &self.choices[n].action) == Wants::Nothing {
                return Next::Send(self.choices[n].name.clone(), None);
            }
            self.chosen = Some(n);
            return Next::Ask(None);
        };
        let choice = self.choices[n].clone();
        if line.is_empty() && choice.action != "reject" {
            self.chosen = None;
            return Next::Ask(None);
        }
        match data(&self.request, &choice.name, line) {
            Ok(data) => Next::Send(choice.name, data),
            Err(why) => Next::Ask(Some(why)),
        }
    }

    /// Begins again: the answer was not taken.
    pub(super) fn again(&mut self) {
        self.chosen = None;
    }
}

/// What can be chosen: the question's options, and the actions that none of them stands for.
pub(super) fn choices(request: &InputRequest) -> Vec<Choice> {
    let mut choices: Vec<Choice> = request
        .options
        .iter()
        .flatten()
        .map(|option| Choice {
            name: option.id.clone(),
            label: option.label.clone().unwrap_or_default(),
            action: option.action.clone().unwrap_or_else(|| option.id.clone()),
        })
        .collect();
    let kind: Option<InputKind> = serde_json::from_value(Value::String(request.kind.clone())).ok();
    for action in kind.map(|kind| kind.actions(request.tool_call.is_some())).unwrap_or_default() {
        let action = action.as_str();
        // To give a node its text is one thing by two names.
        let replaces = |action: &str| request.tool_call.is_none() && matches!(action, "submit" | "modify");
        let is_same = |choice: &Choice| {
            choice.action == action || choice.name == action || (replaces(action) && replaces(&choice.action))
        };
        if !choices.iter().any(is_same) {
            let label = match (action, request.tool_call.is_some(), request.kind.as_str()) {
                ("modify", true, _) => "with other arguments",
                ("submit", _, "client_tool") => "give its result",
                ("submit", _, "budget") => "name a new limit",
                ("submit" | "modify", _, "review") => "put another text in its place",
                ("submit" | "modify", ..) => "give the input",
                ("skip", _, "review") => "let it stand, without a verdict",
                ("skip", ..) => "pass it over",
                ("reject", ..) => "refuse",
                ("approve", ..) => "let it go on",
                _ => "",
            };
            choices.push(Choice { name: action.to_owned(), label: label.to_owned(), action: action.to_owned() });
        }
    }
    choices
}

#[derive(Debug, PartialEq, Eq)]
enum Wants {
    Nothing,
    Reason,
    Text,
    Json,
    Limit,
}

fn wants(request: &InputRequest, action: &str) -> Wants {
    let takes_text = request.input_schema.as_ref().is_none_or(|schema| schema["type"] == "string");
    match action {
        "reject" => Wants::Reason,
        "modify" if request.tool_call.is_some() => Wants::Json,
        "submit" if request.kind == "budget" => Wants::Limit,
        "submit" | "modify" if takes_text => Wants::Text,
        "submit" | "modify" => Wants::Json,
        _ => Wants::Nothing,
    }
}

/// What a command that gives this answer has to name.
pub(super) fn data_hint(request: &InputRequest, action: &str) -> &'static str {
    match wants(request, action) {
        Wants::Nothing => "",
        Wants::Reason => "\"WHY\"",
        Wants::Text => "\"TEXT\"",
        Wants::Json => "'JSON'",
        Wants::Limit => "TOKENS",
    }
}

/// What goes with an answer, from what somebody typed.
///
/// # Errors
/// With words for them.
pub(super) fn data(request: &InputRequest, name: &str, typed: &str) -> Result<Option<Value>, String> {
    let option = request.options.iter().flatten().find(|option| option.id == name);
    let action = option.and_then(|option| option.action.as_deref()).unwrap_or(name);
    let json = || serde_json::from_str::<Value>(typed);
    Ok(match wants(request, action) {
        Wants::Reason if typed.is_empty() => None,
        Wants::Reason => Some(json().ok().filter(Value::is_object).unwrap_or_else(|| json!({"reason": typed}))),
        Wants::Limit => match typed.replace([',', '_'], "").parse::<u64>() {
            Ok(tokens) => Some(json!({"max_total_tokens": tokens})),
            Err(_) => Some(json().map_err(|error| format!("this is no number and no JSON: {error}"))?),
        },
        Wants::Json => Some(json().map_err(|error| format!("this is not JSON: {error}"))?),
        Wants::Text => Some(Value::String(typed.to_owned())),
        // Nothing is needed, but who gives it means it.
        Wants::Nothing => Some(json().unwrap_or_else(|_| Value::String(typed.to_owned()))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(value: Value) -> InputRequest {
        serde_json::from_value(value).unwrap()
    }

    fn tool() -> InputRequest {
        request(
            json!({"id": "r", "kind": "approval", "tool_call": {"id": "c", "name": "send", "arguments": "{\"to\":1}"},
            "options": [{"id": "approve", "label": "Approve", "action": "approve"}, {"id": "reject", "label": "Reject", "action": "reject"}]}),
        )
    }

    #[test]
    fn a_choice_is_made_by_number_or_name_and_asks_for_what_it_needs() {
        let mut dialog = Dialog::new(tool());
        assert_eq!(dialog.choices.iter().map(|c| c.name.as_str()).collect::<Vec<_>>(), ["approve", "reject", "modify"]);
        assert_eq!(dialog.take("1\n"), Next::Send("approve".to_owned(), None));
        assert_eq!(dialog.take("approve"), Next::Send("approve".to_owned(), None));
        assert!(matches!(dialog.take("4"), Next::Ask(Some(why)) if why.contains("no choice")));
        assert_eq!(dialog.take(""), Next::Later);

        assert_eq!(dialog.take("modify"), Next::Ask(None));
        assert!(dialog.prompt().contains("JSON"));
        assert!(matches!(dialog.take("{to: 2}"), Next::Ask(Some(why)) if why.contains("not JSON")));
        assert_eq!(dialog.take(r#"{"to": 2}"#), Next::Send("modify".to_owned(), Some(json!({"to": 2}))));

        dialog.again();
        assert_eq!(dialog.take("2"), Next::Ask(None));
        assert_eq!(dialog.take("Not today."), Next::Send("reject".to_owned(), Some(json!({"reason": "Not today."}))));
        assert_eq!(dialog.take(""), Next::Send("reject".to_owned(), None));
    }

    #[test]
    fn what_is_typed_becomes_what_the_question_takes() {
        let review = request(json!({"id": "r", "kind": "review"}));
        assert_eq!(data(&review, "modify", "12"), Ok(Some(json!("12"))));
        let formed = request(json!({"id": "r", "kind": "input", "input_schema": {"type": "object"}}));
        assert_eq!(data(&formed, "submit", r#"{"n": 1}"#), Ok(Some(json!({"n": 1}))));
        assert!(data(&formed, "submit", "n = 1").is_err());
        let budget = request(json!({"id": "r", "kind": "budget", "input_schema": {"type": "object"}}));
        assert_eq!(data(&budget, "submit", "50,000"), Ok(Some(json!({"max_total_tokens": 50_000}))));
        let named = request(json!({"id": "r", "kind": "review", "options": [{"id": "other", "action": "modify"}]}));
        assert_eq!(data(&named, "other", "[1]"), Ok(Some(json!("[1]"))));
        let client = request(json!({"id": "r", "kind": "client_tool", "tool_call": {"name": "t"}}));
        assert_eq!(data(&client, "submit", "12°"), Ok(Some(json!("12°"))));
    }

    #[test]
    fn a_kind_that_is_not_known_offers_its_options() {
        let strange = request(json!({"id": "r", "kind": "riddle", "options": [{"id": "yes"}]}));
        assert_eq!(choices(&strange).len(), 1);
        assert_eq!(Dialog::new(strange).take("1"), Next::Send("yes".to_owned(), None));
    }
}
