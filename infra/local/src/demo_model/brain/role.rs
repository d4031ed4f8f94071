//! Parts in a workflow: a router's choice, a loop's verdict, and agents that say something in the manner of their standing
//! orders. What they say is made of the orders and the input, and claims to know nothing beyond them.

use serde_json::{Value, json};

use super::{
    super::conversation::{Choice, Conversation},
    Wanted,
};

/// What a workflow's routers and loops ask their models for.
const SELECT_ROUTE: &str = "select_route";
const DECIDE: &str = "decide";
/// How often a loop goes on.
const ROUNDS: usize = 2;
/// Shorter words say little about what a text is about.
const TELLING_WORD: usize = 4;
/// What is quoted of a text.
const QUOTED_CHARS: usize = 100;

/// The call that a router or a loop insists on.
pub(super) fn choice(conversation: &Conversation) -> Option<Wanted> {
    let Choice::Named(name) = &conversation.choice else { return None };
    let tool = conversation.tools.iter().find(|tool| tool.name == *name)?;
    let (_, said, _) = conversation.last_user();
    match name.as_str() {
        SELECT_ROUTE => {
            let ids = tool.parameters.pointer("/properties/route_id/enum")?.as_array()?;
            let (route, reason) = route(ids, &conversation.orders, said)?;
            Some(Wanted::new(name, json!({"route_id": route, "reasoning": reason})))
        }
        DECIDE => {
            let round =
                said.rsplit("Current iteration:").next().and_then(|rest| rest.split_whitespace().next()?.parse().ok());
            let goes_on = round.unwrap_or(ROUNDS) < ROUNDS;
            let reason = if goes_on { "It can be better still." } else { "It is good enough now." };
            Some(Wanted::new(name, json!({"continue": goes_on, "reason": reason})))
        }
        _ => None,
    }
}

/// The route with most of the text's words in what the orders say of it; the first when none has any.
fn route<'a>(ids: &'a [Value], orders: &str, said: &str) -> Option<(&'a str, String)> {
    let wanted = words(said);
    let mut best: Option<(&str, Vec<String>)> = None;
    for id in ids.iter().filter_map(Value::as_str) {
        let described = orders.split("Route ID: ").find(|part| part.starts_with(&format!("\"{id}\"")));
        let described = described.map_or(id, |part| part.split("\n\n").next().unwrap_or(part));
        let known = words(described);
        let shared: Vec<String> =
            wanted.iter().filter(|word| known.iter().any(|other| alike(word, other))).cloned().collect();
        if best.as_ref().is_none_or(|(_, most)| shared.len() > most.len()) {
            best = Some((id, shared));
        }
    }
    let (id, shared) = best?;
    let reason = if shared.is_empty() {
        "Nothing points elsewhere.".to_owned()
    } else {
        format!("It is about {}.", shared.join(", "))
    };
    Some((id, reason))
}

fn words(text: &str) -> Vec<String> {
    let lower = text.to_lowercase();
    let words = lower.split(|c: char| !c.is_alphanumeric()).filter(|word| word.chars().count() >= TELLING_WORD);
    words.map(str::to_owned).collect()
}

/// Whether two words are forms of one: `compare`, `comparison`.
fn alike(one: &str, other: &str) -> bool {
    let stem = |word: &str| word.chars().take(5).collect::<String>();
    one == other || (stem(one) == stem(other) && stem(one).chars().count() == 5)
}

/// Whether there is a part to play.
pub(super) fn is_given(conversation: &Conversation) -> bool {
    !conversation.orders.trim().is_empty()
}

/// Something that fits the standing orders and the input.
pub(super) fn play(conversation: &Conversation) -> String {
    let (_, said, _) = conversation.last_user();
    let orders = conversation.orders.to_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| orders.contains(word));
    let first = conversation.first_user().unwrap_or(said);
    let topic = quoted(material(first));
    let sections = sections(said);
    if !sections.is_empty() {
        let mut text = format!("# {}\n", if has(&["report"]) { "Report" } else { "Summary" });
        for (title, body) in &sections {
            text.push_str(&format!("\n**{title}.** {}\n", sentence(body)));
        }
        text.push_str(&format!("\nTaken together: the {} views agree on more than they differ in.", sections.len()));
        return text;
    }
    let material = material(said);
    let text = quoted(material);
    if has(&["headline", "title"]) {
        return format!("# {topic}\n\n{}", undrafted(material));
    }
    if has(&["critic", "criticis", "critiqu"]) {
        return format!(
            "Good: it stays with “{text}”.\nTo mend: a clearer first sentence, one example, a shorter end."
        );
    }
    if has(&["edit", "improve", "rewrite", "polish", "refine", "draft"]) {
        let round =
            said.split("[Iteration ").nth(1).and_then(|rest| rest.split_whitespace().next()?.parse::<u32>().ok());
        let kept = material.split("\n\n").next().unwrap_or(material).trim();
        let kept = undrafted(kept);
        let better =
            ["A plain first sentence now says what it is about.", "An example makes it concrete.", "It ends on time."];
        let round = round.unwrap_or(1);
        let n = usize::try_from(round).unwrap_or(1).clamp(1, better.len());
        return format!("Draft {round}: {}\n\n{}", quoted(kept), better[..n].join(" "));
    }
    let part = sentence(&conversation.orders);
    format!(
        "Notes on “{topic}” ({}):\n\n- What is asked comes down to one question, and it can be answered.\n\
         - The usual answer holds in most cases, and it is known where it does not.\n\
         - A real model would name its sources here; this is the demo model, playing its part.",
        part.trim_end_matches('.')
    )
}

