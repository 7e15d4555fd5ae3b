//! Match tokens between both real services, each with Secrets of its own, as two pods have them: what the matchmaker issues,
//! signaling admits, also while the match key changes and one of them knows of it before the other.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, UNIX_EPOCH};

use berth_crds::api::{HostPoolSpec, SignalingClusterSpec};
use berth_crds::settings::{PoolSettings, SignalingSettings};
use berth_crds::{HostPool, SignalingCluster};
use berth_dataplane::http::{Health, ListenerOptions};
use berth_dataplane::ice::{IceMetrics, IceOptions, IceProviders};
use berth_dataplane::match_token::{MatchClaims, MatchKeys, Role};
use berth_dataplane::occupancy::MemoryRooms;
use berth_dataplane::secrets::{RotatingSecret, Secret, SecretStore};
use berth_dataplane::settings::{MatchmakerView, SignalingView, Snapshot};
use berth_dataplane::shutdown::Shutdown;
use berth_dataplane::telemetry::Metrics;
use berth_matchmaker as matchmaker;
use berth_signaling as signaling;
use futures::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use berth::peer::http::HttpClient;
use berth::peer::secret::Secret as Bearer;

use crate::support::DEADLINE;

const HOST_SECRET: &str = "secret of the hosts";
const UNAUTHORIZED: (u16, &str) = (1008, "Unauthorized");
const FORBIDDEN: (u16, &str) = (1008, "Forbidden");

/// Current and previous.
type Pair<'a> = (&'a str, Option<&'a str>);

/// Both services, with one host that sits in its room.
struct Both {
    http: HttpClient,
    signaling: SocketAddr,
    cluster: SignalingSettings,
    /// Of the matchmaker, and of signaling.
    secrets: [SecretStore; 2],
    _host: Socket,
}

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// A token, and the room that it was given for.
#[derive(Clone, Debug)]
struct Issued {
    token: String,
    room: String,
}

fn listener(name: &'static str) -> ListenerOptions {
    ListenerOptions::new(name, SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), "the test")
}

fn cluster(address: &str) -> SignalingSettings {
    let mut cluster = SignalingCluster::new("main", SignalingClusterSpec::new(address));
    cluster.spec.auth = serde_json::from_value(json!({"mode": "MatchToken"})).unwrap();
    cluster.spec.rooms.capacity = 64;
    cluster.spec.rate_limits.connections_per_ip = 1_000_000;
    SignalingSettings::try_from(&cluster).unwrap()
}

fn pool() -> PoolSettings {
    let mut pool = HostPool::new("eu", HostPoolSpec::new("main"));
    pool.spec.rate_limits.finds_per_ip = 1_000_000;
    pool.spec.reservation.hold_seconds = 0;
    // However slow the machine is, no token expires.
    pool.spec.reservation.deadline_seconds = 300;
    pool.spec.heartbeat.ttl_seconds = 600;
    PoolSettings::try_from(&pool).unwrap()
}

