//! What the matchmaker learns of peers: their roles and ids, out of the store.

use std::collections::BTreeMap;
use std::time::Duration;

use berth_crds::api::LegacyPeers;
use berth_crds::settings::{ObjectName, RoomId};
use berth_dataplane::keys::Keys;
use berth_dataplane::match_token::Role;
use berth_dataplane::occupancy::{LEASE, SharedRooms, Timing, Who};
use berth_dataplane::redis::{LinkOptions, RedisEndpoint, RedisLink, RedisMetrics};

use crate::auth::{match_token, put_match_key, require_match_tokens};
use crate::support::v2::Peer;
use crate::support::{Client, Node, RedisServer, Request, candidate, eventually, offer, pause};

const ANSWER: &str = r#"{"type":"answer","sdp":"v=0"}"#;

/// The store as a matchmaker reads it.
struct Watch(SharedRooms);

impl Watch {
    async fn on(redis: &RedisServer) -> Self {
        let endpoint = RedisEndpoint::from_url(&redis.url()).unwrap();
        let link = RedisLink::start(endpoint, LinkOptions::default(), RedisMetrics::unregistered());
        link.wait_healthy().await;
        let timing = Timing {
            lease: LEASE,
            room_ttl: Duration::from_mins(1),
        };
        Self(SharedRooms::new(
            link,
            Keys::new(&ObjectName::new("default", "default")),
            timing,
        ))
    }

    /// Who sits in the room, by join number.
    async fn members(&self, room: &str) -> Vec<Who> {
        let Ok(seats) = self.0.seats(&RoomId::parse(room, 64).unwrap()).await else {
            return Vec::new();
        };
        let seats: BTreeMap<u64, Who> = seats.into_iter().map(|seat| (seat.join, seat.who)).collect();
        seats.into_values().collect()
    }

    /// Waits until these sit in the room.
    async fn shows(&self, room: &str, expected: &[Who]) {
        eventually(&format!("{expected:?}"), || async {
            (self.members(room).await == expected).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn what_a_peer_sends_first_shows_what_it_is() {
    let redis = RedisServer::start();
    let (one, two) = (Node::on(&redis, "i1").await, Node::on(&redis, "i2").await);
    let watch = Watch::on(&redis).await;
    let mut host = Client::join(&one, "r").await;
    let mut player = Client::join(&two, "r").await;
    player.send(candidate("early")).await;
    assert_eq!(host.hear().await, candidate("early"));
    watch.shows("r", &[Who::default(), Who::default()]).await;
    player.send(offer("o")).await;
    watch.shows("r", &[Who::default(), Who::is(Role::Player)]).await;
    host.send(ANSWER).await;
    let both = [Who::is(Role::Host), Who::is(Role::Player)];
    watch.shows("r", &both).await;
    // What it sends later says nothing new, and costs nothing.
    let calls = redis.calls("evalsha");
    player.send(ANSWER).await;
    host.send(offer("renegotiated")).await;
    assert_eq!(
        player.hear_many(2).await,
        [ANSWER.to_owned(), offer("renegotiated")]
    );
    watch.shows("r", &both).await;
    assert!(
        redis.calls("evalsha") < calls + 20,
        "only leases and our own looks"
    );
}

#[tokio::test]
async fn what_a_peer_is_outlives_redis() {
    let mut redis = RedisServer::start();
    let node = Node::on(&redis, "i1").await;
    let watch = Watch::on(&redis).await;
    let (mut host, mut player) = (Client::join(&node, "r").await, Client::join(&node, "r").await);
    host.send(ANSWER).await;
    watch.shows("r", &[Who::is(Role::Host), Who::default()]).await;
    // Said while nobody hears it.
    pause(&redis, 3000);
    player.send(offer("o")).await;
    let both = [Who::is(Role::Host), Who::is(Role::Player)];
    watch.shows("r", &both).await;
    redis.kill();
    redis.restart();
    watch.shows("r", &both).await;
}

#[tokio::test]
async fn roles_and_tokens_are_known_from_the_beginning() {
    let redis = RedisServer::start();
    let node = Node::on(&redis, "i1").await;
    let watch = Watch::on(&redis).await;
    let _host = Peer::join(&node, "r1", "host").await;
    watch.shows("r1", &[Who::is(Role::Host)]).await;
    put_match_key(&node, "key", None);
    require_match_tokens(&node, LegacyPeers::Refuse);
    let token = match_token("key");
    let _player = Client::open(
        node.address,
        Request::target(&format!("/?roomId=r1&token={token}")),
    )
    .await;
    let both = [Who::is(Role::Host), Who::proven(Role::Player, "m-1")];
    watch.shows("r1", &both).await;
}
