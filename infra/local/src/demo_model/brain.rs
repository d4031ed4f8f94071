//! What the demo model says: a conversation and the tools that it offers, to an answer. No language model, but it reads
//! the conversation, asks for the tools that a question needs, and answers with what they said. Pure: it knows neither
//! the time nor the result of a sum unless a tool told it, and the same conversation gives the same answer.

mod arithmetic;
mod clock;
mod fill;
mod places;
mod role;
mod talk;

use std::hash::{DefaultHasher, Hash, Hasher};

use serde_json::{Value, json};

use self::{
    arithmetic::{Sum, grouped, pretty, sums},
    clock::{Moment, Until},
    fill::{Ink, fill},
    places::{Place, places},
};
use super::conversation::{Asked, Choice, Conversation, Form, results};

const TIME: &str = "get_current_time";
const CALCULATE: &str = "calculate";

/// An answer: text, or calls.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Reply {
    /// What goes before, as visible reasoning.
    pub reasoning: Option<String>,
    /// The text; empty when tools are asked for.
    pub text: String,
    /// The tools it asks for.
    pub calls: Vec<Asked>,
}

/// Answers the last thing that a person said.
pub fn reply(conversation: &Conversation) -> Reply {
    if let Some(wanted) = role::choice(conversation) {
        let id = format!("call_{:016x}_0", fingerprint(conversation));
        return Reply { calls: vec![Asked { id, ..wanted.0 }], ..Reply::default() };
    }
    let (before, question, after) = conversation.last_user();
    let earlier = results(before).into_iter().rev().find_map(|(call, result)| match result.map(outcome) {
        Some(Outcome::Number { result, .. }) if call.name == CALCULATE => Some(result),
        _ => None,
    });
    let mut plan = Plan::new(question, earlier, conversation);
    if role::is_given(conversation) && conversation.tools.is_empty() {
        // Whoever has a part to play does not ask for tools that its play does without.
        plan.goals.clear();
    }
    let done = results(after);
    let progress = plan.progress(&done, conversation);
    let mut calls: Vec<Wanted> = Vec::new();
    for step in &progress {
        if let Step::Call(wanted) = step
            && !calls.contains(wanted)
        {
            calls.push(wanted.clone());
        }
    }
    // A choice is honoured once per question: its result has to be told some time.
    if calls.is_empty() && done.is_empty() {
        calls.extend(forced(conversation, question));
    }
    if !conversation.parallel {
        calls.truncate(1);
    }
    if !calls.is_empty() {
        let id = fingerprint(conversation);
        let reasoning = Some(why(&calls, !done.is_empty()));
        let calls = calls.into_iter().enumerate();
        let calls = calls.map(|(n, wanted)| Asked { id: format!("call_{id:016x}_{n}"), ..wanted.0 });
        return Reply { reasoning, text: String::new(), calls: calls.collect() };
    }
    let mut text = plan.tell(&progress);
    if text.is_empty() {
        text = match done.first() {
            Some(_) => done.iter().map(|(call, result)| relate(call, *result)).collect::<Vec<_>>().join("\n\n"),
            None if role::is_given(conversation) => role::play(conversation),
            None => talk::about(question, conversation.tools.iter().map(|tool| tool.name.as_str())),
        };
    }
    Reply { text: formed(text, question, &done, conversation), ..Reply::default() }
}

/// A call before it has an id. Two with the same tool and arguments are one.
#[derive(Debug, Clone, PartialEq)]
struct Wanted(Asked);

impl Wanted {
    fn new(name: &str, arguments: Value) -> Self {
        Self(Asked { id: String::new(), name: name.to_owned(), arguments })
    }
}

/// What a question wants to know, in order.
struct Plan {
    goals: Vec<Goal>,
    /// A place that is not known, for which UTC stands in.
    unknown: Option<String>,
    /// The result of the last sum before the question.
    earlier: Option<String>,
}

