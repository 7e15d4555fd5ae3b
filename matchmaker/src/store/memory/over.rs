//! Why matches ended.

use std::collections::{HashMap, VecDeque};

use crate::host::MatchId;
use crate::store::EventKind;

/// How long it is known why a match ended, ms.
const KEEP_MS: u64 = 600_000;
/// Most matches of which it is known.
const MOST: usize = 100_000;

/// Matches that ended not long ago.
#[derive(Debug, Default)]
pub(super) struct Over {
    /// And until when that is known, Unix ms.
    why: HashMap<MatchId, (EventKind, u64)>,
    /// In the order of their ends.
    until_ms: VecDeque<(u64, MatchId)>,
}

impl Over {
    /// Notes why a match ended.
    pub(super) fn insert(&mut self, id: MatchId, why: EventKind, now_ms: u64) {
        while self.until_ms.len() >= MOST || self.until_ms.front().is_some_and(|(until, _)| *until <= now_ms)
        {
            if let Some((_, id)) = self.until_ms.pop_front() {
                self.why.remove(&id);
            }
        }
        let until_ms = now_ms.saturating_add(KEEP_MS);
        self.why.insert(id, (why, until_ms));
        self.until_ms.push_back((until_ms, id));
    }

    /// Why a match ended, if that is known.
    pub(super) fn get(&self, id: MatchId, now_ms: u64) -> Option<EventKind> {
        let (why, until_ms) = self.why.get(&id)?;
        (*until_ms > now_ms).then_some(*why)
    }
}
