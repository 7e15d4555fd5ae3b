//! A pool with its rooms, in memory or on a Redis of its own, and people who act in it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use berth_crds::settings::{ObjectName, RoomId, Strategy};
use berth_dataplane::keys::Keys;
use berth_dataplane::match_token::Role;
use berth_dataplane::occupancy::{
    Claim, Instance, Join, MemberId, MemoryRooms, Seat, Seats, SharedRooms, Timing, Who,
};
use berth_dataplane::redis::{LinkOptions, RedisEndpoint, RedisLink, RedisMetrics};
use berth_dataplane::testing::{RedisServer, TestRedis, narrow_user};
use berth_matchmaker::host::{Heartbeat, HostId, HostInfo, HostStatus, MatchId};
use berth_matchmaker::store::memory::MemoryStore;
use berth_matchmaker::store::redis::RedisStore;
use berth_matchmaker::store::{
    Beaten, Clock, Counts, Dice, Event, EventKind, Found, Grant, Held, HostRecord, HostStore, Registered,
    Released, Request, Rules, Step,
};
use futures::future::{join, join_all};
use parking_lot::Mutex;
use uuid::Uuid;

use super::LONG;
use super::exact::{assert_index, counted};

/// Which store is tested.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    Memory,
    Redis,
}

/// A pool, its rooms and its clock.
pub(crate) struct World {
    pub(crate) store: Arc<dyn HostStore>,
    pub(crate) seats: Seats,
    pub(crate) clock: Clock,
    pub(crate) rules: Rules,
    pub(crate) redis: Option<(RedisServer, RedisLink)>,
    /// Further matchmakers of the same pool, which are asked in turn.
    replicas: Vec<Arc<dyn HostStore>>,
    turn: AtomicUsize,
    instance: Instance,
    /// Who sits where, as signaling knows it.
    seated: Mutex<Vec<(RoomId, Seat)>>,
    events: Vec<Event>,
    /// Where the store is, if it is on Redis.
    link: Option<RedisLink>,
}

/// Connects to a server and waits until it answers.
pub(crate) async fn connect(redis: &impl TestRedis) -> RedisLink {
    connect_to(&redis.url()).await
}

/// The same as the user who may do what Berth needs and nothing else.
pub(crate) async fn connect_narrowly(server: &RedisServer) -> RedisLink {
    let name = cluster_name();
    narrow_user([server], &name.namespace, &name.name);
    connect_to(&server.url().replacen("://", "://berth:narrow@", 1)).await
}

async fn connect_to(url: &str) -> RedisLink {
    let endpoint = RedisEndpoint::from_url(url).unwrap();
    let link = RedisLink::start(endpoint, LinkOptions::default(), RedisMetrics::unregistered());
    tokio::time::timeout(LONG, link.wait_healthy())
        .await
        .expect("redis never answered");
    link
}

fn cluster_name() -> ObjectName {
    ObjectName::new("games", "main")
}

pub(crate) fn keys() -> Keys {
    Keys::new(&cluster_name())
}

fn replica(link: &RedisLink, clock: &Clock) -> Arc<dyn HostStore> {
    Arc::new(RedisStore::new(link.clone(), keys(), "eu", clock.clone()))
}

pub(crate) fn shared_rooms(link: &RedisLink, keys: Keys) -> SharedRooms {
    let timing = Timing {
        lease: Duration::from_mins(10),
        room_ttl: Duration::from_mins(10),
    };
    SharedRooms::new(link.clone(), keys, timing)
}

pub(crate) fn room(name: &str) -> RoomId {
    RoomId::parse(name, 64).unwrap()
}

pub(crate) fn host(name: &str) -> HostId {
    HostId::new(name)
}

/// The heartbeat that hosts in the field send for ever.
pub(crate) fn constant(name: &str, region: &str) -> Heartbeat {
    Heartbeat {
        host: host(name),
        room: room(&format!("room-{name}")),
        region: region.to_owned(),
        labels: BTreeMap::new(),
        status: HostStatus::Idle,
        capacity: 1,
        available: 1,
        serves: None,
        age: Duration::ZERO,
        info: HostInfo::default(),
    }
}

