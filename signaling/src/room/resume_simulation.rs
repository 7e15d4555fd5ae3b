//! Peers that speak v2 lose their connections, come back anywhere, and miss nothing, beside peers that speak v1: several instances
//! as plain data, driven by random steps. The simulation of v1 has the faults of the store; here it answers at once, and connections are what fails.

use std::collections::{BTreeMap, VecDeque};

use berth_dataplane::match_token::Role;
use berth_dataplane::occupancy::{Instance, MemberId, Seat};
use serde_json::Value;
use uuid::Uuid;

use super::*;
use crate::protocol::v2::Relay;

mod failures;
mod histories;

const SERVERS: usize = 3;

#[derive(Clone, Copy, Debug)]
enum Step {
    /// A client sends its next message, to everybody or to one other.
    Send(usize, Option<usize>),
    /// A connection is lost, and its instance notices.
    Lose(usize),
    /// A client comes back to this instance, whether or not its old connection was seen to end.
    Resume(usize, usize),
    /// The lane of an instance publishes one notice and hears what became of it.
    Publish(usize),
    /// An instance reads one notice.
    Receive(usize),
    /// Redis times out: a notice was published or not, and the lane does not know.
    TimeOut(usize, bool),
    /// An instance dies; its clients do not know yet.
    Kill(usize),
    Retry(usize),
    /// An instance loses its subscription, and with it what Redis has passed on already.
    Resubscribe(usize),
}

/// What a client knows, wherever its connection is.
struct Client {
    id: MemberId,
    /// `None`: it speaks v1, and stays where it is.
    role: Option<Role>,
    /// The instance of its newest connection; `None` after it was lost.
    at: Option<usize>,
    sent: Vec<Relay>,
    heard: BTreeMap<MemberId, Vec<u64>>,
    /// Who it believes is there, and whether connected.
    peers: BTreeMap<String, bool>,
    acked: u64,
}

struct Server {
    token: Instance,
    alive: bool,
    room: Room,
    lane: VecDeque<(Instance, Notice)>,
    inbox: VecDeque<(u64, Notice)>,
}

struct World {
    servers: Vec<Server>,
    clients: Vec<Client>,
    /// The store: it answers at once.
    seats: Vec<Seat>,
    clock: u64,
}

fn id(number: usize) -> MemberId {
    MemberId(Uuid::from_u128(number as u128 + 1))
}

impl World {
    /// All clients have joined, on instances in turn; the last `v1` of them speak v1.
    fn new(clients: usize, v1: usize) -> Self {
        let server = |number| {
            let token = Instance::new(&format!("i{number}"), 1);
            Server {
                room: Room::new(token.clone()),
                token,
                alive: true,
                lane: VecDeque::new(),
                inbox: VecDeque::new(),
            }
        };
        let client = |number| Client {
            id: id(number),
            role: match number {
                _ if number + v1 >= clients => None,
                0 => Some(Role::Host),
                _ => Some(Role::Player),
            },
            at: None,
            sent: Vec::new(),
            heard: BTreeMap::new(),
            peers: BTreeMap::new(),
            acked: 0,
        };
        let mut world = Self {
            servers: (0..SERVERS).map(server).collect(),
            clients: (0..clients).map(client).collect(),
            seats: Vec::new(),
            clock: 1,
        };
        for number in 0..clients {
            world.connect(number, number % SERVERS, false);
        }
        world.deliver_all();
        world
    }

    fn step(&mut self, step: Step) {
        let (clients, servers) = (self.clients.len(), self.servers.len());
        match step {
            Step::Send(client, to) => self.send(client % clients, to.map(|to| to % clients)),
            Step::Lose(client) => self.lose(client % clients),
            Step::Resume(client, server) => self.connect(client % clients, server % servers, true),
            Step::Publish(server) => self.publish(server % servers, None),
            Step::Receive(server) => self.receive(server % servers),
            Step::TimeOut(server, done) => self.publish(server % servers, Some(done)),
            Step::Kill(server) => self.kill(server % servers),
            Step::Retry(server) => self.change(server % servers, Room::retry),
            Step::Resubscribe(server) => self.resubscribe(server % servers),
        }
    }

    fn send(&mut self, number: usize, to: Option<usize>) {
        let client = &mut self.clients[number];
        let seq = client.sent.len() as u64 + 1;
        let to = to
            .filter(|to| *to != number)
            .map_or(To::All, |to| To::Member(id(to)));
        let (is_v1, member) = (client.role.is_none(), id(number));
        let relay = Relay {
            seq,
            to: if is_v1 { To::All } else { to },
            text: Text::from(format!("{{\"type\":\"control\",\"action\":\"{member} {seq}\"}}")),
            extended: false,
        };
        client.sent.push(relay.clone());
        // What is written into a dead connection is sent again after the resume.
        if let Some(server) = client.at.filter(|server| self.servers[*server].alive) {
            self.change(server, |room| {
                if is_v1 {
                    room.message(member, relay.text)
                } else {
                    room.relay(member, relay)
                }
            });
        }
    }

