//! Several instances on one Redis.

use std::collections::BTreeMap;
use std::time::Duration;

use berth_signaling::Timing;
use futures::SinkExt as _;
use tokio_tungstenite::tungstenite::Message;

use crate::support::{
    Client, Node, NodeOptions, PEER_DISCONNECTED, RedisServer, calls_since, candidate, eventually,
    eventually_true, in_some_round, offer,
};

/// A node whose lease is renewed, and what is still to be said said again, every ten seconds: seldom during the test.
async fn quiet_node(redis: &RedisServer, id: &'static str) -> Node {
    let timing = Timing {
        lease: Duration::from_secs(30),
        limit_sync: Duration::from_hours(1),
        ..NodeOptions::default().timing
    };
    Node::start(NodeOptions {
        id,
        redis: Some(redis.url()),
        timing,
        ..NodeOptions::default()
    })
    .await
}

/// Connects until the room has a free seat again.
pub(crate) async fn join_when_free(node: &Node, room: &str) -> Client {
    eventually("a free seat", || Client::try_join(node.address, room)).await
}

#[tokio::test]
async fn peers_on_two_instances_talk() {
    let redis = RedisServer::start();
    let (one, two) = (Node::on(&redis, "i1").await, Node::on(&redis, "i2").await);
    let (mut host, mut player) = (Client::join(&one, "r1").await, Client::join(&two, "r1").await);
    assert_eq!(
        (
            &*host.headers["x-berth-instance"],
            &*player.headers["x-berth-instance"]
        ),
        ("i1", "i2")
    );
    player.send(offer("remote")).await;
    assert_eq!(host.hear().await, offer("remote"));
    host.send(candidate("back")).await;
    assert_eq!(player.hear().await, candidate("back"));
    for node in [&one, &two] {
        node.metric_becomes("signaling_relayed_total{path=\"remote\"}", 1.0)
            .await;
    }
    // The room is full, wherever the third one tries.
    for node in [&one, &two] {
        assert_eq!(
            Client::connect(node.address, "r1").await.closed().await,
            (1000, "Room is full".to_owned())
        );
    }
    player.leave().await;
    assert_eq!(host.hear().await, PEER_DISCONNECTED);
    let mut next = join_when_free(&two, "r1").await;
    next.send(offer("next")).await;
    assert_eq!(host.hear().await, offer("next"));
    drop((host, next));
    one.empties().await;
    two.empties().await;
}

#[tokio::test]
async fn an_offer_and_its_candidates_keep_their_order() {
    let redis = RedisServer::start();
    let (one, two) = (Node::on(&redis, "i1").await, Node::on(&redis, "i2").await);
    for round in 0..20 {
        let room = format!("r{round}");
        let texts: Vec<String> = std::iter::once(offer("o"))
            .chain((1..60).map(|number| candidate(&number.to_string())))
            .collect();
        // Half of it before the other one is there, half of it while it comes and afterwards.
        let mut player = Client::join(&one, &room).await;
        for text in &texts[..30] {
            player.send(text.clone()).await;
        }
        let mut host = Client::connect(two.address, &room).await;
        for text in &texts[30..] {
            player.send(text.clone()).await;
        }
        assert_eq!(host.hear_many(texts.len()).await, texts);
    }
}

/// What comes together is written together, and nothing of it is left behind.
#[tokio::test]
async fn everything_of_a_burst_reaches_the_other_instance_at_once() {
    let redis = RedisServer::start();
    let mut nodes = Vec::new();
    for id in ["i1", "i2"] {
        let mut options = NodeOptions {
            id,
            redis: Some(redis.url()),
            ..NodeOptions::default()
        };
        options.spec.websocket.heartbeat_interval_ms = 300_000;
        nodes.push(Node::start(options).await);
    }
    // A ping would bring what was left behind; those that come later are not pinged before a message is missed.
    let mut others = Vec::new();
    for number in 0..10 {
        others.push(Client::join(&nodes[1], &format!("other-{number}")).await);
    }
    let mut rooms = Vec::new();
    for number in 0..3 {
        let room = format!("r{number}");
        let (mut near, mut far) = (
            Client::join(&nodes[0], &room).await,
            Client::join(&nodes[1], &room).await,
        );
        near.send(offer("warm")).await;
        assert_eq!(far.hear().await, offer("warm"));
        rooms.push((near, far));
    }
    let texts: Vec<String> = (0..100).map(|n| candidate(&n.to_string())).collect();
    for (near, _) in &mut rooms {
        for text in &texts {
            near.stream.feed(Message::text(text.clone())).await.unwrap();
        }
        near.stream.flush().await.unwrap();
    }
    for (_, far) in &mut rooms {
        assert_eq!(far.hear_many(texts.len()).await, texts);
    }
}

#[tokio::test]
async fn local_messages_cost_no_command_and_remote_ones_one() {
    let redis = RedisServer::start();
    let (one, two, three) = (
        quiet_node(&redis, "i1").await,
        quiet_node(&redis, "i2").await,
        quiet_node(&redis, "i3").await,
    );
    let (mut host, mut player) = (
        Client::join(&one, "local").await,
        Client::join(&one, "local").await,
    );
    let (mut near, mut far) = (
        Client::join(&one, "remote").await,
        Client::join(&two, "remote").await,
    );
    let _bystander = Client::join(&three, "other").await;
    near.send(offer("warm")).await;
    assert_eq!(far.hear().await, offer("warm"));

    in_some_round("500 local messages without a command", async || {
        let before = redis.foreground_calls();
        for number in 0..500 {
            player.send(candidate(&number.to_string())).await;
            assert_eq!(host.hear().await, candidate(&number.to_string()));
        }
        let calls = calls_since(&redis, &before);
        calls.is_empty().then_some(()).ok_or(calls)
    })
    .await;
    in_some_round("500 remote messages with one command each", async || {
        let before = redis.foreground_calls();
        for number in 0..500 {
            near.send(candidate(&number.to_string())).await;
            assert_eq!(far.hear().await, candidate(&number.to_string()));
        }
        let calls = calls_since(&redis, &before);
        let expected = BTreeMap::from([("publish".to_owned(), 500)]);
        (calls == expected).then_some(()).ok_or(calls)
    })
    .await;
    assert!(
        three.metric("signaling_relay_lag_seconds_count") < 0.5,
        "an instance without a peer heard something"
    );
}

