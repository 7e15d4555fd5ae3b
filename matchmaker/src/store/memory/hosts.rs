//! Steps of hosts beside their heartbeats, and the list of them.

use std::ops::Bound;

use super::pool::{Host, Pool};
use super::view::View;
use crate::host::{HostId, HostStatus};
use crate::store::{EventKind, HostRecord, MOST_DRAINED, PAGE};

impl Pool {
    pub(super) fn set_status(&mut self, view: &mut View<'_>, name: &HostId, status: HostStatus) -> bool {
        if !self.lives(view, name) {
            return false;
        }
        self.change(name, |pool, host| {
            host.status = status;
            host.offer.available = status.offers(host.offer.available, host.offer.capacity);
            pool.settle(view, name, host);
        });
        true
    }

    pub(super) fn leave(&mut self, view: &mut View<'_>, name: &HostId) -> bool {
        if !self.lives(view, name) {
            return false;
        }
        // What became of its matches until now is told first.
        self.change(name, |pool, host| pool.settle(view, name, host));
        self.end(view, name, EventKind::EndedByLeave, EventKind::HostLeft);
        true
    }

    pub(super) fn drain_host(&mut self, view: &mut View<'_>, name: &HostId, drain: bool) -> bool {
        let lives = self.lives(view, name);
        let was_drained = self.drained.contains(name);
        if drain {
            if !lives {
                return false;
            }
            self.drained.set(name, Some(view.now_ms));
            self.drained.keep_latest(MOST_DRAINED);
        } else {
            self.drained.set(name, None);
        }
        self.change(name, |pool, host| {
            host.drained = drain;
            pool.settle(view, name, host);
        });
        lives || was_drained
    }

    pub(super) fn page(&self, after: Option<&HostId>, now_ms: u64) -> Vec<HostRecord> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let record = |(name, host): (&HostId, &Host)| HostRecord {
            host: name.clone(),
            room: host.room.clone(),
            region: host.region.clone(),
            labels: host.labels.clone(),
            status: host.status,
            capacity: host.offer.capacity,
            offered: host.offer.available,
            state: host.standing.state,
            free: host.standing.free,
            taken: host.standing.sessions.saturating_add(host.standing.waiting),
            heartbeat_ms: host.offer.at_us / 1000,
            ttl_ms: host.alive_ms.saturating_sub(now_ms),
            reservations: host.slots.reservations().to_vec(),
            drained: host.drained,
            info: host.info.clone(),
        };
        self.hosts
            .range((from, Bound::Unbounded))
            .take(PAGE)
            .map(record)
            .collect()
    }
}
