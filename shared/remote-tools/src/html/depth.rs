//! How deep a page nests, found out by walking through its text once.
//!
//! It may come out too deep for pages that are badly broken, and never too shallow by much: whoever makes a page to be
//! expensive knows what a parser ignores. So an element counts as closed only where a parser closes it: by a closing tag
//! that is one (and not text in a comment, a value or a script), with nothing open inside that would keep it open.

/// Elements of which another one takes the place of the first, and what is open between them does not keep it open.
const GIVE_WAY: [(&str, &[&str], &[&str]); 5] = [
    ("p", &["p"], &["li", "dd", "dt", "option"]),
    ("li", &["li"], &["p", "option"]),
    ("dd", &["dd", "dt"], &["p", "option"]),
    ("dt", &["dd", "dt"], &["p", "option"]),
    ("option", &["option"], &[]),
];
/// Elements that nest nothing: those without content, and parts of tables, which are three levels of each table.
const FLAT: [&str; 20] = [
    "td", "th", "tr", "thead", "tbody", "tfoot", "br", "hr", "img", "input", "meta", "link", "source", "area", "col",
    "wbr", "base", "embed", "param", "track",
];
/// Elements that take with them, when they close, whatever is open in them and does not keep them open.
const BLOCKS: [&str; 30] = [
    "div",
    "section",
    "article",
    "aside",
    "main",
    "nav",
    "header",
    "footer",
    "ul",
    "ol",
    "dl",
    "menu",
    "blockquote",
    "center",
    "pre",
    "figure",
    "figcaption",
    "address",
    "details",
    "summary",
    "fieldset",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "button",
    "table",
    "select",
    "h6",
];
/// Elements that keep nothing open but themselves.
const INLINE: [&str; 12] = ["span", "label", "sub", "sup", "abbr", "cite", "q", "time", "mark", "kbd", "var", "samp"];
/// The same, and a parser opens them again in what follows.
const FORMATTING: [&str; 14] =
    ["a", "b", "big", "code", "em", "font", "i", "nobr", "s", "small", "strike", "strong", "tt", "u"];
/// Elements whose content is text.
const TEXT: [&str; 8] = ["script", "style", "title", "textarea", "iframe", "noembed", "noframes", "xmp"];
/// Elements in which those are something else, and nothing is flat.
const FOREIGN: [&str; 2] = ["svg", "math"];

/// Looks at elements that are open, in one page: a page of a megabyte that nests by fifty takes a tenth of them. Who asks
/// for more closes, over and over, what is far out.
const LOOKS: usize = 20_000_000;

/// Whether there are more than so many elements inside of each other; or finding out takes too long.
pub(super) fn is_deeper_than(most: usize, html: &str) -> bool {
    let mut walk = Walk { open: Vec::new(), n_foreign: 0, n_select: 0, is_sure: true, n_looks: 0 };
    let mut rest = html;
    while let Some(at) = rest.find('<') {
        rest = walk.after(&rest[at + 1..]);
        if walk.open.len() > most || walk.n_looks > LOOKS {
            return true;
        }
    }
    false
}

struct Walk<'a> {
    open: Vec<&'a str>,
    n_foreign: usize,
    n_select: usize,
    /// Whether it is known what is a tag. If not, all that may open something counts, and nothing that may close it.
    is_sure: bool,
    n_looks: usize,
}

