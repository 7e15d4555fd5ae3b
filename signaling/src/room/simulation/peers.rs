//! What peers do, and what their instances do with the answers of the store.

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
                before: HashMap::new(),
                told: 0,
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
        self.hung_up(server, room, departure);
        let left = self.servers[server].rooms[room].leave(id, departure);
        let (effects, told) =
            left.map_or_else(Default::default, |(effects, parting)| (effects, parting.told));
        self.effects(server, room, effects);
        self.servers[server]
            .requests
            .push((room, Request::Leave(id, departure, told.to_vec())));
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
            Answer::NoSeats(view) => state.answer(view, None),
            Answer::NoAssert(view) => {
                state.assert_failed(view);
                Effects::new()
            }
            Answer::NoJoin(view, member) => {
                // The store may have given a seat, so it is given back.
                state.turned_away(view);
                self.members.remove(&member);
                self.servers[server]
                    .requests
                    .push((room, Request::Leave(member, Departure::Left, Vec::new())));
                Effects::new()
            }
        };
        self.effects(server, room, effects);
        self.check_sockets(room);
    }
}
