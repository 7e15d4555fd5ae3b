//! The steps of the store on one pool. No clock of its own and no randomness.

use std::collections::{BTreeMap, HashMap};

use berth_crds::settings::RoomId;
use berth_dataplane::occupancy::RoomState;

use super::index::FreeHosts;
use super::timers::Timers;
use super::view::View;
use crate::host::{Heartbeat, HostId, HostState, HostStatus, MatchId};
use crate::slots::{Change, Holder, Offer, Reservation, Slots, Standing};
use crate::store::{Counts, EventKind, Found, Grant, Registered, Request, Tick, millis};

/// Most rooms, silent hosts and deadlines that one step looks after.
const DRAINED: usize = 256;

/// The hosts of a pool.
#[derive(Default)]
pub(super) struct Pool {
    pub(super) hosts: BTreeMap<HostId, Host>,
    /// Hosts that were taken out of service, and when.
    pub(super) drained: Timers,
    /// Which host claims a room.
    rooms: HashMap<RoomId, HostId>,
    matches: HashMap<MatchId, HostId>,
    free: FreeHosts,
    /// When hosts fall silent.
    silent: Timers,
    /// When something about a host changes by time alone.
    due: Timers,
    counts: Counts,
}

pub(super) struct Host {
    pub(super) room: RoomId,
    pub(super) region: String,
    pub(super) status: HostStatus,
    pub(super) offer: Offer,
    pub(super) alive_ms: u64,
    pub(super) slots: Slots,
    pub(super) standing: Standing,
    due_ms: Option<u64>,
    /// It was taken out of service.
    pub(super) drained: bool,
    /// What it tells of itself.
    pub(super) info: String,
}

impl Pool {
    pub(super) fn heartbeat(&mut self, view: &mut View<'_>, beat: Heartbeat) -> Registered {
        let owner = self.rooms.get(&beat.room).filter(|owner| **owner != beat.host);
        if let Some(owner) = owner.cloned()
            && self.lives(view, &owner)
        {
            return Registered::RoomTaken(owner);
        }
        let registered = if self.lives(view, &beat.host) {
            Registered::Renewed
        } else {
            Registered::New
        };
        let before = self.hosts.remove(&beat.host);
        let drained = match &before {
            Some(host) => host.drained,
            None => self.drained.contains(&beat.host),
        };
        let moves_in = before.as_ref().is_none_or(|host| host.room != beat.room);
        let mut slots = Slots::default();
        if let Some(host) = before {
            self.forget(&beat.host, &host);
            if moves_in {
                let kind = EventKind::EndedByRoomChange;
                self.end_reservations(view, &beat.host, &host.room, &host.slots, kind);
                self.unclaim(view, &host.room);
            } else {
                slots = host.slots;
            }
        }
        let offer = Offer {
            capacity: beat.capacity,
            available: beat.available,
            at_us: view.now_us,
        };
        let mut host = Host {
            standing: slots.standing(&offer, &view.look(&beat.host, None)),
            due_ms: None,
            alive_ms: view.now_ms.saturating_add(millis(view.rules.heartbeat_ttl)),
            room: beat.room,
            region: beat.region,
            status: beat.status,
            offer,
            slots,
            drained,
            info: beat.info.to_text(),
        };
        if moves_in {
            self.rooms.insert(host.room.clone(), beat.host.clone());
            view.rooms.watch(&host.room, view.name);
        }
        self.silent.set(&beat.host, Some(host.alive_ms));
        self.settle(view, &beat.host, &mut host);
        self.keep(beat.host, host);
        registered
    }

