//! Whose chat completions an address speaks, as far as a request has to be written in another way for it.

use reqwest::Url;

/// Who reads the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// OpenAI, or Azure with OpenAI's models: what reasoning models there refuse goes by other names.
    OpenAi,
    /// Everybody else; OpenRouter's way is theirs.
    Usual,
}

impl Dialect {
    /// Of the server at an address.
    pub(crate) fn of(url: &Url) -> Self {
        let host = url.host_str().unwrap_or_default();
        let is_within = |domains: &[&str]| domains.iter().any(|domain| host.ends_with(domain));
        let is_openai = is_within(&[".openai.com", ".openai.azure.com", ".openai.azure.us"])
            // A resource at Azure serves other models elsewhere.
            || (is_within(&[".services.ai.azure.com", ".cognitiveservices.azure.com"])
                && url.path().starts_with("/openai/"));
        if is_openai { Self::OpenAi } else { Self::Usual }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openai_is_known_by_its_address_at_home_and_at_azure() {
        let of = |url: &str| Dialect::of(&url.parse().unwrap());
        for url in [
            "https://api.openai.com/v1",
            "https://EU.api.openai.com/v1",
            "https://mine.openai.azure.com/openai/v1",
            "https://mine.openai.azure.us/openai/deployments/x?api-version=2025-01-01",
            "https://mine.services.ai.azure.com/openai/v1/",
            "https://mine.cognitiveservices.azure.com/openai/deployments/x",
        ] {
            assert_eq!(of(url), Dialect::OpenAi, "{url}");
        }
        for url in [
            "https://openrouter.ai/api/v1",
            "https://mine.services.ai.azure.com/models",
            "https://notopenai.com/v1",
            "https://api.openai.com.example.org/v1",
            "https://example.org/api.openai.com/v1",
            "http://localhost:11434/v1",
            "http://[::1]:8000/openai/v1",
        ] {
            assert_eq!(of(url), Dialect::Usual, "{url}");
        }
    }
}
