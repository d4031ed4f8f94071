//! Reading the environment: the one place that does. What is missing or wrong is an error that names the variable and
//! the rule, at the start, instead of a surprise later; nothing falls back to a fake. Values are never in an error,
//! since some are secrets.

use std::{env::VarError, ops::RangeInclusive, str::FromStr, time::Duration};

/// A variable that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvError {
    /// It is not set, or empty.
    #[error("the environment variable {name} is required and not set")]
    Missing {
        /// Its name.
        name: &'static str,
    },
    /// It is set to what it may not be.
    #[error("the environment variable {name} is invalid: it must be {rule}")]
    Invalid {
        /// Its name.
        name: &'static str,
        /// What it must be, such as `a number of seconds from 1 to 900`.
        rule: String,
    },
}

/// The variable's value. Set and empty is as good as not set.
///
/// # Errors
/// When it is not set, or not Unicode.
pub fn required(name: &'static str) -> Result<String, EnvError> {
    optional(name)?.ok_or(EnvError::Missing { name })
}

/// The variable's value, if it is set and not empty.
///
/// # Errors
/// When it is not Unicode.
pub fn optional(name: &'static str) -> Result<Option<String>, EnvError> {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the environment")]
    present(name, std::env::var(name))
}

/// The text of a JSON document: the variable's value where that begins with `{`, otherwise the text of the file that it
/// names.
///
/// # Errors
/// When the file cannot be read.
pub fn document(name: &'static str) -> Result<Option<String>, EnvError> {
    optional(name)?.map(|text| read_document(name, text)).transpose()
}

fn read_document(name: &'static str, text: String) -> Result<String, EnvError> {
    if text.trim_start().starts_with('{') {
        return Ok(text);
    }
    let rule = "a JSON object, or the path of a file that has one and can be read";
    std::fs::read_to_string(text.trim()).map_err(|_| EnvError::Invalid { name, rule: rule.to_owned() })
}

/// The value of a variable whose name the configuration gives; `None` where it is not set, empty, or not Unicode.
pub fn named(name: &str) -> Option<String> {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the environment")]
    std::env::var(name).ok().filter(|text| !text.trim().is_empty())
}

/// The name of a table, which is required.
///
/// # Errors
/// When it is not set, or cannot be a table's name.
pub fn table(name: &'static str) -> Result<String, EnvError> {
    held(name, required(name)?, is_table, "the name of a table: 3 to 255 letters, digits, `_`, `-` and `.`")
}

/// The address of a queue or a server, which is required.
///
/// # Errors
/// When it is not set, or is no web address.
pub fn address(name: &'static str) -> Result<String, EnvError> {
    held(name, required(name)?, is_address, "an address that begins with https:// or http://")
}

fn is_table(text: &str) -> bool {
    (3..=255).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
}

fn is_address(text: &str) -> bool {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    rest.is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_graphic()))
}

fn held(name: &'static str, text: String, holds: fn(&str) -> bool, rule: &str) -> Result<String, EnvError> {
    if holds(&text) { Ok(text) } else { Err(EnvError::Invalid { name, rule: rule.to_owned() }) }
}

/// The required variable's value as a `T`; `rule` completes "it must be …" where it is none.
///
/// # Errors
/// When it is not set, or does not parse.
pub fn parsed<T: FromStr>(name: &'static str, rule: &str) -> Result<T, EnvError> {
    parse(name, &required(name)?, rule)
}

/// The optional variable's value as a `T`.
///
/// # Errors
/// When it is set and does not parse.
pub fn parsed_optional<T: FromStr>(name: &'static str, rule: &str) -> Result<Option<T>, EnvError> {
    optional(name)?.map(|text| parse(name, &text, rule)).transpose()
}

/// The optional variable's value as a number of whole seconds in this range.
///
/// # Errors
/// When it is set and is no such number.
pub fn seconds(name: &'static str, range: RangeInclusive<u32>) -> Result<Option<Duration>, EnvError> {
    optional(name)?.map(|text| seconds_within(name, &text, &range)).transpose()
}

fn seconds_within(name: &'static str, text: &str, range: &RangeInclusive<u32>) -> Result<Duration, EnvError> {
    let rule = || format!("a number of seconds from {} to {}", range.start(), range.end());
    let number = text.trim().parse().ok().filter(|number| range.contains(number));
    number.map(|number| Duration::from_secs(number.into())).ok_or_else(|| EnvError::Invalid { name, rule: rule() })
}

