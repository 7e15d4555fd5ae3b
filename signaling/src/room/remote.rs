//! What is heard from other instances and from the store.

use berth_dataplane::occupancy::{Gone, Instance, MemberId, Seat};
use smallvec::SmallVec;

use super::{Departure, Effect, Effects, Former, Heard, MOST_FORMER, Notice, PATIENCE, Remote, Room, View};

impl Room {
    /// Another instance says that a member joined it, or makes sure that it is known; `members` is everybody in the
    /// room as the store knew it. `resume`: what the member has heard of each sender; it wants the rest.
    pub fn remote_joined(&mut self, seat: &Seat, members: &[Seat], resume: Option<&Heard>) -> Effects {
        let mut effects = Effects::new();
        let known_since = self.taken_of(seat.member);
        if seat.instance == self.own || known_since.is_some_and(|since| since > seat.taken) {
            return effects;
        }
        self.note(seat.member);
        self.note_met(members, None);
        let is_new_here = !self.remotes.iter().any(|remote| remote.instance == seat.instance);
        if self.local(seat.member).is_some() {
            self.moved_away(seat.member, &mut effects);
        }
        // Older news that it is away may have come after the store had told us that it is back.
        let was_away = self.remote(seat.member).is_some_and(|remote| remote.away);
        let seemed_away = was_away && !seat.away;
        let is_newer = known_since.is_some_and(|since| since < seat.taken);
        let is_back = seat.role.is_some() && !seat.away && (is_newer || seemed_away);
        if !self.renew_remote(seat) {
            self.note_unmet(seat.join, members);
            self.add_remote(seat, is_back, &mut effects);
            self.note_came_later(seat, members, None);
        }
        if is_back {
            self.tell_joined(seat.member, seat.role, true, &mut effects);
        } else if seat.away && !was_away && known_since.is_some() {
            self.tell_away(seat.member, seat.role, &mut effects);
        }
        self.release(seat.member, &mut effects);
        self.route(&seat.instance).revive(&mut effects);
        if is_new_here {
            self.tell_away_to(&seat.instance, &mut effects);
        }
        if let Some(heard) = resume {
            self.replay_for(seat, heard, &mut effects);
        }
        if known_since != Some(seat.taken) {
            self.ask_for_missed(Some(&seat.instance), &mut effects);
        }
        self.flush_early(&mut effects);
        if self.contradicts(members) {
            self.ask(&mut effects);
        }
        self.acknowledge(&mut effects);
        effects
    }

    /// When the connection of a member took its seat, as far as is known here.
    fn taken_of(&self, member: MemberId) -> Option<u64> {
        let local = self.local(member).map(|local| local.taken);
        local.or_else(|| {
            let remote = self.remotes.iter().find(|remote| remote.member == member);
            remote.map(|remote| remote.taken)
        })
    }

    /// A member tells of itself, perhaps from another instance; `false` if it is not known.
    fn renew_remote(&mut self, seat: &Seat) -> bool {
        let Some(remote) = self.remote(seat.member) else {
            return false;
        };
        let known_since = std::mem::replace(&mut remote.taken, seat.taken);
        remote.join = seat.join;
        remote.away = seat.away;
        if remote.instance != seat.instance {
            remote.floor = known_since;
            let before = std::mem::replace(&mut remote.instance, seat.instance.clone());
            self.close_route(&before);
            self.route(&seat.instance);
            self.await_replay(seat.member);
        }
        true
    }

    /// Another instance says that a member is gone.
    pub fn remote_left(&mut self, member: MemberId, instance: &Instance, departure: Departure) -> Effects {
        let mut effects = Effects::new();
        if self.local(member).is_some() {
            if *instance == self.own {
                self.taken_away(member, &mut effects);
            }
            return effects;
        }
        // It may sit at another instance by now.
        if self
            .remote(member)
            .is_some_and(|remote| remote.instance != *instance)
        {
            return effects;
        }
        self.note(member);
        if let Departure::Away(taken) = departure {
            // Not one that is back already, as the store said.
            let remote = self
                .remote(member)
                .filter(|remote| !remote.away && remote.taken <= taken);
            if let Some(role) = remote.map(|remote| {
                remote.away = true;
                remote.role
            }) {
                self.tell_away(member, role, &mut effects);
            }
        } else {
            self.remove_remote(member, departure, &mut effects);
        }
        self.acknowledge(&mut effects);
        effects
    }

