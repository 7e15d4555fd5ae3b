//! Token bucket.
//!
//! Every limit is a number per [`PERIOD`]. The bucket holds as many tokens as the limit says and fills evenly: a
//! burst of the whole limit may pass after silence, and then one message per `PERIOD / limit`. Tokens are fractions
//! and time is monotonic, so an attempt that is refused costs nothing and a sender that never pauses still gets
//! its even share.

use std::time::{Duration, Instant};

/// What limits are counted over.
const PERIOD: Duration = Duration::from_secs(10);

/// What a token may lack after many small additions.
const ROUNDING: f64 = 1e-6;

/// A token bucket. The limit is an argument of each call, so that a changed one is in force at once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bucket {
    tokens: f64,
    filled_at: Instant,
}

impl Bucket {
    /// A full bucket.
    pub(crate) fn new(limit: u32, now: Instant) -> Self {
        Self {
            tokens: f64::from(limit),
            filled_at: now,
        }
    }

    /// Takes a token, if there is one.
    pub(crate) fn take(&mut self, limit: u32, now: Instant) -> bool {
        self.tokens = self.level(limit, now);
        self.filled_at = self.filled_at.max(now);
        if self.tokens < 1.0 - ROUNDING {
            return false;
        }
        self.tokens = (self.tokens - 1.0).max(0.0);
        true
    }

    /// How long until there is a token.
    pub(crate) fn wait(&self, limit: u32, now: Instant) -> Duration {
        let missing = (1.0 - self.level(limit, now)).max(0.0);
        PERIOD.mul_f64(missing / f64::from(limit.max(1)))
    }

    /// Whether forgetting the bucket would change nothing.
    pub(crate) fn is_full(&self, limit: u32, now: Instant) -> bool {
        self.level(limit, now) >= f64::from(limit)
    }

    fn level(&self, limit: u32, now: Instant) -> f64 {
        let limit = f64::from(limit);
        let elapsed = now.saturating_duration_since(self.filled_at).as_secs_f64();
        (self.tokens + elapsed * limit / PERIOD.as_secs_f64()).min(limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn passed(bucket: &mut Bucket, limit: u32, times: impl Iterator<Item = Instant>) -> usize {
        times.filter(|now| bucket.take(limit, *now)).count()
    }

    #[test]
    fn a_burst_passes_and_then_an_even_flow() {
        let start = Instant::now();
        let mut bucket = Bucket::new(200, start);
        assert_eq!(passed(&mut bucket, 200, std::iter::repeat_n(start, 1000)), 200);
        let later = (1..=1000).map(|ms| start + Duration::from_millis(ms * 10));
        assert_eq!(passed(&mut bucket, 200, later), 200);
    }

    #[test]
    fn a_sender_that_never_pauses_gets_its_share() {
        let start = Instant::now();
        let mut bucket = Bucket::new(1, start);
        let attempts = (0..=30_000).map(|ms| start + Duration::from_millis(ms));
        assert_eq!(passed(&mut bucket, 1, attempts), 4);
    }

    #[test]
    fn a_changed_limit_is_in_force_at_once() {
        let start = Instant::now();
        let mut bucket = Bucket::new(100, start);
        assert_eq!(passed(&mut bucket, 3, std::iter::repeat_n(start, 10)), 3);
        assert!(!bucket.is_full(3, start));
        assert!(bucket.is_full(3, start + PERIOD));
        assert_eq!(
            passed(&mut bucket, 100, std::iter::repeat_n(start + PERIOD, 200)),
            100
        );
    }

    proptest! {
        /// Over any span, at most the limit at once plus the even flow.
        #[test]
        fn never_more_than_burst_and_flow(limit in 1u32..1000, gaps in prop::collection::vec(0u64..50, 1..400)) {
            let start = Instant::now();
            let mut now = start;
            let mut bucket = Bucket::new(limit, now);
            let mut passed = 0.0;
            for gap in gaps {
                now += Duration::from_millis(gap);
                passed += f64::from(u8::from(bucket.take(limit, now)));
            }
            let flow = now.duration_since(start).as_secs_f64() * f64::from(limit) / 10.0;
            prop_assert!(passed <= f64::from(limit) + flow + 1e-3);
        }
    }
}
