//! `calculate`: arithmetic, exactly (R81, R104). The grammar and the numbers are `fend-core`'s, which has no access to
//! anything and can be interrupted; what is decided here is how much of it a model gets.

use std::time::{Duration, Instant};

use async_trait::async_trait;
use domain::tool_call::Replay;
use fend_core::{Context, Interrupt};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::{ToolContext, ToolError, ToolReply, TypedTool};

const LONGEST: usize = 1_000;
const DEEPEST: usize = 32;
const LONGEST_RESULT: usize = 1_000;
const TIME: Duration = Duration::from_secs(1);

/// Does sums.
pub(super) struct Calculate;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Arguments {
    /// For example `17% of 2340`, `(2 + 3) * 4^2`, `sqrt(2) / 3`, `7 mod 3` or `5 ft to m`.
    expression: String,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Answer {
    expression: String,
    result: String,
    exact: bool,
}

#[async_trait]
impl TypedTool for Calculate {
    type Arguments = Arguments;
    const NAME: &'static str = "calculate";
    const DESCRIPTION: &'static str = "Evaluates an arithmetic expression, exactly where possible. Operators: + - * / ^ \
        mod ! and parentheses. Percent: `17% of 2340` and `17% * 2340` are both 397.8; between two numbers (`7 % 3`) it \
        is the remainder. Functions: sqrt cbrt abs floor ceil round exp ln log (base 10) log2 sin cos tan asin acos \
        atan (radians; `sin(30 deg)` for degrees). Constants: pi e. Units convert: `5 ft to m`. A comma may only group \
        thousands. Answers JSON: expression, result (as text), exact (false when rounded to 15 digits).";

    fn replay(&self) -> Replay {
        Replay::Safe
    }

    async fn call(&self, arguments: Arguments, context: &ToolContext) -> Result<ToolReply, ToolError> {
        let expression = readable(&arguments.expression).map_err(ToolError::InvalidArguments)?;
        let cancel = context.cancel.clone();
        // A sum can keep a core busy until its time is over: not on a thread that serves others.
        let (result, exact) = tokio::task::spawn_blocking(move || evaluate(&expression, cancel))
            .await
            .map_err(|error| ToolError::Fatal(error.into()))?
            .map_err(ToolError::RespondToModel)?;
        ToolReply::json(&Answer { expression: arguments.expression, result, exact })
    }
}

/// The expression as the evaluator takes it, or why it is not one. Only what arithmetic is written with: no quotes, no
/// colons, no equals signs, so no text, functions of one's own or variables; and no nesting that could exhaust a stack.
fn readable(expression: &str) -> Result<String, String> {
    let mut text = expression.trim();
    if text.len() > LONGEST {
        return Err(format!("The expression has {} bytes; at most {LONGEST} are taken", text.len()));
    }
    text = text.trim_end_matches('=').trim_end();
    if text.is_empty() {
        return Err("The expression is empty".to_owned());
    }
    let (mut depth, mut deepest) = (0_usize, 0);
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.checked_sub(1).ok_or("There is a `)` without a `(`")?,
            _ => {}
        }
        deepest = deepest.max(depth);
        match c {
            '0'..='9'
            | 'a'..='z'
            | 'A'..='Z'
            | ' '
            | '.'
            | ','
            | '('
            | ')'
            | '+'
            | '-'
            | '*'
            | '/'
            | '^'
            | '%'
            | '!' => plain.push(c),
            '\t' | '\n' | '\r' | '\u{a0}' | '\u{202f}' => plain.push(' '),
            '−' | '–' => plain.push('-'),
            '×' | '·' | '⋅' => plain.push('*'),
            '÷' => plain.push('/'),
            'π' => plain.push_str(" pi "),
            '√' => plain.push_str(" sqrt "),
            '°' => plain.push_str(" deg"),
            _ => return Err(format!("`{}` has no place in an expression", c.escape_debug())),
        }
    }
    if depth > 0 {
        return Err("There is a `(` without a `)`".to_owned());
    }
    if deepest > DEEPEST {
        return Err(format!("The parentheses are nested {deepest} deep; at most {DEEPEST} are taken"));
    }
    without_thousands_separators(&plain)
}

/// A comma in `12,345,678` groups thousands; any other would be read as something that its writer did not mean.
fn without_thousands_separators(text: &str) -> Result<String, String> {
    let digits_or_commas = |c: char| c.is_ascii_digit() || c == ',';
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(digits_or_commas) {
        let (before, from) = rest.split_at(start);
        let end = from.find(|c| !digits_or_commas(c)).unwrap_or(from.len());
        let (number, after) = from.split_at(end);
        let mut groups = number.split(',');
        let first = groups.next().unwrap_or_default();
        let grouped = (1..=3).contains(&first.len()) && groups.all(|group| group.len() == 3) && !before.ends_with('.');
        if number.contains(',') && !grouped {
            return Err(format!(
                "`{number}` is unclear: a comma may only group thousands; the decimal sign is a point"
            ));
        }
        plain.push_str(before);
        plain.extend(number.chars().filter(|c| *c != ','));
        rest = after;
    }
    plain.push_str(rest);
    Ok(plain)
}

/// The result and whether it is exact.
fn evaluate(expression: &str, cancel: CancellationToken) -> Result<(String, bool), String> {
    let until = Until { at: Instant::now() + TIME, cancel };
    let run = |text: &str| {
        fend_core::evaluate_with_interrupt(text, &mut Context::new(), &until)
            .map(|result| result.get_main_result().to_owned())
            .map_err(|message| match message.as_str() {
                "interrupted" => "The calculation takes too long: the numbers are too large".to_owned(),
                _ => format!("Cannot evaluate: {}", shorten(&message)),
            })
    };
    let mut expression = expression.to_owned();
    let mut result = run(&expression)?;
    if result.ends_with('%') {
        expression = format!("0 + ({expression})"); // as a number, not as so many hundredths
        result = run(&expression)?;
    }
    let exact = !result.starts_with("approx.");
    if !exact {
        result = run(&format!("({expression}) to 15 sf")).unwrap_or(result);
    }
    let result = without_trailing_zeros(result.trim_start_matches("approx. "));
    if result.is_empty() || result.len() > LONGEST_RESULT {
        return Err(format!("The result has {} digits; at most {LONGEST_RESULT} are given", result.len()));
    }
    if is_imaginary(&result) {
        return Err("The result is not a real number".to_owned());
    }
    Ok((result, exact))
}

struct Until {
    at: Instant,
    cancel: CancellationToken,
}

impl Interrupt for Until {
    fn should_interrupt(&self) -> bool {
        self.cancel.is_cancelled() || Instant::now() >= self.at
    }
}

/// `1.50 m` as `1.5 m`.
fn without_trailing_zeros(result: &str) -> String {
    let (number, unit) = result.find(' ').map_or((result, ""), |space| result.split_at(space));
    let number = if number.contains('.') { number.trim_end_matches('0').trim_end_matches('.') } else { number };
    format!("{number}{unit}")
}

/// Whether it ends in a multiple of `i`. (`mi` are miles.)
fn is_imaginary(result: &str) -> bool {
    let last = result.rsplit(' ').next().unwrap_or(result);
    last.strip_suffix('i').is_some_and(|number| number.chars().all(|c| c.is_ascii_digit() || matches!(c, '.' | '-')))
}

fn shorten(message: &str) -> String {
    message.chars().take(200).collect()
}
