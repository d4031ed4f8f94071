//! What a model's answer means where it had to decide: a router's route, and whether a loop goes on.

use serde_json::Value;

use super::{document::Kind, scope::Scope};

/// A way out of a router.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Route {
    /// Its edge.
    pub(super) edge: usize,
    /// The handle that it leaves by.
    pub(super) id: String,
    /// What the model knows it by: the label of the node that it leads to.
    pub(super) name: String,
    /// What that node is for.
    pub(super) description: String,
}

/// A router's routes, in the order of its edges; of several at one handle the first.
pub(super) fn routes(scope: &Scope<'_>, node: usize) -> Vec<Route> {
    let mut routes: Vec<Route> = vec![];
    let edges = scope.flow.leaving(node).filter(|(_, edge)| !edge.is_exceptional());
    for (n, (edge, it)) in edges.enumerate() {
        let target = scope.node(it.target);
        let id = it.handle.clone().unwrap_or_else(|| format!("route-{n}"));
        if routes.iter().all(|route| route.id != id) {
            let (name, description) = (target.label.clone(), target.description.clone());
            routes.push(Route { edge, id, name, description });
        }
    }
    routes
}

/// The route that an answer names: the tool's argument, or a text that is a route's id or name or its number from 1.
pub(super) fn chosen<'r>(routes: &'r [Route], text: &str, tool: Option<&Value>) -> Option<&'r Route> {
    let by_id = |id: &str| routes.iter().find(|route| route.id == id);
    if let Some(arguments) = tool {
        return by_id(arguments.get("route_id")?.as_str()?);
    }
    let said = bare(text);
    let by_name = || routes.iter().find(|route| bare(&route.id) == said || bare(&route.name) == said);
    let by_number = || {
        let digits = text.split(|c: char| !c.is_ascii_digit()).find(|digits| !digits.is_empty())?;
        routes.get(digits.parse::<usize>().ok()?.checked_sub(1)?)
    };
    by_id(text.trim()).or_else(by_name).or_else(by_number)
}

/// Whether a loop goes on: the tool's argument, or a text that is exactly one of four words. `None`: no answer.
pub(super) fn goes_on(text: &str, tool: Option<&Value>) -> Option<bool> {
    if let Some(arguments) = tool {
        return arguments.get("continue")?.as_bool();
    }
    match bare(text).as_str() {
        "continue" | "yes" => Some(true),
        "done" | "no" => Some(false),
        _ => None,
    }
}

/// A text without case, and without the punctuation and blanks around it.
fn bare(text: &str) -> String {
    text.trim_matches(|c: char| !c.is_alphanumeric()).to_lowercase()
}

/// What a router says of itself.
pub(super) fn routed(route: &Route) -> String {
    format!("Routed to {}", route.name)
}

/// Whether a node is a router.
pub(super) fn is_router(kind: &Kind) -> bool {
    matches!(kind, Kind::Router(_))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_route_is_named_by_the_tool_or_by_id_name_or_number() {
        let route = |edge, id: &str, name: &str| Route {
            edge,
            id: id.to_owned(),
            name: name.to_owned(),
            description: String::new(),
        };
        let routes = [route(0, "route-2", "Billing desk"), route(1, "route-1", "Tech")];
        let edge = |text: &str, tool: Option<Value>| chosen(&routes, text, tool.as_ref()).map(|route| route.edge);
        for (text, expected) in [
            ("route-2", Some(0)),
            ("\"Billing Desk\".", Some(0)),
            ("tech", Some(1)),
            ("2", Some(1)),
            ("Number 1!", Some(0)),
            ("0", None),
            ("3", None),
            ("neither", None),
            ("", None),
        ] {
            assert_eq!(edge(text, None), expected, "{text}");
        }
        assert_eq!(edge("tech", Some(json!({"route_id": "route-2"}))), Some(0));
        assert_eq!(edge("tech", Some(json!({"route_id": "other"}))), None);
        assert_eq!(edge("tech", Some(json!("route-2"))), None);
    }

    #[test]
    fn a_loops_text_answer_counts_only_when_it_is_exactly_one_of_four_words() {
        for (text, expected) in [
            ("Continue.", Some(true)),
            (" \"yes\" ", Some(true)),
            ("DONE!", Some(false)),
            ("no", Some(false)),
            ("I would continue", None),
            ("discontinue", None),
            ("", None),
        ] {
            assert_eq!(goes_on(text, None), expected, "{text}");
        }
        assert_eq!(goes_on("done", Some(&json!({"continue": true}))), Some(true));
        assert_eq!(goes_on("done", Some(&json!({"continue": "true"}))), None);
    }
}
