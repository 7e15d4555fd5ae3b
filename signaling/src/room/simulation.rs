//! A whole cluster as plain data: store, instances, lanes and inboxes, driven by a list of random steps. Every
//! effect of every room passes [`World::effects`], which checks what must always hold.

mod checks;
mod network;
mod peers;

use std::collections::{BTreeMap, HashMap, VecDeque};

use berth_dataplane::occupancy::{Instance, Join, MemberId, Seat};
use proptest::prelude::*;
use uuid::Uuid;

use super::*;

const ROOMS: usize = 2;

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
    /// The leases of the dead end.
    Lapse,
    Reap(usize),
    Unsubscribe(usize),
    Resubscribe(usize),
    /// Publishes, and Redis times out: done or not, the lane does not know.
    TimeOut(usize, bool),
    Flush,
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
}

enum Outcome {
    Reached(usize, Instance, Sent),
    Unreached(usize, Instance, Sent, bool),
}

struct Server {
    token: Instance,
    alive: bool,
    /// Dead for longer than its lease.
    lapsed: bool,
    subscribed: bool,
    rooms: Vec<Room>,
    requests: Vec<(usize, Request)>,
    answers: Vec<(usize, Answer)>,
    lane: VecDeque<(usize, Instance, Notice)>,
    outcomes: VecDeque<Outcome>,
    inbox: VecDeque<(usize, Notice)>,
    graces: Vec<(usize, MemberId)>,
}

struct Member {
    room: usize,
    server: usize,
    id: MemberId,
    sent: u64,
    /// Last number heard of each other member.
    heard: HashMap<MemberId, Vec<u64>>,
}

struct World {
    capacity: usize,
    store: Vec<(u64, Vec<Seat>)>,
    servers: Vec<Server>,
    members: BTreeMap<MemberId, Member>,
    next: u128,
}

impl World {
    fn new(servers: usize, capacity: usize) -> Self {
        let servers = (0..servers).map(|number| {
            let token = Instance::new(&format!("i{number}"), 1);
            Server {
                rooms: (0..ROOMS).map(|_| Room::new(token.clone())).collect(),
                token,
                alive: true,
                lapsed: false,
                subscribed: true,
                requests: Vec::new(),
                answers: Vec::new(),
                lane: VecDeque::new(),
                outcomes: VecDeque::new(),
                inbox: VecDeque::new(),
                graces: Vec::new(),
            }
        });
        let servers = servers.collect();
        Self {
            capacity,
            store: vec![(0, Vec::new()); ROOMS],
            servers,
            members: BTreeMap::new(),
            next: 1,
        }
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
            Step::Retry(server) => {
                for room in 0..ROOMS {
                    let effects = self.servers[server % count].rooms[room].retry();
                    self.effects(server % count, room, effects);
                }
            }
            Step::Kill(server) => self.kill(server % count),
            Step::Lapse => self.lapse(),
            Step::Reap(server) => self.reap(server % count),
            Step::Unsubscribe(server) => {
                self.servers[server % count].subscribed = false;
                self.servers[server % count].inbox.clear();
            }
            Step::Resubscribe(server) => self.resubscribe(server % count),
            Step::TimeOut(server, done) => self.publish(server % count, 1, Some(done)),
            Step::Flush => {
                self.read_inboxes();
                for (_, seats) in &mut self.store {
                    seats.clear();
                }
                for server in 0..count {
                    self.reassert(server);
                }
            }
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

fn stormy() -> impl Strategy<Value = Step> {
    let n = 0usize..24;
    prop_oneof![
        30 => calm(),
        1 => n.clone().prop_map(Step::Kill),
        1 => Just(Step::Lapse),
        1 => n.clone().prop_map(Step::Reap),
        1 => n.clone().prop_map(Step::Unsubscribe),
        2 => n.clone().prop_map(Step::Resubscribe),
        2 => (n, any::<bool>()).prop_map(|(a, done)| Step::TimeOut(a, done)),
        1 => Just(Step::Flush),
    ]
}

proptest! {
    #[test]
    fn nothing_is_missing_without_faults(
        servers in 1usize..=4,
        capacity in 1usize..=4,
        steps in prop::collection::vec(calm(), 1..200),
    ) {
        let mut world = World::new(servers, capacity);
        for step in steps {
            world.step(step);
        }
        world.settle();
        world.check_rest();
        world.check_complete();
        world.check_conversation();
    }

    #[test]
    fn faults_break_no_rule_and_leave_no_trace(
        servers in 1usize..=4,
        capacity in 1usize..=4,
        steps in prop::collection::vec(stormy(), 1..250),
    ) {
        let mut world = World::new(servers, capacity);
        for step in steps {
            world.step(step);
        }
        world.settle();
        world.check_rest();
        world.check_conversation();
    }
}
