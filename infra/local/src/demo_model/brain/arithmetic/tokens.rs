//! Sentences in pieces: numbers in digits and in words, operators, words. What only begins like a number (a date, a time of
//! day, a version) is a word.

/// A piece of a sentence, as sums see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    /// Digits, with a point perhaps.
    Number(String),
    /// An operator or a parenthesis. `tight`: no blank on either side, as in a range or a date.
    Sign { sign: char, tight: bool },
    /// In lower case.
    Word(String),
    /// Punctuation, which no sum goes across.
    Stop,
}

/// The pieces of a text.
pub(super) fn tokens(text: &str) -> Vec<Token> {
    let chars: Vec<char> = text.replace("**", "^").chars().collect();
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(&c) = chars.get(at) {
        let start = at;
        at += 1;
        let next = chars.get(at).copied().unwrap_or(' ');
        match c {
            '0'..='9' => at = number(&chars, start, &mut tokens),
            '.' if next.is_ascii_digit() => at = number(&chars, start, &mut tokens),
            c if c.is_alphabetic() => {
                while chars.get(at).is_some_and(|c| c.is_alphanumeric() || matches!(c, '\'' | '’' | '_')) {
                    at += 1;
                }
                tokens.push(Token::Word(chars[start..at].iter().flat_map(|c| c.to_lowercase()).collect()));
            }
            c if c.is_whitespace() || matches!(c, '$' | '€' | '£' | '`') => {}
            '√' => tokens.push(Token::Word("sqrt".to_owned())),
            _ => tokens.push(match sign(c) {
                Some(sign) => {
                    let before = start.checked_sub(1).map_or(' ', |before| chars[before]);
                    Token::Sign { sign, tight: !before.is_whitespace() && !next.is_whitespace() }
                }
                None => Token::Stop,
            }),
        }
    }
    number_words(tokens)
}

fn sign(c: char) -> Option<char> {
    Some(match c {
        '+' | '/' | '^' | '%' | '!' | '(' | ')' | '*' => c,
        '-' | '−' | '–' => '-',
        '×' | '·' | '⋅' => '*',
        '÷' => '/',
        _ => return None,
    })
}

/// Reads a number, or what only begins like one: a date, a time of day, a version, an ordinal.
fn number(chars: &[char], start: usize, tokens: &mut Vec<Token>) -> usize {
    let is_digit = |at: usize| chars.get(at).is_some_and(char::is_ascii_digit);
    let digits = |mut at: usize| {
        while is_digit(at) {
            at += 1;
        }
        at
    };
    let mut end = digits(start);
    while end - start <= 30 && chars.get(end) == Some(&',') && digits(end + 1) == end + 4 {
        end += 4;
    }
    if chars.get(end) == Some(&'.') && is_digit(end + 1) {
        end = digits(end + 1);
    }
    let is_date = chars.get(end) == Some(&'-') && end - start == 4 && {
        let month = digits(end + 1);
        month == end + 3 && chars.get(month) == Some(&'-') && digits(month + 1) == month + 3
    };
    let is_odd = is_date || (matches!(chars.get(end), Some(':' | '.')) && is_digit(end + 1));
    let mut stop = end;
    let continues = |c: &char| c.is_alphanumeric() || (is_odd && matches!(c, ':' | '.' | '-'));
    while chars.get(stop).is_some_and(continues) {
        stop += 1;
    }
    let suffix: String = chars[end..stop].iter().collect::<String>().to_lowercase();
    let text: String = chars[start..end].iter().filter(|c| **c != ',').collect();
    let text = if text.starts_with('.') { format!("0{text}") } else { text };
    match suffix.as_str() {
        "" => tokens.push(Token::Number(text)),
        "k" => tokens.push(Token::Number(scaled(&text, 1_000).unwrap_or(text))),
        _ if is_odd || matches!(suffix.as_str(), "st" | "nd" | "rd" | "th" | "am" | "pm") => {
            tokens.push(Token::Word(chars[start..stop].iter().collect()));
        }
        // `3x4`, `5ft`
        _ => {
            tokens.push(Token::Number(text));
            let letters = suffix.find(|c: char| c.is_ascii_digit()).unwrap_or(suffix.len());
            tokens.push(Token::Word(suffix[..letters].to_owned()));
            return end + suffix[..letters].chars().count();
        }
    }
    stop
}

/// `twenty-five`, `3 million`.
fn number_words(tokens: Vec<Token>) -> Vec<Token> {
    const UNITS: [&str; 20] = [
        "zero",
        "one",
        "two",
        "three",
        "four",
        "five",
        "six",
        "seven",
        "eight",
        "nine",
        "ten",
        "eleven",
        "twelve",
        "thirteen",
        "fourteen",
        "fifteen",
        "sixteen",
        "seventeen",
        "eighteen",
        "nineteen",
    ];
    const TENS: [&str; 8] = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"];
    let unit = |token: Option<&Token>| match token {
        Some(Token::Word(word)) => UNITS.iter().position(|unit| unit == word),
        _ => None,
    };
    let mut out: Vec<Token> = Vec::with_capacity(tokens.len());
    let mut at = 0;
    while at < tokens.len() {
        let token = &tokens[at];
        at += 1;
        if let Some(unit) = unit(Some(token)) {
            out.push(Token::Number(unit.to_string()));
            continue;
        }
        let Token::Word(word) = token else {
            out.push(token.clone());
            continue;
        };
        if let Some(tens) = TENS.iter().position(|tens| tens == word).map(|tens| (tens + 2) * 10) {
            let hyphen = usize::from(matches!(tokens.get(at), Some(Token::Sign { sign: '-', tight: true })));
            let units = unit(tokens.get(at + hyphen)).filter(|units| (1..10).contains(units));
            at += units.map_or(0, |_| hyphen + 1);
            out.push(Token::Number((tens + units.unwrap_or(0)).to_string()));
            continue;
        }
        let scale = match word.as_str() {
            "hundred" => 100,
            "thousand" => 1_000,
            "million" => 1_000_000,
            "billion" => 1_000_000_000,
            _ => 0,
        };
        match out.last_mut() {
            Some(Token::Number(number)) if scale > 0 => match scaled(number, scale) {
                Some(scaled) => *number = scaled,
                None => out.push(token.clone()),
            },
            _ => out.push(token.clone()),
        }
    }
    out
}

/// A number times a power of ten, exactly.
fn scaled(number: &str, scale: u32) -> Option<String> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let zeros = scale.ilog10() as usize;
    let moved = fraction.get(..fraction.len().min(zeros))?;
    let rest = fraction.get(moved.len()..)?;
    let text = format!("{whole}{moved}{}", "0".repeat(zeros - moved.len()));
    let text = text.trim_start_matches('0');
    let text = if text.is_empty() { "0" } else { text };
    Some(if rest.is_empty() { text.to_owned() } else { format!("{text}.{rest}") })
}
