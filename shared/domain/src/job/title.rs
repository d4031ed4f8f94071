//! What a job is about, in a line.

use super::JobSpec;
use crate::message::Message;

/// The most characters of a title. It is in the head, which each of a job's states writes anew.
const TITLE_CHARS: usize = 100;

/// What a job is about, for lists: the `title` among its caller's notes; else what was asked for last; else its workflow's
/// name. The first line that says anything, cut to 100 characters; empty when none does.
pub(super) fn title(spec: &JobSpec) -> String {
    let asked = spec.messages.iter().rev().find_map(|message| match message {
        Message::User { content } => first_line(&content.text()),
        _ => None,
    });
    let run = || spec.workflow.as_deref();
    let given = spec.metadata.get("title").and_then(|title| first_line(title));
    given
        .or(asked)
        .or_else(|| run().and_then(|run| first_line(&run.input.text)))
        .or_else(|| run().and_then(|run| first_line(&run.workflow.root.name)))
        .unwrap_or_default()
}

fn first_line(text: &str) -> Option<String> {
    let line = text.lines().map(str::trim).find(|line| !line.is_empty())?;
    if line.chars().count() <= TITLE_CHARS {
        return Some(line.to_owned());
    }
    let cut: String = line.chars().take(TITLE_CHARS - 1).collect();
    Some(format!("{}…", cut.trim_end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(messages: &[Message], notes: &[(&str, &str)]) -> String {
        let metadata = notes.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
        title(&JobSpec { messages: messages.to_vec(), metadata, ..JobSpec::default() })
    }

    #[test]
    fn a_title_is_the_callers_or_what_was_asked_last() {
        let history = [
            Message::user("First"),
            Message::system("No"),
            Message::user("\n  Then?  \nAnd more"),
            Message::system("x"),
        ];
        assert_eq!(of(&history, &[]), "Then?");
        assert_eq!(of(&history, &[("title", " Mine \n")]), "Mine");
        assert_eq!(of(&history, &[("title", "  ")]), "Then?");
        assert_eq!(of(&[Message::system("No")], &[]), "");
    }

    #[test]
    fn a_long_title_is_cut_between_characters() {
        let whole = "ä".repeat(100);
        assert_eq!(of(&[Message::user(&*whole)], &[]), whole);
        assert_eq!(of(&[Message::user("ä".repeat(101))], &[]), format!("{}…", "ä".repeat(99)));
    }
}
