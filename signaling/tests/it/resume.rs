//! Protocol v2 over real sockets and several instances: connections that are lost and come back.

mod outages;

use std::time::Duration;

use berth_dataplane::ice::DEFAULT_STUN;
use berth_dataplane::testing::MeteredServer;
use serde_json::{Value, json};

use crate::support::v2::{Peer, request};
use crate::support::{Client, Node, NodeOptions, RedisServer, eventually, eventually_true};

/// A host on the first node and a player on the second, who have heard of each other.
async fn pair(one: &Node, two: &Node, room: &str) -> (Peer, Peer) {
    let mut host = Peer::join(one, room, "host").await;
    let player = Peer::join(two, room, "player").await;
    let joined = host.hear_type("peer-joined").await;
    assert_eq!(joined["peer"]["id"], player.id());
    assert_eq!(player.hello["peers"][0]["id"], host.id());
    (host, player)
}

#[tokio::test]
async fn a_lost_connection_is_resumed_at_another_instance_without_a_loss() {
    let redis = RedisServer::start();
    let nodes = [
        Node::on(&redis, "i1").await,
        Node::on(&redis, "i2").await,
        Node::on(&redis, "i3").await,
    ];
    let (mut host, mut player) = pair(&nodes[0], &nodes[1], "r").await;
    let (host_id, player_id) = (host.id(), player.id());
    let sent = host.offer().await;
    player.hear_up_to(&host_id, sent).await;
    let lost = player.lose();
    let away = host.hear_type("peer-reconnecting").await;
    assert_eq!(away["peer"]["id"], player_id.as_str());
    for _ in 0..5 {
        host.offer().await;
    }
    host.acked().await;
    // To an instance that knew nothing of the room, and then to the host's own.
    let mut player = lost.resume(&nodes[2]).await;
    assert_eq!(player.hello["resumed"], true);
    assert_eq!(player.id(), player_id);
    player.hear_up_to(&host_id, host.seq).await;
    assert_eq!(host.hear_type("peer-joined").await["resumed"], true);
    host.offer().await;
    player.hear_up_to(&host_id, host.seq).await;
    let lost = player.lose();
    host.hear_type("peer-reconnecting").await;
    host.offer().await;
    let mut player = lost.resume(&nodes[0]).await;
    player.hear_up_to(&host_id, host.seq).await;
    // The way back.
    player.offer().await;
    host.hear_up_to(&player_id, player.seq).await;
    player.acked().await;
    host.client.leave().await;
    player.client.leave().await;
    for node in &nodes {
        node.empties().await;
    }
}

#[tokio::test]
async fn the_death_of_an_instance_loses_no_message() {
    let redis = RedisServer::start();
    let (doomed, other) = (Node::on(&redis, "i1").await, Node::on(&redis, "i2").await);
    let (mut host, mut player) = pair(&other, &doomed, "r").await;
    let (host_id, player_id) = (host.id(), player.id());
    for _ in 0..3 {
        host.offer().await;
        player.offer().await;
    }
    host.hear_up_to(&player_id, 1).await;
    doomed.kill().await;
    // Sent while nobody listens at the player's instance.
    for _ in 0..3 {
        host.offer().await;
    }
    let mut lost = player.lose();
    // The client has written these, and does not know that they went nowhere.
    lost.seq += 2;
    let mut player = lost.resume(&other).await;
    player.hear_up_to(&host_id, host.seq).await;
    host.hear_up_to(&player_id, player.seq).await;
    host.acked().await;
}

#[tokio::test]
async fn both_come_back_from_a_drained_instance() {
    let redis = RedisServer::start();
    let (mut leaving, other) = (Node::on(&redis, "i1").await, Node::on(&redis, "i2").await);
    leaving.change(|settings| settings.drain_timeout = Duration::from_secs(2));
    let (mut host, mut player) = pair(&leaving, &leaving, "r").await;
    let (host_id, player_id) = (host.id(), player.id());
    host.offer().await;
    player.hear_up_to(&host_id, 1).await;
    let draining = tokio::spawn(async move {
        leaving.drain().await;
        leaving
    });
    let error = host.hear_type("error").await;
    assert_eq!(error["code"], "draining");
    assert!(error["retryAfterMs"].is_u64());
    assert_eq!(host.client.closed().await, (1012, "Server draining".to_owned()));
    let mut host = host.lose().resume(&other).await;
    player.hear_type("error").await;
    assert_eq!(player.client.closed().await.0, 1012);
    let mut player = player.lose().resume(&other).await;
    draining.await.unwrap();
    player.offer().await;
    host.hear_up_to(&player_id, 1).await;
    host.offer().await;
    player.hear_up_to(&host_id, 2).await;
}