pub(crate) fn labels<'a>(labels: impl IntoIterator<Item = (&'a str, &'a str)>) -> BTreeMap<String, String> {
    labels
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

pub(crate) fn rules() -> Rules {
    Rules {
        heartbeat_ttl: Duration::from_secs(30),
        deadline: Duration::from_secs(30),
        hold: Duration::from_secs(5),
        unreachable_grace: Duration::ZERO,
        players: 63,
        require_host_in_room: true,
        strategy: Strategy::Spread,
        region_weight: 100,
        expect_occupancy: false,
    }
}

/// A request for any host.
pub(crate) fn anywhere() -> Request {
    let dice = Dice {
        stray: rand::random(),
        region: rand::random(),
        sample: rand::random(),
        host: rand::random(),
    };
    Request {
        id: MatchId(Uuid::new_v4()),
        region: None,
        nearest: Vec::new(),
        labels: BTreeMap::new(),
        host: None,
        dice,
        asked: None,
    }
}

pub(crate) fn in_region(region: &str) -> Request {
    Request {
        region: Some(region.to_owned()),
        ..anywhere()
    }
}

pub(crate) fn pinned(name: &str) -> Request {
    Request {
        host: Some(host(name)),
        ..anywhere()
    }
}

impl World {
    pub(crate) async fn new(kind: Kind) -> Self {
        match kind {
            Kind::Memory => {
                let (clock, rooms) = (Clock::default(), MemoryRooms::default());
                let store = Arc::new(MemoryStore::new(rooms.clone(), "eu", clock.clone()));
                Self::of(store, Seats::Memory(rooms), clock).await
            }
            Kind::Redis => {
                let server = RedisServer::start();
                let link = connect(&server).await;
                let mut world = Self::over(&link).await;
                world.redis = Some((server, link));
                world
            }
        }
    }

    /// A world on a Redis that others own and have emptied.
    pub(crate) async fn over(link: &RedisLink) -> Self {
        let clock = Clock::default();
        let store = replica(link, &clock);
        let mut world = Self::of(store, Seats::Shared(shared_rooms(link, keys())), clock).await;
        world.link = Some(link.clone());
        world
    }

    async fn of(store: Arc<dyn HostStore>, seats: Seats, clock: Clock) -> Self {
        let world = Self {
            store,
            seats,
            clock,
            rules: rules(),
            redis: None,
            replicas: Vec::new(),
            turn: AtomicUsize::new(0),
            seated: Mutex::default(),
            instance: Instance::new("signaling", 1),
            events: Vec::new(),
            link: None,
        };
        world.signaling_lives().await;
        world
    }

    /// Empties a Redis, for the next history.
    pub(crate) async fn reset(&mut self) {
        let (_, link) = self.redis.as_ref().expect("only a world on Redis is used again");
        link.command::<()>(&berth_dataplane::redis::cmd("FLUSHALL"))
            .await
            .unwrap();
        self.events.clear();
        self.seated.lock().clear();
        self.serve_by(self.replicas.len() + 1).await;
        self.signaling_lives().await;
    }

    /// So many matchmakers serve the pool from now on, all of them just started.
    pub(crate) async fn serve_by(&mut self, matchmakers: usize) {
        let (_, link) = self.redis.as_ref().expect("only a world on Redis has several");
        self.store = replica(link, &self.clock);
        self.replicas = (1..matchmakers).map(|_| replica(link, &self.clock)).collect();
        self.look_all().await;
    }

    /// One of the matchmakers starts again.
    pub(crate) async fn restart(&mut self, which: usize) {
        let Some((_, link)) = &self.redis else { return };
        let fresh = replica(link, &self.clock);
        match which
            .checked_rem(self.replicas.len() + 1)
            .and_then(|which| which.checked_sub(1))
        {
            Some(which) => self.replicas[which] = fresh,
            None => self.store = fresh,
        }
        self.look_all().await;
    }

