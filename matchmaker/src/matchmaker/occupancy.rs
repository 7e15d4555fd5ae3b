//! Whether a signaling server keeps the rooms, as far as this process has seen.

use std::time::{Duration, Instant};

use berth_dataplane::occupancy::LEASE;

/// How long occupancy may be unknown before hosts are handed out without it. Redis or the only signaling server may be
/// starting again; sessions go on meanwhile, and nobody could join a room anyway.
const GRACE: Duration = Duration::from_secs(30);

/// What was seen.
#[derive(Clone, Copy, Debug, Default)]
pub(super) enum Occupancy {
    /// No signaling server has kept the rooms so far.
    #[default]
    Never,
    /// None has, and the store was empty at this time: it may have lost what it knew of them.
    Empty(Instant),
    /// One did when the store was last asked.
    Known,
    /// One did before this time.
    LostAt(Instant),
}

impl Occupancy {
    /// What the store said. While it is away it says nothing, so the time of its absence does not count. `is_new`: the store was
    /// empty.
    pub(super) fn see(&mut self, known: bool, is_new: bool, now: Instant) {
        *self = match (*self, known) {
            (_, true) => Self::Known,
            (Self::Known, false) => Self::LostAt(now),
            (Self::Never, false) if is_new => Self::Empty(now),
            (before, false) => before,
        };
    }

    /// It was known a moment ago, or may have been, and will be again.
    pub(super) fn is_expected(self, now: Instant) -> bool {
        match self {
            Self::Never => false,
            Self::Known => true,
            Self::Empty(time) => now.saturating_duration_since(time) < LEASE,
            Self::LostAt(time) => now.saturating_duration_since(time) < GRACE,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rooms_are_waited_for_after_they_were_known_or_the_store_was_empty() {
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let mut occupancy = Occupancy::default();
        occupancy.see(false, false, at(0));
        assert!(
            !occupancy.is_expected(at(0)),
            "a store that others use, without a signaling server"
        );
        occupancy.see(false, true, at(0));
        occupancy.see(false, false, at(1));
        assert!(occupancy.is_expected(at(8)) && !occupancy.is_expected(at(9)));
        occupancy.see(true, false, at(20));
        assert!(occupancy.is_expected(at(500)));
        occupancy.see(false, false, at(500));
        occupancy.see(false, true, at(510));
        assert!(occupancy.is_expected(at(529)) && !occupancy.is_expected(at(530)));
    }
}
