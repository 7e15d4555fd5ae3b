//! Defects that the Node services have, one test each: none of them is reproduced. What is part of their wire (stripped
//! fields, refused end-of-candidates, the close code of a full room) is in `protocol` and `refusals` instead.

mod program;
mod relay;
mod store;

use std::time::{Duration, Instant};

use berth_crds::settings::AllowedOrigins;
use serde_json::json;

use crate::cluster::join_when_free;
use crate::refusals::{require_tokens, token};
use crate::support::{
    Client, DEADLINE, Node, NodeOptions, PEER_DISCONNECTED, RedisServer, Request, candidate, eventually, get,
    offer, pause,
};

/// There: a page whose origin was refused took a seat and was announced when it left.
#[tokio::test]
async fn a_refused_origin_takes_no_seat() {
    let node = Node::memory().await;
    node.change(|settings| {
        settings.security.allowed_origins = AllowedOrigins::new(["https://ok.example".to_owned()]);
    });
    let mut host = Client::join(&node, "r1").await;
    for _ in 0..3 {
        let request = Request::room("r1").header("Origin", "https://evil.example");
        let mut page = Client::open(node.address, request).await;
        page.send(offer("evil")).await;
        assert_eq!(page.closed().await, (1008, "Origin not allowed".to_owned()));
    }
    let mut player = Client::join(&node, "r1").await;
    player.send(offer("first")).await;
    assert_eq!(host.hear().await, offer("first"));
    assert!((node.metric("signaling_joins_total{result=\"joined\"}") - 2.0).abs() < 0.5);
}

/// There: listeners were attached after the join, so an offer sent at once was lost.
#[tokio::test]
async fn an_early_offer_is_not_lost() {
    let redis = RedisServer::start();
    let node = Node::on(&redis, "i1").await;
    for round in 0..20 {
        let room = format!("r{round}");
        let mut host = Client::join(&node, &room).await;
        // Nobody waits for anything here.
        pause(&redis, 20);
        let mut player = Client::connect(node.address, &room).await;
        player.send(offer("at once")).await;
        player.send(candidate("at once")).await;
        assert_eq!(host.hear_many(2).await, [offer("at once"), candidate("at once")]);
    }
}

/// There: a peer that closed while it was joining kept its seat for ever.
#[tokio::test]
async fn a_peer_that_closes_while_joining_keeps_no_seat() {
    let redis = RedisServer::start();
    let node = Node::on(&redis, "i1").await;
    for _ in 0..5 {
        pause(&redis, 100);
        let gone = Client::connect(node.address, "r1").await;
        drop(gone);
    }
    let _host = join_when_free(&node, "r1").await;
    let _player = join_when_free(&node, "r1").await;
    node.metric_becomes("signaling_active_connections", 2.0).await;
}

/// There: a bad frame from a socket that was joining or refused ended the whole process.
#[tokio::test]
async fn a_bad_frame_hurts_its_sender_alone() {
    let redis = RedisServer::start();
    let node = Node::on(&redis, "i1").await;
    let (mut host, mut player) = (Client::join(&node, "r1").await, Client::join(&node, "r1").await);
    for room in ["r2", "not%20a%20room", "r1"] {
        pause(&redis, 30);
        let mut attacker = Client::connect(node.address, room).await;
        attacker.send_raw(&[0xff; 64]).await;
        attacker.closed().await;
    }
    player.send(offer("still there")).await;
    assert_eq!(host.hear().await, offer("still there"));
}

/// There: seats had no end, so a crash made a room full for ever.
#[tokio::test]
async fn ghost_seats_end_with_the_lease() {
    let redis = RedisServer::start();
    let dies = Node::on(&redis, "i1").await;
    let peers = (Client::join(&dies, "r1").await, Client::join(&dies, "r1").await);
    dies.kill().await;
    drop(peers);
    let node = Node::on(&redis, "i2").await;
    let _seats = (
        join_when_free(&node, "r1").await,
        join_when_free(&node, "r1").await,
    );
}

/// There: a departure was told through Redis alone, even to a peer of the same instance.
#[tokio::test]
async fn a_departure_needs_no_redis() {
    let mut redis = RedisServer::start();
    let node = Node::on(&redis, "i1").await;
    let (mut host, player) = (Client::join(&node, "r1").await, Client::join(&node, "r1").await);
    redis.kill();
    player.leave().await;
    assert_eq!(host.hear().await, PEER_DISCONNECTED);
}