#[tokio::test]
async fn the_newest_connection_wins() {
    let redis = RedisServer::start();
    let (one, two) = (Node::on(&redis, "i1").await, Node::on(&redis, "i2").await);
    let (mut host, player) = pair(&one, &one, "r").await;
    let player_id = player.id();
    let hello = {
        let token = &player.hello["resumeToken"];
        json!({"type": "hello", "role": "player", "resume": {"token": token, "heard": {}}})
    };
    let mut older = player.client;
    for node in [&one, &two, &one] {
        let client = Client::open(node.address, request("r")).await;
        let newer = Peer::greet(client, "r", "player", &hello).await;
        assert_eq!(
            (newer.id(), &newer.hello["resumed"]),
            (player_id.clone(), &json!(true))
        );
        let replaced: Value = serde_json::from_str(&older.hear().await).unwrap();
        assert_eq!(replaced["code"], "replaced");
        assert_eq!(
            older.closed().await,
            (4000, "Resumed by another connection".to_owned())
        );
        assert_eq!(host.hear_type("peer-joined").await["resumed"], true);
        older = newer.client;
    }
    host.offer().await;
    let heard: Value = serde_json::from_str(&older.hear().await).unwrap();
    assert_eq!(heard["seq"], 1);
}

#[tokio::test]
async fn the_window_ends_and_the_seat_is_free() {
    let redis = RedisServer::start();
    let (one, two) = (Node::on(&redis, "i1").await, Node::on(&redis, "i2").await);
    for node in [&one, &two] {
        node.change(|settings| settings.resume.window = Duration::from_millis(100));
    }
    let (mut host, player) = pair(&one, &two, "r").await;
    let player_id = player.id();
    let lost = player.lose();
    host.hear_type("peer-reconnecting").await;
    assert_eq!(
        host.hear_type("peer-left").await["peer"]["id"],
        player_id.as_str()
    );
    two.empties().await;
    // It comes back all the same, as somebody who joins anew.
    let player = lost.resume(&two).await;
    assert_eq!(player.hello["resumed"], false);
    assert_eq!(host.hear_type("peer-joined").await["resumed"], false);
}

#[tokio::test]
async fn a_newcomer_gets_the_seat_of_one_who_is_away() {
    let redis = RedisServer::start();
    let (one, two) = (Node::on(&redis, "i1").await, Node::on(&redis, "i2").await);
    let (mut host, player) = pair(&one, &two, "r").await;
    let (host_id, player_id) = (host.id(), player.id());
    let _lost = player.lose();
    host.hear_type("peer-reconnecting").await;
    let mut newcomer = eventually("the seat is given to the newcomer", || async {
        let mut client = Client::open(one.address, request("r")).await;
        client
            .send(json!({"type": "hello", "role": "player"}).to_string())
            .await;
        let first: Value = serde_json::from_str(&client.hear().await).unwrap();
        (first["type"] == "hello").then_some((client, first))
    })
    .await;
    assert_eq!(newcomer.1["peers"][0]["id"], host_id.as_str());
    assert_eq!(
        host.hear_type("peer-left").await["peer"]["id"],
        player_id.as_str()
    );
    assert_eq!(
        host.hear_type("peer-joined").await["peer"]["id"],
        newcomer.1["clientId"]
    );
    host.offer().await;
    assert!(newcomer.0.hear().await.contains(&host_id));
    two.empties().await;
}

#[tokio::test]
async fn a_room_of_both_versions_resumes() {
    let redis = RedisServer::start();
    let (one, two) = (Node::on(&redis, "i1").await, Node::on(&redis, "i2").await);
    let mut host = Client::join(&one, "r").await;
    let mut player = Peer::join(&two, "r", "player").await;
    let host_id = player.hello["peers"][0]["id"].as_str().unwrap().to_owned();
    host.send(crate::support::offer("one")).await;
    player.hear_up_to(&host_id, 1).await;
    let lost = player.lose();
    two.metric_becomes("signaling_active_connections", 0.0).await;
    for said in ["two", "three"] {
        host.send(crate::support::offer(said)).await;
    }
    let mut player = lost.resume(&one).await;
    player.hear_up_to(&host_id, 3).await;
    player.offer().await;
    assert_eq!(host.hear().await, crate::support::offer("v=0"));
    player.client.leave().await;
    assert_eq!(host.hear().await, crate::support::PEER_DISCONNECTED);
}

/// A message over the limit of its connection, its address or its room is refused, and passes under a new number when the server
/// says.
async fn what_is_over_a_limit_is_told(limit: &str) {
    let node = Node::memory().await;
    node.change(|settings| {
        let limits = &mut settings.rate_limits;
        *match limit {
            "connection" => &mut limits.messages_per_client,
            "address" => &mut limits.messages_per_ip,
            _ => &mut limits.messages_per_room,
        } = 2;
    });
    let (mut host, mut player) = (
        Peer::join(&node, "r", "host").await,
        Peer::join(&node, "r", "player").await,
    );
    for _ in 0..3 {
        player.offer().await;
    }
    let error = player.hear_type("error").await;
    assert_eq!(
        (&error["code"], &error["seq"]),
        (&json!("rate-limited"), &json!(3))
    );
    let said = error["message"].as_str().unwrap();
    assert!(said.contains(limit), "{said}");
    let wait = error["retryAfterMs"].as_u64().unwrap();
    assert!((1..=5000).contains(&wait), "{wait}");
    host.hear_up_to(&player.id(), 2).await;
    tokio::time::sleep(Duration::from_millis(wait)).await;
    player.offer().await;
    assert_eq!(host.hear_type("offer").await["seq"], 4);
}

