//! Delays between attempts to get back.

use std::time::Duration;

/// Grows from `first` to `limit` by doubling, each delay spread over its upper half so that many
/// peers that lost the same server do not return in one instant.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    limit: Duration,
    attempt: u32,
}

impl Backoff {
    /// Delays from `first` up to `limit`.
    pub fn new(first: Duration, limit: Duration) -> Self {
        Self {
            first,
            limit,
            attempt: 0,
        }
    }

    /// The next delay. `random` is uniform in 0..1.
    pub fn next(&mut self, random: f64) -> Duration {
        let doubled = self.first.saturating_mul(1 << self.attempt.min(16));
        self.attempt = self.attempt.saturating_add(1);
        doubled
            .min(self.limit)
            .mul_f64(0.5 + random.clamp(0.0, 1.0) / 2.0)
    }

    /// Starts over after a success.
    pub fn reset(&mut self) {
        self.attempt = 0;
    }
}

/// `base` moved by up to `share` of itself in both directions. `random` is uniform in 0..1.
pub fn jittered(base: Duration, share: f64, random: f64) -> Duration {
    base.mul_f64((1.0 + share * (2.0 * random.clamp(0.0, 1.0) - 1.0)).max(0.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn doubles_up_to_the_limit_and_starts_over() {
        let mut backoff = Backoff::new(SECOND, 5 * SECOND);
        let delays: Vec<_> = (0..5).map(|_| backoff.next(1.0)).collect();
        assert_eq!(delays, [SECOND, 2 * SECOND, 4 * SECOND, 5 * SECOND, 5 * SECOND]);
        backoff.reset();
        assert_eq!(backoff.next(1.0), SECOND);
    }

    #[test]
    fn spreads_over_the_upper_half() {
        assert_eq!(Backoff::new(SECOND, SECOND).next(0.0), SECOND / 2);
        for _ in 0..100 {
            let mut backoff = Backoff::new(SECOND, 60 * SECOND);
            for _ in 0..100 {
                assert!(backoff.next(0.3) <= 60 * SECOND);
            }
        }
    }

    #[test]
    fn jitter_stays_within_its_share() {
        assert_eq!(jittered(10 * SECOND, 0.1, 0.0), 9 * SECOND);
        assert_eq!(jittered(10 * SECOND, 0.1, 0.5), 10 * SECOND);
        assert_eq!(jittered(10 * SECOND, 0.1, 1.0), 11 * SECOND);
    }
}
