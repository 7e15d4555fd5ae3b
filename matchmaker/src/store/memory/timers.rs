//! When something about a host is due.

use std::collections::{BTreeSet, HashMap};

use crate::host::HostId;

/// At most one time per host.
#[derive(Debug, Default)]
pub(super) struct Timers {
    by_time: BTreeSet<(u64, HostId)>,
    by_host: HashMap<HostId, u64>,
}

impl Timers {
    /// Sets or, with `None`, removes the time of `host`, Unix ms.
    pub(super) fn set(&mut self, host: &HostId, at_ms: Option<u64>) {
        let before = match at_ms {
            Some(at_ms) => self.by_host.insert(host.clone(), at_ms),
            None => self.by_host.remove(host),
        };
        if let Some(before) = before {
            self.by_time.remove(&(before, host.clone()));
        }
        if let Some(at_ms) = at_ms {
            self.by_time.insert((at_ms, host.clone()));
        }
    }

    /// Hosts whose time has come, at most `most`, earliest first.
    pub(super) fn due(&self, now_ms: u64, most: usize) -> Vec<HostId> {
        let come = self.by_time.iter().take_while(|(at_ms, _)| *at_ms <= now_ms);
        come.take(most).map(|(_, host)| host.clone()).collect()
    }

    /// Whether `host` has a time.
    pub(super) fn contains(&self, host: &HostId) -> bool {
        self.by_host.contains_key(host)
    }

    /// Forgets the earliest times until there are at most `most`.
    pub(super) fn keep_latest(&mut self, most: usize) {
        while self.by_time.len() > most
            && let Some((_, host)) = self.by_time.pop_first()
        {
            self.by_host.remove(&host);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_are_kept() {
        let host = |number: u64| HostId::new(number.to_string());
        let mut timers = Timers::default();
        for number in 0..10 {
            timers.set(&host(number), Some(number));
        }
        timers.set(&host(0), Some(20));
        timers.keep_latest(3);
        let kept: Vec<HostId> = (0..10).map(host).filter(|host| timers.contains(host)).collect();
        assert_eq!(kept, [0, 8, 9].map(host));
        assert_eq!(timers.due(u64::MAX, 10), [8, 9, 0].map(host));
    }
}
