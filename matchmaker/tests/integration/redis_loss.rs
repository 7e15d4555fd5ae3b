//! Redis is away for longer than a host lives, and comes back with its data or without.

use std::time::Duration;

use berth_dataplane::testing::RedisServer;
use berth_matchmaker::host::{HostState, HostStatus, MatchId};
use berth_matchmaker::store::{EventKind, Found, Held, Registered, Released};
use futures::future::join_all;
use serde_json::json;
use uuid::Uuid;

use crate::support::http::post;
use crate::support::server::Served;
use crate::support::until;
use crate::support::world::{Kind, World, anywhere, constant, host, room};

const HOSTS: usize = 300;
/// The shortest that there is.
const TTL: Duration = Duration::from_secs(10);

async fn beat_all(served: &Served) {
    let beats = (0..HOSTS).map(async |number| {
        let body = json!({"hostId": format!("h{number}"), "roomId": format!("room-h{number}")});
        let answer = served.heartbeat(&body).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
    });
    join_all(beats).await;
}

async fn counted(served: &Served) -> u64 {
    let counts = served.ask("/counts").await.json();
    counts["hosts"]["total"].as_u64().unwrap_or_default()
}

/// An outage that is longer than a host lives without a heartbeat. `keeps`: Redis has its data afterwards.
async fn no_host_vanishes(keeps: bool) {
    let persistence: &[&str] = if keeps {
        &["--appendonly", "yes", "--appendfsync", "always"]
    } else {
        &[]
    };
    let mut redis = RedisServer::start_with(persistence);
    let served = Served::on_redis(&redis).await;
    let mut view = (*served.settings.get()).clone();
    view.pool.heartbeat_ttl = TTL;
    served.settings.replace(view);
    for number in 0..HOSTS {
        served.join(&format!("room-h{number}")).await;
    }
    beat_all(&served).await;
    assert_eq!(served.find(&json!({})).await.status, 200);
    redis.kill();
    // Hosts know nothing of it, and go on: the last heartbeat is half the outage ago when Redis returns.
    beat_all(&served).await;
    tokio::time::sleep(TTL / 2).await;
    beat_all(&served).await;
    let refused = served.find(&json!({})).await;
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("1")));
    assert_eq!(
        served.ask("/statusz").await.json()["pool"]["waitingHeartbeats"],
        HOSTS
    );
    tokio::time::sleep(TTL * 6 / 10).await;
    redis.restart();
    until(
        "every host is there again, without a further heartbeat",
        || async {
            let status = served.ask("/statusz").await.json();
            status["pool"]["waitingHeartbeats"] == 0 && counted(&served).await == HOSTS as u64
        },
    )
    .await;
    let status = served.ask("/statusz").await.json();
    assert_eq!(status["pool"]["quiet"], !keeps, "{status}");
    let metrics = served.ask("/metrics").await.body;
    assert!(
        metrics.lines().any(|line| line == "berth_hosts_lost_total 0"),
        "{metrics}"
    );
}

#[tokio::test]
async fn no_host_vanishes_where_redis_keeps_its_data() {
    no_host_vanishes(true).await;
}

#[tokio::test]
async fn no_host_vanishes_where_redis_keeps_nothing() {
    no_host_vanishes(false).await;
}

