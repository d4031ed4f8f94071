//! How often somebody else's API may be asked: one request every so often, the others in line (R105).

use std::{sync::Mutex, time::Duration};

use tokio::time::{Instant, sleep_until};

/// A pace that one process keeps.
#[derive(Debug)]
pub(crate) struct Pace {
    every: Duration,
    next: Mutex<Option<Instant>>,
}

/// How long the line is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooLong(pub(crate) Duration);

impl Pace {
    pub(crate) fn new(per_second: f64) -> Self {
        Self { every: Duration::from_secs_f64(1.0 / per_second), next: Mutex::new(None) }
    }

    /// Waits for its turn, or takes none when that comes after `until`.
    pub(crate) async fn wait(&self, until: Instant) -> Result<(), TooLong> {
        let mine = {
            let mut next = self.next.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let now = Instant::now();
            let mine = next.map_or(now, |next| next.max(now));
            if mine >= until {
                return Err(TooLong(mine - now));
            }
            *next = Some(mine + self.every);
            mine
        };
        sleep_until(mine).await;
        Ok(())
    }

    /// Somebody was told to wait: so do all.
    pub(crate) fn pause(&self, time: Duration) {
        let mut next = self.next.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let pause = Instant::now() + time;
        *next = Some(next.map_or(pause, |next| next.max(pause)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn requests_wait_in_line_and_leave_a_line_that_is_too_long_r105() {
        let pace = Pace::new(2.0);
        let begun = Instant::now();
        for _ in 0..3 {
            pace.wait(begun + Duration::from_secs(10)).await.unwrap();
        }
        assert_eq!(begun.elapsed(), Duration::from_secs(1));
        assert_eq!(pace.wait(Instant::now()).await, Err(TooLong(Duration::from_millis(500))));
        pace.pause(Duration::from_secs(30));
        let soon = Instant::now() + Duration::from_secs(10);
        assert_eq!(pace.wait(soon).await, Err(TooLong(Duration::from_secs(30))));
    }
}
