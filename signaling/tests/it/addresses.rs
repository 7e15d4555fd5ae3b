//! Limits per client address: whose address counts, and over how many instances.

use std::time::{Duration, Instant};

use crate::support::{
    Client, DEADLINE, Node, NodeOptions, RedisServer, Request, calls_since, eventually, eventually_true,
    in_some_round, offer,
};

/// A handshake that came through a proxy.
fn from(ip: &str, room: &str) -> Request {
    Request::room(room).header("X-Forwarded-For", ip)
}

/// Joins and waits for the seat.
async fn join(node: &Node, request: Request) -> Client {
    eventually("a seat", || Client::try_open(node.address, request.clone())).await
}

fn done(node: &Node) -> f64 {
    node.metric("signaling_limit_syncs_total{result=\"done\"}")
}

fn trust_loopback(node: &Node) {
    node.change(|settings| settings.security.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()]);
}

/// Two instances with one Redis, whose leases are seldom renewed during the test.
async fn two(redis: &RedisServer, messages_per_ip: i32, connections_per_ip: i32) -> [Node; 2] {
    let mut nodes = Vec::new();
    for id in ["i1", "i2"] {
        let mut options = NodeOptions {
            id,
            redis: Some(redis.url()),
            ..NodeOptions::default()
        };
        options.timing.lease = Duration::from_secs(30);
        options.spec.rate_limits.messages_per_ip = messages_per_ip;
        options.spec.rate_limits.connections_per_ip = connections_per_ip;
        let node = Node::start(options).await;
        trust_loopback(&node);
        nodes.push(node);
    }
    nodes.try_into().ok().unwrap()
}

/// Speaks until everything that was taken before is told to the other instances, and what they took is heard. How many
/// messages that took.
async fn tell(node: &Node, peer: &mut Client) -> u32 {
    let before = done(node);
    let end = Instant::now() + DEADLINE;
    let mut messages = 0;
    // One round may be on its way already, without what came last.
    while done(node) < before + 1.5 {
        assert!(Instant::now() < end, "nothing is told");
        peer.send(offer("x")).await;
        messages += 1;
        tokio::time::sleep(Duration::from_millis(40)).await;
    }
    messages
}

/// Sends so many messages and waits until each was either relayed or dropped.
async fn send(node: &Node, peer: &mut Client, messages: u32) {
    let seen = || {
        node.metric("signaling_messages_forwarded_total")
            + node.metric("signaling_dropped_total{reason=\"ip-rate\"}")
    };
    let expected = seen() + f64::from(messages) - 0.5;
    for _ in 0..messages {
        peer.send(offer("x")).await;
    }
    eventually_true("all messages are seen", || seen() > expected).await;
}

#[tokio::test]
async fn the_client_is_whoever_stands_before_the_last_trusted_proxy() {
    let node = Node::memory().await;
    node.change(|settings| {
        settings.rate_limits.connections_per_ip = 1;
        // The load balancer in front of the proxy on this machine.
        settings.security.trusted_proxies = ["127.0.0.0/8", "10.0.0.0/8"]
            .map(|network| network.parse().unwrap())
            .into();
    });
    let limited = (1013, "Rate limited".to_owned());
    for (number, lines) in [
        // The same client, whatever it writes in front and however the proxies write it.
        &["203.0.113.1"][..],
        &["203.0.113.1, 10.1.1.1"],
        &["203.0.113.1", "10.1.1.1"],
        &["198.51.100.9, 203.0.113.1, 10.1.1.1"],
        &["198.51.100.9", "garbage", "203.0.113.1:4711", "10.1.1.1"],
        &["::ffff:203.0.113.1, ::ffff:10.1.1.1"],
    ]
    .into_iter()
    .enumerate()
    {
        let mut request = Request::room(&format!("r{number}"));
        for line in lines {
            request = request.header("X-Forwarded-For", *line);
        }
        let mut client = Client::open(node.address, request).await;
        if number == 0 {
            client.send("[]").await;
            client.hear().await;
        } else {
            assert_eq!(client.closed().await, limited, "{lines:?}");
        }
    }
    // What a trusted proxy wrote cannot be read: the client is that proxy, and not what stands before.
    let _proxy = join(&node, from("203.0.113.50, ???, 10.1.1.7", "s0")).await;
    for (number, ip) in ["203.0.113.51, ???, 10.1.1.7", "10.1.1.7"]
        .into_iter()
        .enumerate()
    {
        let mut client = Client::open(node.address, from(ip, &format!("s{number}"))).await;
        assert_eq!(client.closed().await, limited, "{ip}");
    }
    // From a stranger none of it counts: all are one client, and TLS is not believed either.
    node.change(|settings| settings.security.trusted_proxies = vec!["192.0.2.0/24".parse().unwrap()]);
    let _stranger = join(&node, from("203.0.113.60", "t0")).await;
    let mut other = Client::open(node.address, from("203.0.113.61", "t1")).await;
    assert_eq!(other.closed().await, limited);
    node.change(|settings| settings.security.require_wss = true);
    let request = from("203.0.113.62", "t2").header("X-Forwarded-Proto", "https");
    let mut other = Client::open(node.address, request).await;
    assert_eq!(other.closed().await, (1008, "WSS required".to_owned()));
}

