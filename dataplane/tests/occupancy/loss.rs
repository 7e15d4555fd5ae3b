//! A store that lost its keys, and calls that come too late.

use std::time::{Duration, Instant};

use berth_dataplane::occupancy::{Claim, Join, Leaver, Seat};
use berth_dataplane::testing::RedisServer;

use crate::store::{Store, instance, member, room};

/// Longer than any of these tests but for what waits for a part of it.
const LEASE: Duration = Duration::from_secs(3);

fn is_joined(join: &Join) -> bool {
    matches!(join, Join::Joined { .. })
}

/// A room that is full stays full, although the store has forgotten it: whoever asks first waits until the others have had
/// time to assert their seats.
#[tokio::test]
async fn an_empty_store_gives_out_no_seat_that_somebody_holds() {
    let server = RedisServer::start();
    let one = Store::holding_back(&server, LEASE).await;
    let two = one.another(LEASE);
    let (here, there) = (instance("i1"), instance("i2"));
    let full = room("full");
    for (store, instance) in [(&one, &here), (&two, &there)] {
        store.seats.renew(instance).await.unwrap();
    }
    let (first, _) = one.sits(&full, member(1), &here).await;
    let (second, _) = two.sits(&full, member(2), &there).await;
    assert!(one.known().await);
    server.command("FLUSHALL");
    let asked_at = Instant::now();
    let claim = Claim::new(member(3), &here);
    let third = one.seats.join(&full, &claim, 2);
    let assertions = async {
        // Before it was noticed nothing can be said of it.
        while server
            .command(&format!("EXISTS {}", one.key("blank")))
            .starts_with(":0")
        {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(
            !one.known().await,
            "an empty room means nothing while the store is blank"
        );
        for (store, instance, number, join) in [(&one, &here, 1, first), (&two, &there, 2, second)] {
            let seat = Seat::new(member(number), instance.clone(), join);
            assert!(store.seats.renew(instance).await.unwrap().lost);
            assert!(is_joined(&store.seats.assert(&full, &seat, 2).await.unwrap()));
        }
    };
    let (third, ()) = tokio::join!(third, assertions);
    assert_eq!(third.unwrap(), Join::Full);
    assert!(asked_at.elapsed() >= LEASE / 2, "it waited");
    // That is over now.
    assert!(is_joined(
        &two.seats
            .join(&room("other"), &Claim::new(member(4), &there), 2)
            .await
            .unwrap()
    ));
    assert!(one.known().await);
}

/// An instance that was away for longer than its lease, and one that starts, say nothing about the store.
#[tokio::test]
async fn who_lapsed_or_starts_makes_nobody_wait() {
    let server = RedisServer::start();
    let lease = Duration::from_millis(300);
    let (one, two) = (Store::holding_back(&server, lease).await, instance("i2"));
    let here = instance("i1");
    one.seats.renew(&here).await.unwrap();
    // Another one finds it dead and forgets it.
    let other = one.another(lease);
    let end = Instant::now() + Duration::from_mins(1);
    let score = format!("ZSCORE {} i1@1", one.key("instances"));
    while !server.command(&score).starts_with("$-1") {
        other.seats.renew(&two).await.unwrap();
        assert!(Instant::now() < end, "never forgotten");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(one.seats.renew(&here).await.unwrap().lost);
    assert!(is_joined(
        &one.seats
            .join(&room("r"), &Claim::new(member(1), &here), 2)
            .await
            .unwrap()
    ));
    let third = one.another(lease);
    third.seats.renew(&instance("i3")).await.unwrap();
    let blank = server.command(&format!("EXISTS {}", one.key("blank")));
    assert!(blank.starts_with(":0"), "{blank}");
}

/// A join or an assertion that was sent earlier and comes later takes no seat, and the room stays free.
#[tokio::test]
async fn what_was_given_back_for_good_is_not_taken_again() {
    let server = RedisServer::start();
    let store = Store::with_lease(&server, LEASE).await;
    let (here, narrow) = (instance("i1"), room("narrow"));
    let (join, _) = store.sits(&narrow, member(1), &here).await;
    let leaver = Leaver {
        for_good: true,
        ..Leaver::new(member(1), &here)
    };
    store.seats.give_back(&narrow, &leaver).await.unwrap();
    let seat = Seat::new(member(1), here.clone(), join);
    assert_eq!(store.seats.assert(&narrow, &seat, 2).await.unwrap(), Join::Full);
    // The join of this one was not answered, and is executed behind what gives the seat back.
    let leaver = Leaver {
        for_good: true,
        ..Leaver::new(member(2), &here)
    };
    store.seats.give_back(&narrow, &leaver).await.unwrap();
    assert_eq!(store.join(&narrow, member(2), &here, 2).await, Join::Full);
    assert!(store.seats.seats(&narrow).await.unwrap().is_empty());
    store.sits(&narrow, member(3), &here).await;
    let ttl = server.command(&format!("PTTL {}{}", store.key("gone:"), member(1)));
    assert!(ttl.starts_with(':') && !ttl.starts_with(":-"), "{ttl}");
}
