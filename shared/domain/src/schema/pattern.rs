//! How long a pattern is when its repetitions are written out: the steps that it takes for each character of a text.

use std::str::Chars;

/// A class of Unicode's (`\p{L}`) is a pattern of its own.
const UNICODE_CLASS: u64 = 50;

/// The length of a pattern with every repetition written out, or more where engines disagree about what is a group.
pub(super) fn length(pattern: &str) -> u64 {
    written_out(pattern).unwrap_or_else(|| at_most(pattern))
}

/// Nothing if the pattern has flags or a class that may end in two places: then a parenthesis may be none.
fn written_out(pattern: &str) -> Option<u64> {
    // Of each open group, what came before it. A repetition belongs to the last part.
    let mut outer: Vec<u64> = Vec::new();
    let (mut sum, mut last) = (0_u64, 0_u64);
    let mut rest = pattern.chars();
    while let Some(next) = rest.next() {
        if let ('{', Some(times)) = (next, repetition(rest.as_str())) {
            last = last.saturating_mul(times);
            rest.find(|next| *next == '}');
            continue;
        }
        if next == ')' {
            last = sum.saturating_add(last).max(1);
            sum = outer.pop().unwrap_or(0);
            continue;
        }
        sum = sum.saturating_add(std::mem::replace(&mut last, 1));
        match next {
            '(' => {
                skip_group_kind(&mut rest)?;
                outer.push(std::mem::take(&mut sum));
                last = 0;
            }
            '[' => last = class(&mut rest)?,
            '\\' => last = escaped(&mut rest),
            _ => {}
        }
    }
    Some(outer.into_iter().fold(sum.saturating_add(last), u64::saturating_add))
}

/// Each repetition as if it were of everything.
fn at_most(pattern: &str) -> u64 {
    let times = pattern.split('{').skip(1).filter_map(repetition).fold(1, u64::saturating_mul);
    times.saturating_mul(pattern.len() as u64).saturating_mul(UNICODE_CLASS)
}

/// The most that what begins as `n}`, `n,}` or `n,m}` repeats.
fn repetition(after: &str) -> Option<u64> {
    let (inside, _) = after.split_once('}')?;
    let number = |text: &str| text.trim().parse::<u64>().ok();
    let (least, most) = inside.split_once(',').unwrap_or((inside, ""));
    number(most).or_else(|| number(least)).map(|times| times.max(1))
}

fn skip_group_kind(rest: &mut Chars<'_>) -> Option<()> {
    let Some(kind) = rest.as_str().strip_prefix('?') else { return Some(()) };
    kind.starts_with([':', '=', '!', '<', 'P']).then(|| rest.nth(1)).map(drop)
}

/// What is left of a class, as one part.
fn class(rest: &mut Chars<'_>) -> Option<u64> {
    let mut length = 1;
    if rest.as_str().trim_start_matches('^').starts_with(']') {
        return None;
    }
    loop {
        match rest.next()? {
            ']' => return Some(length),
            '[' => return None,
            '\\' => length = length.max(escaped(rest)),
            _ => {}
        }
    }
}

fn escaped(rest: &mut Chars<'_>) -> u64 {
    match rest.next() {
        Some('p' | 'P') => {
            if rest.as_str().starts_with('{') {
                rest.find(|next| *next == '}');
            }
            UNICODE_CLASS
        }
        Some('u' | 'x') if rest.as_str().starts_with('{') => {
            rest.find(|next| *next == '}');
            1
        }
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repetitions_are_written_out() {
        let found = ["", "abc", "ab{3}", "(ab){1,20}c", "((a{10}){10}){10,}", r"\p{L}{10}", r"\{3}", "[a-z{5}(]{4}"];
        assert_eq!(found.map(length), [0, 3, 4, 41, 1_000, 500, 3, 4]);
        assert_eq!(length("^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"), 1 + 8 + 15 + 1 + 12 + 1);
    }

    #[test]
    fn parentheses_that_are_none_hide_no_repetition() {
        for pattern in ["(a{100}[(]){100}", "(a{100}[[(]]){100}", "(a{100}[]()]){100}", "(?x)(a{100}#(\n){100}"] {
            assert!(length(pattern) >= 10_000, "{pattern}: {}", length(pattern));
        }
    }
}
