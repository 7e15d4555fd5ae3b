//! What the simulated hosts of the Node services do: ten of them, with a random suffix, that say neither capacity nor slots, and
//! pages that find them. No signaling server of Berth knows their rooms.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use berth_matchmaker::host::Heartbeat;
use berth_matchmaker::store::Found;
use serde_json::{Value, json};

use crate::support::server::Served;
use crate::support::until;
use crate::support::world::{Kind, World, anywhere, constant};

const HOSTS: usize = 10;

fn heartbeat(number: usize, suffix: u32) -> Value {
    json!({
        "hostId": format!("host-{number}-{suffix:x}"),
        "roomId": format!("room-{number}-{suffix:x}"),
        "region": "us-east-1",
        "status": "idle",
        "gameInfo": {"name": "Simulated game", "specs": {"gpu": "none"}},
    })
}

#[tokio::test]
async fn ten_hosts_and_those_who_look_for_them() {
    let served = Served::new().await;
    served
        .seats
        .release(&served.instance, Duration::ZERO)
        .await
        .unwrap();
    let mut view = (*served.settings.get()).clone();
    view.pool.reservation_deadline = Duration::from_secs(5);
    served.settings.replace(view);
    let suffix = rand::random();
    let beat = async || {
        for number in 0..HOSTS {
            let answer = served.heartbeat(&heartbeat(number, suffix)).await;
            assert_eq!((answer.status, &answer.json()["success"]), (200, &json!(true)));
            assert_eq!(answer.json()["ttl"], 30);
        }
    };
    beat().await;
    let mut rooms = BTreeSet::new();
    for number in 0..HOSTS {
        let body = if number % 2 == 0 {
            json!({})
        } else {
            json!({"region": "us-east-1"})
        };
        let found = served.find(&body).await;
        assert_eq!(found.status, 200, "{}", found.body);
        rooms.insert(found.json()["roomId"].as_str().unwrap().to_owned());
    }
    assert_eq!(rooms.len(), HOSTS, "no host twice");
    // The next heartbeat offers a slot again, in the middle of the session.
    for _ in 0..3 {
        beat().await;
        let refused = served.find(&json!({})).await;
        let expected = json!({"found": false, "message": "No hosts available"});
        assert_eq!((refused.status, refused.json()), (404, expected));
    }
    // Nobody tells when a session ends: after the deadline the heartbeat alone counts.
    until("a host is offered again", || async {
        beat().await;
        served.find(&json!({})).await.status == 200
    })
    .await;
    let note = &served.ask("/statusz").await.json()["pool"]["occupancyNote"];
    assert!(note.is_string(), "and that is said: {note}");
}

/// The same for five minutes of their clock: heartbeats each 20 s, a life of 30 s, players who come and go and say nothing.
async fn at_their_pace(kind: Kind) {
    let mut world = World::new(kind).await;
    world.signaling_ends().await;
    let mut booked: BTreeMap<String, u64> = BTreeMap::new();
    for second in 0..300u64 {
        for number in (0..HOSTS).filter(|number| second % 20 == 2 * *number as u64) {
            let beat = Heartbeat {
                region: "us-east-1".to_owned(),
                ..constant(&format!("h{number}"), "")
            };
            world.beat(beat).await;
        }
        // More ask than there are hosts.
        let found = world.find(anywhere()).await;
        let deadline = world.rules.deadline.as_secs();
        let free =
            |booked: &BTreeMap<String, u64>| booked.values().filter(|at| **at + deadline > second).count();
        match found {
            Found::Granted(grant) => {
                let before = booked.insert(grant.host.to_string(), second);
                let over = before.is_none_or(|at| at + deadline <= second);
                assert!(over, "{} at {second} s and at {before:?}", grant.host);
            }
            Found::NoHosts => {
                let known = HOSTS.min(usize::try_from(second / 2 + 1).unwrap());
                assert_eq!(free(&booked), known, "one is free at {second} s: {booked:?}");
            }
            other => panic!("{other:?}"),
        }
        if second > 20 {
            assert_eq!(
                world.counts().await.hosts.values().sum::<u64>(),
                HOSTS as u64,
                "none is lost"
            );
        }
        world.advance(Duration::from_secs(1)).await;
    }
    assert_eq!(booked.len(), HOSTS);
}

#[tokio::test]
async fn five_minutes_in_memory() {
    at_their_pace(Kind::Memory).await;
}

#[tokio::test]
async fn five_minutes_on_redis() {
    at_their_pace(Kind::Redis).await;
}
