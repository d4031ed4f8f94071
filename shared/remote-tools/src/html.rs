//! A page as text that can be read: headings, paragraphs, lists, tables and links. No scripts, no styles, no layout.

use std::collections::HashMap;

/// Columns that lists and tables may fill.
const WIDTH: usize = 120;
/// Elements inside of elements. Reading a page takes time with the square of that, which a hostile page can make large.
const DEEPEST: usize = 1_000;
/// Elements that end by themselves, so that leaving them open nests nothing.
const END_THEMSELVES: [&str; 21] = [
    "p", "li", "td", "th", "tr", "dt", "dd", "option", "thead", "tbody", "br", "hr", "img", "input", "meta", "link",
    "source", "area", "col", "wbr", "base",
];

/// Why a page cannot be read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unreadable {
    /// It is made to be expensive, or badly broken.
    #[error("The page has more than {DEEPEST} elements inside of each other and is not read")]
    TooDeep,
    /// The reader does not know what to make of it.
    #[error("The page's HTML cannot be read")]
    NotReadable,
}

/// The page's text. Busy for as long as it takes: not for a thread that serves others.
pub(crate) fn text(html: &str) -> Result<String, Unreadable> {
    if depth(html) > DEEPEST {
        return Err(Unreadable::TooDeep);
    }
    let rendered = html2text::config::plain()
        .link_footnotes(true)
        .allow_width_overflow()
        .string_from_read(html.as_bytes(), WIDTH)
        .map_err(|_| Unreadable::NotReadable)?;
    Ok(rendered.trim().to_owned())
}

/// How deep a page nests at most, roughly and never too little by much: tags that are opened and not closed, by name.
fn depth(html: &str) -> usize {
    let mut open: HashMap<String, usize> = HashMap::new();
    let (mut depth, mut deepest) = (0, 0);
    for tag in html.split('<').skip(1) {
        let closes = tag.starts_with('/');
        let name: String = tag
            .trim_start_matches('/')
            .chars()
            .take_while(char::is_ascii_alphanumeric)
            .take(16)
            .collect::<String>()
            .to_ascii_lowercase();
        if name.is_empty() || END_THEMSELVES.contains(&name.as_str()) {
            continue;
        }
        let count = open.entry(name).or_default();
        if !closes {
            *count += 1;
            depth += 1;
            deepest = deepest.max(depth);
        } else if *count > 0 {
            *count -= 1;
            depth -= 1;
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_read_without_its_machinery() {
        let html = "<!doctype html><html><head><title>T</title><style>p{}</style><script>var x='<p>no</p>';</script></head>\
            <body><h1>Rates</h1><p>See <a href=\"https://example.com/a\">the list</a> &amp; more.</p>\
            <ul><li>one</li><li>two</li></ul></body></html>";
        let text = text(html).unwrap();
        assert!(text.contains("Rates") && text.contains("the list") && text.contains("& more."), "{text}");
        assert!(text.contains("https://example.com/a"), "{text}");
        assert!(text.contains("* one") && text.contains("* two"), "{text}");
        assert!(!text.contains("var x") && !text.contains("p{}"), "{text}");
    }

    #[test]
    fn a_page_that_nests_without_end_is_refused_and_not_tried() {
        for element in ["<div>", "<a><b>", "<blockquote>", "<table><tr><td>", "<div></x>"] {
            assert_eq!(text(&element.repeat(100_000)), Err(Unreadable::TooDeep), "{element}");
        }
        assert!(text(&"<p>paragraph<li>item".repeat(5_000)).is_ok(), "old pages close nothing");
        assert!(text(&"<div><span>x</span></div>".repeat(5_000)).is_ok());
    }
}