impl<'a> Walk<'a> {
    /// Takes in what begins after a `<`; what follows.
    fn after(&mut self, rest: &'a str) -> &'a str {
        let is_tag = |rest: &str| rest.starts_with(|c: char| c.is_ascii_alphabetic());
        if !self.is_sure {
            if is_tag(rest) {
                self.push("");
            }
            return rest;
        }
        if let Some(comment) = rest.strip_prefix("!--") {
            return after_comment(comment);
        }
        if rest.starts_with("![CDATA[") {
            // Where it ends depends on where it stands.
            self.is_sure = false;
            return rest;
        }
        if let Some(closing) = rest.strip_prefix('/').filter(|closing| is_tag(closing)) {
            self.closes(name(closing));
            return after_tag(closing);
        }
        if rest.starts_with(['!', '?', '/']) {
            return rest.split_once('>').map_or("", |(_, rest)| rest);
        }
        if !is_tag(rest) {
            return rest;
        }
        let name = name(rest);
        self.opens(name);
        self.after_text(name, after_tag(rest))
    }

    fn push(&mut self, name: &'a str) {
        self.open.push(name);
        self.n_foreign += usize::from(is_one_of(&FOREIGN, name));
        self.n_select += usize::from(is_one_of(&["select"], name));
    }

    fn opens(&mut self, name: &'a str) {
        if self.n_foreign == 0 {
            if is_one_of(&FLAT, name) {
                return;
            }
            if let Some((_, like, between)) = GIVE_WAY.iter().find(|(giving, ..)| giving.eq_ignore_ascii_case(name)) {
                let is_passed = |open: &&&str| is_one_of(between, open) || !between.is_empty() && is_phrase(open);
                let n_passed = self.open.iter().rev().take_while(is_passed).count();
                self.n_looks += n_passed;
                if let Some(at) = self.open.len().checked_sub(n_passed + 1)
                    && is_one_of(like, self.open[at])
                {
                    self.close(at);
                }
            }
        }
        self.push(name);
    }

    fn closes(&mut self, name: &str) {
        self.n_looks += self.open.len();
        let Some(at) = self.open.iter().rposition(|open| open.eq_ignore_ascii_case(name)) else { return };
        let gives_way = |name: &str| GIVE_WAY.iter().any(|(giving, ..)| giving.eq_ignore_ascii_case(name));
        let is_block = is_one_of(&BLOCKS, name) || gives_way(name) && !name.eq_ignore_ascii_case("option");
        let lets_close = |open: &&str| match (is_block, is_phrase(name)) {
            (true, _) => is_phrase(open) || gives_way(open),
            (false, true) => is_phrase(open),
            (false, false) => false,
        };
        if self.open[at + 1..].iter().all(lets_close) {
            self.close(at);
        }
    }

    fn close(&mut self, at: usize) {
        let inside = self.open.split_off(at + 1);
        if let Some(name) = self.open.pop() {
            self.n_foreign -= usize::from(is_one_of(&FOREIGN, name));
            self.n_select -= usize::from(is_one_of(&["select"], name));
        }
        self.open.extend(inside.into_iter().filter(|open| is_one_of(&FORMATTING, open)));
    }

    /// Passes over the content of an element that was just opened, if that is text.
    fn after_text(&mut self, name: &str, rest: &'a str) -> &'a str {
        if name.eq_ignore_ascii_case("plaintext") {
            self.is_sure = false;
        }
        if !is_one_of(&TEXT, name) {
            return rest;
        }
        let (text, after) = text_until(name, rest);
        let is_text = self.n_foreign == 0 && self.n_select == 0;
        // In a comment in a script, the end of a script in that does not end it.
        let is_plain = !name.eq_ignore_ascii_case("script") || !text.contains("<!--");
        if is_text && is_plain || !text.contains('<') {
            return after;
        }
        self.is_sure = false;
        rest
    }
}

fn is_one_of(names: &[&str], name: &str) -> bool {
    names.iter().any(|one| one.eq_ignore_ascii_case(name))
}

fn is_phrase(name: &str) -> bool {
    is_one_of(&INLINE, name) || is_one_of(&FORMATTING, name)
}

fn name(tag: &str) -> &str {
    tag.split(|c: char| c.is_ascii_whitespace() || matches!(c, '/' | '>')).next().unwrap_or_default()
}

/// What follows a comment: one may end at once (`<!-->`).
fn after_comment(comment: &str) -> &str {
    if let Some(rest) = comment.strip_prefix('>').or_else(|| comment.strip_prefix("->")) {
        return rest;
    }
    let ends = comment.match_indices('>').map(|(at, _)| at);
    let is_end = |at: &usize| comment[..*at].ends_with("--") || comment[..*at].ends_with("--!");
    ends.into_iter().find(is_end).map_or("", |at| &comment[at + 1..])
}

/// Where one is in a tag, after its name.
#[derive(Clone, Copy)]
enum Within {
    Tag,
    Name,
    AfterName,
    BeforeValue,
    Value,
    Quoted(char),
}

/// What follows a tag. A `>` in a quoted value does not end it, and a quote begins one only where a value may begin.
fn after_tag(tag: &str) -> &str {
    let attributes = &tag[name(tag).len()..];
    let mut within = Within::Tag;
    for (at, next) in attributes.char_indices() {
        within = match (within, next) {
            (Within::Quoted(quote), _) => {
                if next == quote {
                    Within::Tag
                } else {
                    within
                }
            }
            (_, '>') => return &attributes[at + 1..],
            (Within::BeforeValue, '"' | '\'') => Within::Quoted(next),
            (Within::Name, _) if next.is_ascii_whitespace() => Within::AfterName,
            (Within::AfterName | Within::BeforeValue, _) if next.is_ascii_whitespace() => within,
            (_, _) if next.is_ascii_whitespace() => Within::Tag,
            (Within::BeforeValue | Within::Value, _) => Within::Value,
            (_, '/') => Within::Tag,
            (Within::Name | Within::AfterName, '=') => Within::BeforeValue,
            (_, _) => Within::Name,
        };
    }
    ""
}

/// The text up to the closing tag of this name, and that tag with what follows.
fn text_until<'a>(name: &str, rest: &'a str) -> (&'a str, &'a str) {
    let is_end = |at: &usize| {
        let tag = &rest[at + 2..];
        tag.get(..name.len()).is_some_and(|found| found.eq_ignore_ascii_case(name))
            && tag[name.len()..].starts_with(|c: char| c.is_ascii_whitespace() || matches!(c, '/' | '>'))
    };
    let end = rest.match_indices("</").map(|(at, _)| at).find(is_end);
    end.map_or((rest, ""), |at| rest.split_at(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_that_closes_what_is_far_out_again_and_again_counts_as_deep() {
        let far_out = |times: usize| format!("<div><video>{}{}", "<span>".repeat(900), "</div>".repeat(times));
        assert!(!is_deeper_than(1_000, &far_out(10_000)));
        assert!(is_deeper_than(1_000, &far_out(30_000)));
    }
}
