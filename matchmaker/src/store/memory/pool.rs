//! The steps of the store on one pool. No clock of its own and no randomness.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use berth_crds::settings::RoomId;
use berth_dataplane::occupancy::RoomState;

use super::classes::{Class, Classes, has};
use super::index::{Entry, FreeHosts};
use super::offline::Gone;
use super::over::Over;
use super::timers::Timers;
use super::view::View;
use crate::host::{Heartbeat, HostId, HostState, HostStatus, MatchId};
use crate::slots::{Change, Changes, Holder, Offer, Reservation, Slots, Standing};
use crate::store::{
    Beaten, Counts, EventKind, Found, Grant, Held, Offline, Registered, Released, Request, Tick, millis,
};

/// Most rooms, silent hosts and deadlines that one step looks after.
const DRAINED: usize = 256;

/// The hosts of a pool.
#[derive(Default)]
pub(super) struct Pool {
    pub(super) hosts: BTreeMap<HostId, Host>,
    /// Hosts that were taken out of service, and when.
    pub(super) drained: Timers,
    pub(super) gone: Gone,
    /// Which host claims a room.
    rooms: HashMap<RoomId, HostId>,
    matches: HashMap<MatchId, HostId>,
    over: Over,
    free: FreeHosts,
    classes: Classes,
    /// When hosts fall silent.
    silent: Timers,
    /// When something about a host changes by time alone.
    due: Timers,
    counts: Counts,
}

