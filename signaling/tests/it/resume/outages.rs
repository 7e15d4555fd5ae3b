//! Lost connections while Redis does not answer, and while their instance ends.

use std::time::Duration;

use berth_signaling::Timing;
use serde_json::json;

use super::pair;
use crate::support::v2::{Lost, Peer};
use crate::support::{Client, Network, Node, NodeOptions, Proxy, RedisServer, eventually, eventually_true};

/// Longer than the pause between two attempts to give a seat back.
const RETRIED: Duration = Duration::from_millis(1500);

/// A node whose lease outlives an outage, as in production, and that asks Redis for nothing but seats meanwhile.
async fn node(redis: &str, id: &'static str) -> Node {
    Node::start(NodeOptions {
        id,
        redis: Some(redis.to_owned()),
        timing: Timing {
            lease: Duration::from_secs(15),
            limit_sync: Duration::from_hours(1),
            ..NodeOptions::default().timing
        },
        ..NodeOptions::default()
    })
    .await
}

/// Comes back as soon as it is let in.
async fn resumes(lost: &Lost, node: &Node) -> Peer {
    eventually("it is let in", || async {
        lost.try_resume(node, &lost.hello()).await.ok()
    })
    .await
}

/// The next message of the other peer. Of the room nothing may be heard but that he is back.
async fn hears_from(peer: &mut Peer, from: &str) -> u64 {
    loop {
        let heard = peer.hear().await;
        match heard["type"].as_str() {
            Some("offer") => {
                assert_eq!(heard["from"], from);
                return heard["seq"].as_u64().unwrap();
            }
            Some("ack") => {}
            Some("peer-joined") => assert_eq!(heard["resumed"], true, "{heard}"),
            _ => panic!("{heard}"),
        }
    }
}

/// Both say one thing more, and hear everything up to it, once and in order.
async fn talk(one: &mut Peer, other: &mut Peer) {
    says(one, other).await;
    says(other, one).await;
}

async fn says(from: &mut Peer, to: &mut Peer) {
    let (id, number) = (from.id(), from.offer().await);
    let first = to.heard.get(&id).copied().unwrap_or(0) + 1;
    for next in first..=number {
        assert_eq!(hears_from(to, &id).await, next);
    }
}

/// A join that Redis does not answer may have been done or not. `attempt`: where it is made, of the player's instance, the host's
/// and a third one.
async fn an_unanswered_resume_costs_no_seat(attempt: usize) {
    let redis = RedisServer::start();
    let nodes = [
        node(&redis.url(), "i1").await,
        node(&redis.url(), "i2").await,
        node(&redis.url(), "i3").await,
    ];
    let (mut host, mut player) = pair(&nodes[1], &nodes[0], "r").await;
    talk(&mut host, &mut player).await;
    let lost = player.lose();
    let away = host.hear_type("peer-reconnecting").await;
    assert_eq!(away["peer"]["role"], "player");
    host.offer().await;
    redis.freeze();
    host.offer().await;
    let refusal = lost.try_resume(&nodes[attempt], &lost.hello()).await;
    assert_eq!(refusal.err().expect("a refusal")["code"], "unavailable");
    redis.thaw();
    // What was asked meanwhile is done by then, and cannot come after what follows.
    nodes[attempt].metric_becomes("signaling_seat_queue", 0.0).await;
    let mut player = resumes(&lost, &nodes[0]).await;
    assert_eq!(player.hello["resumed"], true);
    talk(&mut host, &mut player).await;
    // Nor does what the first attempt has left to be done.
    tokio::time::sleep(RETRIED).await;
    talk(&mut host, &mut player).await;
    is_full(&nodes[1]).await;
}

#[tokio::test]
async fn an_unanswered_resume_at_the_same_instance_costs_no_seat() {
    an_unanswered_resume_costs_no_seat(0).await;
}

#[tokio::test]
async fn an_unanswered_resume_at_the_other_instance_costs_no_seat() {
    an_unanswered_resume_costs_no_seat(1).await;
}

#[tokio::test]
async fn an_unanswered_resume_at_a_third_instance_costs_no_seat() {
    an_unanswered_resume_costs_no_seat(2).await;
}

/// A join that is still under way when its connection has been given up must not move the seat away from a later one.
#[tokio::test]
async fn a_resume_that_comes_late_takes_no_seat_from_a_later_one() {
    let redis = RedisServer::start();
    let network = Proxy::to(&redis).await;
    let (one, two) = (node(&redis.url(), "i1").await, node(&network.url(), "i2").await);
    let (mut host, player) = pair(&one, &one, "r").await;
    let lost = player.lose();
    host.hear_type("peer-reconnecting").await;
    network.set(Network::BlackHole);
    let refusal = lost.try_resume(&two, &lost.hello()).await;
    assert_eq!(refusal.err().expect("a refusal")["code"], "unavailable");
    let mut player = resumes(&lost, &one).await;
    talk(&mut host, &mut player).await;
    network.set(Network::Open);
    two.metric_becomes("signaling_seat_queue", 0.0).await;
    tokio::time::sleep(RETRIED).await;
    talk(&mut host, &mut player).await;
}

