//! Where the subscriptions of a link stand: on one connection, or in a cluster on one for each slot.

use std::collections::HashMap;
use std::sync::Arc;

use ::redis::cluster_routing::Slot;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::cluster::{Topology, slot_of};
use super::keeper::Keeper;
use super::link::LinkOptions;
use super::metrics::RedisMetrics;
use super::news::News;
use super::subscriber::{Idle, Subscriber};
use super::subscription::Subscription;
use super::target::Target;

/// The subscription half of a link.
pub(super) enum Subscriptions {
    /// One server, or the master behind Sentinels.
    One(Arc<Subscriber>),
    /// The nodes of a Redis Cluster.
    Cluster(Box<BySlot>),
}

/// A subscriber for each slot that has subscribed channels, at its owner. A slot moves as a whole, and so do all
/// subscriptions of one subscriber.
pub(super) struct BySlot {
    pub(super) topology: Arc<Topology>,
    pub(super) options: LinkOptions,
    pub(super) metrics: RedisMetrics,
    pub(super) news: Arc<News>,
    pub(super) stop: CancellationToken,
    /// At most one for each of the 16384 slots. Those without channels hold no connection.
    pub(super) subscribers: Mutex<HashMap<Slot, Arc<Subscriber>>>,
}

impl Subscriptions {
    pub(super) fn add(&self, channel: &str, capacity: usize) -> Subscription {
        match self {
            Self::One(subscriber) => subscriber.add(channel, capacity),
            Self::Cluster(by_slot) => by_slot.add(channel, capacity),
        }
    }

    /// Whether all that was asked for stands.
    pub(super) fn is_up(&self) -> bool {
        match self {
            Self::One(subscriber) => subscriber.is_up(),
            Self::Cluster(by_slot) => by_slot.subscribers.lock().values().all(|one| one.is_up()),
        }
    }
}

impl BySlot {
    fn add(&self, channel: &str, capacity: usize) -> Subscription {
        let slot = slot_of(channel);
        let subscriber =
            Arc::clone(self.subscribers.lock().entry(slot).or_insert_with(|| {
                Arc::new(Subscriber::new(self.metrics.lost_messages.clone(), Idle::Ends))
            }));
        let subscription = subscriber.add(channel, capacity);
        if subscriber.claim() {
            let target = Target::Owner(Arc::clone(&self.topology), slot);
            let keeper = Keeper::new("subscriptions", target, &self.options, Arc::clone(&self.news));
            tokio::spawn(subscriber.run(keeper, self.stop.clone()));
        }
        subscription
    }
}
