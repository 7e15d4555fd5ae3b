//! How finds that were refused are remembered: in slots of time, so that old ones vanish. The half in memory; the other one is
//! `lua/demand.lua`.

use std::collections::VecDeque;
use std::time::Duration;

use crate::demand::ByRegion;
use crate::metrics::{MOST_REGIONS, OTHER_REGIONS};

/// Length of one slot.
pub(super) const SLOT: Duration = Duration::from_secs(30);
/// How many slots count, the one that has just begun among them: 5 minutes.
pub(super) const SLOTS: u64 = 10;

/// The slots that count, oldest first.
#[derive(Debug, Default)]
pub(super) struct Window(VecDeque<(u64, ByRegion)>);

impl Window {
    /// Adds what was refused and gives the sums of all slots that count. `now_ms`: Unix time.
    pub(super) fn add(&mut self, refused: ByRegion, now_ms: u64) -> ByRegion {
        let now = now_ms / super::millis(SLOT);
        while self.0.front().is_some_and(|(slot, _)| slot + SLOTS <= now) {
            self.0.pop_front();
        }
        if !refused.is_empty() {
            if self.0.back().is_none_or(|(slot, _)| *slot != now) {
                self.0.push_back((now, ByRegion::new()));
            }
            if let Some((_, slot)) = self.0.back_mut() {
                for (region, number) in refused {
                    let named = slot.contains_key(&region) || slot.len() < MOST_REGIONS;
                    let region = if named { region } else { OTHER_REGIONS.to_owned() };
                    *slot.entry(region).or_default() += number;
                }
            }
        }
        let mut sums = ByRegion::new();
        for (region, number) in self.0.iter().flat_map(|(_, slot)| slot) {
            *sums.entry(region.clone()).or_default() += number;
        }
        sums
    }
}