/// A draft without its number.
fn undrafted(text: &str) -> &str {
    text.strip_prefix("Draft ").and_then(|rest| rest.split_once(": ")).map_or(text, |(_, kept)| kept)
}

/// What an agent is to work on, without what its loop says about the iteration.
fn material(said: &str) -> &str {
    // From the loop's last note on.
    let notes = said.rfind("]\n\n").filter(|_| said.starts_with('['));
    notes.map_or(said, |at| &said[at + 3..]).trim()
}

/// The parts of a text that has headings.
fn sections(text: &str) -> Vec<(&str, &str)> {
    let parts = text.split("## ").skip(usize::from(!text.starts_with("## ")));
    parts.filter_map(|part| part.split_once('\n')).map(|(title, body)| (title.trim(), body.trim())).collect()
}

/// The first sentence of a text, on one line.
fn sentence(text: &str) -> String {
    let line = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    let end = line.find(". ").map_or(line.len(), |at| at + 1);
    quoted(&line[..end])
}

fn quoted(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= QUOTED_CHARS {
        line
    } else {
        line.chars().take(QUOTED_CHARS - 1).collect::<String>() + "…"
    }
}

#[cfg(test)]
mod tests {
    use super::{super::reply, *};

    fn asked(orders: &str, said: &str, tool: Option<(&str, Value)>) -> super::super::Reply {
        let mut body = json!({"messages": [{"role": "system", "content": orders}, {"role": "user", "content": said}]});
        if let Some((name, schema)) = tool {
            body["tools"] = json!([{"type": "function", "function": {"name": name, "parameters": schema}}]);
            body["tool_choice"] = json!({"type": "function", "function": {"name": name}});
        }
        reply(&Conversation::read(&body).unwrap())
    }

    #[test]
    fn a_router_goes_by_the_words_of_the_text_and_else_takes_the_first() {
        let orders = "## Routes\n\nRoute ID: \"a\"\nName: \"Quick answer\"\nDescription: facts and definitions\n\n\
                      Route ID: \"b\"\nName: \"Comparison\"\nDescription: weighs several things";
        let schema = json!({"properties": {"route_id": {"enum": ["a", "b"]}}});
        let route = |said: &str| asked(orders, said, Some((SELECT_ROUTE, schema.clone()))).calls[0].arguments.clone();
        assert_eq!(route("Compare trains and planes")["route_id"], "b");
        assert_eq!(route("The definition of a lane")["route_id"], "a");
        assert_eq!(route("Hm")["route_id"], "a");
    }

    #[test]
    fn a_loop_goes_on_twice() {
        let goes_on = |n: u32| {
            let said = format!("Better?\n\nCurrent iteration: {n}\nLast output: x");
            asked("You are a loop controller.", &said, Some((DECIDE, json!({"properties": {}})))).calls[0].arguments["continue"].clone()
        };
        assert_eq!([goes_on(0), goes_on(1), goes_on(2)], [json!(true), json!(true), json!(false)]);
    }

    #[test]
    fn agents_say_something_of_their_orders_and_their_input() {
        let notes = asked("You collect facts.", "How do bees find home?", None).text;
        assert!(notes.contains("How do bees find home?") && notes.contains("You collect facts"), "{notes}");
        let merged =
            asked("Write one report.", "Outputs:\n\n## Facts\nBees dance. Often.\n\n## Doubts\nSome do not.", None)
                .text;
        assert!(merged.contains("**Facts.** Bees dance.") && merged.contains("**Doubts.** Some do not."), "{merged}");
        let said = "[Instructions: Improve it.]\n\n[Iteration 2 of 3]\n\nDraft 1: Ships sleep at night";
        let draft = asked("You are an editor.", said, None).text;
        assert!(draft.starts_with("Draft 2: Ships sleep at night\n"), "{draft}");
    }

    #[test]
    fn whoever_has_tools_still_uses_them() {
        let body = json!({
            "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What is 2 + 3?"}],
            "tools": [{"type": "function", "function": {"name": "calculate", "parameters": {}}}],
        });
        assert_eq!(reply(&Conversation::read(&body).unwrap()).calls[0].name, "calculate");
    }
}