    /// `clock_us` is the clock that join numbers of new rooms begin with.
    pub(super) fn find(&mut self, view: &mut View<'_>, request: &Request, clock_us: u64) -> Found {
        self.drain(view);
        // Nobody meets the demands: hosts keep their places in the index for when occupancy is known again.
        if view.rules.terms().known_room && !view.known {
            return Found::NoHosts;
        }
        if let Some(host) = &request.host {
            if let Some(grant) = self.grant(view, host, request.id, clock_us) {
                return Found::Granted(grant);
            }
            return if self.free.is_empty() {
                Found::NoHosts
            } else {
                Found::NoneMatching
            };
        }
        // A host that turns out to be taken leaves the index, so this ends.
        let weight = view.rules.region_weight;
        while let Some(host) = self.free.draw(request.region.as_deref(), weight, request.dice) {
            if let Some(grant) = self.grant(view, &host, request.id, clock_us) {
                return Found::Granted(grant);
            }
        }
        Found::NoHosts
    }

    pub(super) fn release(&mut self, view: &mut View<'_>, id: MatchId) -> bool {
        let Some(name) = self.matches.get(&id).cloned() else {
            return false;
        };
        self.change(&name, |pool, host| {
            let room = pool.settle(view, &name, host);
            let released = host.slots.release(id, &view.look(&name, room.as_ref()));
            if released {
                pool.matches.remove(&id);
            }
            host.stand(view, &name, room.as_ref());
            released
        })
        .unwrap_or(false)
    }

    pub(super) fn tick(&mut self, view: &mut View<'_>) -> Tick {
        let more = self.drain(view);
        let mut counts = Counts {
            occupancy_known: view.known,
            ..self.counts.clone()
        };
        for state in HostState::ALL {
            counts.hosts.entry(state.as_str()).or_default();
        }
        Tick { more, counts }
    }

    /// Looks after rooms that changed, silent hosts and deadlines; answers whether there may be more.
    fn drain(&mut self, view: &mut View<'_>) -> bool {
        let touched = view.rooms.take_touched(view.name, DRAINED);
        for room in &touched {
            if let Some(host) = self.rooms.get(room).cloned() {
                self.refresh(view, &host);
            }
        }
        let silent = self.silent.due(view.now_ms, DRAINED);
        for host in &silent {
            self.lose(view, host);
        }
        let due = self.due.due(view.now_ms, DRAINED);
        for host in &due {
            self.refresh(view, host);
        }
        [touched.len(), silent.len(), due.len()].contains(&DRAINED)
    }

    /// Brings a host up to date, or loses it.
    fn refresh(&mut self, view: &mut View<'_>, name: &HostId) {
        if self.lives(view, name) {
            self.change(name, |pool, host| pool.settle(view, name, host));
        }
    }

    /// Brings a host up to date and grants one of its slots, if it has a free one.
    fn grant(&mut self, view: &mut View<'_>, name: &HostId, id: MatchId, clock_us: u64) -> Option<Grant> {
        if !self.lives(view, name) {
            return None;
        }
        let grant = self.change(name, |pool, host| {
            let room = pool.settle(view, name, host);
            if host.standing.free == 0 {
                return None;
            }
            let last = room
                .as_ref()
                .map_or_else(|| view.rooms.room_state(&host.room).last, |room| room.last);
            host.slots.grant(Reservation {
                id,
                granted_us: view.now_us,
                deadline_ms: view.now_ms.saturating_add(millis(view.rules.deadline)),
                // A room that does not exist begins above the clock.
                base: if last == 0 { clock_us } else { last },
                holder: Holder::Nobody,
                joined_us: 0,
                left_ms: 0,
            });
            host.stand(view, name, room.as_ref());
            Some(Grant {
                host: name.clone(),
                room: host.room.clone(),
                region: host.region.clone(),
            })
        });
        let grant = grant.flatten()?;
        self.matches.insert(id, name.clone());
        Some(grant)
    }

    /// Whether a host is alive; a silent one is lost.
    pub(super) fn lives(&mut self, view: &mut View<'_>, name: &HostId) -> bool {
        match self.hosts.get(name) {
            Some(host) if host.alive_ms > view.now_ms => true,
            Some(_) => {
                self.lose(view, name);
                false
            }
            None => false,
        }
    }