#[tokio::test]
async fn an_address_has_one_limit_at_all_instances() {
    let redis = RedisServer::start();
    let [one, two] = two(&redis, 100, 100_000).await;
    let hosts = [
        join(&one, from("203.0.113.200", "a")).await,
        join(&two, from("203.0.113.201", "b")).await,
    ];
    let started = Instant::now();
    let mut peers = [
        join(&one, from("203.0.113.7", "a")).await,
        join(&two, from("203.0.113.7", "b")).await,
    ];
    let forwarded = || {
        let count = |node: &Node| node.metric("signaling_messages_forwarded_total");
        count(&one) + count(&two)
    };
    let came = || started.elapsed().as_secs_f64() * 10.0;
    send(&one, &mut peers[0], 60).await;
    assert!(forwarded() > 59.5, "nobody is over the limit yet");
    tell(&one, &mut peers[0]).await;
    // The other instance hears of it when the client speaks there, and then has the rest for it.
    tell(&two, &mut peers[1]).await;
    send(&two, &mut peers[1], 500).await;
    assert!(
        forwarded() > 99.5 && forwarded() <= 100.0 + came() + 1.0,
        "{} passed at two instances, of 100 and {} that came meanwhile",
        forwarded(),
        came()
    );
    // And back: the bucket is empty at both. Until the first instance hears of that, it lets through what it has.
    tell(&two, &mut peers[1]).await;
    let heard = tell(&one, &mut peers[0]).await;
    send(&one, &mut peers[0], 500).await;
    let most = 101.0 + came() + f64::from(heard);
    assert!(forwarded() <= most, "{} passed, at most {most}", forwarded());
    // Another address is another matter.
    let mut other = join(&one, from("203.0.113.8", "c")).await;
    let before = forwarded();
    send(&one, &mut other, 50).await;
    assert!(forwarded() > before + 49.5, "the other client is limited");
    drop(hosts);
}

#[tokio::test]
async fn connections_of_an_address_have_one_limit_too() {
    let redis = RedisServer::start();
    let [one, two] = two(&redis, 1_000_000, 6).await;
    let joined = |node: &Node| node.metric("signaling_joins_total{result=\"joined\"}");
    let refused = |node: &Node| node.metric("signaling_refusals_total{reason=\"rate-limited\"}");
    let started = Instant::now();
    let mut seated = Vec::new();
    for number in 0..5 {
        seated.push(join(&one, from("2001:db8::1", &format!("a{number}"))).await);
    }
    tell(&one, &mut seated[0]).await;
    // The same client by another address of its network.
    let mut there = join(&two, from("2001:db8::2:2", "b")).await;
    tell(&two, &mut there).await;
    for number in 0..20 {
        seated.push(Client::open(two.address, from("2001:db8::3", &format!("c{number}"))).await);
    }
    eventually_true("all are seated or refused", || {
        joined(&two) + refused(&two) > 20.5
    })
    .await;
    let most = 6.0 + started.elapsed().as_secs_f64() * 0.6 + 1.0;
    let sum = joined(&one) + joined(&two);
    assert!(sum <= most, "{sum} connections at two instances, at most {most}");
    assert_eq!(
        seated.pop().unwrap().closed().await,
        (1013, "Rate limited".to_owned())
    );
}

