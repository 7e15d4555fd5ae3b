//! Instances, rooms and the network between them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use berth_signaling::Timing;
use serde_json::Value;
use tokio::task::JoinHandle;

use super::peer::{Peer, Shared, intrude};
use super::storm::Fault;
use crate::support::{
    Client, DEBUG_COMMANDS, Network, Node, NodeOptions, PEER_DISCONNECTED, Proxy, RedisServer, candidate,
    eventually, get, hang, offer, pause,
};

/// Longest wait for everybody to hear everybody again; only a failure reaches it.
const LONG: Duration = Duration::from_mins(2);
const CAPACITY: usize = 2;

/// Instances on one Redis, each behind a network of its own, and rooms that talk.
pub(crate) struct Field {
    redis: RedisServer,
    nodes: Vec<Option<Node>>,
    networks: Vec<Proxy>,
    lease: Duration,
    shared: Arc<Shared>,
    rooms: Vec<[Arc<Peer>; CAPACITY]>,
    talks: Vec<JoinHandle<()>>,
    /// Members that were lost with their instances, by room: so many departures there were.
    departed: Vec<usize>,
}

impl Field {
    /// So many instances and rooms; every third room is on one instance, the others on two.
    pub(crate) async fn start(instances: usize, rooms: usize, lease: Duration) -> Self {
        let redis = RedisServer::start_with(&DEBUG_COMMANDS);
        let mut field = Self {
            redis,
            nodes: Vec::new(),
            networks: Vec::new(),
            lease,
            shared: Arc::default(),
            rooms: Vec::new(),
            talks: Vec::new(),
            departed: vec![0; rooms],
        };
        for _ in 0..instances {
            field.add().await;
        }
        for number in 0..rooms {
            let peer = |slot| {
                let home = if number % 3 == 0 { number } else { number + slot };
                Arc::new(Peer {
                    room: format!("r{number}"),
                    slot,
                    home: home % instances,
                    shared: Arc::clone(&field.shared),
                    state: parking_lot::Mutex::default(),
                })
            };
            let room = [peer(0), peer(1)];
            field
                .talks
                .extend(room.iter().map(|peer| tokio::spawn(Arc::clone(peer).talk())));
            field.rooms.push(room);
        }
        field
    }

    async fn add(&mut self) {
        // A few bytes for each instance that ever lived.
        let id: &'static str = Box::leak(format!("i{}", self.nodes.len() + 1).into_boxed_str());
        let network = Proxy::to(&self.redis).await;
        let node = Node::start(NodeOptions {
            id,
            redis: Some(network.url()),
            timing: Timing {
                lease: self.lease,
                drained_grace: Duration::from_secs(1),
                ..Timing::default()
            },
            ..NodeOptions::default()
        })
        .await;
        self.shared.instances.lock().push(Some(node.address));
        self.nodes.push(Some(node));
        self.networks.push(network);
    }

    fn living(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().flatten()
    }

    /// The instance that a number chooses among those that live.
    fn chosen(&self, number: usize) -> usize {
        let living: Vec<usize> = (0..self.nodes.len())
            .filter(|at| self.nodes[*at].is_some())
            .collect();
        living[number % living.len()]
    }

    /// Lets something go wrong and waits until its cause is over.
    pub(crate) async fn inflict(&mut self, fault: Fault) {
        match fault {
            Fault::Flush => {
                self.redis.command("FLUSHALL");
                self.nobody_intrudes().await;
            }
            Fault::FlushScripts => {
                self.redis.command("SCRIPT FLUSH");
                self.nobody_intrudes().await;
            }
            Fault::Pause(time) => {
                pause(&self.redis, u32::try_from(time.as_millis()).unwrap());
                self.nobody_intrudes().await;
            }
            Fault::Sleep(time) => {
                hang(&self.redis, u32::try_from(time.as_millis()).unwrap());
                self.nobody_intrudes().await;
            }
            Fault::Restart(away) => {
                self.redis.kill();
                tokio::time::sleep(away).await;
                self.redis.restart();
                self.nobody_intrudes().await;
            }
            Fault::LoseSubscriptions => {
                self.redis.command("CLIENT KILL TYPE pubsub");
            }
            Fault::Cut(number, network, time) => {
                let at = self.chosen(number);
                self.networks[at].set(network);
                if network == Network::Refused {
                    self.networks[at].reset();
                }
                tokio::time::sleep(time).await;
                self.networks[at].set(Network::Open);
            }
            Fault::Reset(number) => {
                let at = self.chosen(number);
                self.networks[at].reset();
            }
            Fault::Kill(number) => self.kill(self.chosen(number)).await,
        }
    }

