//! Instances, rooms and the network between them.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use berth_signaling::Timing;
use serde_json::Value;
use tokio::task::JoinHandle;

use super::oracle::{silent, unheard};
use super::peer::{Peer, Shared, Version, intrude};
use super::storm::Fault;
use crate::support::{
    DEBUG_COMMANDS, Network, Node, NodeOptions, Proxy, RedisServer, eventually, get, hang, pause,
};

/// Longest wait for everybody to hear everybody again; only a failure reaches it.
const LONG: Duration = Duration::from_mins(2);
const CAPACITY: usize = 2;
/// How long a lost connection may take to come back: longer than faults last that come one after the other.
const WINDOW: Duration = Duration::from_secs(25);
/// Between two messages of a peer, where all speak v1 and where what is said is kept for others.
const PAUSES: [Duration; 2] = [Duration::from_millis(100), Duration::from_millis(250)];

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
    /// Redis has lost everything, and may not have all seats again.
    emptied: bool,
    /// An instance has died, and not everybody has talked since.
    died: bool,
}

impl Field {
    /// So many instances and rooms; every third room is on one instance, the others on two. In every third three all speak v1,
    /// in the next all speak v2, and then come some of both.
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
            emptied: false,
            died: false,
        };
        for _ in 0..instances {
            field.add().await;
        }
        for number in 0..rooms {
            let peer = |slot| {
                let home = if number % 3 == 0 { number } else { number + slot };
                let version = match (number / 3 % 3, slot) {
                    (0, _) | (2, 0) => Version::V1,
                    _ => Version::V2,
                };
                Arc::new(Peer {
                    room: format!("r{number}"),
                    slot,
                    home: home % instances,
                    version,
                    pause: PAUSES[usize::from(number / 3 % 3 > 0)],
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
        node.change(|settings| settings.resume.window = WINDOW);
        self.shared.instances.lock().push(Some(node.address));
        self.nodes.push(Some(node));
        self.networks.push(network);
    }

    pub(super) fn living(&self) -> impl Iterator<Item = &Node> {
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
                self.is_emptied();
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
                self.is_emptied();
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
            Fault::Unplug(number) => self.unplug(self.chosen(number)),
            Fault::Kill(number) => self.kill(self.chosen(number)).await,
        }
    }

    /// Redis has forgotten every seat. What an instance that has just died held is known to nobody then.
    fn is_emptied(&mut self) {
        self.emptied = true;
        if self.died {
            self.shared.excused.store(true, Ordering::Relaxed);
        }
    }

    /// Whoever speaks v2 loses its connection to an instance.
    fn unplug(&self, at: usize) {
        for peer in self.rooms.iter().flatten() {
            let mut state = peer.state.lock();
            if state.instance == at
                && let Some(cord) = state.cord.take()
            {
                // Told here, because nobody may take its seat for that of one who stays.
                state.seated = false;
                cord.cancel();
            }
        }
    }

    async fn kill(&mut self, at: usize) {
        // One that takes its place is there first, so that somebody always is.
        self.add().await;
        if self.emptied && !self.store_is_complete() {
            self.shared.excused.store(true, Ordering::Relaxed);
        }
        self.died = true;
        let node = self.nodes[at].take().expect("it lives");
        self.shared.instances.lock()[at] = None;
        for (departed, room) in self.departed.iter_mut().zip(&self.rooms) {
            // Whoever sits there, or is about to.
            *departed += room.iter().filter(|peer| peer.state.lock().life > 0).count();
            for peer in room {
                let mut state = peer.state.lock();
                state.seated &= state.instance != at;
            }
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
                        (state.seated, state.connections)
                    })
                };
                let before = lives();
                // Who is away may lose its seat to another one, and has to leave then. An instance that has just started cannot know
                // that Redis was not always empty.
                let excused = self.shared.excused.load(Ordering::Relaxed);
                if excused || !before.iter().all(|(seated, _)| *seated) {
                    return;
                }
                let seated = intrude(address, &room[0].room).await;
                // Only a room that was full all the time is proof.
                if seated && before == lives() {
                    self.shared
                        .violation(format!("{}: a third one got a seat", room[0].room));
                }
            }
        });
        futures::future::join_all(attempts).await;
    }

    /// Waits until everybody has heard what the other one in its room says now.
    pub(crate) async fn all_talk(&mut self) {
        let round = self.shared.round.fetch_add(1, Ordering::Relaxed) + 1;
        let end = Instant::now() + LONG;
        loop {
            self.check();
            let silent: Vec<String> = self.rooms.iter().filter_map(|room| silent(room, round)).collect();
            if silent.is_empty() {
                self.check_store();
                // Whatever was missing is heard to be missing by now.
                self.died = false;
                self.emptied &= !self.store_is_complete();
                self.shared.excused.store(false, Ordering::Relaxed);
                return;
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

    /// Whether the store has every seat.
    fn store_is_complete(&self) -> bool {
        let mut rooms = self.rooms.iter();
        rooms.all(|[first, _]| self.members(&first.room) == Some(CAPACITY))
    }

    /// Nobody says anything more, and waits until everybody has heard everything.
    async fn rest(&self) {
        self.shared.quiet.store(true, Ordering::Relaxed);
        let end = Instant::now() + LONG;
        loop {
            let unheard: Vec<String> = self.rooms.iter().flat_map(unheard).collect();
            if unheard.is_empty() {
                return;
            }
            assert!(Instant::now() < end, "not heard at rest: {unheard:#?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
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
        self.rest().await;
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