#[tokio::test]
async fn limits_of_addresses_cost_one_script_call_a_round_and_no_message_any() {
    let redis = RedisServer::start();
    let [one, two] = two(&redis, 1_000_000, 100_000).await;
    let hosts = [
        join(&one, from("203.0.113.200", "a")).await,
        join(&two, from("203.0.113.201", "b")).await,
    ];
    let mut peers = [
        join(&one, from("203.0.113.7", "a")).await,
        join(&two, from("203.0.113.8", "b")).await,
    ];
    let speak = async |peers: &mut [Client; 2]| {
        for (node, peer) in [&one, &two].into_iter().zip(peers) {
            send(node, peer, 500).await;
            tell(node, peer).await;
        }
        // Whoever says nothing costs nothing, after what is on its way.
        eventually("silence", || async {
            let rounds = done(&one) + done(&two);
            tokio::time::sleep(Duration::from_millis(500)).await;
            (rounds.to_bits() == (done(&one) + done(&two)).to_bits()).then_some(())
        })
        .await;
    };
    // The first call of all loads the script.
    speak(&mut peers).await;
    in_some_round("one script a round and nothing else", async || {
        let (before, earlier) = (redis.foreground_calls(), done(&one) + done(&two));
        speak(&mut peers).await;
        let rounds = done(&one) + done(&two) - earlier;
        assert!(rounds < 500.0, "{rounds} rounds for 1000 messages");
        let mut calls = calls_since(&redis, &before);
        let scripts = calls.remove("evalsha").unwrap_or_default();
        // What the script itself does.
        calls.retain(|name, _| {
            ![
                "time",
                "zcount",
                "zcard",
                "zscore",
                "zadd",
                "pexpire",
                "zremrangebyrank",
            ]
            .contains(&&**name)
        });
        let as_expected = scripts > 0 && rounds.to_string() == scripts.to_string() && calls.is_empty();
        as_expected.then_some(()).ok_or((scripts, rounds, calls))
    })
    .await;
    drop(hosts);
}

#[tokio::test]
async fn without_redis_each_instance_limits_by_itself() {
    let mut redis = RedisServer::start();
    let [one, two] = two(&redis, 50, 100_000).await;
    let hosts = [
        join(&one, from("203.0.113.200", "a")).await,
        join(&two, from("203.0.113.201", "b")).await,
    ];
    let mut peers = [
        join(&one, from("203.0.113.7", "a")).await,
        join(&two, from("203.0.113.7", "b")).await,
    ];
    redis.kill();
    eventually_true("the outage is noticed", || one.metric("signaling_redis_up") < 0.5).await;
    eventually_true("the outage is noticed", || two.metric("signaling_redis_up") < 0.5).await;
    let started = Instant::now();
    for (node, peer) in [&one, &two].into_iter().zip(&mut peers) {
        send(node, peer, 300).await;
        let forwarded = node.metric("signaling_messages_forwarded_total");
        let most = 50.0 + started.elapsed().as_secs_f64() * 5.0 + 1.0;
        assert!(
            forwarded > 49.5 && forwarded <= most,
            "{forwarded} passed, at most {most}"
        );
        let skipped = "signaling_limit_syncs_total{result=\"skipped\"}";
        eventually_true("nobody is told", || node.metric(skipped) > 0.5).await;
    }
    redis.restart();
    for (node, peer) in [&one, &two].into_iter().zip(&mut peers) {
        node.ready().await;
        tell(node, peer).await;
    }
    drop(hosts);
}
