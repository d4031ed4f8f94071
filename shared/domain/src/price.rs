//! What a model costs, for providers that do not say it. The prices are the deployment's own: none is known here.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::usage::Usage;

/// Prices by the model's name, as jobs name it.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(transparent)]
pub struct Prices(BTreeMap<String, Price>);

/// US dollars for a million tokens.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// Of the prompts.
    pub input: f64,
    /// Of the prompts' tokens that the provider had cached; as `input` where it is not said.
    #[serde(default)]
    pub cached_input: Option<f64>,
    /// Of what the model wrote, reasoning included.
    pub output: f64,
}

/// A document that has no prices.
#[derive(Debug, thiserror::Error)]
#[error(
    "prices are a JSON object such as {{\"some/model\": {{\"input\": 0.4, \"output\": 1.6}}}}, in US dollars for a million tokens"
)]
pub struct InvalidPrices(#[source] Option<serde_json::Error>);

impl Prices {
    /// Reads the document of a deployment.
    ///
    /// # Errors
    /// When it is not JSON of that form, or a price is less than nothing.
    pub fn parse(document: &str) -> Result<Self, InvalidPrices> {
        let prices: Self = serde_json::from_str(document).map_err(|error| InvalidPrices(Some(error)))?;
        let each = prices.0.values().flat_map(|price| [price.input, price.output, price.cached_input.unwrap_or(0.0)]);
        if each.into_iter().all(|price| price.is_finite() && price >= 0.0) {
            Ok(prices)
        } else {
            Err(InvalidPrices(None))
        }
    }

    /// What a call of this model cost; `None` when its price is not known.
    pub fn cost_usd(&self, model: &str, usage: &Usage) -> Option<f64> {
        let price = self.0.get(model)?;
        let cached = usage.cached_tokens.min(usage.input_tokens);
        let tokens = [
            (usage.input_tokens - cached, price.input),
            (cached, price.cached_input.unwrap_or(price.input)),
            (usage.output_tokens, price.output),
        ];
        Some(tokens.into_iter().map(|(tokens, price)| tokens as f64 * price).sum::<f64>() / 1e6)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_costs_what_its_tokens_cost() {
        let prices = r#"{"a/b": {"input": 2, "cached_input": 0.5, "output": 8}, "c": {"input": 1, "output": 0}}"#;
        let prices = Prices::parse(prices).unwrap();
        let usage = Usage {
            input_tokens: 1_000_000,
            cached_tokens: 400_000,
            output_tokens: 250_000,
            reasoning_tokens: 50_000,
            cost_usd: 0.0,
        };
        assert_eq!(prices.cost_usd("a/b", &usage), Some(1.2 + 0.2 + 2.0));
        assert_eq!(prices.cost_usd("c", &usage), Some(1.0));
        assert_eq!(prices.cost_usd("unknown", &usage), None);
    }

    #[test]
    fn what_is_no_price_is_refused() {
        for wrong in ["", "[]", r#"{"m": 1}"#, r#"{"m": {"input": -1, "output": 1}}"#, r#"{"m": {"input": 1}}"#] {
            assert!(Prices::parse(wrong).is_err(), "{wrong}");
        }
        assert_eq!(Prices::parse("{}").unwrap(), Prices::default());
    }
}
