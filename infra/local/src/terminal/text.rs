//! Text on its way to a terminal: made harmless, measured, shortened, wrapped.
//!
//! Everything that a model, a tool or a server wrote passes [`clean`] or [`one_line`]; nothing here knows what it says.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

const ESCAPE: char = '\u{1b}';
const BELL: char = '\u{7}';
/// How many columns a tab takes where text is wrapped.
const TAB: &str = "    ";

/// `text` without escape sequences, control characters and marks that reorder what is read. Newlines and tabs stay.
pub(super) fn clean(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        if begins_sequence(next) {
            rest = &rest[sequence_length(rest).unwrap_or(rest.len())..];
            continue;
        }
        match next {
            '\n' | '\t' => clean.push(next),
            '\u{2028}' | '\u{2029}' => clean.push('\n'),
            _ if is_hostile(next) => {}
            _ => clean.push(next),
        }
        rest = &rest[next.len_utf8()..];
    }
    clean
}

/// [`clean`]ed text on one line, each run of white space a single blank.
pub(super) fn one_line(text: &str) -> String {
    clean(text).split_whitespace().collect::<Vec<_>>().join(" ")
}

/// How much of `text` can be cleaned now: up to an escape sequence at its end that is not all there yet.
pub(super) fn whole_sequences(text: &str) -> usize {
    let mut at = 0;
    while let Some(found) = text[at..].find(begins_sequence) {
        match sequence_length(&text[at + found..]) {
            Some(length) => at += found + length,
            None => return at + found,
        }
    }
    text.len()
}

/// `json` as one line with every character that a terminal might obey written as JSON's own escape: such characters
/// stand only inside JSON's strings, except for line breaks between tokens.
pub(super) fn json_line(json: &str) -> String {
    let mut line = String::with_capacity(json.len());
    for next in json.chars() {
        match next {
            '\n' | '\r' | '\t' => line.push(' '),
            _ if is_hostile(next) => escape(next, &mut line),
            _ => line.push(next),
        }
    }
    line
}

/// `text` with every character that cannot be seen, or that changes how others are seen, written as JSON's escape: what
/// somebody decides about is shown whole, where [`clean`] would leave out what a sequence swallows.
pub(super) fn escaped(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for next in text.chars() {
        match next {
            '\n' | '\t' => shown.push(next),
            _ if is_hostile(next) || is_invisible(next) => escape(next, &mut shown),
            _ => shown.push(next),
        }
    }
    shown
}

fn escape(c: char, into: &mut String) {
    for unit in c.encode_utf16(&mut [0; 2]) {
        into.push_str(&format!("\\u{unit:04x}"));
    }
}

