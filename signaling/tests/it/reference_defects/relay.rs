//! Defects of limits, counts and the end of an instance.

use std::collections::HashSet;
use std::time::Duration;

use crate::cluster::join_when_free;
use crate::support::{
    Client, Node, NodeOptions, PEER_DISCONNECTED, RedisServer, candidate, eventually, eventually_true, get,
    offer, pause,
};

/// There: tokens were rounded down at each attempt, so who sent faster than one token comes was never heard again.
#[tokio::test]
async fn who_never_pauses_gets_its_share() {
    let node = Node::memory().await;
    node.change(|settings| settings.rate_limits.messages_per_client = 20);
    let (mut host, mut player) = (Client::join(&node, "r1").await, Client::join(&node, "r1").await);
    let sending = tokio::spawn(async move {
        for number in 0.. {
            player.send(candidate(&number.to_string())).await;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    // The burst, and then one each half second, however many are refused in between.
    for number in 0..20 {
        assert_eq!(host.hear().await, candidate(&number.to_string()));
    }
    for _ in 0..3 {
        host.hear().await;
    }
    assert!(node.metric("signaling_dropped_total{reason=\"client-rate\"}") > 20.0);
    sending.abort();
}

/// There: only what went through Redis was counted as forwarded, and drops of a connection's own limit not at all.
#[tokio::test]
async fn local_messages_and_all_drops_are_counted() {
    let node = Node::memory().await;
    let (mut host, mut player) = (Client::join(&node, "r1").await, Client::join(&node, "r1").await);
    for number in 0..10 {
        player.send(candidate(&number.to_string())).await;
        host.hear().await;
    }
    for name in [
        "signaling_messages_forwarded_total",
        "signaling_relayed_total{path=\"local\"}",
        "signaling_fanout_latency_seconds_count",
    ] {
        node.metric_becomes(name, 10.0).await;
    }
    node.change(|settings| settings.rate_limits.messages_per_client = 1);
    for number in 0..10 {
        player.send(candidate(&number.to_string())).await;
    }
    eventually_true("drops are counted", || {
        node.metric("signaling_dropped_total{reason=\"client-rate\"}") > 7.5
            && node.metric("signaling_rate_limit_drops_total") > 7.5
    })
    .await;
}

/// There: metrics of the process were registered twice.
#[tokio::test]
async fn every_metric_is_there_once() {
    let redis = RedisServer::start();
    let node = Node::on(&redis, "i1").await;
    let _peers = (Client::join(&node, "r1").await, Client::join(&node, "r1").await);
    let (_, text) = get(node.internal, "/metrics").await;
    let mut seen = HashSet::new();
    for line in text.lines() {
        let is_head = line.starts_with("# TYPE") || line.starts_with("# HELP");
        let name = if is_head {
            line.split(' ').take(3).collect::<Vec<_>>().join(" ")
        } else {
            line.rsplit_once(' ')
                .map_or(line, |(series, _)| series)
                .to_owned()
        };
        assert!(line.starts_with("# EOF") || seen.insert(name), "twice: {line}");
    }
}

/// There: a departure was told through Redis to the own instance too, and on a drain twice.
#[tokio::test]
async fn a_departure_is_told_once() {
    let redis = RedisServer::start();
    let (one, two) = (Node::on(&redis, "i1").await, Node::on(&redis, "i2").await);
    for (round, node) in [&one, &two, &one, &two].into_iter().enumerate() {
        let room = format!("r{round}");
        let mut stays = Client::join(&one, &room).await;
        Client::join(node, &room).await.leave().await;
        assert_eq!(stays.hear().await, PEER_DISCONNECTED);
        let mut next = join_when_free(node, &room).await;
        next.send(offer("next")).await;
        // Whatever was told twice would be heard before it.
        assert_eq!(stays.hear().await, offer("next"));
        stays.send(offer("back")).await;
        assert_eq!(
            next.hear().await,
            offer("back"),
            "a newcomer hears of nobody whom it never met"
        );
    }
}

/// There: a drain said that the peer is gone, twice, and the browser on the other side gave up for good.
#[tokio::test]
async fn a_drained_peer_that_comes_back_was_never_gone() {
    let redis = RedisServer::start();
    let (mut ending, staying) = (Node::on(&redis, "i1").await, Node::on(&redis, "i2").await);
    ending.change(|settings| settings.drain_timeout = Duration::from_secs(2));
    let mut pairs = Vec::new();
    for number in 0..10 {
        let room = format!("r{number}");
        let (browser, host) = (
            Client::join(&staying, &room).await,
            Client::join(&ending, &room).await,
        );
        pairs.push((room, browser, host));
    }
    let address = staying.address;
    let returns = pairs.into_iter().map(|(room, browser, mut host)| {
        tokio::spawn(async move {
            assert_eq!(host.closed().await, (1012, "Server draining".to_owned()));
            // It comes back at once, as often as it takes.
            let back = eventually("a seat", || Client::try_join(address, &room)).await;
            (browser, back)
        })
    });
    let returns: Vec<_> = returns.collect();
    ending.drain().await;
    let mut pairs = Vec::new();
    for pair in returns {
        pairs.push(pair.await.unwrap());
    }
    // Longer than the grace: whoever is told at its end is told by now.
    tokio::time::sleep(NodeOptions::default().timing.drained_grace * 2).await;
    for (mut browser, mut back) in pairs {
        back.send(offer("back")).await;
        assert_eq!(browser.hear().await, offer("back"));
        browser.send(offer("here")).await;
        assert_eq!(back.hear().await, offer("here"));
    }
}

/// There: sockets that were joining when the drain began were missed, and newcomers got an HTTP error.
#[tokio::test]
async fn a_drain_misses_nobody() {
    let redis = RedisServer::start();
    let mut node = Node::on(&redis, "i1").await;
    node.change(|settings| settings.drain_timeout = Duration::from_secs(3));
    let mut seated = Client::join(&node, "r1").await;
    pause(&redis, 700);
    let mut joining = Client::connect(node.address, "r1").await;
    let draining = (1012, "Server draining".to_owned());
    let (_, first, second) = tokio::join!(node.drain(), seated.closed(), joining.closed());
    assert_eq!((first, second), (draining.clone(), draining));
    let again = Node::on(&redis, "i2").await;
    let _seats = (
        join_when_free(&again, "r1").await,
        join_when_free(&again, "r1").await,
    );
}

/// There: sockets were closed all in one instant, and readiness fell in the same one.
#[tokio::test]
async fn readiness_falls_before_anybody_is_closed() {
    let node = Node::start(NodeOptions {
        // Without an end: whoever is closed now is closed too early.
        endpoint_delay: Duration::from_hours(1),
        ..NodeOptions::default()
    })
    .await;
    let mut pairs = Vec::new();
    for number in 0..4 {
        let room = format!("r{number}");
        pairs.push((Client::join(&node, &room).await, Client::join(&node, &room).await));
    }
    node.shutdown.begin();
    eventually("not ready", || async {
        (get(node.internal, "/readyz").await == (503, "not-ready".to_owned())).then_some(())
    })
    .await;
    // Everybody is still served, those who come too: load balancers have not noticed yet.
    pairs.push((Client::join(&node, "new").await, Client::join(&node, "new").await));
    for (host, player) in &mut pairs {
        player.send(offer("still here")).await;
        assert_eq!(host.hear().await, offer("still here"));
        host.send(offer("so am I")).await;
        assert_eq!(player.hear().await, offer("so am I"));
    }
    // What follows the delay.
    node.shutdown.expire();
    let peers = pairs.iter_mut().flat_map(|(host, player)| [host, player]);
    for close in futures::future::join_all(peers.map(Client::closed)).await {
        assert_eq!(close, (1012, "Server draining".to_owned()));
    }
}