/// There: the drain told counterparts that their peer is gone, and browsers gave up for good.
#[tokio::test]
async fn a_drain_makes_no_browser_give_up() {
    let redis = RedisServer::start();
    let (mut ending, staying) = (Node::on(&redis, "i1").await, Node::on(&redis, "i2").await);
    ending.change(|settings| settings.drain_timeout = Duration::from_millis(500));
    let (mut player, host) = (
        Client::join(&staying, "r1").await,
        Client::join(&ending, "r1").await,
    );
    ending.drain().await;
    drop(host);
    let mut back = join_when_free(&staying, "r1").await;
    back.send(offer("back")).await;
    assert_eq!(player.hear().await, offer("back"));
}

/// There: the first message of each window waited for Redis once more, and candidates overtook their offer.
#[tokio::test]
async fn candidates_do_not_overtake_their_offer() {
    let redis = RedisServer::start();
    let (one, two) = (Node::on(&redis, "i1").await, Node::on(&redis, "i2").await);
    for (round, node) in [&one, &two].into_iter().cycle().take(20).enumerate() {
        let room = format!("r{round}");
        let mut host = Client::join(node, &room).await;
        let mut player = Client::connect(one.address, &room).await;
        let texts: Vec<String> = std::iter::once(offer("o"))
            .chain((0..10).map(|n| candidate(&n.to_string())))
            .collect();
        for text in &texts {
            player.send(text.clone()).await;
        }
        assert_eq!(host.hear_many(11).await, texts);
    }
}

/// There: limits were asked of Redis before the local relay, so a hung Redis stopped everything, readiness included.
#[tokio::test]
async fn a_hung_redis_stalls_neither_local_relay_nor_readiness() {
    let redis = RedisServer::start();
    let node = Node::on(&redis, "i1").await;
    let (mut host, mut player) = (Client::join(&node, "r1").await, Client::join(&node, "r1").await);
    redis.freeze();
    let frozen_at = Instant::now();
    player.send(offer("hung")).await;
    assert_eq!(host.hear().await, offer("hung"));
    eventually("not ready", || async {
        (get(node.address, "/readyz").await.0 == 503).then_some(())
    })
    .await;
    assert!(frozen_at.elapsed() < DEADLINE);
    player.send(candidate("hung")).await;
    assert_eq!(host.hear().await, candidate("hung"));
    redis.thaw();
    node.ready().await;
}

/// There: behind a proxy all clients shared one limit, and anybody's forwarding headers were believed.
#[tokio::test]
async fn clients_behind_a_proxy_have_limits_of_their_own() {
    let node = Node::memory().await;
    node.change(|settings| settings.rate_limits.connections_per_ip = 2);
    let limited = (1013, "Rate limited".to_owned());
    let from = |ip: &str| Request::target("/").header("X-Forwarded-For", ip);
    let connect = async |ip: &str| Client::open(node.address, from(ip)).await.closed().await;
    // Nobody is trusted: an invented address gains nothing. The room is checked first, so these are not counted.
    assert_eq!(connect("203.0.113.1").await.1, "Invalid roomId");
    let room = |ip: &str, room: &str| Request::room(room).header("X-Forwarded-For", ip);
    let _a = Client::open(node.address, room("203.0.113.1", "a")).await;
    let _b = Client::open(node.address, room("203.0.113.2", "b")).await;
    node.metric_becomes("signaling_active_connections", 2.0).await;
    assert_eq!(
        Client::open(node.address, room("203.0.113.3", "c"))
            .await
            .closed()
            .await,
        limited
    );
    // A trusted proxy is believed.
    node.change(|settings| settings.security.trusted_proxies = vec!["127.0.0.1/32".parse().unwrap()]);
    for ip in ["203.0.113.1", "203.0.113.2", "203.0.113.3"] {
        let mut clients = Vec::new();
        for number in 0..2 {
            clients.push(Client::open(node.address, room(ip, &format!("{ip}-{number}"))).await);
        }
        assert_eq!(
            Client::open(node.address, room(ip, "d")).await.closed().await,
            limited,
            "{ip}"
        );
    }
}

/// There: a connection outlived its token.
#[tokio::test]
async fn a_connection_ends_with_its_token() {
    let node = Node::memory().await;
    require_tokens(&node);
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs();
    // With the leeway of 60 s it has a few seconds left.
    let request = |claims| Request::target(&format!("/?roomId=r1&token={}", token(&claims)));
    let mut short = Client::open(node.address, request(json!({"exp": now - 52}))).await;
    let mut long = Client::open(node.address, request(json!({"exp": now + 3600}))).await;
    long.send(offer("hello")).await;
    assert_eq!(short.hear().await, offer("hello"));
    assert_eq!(short.closed().await, (1008, "Unauthorized".to_owned()));
    assert_eq!(long.hear().await, PEER_DISCONNECTED);
    long.send("[]").await;
    long.hear().await;
}

