//! How long to wait before the model's provider is asked again.

use std::time::Duration;

/// The longest wait; a provider that asks for longer is asked earlier, and again.
pub const LONGEST_BACKOFF: Duration = Duration::from_secs(300);
const FIRST_BACKOFF: Duration = Duration::from_secs(1);

/// The wait before the next try, after `backoffs` failures already: the first time none (R96), then doubling from one
/// second; or as long as the provider asked for. `jitter` is between 0 and 1 and adds up to a quarter, so that jobs do
/// not come back in step.
pub fn backoff(backoffs: u32, asked: Asked, jitter: f64) -> Duration {
    let doubled = FIRST_BACKOFF.saturating_mul(1 << backoffs.saturating_sub(1).min(10));
    let wait = match asked {
        Asked::Nothing if backoffs == 0 => return Duration::ZERO,
        Asked::Nothing | Asked::Patience => doubled,
        Asked::Wait(wait) => wait.max(FIRST_BACKOFF),
    };
    let wait = wait.min(LONGEST_BACKOFF);
    wait + wait.mul_f64(jitter.clamp(0.0, 1.0) / 4.0)
}

/// What the provider said about trying again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// Nothing: something broke.
    Nothing,
    /// That it has too much to do.
    Patience,
    /// To wait so long.
    Wait(Duration),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_retry_is_at_once_then_waits_double_and_the_provider_is_heeded() {
        assert_eq!(backoff(0, Asked::Nothing, 0.0), Duration::ZERO);
        assert_eq!(backoff(0, Asked::Patience, 0.0), Duration::from_secs(1));
        assert_eq!(backoff(1, Asked::Nothing, 0.0), Duration::from_secs(1));
        assert_eq!(backoff(4, Asked::Nothing, 0.0), Duration::from_secs(8));
        assert_eq!(backoff(0, Asked::Wait(Duration::from_secs(20)), 0.0), Duration::from_secs(20));
        assert_eq!(backoff(40, Asked::Nothing, 1.0), LONGEST_BACKOFF + LONGEST_BACKOFF / 4);
    }
}
