//! Finding out who is whose, as the head of the module says.

use berth_dataplane::match_token::Role;
use berth_dataplane::occupancy::{RoomMember, RoomState, Who};

use super::{Change, Changes, Holder, Look, Reservation, Slots, is_host};

/// Somebody who may have come for a reservation.
struct Candidate {
    join: u64,
    known: bool,
    /// When it left, Unix ms; 0 while it is there.
    left_ms: u64,
}

impl Slots {
    pub(super) fn attribute(&mut self, room: &RoomState, look: &Look<'_>, changes: &mut Changes) {
        self.look_after_players(room, look);
        self.attribute_by_id(room, look, changes);
        for candidate in self.candidates(room, look, true) {
            self.attribute_next(&candidate, look, changes);
        }
        // With the host there, everybody else is a player.
        if self.find_host(room, look) {
            for candidate in self.candidates(room, look, false) {
                self.attribute_next(&candidate, look, changes);
            }
        } else {
            self.wait_for_visitors(room, look);
        }
    }

    /// While the host is away, who came and went without a word may be a player who comes again in time.
    fn wait_for_visitors(&mut self, room: &RoomState, look: &Look<'_>) {
        for visitor in room.departed.iter().filter(|one| one.who.role.is_none()) {
            if self.is_attributed(visitor.join) {
                continue;
            }
            let at_ms = left_ms(visitor.at_us / 1000, look);
            for one in &mut self.reservations {
                let in_time = one.is_open() && at_ms < one.end_ms(&look.terms);
                if !in_time || !one.may_be_of(visitor.join) {
                    continue;
                }
                if one.has_come() {
                    one.left_ms = one.left_ms.max(at_ms);
                } else {
                    one.deadline_ms = one.deadline_ms.max(at_ms.saturating_add(look.terms.hold_ms));
                }
            }
        }
    }

    /// Who came for a reservation earlier: whether it is still there, and is a player at all.
    fn look_after_players(&mut self, room: &RoomState, look: &Look<'_>) {
        for one in &mut self.reservations {
            let Holder::Player { join, known, .. } = &mut one.holder else {
                continue;
            };
            if let Some(member) = room.members.iter().find(|member| member.join == *join) {
                one.left_ms = 0;
                *known |= is_player(&member.who);
                if is_host(&member.who, look.host) {
                    one.reopen();
                }
            } else {
                let departed = room.departed.iter().find(|departed| departed.join == *join);
                *known |= departed.is_some_and(|departed| is_player(&departed.who));
                if one.left_ms == 0 {
                    one.left_ms = left_ms(departed.map_or(u64::MAX, |departed| departed.at_us / 1000), look);
                }
            }
        }
    }

    /// Who names the match by its token came for it and for no other.
    fn attribute_by_id(&mut self, room: &RoomState, look: &Look<'_>, changes: &mut Changes) {
        for index in 0..self.reservations.len() {
            let Some(one) = self.reservations.get(index) else {
                return;
            };
            let id = one.id.to_string();
            let names = |who: &Who| is_player(who) && who.id.as_deref() == Some(&*id);
            let mut members = room.members.iter().filter(|member| names(&member.who));
            let holder = one.join();
            let join = if members.clone().any(|member| Some(member.join) == holder) {
                continue;
            } else if let Some(member) = members.next() {
                member.join
            } else {
                let left = room.departed.iter().rfind(|departed| names(&departed.who));
                if let Some(left) = left.filter(|left| holder.is_none_or(|join| join < left.join)) {
                    let candidate = Candidate {
                        join: left.join,
                        known: true,
                        left_ms: left_ms(left.at_us / 1000, look),
                    };
                    self.take(index, &candidate, true, look, changes);
                }
                continue;
            };
            for other in &mut self.reservations {
                if other.join() == Some(join) {
                    other.reopen();
                }
            }
            let candidate = Candidate {
                join,
                known: true,
                left_ms: 0,
            };
            self.take(index, &candidate, true, look, changes);
        }
    }

    /// Whether the host is in its room; notes its seat.
    fn find_host(&mut self, room: &RoomState, look: &Look<'_>) -> bool {
        let now_ms = look.now_us / 1000;
        let by_role = room.members.iter().any(|member| is_host(&member.who, look.host));
        let unknown = |member: &&RoomMember| member.who.role.is_none() && !self.is_attributed(member.join);
        let mut unknown = room.members.iter().filter(unknown).map(|member| member.join);
        let first = unknown.clone().next();
        if by_role || !unknown.any(|join| join == self.marks.seat) {
            self.marks.seat = 0;
        }
        let mut doubt = 0;
        if !by_role
            && self.marks.seat == 0
            && let Some(join) = first
        {
            let may_be_player =
                |one: &Reservation| one.base < join && (one.is_open() || one.holder == Holder::Named);
            let in_doubt = join <= self.marks.floor || self.reservations.iter().any(may_be_player);
            let since = if self.marks.doubt == join {
                self.marks.doubt_ms
            } else {
                now_ms
            };
            if in_doubt && now_ms < since.saturating_add(look.terms.doubt_ms) {
                doubt = join;
                self.marks.doubt_ms = since;
            } else {
                self.marks.seat = join;
            }
        }
        self.marks.doubt = doubt;
        if doubt == 0 {
            self.marks.doubt_ms = 0;
        }
        let is_there = by_role || self.marks.seat > 0;
        if is_there {
            self.marks.floor = room.last;
            self.marks.absent_ms = 0;
        } else if self.marks.absent_ms == 0 {
            self.marks.absent_ms = now_ms;
        }
        is_there
    }