fn present(name: &'static str, value: Result<String, VarError>) -> Result<Option<String>, EnvError> {
    match value {
        Ok(text) => Ok(Some(text).filter(|text| !text.trim().is_empty())),
        Err(VarError::NotPresent) => Ok(None),
        Err(VarError::NotUnicode(_)) => Err(EnvError::Invalid { name, rule: "Unicode text".to_owned() }),
    }
}

fn parse<T: FromStr>(name: &'static str, text: &str, rule: &str) -> Result<T, EnvError> {
    text.trim().parse().map_err(|_| EnvError::Invalid { name, rule: rule.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named() {
        assert_eq!(
            required("NIGHTSHIFT_TEST_THAT_NOBODY_SETS").unwrap_err().to_string(),
            "the environment variable NIGHTSHIFT_TEST_THAT_NOBODY_SETS is required and not set"
        );
        assert_eq!(optional("NIGHTSHIFT_TEST_THAT_NOBODY_SETS"), Ok(None));
        assert_eq!(parsed_optional::<u16>("NIGHTSHIFT_TEST_THAT_NOBODY_SETS", "a port"), Ok(None));
    }

    #[test]
    fn empty_is_as_good_as_not_set() {
        assert_eq!(present("X", Ok(" ".into())), Ok(None));
        assert_eq!(present("X", Ok("a".into())), Ok(Some("a".into())));
    }

    #[test]
    fn a_document_stands_in_the_variable_or_in_the_file_that_it_names() {
        assert_eq!(read_document("X", " {\"a\": 1}".into()), Ok(" {\"a\": 1}".into()));
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
        assert!(read_document("X", path.into()).unwrap().contains("startup"));
        assert_eq!(
            read_document("X", "/nowhere/tools.json".into()).unwrap_err().to_string(),
            "the environment variable X is invalid: it must be a JSON object, or the path of a file that has one and can \
             be read"
        );
        assert_eq!(named("NIGHTSHIFT_TEST_THAT_NOBODY_SETS"), None);
    }

    #[test]
    fn what_cannot_be_a_table_or_an_address_is_refused_by_its_rule() {
        for table in ["nightshift", "nightshift-Table-1ABC", "a.b"] {
            assert!(is_table(table), "{table}");
        }
        for no_table in ["ab", "a table", "arn:aws:dynamodb:eu-west-1:1:table/x", &"x".repeat(256)] {
            assert!(!is_table(no_table), "{no_table}");
        }
        for address in ["https://sqs.eu-west-1.amazonaws.com/1/x", "http://127.0.0.1:4566/0/x"] {
            assert!(is_address(address), "{address}");
        }
        for no_address in ["nightshift-Starts", "https://", "arn:aws:sqs:eu-west-1:1:x", "https://a b"] {
            assert!(!is_address(no_address), "{no_address}");
        }
        assert_eq!(
            held("X", "hunter2!".to_owned(), is_table, "a table").unwrap_err().to_string(),
            "the environment variable X is invalid: it must be a table"
        );
    }

    #[test]
    fn seconds_are_whole_and_within_their_range() {
        let read = |text: &str| seconds_within("X", text, &(1..=600));
        assert_eq!(read(" 1 "), Ok(Duration::from_secs(1)));
        assert_eq!(read("600"), Ok(Duration::from_secs(600)));
        for wrong in ["0", "601", "-1", "1.5", "30s", "soon", "4294967297"] {
            assert_eq!(
                read(wrong).unwrap_err().to_string(),
                "the environment variable X is invalid: it must be a number of seconds from 1 to 600",
                "{wrong}"
            );
        }
        assert_eq!(seconds("NIGHTSHIFT_TEST_THAT_NOBODY_SETS", 1..=600), Ok(None));
    }

    #[test]
    fn what_does_not_parse_is_named_with_its_rule_and_without_its_value() {
        assert_eq!(parse::<u16>("PORT", " 80 ", "a port"), Ok(80));
        assert_eq!(
            parse::<u16>("PORT", "hunter2", "a number from 1 to 65535").unwrap_err().to_string(),
            "the environment variable PORT is invalid: it must be a number from 1 to 65535"
        );
        let not_unicode = present("X", Err(VarError::NotUnicode("x".into()))).unwrap_err();
        assert_eq!(not_unicode.to_string(), "the environment variable X is invalid: it must be Unicode text");
    }
}