pub(super) struct Host {
    pub(super) room: RoomId,
    pub(super) region: String,
    pub(super) labels: BTreeMap<String, String>,
    /// None if it has no labels, or if the pool has too many classes.
    class: Option<Arc<Class>>,
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
    pub(super) fn heartbeat(&mut self, view: &mut View<'_>, beat: Heartbeat) -> Beaten {
        let owner = self.rooms.get(&beat.room).filter(|owner| **owner != beat.host);
        if let Some(owner) = owner.cloned()
            && self.lives(view, &owner)
        {
            return Beaten {
                registered: Registered::RoomTaken(owner),
                silent_ms: None,
                reservations: Vec::new(),
            };
        }
        let registered = if self.lives(view, &beat.host) {
            Registered::Renewed
        } else {
            Registered::New
        };
        self.gone.remove(&beat.host);
        let before = self.hosts.remove(&beat.host);
        let said_us = view.now_us.saturating_sub(micros(beat.age));
        let silent_ms = before
            .as_ref()
            .map(|host| said_us.saturating_sub(host.offer.at_us) / 1000);
        let drained = match &before {
            Some(host) => host.drained,
            None => self.drained.contains(&beat.host),
        };
        let moves_in = before.as_ref().is_none_or(|host| host.room != beat.room);
        let mut slots = Slots::default();
        if let Some(host) = before {
            self.forget(&beat.host, &host);
            self.classes.leave(host.class.as_ref());
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
            at_us: said_us,
        };
        let class = self.classes.join(&beat.region, &beat.labels);
        if class.is_none() && !beat.labels.is_empty() {
            view.tell(EventKind::LabelsIgnored, &beat.host, &beat.room, None);
        }
        let mut host = Host {
            standing: slots.standing(&offer, &view.look(&beat.host, None)),
            due_ms: None,
            alive_ms: view
                .now_ms
                .saturating_add(millis(view.rules.heartbeat_ttl))
                .saturating_sub(millis(beat.age)),
            room: beat.room,
            region: beat.region,
            labels: beat.labels,
            class,
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
        let changes = host.slots.name(beat.serves.as_deref(), view.now_us);
        self.changed(view, &beat.host, &host.room, changes);
        self.settle(view, &beat.host, &mut host);
        let reservations = host.slots.reservations().to_vec();
        self.keep(beat.host, host);
        Beaten {
            registered,
            silent_ms,
            reservations,
        }
    }

    /// `clock_us` is the clock that join numbers of new rooms begin with.
    pub(super) fn find(&mut self, view: &mut View<'_>, request: &Request, clock_us: u64) -> Found {
        self.drain(view);
        if request.asked.is_some() {
            match self.live(view, request.id) {
                Some((one, _)) if one.asked != request.asked => return Found::Conflict,
                Some((_, grant)) => return Found::Granted(grant),
                None => {}
            }
            if let Some(why) = self.over.get(request.id, view.now_ms) {
                return Found::Over(why);
            }
        }
        // Nobody meets the demands: hosts keep their places in the index for when occupancy is known again.
        if view.rules.terms().known_room && !view.known {
            return Found::NotNow;
        }
        let granted = match &request.host {
            Some(host) if !self.has_labels(host, request) => None,
            Some(host) => self.grant(view, host, request, clock_us),
            None => self.grant_any(view, request, clock_us),
        };
        match granted {
            Some(grant) => Found::Granted(grant),
            None if self.free.is_empty() => Found::NoHosts,
            None => Found::NoneMatching,
        }
    }

    fn grant_any(&mut self, view: &mut View<'_>, request: &Request, clock_us: u64) -> Option<Grant> {
        // A host that turns out to be taken leaves the index, so this ends.
        while let Some(host) = self.free.draw(request, view.rules) {
            if let Some(grant) = self.grant(view, &host, request, clock_us) {
                return Some(grant);
            }
        }
        None
    }

    fn has_labels(&self, host: &HostId, request: &Request) -> bool {
        request.labels.is_empty()
            || self
                .hosts
                .get(host)
                .is_some_and(|host| has(&host.labels, &request.labels))
    }

    pub(super) fn look_up(&mut self, view: &mut View<'_>, id: MatchId) -> Held {
        match self.live(view, id) {
            Some((_, grant)) => Held::Live(grant),
            None => self.over.get(id, view.now_ms).map_or(Held::Unknown, Held::Over),
        }
    }

    /// A match that is not over: its reservation, and where it is.
    fn live(&mut self, view: &mut View<'_>, id: MatchId) -> Option<(Reservation, Grant)> {
        let name = self.matches.get(&id)?.clone();
        self.refresh(view, &name);
        let host = self.hosts.get(&name)?;
        let reservation = host.slots.reservations().iter().find(|one| one.id == id)?;
        Some((reservation.clone(), host.grant(&name)))
    }

    pub(super) fn release(&mut self, view: &mut View<'_>, id: MatchId) -> Released {
        let live = self.live(view, id).is_some();
        let name = self.matches.get(&id).filter(|_| live).cloned();
        let Some(name) = name else {
            return self
                .over
                .get(id, view.now_ms)
                .map_or(Released::Unknown, Released::Over);
        };
        self.change(&name, |pool, host| {
            pool.settle(view, &name, host);
            let released = host.slots.release(id);
            if released {
                pool.ended(view, &name, &host.room, id, EventKind::Released);
                // Somebody who could have come for it may be the host after all.
                pool.settle(view, &name, host);
            }
            released
        })
        .map_or(Released::Unknown, |released| {
            if released {
                Released::Released
            } else {
                Released::Stays
            }
        })
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
        Tick {
            more,
            is_new: false,
            known_ago: None,
            counts,
        }
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
    fn grant(
        &mut self,
        view: &mut View<'_>,
        name: &HostId,
        request: &Request,
        clock_us: u64,
    ) -> Option<Grant> {
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
                id: request.id,
                granted_us: view.now_us,
                deadline_ms: view.now_ms.saturating_add(millis(view.rules.deadline)),
                // A room that does not exist begins above the clock.
                base: if last == 0 { clock_us } else { last },
                holder: Holder::Nobody,
                joined_us: 0,
                left_ms: 0,
                asked: request.asked,
            });
            host.stand(view, name, room.as_ref());
            Some(host.grant(name))
        });
        let grant = grant.flatten()?;
        self.matches.insert(request.id, name.clone());
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
        let changes = host.slots.settle(&view.look(name, room.as_ref()));
        self.changed(view, name, &host.room, changes);
        host.stand(view, name, room.as_ref());
        room
    }

    /// Notes what became of reservations.
    fn changed(&mut self, view: &mut View<'_>, name: &HostId, room: &RoomId, changes: Changes) {
        for (id, change) in changes {
            let kind = EventKind::Reservation(change);
            if change == Change::Joined {
                view.tell(kind, name, room, Some(id));
            } else {
                self.ended(view, name, room, id, kind);
            }
        }
    }

    /// Forgets a reservation, but for why it ended.
    fn ended(&mut self, view: &mut View<'_>, name: &HostId, room: &RoomId, id: MatchId, kind: EventKind) {
        self.matches.remove(&id);
        self.over.insert(id, kind, view.now_ms);
        view.tell(kind, name, room, Some(id));
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
        self.classes.leave(host.class.as_ref());
        self.due.set(name, None);
        self.end_reservations(view, name, &host.room, &host.slots, ended);
        self.unclaim(view, &host.room);
        view.tell(gone, name, &host.room, None);
        let offline = Offline {
            host: name.clone(),
            room: host.room.to_string(),
            region: host.region,
            since_ms: view.now_ms,
            left: gone == EventKind::HostLeft,
        };
        self.gone.insert(offline, view.now_ms);
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
            self.ended(view, name, room, reservation.id, kind);
        }
    }

    fn unclaim(&mut self, view: &View<'_>, room: &RoomId) {
        self.rooms.remove(room);
        view.rooms.unwatch(room, view.name);
    }

    /// Takes a host out of index and counts.
    fn forget(&mut self, name: &HostId, host: &Host) {
        self.free.remove(host.entry(name));
        let Tally {
            state,
            capacity,
            free,
            taken,
        } = tally(host);
        let less = |number: &mut u64, by: u64| *number = number.saturating_sub(by);
        less(self.counts.hosts.entry(state).or_default(), 1);
        less(&mut self.counts.capacity, capacity);
        less(&mut self.counts.free, free);
        less(&mut self.counts.taken, taken);
        if let Some(region) = self.counts.regions.get_mut(&host.region) {
            less(&mut region.hosts, 1);
            less(&mut region.slots, capacity);
            less(&mut region.available_slots, free);
            if let Some(hosts) = region.states.get_mut(state) {
                less(hosts, 1);
                if *hosts == 0 {
                    region.states.remove(state);
                }
            }
            if region.hosts == 0 {
                self.counts.regions.remove(&host.region);
            }
        }
    }

    /// Puts a host into index, counts and timers.
    fn keep(&mut self, name: HostId, host: Host) {
        let Tally {
            state,
            capacity,
            free,
            taken,
        } = tally(&host);
        *self.counts.hosts.entry(state).or_default() += 1;
        self.counts.capacity += capacity;
        self.counts.free += free;
        self.counts.taken += taken;
        let region = self.counts.regions.entry(host.region.clone()).or_default();
        region.hosts += 1;
        *region.states.entry(state).or_default() += 1;
        region.slots += capacity;
        region.available_slots += free;
        self.free.insert(host.entry(&name));
        self.due.set(&name, host.due_ms);
        self.hosts.insert(name, host);
    }
}

impl Host {
    /// Where a match on it is.
    fn grant(&self, name: &HostId) -> Grant {
        Grant {
            host: name.clone(),
            room: self.room.clone(),
            region: self.region.clone(),
        }
    }

    fn entry<'a>(&'a self, name: &'a HostId) -> Entry<'a> {
        Entry {
            host: name,
            region: &self.region,
            class: self.class.as_ref(),
            free: self.standing.free,
        }
    }

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

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// A host as it is counted.
struct Tally {
    state: &'static str,
    capacity: u64,
    free: u64,
    taken: u64,
}

fn tally(host: &Host) -> Tally {
    let standing = &host.standing;
    Tally {
        state: standing.state.as_str(),
        capacity: host.offer.capacity.into(),
        free: standing.free.into(),
        taken: u64::from(standing.sessions) + u64::from(standing.waiting),
    }
}