enum Goal {
    /// The time at a place.
    Time(Place),
    /// A sum, and the goal whose result it takes.
    Sum(Sum, Option<usize>),
    /// How long it is until something, by the clock of another goal.
    Until(Until, usize),
    /// How far the clocks of two goals are apart.
    Apart(usize, usize),
    /// A tool that the question names.
    Named(Wanted),
}

/// How far a goal has come.
enum Step {
    /// It needs this call.
    Call(Wanted),
    /// It waits for another goal.
    Waiting,
    /// It needs a tool that is not there.
    Lacks(&'static str),
    /// What it needs has failed.
    Hopeless,
    /// It is known.
    Done(Outcome),
}

/// What a tool's result says.
#[derive(Debug, Clone, PartialEq)]
enum Outcome {
    Time(Moment),
    Number { result: String, exact: bool },
    Other(String),
    Error(String),
}

fn outcome(result: &str) -> Outcome {
    let Ok(value) = serde_json::from_str::<Value>(result) else { return Outcome::Other(result.to_owned()) };
    if let Some(error) = value.get("error").filter(|error| !error.is_null()) {
        let message = error.get("message").unwrap_or(error);
        return Outcome::Error(message.as_str().map_or_else(|| message.to_string(), str::to_owned));
    }
    if let Some(moment) = value.get("datetime").and_then(Value::as_str).and_then(Moment::parse) {
        return Outcome::Time(moment);
    }
    match value.get("result").and_then(Value::as_str) {
        Some(number) => {
            Outcome::Number { result: number.to_owned(), exact: value.get("exact") != Some(&Value::Bool(false)) }
        }
        None => Outcome::Other(value.as_str().map_or_else(|| result.to_owned(), str::to_owned)),
    }
}

impl Plan {
    fn new(question: &str, earlier: Option<String>, conversation: &Conversation) -> Self {
        let mut plan = Self { goals: Vec::new(), unknown: None, earlier };
        let named = conversation
            .tools
            .iter()
            .filter(|tool| !matches!(tool.name.as_str(), TIME | CALCULATE) && mentions(question, &tool.name));
        for tool in named {
            plan.goals.push(Goal::Named(Wanted::new(&tool.name, arguments(&tool.parameters, question))));
        }
        if talk::wants_long_text(question) || !plan.goals.is_empty() {
            return plan;
        }
        plan.plan_times(question);
        for sum in sums(question, plan.earlier.is_some()) {
            let last = plan.goals.iter().rposition(|goal| matches!(goal, Goal::Sum(..)));
            let after = if sum.needs_previous() { last } else { None };
            plan.goals.push(Goal::Sum(sum, after));
        }
        plan
    }

    fn plan_times(&mut self, question: &str) {
        let until = clock::until(question);
        let asks = clock::asks_for_time(question);
        let places = places(question);
        let lower = question.to_lowercase();
        let apart = places.known.len() > 1
            && ["difference", "ahead", "behind", "apart"].iter().any(|word| lower.contains(word));
        // "And in Berlin?"
        let follows_up = lower.starts_with("and ") && lower.split_whitespace().count() <= 5 && !places.known.is_empty();
        if !asks && !apart && !follows_up && until.is_none() {
            return;
        }
        let mut known = places.known;
        if known.is_empty() {
            known.push(Place::utc());
            self.unknown = places.unknown;
        }
        let n = known.len();
        self.goals.extend(known.into_iter().map(Goal::Time));
        if apart {
            self.goals.extend((1..n).map(|other| Goal::Apart(0, other)));
        }
        if let Some(until) = until {
            self.goals.push(Goal::Until(until, n - 1)); // "there" is the place that was named last
        }
    }

