//! Defects around Redis: what it is asked, what stays in it, and what happens while it hangs or forgets.

use std::time::Duration;

use berth_signaling::Timing;

use crate::cluster::join_when_free;
use crate::support::{
    Client, DEBUG_COMMANDS, Node, NodeOptions, PEER_DISCONNECTED, RedisServer, Request, candidate,
    eventually, eventually_true, get, hang, offer, pause,
};

/// Makes a Redis answer nothing for so many ms.
type HoldUp = fn(&RedisServer, u32);

/// Keys of ours and the milliseconds that each has left.
fn ttls(redis: &RedisServer) -> Vec<(String, i64)> {
    let keys = redis.command("KEYS *");
    let names = keys.lines().filter(|line| line.starts_with("berth:"));
    let ttl = |name: &str| {
        let answer = redis.command(&format!("PTTL {name}"));
        answer
            .lines()
            .find_map(|line| line.strip_prefix(':')?.parse().ok())
    };
    // One that ended since has none.
    names
        .filter_map(|name| Some((name.to_owned(), ttl(name)?)))
        .filter(|(_, ttl)| *ttl != -2)
        .collect()
}

/// There: every instance subscribed to all rooms, and parsed what was said in each of them.
#[tokio::test]
async fn an_instance_hears_its_own_rooms_alone() {
    let redis = RedisServer::start();
    let mut nodes = Vec::new();
    for id in ["i1", "i2", "i3", "i4"] {
        nodes.push(Node::on(&redis, id).await);
    }
    assert!(redis.command("PUBSUB NUMPAT").starts_with(":0"));
    let (mut host, mut player) = (
        Client::join(&nodes[0], "r1").await,
        Client::join(&nodes[1], "r1").await,
    );
    for number in 0..50 {
        player.send(candidate(&number.to_string())).await;
        assert_eq!(host.hear().await, candidate(&number.to_string()));
    }
    let heard = "signaling_relay_lag_seconds_count";
    nodes[0].metric_becomes(heard, 50.0).await;
    assert!(
        nodes[1..].iter().all(|node| node.metric(heard) < 0.5),
        "others heard what was said"
    );
}

/// There: the end of a room's keys was set on a key that was gone, so it did nothing, and members had no end at all.
#[tokio::test]
async fn a_room_ends_its_time_after_its_last_member() {
    let redis = RedisServer::start();
    let mut options = NodeOptions {
        redis: Some(redis.url()),
        ..NodeOptions::default()
    };
    options.spec.rooms.ttl_seconds = 1;
    let node = Node::start(options).await;
    let room = "berth:default/default:{default/default}:room:r1";
    let (host, player) = (Client::join(&node, "r1").await, Client::join(&node, "r1").await);
    player.leave().await;
    node.metric_becomes("signaling_active_connections", 1.0).await;
    // While somebody sits there its time does not begin.
    let occupied = redis.command(&format!("PTTL {room}"));
    assert!(
        occupied
            .trim_start_matches(':')
            .lines()
            .next()
            .unwrap()
            .parse::<i64>()
            .unwrap()
            > 60_000,
        "{occupied}"
    );
    drop(host);
    eventually_true("the room ends", || {
        redis.command(&format!("EXISTS {room}")).starts_with(":0")
    })
    .await;
}

