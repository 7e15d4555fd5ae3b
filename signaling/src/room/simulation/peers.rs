//! What peers do, and the store.

use super::*;

impl World {
    pub(super) fn connect(&mut self, server: usize, room: usize) {
        if !self.servers[server].alive {
            return;
        }
        let id = MemberId(Uuid::from_u128(self.next));
        self.next += 1;
        let view = self.servers[server].rooms[room].enter();
        self.members.insert(
            id,
            Member {
                room,
                server,
                id,
                sent: 0,
                heard: HashMap::new(),
            },
        );
        self.servers[server]
            .requests
            .push((room, Request::Join(view, id)));
    }

    /// A member that has its seat.
    pub(super) fn pick(&self, number: usize) -> Option<MemberId> {
        let seated: Vec<MemberId> = self
            .members
            .values()
            .filter(|member| self.is_seated(member))
            .map(|member| member.id)
            .collect();
        seated.get(number.checked_rem(seated.len())?).copied()
    }

    pub(super) fn is_seated(&self, member: &Member) -> bool {
        self.servers[member.server].rooms[member.room]
            .locals()
            .any(|local| local == member.id)
    }

    pub(super) fn send(&mut self, number: usize) {
        let Some(id) = self.pick(number) else { return };
        let member = self.members.get_mut(&id).unwrap();
        member.sent += 1;
        let (server, room) = (member.server, member.room);
        let text = Text::from(format!("{room} {} {}", id.0.as_u128(), member.sent));
        let effects = self.servers[server].rooms[room].message(id, text);
        self.effects(server, room, effects);
    }

    pub(super) fn hangup(&mut self, number: usize, drained: bool) {
        let Some(id) = self.pick(number) else { return };
        let departure = if drained {
            Departure::Drained
        } else {
            Departure::Left
        };
        self.leave(id, departure);
    }

    pub(super) fn leave(&mut self, id: MemberId, departure: Departure) {
        let Member { server, room, .. } = self.members.remove(&id).unwrap();
        let (effects, told) = self.servers[server].rooms[room].leave(id, departure);
        self.effects(server, room, effects);
        self.servers[server]
            .requests
            .push((room, Request::Leave(id, departure, told.to_vec())));
    }

    pub(super) fn execute(&mut self, server: usize, number: usize) {
        let requests = &mut self.servers[server].requests;
        let Some(index) = number.checked_rem(requests.len()) else {
            return;
        };
        let (room, request) = requests.remove(index);
        let token = self.servers[server].token.clone();
        let answer = match request {
            Request::Join(view, member) => Answer::Join(view, member, self.seat(room, member, token, None)),
            Request::Assert(view, seat) => {
                let join = self.seat(room, seat.member, token, Some(seat.join));
                Answer::Assert(view, seat, join)
            }
            Request::Leave(member, departure, mut told) => {
                self.store[room].1.retain(|seat| seat.member != member);
                told.extend(self.living(room).into_iter().map(|seat| seat.instance));
                Answer::Left(member, departure, told)
            }
            Request::Seats(view) => Answer::Seats(view, self.living(room)),
        };
        self.servers[server].answers.push((room, answer));
        assert!(
            self.store[room].1.len() <= self.capacity,
            "more members than the room may have"
        );
    }

    pub(super) fn seat(
        &mut self,
        room: usize,
        member: MemberId,
        instance: Instance,
        earlier: Option<u64>,
    ) -> Join {
        let lapsed = self.lapsed();
        let (last, seats) = &mut self.store[room];
        let living = seats
            .iter()
            .filter(|seat| seat.member != member && !lapsed.contains(&seat.instance));
        if living.count() >= self.capacity {
            return Join::Full;
        }
        let reaped = seats
            .extract_if(.., |seat| lapsed.contains(&seat.instance))
            .map(|seat| Gone {
                member: seat.member,
                instance: seat.instance,
            })
            .collect();
        let others: Vec<Seat> = seats
            .iter()
            .filter(|seat| seat.member != member)
            .cloned()
            .collect();
        let held = seats
            .iter()
            .find(|seat| seat.member == member)
            .map(|seat| seat.join);
        let join = held.or(earlier).unwrap_or(*last + 1);
        *last = join.max(*last);
        if held.is_none() {
            seats.push(Seat::new(member, instance, join));
        }
        Join::Joined {
            join,
            others,
            reaped,
            held: held.is_some(),
            moved_from: None,
            taken: 0,
        }
    }

    pub(super) fn take_answer(&mut self, server: usize, number: usize) {
        let answers = &mut self.servers[server].answers;
        let Some(index) = number.checked_rem(answers.len()) else {
            return;
        };
        let (room, answer) = answers.remove(index);
        let state = &mut self.servers[server].rooms[room];
        let effects = match answer {
            Answer::Join(view, member, Join::Full) => {
                state.turned_away(view);
                self.members.remove(&member);
                Effects::new()
            }
            Answer::Join(
                view,
                member,
                Join::Joined {
                    join, others, reaped, ..
                },
            ) => state.seated(
                view,
                member,
                Speech::V1,
                Given {
                    join,
                    others: &others,
                    reaped: &reaped,
                    moved_from: None,
                    taken: 0,
                },
            ),
            Answer::Join(_, _, Join::Elsewhere) | Answer::Assert(_, _, Join::Elsewhere) => {
                panic!("no seat moves")
            }
            Answer::Assert(view, seat, Join::Full) => {
                state.not_asserted(view);
                if self.members.contains_key(&seat.member) {
                    self.leave(seat.member, Departure::Left);
                }
                Effects::new()
            }
            Answer::Assert(
                view,
                seat,
                Join::Joined {
                    join, others, reaped, ..
                },
            ) => {
                let given = Given {
                    join,
                    others: &others,
                    reaped: &reaped,
                    moved_from: None,
                    taken: 0,
                };
                let (effects, present) = state.asserted(view, seat.member, given);
                if !present {
                    self.servers[server]
                        .requests
                        .push((room, Request::Leave(seat.member, Departure::Left, Vec::new())));
                }
                effects
            }
            Answer::Left(member, departure, told) => {
                let own = self.servers[server].token.clone();
                self.farewell(server, room, member, &own, departure, told);
                Effects::new()
            }
            Answer::Seats(view, seats) => state.answer(view, Some(&seats)),
        };
        self.effects(server, room, effects);
    }
}