impl Both {
    async fn start(key: &str) -> Self {
        let (rooms, shutdown) = (MemoryRooms::default(), Shutdown::new());
        let secrets = [SecretStore::in_memory(), SecretStore::in_memory()];
        let ice = || IceProviders::new(IceOptions::default(), IceMetrics::register(&Metrics::new()));
        let view = SignalingView {
            cluster: cluster("ws://localhost"),
            turn: None,
        };
        let signaling = signaling::Server::bind(signaling::ServerOptions {
            listener: listener("signaling"),
            instance_id: "s".to_owned(),
            settings: Snapshot::new(view),
            secrets: secrets[1].clone(),
            ice: ice(),
            store: signaling::Store::Memory(rooms.clone()),
            health: Health::new("signaling", "s", &shutdown),
            metrics: Metrics::new(),
            public_metrics: false,
            shutdown: shutdown.clone(),
            timing: signaling::Timing::default(),
        });
        let signaling = signaling.await.unwrap();
        let address = signaling.public_addr();
        let view = MatchmakerView {
            pool: pool(),
            cluster: cluster(&format!("ws://{address}")),
            turn: None,
        };
        let cluster = view.cluster.clone();
        let matchmaker = matchmaker::Server::bind(matchmaker::ServerOptions {
            listener: listener("matchmaker"),
            settings: Snapshot::new(view),
            secrets: secrets[0].clone(),
            ice: ice(),
            store: matchmaker::Store::Memory(rooms),
            health: Health::new("matchmaker", "m", &shutdown),
            metrics: Metrics::new(),
            public_metrics: false,
            internal: matchmaker::Internal::default(),
            shutdown: shutdown.clone(),
        });
        let matchmaker = matchmaker.await.unwrap();
        let base = format!("http://{}", matchmaker.public_addr());
        shutdown.spawn(signaling.serve());
        shutdown.spawn(matchmaker.serve());
        for secrets in &secrets {
            set(secrets, (key, None));
        }
        let http = HttpClient::new(base.parse().unwrap()).unwrap();
        let issued = heartbeat(&http).await;
        let host = admitted(address, &issued).await;
        Self {
            http,
            signaling: address,
            cluster,
            secrets,
            _host: host,
        }
    }

    async fn heartbeat(&self) -> Issued {
        heartbeat(&self.http).await
    }

    /// A player gets a match.
    async fn find(&self) -> (Issued, Value) {
        let answer = self.http.post("api/match/find", None, &json!({})).await.unwrap();
        let answer: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(answer["found"], true, "{answer}");
        assert_eq!(answer["signalingUrl"], format!("ws://{}", self.signaling));
        (issued(&answer, answer["roomId"].as_str().unwrap()), answer)
    }

    /// One more token for the host and one for a player, sorted by the key that signed them.
    async fn issue(&self, by_old: &mut Vec<Issued>, by_new: &mut Vec<Issued>, new: &str) {
        let new = MatchKeys::new(&RotatingSecret {
            current: Some(Secret::new(new).unwrap()),
            previous: None,
        });
        let new = new.unwrap();
        for issued in [self.heartbeat().await, self.find().await.0] {
            let is_new = new.verify(&issued.token, unix_now()).is_ok();
            (if is_new { &mut *by_new } else { &mut *by_old }).push(issued);
        }
    }

    fn claims(&self, issued: &Issued) -> MatchClaims {
        let keys = MatchKeys::from_store(&self.secrets[0], &self.cluster).unwrap();
        keys.verify(&issued.token, unix_now()).unwrap()
    }
}

fn unix_now() -> u64 {
    UNIX_EPOCH.elapsed().unwrap().as_secs()
}

/// Puts the Secrets of a service in force, all at once.
fn set(secrets: &SecretStore, (current, previous): Pair<'_>) {
    let secret = |text: &str| Secret::new(text).unwrap();
    let keys = [("current", Some(current)), ("previous", previous)];
    let keys = keys
        .into_iter()
        .filter_map(|(key, value)| Some((key.to_owned(), secret(value?))));
    let hosts = [("current".to_owned(), secret(HOST_SECRET))].into();
    secrets.set_documents(
        [
            ("eu-host-secret".to_owned(), hosts),
            ("main-match-key".to_owned(), keys.collect()),
        ]
        .into(),
    );
}

async fn heartbeat(http: &HttpClient) -> Issued {
    let body = json!({"hostId": "host", "roomId": "room", "capacity": 63});
    let bearer = Bearer::new(HOST_SECRET);
    let answer = http
        .post("api/host/heartbeat", Some(&bearer), &body)
        .await
        .unwrap();
    issued(&serde_json::from_slice(&answer.body).unwrap(), "room")
}

fn issued(answer: &Value, room: &str) -> Issued {
    Issued {
        token: answer["matchToken"].as_str().unwrap().to_owned(),
        room: room.to_owned(),
    }
}