    /// The seats of all others, as the store answers with.
    fn others(&self, member: MemberId) -> Vec<Seat> {
        let others = self.seats.iter().filter(|seat| seat.member != member);
        others.cloned().collect()
    }

    fn connect(&mut self, number: usize, server: usize, resumes: bool) {
        let role = self.clients[number].role;
        if !self.servers[server].alive || (resumes && role.is_none()) {
            return;
        }
        let member = id(number);
        self.clock += 1;
        let taken = role.map_or(0, |_| self.clock);
        let instance = self.servers[server].token.clone();
        let before = self.seats.iter().find(|seat| seat.member == member).cloned();
        let others = self.others(member);
        let join = before.as_ref().map_or(number as u64 + 1, |seat| seat.join);
        self.seats.retain(|seat| seat.member != member);
        self.seats.push(Seat {
            role,
            taken,
            ..Seat::new(member, instance.clone(), join)
        });
        let moved_from = before
            .map(|seat| seat.instance)
            .filter(|before| *before != instance);
        let last = |heard: &Vec<u64>| heard.last().copied().unwrap_or(0);
        let heard: Heard = self.clients[number]
            .heard
            .iter()
            .map(|(from, heard)| (*from, last(heard)))
            .collect();
        let speech = role.map_or(Speech::V1, |role| Speech::V2 {
            role,
            resume: resumes.then_some(heard),
        });
        self.clients[number].at = Some(server);
        let room = &mut self.servers[server].room;
        let view = room.enter();
        let given = Given {
            join,
            others: &others,
            reaped: &[],
            moved_from: moved_from.as_ref(),
            taken,
        };
        let effects = room.seated(view, member, speech, given);
        let welcome = room.welcome(member);
        let client = &mut self.clients[number];
        client.acked = 0;
        client.peers = welcome
            .peers
            .iter()
            .map(|peer| {
                (
                    peer.id.clone(),
                    peer.state == crate::protocol::v2::PeerState::Connected,
                )
            })
            .collect();
        let again: Vec<Relay> = client
            .sent
            .iter()
            .filter(|relay| relay.seq > welcome.seq)
            .cloned()
            .collect();
        self.effects(server, effects);
        for relay in again {
            self.change(server, |room| room.relay(member, relay));
        }
    }

    /// Publishes one notice; `timeout`: Redis did it or not, and did not answer.
    fn publish(&mut self, server: usize, timeout: Option<bool>) {
        let Some((to, notice)) = self.servers[server].lane.pop_front() else {
            return;
        };
        if let Notice::Message(sent) = &notice
            && self.servers[server].room.is_stalled(&to)
        {
            let sent = sent.clone();
            return self.change(server, |room| room.unreached(&to, vec![sent], false));
        }
        let publisher = self.servers[server].token.short();
        let target = self.servers.iter_mut().find(|other| other.token == to).unwrap();
        let reached = target.alive && timeout != Some(false);
        if reached {
            target.inbox.push_back((publisher, notice.clone()));
        }
        let failed = timeout.is_some();
        match notice {
            Notice::Message(sent) if failed || !reached => {
                self.change(server, |room| room.unreached(&to, vec![sent], !failed));
            }
            Notice::Message(sent) => {
                self.change(server, |room| room.published(&to, &sent));
            }
            // What is no message is published again until Redis took it.
            notice if failed => self.servers[server].lane.push_front((to, notice)),
            _ => {}
        }
    }

    fn receive(&mut self, server: usize) {
        let Some((publisher, notice)) = self.servers[server].inbox.pop_front() else {
            return;
        };
        if self.servers[server].room.is_deserted() {
            return;
        }
        self.change(server, |room| room.hear(notice, publisher));
    }

    fn change(&mut self, server: usize, change: impl FnOnce(&mut Room) -> Effects) {
        if self.servers[server].alive {
            let effects = change(&mut self.servers[server].room);
            self.effects(server, effects);
        }
    }

