//! Hosts that are gone, for a while.

use std::collections::BTreeMap;

use crate::host::HostId;
use crate::store::{MOST_OFFLINE, OFFLINE_FOR, Offline, millis};

/// The hosts that went last.
#[derive(Debug, Default)]
pub(super) struct Gone(BTreeMap<HostId, Offline>);

impl Gone {
    /// Notes one that went.
    pub(super) fn insert(&mut self, host: Offline, now_ms: u64) {
        self.0.retain(|_, gone| is_recent(gone, now_ms));
        while self.0.len() >= MOST_OFFLINE {
            let earliest = self.0.values().min_by_key(|gone| gone.since_ms);
            let Some(earliest) = earliest.map(|gone| gone.host.clone()) else {
                break;
            };
            self.0.remove(&earliest);
        }
        self.0.insert(host.host.clone(), host);
    }

    /// It is back.
    pub(super) fn remove(&mut self, host: &HostId) {
        self.0.remove(host);
    }

    /// Those that went lately, by their ids.
    pub(super) fn list(&self, now_ms: u64) -> Vec<Offline> {
        let recent = self.0.values().filter(|gone| is_recent(gone, now_ms));
        recent.cloned().collect()
    }
}

fn is_recent(gone: &Offline, now_ms: u64) -> bool {
    gone.since_ms.saturating_add(millis(OFFLINE_FOR)) > now_ms
}