/// Joins a room; the close code and reason if signaling refuses.
async fn join(signaling: SocketAddr, token: &str, room: &str) -> Result<Socket, (u16, String)> {
    let url = format!("ws://{signaling}/?roomId={room}&token={token}");
    let (mut socket, _) = connect_async(url).await.unwrap();
    // Whoever has a seat is told that this is no message.
    socket.send(Message::text("[]")).await.unwrap();
    let answer = async {
        loop {
            match socket.next().await.expect("an end without a word").unwrap() {
                Message::Text(text) if text.contains("schema-error") => return None,
                Message::Close(close) => {
                    let close = close.expect("a close without a reason");
                    return Some((close.code.into(), close.reason.to_string()));
                }
                // Others come and go.
                _ => {}
            }
        }
    };
    match tokio::time::timeout(DEADLINE, answer).await.expect("no answer") {
        None => Ok(socket),
        Some(refused) => Err(refused),
    }
}

async fn admitted(signaling: SocketAddr, issued: &Issued) -> Socket {
    let joined = join(signaling, &issued.token, &issued.room).await;
    joined.unwrap_or_else(|refused| panic!("{refused:?}: {issued:?}"))
}

async fn refused(signaling: SocketAddr, token: &str, room: &str, (code, reason): (u16, &str)) {
    let refused = join(signaling, token, room).await.err();
    assert_eq!(refused, Some((code, reason.to_owned())));
}

/// The three steps of a rotation (`docs/auth.md`): the new key comes as `previous`, then it signs and the old one is
/// `previous`, then the old one goes. At each step either service may be the first to know. Every token that was ever issued opens its
/// room until its key is gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_match_key_rotates_without_a_refused_peer() {
    const MATCHMAKER_FIRST: [usize; 2] = [0, 1];
    const SIGNALING_FIRST: [usize; 2] = [1, 0];
    let both = Both::start("one").await;
    let rounds = [
        ("one", "two", MATCHMAKER_FIRST),
        ("two", "three", SIGNALING_FIRST),
    ];
    for (old, new, order) in rounds {
        let mut by_old = Vec::new();
        let mut by_new = Vec::new();
        let steps: [Pair<'_>; 2] = [(old, Some(new)), (new, Some(old))];
        for key in steps {
            for service in order {
                both.issue(&mut by_old, &mut by_new, new).await;
                set(&both.secrets[service], key);
                both.issue(&mut by_old, &mut by_new, new).await;
                for issued in by_old.iter().chain(&by_new) {
                    drop(admitted(both.signaling, issued).await);
                }
            }
        }
        assert!(
            by_old.len() >= 4 && by_new.len() >= 2,
            "{} {}",
            by_old.len(),
            by_new.len()
        );
        for service in order {
            set(&both.secrets[service], (new, None));
            both.issue(&mut by_old, &mut by_new, new).await;
            for issued in &by_new {
                drop(admitted(both.signaling, issued).await);
            }
        }
        for issued in &by_old {
            refused(both.signaling, &issued.token, &issued.room, UNAUTHORIZED).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_opens_one_room_for_one_who_and_hosts_get_a_new_one_with_each_beat() {
    let both = Both::start("key").await;
    let (player, answer) = both.find().await;
    let host = both.heartbeat().await;
    for (issued, role, id) in [
        (&player, Role::Player, answer["matchId"].as_str().unwrap()),
        (&host, Role::Host, "host"),
    ] {
        let claims = both.claims(issued);
        assert_eq!(
            (claims.role, claims.id.as_str(), claims.room.as_str()),
            (role, id, "room")
        );
        assert_eq!(claims.pool, "default/eu");
        drop(admitted(both.signaling, issued).await);
        refused(both.signaling, &issued.token, "another-room", FORBIDDEN).await;
    }
    refused(both.signaling, "", "room", UNAUTHORIZED).await;
    let first = both.claims(&host).exp;
    let later = async {
        loop {
            // Times in tokens are whole seconds.
            let exp = both.claims(&both.heartbeat().await).exp;
            if exp > first {
                return exp;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(DEADLINE, later)
        .await
        .expect("no beat brings a newer token");
}
