//! Several instances on one Redis, and everything that can go wrong between them, while rooms talk.
//!
//! What must hold, during all of it: the order of each sender, nothing twice, nothing to its sender, nothing across
//! rooms, no more members in a room than it may have, as the store and as the sockets see it, and nobody is told of a
//! departure that never was. Peers that speak v2 lose their connections too, come back by their resume tokens, and hear
//! every message of the other one exactly once, unless more went wrong at once than is promised: Redis lost everything
//! together with the death of an instance, or more was said meanwhile than is kept. Afterwards every room talks as before,
//! without a reconnect of other peers, and when everybody has left nothing is left.
//!
//! A storm is a random list of faults. It prints its seed; `BERTH_FAULT_SEED` runs that one again.

mod churn;
mod field;
mod oracle;
mod peer;
mod resuming;
mod storm;

use std::time::Duration;

use crate::support::Network;
pub(crate) use field::Field;
pub(crate) use storm::Fault;

/// Longer than anything below lasts, on any machine: seats end with their instances alone.
pub(crate) const LEASE: Duration = Duration::from_secs(12);
const SHORT: Duration = Duration::from_millis(700);

/// The rooms of a field get through this, once and again.
async fn is_survived(fault: Fault) {
    let mut field = Field::start(2, 8, LEASE).await;
    for _ in 0..2 {
        field.all_talk().await;
        field.inflict(fault).await;
    }
    field.all_talk().await;
    field.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flush() {
    is_survived(Fault::Flush).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forgotten_scripts() {
    is_survived(Fault::FlushScripts).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause() {
    is_survived(Fault::Pause(SHORT)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_sleeps() {
    is_survived(Fault::Sleep(Duration::from_millis(1500))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_restarts_empty() {
    is_survived(Fault::Restart(SHORT)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_subscriptions() {
    is_survived(Fault::LoseSubscriptions).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_network_that_swallows_everything() {
    is_survived(Fault::Cut(0, Network::BlackHole, SHORT)).await;
}

/// Long enough for both connections to be given up and made again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_network_that_swallows_everything_for_long() {
    is_survived(Fault::Cut(1, Network::BlackHole, Duration::from_secs(5))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_network_that_is_deaf() {
    is_survived(Fault::Cut(0, Network::OnlyTo, Duration::from_secs(5))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_network_that_is_mute() {
    is_survived(Fault::Cut(1, Network::OnlyFrom, Duration::from_secs(5))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_network() {
    is_survived(Fault::Cut(
        0,
        Network::Slow(Duration::from_millis(300)),
        Duration::from_secs(3),
    ))
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_network_that_resets() {
    is_survived(Fault::Reset(0)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_network_that_refuses() {
    is_survived(Fault::Cut(0, Network::Refused, Duration::from_secs(2))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_connections() {
    is_survived(Fault::Unplug(1)).await;
}

/// The lease is short here, so that the seats of the dead are free soon.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_that_dies() {
    let mut field = Field::start(3, 9, Duration::from_secs(3)).await;
    field.all_talk().await;
    field.inflict(Fault::Kill(1)).await;
    field.all_talk().await;
    field.inflict(Fault::Kill(0)).await;
    field.all_talk().await;
    field.end().await;
}

/// Everything in random order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm() {
    let seed =
        std::env::var("BERTH_FAULT_SEED").map_or_else(|_| rand::random(), |seed| seed.parse().unwrap());
    storm::run(seed, 10).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes"]
async fn many_storms() {
    for seed in 0..8 {
        storm::run(seed, 25).await;
    }
}
