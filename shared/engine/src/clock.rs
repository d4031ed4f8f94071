//! What time it is, and fresh names: the two things that an invocation cannot know by itself.

use std::{fmt::Debug, time::SystemTime};

use domain::{id::WriterId, time::Timestamp};

/// Where time and names come from. Two real uses: the system's, and a test's that steps by hand.
pub trait Clock: Send + Sync + Debug {
    /// The present.
    fn now(&self) -> Timestamp;

    /// A name that nothing had before: of an invocation, as the owner of its lease and the writer of its events.
    fn fresh_name(&self) -> WriterId;

    /// Something between 0 and 1, so that waits do not end in step.
    fn jitter(&self) -> f64;
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the machine's clock")]
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }

    #[expect(clippy::expect_used, reason = "a ULID's 26 letters and digits are a writer id")]
    fn fresh_name(&self) -> WriterId {
        ulid::Ulid::generate().to_string().parse().expect("a ULID is a writer id")
    }

    fn jitter(&self) -> f64 {
        // The low bits of a ULID are random.
        let random = ulid::Ulid::generate().0 & 0xFFFF;
        f64::from(u16::try_from(random).unwrap_or(0)) / f64::from(u16::MAX)
    }
}
