//! A whole cluster as plain data: store, instances, lanes and inboxes, driven by a list of random steps. Every
//! effect of every room passes [`World::effects`], which checks what must always hold.
//!
//! What is modelled of the world outside: the store answers late, in any order, or not at all (done or not); notices
//! are lost with a subscription, or vanish although Redis counted a receiver; instances die, start, and are cut off for
//! longer than their lease while their sockets stay; the store loses everything.

mod checks;
mod departures;
mod network;
mod peers;
mod store;

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use berth_dataplane::occupancy::{Instance, Join, MemberId, Seat};
use proptest::prelude::*;
use uuid::Uuid;

use super::*;

const ROOMS: usize = 2;
/// Most instances that live at a time.
const MOST_SERVERS: usize = 4;

/// One step; the numbers choose among what is there.
#[derive(Clone, Copy, Debug)]
enum Step {
    Connect(usize, usize),
    Send(usize),
    Hangup(usize, bool),
    /// The store executes one request of an instance.
    Store(usize, usize),
    /// An instance takes one answer of the store.
    Answer(usize, usize),
    /// The lane of an instance publishes up to so many notices.
    Publish(usize, usize),
    /// The lane hears what became of them.
    Outcome(usize),
    Receive(usize),
    Grace(usize),
    Retry(usize),
    // Faults.
    Kill(usize),
    /// A new instance, or one that died comes back with a new epoch.
    Start,
    /// The leases of the dead, and of those that are cut off, end.
    Lapse,
    Reap(usize),
    /// An instance asserts its seats, as it does from time to time.
    Reassert(usize),
    Unsubscribe(usize),
    Resubscribe(usize),
    /// Redis drops the next notice of an inbox although it told its sender of a receiver.
    Vanish(usize),
    /// Publishes, and Redis times out: done or not, the lane does not know.
    TimeOut(usize, bool),
    /// The store executes a request or not, and does not answer.
    StoreTimeOut(usize, usize, bool),
    /// The way between an instance and Redis is cut; its sockets stay.
    Cut(usize),
    Heal(usize),
    Flush,
    /// The store, empty since a flush, gives out seats again.
    Filled,
}

#[derive(Debug)]
enum Request {
    Join(View, MemberId),
    Leave(MemberId, Departure, Vec<Instance>),
    Assert(View, Seat),
    Seats(View),
}

#[derive(Debug)]
enum Answer {
    Join(View, MemberId, Join),
    Left(MemberId, Departure, Vec<Instance>),
    Assert(View, Seat, Join),
    Seats(View, Vec<Seat>),
    /// The store did not answer.
    NoJoin(View, MemberId),
    NoAssert(View),
    NoSeats(View),
}

enum Outcome {
    Reached(usize, Instance, Sent),
    Unreached(usize, Instance, Sent, bool),
}

#[expect(clippy::struct_excessive_bools, reason = "each step changes one of them")]
struct Server {
    token: Instance,
    alive: bool,
    /// Cannot reach Redis, nor Redis it.
    cut: bool,
    /// Dead or cut off for longer than its lease.
    lapsed: bool,
    subscribed: bool,
    rooms: Vec<Room>,
    requests: Vec<(usize, Request)>,
    answers: Vec<(usize, Answer)>,
    lane: VecDeque<(usize, Instance, Notice)>,
    outcomes: VecDeque<Outcome>,
    inbox: VecDeque<(usize, u64, Notice)>,
    graces: Vec<(usize, MemberId)>,
    retries: u32,
}

struct Member {
    room: usize,
    server: usize,
    id: MemberId,
    sent: u64,
    /// Numbers heard of each other member.
    heard: HashMap<MemberId, Vec<u64>>,
    /// How many messages the others had sent when it got its seat. They were for those who were there then.
    before: HashMap<MemberId, u64>,
    /// How many departures it was told of.
    told: usize,
}

struct World {
    capacity: usize,
    /// Last join number and seats of each room.
    store: Vec<(u64, Vec<Seat>)>,
    /// Members that gave their seats back for good.
    gone: HashSet<MemberId>,
    /// The store lost everything, and no new seats are given out until those who sit have asserted theirs.
    blank: bool,
    servers: Vec<Server>,
    members: BTreeMap<MemberId, Member>,
    departures: departures::Departures,
    /// Some instance was cut off or lost its lease: its sockets may be more than the store knows.
    separated: bool,
    /// An assertion was not answered: it comes at another time than it should.
    late_assertion: bool,
    next: u128,
}

impl Server {
    fn new(number: usize, epoch: u64) -> Self {
        let token = Instance::new(&format!("i{number}"), epoch);
        Self {
            rooms: (0..ROOMS).map(|_| Room::new(token.clone())).collect(),
            token,
            alive: true,
            cut: false,
            lapsed: false,
            subscribed: true,
            requests: Vec::new(),
            answers: Vec::new(),
            lane: VecDeque::new(),
            outcomes: VecDeque::new(),
            inbox: VecDeque::new(),
            graces: Vec::new(),
            retries: 0,
        }
    }

    /// Redis hears it, and it hears Redis.
    fn is_reachable(&self) -> bool {
        self.alive && !self.cut
    }
}

impl World {
    fn new(servers: usize, capacity: usize) -> Self {
        Self {
            capacity,
            store: vec![(0, Vec::new()); ROOMS],
            gone: HashSet::new(),
            blank: false,
            servers: (0..servers).map(|number| Server::new(number, 1)).collect(),
            members: BTreeMap::new(),
            departures: departures::Departures::default(),
            separated: false,
            late_assertion: false,
            next: 1,
        }
    }

