//! Where a host stands.

use berth_dataplane::occupancy::RoomState;

use super::{Holder, Look, Offer, Reservation, Slots, Standing, is_host};
use crate::host::HostState;

impl Slots {
    /// Where the host stands, right after [`Slots::settle`] with the same look.
    ///
    /// - Sessions, waiting reservations and free slots together never exceed the capacity.
    /// - What the host offered is lowered by what it could not know of: reservations that wait, and sessions that began
    ///   after its heartbeat.
    /// - A host that is not in its room has no free slot, if it must be.
    /// - Without occupancy heartbeat and reservations alone decide. Whether anybody is handed out then, is not decided here.
    pub fn standing(&self, offer: &Offer, look: &Look<'_>) -> Standing {
        let now_ms = look.now_us / 1000;
        let named = self.count(|one| one.holder == Holder::Named && one.left_ms == 0);
        let waiting = self.count(Reservation::is_open);
        let news = self.count(|one| !one.is_open() && one.joined_us > offer.at_us);
        let hosts = look.room.map(|room| self.hosts(room, look.host));
        let seen = match look.room {
            Some(room) => count(&room.members).saturating_sub(hosts.unwrap_or_default()),
            None => self.count(Reservation::is_seen),
        };
        let sessions = seen.saturating_add(named);
        let unreachable = match hosts {
            Some(0) => {
                let until = self.marks.absent_ms.saturating_add(look.terms.grace_ms);
                look.terms.host_in_room && now_ms >= until
            }
            _ => false,
        };
        let promised = sessions.saturating_add(waiting);
        let capacity = match look.room {
            Some(_) => offer.capacity.min(look.terms.players),
            None => offer.capacity,
        };
        let by_room = capacity.saturating_sub(promised);
        let by_host = offer.available.saturating_sub(waiting).saturating_sub(news);
        let free = if unreachable { 0 } else { by_room.min(by_host) };
        let state = match (unreachable, free, waiting) {
            (true, ..) => HostState::Unreachable,
            (_, 1.., _) => HostState::Idle,
            (_, 0, 1..) => HostState::Allocated,
            (_, 0, 0) => HostState::Busy,
        };
        Standing {
            state,
            free,
            sessions,
            waiting,
        }
    }

    /// How many members are the host: more than one only if each proves it.
    fn hosts(&self, room: &RoomState, host: &str) -> u32 {
        let hosts = room.members.iter().filter(|member| is_host(&member.who, host));
        let proven = count(hosts.clone().filter(|member| member.who.id.is_some()));
        let seated = u32::from(self.marks.seat > 0);
        proven.max(count(hosts).min(1)).max(seated)
    }

    fn count(&self, which: impl Fn(&Reservation) -> bool) -> u32 {
        count(self.reservations.iter().filter(|one| which(one)))
    }
}

fn count<T>(items: impl IntoIterator<Item = T>) -> u32 {
    u32::try_from(items.into_iter().count()).unwrap_or(u32::MAX)
}
