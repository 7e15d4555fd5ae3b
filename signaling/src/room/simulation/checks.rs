//! Effects carried out, and everything that must hold.

use super::*;

impl World {
    /// Carries effects out and checks them.
    pub(super) fn effects(&mut self, server: usize, room: usize, effects: Effects) {
        for effect in effects {
            match effect {
                Effect::Deliver { to, text } => self.deliver(server, room, to, &text),
                Effect::Tell { .. } | Effect::Replaced(_) | Effect::Window { .. } => {
                    panic!("{effect:?}: nobody speaks v2")
                }
                Effect::PeerDisconnected { to } => {
                    assert!(
                        self.servers[server].rooms[room].locals().any(|local| local == to),
                        "told to a stranger"
                    );
                    self.members.get_mut(&to).expect("a member").told += 1;
                }
                Effect::Publish { to, notice } => {
                    assert_ne!(to, self.servers[server].token, "published to itself");
                    self.servers[server].lane.push_back((room, to, notice));
                }
                Effect::Ask(view) => self.servers[server].requests.push((room, Request::Seats(view))),
                Effect::Assert(member) => self.assert_seat(server, room, member),
                Effect::Grace(member) => self.servers[server].graces.push((room, member)),
                Effect::Lost { messages, .. } => assert!(messages > 0),
            }
        }
    }

    pub(super) fn deliver(&mut self, server: usize, room: usize, to: MemberId, text: &str) {
        let parts: Vec<u128> = text.split(' ').map(|part| part.parse().unwrap()).collect();
        let [in_room, from, number] = parts[..] else {
            panic!("{text}")
        };
        assert_eq!(in_room, room as u128, "delivered across rooms");
        let from = MemberId(Uuid::from_u128(from));
        assert_ne!(from, to, "delivered to its sender");
        let member = self
            .members
            .get_mut(&to)
            .expect("delivered to a socket that is gone");
        assert_eq!((member.server, member.room), (server, room));
        let heard = member.heard.entry(from).or_default();
        let number = u64::try_from(number).unwrap();
        assert!(
            heard.last().is_none_or(|last| *last < number),
            "{heard:?} then {number}: out of order or twice"
        );
        heard.push(number);
    }

    /// No more sockets than the room may have; an instance that was cut off keeps those whose seats others took.
    pub(super) fn check_sockets(&self, room: usize) {
        let members = self.members.values();
        let seated = members
            .filter(|member| member.room == room && self.is_seated(member))
            .count();
        assert!(
            seated <= self.capacity || self.separated || self.late_assertion,
            "{seated} sockets in a room for {}",
            self.capacity
        );
    }

    /// Lets everything that is under way come to its end.
    pub(super) fn settle(&mut self) {
        for server in 0..self.servers.len() {
            self.heal(server);
            self.resubscribe(server);
        }
        self.filled();
        self.step(Step::Lapse);
        let mut retries = 0;
        for _ in 0..4000 {
            let mut busy = false;
            for server in 0..self.servers.len() {
                let state = &self.servers[server];
                busy |= !(state.requests.is_empty() && state.answers.is_empty() && state.lane.is_empty());
                busy |= !(state.inbox.is_empty() && state.outcomes.is_empty() && state.graces.is_empty());
                for step in [
                    Step::Store(server, 0),
                    Step::Answer(server, 0),
                    Step::Publish(server, 3),
                    Step::Outcome(server),
                    Step::Receive(server),
                    Step::Grace(server),
                ] {
                    self.step(step);
                }
            }
            if busy {
                continue;
            }
            if retries > 2 * usize::from(PATIENCE) {
                return;
            }
            retries += 1;
            if retries == 2 {
                for server in 0..self.servers.len() {
                    self.reassert(server);
                }
            }
            for server in 0..self.servers.len() {
                self.step(Step::Reap(server));
                self.step(Step::Retry(server));
            }
        }
        panic!("does not come to rest");
    }

    /// At rest, what the rooms know is what the store says, and who sits together hears each other.
    pub(super) fn check_rest(&mut self) {
        for member in self.members.values() {
            let seats = &self.store[member.room].1;
            assert!(
                seats.iter().any(|seat| seat.member == member.id),
                "{:?} has no seat",
                member.id
            );
        }
        for room in 0..ROOMS {
            for seat in self.store[room].1.clone() {
                let server = self.find(&seat.instance);
                let state = &self.servers[server].rooms[room];
                let mut known: Vec<MemberId> = state
                    .locals()
                    .chain(state.remotes.iter().map(|remote| remote.member))
                    .collect();
                known.sort();
                let mut seated: Vec<MemberId> = self.store[room].1.iter().map(|seat| seat.member).collect();
                seated.sort();
                assert_eq!(known, seated, "room {room} as {} sees it", seat.instance);
                assert!(state.unsettled.is_none(), "{:?}", state.unsettled);
                assert!(state.early() == 0 || seated.len() == 1);
            }
        }
    }

    /// When everybody has left, nothing is left of it.
    pub(super) fn check_emptied(&mut self) {
        while let Some(id) = self.members.keys().next().copied() {
            self.leave(id, Departure::Left);
        }
        self.settle();
        for room in 0..ROOMS {
            assert!(
                self.store[room].1.is_empty(),
                "seats without members: {:?}",
                self.store[room].1
            );
            for server in self.servers.iter().filter(|server| server.alive) {
                let room = &server.rooms[room];
                assert!(
                    room.is_deserted() && room.early() == 0 && room.unsettled.is_none(),
                    "{room:?}"
                );
            }
        }
    }

    /// Each member sends once more; everybody else in its room must hear exactly that.
    pub(super) fn check_conversation(&mut self) {
        let ids: Vec<MemberId> = self.members.keys().copied().collect();
        for number in 0..ids.len() {
            self.send(number);
        }
        self.settle();
        for id in &ids {
            let member = &self.members[id];
            for other in self
                .members
                .values()
                .filter(|other| other.room == member.room && other.id != *id)
            {
                assert_eq!(
                    other.heard.get(id).and_then(|heard| heard.last()),
                    Some(&member.sent),
                    "{id:?} to {:?}",
                    other.id
                );
            }
        }
    }

    /// Without faults nothing is missing. Who came later has been heard from its first message on. In a room of two the
    /// earlier one has been heard from the first one on if it was always alone. If it was not, what it said to those who
    /// were there before may be heard or not, and what it said since has been heard without a gap to the last message.
    pub(super) fn check_complete(&self) {
        for room in 0..ROOMS {
            let seats = &self.store[room].1;
            for (from, to) in seats
                .iter()
                .flat_map(|from| seats.iter().map(move |to| (from, to)))
            {
                if from.member == to.member {
                    continue;
                }
                let sent = self.members[&from.member].sent;
                let empty = Vec::new();
                let hearer = &self.members[&to.member];
                let mut heard = hearer.heard.get(&from.member).unwrap_or(&empty).clone();
                let mut first = 1;
                if from.join < to.join && (from.join > 1 || self.store[room].0 > 2) {
                    if self.capacity > 2 {
                        continue;
                    }
                    let before = hearer.before.get(&from.member).copied().unwrap_or(0);
                    heard.retain(|number| *number > before);
                    first = heard.first().copied().unwrap_or(sent + 1);
                }
                assert_eq!(heard, (first..=sent).collect::<Vec<_>>(), "{from:?} to {to:?}");
            }
        }
    }
}