    /// What is left once these steps are done and everything under way has arrived.
    fn at_rest(servers: usize, capacity: usize, steps: Vec<Step>) -> Self {
        let mut world = Self::new(servers, capacity);
        for step in steps {
            world.step(step);
        }
        world.settle();
        world.check_rest();
        world
    }

    fn step(&mut self, step: Step) {
        let count = self.servers.len();
        match step {
            Step::Connect(server, room) => self.connect(server % count, room % ROOMS),
            Step::Send(member) => self.send(member),
            Step::Hangup(member, drained) => self.hangup(member, drained),
            Step::Store(server, request) => self.execute(server % count, request),
            Step::Answer(server, answer) => self.take_answer(server % count, answer),
            Step::Publish(server, most) => self.publish(server % count, most % 4 + 1, None),
            Step::Outcome(server) => self.outcome(server % count),
            Step::Receive(server) => self.receive(server % count),
            Step::Grace(server) => self.grace(server % count),
            Step::Retry(server) => self.retry(server % count),
            Step::Kill(server) => self.kill(server % count),
            Step::Start => self.start(),
            Step::Lapse => self.lapse(),
            Step::Reap(server) => self.reap(server % count),
            Step::Reassert(server) if self.servers[server % count].is_reachable() => {
                self.reassert(server % count);
            }
            Step::Reassert(_) => {}
            Step::Unsubscribe(server) => self.unsubscribe(server % count),
            Step::Resubscribe(server) => self.resubscribe(server % count),
            Step::Vanish(server) => {
                self.servers[server % count].inbox.pop_front();
            }
            Step::TimeOut(server, done) => self.publish(server % count, 1, Some(done)),
            Step::StoreTimeOut(server, request, done) => self.time_out(server % count, request, done),
            Step::Cut(server) => self.cut(server % count),
            Step::Heal(server) => self.heal(server % count),
            Step::Flush => self.flush(),
            Step::Filled => self.filled(),
        }
    }
}

fn calm() -> impl Strategy<Value = Step> {
    let n = 0usize..24;
    prop_oneof![
        2 => (n.clone(), n.clone()).prop_map(|(a, b)| Step::Connect(a, b)),
        6 => n.clone().prop_map(Step::Send),
        1 => (n.clone(), any::<bool>()).prop_map(|(a, drained)| Step::Hangup(a, drained)),
        4 => (n.clone(), n.clone()).prop_map(|(a, b)| Step::Store(a, b)),
        4 => (n.clone(), n.clone()).prop_map(|(a, b)| Step::Answer(a, b)),
        4 => (n.clone(), n.clone()).prop_map(|(a, b)| Step::Publish(a, b)),
        4 => n.clone().prop_map(Step::Outcome),
        6 => n.clone().prop_map(Step::Receive),
        1 => n.clone().prop_map(Step::Grace),
        1 => n.prop_map(Step::Retry),
    ]
}

/// Seats are asserted at any time, which changes nothing.
fn asserting() -> impl Strategy<Value = Step> {
    prop_oneof![20 => calm(), 1 => (0usize..24).prop_map(Step::Reassert)]
}

fn stormy() -> impl Strategy<Value = Step> {
    let n = 0usize..24;
    prop_oneof![
        40 => calm(),
        1 => n.clone().prop_map(Step::Kill),
        1 => Just(Step::Start),
        1 => Just(Step::Lapse),
        2 => n.clone().prop_map(Step::Reap),
        1 => n.clone().prop_map(Step::Unsubscribe),
        2 => n.clone().prop_map(Step::Resubscribe),
        1 => n.clone().prop_map(Step::Vanish),
        2 => (n.clone(), any::<bool>()).prop_map(|(a, done)| Step::TimeOut(a, done)),
        2 => (n.clone(), n.clone(), any::<bool>()).prop_map(|(a, b, done)| Step::StoreTimeOut(a, b, done)),
        1 => n.clone().prop_map(Step::Cut),
        2 => n.prop_map(Step::Heal),
        1 => Just(Step::Flush),
        1 => Just(Step::Filled),
    ]
}

proptest! {
    #[test]
    fn nothing_is_missing_without_faults(
        servers in 1usize..=4,
        capacity in 1usize..=4,
        steps in prop::collection::vec(calm(), 1..200),
    ) {
        let mut world = World::at_rest(servers, capacity, steps);
        world.check_complete();
        world.check_departures(true);
        world.check_conversation();
    }

    #[test]
    fn nothing_is_missing_while_seats_are_asserted(
        servers in 1usize..=4,
        capacity in 1usize..=4,
        steps in prop::collection::vec(asserting(), 1..200),
    ) {
        let mut world = World::at_rest(servers, capacity, steps);
        world.check_complete();
        // A seat that is asserted while it is given back may be told of twice or not at all.
        world.check_departures(false);
        world.check_conversation();
    }

    #[test]
    fn faults_break_no_rule_and_leave_no_trace(
        servers in 1usize..=4,
        capacity in 1usize..=4,
        steps in prop::collection::vec(stormy(), 1..250),
    ) {
        let mut world = World::at_rest(servers, capacity, steps);
        world.check_departures(false);
        world.check_conversation();
        world.check_emptied();
    }
}
