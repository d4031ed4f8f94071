//! How long to wait before the model's provider is asked again.

use std::time::Duration;

/// The longest wait; a provider that asks for longer is asked earlier, and again.
pub const LONGEST_BACKOFF: Duration = Duration::from_secs(300);
const FIRST_BACKOFF: Duration = Duration::from_secs(1);

/// The wait before the next try, after `backoffs` waits already: doubling from one second, or as long as the provider
/// asked for. `jitter` is between 0 and 1 and adds up to a quarter, so that jobs do not come back in step.
pub fn backoff(backoffs: u32, retry_after: Option<Duration>, jitter: f64) -> Duration {
    let doubled = FIRST_BACKOFF.saturating_mul(1 << backoffs.min(10));
    let wait = retry_after.unwrap_or(doubled).max(FIRST_BACKOFF).min(LONGEST_BACKOFF);
    wait + wait.mul_f64(jitter.clamp(0.0, 1.0) / 4.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_and_the_provider_is_heeded() {
        assert_eq!(backoff(0, None, 0.0), Duration::from_secs(1));
        assert_eq!(backoff(3, None, 0.0), Duration::from_secs(8));
        assert_eq!(backoff(0, Some(Duration::from_secs(20)), 0.0), Duration::from_secs(20));
        assert_eq!(backoff(40, None, 1.0), LONGEST_BACKOFF + LONGEST_BACKOFF / 4);
    }
}
