//! Pools and clusters on one Redis see nothing of each other, even where all ids are equal.

use std::sync::Arc;

use berth_crds::settings::ObjectName;
use berth_dataplane::keys::Keys;
use berth_dataplane::occupancy::{Claim, Instance, MemberId};
use berth_dataplane::testing::RedisServer;
use berth_matchmaker::store::redis::RedisStore;
use berth_matchmaker::store::{Clock, Found, HostStore, Registered};
use uuid::Uuid;

use crate::support::world::{anywhere, connect, constant, room, rules, shared_rooms};

#[tokio::test]
async fn equal_ids_in_two_pools_and_two_clusters() {
    let server = RedisServer::start();
    let link = connect(&server).await;
    let clusters = ["main", "main2"].map(|name| Keys::new(&ObjectName::new("games", name)));
    let mut pools: Vec<Arc<dyn HostStore>> = Vec::new();
    let instance = Instance::new("signaling", 1);
    for cluster in &clusters {
        let rooms = shared_rooms(&link, cluster.clone());
        rooms.renew(&instance).await.unwrap();
        rooms
            .join(
                &room("room-a"),
                &Claim::new(MemberId(Uuid::new_v4()), &instance),
                64,
            )
            .await
            .unwrap();
        for pool in ["eu", "eu2"] {
            pools.push(Arc::new(RedisStore::new(
                link.clone(),
                cluster.clone(),
                pool,
                Clock::default(),
            )));
        }
    }
    for pool in &pools {
        let registered = pool
            .heartbeat(constant("a", "here"), rules())
            .await
            .unwrap()
            .value;
        assert_eq!(registered.registered, Registered::New);
    }
    for (number, pool) in pools.iter().enumerate() {
        assert!(
            matches!(
                pool.find(anywhere(), rules()).await.unwrap().value,
                Found::Granted(_)
            ),
            "pool {number}"
        );
        assert_eq!(
            pool.find(anywhere(), rules()).await.unwrap().value,
            Found::NoHosts
        );
        for (other, rest) in pools.iter().enumerate().skip(number + 1) {
            assert_eq!(
                rest.tick(rules()).await.unwrap().value.counts.free,
                1,
                "{number} reached into {other}"
            );
        }
    }
    // A player in the room of the first cluster is nothing to the second, and both pools of the first hear of it.
    let rooms = shared_rooms(&link, clusters[0].clone());
    rooms
        .join(
            &room("room-a"),
            &Claim::new(MemberId(Uuid::new_v4()), &instance),
            64,
        )
        .await
        .unwrap();
    let mut states = Vec::new();
    for pool in &pools {
        let hosts = pool.tick(rules()).await.unwrap().value.counts.hosts;
        states.push(hosts.into_iter().find(|(_, count)| *count == 1).unwrap().0);
    }
    assert_eq!(states, ["busy", "busy", "allocated", "allocated"]);
}