    fn effects(&mut self, server: usize, effects: Effects) {
        for effect in effects {
            match effect {
                Effect::Deliver { to, text } | Effect::Tell { to, text } => self.tell(server, to, &text),
                Effect::Publish { to, notice } => {
                    assert_ne!(to, self.servers[server].token);
                    self.servers[server].lane.push_back((to, notice));
                }
                Effect::Ask(view) => {
                    let alive: Vec<Seat> = self.seats.clone();
                    self.change(server, |room| room.answer(view, Some(&alive)));
                }
                Effect::Assert(member) => self.assert(server, member),
                Effect::Replaced(member) => {
                    let client = self.clients.iter().find(|client| client.id == member).unwrap();
                    assert_ne!(client.at, Some(server), "its newest connection is closed");
                }
                // No window ends here, and nobody is drained.
                Effect::Window { .. } | Effect::Grace(_) => {}
                Effect::PeerDisconnected { to } => panic!("{to} speaks v2"),
                Effect::Lost { loss, .. } => assert_ne!(loss, Loss::EarlyFull),
            }
        }
    }

    /// A client hears something, if it still listens to this instance.
    fn tell(&mut self, server: usize, to: MemberId, text: &str) {
        let client = self.clients.iter_mut().find(|client| client.id == to).unwrap();
        if client.at != Some(server) {
            return;
        }
        let said: Value = serde_json::from_str(text).unwrap();
        let peer = said["peer"]["id"].as_str().map(str::to_owned);
        match said["type"].as_str().unwrap() {
            "control" => {
                let (from, number) = said["action"].as_str().unwrap().split_once(' ').unwrap();
                let (from, number) = (MemberId(Uuid::try_parse(from).unwrap()), number.parse().unwrap());
                let shown = (said["from"].as_str(), said["seq"].as_u64());
                let expected = client.role.map(|_| (from.to_string(), number));
                assert_eq!(
                    shown,
                    expected.as_ref().map(|(from, number)| (&**from, *number)).unzip()
                );
                assert_ne!(from, to, "its own message");
                let heard = client.heard.entry(from).or_default();
                assert!(
                    heard.last().is_none_or(|last| *last < number),
                    "{heard:?} then {number}: out of order or twice"
                );
                heard.push(number);
            }
            "ack" => {
                let number = said["seq"].as_u64().unwrap();
                assert!(number >= client.acked && number <= client.sent.len() as u64);
                client.acked = number;
            }
            "peer-joined" => drop(client.peers.insert(peer.unwrap(), true)),
            "peer-reconnecting" => drop(client.peers.insert(peer.unwrap(), false)),
            "error" => assert_eq!(said["code"], "unknown-peer"),
            other => panic!("{other}: nobody leaves"),
        }
    }

    /// Lets everything that is under way arrive.
    fn deliver_all(&mut self) {
        for _ in 0..10_000 {
            for server in 0..SERVERS {
                self.publish(server, None);
                self.receive(server);
            }
            let quiet =
                |server: &Server| !server.alive || (server.lane.is_empty() && server.inbox.is_empty());
            if self.servers.iter().all(quiet) {
                return;
            }
        }
        panic!("does not come to rest");
    }

    /// Everybody comes back, and everything arrives.
    fn settle(&mut self) {
        self.deliver_all();
        let living = self.servers.iter().position(|server| server.alive).unwrap();
        for number in 0..self.clients.len() {
            if self.clients[number]
                .at
                .is_none_or(|server| !self.servers[server].alive)
            {
                self.connect(number, (living + number) % SERVERS, true);
            }
            if self.clients[number]
                .at
                .is_none_or(|server| !self.servers[server].alive)
            {
                self.connect(number, living, true);
            }
        }
        for _ in 0..3 {
            self.deliver_all();
            for server in 0..SERVERS {
                self.change(server, Room::retry);
            }
        }
        self.deliver_all();
    }

    /// Nobody missed anything that was for him, everybody's messages are acknowledged, and everybody sees everybody.
    fn check(&self) {
        for hearer in &self.clients {
            for sender in self.clients.iter().filter(|sender| sender.id != hearer.id) {
                let meant: Vec<u64> = sender
                    .sent
                    .iter()
                    .filter(|relay| relay.to.concerns(hearer.id, hearer.role))
                    .map(|relay| relay.seq)
                    .collect();
                let heard = hearer.heard.get(&sender.id).cloned().unwrap_or_default();
                assert_eq!(heard, meant, "{} of {}", hearer.id, sender.id);
            }
            if hearer.role.is_none() {
                continue;
            }
            assert_eq!(hearer.acked, hearer.sent.len() as u64, "{}", hearer.id);
            let others: BTreeMap<String, bool> = self
                .clients
                .iter()
                .filter(|other| other.id != hearer.id)
                .map(|other| (other.id.to_string(), true))
                .collect();
            assert_eq!(hearer.peers, others, "as {} sees it", hearer.id);
        }
    }
}