/// What waited for its player is written back, before its host is known or afterwards.
#[tokio::test]
async fn grants_are_written_back() {
    let mut world = World::new(Kind::Redis).await;
    for name in ["a", "b", "c"] {
        world.seated_host(name, "us").await;
    }
    world.serve_by(2).await;
    let requests = [anywhere(), anywhere()];
    let mut rooms = Vec::new();
    for request in &requests {
        rooms.push(world.granted(request.clone()).await.room);
    }
    world.lose_everything().await;
    for name in ["a", "b", "c"] {
        assert_eq!(world.beat(constant(name, "us")).await, Registered::New);
    }
    for (request, room) in requests.iter().zip(&rooms) {
        match world.look_up(request.id).await {
            Held::Live(grant) => assert_eq!(grant.room, *room),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(world.counts().await.hosts["allocated"], 2);
    // Its player comes, and it is a session like any other.
    world.plays(&rooms[0]).await;
    assert_eq!(world.counts().await.hosts["busy"], 1);
    // Nobody else is sent anywhere before the last one of before is over.
    for _ in 0..29 {
        assert_eq!(world.find(anywhere()).await, Found::NotNow);
        world.advance(Duration::from_secs(1)).await;
        for name in ["a", "b", "c"] {
            world.beat(constant(name, "us")).await;
        }
    }
    world.advance(Duration::from_secs(1)).await;
    assert_eq!(world.counts().await.free, 2);
    world.granted(anywhere()).await;
    world.granted(anywhere()).await;
    assert_eq!(world.find(anywhere()).await, Found::NoHosts);
}

/// A reload after Redis has lost everything finds its match again, through any replica.
#[tokio::test]
async fn resume_tokens_outlive_a_loss() {
    let redis = RedisServer::start();
    let replicas = [Served::on_redis(&redis).await, Served::on_redis(&redis).await];
    for served in &replicas {
        let mut view = (*served.settings.get()).clone();
        view.pool.reservation_deadline = Duration::from_mins(5);
        served.settings.replace(view);
    }
    replicas[0].seated_host("a").await;
    let found = replicas[0].find(&json!({})).await.json();
    let path = format!("/api/match/{}/resume", found["matchId"].as_str().unwrap());
    let token = json!({"resumeToken": found["resumeToken"]});
    let body = json!({"hostId": "a", "roomId": "room-a"});
    for round in ["before the loss", "after it"] {
        for served in &replicas {
            until(round, || async {
                assert_eq!(served.heartbeat(&body).await.status, 200);
                let answer = post(&path).json(&token).send(served.public).await;
                assert_ne!(answer.status, 403, "{round}: {}", answer.body);
                answer.status == 200
            })
            .await;
        }
        redis.command("FLUSHALL");
    }
    // One that starts after the loss learns from the others what came before.
    let fresh = Served::on_redis(&redis).await;
    until("the new replica knows", || async {
        assert_eq!(fresh.heartbeat(&body).await.status, 200);
        post(&path).json(&token).send(fresh.public).await.status == 200
    })
    .await;
}

/// A matchmaker that starts when Redis has just come back empty does not know better than those that ran before.
#[tokio::test]
async fn a_fresh_matchmaker_finds_out_from_the_others() {
    let mut world = World::new(Kind::Redis).await;
    world.seated_host("a", "us").await;
    world.serve_by(2).await;
    world.granted(anywhere()).await;
    let (server, _) = world.redis.as_ref().unwrap();
    server.command("FLUSHALL");
    world.signaling_lives().await;
    // This one is the first to look at the empty store.
    world.restart(0).await;
    world.join(&room("room-a")).await;
    world.beat(constant("a", "us")).await;
    for _ in 0..4 {
        assert_eq!(world.find(anywhere()).await, Found::NotNow);
    }
}

/// Nobody looked after the pool for a while, as after an outage: hosts could not be heard.
#[tokio::test]
async fn silent_hosts_are_not_lost_after_a_gap() {
    let mut world = World::new(Kind::Redis).await;
    world.rules.deadline = Duration::from_mins(2);
    for name in ["a", "b"] {
        world.seated_host(name, "us").await;
    }
    let request = anywhere();
    let granted = world.granted(request.clone()).await;
    world.counts().await;
    let (server, _) = world.redis.as_ref().unwrap();
    let key = "berth:games/main:{games/main}:pool:eu:state";
    let seen = server.command(&format!("HGET {key} seen"));
    let seen: u64 = seen.lines().nth(1).unwrap().trim().parse().unwrap();
    server.command(&format!("HSET {key} seen {}", seen - 60_000));
    world.clock.advance(Duration::from_secs(31));
    // Neither is handed out nor lost.
    assert_eq!(world.find(anywhere()).await, Found::NoHosts);
    world.advance(Duration::ZERO).await;
    let kinds: Vec<EventKind> = world.events().into_iter().map(|(kind, _)| kind).collect();
    assert!(!kinds.contains(&EventKind::HostLost), "{kinds:?}");
    // Its own word keeps one too.
    let other = if granted.host == host("a") { "b" } else { "a" };
    assert!(world.says_status(granted.host.as_str(), HostStatus::Idle).await);
    assert!(matches!(world.look_up(request.id).await, Held::Live(_)));
    // The first heartbeat makes one whole again.
    assert_eq!(world.beat(constant(other, "us")).await, Registered::Renewed);
    assert_eq!(world.host(other).await.state, HostState::Idle);
    assert_eq!(world.granted(anywhere()).await.host, host(other));
    assert_eq!(world.released(MatchId(Uuid::nil())).await, Released::Unknown);
}
