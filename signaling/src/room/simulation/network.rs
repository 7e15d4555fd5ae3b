//! What travels between instances, and what goes wrong.

use super::*;

impl World {
    pub(super) fn farewell(
        &mut self,
        server: usize,
        room: usize,
        member: MemberId,
        instance: &Instance,
        departure: Departure,
        mut told: Vec<Instance>,
    ) {
        told.sort();
        told.dedup();
        let server = &mut self.servers[server];
        for to in told.into_iter().filter(|to| *to != server.token) {
            server.lane.push_back((
                room,
                to,
                Notice::Left {
                    member,
                    instance: instance.clone(),
                    departure,
                },
            ));
        }
    }

    pub(super) fn find(&self, token: &Instance) -> usize {
        self.servers
            .iter()
            .position(|server| server.token == *token)
            .unwrap()
    }

    /// Publishes up to `most` notices; `timeout`: Redis did it or not, and did not answer.
    pub(super) fn publish(&mut self, server: usize, most: usize, timeout: Option<bool>) {
        // One batch is on its way at a time.
        if !self.servers[server].outcomes.is_empty() {
            return;
        }
        for _ in 0..most {
            let Some((room, to, notice)) = self.servers[server].lane.pop_front() else {
                return;
            };
            let target = self.find(&to);
            let listens = self.servers[target].alive && self.servers[target].subscribed;
            if listens && timeout != Some(false) {
                self.servers[target].inbox.push_back((room, notice.clone()));
            }
            let failed = timeout.is_some();
            let outcome = match notice {
                Notice::Message(sent) if failed || !listens => Outcome::Unreached(room, to, sent, !failed),
                Notice::Message(sent) => Outcome::Reached(room, to, sent),
                // What is no message is published again until Redis took it.
                notice if failed => {
                    self.servers[server].lane.push_front((room, to, notice));
                    return;
                }
                _ => continue,
            };
            self.servers[server].outcomes.push_back(outcome);
        }
    }

    pub(super) fn outcome(&mut self, server: usize) {
        while let Some(outcome) = self.servers[server].outcomes.pop_front() {
            let (room, effects) = match outcome {
                Outcome::Reached(room, to, sent) => (
                    room,
                    self.servers[server].rooms[room].published(&to, sent.from, sent.number),
                ),
                Outcome::Unreached(room, to, sent, silent) => (
                    room,
                    self.servers[server].rooms[room].unreached(&to, vec![sent], silent),
                ),
            };
            self.effects(server, room, effects);
        }
    }

    pub(super) fn receive(&mut self, server: usize) {
        let Some((room, notice)) = self.servers[server].inbox.pop_front() else {
            return;
        };
        let state = &mut self.servers[server].rooms[room];
        if state.is_deserted() {
            return;
        }
        let effects = match notice {
            Notice::Message(sent) => state.remote_message(sent),
            Notice::Joined {
                seat,
                members,
                resume,
            } => state.remote_joined(&seat, &members, resume.as_ref()),
            Notice::Left {
                member,
                instance,
                departure,
            } => state.remote_left(member, &instance, departure),
            Notice::Replay { to, from, messages } => state.replayed(to, from, &messages),
        };
        self.effects(server, room, effects);
    }

    pub(super) fn grace(&mut self, server: usize) {
        let Some((room, member)) = self.servers[server].graces.pop() else {
            return;
        };
        let effects = self.servers[server].rooms[room].grace_over(member);
        self.effects(server, room, effects);
    }

    pub(super) fn kill(&mut self, server: usize) {
        let alive = self.servers.iter().filter(|server| server.alive).count();
        if alive < 2 {
            return;
        }
        let dead = &mut self.servers[server];
        dead.alive = false;
        dead.lane.clear();
        dead.outcomes.clear();
        dead.inbox.clear();
        dead.requests.clear();
        dead.answers.clear();
        dead.rooms = (0..ROOMS).map(|_| Room::new(dead.token.clone())).collect();
        self.members.retain(|_, member| member.server != server);
    }

    /// Everything that was published is read. What a dead instance said is not heard after its seats are gone: a lease is
    /// longer than any delivery.
    pub(super) fn read_inboxes(&mut self) {
        for server in 0..self.servers.len() {
            while !self.servers[server].inbox.is_empty() {
                self.receive(server);
            }
        }
    }

    /// The leases of the dead end.
    pub(super) fn lapse(&mut self) {
        self.read_inboxes();
        for server in &mut self.servers {
            server.lapsed = !server.alive;
        }
    }

    /// Dead instances whose lease has ended.
    pub(super) fn lapsed(&self) -> Vec<Instance> {
        self.servers
            .iter()
            .filter(|server| server.lapsed)
            .map(|server| server.token.clone())
            .collect()
    }

    /// Seats whose instances live, as far as the store knows.
    pub(super) fn living(&self, room: usize) -> Vec<Seat> {
        let lapsed = self.lapsed();
        self.store[room]
            .1
            .iter()
            .filter(|seat| !lapsed.contains(&seat.instance))
            .cloned()
            .collect()
    }

    /// `server` renews its lease and takes the seats of the dead away.
    pub(super) fn reap(&mut self, server: usize) {
        if !self.servers[server].alive {
            return;
        }
        let dead = self.lapsed();
        for room in 0..ROOMS {
            let gone: Vec<Seat> = self.store[room]
                .1
                .extract_if(.., |seat| dead.contains(&seat.instance))
                .collect();
            let left: Vec<Instance> = self.store[room]
                .1
                .iter()
                .map(|seat| seat.instance.clone())
                .collect();
            for seat in gone {
                if !self.servers[server].rooms[room].is_deserted() {
                    let effects = self.servers[server].rooms[room].remote_left(
                        seat.member,
                        &seat.instance,
                        Departure::Left,
                    );
                    self.effects(server, room, effects);
                }
                self.farewell(
                    server,
                    room,
                    seat.member,
                    &seat.instance,
                    Departure::Left,
                    left.clone(),
                );
            }
        }
    }

    pub(super) fn resubscribe(&mut self, server: usize) {
        if self.servers[server].alive && !self.servers[server].subscribed {
            self.servers[server].subscribed = true;
            self.reassert(server);
        }
    }

    pub(super) fn reassert(&mut self, server: usize) {
        for room in 0..ROOMS {
            let effects = self.servers[server].rooms[room].reassert();
            self.effects(server, room, effects);
        }
    }

    pub(super) fn assert_seat(&mut self, server: usize, room: usize, member: MemberId) {
        let state = &mut self.servers[server].rooms[room];
        let Some(seat) = state.seat(member) else { return };
        let view = state.asserting();
        self.servers[server]
            .requests
            .push((room, Request::Assert(view, seat)));
    }
}
