//! A page as text that can be read: headings, paragraphs, lists, tables and links. No scripts, no styles, no layout.

mod depth;

/// Columns that lists and tables may fill.
const WIDTH: usize = 120;
/// Elements inside of elements. Reading a page takes time with the square of that, which a hostile page can make large.
const DEEPEST: usize = 1_000;
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
    if depth::is_deeper_than(DEEPEST, html) {
        return Err(Unreadable::TooDeep);
    }
    let rendered = html2text::config::plain()
        .link_footnotes(true)
        .allow_width_overflow()
        .string_from_read(html.as_bytes(), WIDTH)
        .map_err(|_| Unreadable::NotReadable)?;
    Ok(rendered.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each leaves something open, and has closing tags that a parser passes over.
    const HOSTILE: [&str; 22] = [
        "<div><!-- </div> -->",
        "<!--><div><!-- </div> -->",
        "<div><!-- --!></p><!-- </div> -->",
        "<div title='</div>'>",
        "<div a=b title = \"</div>\">",
        "<div =\"><div>\"></div>",
        "<div><script></div></script>",
        "<div><SCRIPT><!--<script></script></div>--></SCRIPT>",
        "<div><style>a</style ></div x><div><style></div></style>",
        "<div><title></div></title>",
        "<div><table></div></table>",
        "<div><object></div></object>",
        "<div><select></div></select>",
        "<div><select><title></select><div></title></div>",
        "<form><span></form>",
        "<body><span></body>",
        "<dd><li>",
        "<div><b></div>",
        "<div></div:x>",
        "<div></ div></>",
        "<div><svg><desc><div></svg></div>",
        "<div><![CDATA[</div>]]>",
    ];

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
        for unit in HOSTILE {
            assert_eq!(text(&unit.repeat(2_000)), Err(Unreadable::TooDeep), "{unit}");
        }
        for (before, unit) in
            [("<svg>", "<td>"), ("<svg><p>", "<title></div><div></title>"), ("<plaintext>", "<div></div>")]
        {
            assert_eq!(text(&(before.to_owned() + &unit.repeat(2_000))), Err(Unreadable::TooDeep), "{before}{unit}");
        }
        assert!(text(&"<p>paragraph<li>item".repeat(5_000)).is_ok(), "old pages close nothing");
        assert!(text(&"<div><span>x</span></div>".repeat(5_000)).is_ok());
    }

    #[test]
    fn ordinary_pages_are_not_deep_however_long_they_are() {
        let units = [
            "<ul><li><a href='x'>one</a><li><b>two</b></ul>",
            "<table><tr><td><p>a<td>b</td></tr><tr><td>c</table>",
            "<div><p>a<p>b <span>c</div>",
            "<script>if (a<b) { s = '<div><div>' }</script><style>a>b{}</style>",
            "<div><!-- <div><div> --><img src=x alt='a > b'></div>",
            "<svg viewBox='0 0 1 1'><title>Icon</title><g><path d='M0'></path></g></svg>",
            "<dl><dt>a<dd>b<dt>c<dd>d</dl><select><option>1<option>2</select>",
            "<p>a<br/>b<hr>c</p><pre>x &lt; y</pre><p>1 < 2</p>",
        ];
        for unit in units {
            assert!(text(&unit.repeat(2_000)).is_ok(), "{unit}");
        }
        assert!(text(&units.concat().repeat(500)).is_ok());
    }
}