    /// Who may have come for a reservation without a token that says so, in the order of their coming: known players, or
    /// those that have not said what they are.
    fn candidates(&self, room: &RoomState, look: &Look<'_>, known: bool) -> Vec<Candidate> {
        let fits = |join: u64, who: &Who| {
            let fits = if known {
                is_player(who) && who.id.is_none()
            } else {
                who.role.is_none() && join != self.marks.seat
            };
            fits && !self.is_attributed(join)
        };
        let members = room.members.iter().filter(|one| fits(one.join, &one.who));
        let members = members.map(|one| (one.join, 0));
        let departed = room.departed.iter();
        let departed = departed.filter(|one| one.join > self.marks.taken && fits(one.join, &one.who));
        let departed = departed.map(|one| (one.join, left_ms(one.at_us / 1000, look)));
        let candidates = members.chain(departed);
        let candidates = candidates.map(|(join, left_ms)| Candidate { join, known, left_ms });
        let mut candidates: Vec<Candidate> = candidates.collect();
        candidates.sort_by_key(|candidate| candidate.join);
        candidates
    }

    /// Gives a candidate the reservation that ends first of those that it may have come for.
    fn attribute_next(&mut self, candidate: &Candidate, look: &Look<'_>, changes: &mut Changes) {
        let fitting = || {
            let all = self.reservations.iter().enumerate();
            all.filter(|(_, one)| one.may_be_of(candidate.join))
        };
        let best = fitting().min_by_key(|(_, one)| one.end_ms(&look.terms));
        let Some((index, one)) = best else { return };
        let clear = fitting().count() == 1 && one.is_clear();
        let latest_ms = fitting().map(|(_, one)| one.deadline_ms).max();
        self.take(index, candidate, clear, look, changes);
        if let (false, Some(one), Some(latest_ms)) = (clear, self.reservations.get_mut(index), latest_ms) {
            // The player of another one may be there in its place: then this is the one that is waited for, and as long.
            one.deadline_ms = latest_ms;
        }
        for other in &mut self.reservations {
            if other.holder == Holder::Nobody && other.base < candidate.join {
                other.holder = Holder::Unclear;
            }
        }
    }

    fn take(
        &mut self,
        index: usize,
        candidate: &Candidate,
        clear: bool,
        look: &Look<'_>,
        changes: &mut Changes,
    ) {
        let Some(one) = self.reservations.get_mut(index) else {
            return;
        };
        if one.joined_us == 0 {
            changes.push((one.id, Change::Joined));
        }
        one.holder = Holder::Player {
            join: candidate.join,
            // Once its player has shown what it is, whoever comes back need not do so again.
            known: candidate.known || matches!(one.holder, Holder::Player { known: true, .. }),
            clear,
        };
        one.joined_us = look.now_us;
        one.left_ms = candidate.left_ms;
        self.marks.taken = self.marks.taken.max(candidate.join);
    }

    fn is_attributed(&self, join: u64) -> bool {
        self.reservations.iter().any(|one| one.join() == Some(join))
    }
}

impl Reservation {
    /// Whether the player with this number may have come for it.
    fn may_be_of(&self, join: u64) -> bool {
        let open = self.is_open() || self.holder == Holder::Named;
        open && self.base.max(self.join().unwrap_or(0)) < join
    }

    /// Nobody who came for it may have been taken for somebody else's player, nor the other way round.
    fn is_clear(&self) -> bool {
        match self.holder {
            Holder::Nobody | Holder::Named => true,
            Holder::Unclear => false,
            Holder::Player { clear, .. } => clear,
        }
    }

    /// Nobody came for it after all.
    fn reopen(&mut self) {
        self.holder = Holder::Nobody;
        self.joined_us = 0;
        self.left_ms = 0;
    }
}

/// When somebody left as far as this look can tell, ms; never 0, which stands for not.
fn left_ms(at_ms: u64, look: &Look<'_>) -> u64 {
    at_ms.clamp(1, (look.now_us / 1000).max(1))
}

fn is_player(who: &Who) -> bool {
    who.role == Some(Role::Player)
}
