//! Finds that were refused, and how long hosts are silent.

use std::time::Duration;

use berth_dataplane::testing::RedisServer;
use berth_matchmaker::demand::ByRegion;
use berth_matchmaker::host::Heartbeat;
use berth_matchmaker::store::redis::RedisStore;
use berth_matchmaker::store::{Clock, HostStore};

use super::both_stores;
use crate::support::world::{World, connect, constant, keys, room};

both_stores!(
    demand_is_summed_up_and_forgotten_after_five_minutes,
    demand_names_a_bounded_number_of_regions,
    a_heartbeat_tells_how_long_the_host_was_silent,
);

fn refused(numbers: &[(&str, u64)]) -> ByRegion {
    let numbers = numbers.iter();
    numbers
        .map(|(region, number)| ((*region).to_owned(), *number))
        .collect()
}

async fn add(world: &World, numbers: &[(&str, u64)]) -> ByRegion {
    world.store.demand(refused(numbers)).await.unwrap()
}

async fn demand_is_summed_up_and_forgotten_after_five_minutes(world: World) {
    assert_eq!(add(&world, &[]).await, refused(&[]));
    add(&world, &[("eu", 2), ("us", 1)]).await;
    world.clock.advance(Duration::from_mins(1));
    assert_eq!(add(&world, &[("eu", 3)]).await, refused(&[("eu", 5), ("us", 1)]));
    world.clock.advance(Duration::from_mins(3));
    assert_eq!(add(&world, &[]).await, refused(&[("eu", 5), ("us", 1)]));
    // The first is older than five minutes now, the second is not yet.
    world.clock.advance(Duration::from_mins(1));
    assert_eq!(
        add(&world, &[("asia west/1", 1)]).await,
        refused(&[("asia west/1", 1), ("eu", 3)])
    );
    world.clock.advance(Duration::from_secs(330));
    assert_eq!(add(&world, &[]).await, refused(&[]));
}

async fn demand_names_a_bounded_number_of_regions(world: World) {
    for number in 0..100 {
        add(&world, &[(&format!("r{number:02}"), 1)]).await;
    }
    let told = add(&world, &[("r00", 1)]).await;
    // Should one slot of time have ended meanwhile, both are bounded.
    assert!(
        (65..=100).contains(&told.len()) || told.contains_key("other"),
        "{told:?}"
    );
    assert_eq!((told.values().sum::<u64>(), told["r00"]), (101, 2));
}

async fn a_heartbeat_tells_how_long_the_host_was_silent(mut world: World) {
    let silent = async |world: &mut World, heartbeat: Heartbeat| {
        let told = world.beaten(heartbeat).await.silent_ms;
        told.map(|silent_ms| silent_ms / 1000)
    };
    assert_eq!(
        silent(&mut world, constant("a", "eu")).await,
        None,
        "its first one"
    );
    world.advance(Duration::from_secs(20)).await;
    assert_eq!(silent(&mut world, constant("a", "eu")).await, Some(20));
    world.advance(Duration::from_secs(25)).await;
    let elsewhere = Heartbeat {
        room: room("other"),
        ..constant("a", "eu")
    };
    assert_eq!(silent(&mut world, elsewhere.clone()).await, Some(25));
    let taken = Heartbeat {
        room: room("other"),
        ..constant("b", "eu")
    };
    assert_eq!(silent(&mut world, taken).await, None, "nothing was stored");
    world.advance(Duration::from_secs(31)).await;
    assert_eq!(silent(&mut world, elsewhere).await, None, "it was lost");
}

#[tokio::test]
async fn replicas_tell_the_demand_of_all() {
    let server = RedisServer::start();
    let link = connect(&server).await;
    let replicas = [0, 1].map(|_| RedisStore::new(link.clone(), keys(), "eu", Clock::default()));
    let other = RedisStore::new(link.clone(), keys(), "us", Clock::default());
    for (replica, store) in replicas.iter().enumerate() {
        let told = store.demand(refused(&[("eu", 2)])).await.unwrap();
        assert_eq!(told, refused(&[("eu", 2 * (replica as u64 + 1))]));
    }
    assert_eq!(other.demand(refused(&[])).await.unwrap(), refused(&[]));
}
