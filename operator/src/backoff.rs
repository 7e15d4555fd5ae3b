//! How long to wait after a failure: per object, growing, with jitter, bounded. Pure.

use std::time::{Duration, Instant};

use crate::error::Class;

/// First delay after a failure that may pass.
const FIRST: Duration = Duration::from_millis(500);
/// Longest delay.
pub(crate) const LONGEST: Duration = Duration::from_mins(5);
/// Delay after the first conflict: long enough for the watch to show what the other party wrote.
const CONFLICT: Duration = Duration::from_millis(100);
/// A failure that lasts this long is shown in the status.
pub(crate) const SHOWN_AFTER: Duration = Duration::from_secs(30);

/// Failures in a row of one object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Attempts {
    count: u32,
    since: Instant,
}

impl Attempts {
    /// One more failure at `now`.
    pub(crate) fn failed(before: Option<Self>, now: Instant) -> Self {
        match before {
            Some(before) => Self {
                count: before.count.saturating_add(1),
                since: before.since,
            },
            None => Self { count: 1, since: now },
        }
    }

    /// Whether it has lasted so long that the status should say so.
    pub(crate) fn is_lasting(self, now: Instant) -> bool {
        now.saturating_duration_since(self.since) >= SHOWN_AFTER
    }

    /// The delay before the next try. `jitter` is random, from 0 to 1: objects that failed together come back apart.
    /// What is refused waits for a change or for `resync`.
    pub(crate) fn delay(self, class: Class, jitter: f64, resync: Duration) -> Duration {
        let doubled = FIRST.saturating_mul(1 << self.count.saturating_sub(1).min(16));
        match class {
            Class::Invalid => spread(resync, jitter),
            Class::Conflict if self.count == 1 => CONFLICT,
            Class::Transient | Class::Conflict | Class::Forbidden => spread(doubled.min(LONGEST), jitter),
        }
    }
}

/// `around` give or take 20 %.
pub(crate) fn spread(around: Duration, jitter: f64) -> Duration {
    around.mul_f64(0.8 + 0.4 * jitter.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RESYNC: Duration = Duration::from_mins(10);

    fn attempts(count: u32) -> Attempts {
        let now = Instant::now();
        (1..count).fold(Attempts::failed(None, now), |before, _| {
            Attempts::failed(Some(before), now)
        })
    }

    #[test]
    fn the_first_conflict_is_tried_again_at_once_and_the_next_like_any_failure() {
        assert_eq!(attempts(1).delay(Class::Conflict, 0.5, RESYNC), CONFLICT);
        assert_eq!(attempts(3).delay(Class::Conflict, 0.5, RESYNC), FIRST * 4);
    }

    #[test]
    fn what_is_refused_waits_for_the_resync() {
        assert_eq!(attempts(9).delay(Class::Invalid, 0.5, RESYNC), RESYNC);
    }

    #[test]
    fn a_failure_is_shown_when_it_lasts() {
        let now = Instant::now();
        let first = Attempts::failed(None, now);
        assert!(!Attempts::failed(Some(first), now).is_lasting(now + SHOWN_AFTER / 2));
        assert!(first.is_lasting(now + SHOWN_AFTER));
    }

    proptest! {
        #[test]
        fn delays_grow_and_stay_within_bounds(count in 1_u32..200, jitter in 0.0..=1.0_f64) {
            let delay = attempts(count).delay(Class::Transient, jitter, RESYNC);
            prop_assert!(delay >= FIRST.mul_f64(0.8));
            prop_assert!(delay <= LONGEST.mul_f64(1.2));
            let next = attempts(count + 1).delay(Class::Transient, jitter, RESYNC);
            prop_assert!(next >= delay);
        }
    }
}
