//! A served matchmaker with everything around it.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use berth_crds::api::{HostListAccess, HostPoolSpec, SignalingClusterSpec, TurnConfigSpec};
use berth_crds::settings::{PoolSettings, SecretPair, SignalingSettings, TurnSettings};
use berth_crds::{HostPool, SignalingCluster, TurnConfig};
use berth_dataplane::http::{Health, Listener, ListenerOptions, internal_router};
use berth_dataplane::ice::{IceMetrics, IceOptions, IceProviders};
use berth_dataplane::match_token::Role;
use berth_dataplane::occupancy::{Claim, Instance, MemberId, MemoryRooms, Seat, Seats, Who};
use berth_dataplane::redis::{LinkOptions, RedisEndpoint, RedisLink, RedisMetrics};
use berth_dataplane::secrets::{Secret, SecretStore};
use berth_dataplane::settings::{MatchmakerView, Snapshot};
use berth_dataplane::shutdown::{DrainPlan, Phase, Shutdown};
use berth_dataplane::telemetry::Metrics;
use berth_dataplane::testing::RedisServer;
use berth_matchmaker::{Internal, Server, ServerOptions, Store};
use serde_json::{Value, json};
use uuid::Uuid;

use super::http::{Answer, get, post};
use super::world::{keys, room, shared_rooms};

/// The bearer secret of the pool's hosts.
pub(crate) const SECRET: &str = "host-secret";

/// A matchmaker that serves, and the rooms of its hosts.
pub(crate) struct Served {
    pub(crate) public: SocketAddr,
    pub(crate) internal: SocketAddr,
    pub(crate) settings: Snapshot<MatchmakerView>,
    pub(crate) secrets: SecretStore,
    pub(crate) seats: Seats,
    pub(crate) shutdown: Shutdown,
    pub(crate) instance: Instance,
}

/// Cluster, pool and perhaps ICE servers, with every default.
pub(crate) fn view(turn: Option<TurnConfigSpec>) -> MatchmakerView {
    let mut pool = HostPool::new("eu", HostPoolSpec::new("main"));
    // As it is with environment variables alone.
    pool.spec.host_list_access = HostListAccess::Public;
    // All clients of a test have one address.
    pool.spec.rate_limits.finds_per_ip = 1_000_000;
    // Nor does a test wait for what takes time alone; those of the store do, by a clock of their own.
    pool.spec.matching.unreachable_grace_seconds = 0;
    pool.spec.reservation.hold_seconds = 0;
    pool.metadata.namespace = Some("games".to_owned());
    let mut cluster = SignalingCluster::new(
        "main",
        SignalingClusterSpec::new("wss://signaling.example.com/ws"),
    );
    cluster.spec.rooms.capacity = 8;
    cluster.metadata.namespace = Some("games".to_owned());
    let turn = turn.map(|spec| TurnConfig::new("turn", spec));
    MatchmakerView {
        pool: PoolSettings::try_from(&pool).unwrap(),
        cluster: SignalingSettings::try_from(&cluster).unwrap(),
        turn: turn.map(|turn| TurnSettings::try_from(&turn).unwrap()),
    }
}

/// A Secret with these values.
fn document(
    names: SecretPair,
    current: Option<&str>,
    previous: Option<&str>,
) -> (String, BTreeMap<String, Secret>) {
    let values = [(names.current.key, current), (names.previous.key, previous)];
    let keys = values
        .into_iter()
        .filter_map(|(key, value)| Some((key, Secret::new(value?).unwrap())));
    (names.current.name, keys.collect())
}

fn listener(name: &'static str) -> ListenerOptions {
    ListenerOptions::new(name, SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), "the test")
}

impl Served {
    /// In memory, with every default.
    pub(crate) async fn new() -> Self {
        Self::with(view(None)).await
    }

    /// The same for tests with so many hosts that the first one could fall silent meanwhile.
    pub(crate) async fn patient() -> Self {
        let mut view = view(None);
        view.pool.heartbeat_ttl = Duration::from_mins(10);
        Self::with(view).await
    }

    pub(crate) async fn with(view: MatchmakerView) -> Self {
        let rooms = MemoryRooms::default();
        Self::start(
            view,
            Store::Memory(rooms.clone()),
            Seats::Memory(rooms),
            IceOptions::default(),
        )
        .await
    }

    /// In memory, with what stands in for providers of ICE servers.
    pub(crate) async fn with_ice(view: MatchmakerView, ice: IceOptions) -> Self {
        let rooms = MemoryRooms::default();
        Self::start(view, Store::Memory(rooms.clone()), Seats::Memory(rooms), ice).await
    }

    /// In memory, with every default and these secrets.
    pub(crate) async fn with_secrets(secrets: SecretStore) -> Self {
        let rooms = MemoryRooms::default();
        let (store, seats) = (Store::Memory(rooms.clone()), Seats::Memory(rooms));
        Self::start_with(view(None), store, seats, IceOptions::default(), secrets).await
    }

