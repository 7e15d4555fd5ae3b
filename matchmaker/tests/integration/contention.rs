//! Many clients at once over several replicas on one Redis: exactly the slots, while heartbeats go on.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use berth_dataplane::occupancy::{Claim, Instance, MemberId, SharedRooms};
use berth_dataplane::testing::RedisServer;
use berth_matchmaker::host::Heartbeat;
use berth_matchmaker::store::redis::RedisStore;
use berth_matchmaker::store::{Clock, Found, HostStore, Rules};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::support::world::{anywhere, connect, constant, keys, room, rules, shared_rooms};

const HOSTS: usize = 50;
const SLOTS: u32 = 4;
const CLIENTS: usize = 64;

struct Crowd {
    _server: RedisServer,
    stores: Vec<Arc<RedisStore>>,
    rooms: SharedRooms,
    instance: Instance,
    rules: Rules,
}

fn heartbeat(number: usize) -> Heartbeat {
    let region = ["eu", "us", "asia"][number % 3];
    Heartbeat {
        capacity: SLOTS,
        available: SLOTS,
        ..constant(&format!("h{number}"), region)
    }
}

impl Crowd {
    /// Four replicas, and hosts that sit in their rooms.
    async fn new() -> Self {
        let server = RedisServer::start();
        let mut stores = Vec::new();
        for _ in 0..4 {
            stores.push(Arc::new(RedisStore::new(
                connect(&server).await,
                keys(),
                "eu",
                Clock::default(),
            )));
        }
        let rooms = shared_rooms(&connect(&server).await, keys());
        let instance = Instance::new("signaling", 1);
        rooms.renew(&instance).await.unwrap();
        let rules = Rules {
            heartbeat_ttl: Duration::from_mins(10),
            deadline: Duration::from_mins(5),
            ..rules()
        };
        let crowd = Self {
            _server: server,
            stores,
            rooms,
            instance,
            rules,
        };
        for number in 0..HOSTS {
            crowd.join(&format!("room-h{number}")).await;
            crowd.stores[0].heartbeat(heartbeat(number), rules).await.unwrap();
        }
        crowd
    }

    async fn join(&self, name: &str) {
        let member = MemberId(Uuid::new_v4());
        self.rooms
            .join(&room(name), &Claim::new(member, &self.instance), 64)
            .await
            .unwrap();
    }

    /// All clients ask until they are refused; a client whose grant is marked joins its room. Answers grants by host.
    async fn exhaust(self: Arc<Self>, joins: bool) -> BTreeMap<String, u32> {
        let over = Arc::new(AtomicBool::new(false));
        let mut beating = JoinSet::new();
        for replica in 0..4 {
            let (crowd, over) = (Arc::clone(&self), Arc::clone(&over));
            beating.spawn(async move {
                while !over.load(Ordering::Relaxed) {
                    for number in (replica..HOSTS).step_by(4) {
                        crowd.stores[replica]
                            .heartbeat(heartbeat(number), crowd.rules)
                            .await
                            .unwrap();
                    }
                }
            });
        }
        let mut clients = JoinSet::new();
        for client in 0..CLIENTS {
            let crowd = Arc::clone(&self);
            clients.spawn(async move {
                let mut grants = Vec::new();
                while let Found::Granted(grant) = crowd.stores[client % 4]
                    .find(anywhere(), crowd.rules)
                    .await
                    .unwrap()
                    .value
                {
                    if joins && client % 2 == 0 {
                        crowd.join(grant.room.as_str()).await;
                    }
                    grants.push(grant.host.to_string());
                }
                grants
            });
        }
        let mut by_host = BTreeMap::new();
        for grant in clients.join_all().await.into_iter().flatten() {
            *by_host.entry(grant).or_default() += 1;
        }
        over.store(true, Ordering::Relaxed);
        beating.join_all().await;
        by_host
    }
}

fn assert_exact(by_host: &BTreeMap<String, u32>) {
    assert_eq!(by_host.len(), HOSTS);
    assert!(by_host.values().all(|grants| *grants == SLOTS), "{by_host:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exactly_the_slots_while_nobody_comes() {
    assert_exact(&Arc::new(Crowd::new().await).exhaust(false).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exactly_the_slots_while_players_join() {
    assert_exact(&Arc::new(Crowd::new().await).exhaust(true).await);
}
