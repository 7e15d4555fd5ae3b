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
            let notice = Notice::Left {
                member,
                instance: instance.clone(),
                departure,
            };
            server.lane.push_back((room, to, notice));
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
        if !self.servers[server].alive || !self.servers[server].outcomes.is_empty() {
            return;
        }
        let timeout = if self.servers[server].cut {
            Some(false)
        } else {
            timeout
        };
        for _ in 0..most {
            let Some((room, to, notice)) = self.servers[server].lane.pop_front() else {
                return;
            };
            let target = self.find(&to);
            let listens = self.servers[target].alive && self.servers[target].subscribed;
            // Redis believes in the subscription of an instance that is cut off, until it notices.
            if listens && !self.servers[target].cut && timeout != Some(false) {
                let publisher = self.servers[server].token.short();
                self.servers[target]
                    .inbox
                    .push_back((room, publisher, notice.clone()));
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
                Outcome::Reached(room, to, sent) => {
                    (room, self.servers[server].rooms[room].published(&to, &sent))
                }
                Outcome::Unreached(room, to, sent, silent) => (
                    room,
                    self.servers[server].rooms[room].unreached(&to, vec![sent], silent),
                ),
            };
            self.effects(server, room, effects);
        }
    }

    pub(super) fn receive(&mut self, server: usize) {
        let Some((room, publisher, notice)) = self.servers[server].inbox.pop_front() else {
            return;
        };
        let state = &mut self.servers[server].rooms[room];
        if state.is_deserted() {
            return;
        }
        let effects = state.hear(notice, publisher);
        self.effects(server, room, effects);
    }

    pub(super) fn grace(&mut self, server: usize) {
        let Some((room, member)) = self.servers[server].graces.pop() else {
            return;
        };
        let effects = self.servers[server].rooms[room].grace_over(member);
        self.effects(server, room, effects);
    }

    /// The third of a lease has passed, so after three of them an assertion that can reach the store has reached it.
    pub(super) fn retry(&mut self, server: usize) {
        self.servers[server].retries += 1;
        if self.servers[server].retries.is_multiple_of(3) {
            self.assert_all();
        }
        for room in 0..ROOMS {
            let effects = self.servers[server].rooms[room].retry();
            self.effects(server, room, effects);
        }
    }

    pub(super) fn kill(&mut self, server: usize) {
        let alive = self.servers.iter().filter(|server| server.alive).count();
        if alive < 2 {
            return;
        }
        if !self.servers[server].alive {
            return;
        }
        self.killed(server);
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

    /// A new instance, under the name of one that died if there is one.
    pub(super) fn start(&mut self) {
        let alive = self.servers.iter().filter(|server| server.alive).count();
        if alive < MOST_SERVERS && self.servers.len() < 3 * MOST_SERVERS {
            let number = self
                .servers
                .iter()
                .position(|server| !server.alive)
                .unwrap_or(alive);
            let epoch = self.servers.len() as u64;
            self.servers.push(Server::new(number, epoch + 1));
        }
    }

    pub(super) fn cut(&mut self, server: usize) {
        if self.servers[server].is_reachable() {
            self.servers[server].cut = true;
            self.separated = true;
            self.cut_off(server);
        }
    }

    /// Both connections to Redis are made again, and the lease is renewed.
    pub(super) fn heal(&mut self, server: usize) {
        if !self.servers[server].cut {
            return;
        }
        self.servers[server].cut = false;
        self.returned(server);
        self.servers[server].subscribed = true;
        self.reassert(server);
    }

    pub(super) fn unsubscribe(&mut self, server: usize) {
        self.servers[server].subscribed = false;
        self.servers[server].inbox.clear();
    }

    pub(super) fn resubscribe(&mut self, server: usize) {
        if self.servers[server].is_reachable() && !self.servers[server].subscribed {
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
