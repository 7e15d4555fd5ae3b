//! Waiting times between attempts: doubling, bounded, with full jitter in the upper half.

use std::time::Duration;

/// First wait.
const BASE: Duration = Duration::from_millis(50);
/// Longest wait: short, because a service without Redis serves nobody, and bounded load on a server that starts.
const CEILING: Duration = Duration::from_secs(2);

/// Wait before attempt number `attempt` (0 = the first try after a loss); `random` is in `0.0..1.0`.
///
/// The wait lies between half of the doubled base and all of it, so that the instances of a cluster that lost
/// Redis in the same instant do not come back in the same instant.
pub(super) fn delay(attempt: u32, random: f64) -> Duration {
    let full = BASE.saturating_mul(1 << attempt.min(16)).min(CEILING);
    full / 2 + (full / 2).mul_f64(random.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn grows_to_the_ceiling() {
        assert_eq!(delay(0, 0.0), Duration::from_millis(25));
        assert_eq!(delay(0, 1.0), BASE);
        assert_eq!(delay(3, 1.0), Duration::from_millis(400));
        assert_eq!(delay(40, 1.0), CEILING);
        assert_eq!(delay(u32::MAX, 0.0), CEILING / 2);
    }

    proptest! {
        #[test]
        fn stays_in_bounds(attempt: u32, random in 0.0f64..1.0) {
            let wait = delay(attempt, random);
            prop_assert!(wait >= BASE / 2 && wait <= CEILING);
        }
    }
}