    /// Somebody took the seat of a local member away: because it is away, or because he took this instance for dead.
    fn taken_away(&mut self, member: MemberId, effects: &mut Effects) {
        if self.local(member).is_some_and(super::Local::is_away) {
            let gone = self.leave(member, Departure::Left);
            effects.extend(gone.into_iter().flat_map(|(gone, _)| gone));
        } else {
            self.ask(effects);
        }
    }

    /// The answer to [`Effect::Ask`]: everybody in the room, or `None` when the store did not answer.
    pub fn answer(&mut self, view: View, seats: Option<&[Seat]>) -> Effects {
        let mut effects = Effects::new();
        let again = self
            .unsettled
            .as_mut()
            .is_some_and(|unsettled| unsettled.answered(seats.is_some()));
        match seats {
            Some(seats) => {
                self.learn(view, seats, None, &mut effects);
                self.release_known(&mut effects);
                self.flush_early(&mut effects);
            }
            None => {
                self.unsettled.as_mut().map(|unsettled| unsettled.close(view));
            }
        }
        if again {
            self.ask(&mut effects);
        } else if seats.is_some() {
            self.refuse_strangers(&mut effects);
        }
        self.acknowledge(&mut effects);
        self.settle();
        effects
    }

    /// Asks the store who sits here.
    pub(super) fn ask(&mut self, effects: &mut Effects) {
        effects.extend(self.unsettled.get_or_insert_default().ask().map(Effect::Ask));
    }

    /// Takes over what the store said at `view`, except for members that changed since. `own`: a member that has a seat as
    /// well and is not in the list. The caller releases what waited for this, and flushes early messages.
    pub(super) fn learn(&mut self, view: View, seats: &[Seat], own: Option<MemberId>, effects: &mut Effects) {
        let changed = self
            .unsettled
            .as_mut()
            .map(|unsettled| unsettled.close(view))
            .unwrap_or_default();
        let is_missing =
            |member: MemberId| !changed.contains(&member) && !seats.iter().any(|seat| seat.member == member);
        self.note_met(seats, None);
        let mut gone: SmallVec<[MemberId; 2]> = SmallVec::new();
        for remote in &mut self.remotes {
            if !is_missing(remote.member) {
                remote.missing = None;
            } else if remote.missing >= Some(PATIENCE) {
                gone.push(remote.member);
            } else {
                remote.missing.get_or_insert(0);
            }
        }
        for member in gone {
            self.remove_remote(member, Departure::Left, effects);
        }
        for seat in seats.iter().filter(|seat| !changed.contains(&seat.member)) {
            let known_since = self.taken_of(seat.member);
            if seat.instance == self.own || known_since.is_some_and(|since| since >= seat.taken) {
                continue;
            }
            // Its own instance may not have told us, but only the store can say so before it does.
            if self.local(seat.member).is_some() {
                self.moved_away(seat.member, effects);
            }
            let was_away = self.remote(seat.member).is_some_and(|remote| remote.away);
            if !self.renew_remote(seat) {
                self.add_remote(seat, known_since.is_some(), effects);
                self.note_came_later(seat, seats, own);
            }
            match known_since {
                Some(_) if !seat.away => self.tell_joined(seat.member, seat.role, true, effects),
                Some(_) if !was_away => self.tell_away(seat.member, seat.role, effects),
                _ => {}
            }
        }
        let left_or_back = |seat: &Seat| {
            changed.contains(&seat.member) && seat.instance != self.own && self.join_of(seat.member).is_none()
        };
        if seats.iter().any(left_or_back) {
            // It left and has its seat, and nothing tells what came first.
            self.ask(effects);
        }
        let asserted = self
            .locals()
            .filter(|member| is_missing(*member))
            .map(Effect::Assert);
        effects.extend(asserted.collect::<Vec<_>>());
    }

    /// Members whose seats were taken away: those who are left hear of it here and, before anything else, elsewhere, and so does
    /// the instance at which such a member sat, if it lives.
    pub(super) fn bury(&mut self, reaped: &[Gone], effects: &mut Effects) {
        for Gone { member, instance } in reaped {
            self.note(*member);
            if *instance == self.own {
                self.taken_away(*member, effects);
            } else if self
                .remote(*member)
                .is_some_and(|remote| remote.instance == *instance)
            {
                self.remove_remote(*member, Departure::Left, effects);
            }
            let routes = self.routes.iter().map(|route| &route.instance);
            let own = Some(instance).filter(|instance| {
                **instance != self.own && !self.routes.iter().any(|route| route.instance == **instance)
            });
            for to in routes.chain(own) {
                let notice = Notice::Left {
                    member: *member,
                    instance: instance.clone(),
                    departure: Departure::Left,
                };
                effects.push(Effect::Publish {
                    to: to.clone(),
                    notice,
                });
            }
        }
    }

