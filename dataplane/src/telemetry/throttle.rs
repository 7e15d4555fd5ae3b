//! Warnings that a client can provoke must not fill the disk.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Zero of the throttles' clock.
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Lets one event per interval through and counts the others. Made for a `static` beside the warning:
///
/// ```
/// use std::time::Duration;
/// use berth_dataplane::telemetry::Throttle;
///
/// static BAD_REQUEST: Throttle = Throttle::new(Duration::from_secs(10));
/// if let Some(suppressed) = BAD_REQUEST.pass() {
///     tracing::warn!(suppressed, "bad request");
/// }
/// ```
#[derive(Debug)]
pub struct Throttle {
    interval_ms: u64,
    /// When the next event may pass, ms on the throttles' clock.
    next_ms: AtomicU64,
    suppressed: AtomicU64,
}

impl Throttle {
    /// One event per `interval`.
    #[expect(clippy::cast_possible_truncation, reason = "an interval is far below 2^64 ms")]
    pub const fn new(interval: Duration) -> Self {
        Self {
            interval_ms: interval.as_millis() as u64,
            next_ms: AtomicU64::new(0),
            suppressed: AtomicU64::new(0),
        }
    }

    /// `Some(n)`: write it, `n` were suppressed since the last one. `None`: keep quiet.
    pub fn pass(&self) -> Option<u64> {
        self.pass_at(u64::try_from(START.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    fn pass_at(&self, now_ms: u64) -> Option<u64> {
        let next = self.next_ms.load(Ordering::Relaxed);
        let due = now_ms >= next
            && self
                .next_ms
                .compare_exchange(
                    next,
                    now_ms.saturating_add(self.interval_ms),
                    Ordering::Relaxed,
                    Ordering::Relaxed,
                )
                .is_ok();
        if due {
            return Some(self.suppressed.swap(0, Ordering::Relaxed));
        }
        self.suppressed.fetch_add(1, Ordering::Relaxed);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_per_interval_with_the_count_of_the_others() {
        let throttle = Throttle::new(Duration::from_secs(10));
        assert_eq!(throttle.pass_at(0), Some(0));
        assert_eq!((throttle.pass_at(1), throttle.pass_at(9_999)), (None, None));
        assert_eq!(throttle.pass_at(10_000), Some(2));
        assert_eq!(throttle.pass_at(25_000), Some(0));
    }
}
