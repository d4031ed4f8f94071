//! Reads members of a JSON object, lenient about what is absent and exact about what is there: a member of a wrong type is
//! a finding, and reading goes on.

use std::time::Duration;

use serde_json::{Map, Value};

use super::finding::{Code, Findings};

/// An object under reading.
pub(super) struct Fields<'a> {
    /// At which node.
    pub(super) node: Option<&'a str>,
    /// What its members are called in messages, such as `data.`.
    pub(super) path: String,
    /// The members.
    pub(super) members: &'a Map<String, Value>,
}

impl<'a> Fields<'a> {
    /// A member that is there and not null.
    pub(super) fn get(&self, key: &str) -> Option<&'a Value> {
        self.members.get(key).filter(|value| !value.is_null())
    }

    /// Notes that a member is not what it must be.
    pub(super) fn wrong(&self, key: &str, must: &str, findings: &mut Findings) {
        let message = format!("`{}{key}` must be {must}", self.path);
        findings.add(Code::DataValidationError, self.node, message);
    }

    fn read<T>(
        &self,
        key: &str,
        must: &str,
        findings: &mut Findings,
        parse: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Option<T> {
        let parsed = parse(self.get(key)?);
        if parsed.is_none() {
            self.wrong(key, must, findings);
        }
        parsed
    }

    /// Text; empty text counts as absent.
    pub(super) fn text(&self, key: &str, findings: &mut Findings) -> Option<String> {
        let text = self.read(key, "text", findings, Value::as_str)?;
        (!text.is_empty()).then(|| text.to_owned())
    }

    /// Text that must be there.
    pub(super) fn required_text(&self, key: &str, findings: &mut Findings) -> String {
        if self.get(key).is_none() {
            self.wrong(key, "there", findings);
        }
        self.text(key, findings).unwrap_or_default()
    }

    /// True or false.
    pub(super) fn flag(&self, key: &str, default: bool, findings: &mut Findings) -> bool {
        self.read(key, "true or false", findings, Value::as_bool).unwrap_or(default)
    }

    /// A number within bounds.
    pub(super) fn number(&self, key: &str, least: f64, most: f64, findings: &mut Findings) -> Option<f64> {
        let must = format!("a number from {least} to {most}");
        self.read(key, &must, findings, |value| value.as_f64().filter(|it| (least..=most).contains(it)))
    }

    /// A whole number of at least `least`.
    pub(super) fn whole(&self, key: &str, least: u32, findings: &mut Findings) -> Option<u32> {
        let must = format!("a whole number from {least}");
        self.read(key, &must, findings, |value| whole(value).filter(|it| *it >= least))
    }

    /// Milliseconds, whole or not.
    pub(super) fn millis(&self, key: &str, findings: &mut Findings) -> Option<Duration> {
        self.read(key, "milliseconds, a number from 0", findings, |value| {
            Duration::try_from_secs_f64(value.as_f64()? / 1000.0).ok()
        })
    }

    /// One of several words.
    pub(super) fn word<T: Copy>(&self, key: &str, words: &[(&str, T)], findings: &mut Findings) -> Option<T> {
        let names: Vec<String> = words.iter().map(|(word, _)| format!("`{word}`")).collect();
        let must = format!("one of {}", names.join(", "));
        self.read(key, &must, findings, |value| {
            let text = value.as_str()?;
            words.iter().find(|(word, _)| *word == text).map(|(_, it)| *it)
        })
    }

    /// A list of texts.
    pub(super) fn texts(&self, key: &str, findings: &mut Findings) -> Vec<String> {
        self.read(key, "a list of texts", findings, |value| {
            value.as_array()?.iter().map(|item| item.as_str().map(str::to_owned)).collect()
        })
        .unwrap_or_default()
    }

    /// An object's members.
    pub(super) fn object(&self, key: &str, findings: &mut Findings) -> Option<Fields<'a>> {
        let members = self.read(key, "an object", findings, Value::as_object)?;
        Some(Fields { node: self.node, path: format!("{}{key}.", self.path), members })
    }

    /// A list of objects.
    pub(super) fn objects(&self, key: &str, findings: &mut Findings) -> Vec<Fields<'a>> {
        let Some(items) = self.read(key, "a list", findings, Value::as_array) else { return vec![] };
        let mut objects = vec![];
        for (n, item) in items.iter().enumerate() {
            match item.as_object() {
                Some(members) => {
                    objects.push(Fields { node: self.node, path: format!("{}{key}[{n}].", self.path), members });
                }
                None => self.wrong(&format!("{key}[{n}]"), "an object", findings),
            }
        }
        objects
    }
}

/// A whole number, however it is spelt (3 or 3.0).
pub(super) fn whole(value: &Value) -> Option<u32> {
    let number = value.as_f64()?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be whole and within u32")]
    (number.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(&number)).then_some(number as u32)
}