    async fn kill(&mut self, at: usize) {
        // One that takes its place is there first, so that somebody always is.
        self.add().await;
        let node = self.nodes[at].take().expect("it lives");
        self.shared.instances.lock()[at] = None;
        for (departed, room) in self.departed.iter_mut().zip(&self.rooms) {
            // Whoever sits there, or is about to: it can only be on its home, or on the next one that lived.
            *departed += room.iter().filter(|peer| peer.state.lock().life > 0).count();
        }
        node.kill().await;
    }

    /// Asks for a third seat in every room, at every instance, in the moment in which the store may have forgotten who
    /// sits there.
    async fn nobody_intrudes(&self) {
        let addresses: Vec<_> = self.living().map(|node| node.address).collect();
        let attempts = self.rooms.iter().enumerate().map(|(number, room)| {
            let address = addresses[number % addresses.len()];
            async move {
                let lives = || {
                    room.each_ref().map(|peer| {
                        let state = peer.state.lock();
                        (state.seated, state.life)
                    })
                };
                let before = lives();
                let seated = intrude(address, &room[0].room).await;
                // Only a room that was full all the time is proof.
                if seated && before == lives() && before.iter().all(|(seated, _)| *seated) {
                    self.shared
                        .violation(format!("{}: a third one got a seat", room[0].room));
                }
            }
        });
        futures::future::join_all(attempts).await;
    }

    /// Rooms that come and go: two members on any two instances, ten messages each way, and some say goodbye.
    pub(crate) async fn churn(&self, turn: usize, rooms: usize) {
        let addresses: Vec<_> = self.living().map(|node| node.address).collect();
        let sessions = (0..rooms).map(|number| {
            let (one, two) = (
                addresses[number % addresses.len()],
                addresses[(number / 2) % addresses.len()],
            );
            tokio::spawn(session(
                one,
                two,
                format!("churn-{turn}-{number}"),
                number % 2 == 0,
            ))
        });
        for session in sessions.collect::<Vec<_>>() {
            session.await.expect("a session");
        }
    }

