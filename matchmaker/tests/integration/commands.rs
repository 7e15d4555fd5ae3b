//! What a find costs Redis: one command, and as much work inside it for a large pool as for a small one.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::Duration;

use berth_crds::settings::Strategy;
use berth_dataplane::testing::RedisServer;
use berth_matchmaker::host::Heartbeat;
use berth_matchmaker::store::{Found, Request};

use crate::support::world::{Kind, World, anywhere, constant, in_region, labels, pinned, room};

/// Commands that clients send, as `MONITOR` shows them, until the marker comes. Those of scripts are left out, and so
/// are the pings of links.
fn watch(server: &RedisServer, marker: &'static str) -> std::thread::JoinHandle<Vec<String>> {
    let mut stream = TcpStream::connect(("127.0.0.1", server.port())).unwrap();
    stream.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
    stream.write_all(b"MONITOR\r\n").unwrap();
    let mut lines = BufReader::new(stream);
    let mut ok = String::new();
    lines.read_line(&mut ok).unwrap();
    assert_eq!(ok, "+OK\r\n");
    std::thread::spawn(move || {
        let commands = lines
            .lines()
            .map(Result::unwrap)
            .take_while(|line| !line.contains(marker));
        commands
            .filter(|line| !line.contains(" lua] ") && !line.contains("\"PING\""))
            .collect()
    })
}

/// A pool of hosts in three regions and, by their labels, nine classes.
async fn pool(hosts: usize) -> World {
    let mut world = World::new(Kind::Redis).await;
    for number in 0..hosts {
        let heartbeat = Heartbeat {
            labels: labels([("gpu", ["a100", "l4", "t4"][number / 3 % 3]), ("codec", "av1")]),
            capacity: 2,
            available: 2,
            ..constant(&format!("h{number}"), ["eu", "us", "asia"][number % 3])
        };
        world.join(&heartbeat.room).await;
        world.beat(heartbeat).await;
    }
    world
}

/// Every kind of find.
fn finds() -> Vec<(&'static str, Request)> {
    let nearest = vec!["moon".to_owned(), "mars".to_owned(), "us".to_owned()];
    let gpu = labels([("gpu", "a100")]);
    vec![
        ("anywhere", anywhere()),
        ("region", in_region("eu")),
        ("pinned", pinned("h1")),
        (
            "latencies",
            Request {
                nearest: nearest.clone(),
                ..in_region("nowhere")
            },
        ),
        (
            "labels",
            Request {
                labels: gpu.clone(),
                ..anywhere()
            },
        ),
        (
            "labels and latencies",
            Request {
                labels: gpu,
                nearest,
                ..in_region("nowhere")
            },
        ),
        (
            "labels of nobody",
            Request {
                labels: labels([("gpu", "l4"), ("codec", "h264")]),
                ..in_region("eu")
            },
        ),
    ]
}

const STRATEGIES: [Strategy; 3] = [Strategy::Packed, Strategy::Spread, Strategy::Sample { size: 5 }];

#[tokio::test]
async fn one_command_per_find() {
    let mut world = pool(10).await;
    // The server learns the scripts.
    let first = anywhere();
    world.granted(first.clone()).await;
    world.release(first.id).await;
    world.plays(&room("elsewhere")).await;
    let watched = watch(&world.redis.as_ref().unwrap().0, "the-end");
    let mut calls = 0;
    for strategy in STRATEGIES {
        world.rules.strategy = strategy;
        for (number, (_, request)) in finds().into_iter().enumerate() {
            // Rooms that changed and deadlines that passed are looked after on the way.
            world.plays(&room(&format!("room-h{number}"))).await;
            world.clock.advance(Duration::from_secs(1));
            world.find(request).await;
            // Joining, looking for one's seat and saying what one is are a call each.
            calls += 4;
        }
    }
    while world.find(anywhere()).await != Found::NoHosts {
        calls += 1;
    }
    calls += 1;
    world.redis.as_ref().unwrap().0.command("ECHO the-end");
    let commands = watched.join().unwrap();
    assert_eq!(commands.len(), calls, "{commands:#?}");
    assert!(
        commands.iter().all(|line| line.contains("\"EVALSHA\"")),
        "{commands:#?}"
    );
}

/// Commands inside scripts for one find of each kind and giving it up again, from the server's own statistics.
async fn work(hosts: usize) -> Vec<(String, f64)> {
    const FINDS: u32 = 20;
    let mut world = pool(hosts).await;
    // Without the links' own pings and the question for the statistics.
    let calls = |world: &World| -> u64 {
        let redis = &world.redis.as_ref().unwrap().0;
        redis.calls_but(&["ping", "info"]).into_values().sum()
    };
    // Rooms that changed are looked after once.
    world.counts().await;
    let mut work = Vec::new();
    for strategy in STRATEGIES {
        for weight in [100, 1] {
            world.rules.strategy = strategy;
            world.rules.region_weight = weight;
            for (name, request) in finds() {
                let before = calls(&world);
                for round in 0..FINDS {
                    let mut request = Request {
                        id: anywhere().id,
                        ..request.clone()
                    };
                    request.dice.stray = round;
                    request.dice.sample = round * (u32::MAX / FINDS);
                    world.find(request.clone()).await;
                    world.release(request.id).await;
                }
                let each = f64::from(u32::try_from(calls(&world) - before).unwrap()) / f64::from(FINDS);
                work.push((format!("{name}, {strategy:?}, weight {weight}"), each));
            }
        }
    }
    work
}

#[tokio::test]
async fn work_does_not_grow_with_the_pool() {
    let (small, large) = (work(100).await, work(3000).await);
    for ((name, small), (_, large)) in small.into_iter().zip(large) {
        assert!(
            large <= small * 1.1,
            "{name}: {small} commands in scripts for 100 hosts, {large} for 3000"
        );
        assert!(large <= 60.0, "{name}: {large} commands in scripts");
    }
}
