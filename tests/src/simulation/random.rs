//! Chance, from a seed and from nothing else.

use std::{ops::Range, time::Duration};

/// A stream of numbers that its seed decides (SplitMix64).
#[derive(Debug)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x5851_F42D_4C95_7F2D)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Something below `n`, which is not 0.
    pub(super) fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    /// True in so many cases of a thousand.
    pub(super) fn chance(&mut self, in_a_thousand: u64) -> bool {
        self.below(1000) < in_a_thousand
    }

    /// So many milliseconds.
    pub(super) fn millis(&mut self, range: Range<u64>) -> Duration {
        Duration::from_millis(range.start + self.below(range.end - range.start))
    }

    /// One of these.
    pub(super) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        let n = self.below(from.len() as u64);
        from[usize::try_from(n).unwrap()]
    }

    /// One of these, by weight.
    pub(super) fn weighted<T: Copy>(&mut self, from: &[(T, u64)]) -> T {
        let mut at = self.below(from.iter().map(|(_, weight)| weight).sum());
        for (value, weight) in from {
            if at < *weight {
                return *value;
            }
            at -= weight;
        }
        from[0].0
    }

    /// Between 0 and 1.
    pub(super) fn unit(&mut self) -> f64 {
        f64::from(u32::try_from(self.next() >> 32).unwrap()) / f64::from(u32::MAX)
    }
}