/// There: a rooms claim that was no list opened every room.
#[tokio::test]
async fn a_claim_that_is_no_list_opens_nothing() {
    let node = Node::memory().await;
    require_tokens(&node);
    let target = format!("/?roomId=r1&token={}", token(&json!({"rooms": "r1"})));
    let mut client = Client::open(node.address, Request::target(&target)).await;
    assert_eq!(client.closed().await, (1008, "Forbidden".to_owned()));
}

/// There: a slow receiver was closed, or lost messages, or had its sender closed, depending on the path.
#[tokio::test]
async fn slow_receivers_meet_one_rule_on_every_path() {
    let redis = RedisServer::start();
    let (one, two) = (Node::on(&redis, "i1").await, Node::on(&redis, "i2").await);
    for (room, sender_at) in [("local", &one), ("remote", &two)] {
        one.change(|settings| settings.websocket.backpressure_close_bytes = 300_000);
        let mut request = Request::room(room);
        request.receive_buffer = Some(4096);
        let mut slow = Client::open(one.address, request).await;
        one.metric_becomes("signaling_active_connections", 1.0).await;
        let mut sender = Client::join(sender_at, room).await;
        let closes = one.metric("signaling_backpressure_closes_total");
        let end = Instant::now() + DEADLINE;
        while one.metric("signaling_backpressure_closes_total") < closes + 0.5 {
            sender.send(candidate(&"x".repeat(200_000))).await;
            assert!(Instant::now() < end);
        }
        assert_eq!(
            slow.closed().await,
            (1013, "Server overloaded".to_owned()),
            "{room}"
        );
        sender.send("[]").await;
        while !sender.hear().await.contains("schema-error") {}
        drop((slow, sender));
        one.empties().await;
    }
}

/// There: gauges were set on joins alone and never fell.
#[tokio::test]
async fn gauges_fall() {
    let redis = RedisServer::start();
    let node = Node::on(&redis, "i1").await;
    let mut peers = Vec::new();
    for number in 0..10 {
        peers.push(Client::join(&node, &format!("r{}", number / 2)).await);
    }
    assert!((node.metric("signaling_active_connections") - 10.0).abs() < 0.5);
    assert!((node.metric("signaling_local_rooms") - 5.0).abs() < 0.5);
    // Some say goodbye, some do not, some are refused.
    for (number, peer) in peers.into_iter().enumerate() {
        if number % 2 == 0 {
            peer.leave().await;
        } else {
            drop(peer);
        }
    }
    Client::open(node.address, Request::target("/"))
        .await
        .closed()
        .await;
    node.empties().await;
    for gauge in [
        "open_sockets",
        "slow_receivers",
        "buffered_bytes",
        "lane_queue",
        "lane_queue_bytes",
        "inbox_queue",
        "seat_queue",
    ] {
        let gauge = format!("signaling_{gauge}");
        assert!(
            node.metrics.encode().contains(&format!("\n{gauge} ")),
            "no {gauge}"
        );
        node.metric_becomes(&gauge, 0.0).await;
    }
    let (_, status) = get(node.internal, "/statusz").await;
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    assert_eq!(status["rooms"], 0);
    assert_eq!(
        status["connections"],
        json!({"open": 0, "slowReceivers": 0, "bufferedBytes": 0})
    );
    assert_eq!(
        (&status["relay"]["laneNotices"], &status["relay"]["inboxMessages"]),
        (&json!(0), &json!(0))
    );
}

/// There: the server answered nothing, not even its health, before Redis was there.
#[tokio::test]
async fn health_does_not_wait_for_redis() {
    let mut redis = RedisServer::start();
    redis.kill();
    let options = NodeOptions {
        redis: Some(redis.url()),
        ..NodeOptions::default()
    };
    let node = Node::start_unready(options).await;
    for port in [node.address, node.internal] {
        assert_eq!(get(port, "/healthz").await, (200, "ok".to_owned()));
        assert_eq!(get(port, "/readyz").await, (503, "not-ready".to_owned()));
    }
}

/// There: a Redis that lost its keys let a third peer into a room of two.
#[tokio::test]
async fn a_lost_set_does_not_reset_the_capacity() {
    let redis = RedisServer::start();
    let node = Node::on(&redis, "i1").await;
    let _peers = (Client::join(&node, "r1").await, Client::join(&node, "r1").await);
    redis.command("FLUSHALL");
    eventually("the seats are asserted", || async {
        let members = redis.command("HLEN berth:default/default:{default/default}:room:r1");
        members.starts_with(":3").then_some(())
    })
    .await;
    assert_eq!(
        Client::connect(node.address, "r1").await.closed().await,
        (1000, "Room is full".to_owned())
    );
}