#[tokio::test]
async fn three_instances_share_a_room() {
    let redis = RedisServer::start();
    let mut nodes = Vec::new();
    for id in ["i1", "i2", "i3"] {
        let mut options = NodeOptions {
            id,
            redis: Some(redis.url()),
            ..NodeOptions::default()
        };
        options.spec.rooms.capacity = 6;
        nodes.push(Node::start(options).await);
    }
    let mut peers = Vec::new();
    for number in 0..6 {
        peers.push(Client::join(&nodes[number % 3], "r1").await);
    }
    // The last to come knows everybody, and once it has been heard everybody knows it.
    for speaker in (0..6).rev() {
        let text = offer(&format!("from {speaker}"));
        peers[speaker].send(text.clone()).await;
        for (number, peer) in peers.iter_mut().enumerate() {
            if number != speaker {
                assert_eq!(peer.hear().await, text, "{speaker} to {number}");
            }
        }
    }
    let leaver = peers.pop().unwrap();
    leaver.leave().await;
    for peer in &mut peers {
        assert_eq!(peer.hear().await, PEER_DISCONNECTED);
    }
    drop(peers);
    for node in &nodes {
        node.empties().await;
    }
}

#[tokio::test]
async fn a_killed_instance_leaves_no_ghosts() {
    let redis = RedisServer::start();
    let (one, two) = (Node::on(&redis, "i1").await, Node::on(&redis, "i2").await);
    let mut host = Client::join(&one, "r1").await;
    let player = Client::join(&two, "r1").await;
    let (_alone, _both) = (Client::join(&two, "r2").await, Client::join(&two, "r2").await);
    two.kill().await;
    // Its sockets are gone with it; the survivor's peer hears of it when the lease has ended.
    assert_eq!(host.hear().await, PEER_DISCONNECTED);
    drop(player);
    // A room without a survivor is free too.
    let _first = join_when_free(&one, "r2").await;
    let _second = join_when_free(&one, "r2").await;
    let mut back = join_when_free(&one, "r1").await;
    back.send(offer("back")).await;
    assert_eq!(host.hear().await, offer("back"));
    eventually_true("the dead seats are taken away", || {
        one.metric("signaling_seats_reaped_total") > 0.5
    })
    .await;
}

#[tokio::test]
async fn messages_to_a_killed_instance_reach_the_next_peer() {
    let redis = RedisServer::start();
    let (one, two) = (Node::on(&redis, "i1").await, Node::on(&redis, "i2").await);
    let mut host = Client::join(&one, "r1").await;
    let mut player = Client::join(&two, "r1").await;
    host.send(offer("first")).await;
    assert_eq!(player.hear().await, offer("first"));
    let inbox = redis.command("PUBSUB CHANNELS *i2@*");
    assert!(inbox.starts_with("*1"), "{inbox}");
    two.kill().await;
    drop(player);
    // Redis may learn of it later than this test; what it hands to a dying process is lost.
    eventually_true("the dead instance is no subscriber", || {
        redis.command("PUBSUB CHANNELS *i2@*").starts_with("*0")
    })
    .await;
    host.send(offer("second")).await;
    host.send(candidate("second")).await;
    assert_eq!(host.hear().await, PEER_DISCONNECTED);
    let mut next = Client::join(&one, "r1").await;
    assert_eq!(next.hear_many(2).await, [offer("second"), candidate("second")]);
}

#[tokio::test]
async fn a_seat_is_free_at_once_and_a_restarted_instance_inherits_none() {
    let redis = RedisServer::start();
    let one = Node::on(&redis, "i1").await;
    let (host, player) = (Client::join(&one, "r1").await, Client::join(&one, "r1").await);
    one.kill().await;
    drop((host, player));
    let again = Node::on(&redis, "i1").await;
    let _host = join_when_free(&again, "r1").await;
    let player = join_when_free(&again, "r1").await;
    player.leave().await;
    let _next = join_when_free(&again, "r1").await;
}

#[tokio::test]
async fn every_key_has_an_end() {
    let redis = RedisServer::start();
    let (one, two) = (Node::on(&redis, "i1").await, Node::on(&redis, "i2").await);
    let _peers = (Client::join(&one, "r1").await, Client::join(&two, "r1").await);
    let left = Client::join(&one, "r2").await;
    left.leave().await;
    one.metric_becomes("signaling_active_connections", 1.0).await;
    let keys = redis.command("KEYS *");
    let names: Vec<&str> = keys.lines().filter(|line| line.starts_with("berth:")).collect();
    assert!(names.len() >= 4, "{names:?}");
    for name in names {
        let ttl = redis.command(&format!("PTTL {name}"));
        let ttl: i64 = ttl
            .lines()
            .find_map(|line| line.strip_prefix(':')?.parse().ok())
            .unwrap();
        // The set of instances lives as long as an instance does; each of its members has an end of its own.
        assert!(ttl > 0, "{name} never ends: {ttl}");
    }
}
