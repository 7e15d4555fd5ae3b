//! Instances that die, lapse or lose the store: on Redis alone.

use std::time::{Duration, Instant};

use berth_dataplane::occupancy::{Claim, Instance, Join, MemberId, Reaped, Renewal, Seat};
use berth_dataplane::testing::RedisServer;

use crate::store::{Store, instance, member, members, room};

const LEASE: Duration = Duration::from_millis(400);
/// Longest wait for anything here; only a hang reaches it.
const LONG: Duration = Duration::from_mins(1);

/// Renews the lease of `living` until a renewal says something of interest.
async fn renew_until<T>(store: &Store, living: &Instance, mut seen: impl FnMut(Renewal) -> Option<T>) -> T {
    let end = Instant::now() + LONG;
    loop {
        if let Some(seen) = seen(store.seats.renew(living).await.unwrap()) {
            return seen;
        }
        assert!(Instant::now() < end, "the renewal never said it");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn seats_of_a_dead_instance_are_taken_away_and_told() {
    let server = RedisServer::start();
    let store = Store::with_lease(&server, LEASE).await;
    let (living, dead) = (instance("living"), instance("dead"));
    let (shared, alone) = (room("shared"), room("alone"));
    store.watch(&alone, "eu").await;
    store.touched("eu").await;
    store.sits(&shared, member(1), &living).await;
    store.sits(&shared, member(2), &dead).await;
    store.sits(&alone, member(3), &dead).await;
    assert_eq!(store.touched("eu").await.len(), 1);
    let mut reaped: Vec<Reaped> = Vec::new();
    renew_until(&store, &living, |renewal| {
        reaped.extend(renewal.reaped);
        (reaped.len() == 2).then_some(())
    })
    .await;
    reaped.sort_by_key(|reaped| reaped.member);
    assert_eq!(
        (&reaped[0].room, reaped[0].member, members(&reaped[0].left)),
        (&shared, member(2), vec![member(1)])
    );
    assert_eq!(
        (&reaped[1].room, reaped[1].member, members(&reaped[1].left)),
        (&alone, member(3), vec![])
    );
    assert_eq!(store.touched("eu").await.len(), 1, "the pool is told");
    let left = store.seats.seats(&shared).await.unwrap();
    assert_eq!(members(&left), [member(1)]);
}

#[tokio::test]
async fn a_join_does_not_wait_for_the_seats_of_the_dead() {
    let server = RedisServer::start();
    let store = Store::with_lease(&server, LEASE).await;
    let (living, dead) = (instance("living"), instance("dead"));
    let room = room("r");
    store.sits(&room, member(1), &living).await;
    store.sits(&room, member(2), &dead).await;
    assert_eq!(store.join(&room, member(3), &living, 2).await, Join::Full);
    // Its end is asked for, so that no clock is needed: a released lease is not believed any more.
    store.seats.release(&dead, Duration::ZERO).await.unwrap();
    match store.join(&room, member(3), &living, 2).await {
        Join::Joined { others, reaped, .. } => {
            let reaped: Vec<MemberId> = reaped.iter().map(|gone| gone.member).collect();
            assert_eq!((members(&others), reaped), (vec![member(1)], vec![member(2)]));
        }
        other => panic!("a dead instance holds a seat: {other:?}"),
    }
    // Told once.
    assert!(store.seats.renew(&living).await.unwrap().reaped.is_empty());
}

/// A member whose instance ends has the time that it would have anywhere to take its seat again.
#[tokio::test]
async fn seats_that_wait_outlive_a_released_lease() {
    let server = RedisServer::start();
    let store = Store::shared(&server).await;
    let (living, ended) = (instance("living"), instance("ended"));
    let room = room("r");
    store.sits(&room, member(1), &living).await;
    store.sits(&room, member(2), &ended).await;
    store.seats.release(&ended, Duration::from_mins(1)).await.unwrap();
    assert!(store.seats.renew(&living).await.unwrap().reaped.is_empty());
    assert_eq!(store.join(&room, member(3), &living, 2).await, Join::Full);
    let ends = server.command(&format!("ZSCORE {} {ended}", store.key("instances")));
    let ends: u64 = ends.lines().nth(1).unwrap().parse().unwrap();
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    let left = u128::from(ends).saturating_sub(now.as_millis());
    assert!((1..=60_000).contains(&left), "{left} ms");
    // Without seats nothing of it stays.
    store.leave(&room, member(2), &ended).await;
    store.seats.release(&ended, Duration::from_mins(1)).await.unwrap();
    let gone = server.command(&format!("ZSCORE {} {ended}", store.key("instances")));
    assert!(gone.starts_with("$-1"), "{gone}");
}

#[tokio::test]
async fn who_is_refused_reaps_nobody() {
    let server = RedisServer::start();
    let store = Store::shared(&server).await;
    let (living, dead) = (instance("living"), instance("dead"));
    let room = room("r");
    store.sits(&room, member(1), &living).await;
    store.sits(&room, member(2), &dead).await;
    store.seats.release(&dead, Duration::ZERO).await.unwrap();
    assert_eq!(store.join(&room, member(3), &living, 1).await, Join::Full);
    let reaped = store.seats.renew(&living).await.unwrap().reaped;
    assert_eq!(
        reaped.iter().map(|reaped| reaped.member).collect::<Vec<_>>(),
        [member(2)]
    );
}

#[tokio::test]
async fn an_instance_that_the_store_does_not_know_has_lost_its_seats() {
    let server = RedisServer::start();
    let store = Store::shared(&server).await;
    let here = instance("i1");
    let room = room("r");
    assert!(
        store.seats.renew(&here).await.unwrap().lost,
        "the first time it is unknown"
    );
    assert!(!store.seats.renew(&here).await.unwrap().lost);
    let (join, _) = store.sits(&room, member(1), &here).await;
    server.command("FLUSHALL");
    assert!(store.seats.renew(&here).await.unwrap().lost);
    assert!(!store.seats.renew(&here).await.unwrap().lost);
    let seat = Seat::new(member(1), here.clone(), join);
    assert!(
        matches!(store.seats.assert(&room, &seat, 2).await.unwrap(), Join::Joined { join: same, .. } if same == join)
    );
    // Newcomers are numbered above all who were there before the flush.
    assert!(store.sits(&room, member(2), &here).await.0 > join + 1);

    // A join meanwhile gives it a lease, and the loss is told all the same.
    server.command("FLUSHALL");
    store.sits(&room, member(3), &here).await;
    assert!(store.seats.renew(&here).await.unwrap().lost);
}

#[tokio::test]
async fn two_starts_of_one_instance_are_two() {
    let server = RedisServer::start();
    let store = Store::shared(&server).await;
    let (before, after) = (Instance::new("i1", 1), Instance::new("i1", 2));
    let room = room("r");
    store.sits(&room, member(1), &before).await;
    store.seats.release(&before, Duration::ZERO).await.unwrap();
    let renewal = store.seats.renew(&after).await.unwrap();
    assert_eq!(renewal.reaped.len(), 1);
    assert!(store.seats.seats(&room).await.unwrap().is_empty());
}

#[tokio::test]
async fn many_seats_are_taken_away_in_steps() {
    let server = RedisServer::start();
    let store = Store::shared(&server).await;
    let (living, dead) = (instance("living"), instance("dead"));
    for number in 0..600 {
        store
            .sits(&room(&format!("r{number}")), member(number), &dead)
            .await;
    }
    store.seats.release(&dead, Duration::ZERO).await.unwrap();
    let (mut reaped, mut calls) = (0, 0);
    loop {
        let renewal = store.seats.renew(&living).await.unwrap();
        reaped += renewal.reaped.len();
        calls += 1;
        if !renewal.more {
            break;
        }
    }
    assert_eq!((reaped, calls), (600, 3));
}

/// Whoever gave up may have asked again elsewhere, and has what came of that.
#[tokio::test]
async fn a_join_that_comes_late_takes_no_seat() {
    let server = RedisServer::start();
    let store = Store::with_lease(&server, LEASE).await;
    let (here, room) = (instance("i1"), room("r"));
    // From then on the clock of the store is known.
    store.seats.renew(&here).await.unwrap();
    server.freeze();
    let claim = Claim::new(member(1), &here);
    store.seats.join(&room, &claim, 2).await.unwrap_err();
    // It was sent, and is executed now.
    tokio::time::sleep(Duration::from_millis(100)).await;
    server.thaw();
    let seats = async || store.seats.seats(&room).await;
    let mut tries = 0;
    let seats = loop {
        match seats().await {
            Ok(seats) => break seats,
            Err(error) => assert!(tries < 300, "{error}"),
        }
        tries += 1;
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    assert!(seats.is_empty(), "{seats:?}");
    store.sits(&room, member(1), &here).await;
}