#[tokio::test]
async fn what_is_over_the_limit_of_a_connection_is_told() {
    what_is_over_a_limit_is_told("connection").await;
}

#[tokio::test]
async fn what_is_over_the_limit_of_an_address_is_told() {
    what_is_over_a_limit_is_told("address").await;
}

#[tokio::test]
async fn what_is_over_the_limit_of_a_room_is_told() {
    what_is_over_a_limit_is_told("room").await;
}

/// It holds no connection open, and no seat.
#[tokio::test]
async fn who_says_no_hello_is_closed() {
    let mut options = NodeOptions::default();
    options.timing.hello = Duration::from_millis(100);
    let node = Node::start(options).await;
    let mut silent = Client::open(node.address, request("r")).await;
    let error: Value = serde_json::from_str(&silent.hear().await).unwrap();
    assert_eq!(error["code"], "hello-expected");
    assert_eq!(silent.closed().await, (1008, "Hello expected".to_owned()));
    node.metric_becomes("signaling_refusals_total{reason=\"hello-expected\"}", 1.0)
        .await;
    node.metric_becomes("signaling_open_sockets", 0.0).await;
    assert!(node.metric("signaling_joins_total{result=\"joined\"}") < 0.5);
}

#[tokio::test]
async fn ice_servers_are_renewed_when_the_turn_config_changes_and_before_they_expire() {
    let node = Node::memory().await;
    let mut peer = Peer::join(&node, "r", "player").await;
    assert!(peer.hello.get("iceTtlMs").is_none());
    node.turn("turn:one", Duration::from_secs(4));
    let first = peer.hear_type("ice-servers").await;
    assert_eq!(first["iceServers"][0]["urls"], "turn:one");
    let username = first["iceServers"][0]["username"].as_str().unwrap();
    assert!(username.ends_with(&peer.id()), "{username}");
    assert!(first["iceTtlMs"].as_u64().is_some_and(|ttl| ttl <= 4000));
    // By themselves, before they expire.
    let second = peer.hear_type("ice-servers").await;
    assert_eq!(second["iceServers"][0]["urls"], "turn:one");
    let newcomer = Peer::join(&node, "r", "host").await;
    assert_eq!(newcomer.hello["iceServers"][0]["urls"], "turn:one");
}

/// A connection gets what there is, whatever its provider does.
#[tokio::test]
async fn nobody_waits_for_a_provider_of_ice_servers() {
    let server = MeteredServer::start("north").await;
    server.hold(true);
    let mut options = NodeOptions::default();
    options.ice.metered = Some(server.url());
    let node = Node::start(options).await;
    node.metered("north");
    eventually_true("it is asked without anybody there", || server.made().len() == 1).await;
    let peer = Peer::join(&node, "r", "player").await;
    assert_eq!(peer.hello["iceServers"], json!([{"urls": DEFAULT_STUN}]));
    assert!(peer.hello.get("iceTtlMs").is_none());
    node.metric_becomes("berth_ice_left_out_total{provider=\"metered\"}", 1.0)
        .await;
    server.hold(false);
    node.metric_becomes("berth_ice_issue_seconds_count{provider=\"metered\"}", 1.0)
        .await;
    let newcomer = Peer::join(&node, "r", "host").await;
    assert_eq!(newcomer.hello["iceServers"], MeteredServer::servers(1));
    let ttl = newcomer.hello["iceTtlMs"].as_u64().unwrap();
    assert!(ttl <= 600_000, "{ttl}");
    assert_eq!(server.made(), [600]);
}

#[tokio::test]
async fn after_a_flush_a_member_that_is_away_still_comes_back() {
    let redis = RedisServer::start();
    let (one, two) = (Node::on(&redis, "i1").await, Node::on(&redis, "i2").await);
    let (mut host, mut player) = pair(&one, &two, "r").await;
    let (host_id, player_id) = (host.id(), player.id());
    host.offer().await;
    player.hear_up_to(&host_id, 1).await;
    let lost = player.lose();
    host.hear_type("peer-reconnecting").await;
    redis.command("FLUSHALL");
    host.offer().await;
    let mut player = lost.resume(&one).await;
    player.hear_up_to(&host_id, 2).await;
    player.offer().await;
    host.hear_up_to(&player_id, 1).await;
    // Nobody is there twice.
    eventually_true("two has forgotten the room", || {
        (two.metric("signaling_local_rooms")).abs() < 0.5
    })
    .await;
    let lost = player.lose();
    let player = lost.resume(&two).await;
    assert_eq!(player.hello["peers"].as_array().unwrap().len(), 1);
}