/// The store has both seats of the room `r`.
async fn is_full(node: &Node) {
    assert_eq!(
        Client::connect(node.address, "r").await.closed().await,
        (1000, "Room is full".to_owned())
    );
}

/// A network that let nothing come from Redis loses its connections, and is open again.
async fn breaks(network: &Proxy) {
    network.reset();
    // What was on its way is gone first.
    tokio::time::sleep(Duration::from_millis(100)).await;
    network.set(Network::Open);
}

/// Redis passes on what nobody hears, when a connection is lost and Redis has not noticed yet.
#[tokio::test]
async fn what_a_lost_subscription_swallowed_is_said_again() {
    let redis = RedisServer::start();
    let network = Proxy::to(&redis).await;
    let (one, two) = (node(&network.url(), "i1").await, node(&redis.url(), "i2").await);
    let (mut host, mut player) = pair(&two, &one, "r").await;
    talk(&mut host, &mut player).await;
    network.set(Network::OnlyTo);
    for _ in 0..3 {
        host.offer().await;
    }
    host.acked().await;
    breaks(&network).await;
    talk(&mut host, &mut player).await;
}

/// The same, when it is the first thing that the other one says.
#[tokio::test]
async fn what_a_lost_subscription_swallowed_first_is_said_again() {
    let redis = RedisServer::start();
    let network = Proxy::to(&redis).await;
    let (one, two) = (node(&network.url(), "i1").await, node(&redis.url(), "i2").await);
    let (mut host, mut player) = pair(&two, &one, "r").await;
    network.set(Network::OnlyTo);
    host.offer().await;
    host.acked().await;
    breaks(&network).await;
    talk(&mut host, &mut player).await;
}

/// The seat that it gives back late is not the one that it has by then.
#[tokio::test]
async fn a_seat_given_back_late_is_not_the_one_taken_since() {
    let redis = RedisServer::start();
    let (one, two) = (node(&redis.url(), "i1").await, node(&redis.url(), "i2").await);
    let (mut host, mut player) = pair(&two, &one, "r").await;
    let (host_id, player_id) = (host.id(), player.id());
    talk(&mut host, &mut player).await;
    redis.freeze();
    player.client.send(r#"{"type":"bye"}"#).await;
    assert_eq!(player.client.closed().await.0, 1000);
    let unanswered = "berth_redis_errors_total{kind=\"timeout\"}";
    eventually_true("the seat is not given back", || {
        one.metric(unanswered) > 0.5 && one.metric("signaling_seat_queue") > 0.5
    })
    .await;
    let lost = player.lose();
    redis.thaw();
    let mut player = resumes(&lost, &one).await;
    // Meanwhile it is tried again, and is done.
    tokio::time::sleep(RETRIED).await;
    one.metric_becomes("signaling_seat_queue", 0.0).await;
    is_full(&two).await;
    // Whether the store took the seat away before is its secret; what counts is that they talk.
    host.offer().await;
    while player.hear_type("offer").await["from"] != host_id.as_str() {}
    let number = player.offer().await;
    let heard = host.hear_type("offer").await;
    assert_eq!(
        (&heard["from"], &heard["seq"]),
        (&json!(player_id), &json!(number))
    );
}

/// The player's instance ends, and it does not come back for longer than a lease and the grace for peers that speak v1.
async fn drained(window: Duration) -> (RedisServer, Node, Peer, Lost) {
    let redis = RedisServer::start();
    let (mut ending, staying) = (Node::on(&redis, "i1").await, Node::on(&redis, "i2").await);
    for node in [&ending, &staying] {
        node.change(|settings| {
            settings.drain_timeout = Duration::from_secs(1);
            settings.resume.window = window;
        });
    }
    let (mut host, mut player) = pair(&staying, &ending, "r").await;
    talk(&mut host, &mut player).await;
    let (_, closed) = tokio::join!(ending.drain(), player.client.closed());
    assert_eq!(closed, (1012, "Server draining".to_owned()));
    let away = host.hear_type("peer-reconnecting").await;
    assert_eq!(away["peer"]["id"], player.id().as_str());
    host.offer().await;
    let timing = NodeOptions::default().timing;
    tokio::time::sleep(timing.lease + timing.drained_grace).await;
    (redis, staying, host, player.lose())
}

#[tokio::test]
async fn a_drained_peer_finds_its_seat_when_its_instance_is_long_gone() {
    let (_redis, staying, mut host, lost) = drained(Duration::from_secs(30)).await;
    let mut player = lost.resume(&staying).await;
    assert_eq!(player.hello["resumed"], true);
    talk(&mut host, &mut player).await;
    is_full(&staying).await;
}

#[tokio::test]
async fn a_drained_peer_that_stays_away_has_left() {
    let (redis, _staying, mut host, lost) = drained(Duration::from_secs(4)).await;
    let left = host.hear_type("peer-left").await;
    assert_eq!(left["peer"]["state"], "gone");
    eventually("nothing is left of its instance", || async {
        let answer = redis.command("ZCARD berth:default/default:{default/default}:instances");
        answer.starts_with(":1\r\n").then_some(())
    })
    .await;
    drop(lost);
}
