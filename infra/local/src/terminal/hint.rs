//! Commands for people to copy: called as this program was, for the system and the user that this command is for.

use url::Url;

use super::screen::Terminal;
use crate::cli::DEFAULT_PORT;

/// How commands are called.
#[derive(Debug, Clone)]
pub(super) struct Hint {
    begin: String,
    end: String,
}

impl Hint {
    /// For the system at `base`; `owned`: it stops with this process, and the next command starts it again.
    pub(super) fn new(out: &Terminal, base: &Url, caller: Option<&str>, owned: bool) -> Self {
        let invocation = out.invocation();
        let mut end = String::new();
        if let Some(data) = invocation.data.as_ref().filter(|_| owned) {
            end.push_str(&format!(" --data {}", word(&data.display().to_string())));
        }
        if let Some(port) = base.port_or_known_default().filter(|port| *port != DEFAULT_PORT && !owned) {
            end.push_str(&format!(" --port {port}"));
        }
        if let Some(user) = caller {
            end.push_str(&format!(" --user {}", word(user)));
        }
        Self { begin: invocation.program.to_owned(), end }
    }

    /// A command with these words, which are words to a shell already.
    pub(super) fn command(&self, words: &str) -> String {
        format!("{} {words}{}", self.begin, self.end)
    }

    /// The command that answers a question.
    pub(super) fn answer(&self, job: &str, request: &str, action: &str, data: &str) -> String {
        self.command(format!("answer {} {} {} {data}", word(job), word(request), word(action)).trim_end())
    }
}

/// As one word to a shell. What others named may hold anything.
fn word(text: &str) -> String {
    let text = super::text::one_line(text);
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b'/' | b':' | b'=' | b',');
    if !text.is_empty() && text.bytes().all(is_plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_named_is_one_word_to_a_shell() {
        assert_eq!(word("main.1.call0"), "main.1.call0");
        assert_eq!(word("';rm -rf ~;'"), r"''\'';rm -rf ~;'\'''");
        assert_eq!(word("$(x)\n`y`"), "'$(x) `y`'");
        assert_eq!(word(""), "''");
    }
}