/// Marks of direction, separators, blanks of no width, tags. Joiners stay: letters and emoji are made with them.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{61c}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}' | '\u{2029}')
        || matches!(c, '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

fn is_hostile(c: char) -> bool {
    c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn begins_sequence(c: char) -> bool {
    matches!(c, ESCAPE | '\u{90}' | '\u{98}' | '\u{9b}' | '\u{9d}' | '\u{9e}' | '\u{9f}')
}

/// The length of the escape sequence that `text` begins with; `None` when its end is not there yet.
fn sequence_length(text: &str) -> Option<usize> {
    let mut chars = text.char_indices().skip(1);
    let mut kind = text.chars().next()?;
    if kind == ESCAPE {
        let (at, next) = chars.next()?;
        kind = match next {
            '[' => '\u{9b}',
            ']' | 'P' | 'X' | '^' | '_' => '\u{9d}',
            ' '..='/' => ' ',
            '0'..='~' => return Some(at + next.len_utf8()),
            _ => return Some(at),
        };
    }
    let body = |c: char| matches!((kind, c), ('\u{9b}', ' '..='?') | (' ', ' '..='/'));
    let mut escaped = false;
    for (at, next) in chars {
        if matches!(kind, '\u{9b}' | ' ') {
            match next {
                _ if body(next) => {}
                '0'..='~' => return Some(at + 1),
                _ => return Some(at),
            }
        } else {
            match next {
                BELL | '\u{9c}' => return Some(at + next.len_utf8()),
                '\\' if escaped => return Some(at + 1),
                // A string that nobody ended must not swallow what follows on other lines.
                '\n' => return Some(at),
                _ => escaped = next == ESCAPE,
            }
        }
    }
    None
}

/// How many columns `text` takes.
pub(super) fn width(text: &str) -> usize {
    text.width()
}

/// `text`, cut to `columns` with an ellipsis when it is longer.
pub(super) fn shorten(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let mut short = String::new();
    let mut used = 1;
    for next in text.chars() {
        used += next.width().unwrap_or(0);
        if used > columns {
            break;
        }
        short.push(next);
    }
    short.truncate(short.trim_end().len());
    if columns > 0 {
        short.push('…');
    }
    short
}

/// The end of `text`, at most so wide.
pub(super) fn ending(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let room = columns.saturating_sub(1);
    let fits = text.char_indices().rev().take_while(|(at, _)| width(&text[*at..]) <= room);
    let from = fits.last().map_or(text.len(), |(at, _)| at);
    format!("…{}", text[from..].trim_start())
}

/// `line` as lines of at most `columns`, broken between words where it can be. What is added to `line` later changes
/// only the last of them.
pub(super) fn wrap(line: &str, columns: usize) -> Vec<String> {
    let columns = columns.max(2);
    let line = line.replace('\t', TAB);
    let mut lines = Vec::new();
    let mut start = 0;
    let mut break_at = None;
    let mut used = 0;
    let mut before = ' ';
    for (at, next) in line.char_indices() {
        let wide = next.width().unwrap_or(0);
        let may_break = (before == ' ' && next != ' ') || before.width() == Some(2) && wide > 0 && next != ' ';
        if at > start && may_break && !line[start..at].trim().is_empty() {
            break_at = Some(at);
        }
        used += wide;
        // A blank at the edge hangs over: it is cut off with the break.
        if used > columns && next != ' ' {
            let end = break_at.take().unwrap_or(at);
            lines.push(line[start..end].trim_end().to_owned());
            start = end;
            used = width(&line[start..at]) + wide;
        }
        before = next;
    }
    lines.push(line[start..].to_owned());
    lines
}

/// `12 ms`, `4.2 s`, `42 s`, `3 min 5 s`, `2 h 5 min`.
pub(super) fn span(milliseconds: u64) -> String {
    let seconds = milliseconds / 1000;
    match milliseconds {
        0..1000 => format!("{milliseconds} ms"),
        1000..9950 => {
            let tenths = (milliseconds + 50) / 100;
            format!("{}.{} s", tenths / 10, tenths % 10)
        }
        9950..60_000 => format!("{} s", ((milliseconds + 500) / 1000).min(59)),
        60_000..3_600_000 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

/// `1,234,567`.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// `1 turn`, `3 turns`.
pub(super) fn counted(number: u64, thing: &str) -> String {
    let s = if number == 1 { "" } else { "s" };
    format!("{} {thing}{s}", grouped(number))
}

/// `$0.0012`, `$1.25`; nothing when it cost nothing.
pub(super) fn dollars(cost: f64) -> Option<String> {
    match cost {
        c if c >= 0.1 => Some(format!("${c:.2}")),
        c if c >= 0.0001 => Some(format!("${c:.4}")),
        c if c > 0.0 => Some("under $0.0001".to_owned()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_text_becomes_harmless_and_honest_text_stays() {
        for (raw, harmless) in [
            ("Plain text, ünïcode 日本 🦀\n\ttabbed", "Plain text, ünïcode 日本 🦀\n\ttabbed"),
            ("\u{1b}[31mred\u{1b}[0m", "red"),
            ("\u{1b}]0;owned\u{7}title", "title"),
            ("\u{1b}]8;;http://evil\u{1b}\\link\u{1b}]8;;\u{1b}\\", "link"),
            ("\u{1b}]52;c;cm0gLXJm\u{9c}clipboard", "clipboard"),
            ("\u{1b}]never ended\nnext line", "\nnext line"),
            ("\u{9b}2Jcleared \u{9d}0;x\u{7}C1", "cleared C1"),
            ("\u{1b}(Bcharset \u{1b}cReset", "charset Reset"),
            ("a\u{8}\u{8}b\rc\r\nd\u{7f}\u{0}", "abc\nd"),
            ("user\u{202e}txt.exe\u{2066}", "usertxt.exe"),
            ("cut off \u{1b}[3", "cut off "),
            ("\u{1b}[31\u{1b}[32mx", "x"),
        ] {
            assert_eq!(clean(raw), harmless, "{raw:?}");
            assert!(clean(raw).chars().all(|c| c == '\n' || c == '\t' || !is_hostile(c)));
        }
        assert_eq!(one_line("a\n\n  b\tc "), "a b c");
    }

    #[test]
    fn a_sequence_in_two_pieces_waits_for_its_second_piece() {
        for (piece, ready) in [("ab", 2), ("ab\u{1b}", 2), ("ab\u{1b}[3", 2), ("ab\u{1b}[3m", 6), ("\u{1b}]0;t", 0)] {
            assert_eq!(whole_sequences(piece), ready, "{piece:?}");
        }
    }

    #[test]
    fn json_stays_the_same_json_on_one_harmless_line() {
        let json = "{\"a\":\n \"\u{9b}2J\u{7f}é\"}";
        assert_eq!(json_line(json), r#"{"a":  "\u009b2J\u007fé"}"#);
        let parse = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        assert_eq!(parse(&json_line(json)), parse(json));
    }

    #[test]
    fn what_is_decided_about_is_shown_whole() {
        let json = "{\n\t\"a\": \"x\u{9d}rm -rf\u{9c}\u{202e}\u{200f}\u{e0041}é\"}";
        assert_eq!(escaped(json), "{\n\t\"a\": \"x\\u009drm -rf\\u009c\\u202e\\u200f\\udb40\\udc41é\"}");
        let parse = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        assert_eq!(parse(&escaped(json)), parse(json));
    }

    #[test]
    fn lines_break_between_words_and_inside_them_only_when_they_must() {
        for (line, columns, wrapped) in [
            ("", 10, vec![""]),
            ("one two three", 13, vec!["one two three"]),
            ("one two three", 9, vec!["one two", "three"]),
            ("one two   three", 7, vec!["one two", "three"]),
            ("    indented code line", 14, vec!["    indented", "code line"]),
            ("https://example.org/long", 10, vec!["https://ex", "ample.org/", "long"]),
            ("go https://example.org", 10, vec!["go", "https://ex", "ample.org"]),
            ("日本語のテキスト", 8, vec!["日本語の", "テキスト"]),
            ("a\tb", 10, vec!["a    b"]),
        ] {
            assert_eq!(wrap(line, columns), wrapped, "{line:?} at {columns}");
        }
    }

    #[test]
    fn what_is_added_to_a_line_changes_only_its_last_piece() {
        let line = "The quick brown fox  jumps over 日本語 and https://example.org/a/very/long/path in the end.";
        for columns in 4..40 {
            let whole = wrap(line, columns);
            for (end, _) in line.char_indices() {
                let part = wrap(&line[..end], columns);
                assert_eq!(part[..part.len() - 1], whole[..part.len() - 1], "{:?} at {columns}", &line[..end]);
            }
        }
    }

    #[test]
    fn numbers_read_well() {
        assert_eq!(
            [0, 12, 999, 1000, 4_240, 9_949, 9_950, 59_999].map(span).join("|"),
            "0 ms|12 ms|999 ms|1.0 s|4.2 s|9.9 s|10 s|59 s"
        );
        assert_eq!([60_000, 185_000, 7_500_000].map(span).join("|"), "1 min 0 s|3 min 5 s|2 h 5 min");
        assert_eq!([7, 1234, 1_234_567].map(grouped).join("|"), "7|1,234|1,234,567");
        assert_eq!(
            [0.0, 0.00001, 0.0012, 1.254].map(|c| dollars(c).unwrap_or_default()).join("|"),
            "|under $0.0001|$0.0012|$1.25"
        );
        assert_eq!(shorten("a long sentence", 8), "a long…");
        assert_eq!(shorten("日本語", 4), "日…");
    }
}