    /// Waits until everybody has heard what the other one in its room says now.
    pub(crate) async fn all_talk(&self) {
        let round = self.shared.round.fetch_add(1, Ordering::Relaxed) + 1;
        let end = Instant::now() + LONG;
        loop {
            self.check();
            let silent: Vec<String> = self.rooms.iter().filter_map(|room| silent(room, round)).collect();
            if silent.is_empty() {
                return self.check_store();
            }
            assert!(Instant::now() < end, "not heard in round {round}: {silent:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// What must hold at any time.
    fn check(&self) {
        let violations = self.shared.violations.lock();
        assert!(violations.is_empty(), "{violations:#?}");
        for (room, departed) in self.rooms.iter().zip(&self.departed) {
            for peer in room {
                let told = peer.state.lock().told;
                let name = (&peer.room, peer.slot);
                assert!(
                    told <= *departed,
                    "{name:?} was told of {told} departures, there were {departed}"
                );
            }
        }
    }

    /// What must hold in the store at any time.
    fn check_store(&self) {
        for [first, _] in &self.rooms {
            let members = self.members(&first.room);
            assert!(
                members.is_none_or(|members| members <= CAPACITY),
                "{members:?} members in {} as the store sees it",
                first.room
            );
        }
    }

    /// How many members the store has in a room; `None` while it does not answer.
    fn members(&self, room: &str) -> Option<usize> {
        let answer = self.redis.command(&format!("HLEN {PREFIX}room:{room}"));
        let fields: usize = answer.lines().next()?.strip_prefix(':')?.parse().ok()?;
        Some(fields.saturating_sub(1))
    }

    /// Everybody leaves, and nothing is left.
    pub(crate) async fn end(mut self) {
        self.shared.over.cancel();
        for talk in self.talks.drain(..) {
            tokio::time::timeout(LONG, talk)
                .await
                .expect("everybody leaves")
                .unwrap();
        }
        self.check();
        for node in self.living() {
            node.empties().await;
            eventually("nothing waits any more", || async {
                let (_, status) = get(node.internal, "/statusz").await;
                let status: Value = serde_json::from_str(&status).unwrap();
                let (connections, relay) = (&status["connections"], &status["relay"]);
                let counts = [
                    &connections["open"],
                    &connections["slowReceivers"],
                    &connections["bufferedBytes"],
                    &status["rooms"],
                    &relay["laneNotices"],
                    &relay["inboxMessages"],
                    &relay["seatCalls"],
                    &status["awaited"],
                ];
                counts.iter().all(|count| **count == 0).then_some(())
            })
            .await;
            for empty in [
                "buffered_bytes",
                "slow_receivers",
                "inbox_queue",
                "lane_queue_bytes",
            ] {
                node.metric_becomes(&format!("signaling_{empty}"), 0.0).await;
            }
        }
        let living = self.living().count();
        eventually("no seat is left", || async {
            let seats = self.redis.command(&format!("KEYS {PREFIX}seats:*"));
            let instances = self.redis.command(&format!("ZCARD {PREFIX}instances"));
            let rooms: usize = self
                .rooms
                .iter()
                .filter_map(|room| self.members(&room[0].room))
                .sum();
            let instances = instances.starts_with(&format!(":{living}\r\n"));
            (seats.starts_with("*0") && instances && rooms == 0).then_some(())
        })
        .await;
        let keys = self.redis.command("KEYS *");
        for name in keys.lines().filter(|line| line.starts_with("berth:")) {
            let ttl = self.redis.command(&format!("PTTL {name}"));
            assert!(!ttl.starts_with(":-1"), "{name} never ends");
        }
    }
}

/// Names in Redis begin so.
pub(crate) const PREFIX: &str = "berth:default/default:{default/default}:";

/// One session from its join to its end.
async fn session(one: SocketAddr, two: SocketAddr, room: String, says_goodbye: bool) {
    let mut host = eventually("a seat", || Client::try_join(one, &room)).await;
    let mut player = eventually("a seat", || Client::try_join(two, &room)).await;
    for number in 0..10 {
        player.send(offer(&number.to_string())).await;
        assert_eq!(host.hear().await, offer(&number.to_string()));
        host.send(candidate(&number.to_string())).await;
        assert_eq!(player.hear().await, candidate(&number.to_string()));
    }
    if says_goodbye {
        player.leave().await;
        assert_eq!(host.hear().await, PEER_DISCONNECTED);
        host.leave().await;
    }
}

/// Who in a room has not heard the other one in this round.
fn silent(room: &[Arc<Peer>; CAPACITY], round: u64) -> Option<String> {
    for (listener, speaker) in [(&room[0], &room[1]), (&room[1], &room[0])] {
        let said_by = {
            let state = speaker.state.lock();
            if !state.seated {
                return Some(format!("{}/{} has no seat", speaker.room, speaker.slot));
            }
            (speaker.slot, state.life)
        };
        let heard = listener.state.lock().heard.get(&said_by).copied();
        if heard.is_none_or(|heard| heard < round) {
            return Some(format!(
                "{}/{} heard {heard:?} of {said_by:?}",
                listener.room, listener.slot
            ));
        }
    }
    None
}
