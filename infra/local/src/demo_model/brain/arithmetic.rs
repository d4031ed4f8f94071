//! Finds sums in a sentence, in symbols or in words, and writes them the way the `calculate` tool reads them. Nothing is
//! calculated here: a model that did the sum itself would show nothing of the tools.

mod tokens;

use self::tokens::{Token, tokens};

/// Stands for the previous result in a [`Sum`].
const PREVIOUS: char = '@';

/// One sum that a text asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sum(String);

impl Sum {
    /// Whether it is made from the result of the sum before it.
    pub(super) fn needs_previous(&self) -> bool {
        self.0.contains(PREVIOUS)
    }

    /// The expression, with the previous result in its place.
    pub(super) fn expression(&self, previous: &str) -> String {
        let plain = previous.chars().all(|c| c.is_ascii_alphanumeric() || c == '.');
        let previous = if plain { previous.to_owned() } else { format!("({previous})") };
        self.0.replace(PREVIOUS, &previous)
    }

    /// The expression as people write it, with words for the previous result.
    pub(super) fn in_words(&self) -> String {
        pretty(&self.expression("…")).replace("(…)", "the result")
    }
}

/// Every sum in the text, in order. `has_previous`: whether "it" and "the result" can mean something from before.
pub(super) fn sums(text: &str, has_previous: bool) -> Vec<Sum> {
    let tokens = tokens(text);
    let asked = is_asked(text) || only_symbols(&tokens);
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let mut parser = Parser { tokens: &tokens, at, has_previous: has_previous || !found.is_empty(), depth: 0 };
        match parser.conversion().or_else(|| parser.sum()) {
            Some(node) if node.strong || (node.is_sum && asked) => {
                found.push(Sum(node.text));
                at = parser.at;
            }
            // A number or a range of numbers: not to be read again from its middle.
            Some(node) if node.is_sum => at = parser.at,
            _ => at += 1,
        }
    }
    found
}

/// An expression with grouped thousands and the signs that people write.
pub(super) fn pretty(expression: &str) -> String {
    let mut out = String::new();
    let mut number = String::new();
    for c in expression.chars() {
        if c.is_ascii_digit() || (c == '.' && !number.is_empty()) {
            number.push(c);
            continue;
        }
        out.push_str(&grouped(&std::mem::take(&mut number)));
        out.push(match c {
            '*' => '×',
            '/' => '÷',
            '-' => '−',
            c => c,
        });
    }
    out.push_str(&grouped(&number));
    out.replace("sqrt(", "√(")
}