    fn progress(&self, done: &[(&Asked, Option<&str>)], conversation: &Conversation) -> Vec<Step> {
        let is_offered = |name: &str| conversation.tools.iter().any(|tool| tool.name == name);
        let may_call = |name: &str| {
            is_offered(name)
                && match &conversation.choice {
                    Choice::Auto | Choice::Required => true,
                    Choice::None => false,
                    Choice::Named(named) => named == name,
                }
        };
        let mut steps: Vec<Step> = Vec::with_capacity(self.goals.len());
        for goal in &self.goals {
            let step = match self.wanted(goal, &steps) {
                Err(step) => step,
                Ok(wanted) => {
                    let known = done
                        .iter()
                        .rev()
                        .find(|(call, _)| call.name == wanted.0.name && call.arguments == wanted.0.arguments);
                    match known {
                        Some((_, Some(result))) => Step::Done(outcome(result)),
                        Some((_, None)) => Step::Done(Outcome::Error("there is no result".to_owned())),
                        None if may_call(&wanted.0.name) => Step::Call(wanted),
                        None if wanted.0.name == TIME => Step::Lacks(TIME),
                        None => Step::Lacks(CALCULATE),
                    }
                }
            };
            steps.push(step);
        }
        steps
    }

    /// The call that a goal needs, or why there is none.
    fn wanted(&self, goal: &Goal, steps: &[Step]) -> Result<Wanted, Step> {
        let calculate = |expression: String| Wanted::new(CALCULATE, json!({"expression": expression}));
        match goal {
            Goal::Time(place) => Ok(Wanted::new(TIME, json!({"timezone": place.zone}))),
            Goal::Named(wanted) => Ok(wanted.clone()),
            Goal::Sum(sum, Some(after)) => Ok(calculate(sum.expression(number(&steps[*after])?))),
            Goal::Sum(sum, None) => Ok(calculate(sum.expression(self.earlier.as_deref().unwrap_or("0")))),
            Goal::Until(until, clock) => Ok(calculate(until.expression(moment(&steps[*clock])?))),
            Goal::Apart(one, other) => {
                let (one, other) = (moment(&steps[*one])?, moment(&steps[*other])?);
                Ok(calculate(format!("{} - {}", one.offset_term(), other.offset_term())))
            }
        }
    }

    /// The answer; empty when there was nothing to find out.
    fn tell(&self, steps: &[Step]) -> String {
        let mut lines: Vec<String> = Vec::new();
        for (goal, step) in self.goals.iter().zip(steps) {
            let line = self.line(goal, step);
            if !lines.contains(&line) {
                lines.push(line);
            }
        }
        if lines.len() > 2 {
            lines = lines.into_iter().map(|line| format!("- {line}")).collect();
            lines.insert(0, "Here is what I found:\n".to_owned());
        }
        if let Some(unknown) = &self.unknown {
            let hint = "name a larger city or an IANA zone such as `Europe/Madrid`";
            lines.push(format!(
                "\nI do not know the time zone of {unknown}, so this is UTC; {hint} and I will look again."
            ));
        }
        lines.join("\n")
    }