    /// Redis comes back empty. Signaling asserts the seats that it knows, and every matchmaker looks after the pool.
    pub(crate) async fn lose_everything(&mut self) {
        let Some((server, _)) = &self.redis else { return };
        server.command("FLUSHALL");
        self.signaling_lives().await;
        let seated = self.seated.lock().clone();
        for (room, seat) in seated {
            self.seats.assert(&room, &seat, 64).await.unwrap();
        }
        self.look_all().await;
    }

    /// Every matchmaker looks after the pool.
    async fn look_all(&mut self) {
        for _ in 0..=self.replicas.len() {
            self.look().await;
        }
    }

    /// The matchmaker whose turn it is.
    fn store(&self) -> &Arc<dyn HostStore> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % (self.replicas.len() + 1);
        turn.checked_sub(1)
            .map_or(&self.store, |turn| &self.replicas[turn])
    }

    /// Notes a seat that was taken.
    fn sits(&self, name: &RoomId, claim: &Claim, joined: &Join) {
        let Join::Joined { join, .. } = joined else {
            panic!("{joined:?}")
        };
        let seat = Seat {
            join: *join,
            ..Seat::from(claim)
        };
        self.seated.lock().push((name.clone(), seat));
    }

    /// A signaling server keeps the rooms from now on.
    pub(crate) async fn signaling_lives(&self) {
        self.seats.renew(&self.instance).await.unwrap();
    }

    /// No signaling server keeps the rooms any more.
    pub(crate) async fn signaling_ends(&self) {
        self.seats.release(&self.instance, Duration::ZERO).await.unwrap();
    }

    /// Somebody takes a seat, whatever the room's capacity.
    pub(crate) async fn join(&self, name: &RoomId) -> MemberId {
        let claim = Claim::new(MemberId(Uuid::new_v4()), &self.instance);
        let joined = self.seats.join(name, &claim, 64).await.unwrap();
        self.sits(name, &claim, &joined);
        claim.member
    }

    /// A player of the field takes a seat: it sends no token, and offers.
    pub(crate) async fn plays(&self, name: &RoomId) -> MemberId {
        let member = self.join(name).await;
        self.says(name, member, Role::Player).await;
        member
    }

    /// A member that speaks v1 shows what it is.
    pub(crate) async fn says(&self, name: &RoomId, member: MemberId, role: Role) {
        let seats = self.seats.seats(name).await.unwrap();
        if let Some(seat) = seats.into_iter().find(|seat| seat.member == member) {
            let who = Who::is(role);
            self.seats
                .note(
                    name,
                    &Seat {
                        who: who.clone(),
                        ..seat
                    },
                )
                .await
                .unwrap();
            for (_, seat) in self
                .seated
                .lock()
                .iter_mut()
                .filter(|(_, seat)| seat.member == member)
            {
                seat.who = who.clone();
            }
        }
    }

    /// Somebody with a match token takes a seat.
    pub(crate) async fn proves(&self, name: &RoomId, role: Role, id: &str) -> MemberId {
        let claim = Claim {
            who: Who::proven(role, id),
            ..Claim::new(MemberId(Uuid::new_v4()), &self.instance)
        };
        let joined = self.seats.join(name, &claim, 64).await.unwrap();
        self.sits(name, &claim, &joined);
        claim.member
    }

    pub(crate) async fn leave(&self, name: &RoomId, member: MemberId) {
        self.seats.leave(name, member, &self.instance).await.unwrap();
        self.seated.lock().retain(|(_, seat)| seat.member != member);
    }

    /// Registers a host with the constant heartbeat and seats it in its room.
    pub(crate) async fn seated_host(&mut self, name: &str, region: &str) -> MemberId {
        let seat = self.join(&room(&format!("room-{name}"))).await;
        self.beat(constant(name, region)).await;
        seat
    }

    pub(crate) async fn beat(&mut self, heartbeat: Heartbeat) -> Registered {
        self.beaten(heartbeat).await.registered
    }

    /// A heartbeat, and what it tells the host.
    pub(crate) async fn beaten(&mut self, heartbeat: Heartbeat) -> Beaten {
        let step = self.store().heartbeat(heartbeat, self.rules).await.unwrap();
        self.took(step)
    }

    pub(crate) async fn look_up(&mut self, id: MatchId) -> Held {
        let step = self.store().look_up(id, self.rules).await.unwrap();
        self.took(step)
    }

    pub(crate) async fn find(&mut self, request: Request) -> Found {
        let step = self.store().find(request, self.rules).await.unwrap();
        self.took(step)
    }

    /// Finds through different matchmakers, and a heartbeat, all at the same moment.
    pub(crate) async fn rush(&mut self, requests: Vec<Request>, heartbeat: Heartbeat) -> Vec<Found> {
        let finds = requests
            .into_iter()
            .map(|request| self.store().find(request, self.rules))
            .collect::<Vec<_>>();
        let beat = self.store().heartbeat(heartbeat, self.rules);
        let (found, beaten) = join(join_all(finds), beat).await;
        self.took(beaten.unwrap());
        let found = found.into_iter().map(|step| self.took(step.unwrap()));
        found.collect()
    }

    /// A find that must be granted.
    pub(crate) async fn granted(&mut self, request: Request) -> Grant {
        match self.find(request).await {
            Found::Granted(grant) => grant,
            other => panic!("not granted: {other:?}"),
        }
    }

    /// Gives a match up; whether its slot is free by that.
    pub(crate) async fn release(&mut self, id: MatchId) -> bool {
        self.released(id).await == Released::Released
    }

    pub(crate) async fn released(&mut self, id: MatchId) -> Released {
        let step = self.store().release(id, self.rules).await.unwrap();
        self.took(step)
    }

    /// A host says something between heartbeats.
    pub(crate) async fn says_status(&mut self, name: &str, status: HostStatus) -> bool {
        let step = self.store().set_status(host(name), status, self.rules).await;
        self.took(step.unwrap())
    }

    /// A host leaves for good.
    pub(crate) async fn host_leaves(&mut self, name: &str) -> bool {
        let step = self.store().leave(host(name), self.rules).await.unwrap();
        self.took(step)
    }

    /// Somebody takes a host out of service, or puts it back.
    pub(crate) async fn drain(&mut self, name: &str, drain: bool) -> bool {
        let step = self.store().drain(host(name), drain, self.rules).await.unwrap();
        self.took(step)
    }

    fn took<T>(&mut self, step: Step<T>) -> T {
        self.events.extend(step.events);
        step.value
    }

    /// Looks after everything that is due, and gives the counts, which must agree with the hosts, as must the index.
    pub(crate) async fn counts(&mut self) -> Counts {
        let counts = self.look().await;
        let hosts = self.hosts().await;
        assert_eq!(counts, counted(&hosts, &counts));
        if let Some(link) = &self.link {
            assert_index(link, &hosts).await;
        }
        counts
    }

    /// Time passes for hosts and deadlines, after a look at what happened until now: rooms have the system's clock.
    pub(crate) async fn advance(&mut self, by: Duration) {
        self.look().await;
        self.clock.advance(by);
    }

    /// Looks after everything that is due.
    async fn look(&mut self) -> Counts {
        loop {
            let step = self.store().tick(self.rules).await.unwrap();
            self.events.extend(step.events);
            if !step.value.more {
                return step.value.counts;
            }
        }
    }

    /// All hosts that are alive.
    pub(crate) async fn hosts(&self) -> Vec<HostRecord> {
        let mut hosts = Vec::new();
        let mut after = None;
        loop {
            let page = self.store.page(after).await.unwrap();
            let Some(last) = page.last() else { break };
            after = Some(last.host.clone());
            hosts.extend(page);
        }
        hosts.retain(|host| host.ttl_ms > 0);
        hosts
    }

    pub(crate) async fn host(&self, name: &str) -> HostRecord {
        let found = self
            .hosts()
            .await
            .into_iter()
            .find(|record| record.host == host(name));
        found.unwrap_or_else(|| panic!("no host {name}"))
    }

    /// Events since the last call, as kinds by host.
    pub(crate) fn events(&mut self) -> Vec<(EventKind, String)> {
        self.events
            .drain(..)
            .map(|event| (event.kind, event.host.to_string()))
            .collect()
    }
}
