//! The store of seats: what its scripts do, when it answers, and what it forgets.

use super::*;

impl World {
    /// Executes one request of an instance.
    pub(super) fn execute(&mut self, server: usize, number: usize) {
        let requests = &mut self.servers[server].requests;
        let Some(index) = number.checked_rem(requests.len()) else {
            return;
        };
        if !self.servers[server].is_reachable() {
            return;
        }
        self.execute_at(server, index);
    }

    fn execute_at(&mut self, server: usize, index: usize) {
        let (room, request) = self.servers[server].requests.remove(index);
        if self.blank && matches!(request, Request::Join(..)) {
            // The instance waits and asks again.
            self.servers[server].requests.push((room, request));
            return;
        }
        let answer = self.run(server, room, request);
        self.servers[server].answers.push((room, answer));
    }

    /// The store executes a request or not, and the instance hears nothing of it.
    pub(super) fn time_out(&mut self, server: usize, number: usize, done: bool) {
        let requests = &mut self.servers[server].requests;
        let Some(index) = number.checked_rem(requests.len()) else {
            return;
        };
        let (room, request) = requests.remove(index);
        let done = done && self.servers[server].is_reachable();
        let answer = match &request {
            Request::Join(view, member) => Some(Answer::NoJoin(*view, *member)),
            Request::Assert(view, _) => Some(Answer::NoAssert(*view)),
            Request::Seats(view) => Some(Answer::NoSeats(*view)),
            // A seat is given back until the store took it.
            Request::Leave(member, departure, told) => {
                let again = Request::Leave(*member, *departure, told.clone());
                self.servers[server].requests.push((room, again));
                None
            }
        };
        self.late_assertion |= matches!(request, Request::Assert(..));
        let waits = self.blank && matches!(request, Request::Join(..));
        if done && !waits {
            self.run(server, room, request);
        }
        if let Some(answer) = answer {
            self.servers[server].answers.push((room, answer));
        }
    }

    fn run(&mut self, server: usize, room: usize, request: Request) -> Answer {
        let token = self.servers[server].token.clone();
        let answer = match request {
            Request::Join(view, member) => {
                let join = self.seat(room, member, token, None);
                if matches!(join, Join::Joined { .. }) {
                    self.came(room);
                    let sent: HashMap<MemberId, u64> = self
                        .members
                        .values()
                        .map(|member| (member.id, member.sent))
                        .collect();
                    if let Some(member) = self.members.get_mut(&member) {
                        member.before = sent;
                    }
                }
                Answer::Join(view, member, join)
            }
            Request::Assert(view, seat) => {
                let join = self.seat(room, seat.member, token, Some(seat.join));
                Answer::Assert(view, seat, join)
            }
            Request::Leave(member, departure, mut told) => {
                self.gave_back(server, room, member, departure);
                // Whatever else was under way for this member comes too late.
                self.gone.insert(member);
                self.store[room].1.retain(|seat| seat.member != member);
                told.extend(self.living(room).into_iter().map(|seat| seat.instance));
                Answer::Left(member, departure, told)
            }
            Request::Seats(view) => Answer::Seats(view, self.living(room)),
        };
        assert!(
            self.store[room].1.len() <= self.capacity,
            "more members than the room may have"
        );
        answer
    }

    fn seat(&mut self, room: usize, member: MemberId, instance: Instance, earlier: Option<u64>) -> Join {
        let lapsed = self.lapsed();
        let (_, seats) = &self.store[room];
        let living = seats
            .iter()
            .filter(|seat| seat.member != member && !lapsed.contains(&seat.instance));
        if living.count() >= self.capacity || self.gone.contains(&member) {
            return Join::Full;
        }
        let gone: Vec<Gone> = seats
            .iter()
            .filter(|seat| lapsed.contains(&seat.instance))
            .map(|seat| Gone {
                member: seat.member,
                instance: seat.instance.clone(),
            })
            .collect();
        for gone in &gone {
            self.taken_away(room, gone.member);
        }
        let (last, seats) = &mut self.store[room];
        seats.retain(|seat| gone.iter().all(|gone| gone.member != seat.member));
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
            reaped: gone,
            held: held.is_some(),
            moved_from: None,
            taken: 0,
        }
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

    /// The leases of those who cannot renew them end.
    pub(super) fn lapse(&mut self) {
        self.read_inboxes();
        for server in &mut self.servers {
            server.lapsed = !server.is_reachable();
        }
    }

    /// An instance that could not renew its lease does so again. The store was away for it, and maybe for others: those
    /// are believed for the length of another lease.
    pub(super) fn returned(&mut self, server: usize) {
        if self.servers[server].lapsed {
            for other in &mut self.servers {
                other.lapsed = false;
            }
        }
    }

    /// Instances whose lease has ended.
    fn lapsed(&self) -> Vec<Instance> {
        self.servers
            .iter()
            .filter(|server| server.lapsed)
            .map(|server| server.token.clone())
            .collect()
    }

    /// Seats whose instances live, as far as the store knows.
    fn living(&self, room: usize) -> Vec<Seat> {
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
        if !self.servers[server].is_reachable() {
            return;
        }
        let dead = self.lapsed();
        for room in 0..ROOMS {
            let gone: Vec<Seat> = self.store[room]
                .1
                .extract_if(.., |seat| dead.contains(&seat.instance))
                .collect();
            for seat in &gone {
                self.taken_away(room, seat.member);
            }
            let left: Vec<Instance> = self.store[room]
                .1
                .iter()
                .map(|seat| seat.instance.clone())
                .collect();
            for Seat { member, instance, .. } in gone {
                if !self.servers[server].rooms[room].is_deserted() {
                    let effects =
                        self.servers[server].rooms[room].remote_left(member, &instance, Departure::Left);
                    self.effects(server, room, effects);
                }
                self.farewell(server, room, member, &instance, Departure::Left, left.clone());
            }
        }
    }

    /// The store loses everything. Instances learn of it with the renewal of their leases.
    pub(super) fn flush(&mut self) {
        self.read_inboxes();
        self.flushed();
        for (_, seats) in &mut self.store {
            seats.clear();
        }
        self.blank = true;
        for server in 0..self.servers.len() {
            self.servers[server].lapsed = false;
            if self.servers[server].is_reachable() {
                self.reassert(server);
            }
        }
    }

    /// The time in which no new seats are given out is longer than all reachable instances need to assert theirs.
    pub(super) fn filled(&mut self) {
        self.assert_all();
        self.blank = false;
    }

    /// Lets every assertion of a reachable instance come to its end.
    pub(super) fn assert_all(&mut self) {
        for server in 0..self.servers.len() {
            if !self.servers[server].is_reachable() {
                continue;
            }
            loop {
                // A seat that was given before the flush is asserted when the answer is there.
                while !self.servers[server].answers.is_empty() {
                    self.take_answer(server, 0);
                }
                let is_assertion = |(_, request): &(usize, Request)| matches!(request, Request::Assert(..));
                let Some(index) = self.servers[server].requests.iter().position(is_assertion) else {
                    break;
                };
                self.execute_at(server, index);
            }
        }
    }
}