    fn line(&self, goal: &Goal, step: &Step) -> String {
        match (goal, step) {
            (_, Step::Lacks(tool)) => format!(
                "For {} I would need the tool `{tool}`, and this conversation does not offer it to me.",
                self.subject(goal)
            ),
            (_, Step::Hopeless | Step::Waiting | Step::Call(_)) => {
                format!("So I could not work out {} either.", self.subject(goal))
            }
            (_, Step::Done(Outcome::Error(message))) => {
                let message = message.trim_end_matches('.');
                format!("I could not find out {}: the tool answered “{message}”.", self.subject(goal))
            }
            (Goal::Time(place), Step::Done(Outcome::Time(moment))) => {
                let (time, offset) = (moment.in_words(), moment.offset_in_words());
                match &place.name {
                    Some(name) => format!("In {name} it is **{time}** ({offset})."),
                    None if place.zone == offset => format!("It is **{time}** (UTC)."),
                    None => format!("It is **{time}** in `{}` ({offset}).", place.zone),
                }
            }
            (Goal::Sum(sum, _), Step::Done(Outcome::Number { result, exact })) => {
                let about = if *exact { "is" } else { "is about" };
                let words = sum.in_words();
                // Of `5 ft to m` the result has the second half.
                let asked = words.split(" to ").next().unwrap_or(&words);
                let asked = if asked.starts_with("the ") { capitalised(asked) } else { asked.to_owned() };
                format!("{asked} {about} **{}**.", grouped(result))
            }
            (Goal::Until(until, clock), Step::Done(Outcome::Number { result, .. })) => {
                let place = match &self.goals[*clock] {
                    Goal::Time(Place { name: Some(name), .. }) => format!(" in {name}"),
                    _ => String::new(),
                };
                format!("That leaves {}.", until.in_words(result, &place))
            }
            (Goal::Apart(one, other), Step::Done(Outcome::Number { result, .. })) => {
                let (one, other) = (self.place(*one), self.place(*other));
                let (word, hours) = match result.strip_prefix('-') {
                    Some(hours) => ("behind", hours),
                    None => ("ahead of", result.as_str()),
                };
                match hours {
                    "0" => format!("{} and {other} have the same time.", capitalised(one)),
                    "1" => format!("{} is **1 hour** {word} {other}.", capitalised(one)),
                    hours => format!("{} is **{hours} hours** {word} {other}.", capitalised(one)),
                }
            }
            (Goal::Named(wanted), Step::Done(Outcome::Other(text))) => format!("`{}` answered: {text}", wanted.0.name),
            (_, Step::Done(outcome)) => {
                let told = match outcome {
                    Outcome::Time(moment) => moment.in_words(),
                    Outcome::Number { result, .. } => grouped(result),
                    Outcome::Other(text) | Outcome::Error(text) => text.clone(),
                };
                format!("For {} the tool answered: {told}", self.subject(goal))
            }
        }
    }

    fn place(&self, goal: usize) -> &str {
        match &self.goals[goal] {
            Goal::Time(place) => place.label(),
            _ => "",
        }
    }

