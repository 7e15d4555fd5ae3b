//! Which departures a member must hear of, and which it may: a browser that is told so gives up, so a departure that
//! never was is as bad as one that is not told.
//!
//! A member is told of those who were in the room together with it. Who was on its way in or out at that moment may hear
//! of it or not.

use super::*;

#[derive(Default)]
pub(super) struct Departures {
    must: HashMap<MemberId, usize>,
    may: HashMap<MemberId, usize>,
    /// Members of dead instances, and who may hear of them: once, whoever finds out.
    dead: HashSet<MemberId>,
    mourners: HashSet<(MemberId, MemberId)>,
    /// Who must hear of a drained member if nobody comes in its place: room and hearer.
    drained: Vec<(usize, MemberId)>,
}

impl World {
    fn hearers(&self, room: usize, except: MemberId) -> Vec<(MemberId, usize, bool)> {
        self.members
            .values()
            .filter(|member| member.room == room && member.id != except)
            .map(|member| (member.id, member.server, self.is_seated(member)))
            .collect()
    }

    /// A member left its socket: those on the same instance hear of it at once.
    pub(super) fn hung_up(&mut self, server: usize, room: usize, departure: Departure) {
        for (hearer, at, seated) in self.hearers(room, MemberId(Uuid::nil())) {
            if at == server && seated {
                self.departures.note(room, hearer, departure);
            }
        }
    }

    /// A seat is given back: other instances hear of it.
    pub(super) fn gave_back(&mut self, server: usize, room: usize, member: MemberId, departure: Departure) {
        let had_seat = self.store[room].1.iter().any(|seat| seat.member == member);
        for (hearer, at, seated) in self.hearers(room, member) {
            if at == server {
                continue;
            }
            let sits = self.store[room].1.iter().any(|seat| seat.member == hearer);
            if had_seat && seated {
                self.departures.note(room, hearer, departure);
            } else if sits || !had_seat {
                *self.departures.may.entry(hearer).or_default() += 1;
            }
        }
    }

    /// The seat of a member was taken away, because its instance is dead or cut off.
    pub(super) fn taken_away(&mut self, room: usize, member: MemberId) {
        for (hearer, ..) in self.hearers(room, member) {
            self.departures.lost(member, hearer);
        }
    }

    /// All members of an instance are gone, and somebody will find out.
    pub(super) fn killed(&mut self, server: usize) {
        let members: Vec<(MemberId, usize)> = self
            .members
            .values()
            .filter(|member| member.server == server)
            .map(|member| (member.id, member.room))
            .collect();
        // Seats that it had still to give back end with it.
        let requests = &self.servers[server].requests;
        let owed = requests.iter().filter_map(|(room, request)| match request {
            Request::Leave(member, ..) => Some((*member, *room)),
            _ => None,
        });
        let owed: Vec<_> = owed.collect();
        for (member, room) in members.into_iter().chain(owed) {
            self.departures.dead.insert(member);
            self.taken_away(room, member);
        }
    }

    /// An instance that is cut off cannot assert the seats that the store has lost.
    pub(super) fn cut_off(&mut self, server: usize) {
        let unknown: Vec<(MemberId, usize)> = self
            .members
            .values()
            .filter(|member| member.server == server)
            .filter(|member| {
                !self.store[member.room]
                    .1
                    .iter()
                    .any(|seat| seat.member == member.id)
            })
            .map(|member| (member.id, member.room))
            .collect();
        for (member, room) in unknown {
            self.taken_away(room, member);
        }
    }

    /// The store lost its seats: those of the dead and of those that are cut off are not asserted.
    pub(super) fn flushed(&mut self) {
        let lost: Vec<(usize, MemberId)> = (0..ROOMS)
            .flat_map(|room| self.store[room].1.iter().map(move |seat| (room, seat.clone())))
            .filter(|(_, seat)| !self.servers[self.find(&seat.instance)].is_reachable())
            .map(|(room, seat)| (room, seat.member))
            .collect();
        for (room, member) in lost {
            self.taken_away(room, member);
        }
    }

    /// Somebody came into the room, maybe in the place of a drained member.
    pub(super) fn came(&mut self, room: usize) {
        let Departures { drained, may, .. } = &mut self.departures;
        for (_, hearer) in drained.extract_if(.., |(of, _)| *of == room) {
            *may.entry(hearer).or_default() += 1;
        }
    }

    /// At rest, nobody was told of more departures than there were, and (`complete`: without faults) of no fewer.
    pub(super) fn check_departures(&self, complete: bool) {
        let Departures {
            must, may, drained, ..
        } = &self.departures;
        for member in self.members.values() {
            let replaced = drained.iter().filter(|(_, hearer)| *hearer == member.id).count();
            let least = must.get(&member.id).copied().unwrap_or(0);
            let most = least + replaced + may.get(&member.id).copied().unwrap_or(0);
            // In a larger room, who comes meanwhile may be told of before the departure, and count as its replacement.
            let least = least + if self.capacity == 2 { replaced } else { 0 };
            if complete {
                assert!(
                    member.told >= least,
                    "{:?} was told of {} departures, not of {least}",
                    member.id,
                    member.told
                );
            }
            // Four retries are longer than a lease, unless assertions fail meanwhile.
            assert!(
                member.told <= most || self.late_assertion,
                "{:?} was told of {} departures, not of {most}",
                member.id,
                member.told
            );
        }
    }
}

impl Departures {
    fn note(&mut self, room: usize, hearer: MemberId, departure: Departure) {
        match departure {
            Departure::Left => *self.must.entry(hearer).or_default() += 1,
            Departure::Drained => self.drained.push((room, hearer)),
            Departure::Away(_) => {}
        }
    }

    fn lost(&mut self, member: MemberId, hearer: MemberId) {
        if !self.dead.contains(&member) || self.mourners.insert((member, hearer)) {
            *self.may.entry(hearer).or_default() += 1;
        }
    }
}
