//! Redis is killed and comes back, empty.

use std::time::{Duration, Instant};

use berth_dataplane::testing::RedisServer;
use berth_matchmaker::host::{Heartbeat, HostState, HostStatus};
use berth_matchmaker::slots::Asked;
use berth_matchmaker::store::{Found, Registered, Request};
use serde_json::json;

use crate::support::server::Served;
use crate::support::world::{Kind, World, anywhere, constant, host, room};
use crate::support::{LONG, until};

#[tokio::test]
async fn killed_and_started_again() {
    let mut world = World::new(Kind::Redis).await;
    world.seated_host("a", "us").await;
    world.granted(anywhere()).await;
    world.redis.as_mut().unwrap().0.kill();

    let begun = Instant::now();
    for _ in 0..20 {
        let error = world.store.find(anywhere(), world.rules).await.unwrap_err();
        assert!(error.is_outage(), "{error:?}");
        assert!(
            world
                .store
                .heartbeat(constant("a", "us"), world.rules)
                .await
                .is_err()
        );
    }
    assert!(
        begun.elapsed() < Duration::from_secs(20),
        "an outage must be told at once, not after each timeout"
    );

    world.redis.as_mut().unwrap().0.restart();
    let link = world.redis.as_ref().unwrap().1.clone();
    until("the link is back", || {
        let healthy = link.healthy();
        async move { healthy }
    })
    .await;
    assert_eq!(world.find(anywhere()).await, Found::NotNow);
    // Signaling lives again and has seated host and player once more, before the host's next heartbeat.
    world.signaling_lives().await;
    world.join(&room("room-a")).await;
    let player = world.plays(&room("room-a")).await;
    world.beat(constant("a", "us")).await;
    let found = world.find(anywhere()).await;
    assert!(
        matches!(found, Found::NotNow | Found::NoHosts),
        "the session goes on: {found:?}"
    );
    world.leave(&room("room-a"), player).await;
    let begun = Instant::now();
    let host_again = loop {
        // Right after an interruption other replicas may have grants to write back.
        match world.find(anywhere()).await {
            Found::Granted(grant) => break grant.host,
            other => assert!(begun.elapsed() < LONG, "{other:?}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!(host_again, host("a"));
}

/// What Redis was asked while it was paused may be done later, unheard: no slot is granted twice by that, and none is lost.
#[tokio::test]
async fn frozen_and_thawed() {
    let mut world = World::new(Kind::Redis).await;
    world.seated_host("a", "us").await;
    world.redis.as_ref().unwrap().0.freeze();
    for _ in 0..3 {
        let error = world.store.find(anywhere(), world.rules).await.unwrap_err();
        assert!(error.is_outage(), "{error:?}");
    }
    world.redis.as_ref().unwrap().0.thaw();
    let link = world.redis.as_ref().unwrap().1.clone();
    until("the link is back", || {
        let healthy = link.healthy();
        async move { healthy }
    })
    .await;
    let begun = Instant::now();
    loop {
        world.beat(constant("a", "us")).await;
        let found = world.find(anywhere()).await;
        let host = &world.hosts().await[0];
        assert!(host.reservations.len() <= 1, "{host:?}");
        if matches!(found, Found::Granted(_)) {
            break;
        }
        assert!(begun.elapsed() < LONG, "{host:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
        world.advance(Duration::from_secs(1)).await;
    }
    assert_eq!(world.find(anywhere()).await, Found::NoHosts);
}

/// The connection broke before the answer: who asks again with the same `Idempotency-Key` gets what was granted, though nobody else gets
/// anything for a moment.
#[tokio::test]
async fn a_find_is_repeated_across_an_interruption() {
    let mut world = World::new(Kind::Redis).await;
    for name in ["a", "b"] {
        world.seated_host(name, "us").await;
    }
    let request = Request {
        asked: Some(Asked(1)),
        ..anywhere()
    };
    let granted = world.granted(request.clone()).await;
    world.redis.as_ref().unwrap().0.command("CLIENT KILL TYPE normal");
    let begun = Instant::now();
    while world
        .store
        .find(anywhere(), world.rules)
        .await
        .map(|step| step.value)
        .ok()
        != Some(Found::NotNow)
    {
        assert!(begun.elapsed() < LONG);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(world.find(request.clone()).await, Found::Granted(granted));
    let other = Request {
        asked: Some(Asked(2)),
        ..request
    };
    assert_eq!(world.find(other).await, Found::Conflict);
}

/// A heartbeat that one replica kept while Redis was away comes after what its host said at another one.
#[tokio::test]
async fn a_kept_heartbeat_undoes_nothing_that_was_said_later() {
    let mut world = World::new(Kind::Redis).await;
    for name in ["a", "b", "c"] {
        world.seated_host(name, "us").await;
    }
    world.clock.advance(Duration::from_secs(10));
    assert!(world.host_leaves("a").await);
    assert!(world.says_status("b", HostStatus::Draining).await);
    let kept = |name: &str, age| Heartbeat {
        age: Duration::from_secs(age),
        ..constant(name, "us")
    };
    for name in ["a", "b", "c"] {
        assert_eq!(world.beat(kept(name, 3)).await, Registered::Renewed);
    }
    let states: Vec<(String, HostState)> = world
        .hosts()
        .await
        .into_iter()
        .map(|record| (record.host.to_string(), record.state))
        .collect();
    let expected = [("b", HostState::Draining), ("c", HostState::Idle)];
    assert_eq!(states, expected.map(|(name, state)| (name.to_owned(), state)));
    // It was heard all the same.
    world.clock.advance(Duration::from_secs(25));
    assert_eq!(world.counts().await.hosts["draining"], 1);
    // What is said after that counts again.
    world.beat(constant("b", "us")).await;
    assert_eq!(world.beat(constant("a", "us")).await, Registered::New);
    assert_eq!(world.host("b").await.state, HostState::Idle);
}

/// Between the return of Redis and the first lease of signaling nobody knows who sits where.
#[tokio::test]
async fn nobody_is_handed_out_while_occupancy_is_expected() {
    let mut world = World::new(Kind::Redis).await;
    world.seated_host("a", "us").await;
    let (server, _) = world.redis.as_ref().unwrap();
    server.command("FLUSHALL");
    world.rules.expect_occupancy = true;
    world.beat(constant("a", "us")).await;
    assert_eq!(world.find(anywhere()).await, Found::NotNow);
    // It needs no further heartbeat when that is over.
    world.rules.expect_occupancy = false;
    world.granted(anywhere()).await;
}

/// A host in the field heartbeats `idle` as soon as Redis is back, in the middle of its session, and may be quicker than
/// signaling.
#[tokio::test]
async fn a_session_outlives_redis() {
    let mut redis = RedisServer::start();
    let served = Served::on_redis(&redis).await;
    served.seated_host("a").await;
    assert_eq!(served.find(&json!({})).await.status, 200);
    let player = served.plays("room-a").await;
    until("the room is known", || async {
        served.ask("/counts").await.json()["hosts"]["busy"] == 1
    })
    .await;
    redis.kill();
    assert_eq!(served.find(&json!({})).await.status, 503);
    redis.restart();
    let beat = json!({"hostId": "a", "roomId": "room-a"});
    until("Redis is back, and nobody knows who sits where", || async {
        assert_eq!(served.heartbeat(&beat).await.status, 200, "at any time");
        served.find(&json!({})).await.status == 404
    })
    .await;
    served.return_to_rooms(&[("room-a", player)]).await;
    served.join("room-a").await;
    served.heartbeat(&beat).await;
    assert_eq!(served.find(&json!({})).await.status, 404, "the session goes on");
    served.leave("room-a", player).await;
    until(
        "what was granted before is over, and the host is handed out again",
        || async { served.find(&json!({})).await.status == 200 },
    )
    .await;
}