    /// A goal as the object of a sentence.
    fn subject(&self, goal: &Goal) -> String {
        match goal {
            Goal::Time(Place { name: None, zone }) if zone == "UTC" => "the time".to_owned(),
            Goal::Time(place) => format!("the time in {}", place.label()),
            Goal::Sum(sum, _) => sum.in_words(),
            Goal::Until(until, _) => format!("how long it is until {}", until.name()),
            Goal::Apart(one, other) => format!("how far {} and {} are apart", self.place(*one), self.place(*other)),
            Goal::Named(wanted) => format!("`{}`", wanted.0.name),
        }
    }
}

/// The number that a goal came to.
fn number(step: &Step) -> Result<&str, Step> {
    match step {
        Step::Done(Outcome::Number { result, .. }) => Ok(result),
        Step::Call(_) | Step::Waiting => Err(Step::Waiting),
        Step::Lacks(_) | Step::Hopeless | Step::Done(_) => Err(Step::Hopeless),
    }
}

fn moment(step: &Step) -> Result<&Moment, Step> {
    match step {
        Step::Done(Outcome::Time(moment)) => Ok(moment),
        Step::Call(_) | Step::Waiting => Err(Step::Waiting),
        Step::Lacks(_) | Step::Hopeless | Step::Done(_) => Err(Step::Hopeless),
    }
}

/// Whether a text names a tool, as `look_up` or as "look up".
fn mentions(text: &str, tool: &str) -> bool {
    let plain = |text: &str| format!(" {} ", text.to_lowercase().replace(|c: char| !c.is_alphanumeric(), " "));
    tool.len() > 3 && (text.contains(tool) || (tool.contains(['_', '-']) && plain(text).contains(&plain(tool))))
}

/// Arguments for a tool of which only the schema is known.
fn arguments(schema: &Value, question: &str) -> Value {
    if schema.get("properties").is_none() {
        return json!({});
    }
    // What stands in quotes is meant literally.
    let quoted = question.split(['"', '“', '”']).nth(1).unwrap_or(question).trim();
    let numbers = arithmetic::numbers(question);
    let zone = places(question).known.into_iter().next().unwrap_or_else(Place::utc).zone;
    fill(schema, &Ink { answer: quoted, question: quoted, numbers: &numbers, zone: &zone, time: None })
}

/// The call that the request insists on, when the question needs none.
fn forced(conversation: &Conversation, question: &str) -> Option<Wanted> {
    let tool = match &conversation.choice {
        Choice::Auto | Choice::None => return None,
        Choice::Named(name) => conversation.tools.iter().find(|tool| tool.name == *name),
        Choice::Required => {
            conversation.tools.iter().find(|tool| tool.name == TIME).or_else(|| conversation.tools.first())
        }
    }?;
    Some(Wanted::new(&tool.name, arguments(&tool.parameters, question)))
}

/// The reasoning before calls.
fn why(calls: &[Wanted], goes_on: bool) -> String {
    let wants: Vec<String> = calls
        .iter()
        .map(|Wanted(call)| {
            let argument = |name: &str| call.arguments.get(name).and_then(Value::as_str);
            match (call.name.as_str(), argument("timezone"), argument("expression")) {
                (TIME, Some(zone), _) => format!("the current time in {zone}"),
                (CALCULATE, _, Some(expression)) => format!("the value of {}", pretty(expression)),
                (name, ..) => format!("what `{name}` says"),
            }
        })
        .collect();
    let how = if calls.len() > 1 { "I ask for them at once." } else { "I ask the tool." };
    let start = if goes_on { "With that I can go on: now I need" } else { "To answer this I need" };
    format!("{start} {}. {how}", wants.join(" and "))
}

/// A result of a call that no goal of the question accounts for.
fn relate(call: &Asked, result: Option<&str>) -> String {
    match result.map(outcome) {
        Some(Outcome::Time(moment)) => format!("It is **{}** ({}).", moment.in_words(), moment.offset_in_words()),
        Some(Outcome::Number { result, .. }) => format!("`{}` answered **{}**.", call.name, grouped(&result)),
        Some(Outcome::Other(text)) => format!("`{}` answered: {text}", call.name),
        Some(Outcome::Error(message)) => {
            format!("`{}` did not work; it answered “{}”.", call.name, message.trim_end_matches('.'))
        }
        None => format!("I asked `{}` and got no result.", call.name),
    }
}

/// The answer in the form that was asked for.
fn formed(text: String, question: &str, done: &[(&Asked, Option<&str>)], conversation: &Conversation) -> String {
    let schema = match &conversation.form {
        Form::Text => return text,
        Form::Object => return json!({"answer": text.replace("**", "")}).to_string(),
        Form::Schema(schema) => schema,
    };
    let outcomes: Vec<Outcome> = done.iter().rev().filter_map(|(_, result)| result.map(outcome)).collect();
    let mut numbers: Vec<f64> = outcomes
        .iter()
        .filter_map(|outcome| match outcome {
            Outcome::Number { result, .. } => result.parse().ok(),
            _ => None,
        })
        .collect();
    numbers.extend(arithmetic::numbers(question));
    let time = done.iter().find_map(|(_, result)| {
        let value: Value = serde_json::from_str((*result)?).ok()?;
        Some(value.get("datetime")?.as_str()?.to_owned())
    });
    let zone = places(question).known.into_iter().next().unwrap_or_else(Place::utc).zone;
    let answer = text.replace("**", "");
    fill(schema, &Ink { answer: &answer, question, numbers: &numbers, zone: &zone, time: time.as_deref() }).to_string()
}

/// Tells conversations apart, so that ids of calls do not repeat within one.
fn fingerprint(conversation: &Conversation) -> u64 {
    let mut hasher = DefaultHasher::new();
    format!("{:?}", conversation.said).hash(&mut hasher);
    hasher.finish()
}

fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

#[cfg(test)]
mod tests;
