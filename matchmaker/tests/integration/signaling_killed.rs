//! A signaling server dies without a word, with seats of hosts and players on it.

use std::time::{Duration, Instant};

use berth_dataplane::match_token::Role;
use berth_dataplane::occupancy::{Claim, Instance, Join, MemberId, SharedRooms, Timing, Who};
use berth_dataplane::testing::RedisServer;
use berth_matchmaker::host::HostState;
use berth_matchmaker::store::redis::RedisStore;
use berth_matchmaker::store::{Clock, Found, HostStore, Rules};
use uuid::Uuid;

use crate::support::LONG;
use crate::support::world::{connect, constant, keys, pinned, room, rules};

/// A process of the signaling server, which lives as long as it renews its lease.
struct Signaling {
    rooms: SharedRooms,
    instance: Instance,
}

impl Signaling {
    async fn sits(&self, host: &str, role: Role) {
        let claim = Claim {
            who: Who::is(role),
            ..Claim::new(MemberId(Uuid::new_v4()), &self.instance)
        };
        let joined = self
            .rooms
            .join(&room(&format!("room-{host}")), &claim, 2)
            .await
            .unwrap();
        assert!(matches!(joined, Join::Joined { .. }), "{joined:?}");
    }

    async fn lives(&self) {
        self.rooms.renew(&self.instance).await.unwrap();
    }
}

async fn state(store: &RedisStore, name: &str) -> HostState {
    let hosts = store.page(None).await.unwrap();
    hosts
        .iter()
        .find(|record| record.host.as_str() == name)
        .unwrap()
        .state
}

#[tokio::test]
async fn its_seats_count_no_longer_and_those_of_others_do() {
    let redis = RedisServer::start();
    let link = connect(&redis).await;
    let timing = Timing {
        lease: Duration::from_secs(2),
        room_ttl: Duration::from_mins(10),
    };
    let [lasting, killed] = ["lasting", "killed"].map(|name| Signaling {
        rooms: SharedRooms::new(link.clone(), keys(), timing),
        instance: Instance::new(name, 1),
    });
    let rules = Rules {
        hold: Duration::from_millis(500),
        ..rules()
    };
    let store = RedisStore::new(link, keys(), "eu", Clock::default());
    let renewed = Instant::now();
    for signaling in [&lasting, &killed] {
        signaling.lives().await;
    }
    // Whose host is where, and whose player.
    let all = [
        ("its-player", &lasting, &killed),
        ("its-host", &killed, &lasting),
        ("neither", &lasting, &lasting),
    ];
    for (name, at, _) in all {
        at.sits(name, Role::Host).await;
        store.heartbeat(constant(name, "us"), rules).await.unwrap();
        let found = store.find(pinned(name), rules).await.unwrap().value;
        assert!(matches!(found, Found::Granted(_)), "{name}: {found:?}");
    }
    for (name, _, at) in all {
        at.sits(name, Role::Player).await;
    }
    store.tick(rules).await.unwrap();
    for (name, ..) in all {
        assert_eq!(state(&store, name).await, HostState::Busy, "{name}");
    }
    let begun = Instant::now();
    loop {
        lasting.lives().await;
        store.tick(rules).await.unwrap();
        assert_eq!(state(&store, "neither").await, HostState::Busy);
        let states = [state(&store, "its-player").await, state(&store, "its-host").await];
        if states == [HostState::Idle, HostState::Unreachable] {
            break;
        }
        assert!(begun.elapsed() < LONG, "{states:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(
        renewed.elapsed() >= timing.lease,
        "the lease is believed as long as it lives"
    );
    let again = store.find(pinned("its-player"), rules).await.unwrap().value;
    assert!(matches!(again, Found::Granted(_)), "{again:?}");
    for name in ["its-host", "neither"] {
        let found = store.find(pinned(name), rules).await.unwrap().value;
        assert_eq!(found, Found::NoHosts, "{name}");
    }
}