    /// Adds a member at another instance. `was_here`: it is known, and whoever hears of it is told otherwise.
    fn add_remote(&mut self, seat: &Seat, was_here: bool, effects: &mut Effects) {
        let Seat {
            member,
            join,
            instance,
            role,
            away,
            taken,
            ..
        } = seat.clone();
        self.route(&instance);
        let former = self.former(member);
        let moved = former.filter(|former| former.instance != instance);
        let (floor, heard) = (
            moved.map_or(0, |former| former.taken),
            former.map_or(0, |former| former.heard),
        );
        self.remotes.push(Remote {
            member,
            join,
            taken,
            instance,
            floor,
            role,
            away,
            heard,
            missing: None,
            unmet_from: None,
        });
        self.nobody_is_expected(member, effects);
        if !was_here {
            self.tell_joined(member, role, false, effects);
        }
        self.await_replay(member);
    }

    fn remove_remote(&mut self, member: MemberId, departure: Departure, effects: &mut Effects) {
        let Some(index) = self.remotes.iter().position(|remote| remote.member == member) else {
            return;
        };
        let Remote {
            instance,
            heard,
            taken,
            role,
            unmet_from,
            ..
        } = self.remotes.remove(index);
        self.remember_former(Former {
            member,
            heard,
            instance: instance.clone(),
            taken,
        });
        self.await_no_more(member);
        let waiting = self.close_route(&instance);
        self.turn_early(waiting, effects);
        self.departed(member, role, departure, unmet_from, effects);
    }

    /// A member that is gone.
    pub(super) fn former(&self, member: MemberId) -> Option<&Former> {
        self.former.iter().find(|former| former.member == member)
    }

    pub(super) fn remember_former(&mut self, gone: Former) {
        self.former.retain(|former| former.member != gone.member);
        self.former.truncate(MOST_FORMER - 1);
        self.former.push_front(gone);
    }

    /// Somebody joined with this number, and the store listed these. Whoever joined before and is not among them was gone
    /// by then, though the news of it may still be on its way.
    pub(super) fn note_unmet(&mut self, join: u64, listed: &[Seat]) {
        for remote in &mut self.remotes {
            if remote.join < join && !listed.iter().any(|seat| seat.member == remote.member) {
                remote.unmet_from = Some(remote.unmet_from.map_or(join, |first| first.min(join)));
            }
        }
    }

    /// The news that a member joined took so long that others joined after it: those that the store did not list together
    /// with it have not met it. `own`: a member that is together with it and not in the list.
    fn note_came_later(&mut self, seat: &Seat, listed: &[Seat], own: Option<MemberId>) {
        let is_listed =
            |member: MemberId| own == Some(member) || listed.iter().any(|seat| seat.member == member);
        let first = self
            .joins()
            .filter(|(member, join)| *join > seat.join && !is_listed(*member))
            .map(|(_, join)| join)
            .min();
        if let Some(remote) = self.remote(seat.member) {
            remote.unmet_from = first;
        }
    }

    /// A later list has a member again, so those up to the last one in the list have met it: the store had lost the seat,
    /// or the news were slow. `own`: join number of a member that is in the list as well.
    pub(super) fn note_met(&mut self, listed: &[Seat], own: Option<u64>) {
        let Some(last) = listed.iter().map(|seat| seat.join).chain(own).max() else {
            return;
        };
        let next = self
            .joins()
            .map(|(_, join)| join)
            .filter(|join| *join > last)
            .min();
        for remote in &mut self.remotes {
            let is_listed = listed.iter().any(|seat| seat.member == remote.member);
            if is_listed && remote.unmet_from.is_some_and(|first| first <= last) {
                remote.unmet_from = next;
            }
        }
    }

    /// Whether a list of members says otherwise than what is known here.
    fn contradicts(&self, members: &[Seat]) -> bool {
        let listed = |member: MemberId| members.iter().any(|seat| seat.member == member);
        let unknown = |seat: &Seat| seat.instance != self.own && self.join_of(seat.member).is_none();
        self.remotes.iter().any(|remote| !listed(remote.member))
            || self.locals.iter().any(|local| !listed(local.member))
            || members.iter().any(unknown)
    }
}
