//! The secrets of tools, by name. They come from the deployment's configuration (R145), and leave this only in requests
//! to those whom they are meant for.

use std::{collections::BTreeMap, fmt, sync::Arc};

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;

/// Knows secrets by their names.
type Names = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// Secrets by name: those of a JSON document first, then whatever else knows names (the process's environment).
#[derive(Clone)]
pub struct Secrets {
    document: Arc<BTreeMap<String, String>>,
    elsewhere: Names,
}

/// Why a secret cannot be used. No text of it is in here.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The document is not one.
    #[error("the tools' secrets must be a JSON object of texts")]
    Document,
    /// There is none of this name.
    #[error("there is no secret `{0}`: put it into NIGHTSHIFT_TOOL_SECRETS, or set the variable of this name")]
    Missing(String),
    /// It is not what it must be.
    #[error("the secret `{name}` is invalid: it must be {rule}")]
    Invalid {
        /// Its name.
        name: String,
        /// What it must be.
        rule: &'static str,
    },
    /// A header cannot be sent: a line's end in it, say.
    #[error("the header `{0}` is not one that can be sent")]
    Header(String),
    /// A `${` without its end.
    #[error("a `${{` has no `}}` after its name")]
    Reference,
}

impl Secrets {
    /// Those of a document (a JSON object of texts), then those that `elsewhere` knows.
    ///
    /// # Errors
    /// When the document is not one.
    pub fn new(
        document: Option<&str>,
        elsewhere: impl Fn(&str) -> Option<String> + Send + Sync + 'static,
    ) -> Result<Self, SecretError> {
        let mut secrets = BTreeMap::new();
        if let Some(document) = document {
            let Ok(Value::Object(members)) = serde_json::from_str(document) else { return Err(SecretError::Document) };
            for (name, secret) in members {
                let Value::String(secret) = secret else { return Err(SecretError::Document) };
                secrets.insert(name, secret);
            }
        }
        Ok(Self { document: Arc::new(secrets), elsewhere: Arc::new(elsewhere) })
    }

    /// Whether there is one of this name.
    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_ok()
    }

    pub(crate) fn get(&self, name: &str) -> Result<String, SecretError> {
        let found = self.document.get(name).cloned().or_else(|| (self.elsewhere)(name));
        found.filter(|secret| !secret.is_empty()).ok_or_else(|| SecretError::Missing(name.to_owned()))
    }

    /// A text in which `${NAME}` stands for the secret of that name.
    pub(crate) fn fill(&self, text: &str) -> Result<String, SecretError> {
        let mut filled = String::new();
        let mut rest = text;
        while let Some((before, reference)) = rest.split_once("${") {
            let (name, after) = reference.split_once('}').ok_or(SecretError::Reference)?;
            filled.push_str(before);
            filled.push_str(&self.get(name)?);
            rest = after;
        }
        filled.push_str(rest);
        Ok(filled)
    }

    /// Headers in whose values `${NAME}` stands for the secret of that name. None can carry another header with it.
    pub(crate) fn headers(&self, headers: &BTreeMap<String, String>) -> Result<HeaderMap, SecretError> {
        let mut filled = HeaderMap::new();
        for (name, value) in headers {
            let unsendable = || SecretError::Header(name.clone());
            let key: HeaderName = name.parse().map_err(|_| unsendable())?;
            let mut value = HeaderValue::try_from(self.fill(value)?).map_err(|_| unsendable())?;
            value.set_sensitive(true);
            filled.insert(key, value);
        }
        Ok(filled)
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secrets(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets() -> Secrets {
        let elsewhere = |name: &str| (name == "ELSEWHERE").then(|| "from the environment".to_owned());
        Secrets::new(Some(r#"{"A": "hunter2", "BAD": "x\r\nhost: evil"}"#), elsewhere).unwrap()
    }

    #[test]
    fn a_secret_is_found_by_its_name_and_never_shown() {
        assert_eq!(secrets().get("A").unwrap(), "hunter2");
        assert_eq!(secrets().fill("Bearer ${A}, ${ELSEWHERE}!").unwrap(), "Bearer hunter2, from the environment!");
        assert_eq!(
            secrets().fill("${NOBODY}").unwrap_err().to_string(),
            "there is no secret `NOBODY`: put it into NIGHTSHIFT_TOOL_SECRETS, or set the variable of this name"
        );
        assert!(!format!("{:?}", secrets()).contains("hunter2"));
        assert!(matches!(secrets().fill("${A"), Err(SecretError::Reference)));
        assert!(matches!(Secrets::new(Some("[]"), |_| None), Err(SecretError::Document)));
        assert!(matches!(Secrets::new(Some(r#"{"a": 1}"#), |_| None), Err(SecretError::Document)));
    }

    #[test]
    fn a_header_carries_no_other_header_with_it() {
        let one = |name: &str, value: &str| secrets().headers(&[(name.to_owned(), value.to_owned())].into());
        assert!(one("x-key", "${A}").unwrap()["x-key"].is_sensitive());
        for (name, value) in [("x-key", "${BAD}"), ("x-key", "a\nb"), ("x key", "a"), ("x:y", "a"), ("x\r\ny", "a")] {
            let error = one(name, value).unwrap_err();
            assert!(matches!(error, SecretError::Header(_)), "{name}: {value}: {error:?}");
            assert!(!error.to_string().contains("evil"));
        }
    }
}