/// There: a counter whose process died between two commands blocked its client for ever.
#[tokio::test]
async fn no_key_is_without_an_end() {
    let redis = RedisServer::start();
    let (one, two) = (Node::on(&redis, "i1").await, Node::on(&redis, "i2").await);
    // Everything that makes keys: seats, departures, refusals, limits, a full room, early messages, an instance that dies.
    for node in [&one, &two] {
        node.change(|settings| {
            settings.rate_limits.messages_per_client = 5;
            settings.rate_limits.messages_per_ip = 8;
            settings.rate_limits.messages_per_room = 6;
        });
    }
    let dies = Node::on(&redis, "i3").await;
    let mut peers = Vec::new();
    for (number, node) in [&one, &two, &dies, &one, &two, &dies].into_iter().enumerate() {
        peers.push(Client::join(node, &format!("r{}", number / 2)).await);
    }
    for peer in &mut peers {
        for number in 0..20 {
            peer.send(candidate(&number.to_string())).await;
        }
    }
    let limited = |node: &Node| node.metric("signaling_rate_limit_drops_total") > 0.5;
    eventually_true("limits are hit", || limited(&one) && limited(&two)).await;
    assert_eq!(Client::connect(one.address, "r0").await.closed().await.0, 1000);
    dies.kill().await;
    peers.pop().unwrap().leave().await;
    for round in 0..20 {
        for (name, ttl) in ttls(&redis) {
            assert!(ttl > 0, "{name} never ends ({ttl}), round {round}");
        }
        // Between the rounds leases are renewed and seats are taken away.
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    drop(peers);
    for node in [&one, &two] {
        node.empties().await;
    }
    eventually_true("the dead instance is forgotten", || {
        let instances = redis.command("ZCARD berth:default/default:{default/default}:instances");
        instances.starts_with(":2")
    })
    .await;
    assert!(ttls(&redis).iter().all(|(_, ttl)| *ttl > 0));
}

/// There: what Redis was asked for came before the local relay, so whatever held Redis up held everything up.
#[tokio::test]
async fn local_relay_goes_on_while_redis_hangs() {
    let redis = RedisServer::start_with(&DEBUG_COMMANDS);
    let node = Node::on(&redis, "i1").await;
    let (mut host, mut player) = (Client::join(&node, "r1").await, Client::join(&node, "r1").await);
    let ways: [(HoldUp, &str); 2] = [(pause, "CLIENT PAUSE"), (hang, "DEBUG SLEEP")];
    for (hold_up, name) in ways {
        hold_up(&redis, 4000);
        // Until it is noticed, and while it lasts.
        let is_ready = async || get(node.address, "/readyz").await.0 == 200;
        let mut noticed = false;
        while !noticed {
            noticed = !is_ready().await;
            player.send(offer(name)).await;
            assert_eq!(host.hear().await, offer(name));
        }
        for number in 0..50 {
            player.send(candidate(&number.to_string())).await;
            assert_eq!(host.hear().await, candidate(&number.to_string()), "{name}");
            host.send(offer(&number.to_string())).await;
            assert_eq!(player.hear().await, offer(&number.to_string()), "{name}");
        }
        assert_eq!(get(node.address, "/healthz").await, (200, "ok".to_owned()));
        node.ready().await;
    }
}

/// There: each join sent the text of its script.
#[tokio::test]
async fn scripts_are_sent_once_and_called_by_their_hash() {
    let redis = RedisServer::start();
    // The script of the limits is loaded with its first round, whenever that is.
    let timing = Timing {
        limit_sync: Duration::from_hours(1),
        ..NodeOptions::default().timing
    };
    let node = Node::start(NodeOptions {
        redis: Some(redis.url()),
        timing,
        ..NodeOptions::default()
    })
    .await;
    let room = async |name: String| {
        let peers = (Client::join(&node, &name).await, Client::join(&node, &name).await);
        peers.0.leave().await;
        peers.1.leave().await;
        node.empties().await;
    };
    room("first".to_owned()).await;
    let (loaded, called) = (redis.calls("script|load"), redis.calls("evalsha"));
    for number in 0..20 {
        room(format!("r{number}")).await;
    }
    eventually_true("every join and departure is a call", || {
        redis.calls("evalsha") >= called + 80
    })
    .await;
    assert_eq!(redis.calls("script|load"), loaded, "a text was sent again");
    assert_eq!(redis.calls("eval"), 0);
    // A Redis that forgot them gets them once more.
    redis.command("SCRIPT FLUSH");
    room("again".to_owned()).await;
    room("and again".replace(' ', "-")).await;
    assert!(redis.calls("script|load") <= loaded + 8);
    assert_eq!(redis.calls("eval"), 0);
}

/// There: a Redis that lost its keys let a third peer into a room of two. Here whoever asks first waits until those who
/// sit there have said so.
#[tokio::test]
async fn a_third_peer_gets_no_seat_after_a_loss() {
    let mut redis = RedisServer::start();
    // The lease of production: for two thirds of it nobody gets a seat, and who asserts his own later than that loses it.
    let node = async |id| {
        let timing = Timing {
            lease: Duration::from_secs(9),
            ..NodeOptions::default().timing
        };
        let redis = Some(redis.url());
        Node::start(NodeOptions {
            id,
            redis,
            timing,
            ..NodeOptions::default()
        })
        .await
    };
    let (one, two) = (node("i1").await, node("i2").await);
    let (mut host, mut player) = (Client::join(&one, "r1").await, Client::join(&two, "r1").await);
    let full = (1000, "Room is full".to_owned());
    for round in 0..2 {
        // No waiting in between: this is the moment in which the room looks free.
        redis.command("FLUSHALL");
        for node in [&one, &two] {
            let mut third = Client::connect(node.address, "r1").await;
            third.send("[]").await;
            assert_eq!(third.closed().await, full, "round {round}");
        }
    }
    redis.restart();
    for node in [&one, &two] {
        eventually("an answer that is no outage", || async {
            let mut third = Client::connect(node.address, "r1").await;
            third.send("[]").await;
            let (code, reason) = third.closed().await;
            assert_ne!(code, 1005);
            (code == 1000).then(|| assert_eq!(reason, "Room is full"))
        })
        .await;
    }
    player.send(offer("still here")).await;
    assert_eq!(host.hear().await, offer("still here"));
    host.send(offer("still here")).await;
    assert_eq!(player.hear().await, offer("still here"));
}

/// There: a crash while Redis was away left seats, and a peer whose join was not answered kept one.
#[tokio::test]
async fn joins_that_are_not_answered_leave_no_seats() {
    let redis = RedisServer::start();
    let node = Node::on(&redis, "i1").await;
    for _ in 0..3 {
        // Longer than anybody waits for an answer: Redis executes the joins when it wakes up.
        redis.freeze();
        let mut refused = Vec::new();
        for _ in 0..4 {
            refused.push(Client::connect(node.address, "r1").await);
        }
        for mut client in refused {
            let (code, _) = client.closed().await;
            assert!(matches!(code, 1011 | 1013), "{code}");
        }
        redis.thaw();
        node.ready().await;
    }
    let (mut host, mut player) = (
        join_when_free(&node, "r1").await,
        join_when_free(&node, "r1").await,
    );
    player.send(offer("hello")).await;
    assert_eq!(host.hear().await, offer("hello"));
    player.leave().await;
    assert_eq!(host.hear().await, PEER_DISCONNECTED);
}

/// There: the gauge of the circuit stayed up until some client's command succeeded, and any client's event moved the one
/// of Redis.
#[tokio::test]
async fn gauges_of_redis_follow_redis_alone() {
    let mut redis = RedisServer::start();
    let node = Node::on(&redis, "i1").await;
    assert!(node.metric("signaling_redis_up") > 0.5 && node.metric("signaling_circuit_breaker_open") < 0.5);
    redis.kill();
    eventually("the circuit opens", || async {
        Client::connect(node.address, "r1").await.closed().await;
        (node.metric("signaling_circuit_breaker_open") > 0.5).then_some(())
    })
    .await;
    assert!(node.metric("signaling_redis_up") < 0.5);
    // A peer that is refused for another reason changes nothing.
    Client::open(node.address, Request::target("/"))
        .await
        .closed()
        .await;
    assert!(node.metric("signaling_redis_up") < 0.5);
    redis.restart();
    // Nobody connects, and both gauges come back.
    node.metric_becomes("signaling_redis_up", 1.0).await;
    node.metric_becomes("signaling_circuit_breaker_open", 0.0).await;
}