/// A number with its thousands grouped; anything else as it is.
pub(super) fn grouped(number: &str) -> String {
    let (sign, digits) = number.strip_prefix('-').map_or(("", number), |digits| ("−", digits));
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    let (whole, rest) = digits.split_at(end);
    if whole.len() < 4 || rest.contains('/') {
        return format!("{sign}{digits}");
    }
    let mut out = String::from(sign);
    for (i, digit) in whole.chars().enumerate() {
        if i > 0 && (whole.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out + rest
}

/// The numbers in a text, for whoever has to fill in some.
pub(super) fn numbers(text: &str) -> Vec<f64> {
    tokens(text)
        .into_iter()
        .filter_map(|token| match token {
            Token::Number(number) => number.parse().ok(),
            _ => None,
        })
        .collect()
}

/// Whether the words around make clear that `3-4` or `24/7` is meant as a sum.
fn is_asked(text: &str) -> bool {
    const ASKING: [&str; 11] =
        ["calculate", "compute", "evaluate", "what is", "what's", "what’s", "whats", "how much", "solve", "=", "equal"];
    let text = text.to_lowercase();
    ASKING.iter().any(|asking| text.contains(asking))
}

fn only_symbols(tokens: &[Token]) -> bool {
    !tokens.iter().any(|token| matches!(token, Token::Word(_)))
}

/// A part of a sum, written out.
struct Node {
    text: String,
    /// Whether there is anything to calculate in it.
    is_sum: bool,
    /// Whether it can be nothing but a sum; a range or a date could be read as one.
    strong: bool,
    /// Whether it stays one operand wherever it is put.
    is_atom: bool,
}

impl Node {
    fn atom(text: impl Into<String>) -> Self {
        Self { text: text.into(), is_sum: false, strong: false, is_atom: true }
    }

    fn sum(text: String) -> Self {
        Self { text, is_sum: true, strong: true, is_atom: false }
    }

    fn operand(&self) -> String {
        if self.is_atom { self.text.clone() } else { format!("({})", self.text) }
    }

    fn call(function: &str, of: &Self) -> Self {
        let inside = if of.is_atom && of.text.starts_with('(') { of.text.clone() } else { format!("({})", of.text) };
        Self { is_atom: true, ..Self::sum(format!("{function}{inside}")) }
    }

    fn join(self, sign: &str, right: &Self, strong: bool) -> Self {
        Self {
            text: format!("{} {sign} {}", self.text, right.text),
            is_sum: true,
            strong: strong || self.strong || right.strong,
            is_atom: false,
        }
    }
}

/// Reads the longest sum from a place; what does not fit is left where it is.
struct Parser<'a> {
    tokens: &'a [Token],
    at: usize,
    has_previous: bool,
    depth: usize,
}

impl Parser<'_> {
    fn word(&self, ahead: usize) -> &str {
        match self.tokens.get(self.at + ahead) {
            Some(Token::Word(word)) => word,
            _ => "",
        }
    }

    /// Passes over these words, if they are next.
    fn take(&mut self, phrase: &str) -> bool {
        let n = phrase.split(' ').count();
        let found = phrase.split(' ').enumerate().all(|(ahead, word)| self.word(ahead) == word);
        self.at += if found { n } else { 0 };
        found
    }

    fn take_any(&mut self, phrases: &[&str]) -> bool {
        phrases.iter().any(|phrase| self.take(phrase))
    }

    fn take_sign(&mut self, wanted: char) -> Option<bool> {
        match self.tokens.get(self.at) {
            Some(Token::Sign { sign, tight }) if *sign == wanted => {
                self.at += 1;
                Some(*tight)
            }
            _ => None,
        }
    }

    /// Reads what `read` reads, or goes back to where it began.
    fn attempt<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<T> {
        let from = self.at;
        let found = read(self);
        if found.is_none() {
            self.at = from;
        }
        found
    }

    fn sum(&mut self) -> Option<Node> {
        let mut left = self.product()?;
        while let Some((sign, right, strong)) = self.attempt(|this| {
            let (sign, strong) = if this.take_sign('+').is_some() || this.take_any(&["plus", "added to"]) {
                ("+", true)
            } else if let Some(tight) = this.take_sign('-') {
                ("-", !tight)
            } else if this.take("minus") {
                ("-", true)
            } else {
                return None;
            };
            Some((sign, this.product()?, strong))
        }) {
            left = left.join(sign, &right, strong);
        }
        Some(left)
    }

    fn product(&mut self) -> Option<Node> {
        let mut left = self.power()?;
        while let Some((sign, right, strong)) = self.attempt(|this| {
            let (sign, strong) = if this.take_sign('*').is_some() || this.take_any(&["times", "x", "multiplied by"]) {
                ("*", true)
            } else if let Some(tight) = this.take_sign('/') {
                ("/", !tight)
            } else if this.take_any(&["divided by", "over"]) {
                ("/", true)
            } else if this.take_any(&["mod", "modulo"]) || this.take_sign('%').is_some() {
                ("mod", true)
            } else {
                return None;
            };
            Some((sign, this.power()?, strong))
        }) {
            left = left.join(sign, &right, strong);
        }
        Some(left)
    }

    fn power(&mut self) -> Option<Node> {
        self.depth += 1;
        let node = if self.depth > 30 { None } else { self.power_within() };
        self.depth -= 1;
        node
    }

    fn power_within(&mut self) -> Option<Node> {
        let base = self.postfix()?;
        let exponent = self.attempt(|this| {
            let words = ["to the power of", "raised to the power of", "raised to", "to the power"];
            (this.take_sign('^').is_some() || this.take_any(&words)).then_some(())?;
            this.power()
        });
        Some(match exponent {
            Some(exponent) => {
                let text = format!("{}^{}", base.operand(), exponent.operand());
                Node { is_atom: false, ..Node::sum(text) }
            }
            None => base,
        })
    }

    fn postfix(&mut self) -> Option<Node> {
        let mut node = self.primary()?;
        loop {
            if self.take("squared") {
                node = Node::sum(format!("{}^2", node.operand()));
            } else if self.take("cubed") {
                node = Node::sum(format!("{}^3", node.operand()));
            } else if let Some(whole) = self.percentage(&node) {
                node = whole;
            } else if node.is_atom && !node.text.ends_with('%') && self.is_factorial() {
                self.at += 1;
                node = Node { is_atom: true, ..Node::sum(format!("{}!", node.text)) };
            } else {
                return Some(node);
            }
        }
    }

    /// An exclamation mark after a number that ends a sentence is none of a factorial's.
    fn is_factorial(&self) -> bool {
        let is_mark = matches!(self.tokens.get(self.at), Some(Token::Sign { sign: '!', .. }));
        is_mark
            && (only_symbols(self.tokens)
                || matches!(self.tokens.get(self.at + 1), Some(Token::Stop | Token::Sign { .. })))
    }

    /// `17% of 2340`, `an 18% tip on 64.50`, `15% off 80`, or just `5%`.
    fn percentage(&mut self, share: &Node) -> Option<Node> {
        if share.text.ends_with('%') {
            return None;
        }
        self.attempt(|this| {
            (this.take_sign('%').is_some() || this.take_any(&["percent", "per cent"])).then_some(())?;
            if let Some(whole) = this.attempt(|this| {
                let noun = !this.word(0).is_empty() && matches!(this.word(1), "of" | "on" | "off");
                this.at += usize::from(noun && !matches!(this.word(0), "of" | "on" | "off"));
                let off = this.take("off");
                (off || this.take_any(&["of", "on"])).then_some(())?;
                let _ = this.take_any(&["the", "a"]) && this.take("bill of");
                this.at -= usize::from(matches!(this.word(0), "result" | "answer"));
                let whole = this.power()?;
                let share = format!("{}% of {}", share.operand(), whole.operand());
                Some(Node::sum(if off { format!("{} - ({share})", whole.operand()) } else { share }))
            }) {
                return Some(whole);
            }
            // Before another number it is the remainder's sign.
            let is_operator =
                matches!(this.tokens.get(this.at), Some(Token::Number(_) | Token::Sign { sign: '(', .. }));
            (!is_operator).then(|| Node::atom(format!("{}%", share.operand())))
        })
    }

    fn primary(&mut self) -> Option<Node> {
        if let Some(Token::Number(number)) = self.tokens.get(self.at) {
            self.at += 1;
            return Some(Node::atom(number.clone()));
        }
        self.attempt(|this| {
            this.take_sign('(')?;
            let inside = this.sum()?;
            this.take_sign(')')?;
            Some(Node { text: format!("({})", inside.text), is_atom: true, ..inside })
        })
        .or_else(|| {
            self.attempt(|this| {
                this.take_sign('-')?;
                let of = this.postfix()?;
                Some(Node { text: format!("-{}", of.operand()), is_atom: false, ..of })
            })
        })
        .or_else(|| self.attempt(Self::previous))
        .or_else(|| self.attempt(Self::function))
        .or_else(|| self.attempt(Self::command))
    }

    /// What "it" means.
    fn previous(&mut self) -> Option<Node> {
        const NAMES: [&str; 11] = [
            "the previous result",
            "the previous answer",
            "the last result",
            "the result",
            "that result",
            "this result",
            "the answer",
            "that number",
            "that",
            "it",
            "this",
        ];
        (self.has_previous && self.take_any(&NAMES)).then(|| Node::atom(PREVIOUS))
    }

    fn function(&mut self) -> Option<Node> {
        let _ = self.take_any(&["the", "a"]);
        if self.take("pi") || self.take("π") {
            return Some(Node::atom("pi"));
        }
        for (names, function) in [
            (&["square root of", "square root", "root of", "sqrt of", "sqrt"][..], "sqrt"),
            (&["cube root of", "cube root", "cbrt"], "cbrt"),
            (&["natural logarithm of", "natural log of", "ln of", "ln"], "ln"),
            (&["logarithm of", "log of", "log"], "log"),
            (&["absolute value of", "abs"], "abs"),
            (&["sine of", "sin"], "sin"),
            (&["cosine of", "cos"], "cos"),
            (&["tangent of", "tan"], "tan"),
        ] {
            if self.take_any(names) {
                let of = self.power()?;
                return Some(Node::call(function, &of));
            }
        }
        if self.take("factorial of") {
            let of = self.power()?;
            return Some(Node::sum(format!("{}!", of.operand())));
        }
        if self.take_any(&["half of", "half"]) {
            let of = self.power()?;
            return Some(Node::sum(format!("{} / 2", of.operand())));
        }
        if self.take("twice") {
            let of = self.power()?;
            return Some(Node::sum(format!("2 * {}", of.operand())));
        }
        for (names, sign) in [
            (&["sum of", "total of"][..], " + "),
            (&["product of"], " * "),
            (&["difference between", "difference of"], " - "),
            (&["quotient of"], " / "),
            (&["average of", "mean of"], " + "),
        ] {
            if self.take_any(names) {
                let average = sign == " + "
                    && matches!(self.tokens.get(self.at.checked_sub(2)?), Some(Token::Word(word)) if word == "average" || word == "mean");
                let list = self.list()?;
                let joined = list.iter().map(Node::operand).collect::<Vec<_>>().join(sign);
                let text = if average { format!("({joined}) / {}", list.len()) } else { format!("({joined})") };
                return Some(Node { is_atom: !average, ..Node::sum(text) });
            }
        }
        None
    }

    /// `1, 2 and 3`: two at least.
    fn list(&mut self) -> Option<Vec<Node>> {
        let mut list = vec![self.power()?];
        while let Some(next) = self.attempt(|this| {
            let comma = matches!(this.tokens.get(this.at), Some(Token::Stop));
            this.at += usize::from(comma);
            (this.take("and") || comma).then_some(())?;
            this.power()
        }) {
            list.push(next);
        }
        (list.len() > 1).then_some(list)
    }

    /// `multiply 6 by 7`, and `then add 5`, which means: to the result.
    fn command(&mut self) -> Option<Node> {
        let verb = self.word(0).to_owned();
        self.at += 1;
        let previous = self.has_previous.then(|| Node::atom(PREVIOUS));
        let first = self.attempt(Self::power);
        let two = |sign: &str, left: &Node, right: &Node| {
            Some(Node::sum(format!("{} {sign} {}", left.operand(), right.operand())))
        };
        match verb.as_str() {
            "multiply" | "divide" => {
                let sign = if verb == "divide" { "/" } else { "*" };
                let left = first.or(previous)?;
                self.take_any(&["by", "with", "and"]).then_some(())?;
                two(sign, &left, &self.power()?)
            }
            "add" => {
                let added = first?;
                let second = self.attempt(|this| {
                    this.take_any(&["to", "and"]).then_some(())?;
                    Some((this.tokens.get(this.at - 1) == Some(&Token::Word("to".to_owned())), this.power()?))
                });
                match second {
                    Some((true, target)) => two("+", &target, &added),
                    Some((false, other)) => two("+", &added, &other),
                    None => two("+", &previous?, &added),
                }
            }
            "subtract" | "deduct" => {
                let taken = first?;
                let from = self.attempt(|this| {
                    this.take("from").then_some(())?;
                    this.power()
                });
                two("-", &from.or(previous)?, &taken)
            }
            "double" | "triple" => {
                let by = if verb == "double" { "2" } else { "3" };
                two("*", &first?, &Node::atom(by))
            }
            "halve" => two("/", &first?, &Node::atom("2")),
            "square" | "cube" => {
                let exponent = if verb == "square" { 2 } else { 3 };
                Some(Node::sum(format!("{}^{exponent}", first?.operand())))
            }
            "raise" => {
                let base = first.or(previous)?;
                self.take_any(&["to the power of", "to the power", "to"]).then_some(())?;
                Some(Node::sum(format!("{}^{}", base.operand(), self.power()?.operand())))
            }
            _ => None,
        }
    }

    /// `5 ft to m`, `how many minutes are in 3 days`.
    fn conversion(&mut self) -> Option<Node> {
        self.attempt(|this| {
            let Some(Token::Number(number)) = this.tokens.get(this.at) else { return None };
            this.at += 1;
            let from = unit(this.word(0))?;
            this.at += 1;
            this.take_any(&["to", "in", "into", "as"]).then_some(())?;
            let to = unit(this.word(0))?;
            this.at += 1;
            Some(Node::sum(format!("{number} {from} to {to}")))
        })
        .or_else(|| {
            self.attempt(|this| {
                this.take("how many").then_some(())?;
                let to = unit(this.word(0))?;
                this.at += 1;
                let _ = this.take_any(&["are there", "are", "is"]);
                this.take("in").then_some(())?;
                let number = match this.tokens.get(this.at) {
                    Some(Token::Number(number)) => number.clone(),
                    Some(Token::Word(word)) if word == "a" || word == "an" => "1".to_owned(),
                    _ => return None,
                };
                this.at += 1;
                let from = unit(this.word(0))?;
                this.at += 1;
                Some(Node::sum(format!("{number} {from} to {to}")))
            })
        })
    }
}

