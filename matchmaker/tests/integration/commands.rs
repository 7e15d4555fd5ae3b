//! What a find costs Redis: one command, and as much work inside it for a large pool as for a small one.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::Duration;

use berth_dataplane::testing::RedisServer;
use berth_matchmaker::store::Found;

use crate::support::world::{Kind, World, anywhere, in_region, room};

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

#[tokio::test]
async fn one_command_per_find() {
    let mut world = World::new(Kind::Redis).await;
    for number in 0..10 {
        world
            .seated_host(&format!("h{number}"), ["eu", "us"][number % 2])
            .await;
    }
    // The server learns the script.
    world.granted(anywhere()).await;
    let watched = watch(&world.redis.as_ref().unwrap().0, "the-end");
    for number in 0..10 {
        // Rooms that changed and deadlines that passed are looked after on the way.
        world.join(&room(&format!("room-h{number}"))).await;
        world.clock.advance(Duration::from_secs(2));
        world.find(in_region("eu")).await;
    }
    assert_eq!(world.find(anywhere()).await, Found::NoHosts);
    world.redis.as_ref().unwrap().0.command("ECHO the-end");
    let commands = watched.join().unwrap();
    // Ten joins and eleven finds, one script call each.
    assert_eq!(commands.len(), 21, "{commands:#?}");
    assert!(
        commands.iter().all(|line| line.contains("\"EVALSHA\"")),
        "{commands:#?}"
    );
}

/// Commands inside scripts for one find, from the server's own statistics.
async fn work_per_find(hosts: usize) -> f64 {
    const FINDS: u32 = 50;
    let mut world = World::new(Kind::Redis).await;
    for number in 0..hosts {
        world
            .seated_host(&format!("h{number}"), ["eu", "us", "asia"][number % 3])
            .await;
    }
    world.granted(anywhere()).await;
    // Without the links' own pings and the question for the statistics.
    let calls = |world: &World| -> u64 {
        let redis = &world.redis.as_ref().unwrap().0;
        redis.calls_but(&["ping", "info"]).into_values().sum()
    };
    let before = calls(&world);
    for _ in 0..FINDS {
        world.granted(in_region("eu")).await;
    }
    f64::from(u32::try_from(calls(&world) - before).unwrap()) / f64::from(FINDS)
}

#[tokio::test]
async fn work_does_not_grow_with_the_pool() {
    let (small, large) = (work_per_find(200).await, work_per_find(3000).await);
    assert!(
        large <= small * 1.1,
        "{small} commands in a script for 200 hosts, {large} for 3000"
    );
}
