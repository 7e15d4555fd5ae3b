//! Token bucket.
//!
//! Every limit is a number per [`PERIOD`]. The bucket holds as many tokens as the limit says and fills evenly: a
//! burst of the whole limit may pass after silence, and then one message per `PERIOD / limit`. Tokens are fractions
//! and time is monotonic, so an attempt that is refused costs nothing and a sender that never pauses still gets
//! its even share.
//!
//! What was taken elsewhere makes the bucket full later ([`Bucket::defer`]). It has no negative tokens: a bucket from
//! which more was taken than it held is empty, and begins to fill only when that is made good.

use std::time::{Duration, Instant};

/// What limits are counted over, and how long an empty bucket takes to be full.
pub const PERIOD: Duration = Duration::from_secs(10);
/// Longest time for which a bucket does not fill because of what was taken elsewhere.
pub const MOST_DEBT: Duration = Duration::from_mins(1);

/// What a token may lack after many small additions.
const ROUNDING: f64 = 1e-6;

/// A token bucket. The limit is an argument of each call, so that a changed one is in force at once.
#[derive(Clone, Copy, Debug)]
pub struct Bucket {
    /// Never negative.
    tokens: f64,
    /// When there were so many tokens. It lies ahead while the bucket is in debt, and never goes back.
    filled_at: Instant,
}

impl Bucket {
    /// A full bucket.
    pub fn new(limit: u32, now: Instant) -> Self {
        Self {
            tokens: f64::from(limit),
            filled_at: now,
        }
    }

    /// Takes a token, if there is one.
    pub fn take(&mut self, limit: u32, now: Instant) -> bool {
        self.tokens = self.level(limit, now);
        self.filled_at = self.filled_at.max(now);
        if self.tokens < 1.0 - ROUNDING {
            return false;
        }
        self.tokens = (self.tokens - 1.0).max(0.0);
        true
    }

    /// How long until there is a token; zero if there is one.
    pub fn wait(&self, limit: u32, now: Instant) -> Duration {
        let missing = 1.0 - self.level(limit, now);
        if missing <= ROUNDING {
            return Duration::ZERO;
        }
        let debt = self.filled_at.saturating_duration_since(now);
        // Rounded up: who waits so long does not come too early.
        debt + PERIOD.mul_f64(missing / f64::from(limit)) + Duration::from_nanos(1)
    }

    /// Sees to it that the bucket is full in `full_in` at the earliest, because others took from what it stands for.
    /// [`PERIOD`] and [`MOST_DEBT`] together are the longest time that counts.
    pub fn defer(&mut self, full_in: Duration, limit: u32, now: Instant) {
        let level = self.level(limit, now);
        let (most, from) = match full_in.checked_sub(PERIOD) {
            Some(debt) => (0.0, now + debt.min(MOST_DEBT)),
            None => (f64::from(limit) * (1.0 - full_in.div_duration_f64(PERIOD)), now),
        };
        self.tokens = level.min(most);
        self.filled_at = self.filled_at.max(from);
    }

    /// Whether forgetting the bucket would change nothing.
    pub fn is_full(&self, limit: u32, now: Instant) -> bool {
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

    #[test]
    fn what_others_took_is_missing_and_made_good() {
        let start = Instant::now();
        let second = |seconds: u64| start + Duration::from_secs(seconds);
        let mut bucket = Bucket::new(10, start);
        // Four of ten tokens were taken elsewhere.
        bucket.defer(Duration::from_secs(4), 10, start);
        assert_eq!(passed(&mut bucket, 10, std::iter::repeat_n(start, 20)), 6);
        assert_eq!(bucket.wait(10, start), Duration::from_nanos(1_000_000_001));
        // Twenty more than it holds.
        bucket.defer(Duration::from_secs(30), 10, start);
        assert_eq!(bucket.wait(10, start), Duration::from_nanos(21_000_000_001));
        assert_eq!(passed(&mut bucket, 10, (0..21).map(second)), 0);
        assert_eq!(passed(&mut bucket, 10, (21..=31).map(second)), 11);
        // What it is known to lack already is not lacking twice.
        let before = bucket.wait(10, second(31));
        bucket.defer(Duration::from_secs(9), 10, second(31));
        assert_eq!(bucket.wait(10, second(31)), before);
    }

    #[test]
    fn a_debt_has_an_end() {
        let start = Instant::now();
        let mut bucket = Bucket::new(10, start);
        bucket.defer(Duration::MAX, 10, start);
        assert!(bucket.is_full(10, start + MOST_DEBT + PERIOD));
    }

    proptest! {
        /// Whoever waits as long as he is told gets a token, and does not get it much earlier.
        #[test]
        fn the_wait_is_the_time_to_the_next_token(
            limit in 1u32..=1_000_000_000,
            taken in 0u32..50,
            full_in_ms in 0u64..90_000,
            after_ms in 0u64..3000,
        ) {
            let start = Instant::now();
            let mut bucket = Bucket::new(limit, start);
            for _ in 0..taken {
                bucket.take(limit, start);
            }
            bucket.defer(Duration::from_millis(full_in_ms), limit, start);
            let now = start + Duration::from_millis(after_ms);
            let wait = bucket.wait(limit, now);
            let takes = |at| {
                let mut bucket = bucket;
                bucket.take(limit, at)
            };
            prop_assert_eq!(wait.is_zero(), takes(now));
            prop_assert!(takes(now + wait));
            prop_assert!(wait < Duration::from_micros(1) || !takes(now + wait / 2));
        }

        /// Deferring never makes a token, whatever came before and whenever one looks.
        #[test]
        fn deferring_only_takes_away(
            limit in 1u32..1000,
            steps in prop::collection::vec((any::<bool>(), 0u64..40_000, 0u64..2000), 1..30),
            later_ms in 0u64..100_000,
        ) {
            let start = Instant::now();
            let mut now = start;
            let mut bucket = Bucket::new(limit, now);
            for (takes, full_in_ms, gap_ms) in steps {
                now += Duration::from_millis(gap_ms);
                if takes {
                    bucket.take(limit, now);
                    continue;
                }
                let before = bucket;
                bucket.defer(Duration::from_millis(full_in_ms), limit, now);
                prop_assert!(bucket.tokens >= 0.0 && bucket.filled_at >= before.filled_at);
                for at in [now, now + Duration::from_millis(later_ms)] {
                    prop_assert!(bucket.level(limit, at) <= before.level(limit, at) + ROUNDING);
                    let most = Duration::from_millis(full_in_ms).saturating_sub(at - now);
                    let imposed = f64::from(limit) * (1.0 - most.div_duration_f64(PERIOD)).max(0.0);
                    prop_assert!(bucket.level(limit, at) <= imposed + ROUNDING);
                }
            }
        }

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
