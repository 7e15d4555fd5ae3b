//! Heartbeats that the store could not be told: the last one of each host, until it can.

use std::collections::HashMap;
use std::time::Instant;

use parking_lot::Mutex;

use crate::host::{Heartbeat, HostId};

/// Most hosts whose heartbeat is kept: beyond that they are told to try again.
const MOST: usize = 20_000;

/// Heartbeats that wait for the store.
#[derive(Default)]
pub(super) struct Waiting(Mutex<HashMap<HostId, (Heartbeat, Instant)>>);

impl Waiting {
    /// Keeps a heartbeat in place of the host's last one; `false` when there is no room.
    pub(super) fn keep(&self, heartbeat: Heartbeat, now: Instant) -> bool {
        let mut waiting = self.0.lock();
        if waiting.len() >= MOST && !waiting.contains_key(&heartbeat.host) {
            return false;
        }
        waiting.insert(heartbeat.host.clone(), (heartbeat, now));
        true
    }

    /// The store knows better by now.
    pub(super) fn forget(&self, host: &HostId) {
        self.0.lock().remove(host);
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.0.lock().len()
    }

    /// Takes up to `most` out, each with its age.
    pub(super) fn take(&self, most: usize, now: Instant) -> Vec<Heartbeat> {
        let mut waiting = self.0.lock();
        let hosts: Vec<HostId> = waiting.keys().take(most).cloned().collect();
        let taken = hosts.iter().filter_map(|host| waiting.remove(host));
        taken
            .map(|(heartbeat, said)| Heartbeat {
                age: heartbeat.age + now.saturating_duration_since(said),
                ..heartbeat
            })
            .collect()
    }

    /// Puts one that was taken back, unless there is a later one.
    pub(super) fn put_back(&self, heartbeat: Heartbeat, now: Instant) {
        let mut waiting = self.0.lock();
        if waiting.len() < MOST {
            waiting.entry(heartbeat.host.clone()).or_insert((heartbeat, now));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use berth_crds::settings::RoomId;

    use super::*;
    use crate::host::{HostInfo, HostStatus};

    fn heartbeat(name: &str, available: u32) -> Heartbeat {
        Heartbeat {
            host: HostId::new(name),
            room: RoomId::parse("r", 64).unwrap(),
            region: "eu".to_owned(),
            status: HostStatus::Idle,
            capacity: 2,
            available,
            labels: BTreeMap::new(),
            info: HostInfo::default(),
            serves: None,
            age: Duration::ZERO,
        }
    }

    #[test]
    fn the_last_one_of_each_host_is_kept_with_its_age() {
        let (waiting, begin) = (Waiting::default(), Instant::now());
        let at = |seconds| begin + Duration::from_secs(seconds);
        assert!(waiting.keep(heartbeat("a", 1), at(0)) && waiting.keep(heartbeat("a", 2), at(3)));
        waiting.keep(heartbeat("b", 1), at(3));
        waiting.forget(&HostId::new("b"));
        let taken = waiting.take(9, at(10));
        assert_eq!(
            taken
                .iter()
                .map(|one| (one.available, one.age.as_secs()))
                .collect::<Vec<_>>(),
            [(2, 7)]
        );
        // Not in time for the store: it grows older, and a later one counts more.
        waiting.put_back(taken[0].clone(), at(10));
        let again = waiting.take(9, at(12));
        assert_eq!(again[0].age.as_secs(), 9);
        waiting.keep(heartbeat("a", 0), at(13));
        waiting.put_back(again[0].clone(), at(13));
        assert_eq!(waiting.take(9, at(13))[0].available, 0);
    }

    #[test]
    fn memory_is_bounded() {
        let (waiting, now) = (Waiting::default(), Instant::now());
        for number in 0..MOST {
            assert!(waiting.keep(heartbeat(&number.to_string(), 1), now));
        }
        assert!(!waiting.keep(heartbeat("one more", 1), now));
        assert!(waiting.keep(heartbeat("7", 2), now), "one that is known already");
        assert_eq!(waiting.take(100, now).len(), 100);
        assert_eq!(waiting.len(), MOST - 100);
    }
}