    /// Takes a host out of index and counts, changes it and puts it back.
    pub(super) fn change<T>(
        &mut self,
        name: &HostId,
        change: impl FnOnce(&mut Self, &mut Host) -> T,
    ) -> Option<T> {
        let mut host = self.hosts.remove(name)?;
        self.forget(name, &host);
        let result = change(self, &mut host);
        self.keep(name.clone(), host);
        Some(result)
    }

    /// Brings a host that was taken out up to date; gives its room.
    pub(super) fn settle(
        &mut self,
        view: &mut View<'_>,
        name: &HostId,
        host: &mut Host,
    ) -> Option<RoomState> {
        let room = view.room(&host.room);
        for (id, change) in host.slots.settle(&view.look(name, room.as_ref())) {
            if change != Change::Joined {
                self.matches.remove(&id);
            }
            view.tell(EventKind::Reservation(change), name, &host.room, Some(id));
        }
        host.stand(view, name, room.as_ref());
        room
    }

    fn lose(&mut self, view: &mut View<'_>, name: &HostId) {
        self.end(view, name, EventKind::EndedByLoss, EventKind::HostLost);
    }

    /// Ends a host: `ended` is told of its reservations, `gone` of itself.
    pub(super) fn end(&mut self, view: &mut View<'_>, name: &HostId, ended: EventKind, gone: EventKind) {
        self.silent.set(name, None);
        let Some(host) = self.hosts.remove(name) else {
            return;
        };
        self.forget(name, &host);
        self.due.set(name, None);
        self.end_reservations(view, name, &host.room, &host.slots, ended);
        self.unclaim(view, &host.room);
        view.tell(gone, name, &host.room, None);
    }

    fn end_reservations(
        &mut self,
        view: &mut View<'_>,
        name: &HostId,
        room: &RoomId,
        slots: &Slots,
        kind: EventKind,
    ) {
        for reservation in slots.reservations() {
            self.matches.remove(&reservation.id);
            view.tell(kind, name, room, Some(reservation.id));
        }
    }

    fn unclaim(&mut self, view: &View<'_>, room: &RoomId) {
        self.rooms.remove(room);
        view.rooms.unwatch(room, view.name);
    }

    /// Takes a host out of index and counts.
    fn forget(&mut self, name: &HostId, host: &Host) {
        self.free.remove(name, &host.region);
        let (state, capacity, free) = tally(host);
        let less = |number: &mut u64, by: u64| *number = number.saturating_sub(by);
        less(self.counts.hosts.entry(state).or_default(), 1);
        less(&mut self.counts.capacity, capacity);
        less(&mut self.counts.free, free);
        if let Some(region) = self.counts.regions.get_mut(&host.region) {
            less(&mut region.hosts, 1);
            less(&mut region.available_slots, free);
            if region.hosts == 0 {
                self.counts.regions.remove(&host.region);
            }
        }
    }

    /// Puts a host into index, counts and timers.
    fn keep(&mut self, name: HostId, host: Host) {
        let (state, capacity, free) = tally(&host);
        *self.counts.hosts.entry(state).or_default() += 1;
        self.counts.capacity += capacity;
        self.counts.free += free;
        let region = self.counts.regions.entry(host.region.clone()).or_default();
        region.hosts += 1;
        region.available_slots += free;
        if host.standing.free > 0 {
            self.free.insert(&name, &host.region);
        }
        self.due.set(&name, host.due_ms);
        self.hosts.insert(name, host);
    }
}

impl Host {
    /// Finds out where the host stands, right after its slots were settled.
    fn stand(&mut self, view: &View<'_>, name: &HostId, room: Option<&RoomState>) {
        let look = view.look(name, room);
        self.standing = self.slots.standing(&self.offer, &look);
        if self.drained || self.status == HostStatus::Draining {
            self.standing.state = self.standing.state.draining();
            self.standing.free = 0;
        }
        self.due_ms = self.slots.due_ms(&look);
    }
}

/// State, capacity and free slots, as they are counted.
fn tally(host: &Host) -> (&'static str, u64, u64) {
    (
        host.standing.state.as_str(),
        host.offer.capacity.into(),
        host.standing.free.into(),
    )
}
