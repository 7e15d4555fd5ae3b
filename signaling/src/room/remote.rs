//! What is heard from other instances and from the store.

use berth_dataplane::occupancy::{MemberId, Seat};
use smallvec::SmallVec;

use super::{
    Backlog, Departure, Effect, Effects, Loss, MOST_FORMER, Notice, PATIENCE, Remote, Room, Sent, View,
};

impl Room {
    /// Another instance says that a member joined it, or makes sure that it is known; `members` is everybody in the
    /// room as the store knew it.
    pub fn remote_joined(&mut self, seat: &Seat, members: &[Seat]) -> Effects {
        let mut effects = Effects::new();
        if seat.instance == self.own {
            return effects;
        }
        self.note(seat.member);
        self.note_met(members, None);
        if let Some(remote) = self.remote(seat.member) {
            remote.join = seat.join;
        } else {
            self.note_unmet(seat.join, members);
            self.add_remote(seat, &mut effects);
            self.note_came_later(seat, members, None);
        }
        self.route(&seat.instance).revive(&mut effects);
        self.flush_early(&mut effects);
        if self.contradicts(members) {
            self.ask(&mut effects);
        }
        effects
    }

    /// Another instance says that a member is gone.
    pub fn remote_left(&mut self, member: MemberId, departure: Departure) -> Effects {
        let mut effects = Effects::new();
        if self.local(member).is_some() {
            // Somebody took this instance for dead.
            self.ask(&mut effects);
            return effects;
        }
        self.note(member);
        self.remove_remote(member, departure, &mut effects);
        effects
    }

    /// Another instance relays a message of one of its members.
    pub fn remote_message(&mut self, sent: Sent) -> Effects {
        let mut effects = Effects::new();
        if self.remote(sent.from).is_some() {
            self.accept(&sent, &mut effects);
        } else if self.local(sent.from).is_none() {
            if !self.unsettled.get_or_insert_default().held.push(sent) {
                effects.push(Effect::Lost {
                    loss: Loss::Stranger,
                    messages: 1,
                });
            }
            self.ask(&mut effects);
        }
        effects
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
        self.settle();
        effects
    }

    /// Asks the store who sits here.
    pub(super) fn ask(&mut self, effects: &mut Effects) {
        effects.extend(self.unsettled.get_or_insert_default().ask().map(Effect::Ask));
    }

    /// Takes over what the store said at `view`, except for members that changed since. `own`: a member that has a seat as
    /// well and is not in the list. The caller flushes early messages.
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
            if seat.instance != self.own && self.remote(seat.member).is_none() {
                self.add_remote(seat, effects);
                self.note_came_later(seat, seats, own);
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

    /// Members of dead instances: those who are left hear of it here and, before anything else, elsewhere.
    pub(super) fn bury(&mut self, reaped: &[MemberId], effects: &mut Effects) {
        for member in reaped {
            self.note(*member);
            self.remove_remote(*member, Departure::Left, effects);
            for route in &self.routes {
                let notice = Notice::Left {
                    member: *member,
                    departure: Departure::Left,
                };
                effects.push(Effect::Publish {
                    to: route.instance.clone(),
                    notice,
                });
            }
        }
    }

    fn add_remote(&mut self, seat: &Seat, effects: &mut Effects) {
        let Seat {
            member,
            join,
            instance,
        } = seat.clone();
        self.route(&instance);
        let heard = self
            .former
            .iter()
            .find(|(former, _)| *former == member)
            .map_or(0, |(_, heard)| *heard);
        self.remotes.push(Remote {
            member,
            join,
            instance,
            heard,
            missing: None,
            unmet_from: None,
        });
        self.absent.clear();
        let held = self
            .unsettled
            .as_mut()
            .map(|unsettled| unsettled.held.take_from(member))
            .unwrap_or_default();
        for sent in held {
            self.accept(&sent, effects);
        }
    }

    fn remove_remote(&mut self, member: MemberId, departure: Departure, effects: &mut Effects) {
        let Some(index) = self.remotes.iter().position(|remote| remote.member == member) else {
            return;
        };
        let Remote {
            instance,
            heard,
            unmet_from,
            ..
        } = self.remotes.remove(index);
        self.former.retain(|(former, _)| *former != member);
        self.former.truncate(MOST_FORMER - 1);
        self.former.push_front((member, heard));
        if !self.remotes.iter().any(|remote| remote.instance == instance)
            && let Some(index) = self.routes.iter().position(|route| route.instance == instance)
        {
            let route = self.routes.remove(index);
            self.turn_early(route.into_waiting(), effects);
        }
        self.departed(member, departure, unmet_from, effects);
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

    /// Delivers a message of a known remote member.
    fn accept(&mut self, sent: &Sent, effects: &mut Effects) {
        let Some(remote) = self.remote(sent.from) else {
            return;
        };
        if sent.number <= remote.heard {
            effects.push(Effect::Lost {
                loss: Loss::Stale,
                messages: 1,
            });
            return;
        }
        remote.heard = sent.number;
        for local in &self.locals {
            effects.push(Effect::Deliver {
                to: local.member,
                text: sent.text.clone(),
            });
        }
        self.remember(sent);
    }

    /// The store has spoken: who is unknown now does not belong here.
    fn refuse_strangers(&mut self, effects: &mut Effects) {
        let Some(unsettled) = &mut self.unsettled else {
            return;
        };
        let messages = unsettled.held.len();
        if messages > 0 {
            unsettled.held = Backlog::default();
            effects.push(Effect::Lost {
                loss: Loss::Stranger,
                messages,
            });
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