/// A unit's name as the tool knows it.
fn unit(word: &str) -> Option<&'static str> {
    Some(match word {
        "ft" | "foot" | "feet" => "ft",
        "inch" | "inches" => "inches",
        "yard" | "yards" | "yd" => "yards",
        "mile" | "miles" | "mi" => "miles",
        "m" | "meter" | "meters" | "metre" | "metres" => "m",
        "cm" | "centimeter" | "centimeters" | "centimetres" => "cm",
        "mm" | "millimeters" | "millimetres" => "mm",
        "km" | "kilometer" | "kilometers" | "kilometre" | "kilometres" => "km",
        "kg" | "kilogram" | "kilograms" | "kilos" => "kg",
        "g" | "gram" | "grams" => "g",
        "lb" | "lbs" | "pound" | "pounds" => "lb",
        "oz" | "ounce" | "ounces" => "oz",
        "second" | "seconds" => "seconds",
        "minute" | "minutes" => "minutes",
        "hour" | "hours" => "hours",
        "day" | "days" => "days",
        "week" | "weeks" => "weeks",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<String> {
        sums(text, false).into_iter().map(|sum| sum.0).collect()
    }

    #[test]
    fn sums_are_found_in_symbols_and_in_words() {
        for (text, expected) in [
            ("What is 17% of 2,340?", "17% of 2340"),
            ("12 * (3 + 4)", "12 * (3 + 4)"),
            ("Please tell me the square root of 2.", "sqrt(2)"),
            ("2^10", "2^10"),
            ("5 plus 7", "5 + 7"),
            ("What's an 18% tip on $64.50?", "18% of 64.50"),
            ("how much is 15 percent off 80", "80 - (15% of 80)"),
            ("seven times twenty-five", "7 * 25"),
            ("multiply 6 by 7", "6 * 7"),
            ("subtract 5 from 12", "12 - 5"),
            ("3 million divided by 12", "3000000 / 12"),
            ("What is 2 to the power of 10?", "2^10"),
            ("the average of 4, 8 and 15", "(4 + 8 + 15) / 3"),
            ("17 % 5", "17 mod 5"),
            ("3x4", "3 * 4"),
            ("convert 5 feet to meters", "5 ft to m"),
            ("How many minutes are in 3 days?", "3 days to minutes"),
            ("What is 24/7?", "24 / 7"),
            ("5!", "5!"),
            ("-3 + 5", "-3 + 5"),
            ("What is 1/3 + 1/6?", "1 / 3 + 1 / 6"),
            ("half of 90", "90 / 2"),
            ("9 squared minus 1", "9^2 - 1"),
        ] {
            assert_eq!(found(text), [expected], "{text}");
        }
    }

    #[test]
    fn a_later_sum_may_take_the_result_of_an_earlier_one() {
        for (text, expected) in [
            ("Calculate 12 * 7, then multiply the result by 3.", &["12 * 7", "@ * 3"][..]),
            ("calculate 12*7 and then add 5 and then halve it", &["12 * 7", "@ + 5", "@ / 2"]),
            ("What is 2^10? And 10% of that?", &["2^10", "10% of @"]),
            ("What is 9 * 9? Take the square root of the result.", &["9 * 9", "sqrt(@)"]),
            ("2 + 2 and 3 * 3", &["2 + 2", "3 * 3"]),
        ] {
            assert_eq!(found(text), expected, "{text}");
        }
        assert_eq!(sums("now divide that by 4", true), [Sum("@ / 4".to_owned())]);
        assert_eq!(sums("now divide that by 4", false), []);
        assert_eq!(sums("Could you double check this, and draw a square?", true), []);
    }

    #[test]
    fn what_only_looks_like_a_sum_is_left_alone() {
        for text in [
            "Write 3-4 sentences about 24/7 shops.",
            "What happened on 2026-11-23 at 12:30?",
            "I have 3 cats and 4 dogs!",
            "What time is it in Tokyo?",
            "Use version 1.2.3 (or 2.0)",
            "a state-of-the-art x-ray",
            "the 5th of May, 2024",
        ] {
            assert_eq!(found(text), Vec::<String>::new(), "{text}");
        }
    }

    #[test]
    fn numbers_are_grouped_for_reading() {
        for (number, expected) in
            [("2340", "2,340"), ("-1234567.5", "−1,234,567.5"), ("397.8", "397.8"), ("1000 m", "1,000 m")]
        {
            assert_eq!(grouped(number), expected);
        }
        assert_eq!(pretty("17% of 2340 * 2 - sqrt(2)"), "17% of 2,340 × 2 − √(2)");
    }

    #[test]
    fn a_previous_result_is_put_in_as_one_operand() {
        let sum = Sum("@ * 3".to_owned());
        assert_eq!(sum.expression("84"), "84 * 3");
        assert_eq!(sum.expression("-2"), "(-2) * 3");
        assert_eq!(sum.in_words(), "the result × 3");
    }
}