    pub(crate) async fn on_redis(server: &RedisServer) -> Self {
        let endpoint = RedisEndpoint::from_url(&server.url()).unwrap();
        let link = RedisLink::start(endpoint, LinkOptions::default(), RedisMetrics::unregistered());
        link.wait_healthy().await;
        let seats = Seats::Shared(shared_rooms(&link, keys()));
        let mut view = view(None);
        // As short as it may be: after a loss nobody is handed out for so long.
        view.pool.reservation_deadline = Duration::from_secs(5);
        Self::start(view, Store::Redis(link), seats, IceOptions::default()).await
    }

    async fn start(view: MatchmakerView, store: Store, seats: Seats, ice: IceOptions) -> Self {
        Self::start_with(view, store, seats, ice, SecretStore::in_memory()).await
    }

    async fn start_with(
        view: MatchmakerView,
        store: Store,
        seats: Seats,
        ice: IceOptions,
        secrets: SecretStore,
    ) -> Self {
        let (settings, shutdown) = (Snapshot::new(view), Shutdown::new());
        let metrics = Metrics::new();
        let health = Health::new("matchmaker", "m-1", &shutdown);
        let internal = Internal::default();
        let server = Server::bind(ServerOptions {
            listener: listener("public"),
            settings: settings.clone(),
            secrets: secrets.clone(),
            ice: IceProviders::new(ice, IceMetrics::register(&metrics)),
            store,
            health: health.clone(),
            metrics: metrics.clone(),
            public_metrics: false,
            internal: internal.clone(),
            shutdown: shutdown.clone(),
        });
        let server = server.await.unwrap();
        let public = server.public_addr();
        shutdown.spawn(server.serve());
        let internal_port = Listener::bind(listener("internal")).await.unwrap();
        let address = internal_port.local_addr();
        let routes = internal_router(&[health], &metrics).merge(internal.router());
        tokio::spawn(internal_port.serve(routes, shutdown.clone(), Phase::Expired));
        let ending = shutdown.clone();
        let plan = DrainPlan {
            endpoint_delay: Duration::ZERO,
            drain_timeout: Duration::from_secs(30),
        };
        tokio::spawn(async move { ending.run(|| plan).await });
        let this = Self {
            public,
            internal: address,
            settings,
            secrets,
            seats,
            shutdown,
            instance: Instance::new("signaling", 1),
        };
        this.host_secret(Some(SECRET), None);
        this.seats.renew(&this.instance).await.unwrap();
        this
    }

    /// Puts host secrets in force, and no other ones.
    pub(crate) fn host_secret(&self, current: Option<&str>, previous: Option<&str>) {
        let names = self.settings.load().pool.host_secret.clone();
        self.secrets
            .set_documents([document(names, current, previous)].into());
    }

    /// Puts admin tokens in force, beside the usual host secret.
    pub(crate) fn admin_token(&self, current: Option<&str>, previous: Option<&str>) {
        let pool = self.settings.load().pool.clone();
        let documents = [
            document(pool.host_secret, Some(SECRET), None),
            document(pool.admin_token, current, previous),
        ];
        self.secrets.set_documents(documents.into());
    }

    pub(crate) async fn join(&self, name: &str) -> MemberId {
        let member = MemberId(Uuid::new_v4());
        self.seats
            .join(&room(name), &Claim::new(member, &self.instance), 64)
            .await
            .unwrap();
        member
    }

    /// A player takes a seat, and shows that it is one.
    pub(crate) async fn plays(&self, name: &str) -> MemberId {
        let member = self.join(name).await;
        let seats = self.seats.seats(&room(name)).await.unwrap();
        for seat in seats.into_iter().filter(|seat| seat.member == member) {
            let who = Who::is(Role::Player);
            self.seats.note(&room(name), &Seat { who, ..seat }).await.unwrap();
        }
        member
    }

    /// Signaling lives again after the store lost everything, and seats the players who are still there.
    pub(crate) async fn return_to_rooms(&self, members: &[(&str, MemberId)]) {
        self.seats.renew(&self.instance).await.unwrap();
        for (name, member) in members {
            let claim = Claim {
                who: Who::is(Role::Player),
                ..Claim::new(*member, &self.instance)
            };
            self.seats.join(&room(name), &claim, 64).await.unwrap();
        }
    }

    pub(crate) async fn leave(&self, name: &str, member: MemberId) {
        self.seats
            .leave(&room(name), member, &self.instance)
            .await
            .unwrap();
    }

    /// Sends a heartbeat with the right secret.
    pub(crate) async fn heartbeat(&self, body: &Value) -> Answer {
        post("/api/host/heartbeat")
            .bearer(SECRET)
            .json(body)
            .send(self.public)
            .await
    }

    /// Registers a host that sits in its room.
    pub(crate) async fn seated_host(&self, name: &str) {
        self.join(&format!("room-{name}")).await;
        let answer = self
            .heartbeat(&json!({"hostId": name, "roomId": format!("room-{name}")}))
            .await;
        assert_eq!(answer.status, 200, "{}", answer.body);
    }

    pub(crate) async fn find(&self, body: &Value) -> Answer {
        post("/api/match/find").json(body).send(self.public).await
    }

    /// Asks the internal port.
    pub(crate) async fn ask(&self, path: &str) -> Answer {
        get(path).send(self.internal).await
    }
}
