//! What the model's provider counted.

use std::ops::AddAssign;

use serde::{Deserialize, Serialize};

/// Tokens and money, summed over model calls.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens of the prompts.
    pub input_tokens: u64,
    /// Tokens that the model wrote, reasoning included.
    pub output_tokens: u64,
    /// Of the output, tokens of reasoning.
    pub reasoning_tokens: u64,
    /// Of the input, tokens that the provider had cached.
    pub cached_tokens: u64,
    /// US dollars as the provider reports them; zero when it reports none.
    pub cost_usd: f64,
}

impl AddAssign for Usage {
    fn add_assign(&mut self, other: Self) {
        self.input_tokens += other.input_tokens;
        self.output_tokens += other.output_tokens;
        self.reasoning_tokens += other.reasoning_tokens;
        self.cached_tokens += other.cached_tokens;
        self.cost_usd += other.cost_usd;
    }
}
