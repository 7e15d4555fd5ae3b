//! Limits per client address, of all instances together.
//!
//! Each instance limits by its own buckets, without asking anybody. Once a second it tells Redis what its clients took
//! since it last did, and hears of the same buckets when they are full, counted over all instances; its own
//! bucket is then no fuller than that ([`super::exchange`]). That is one script call per second and instance, for at most
//! [`MOST_PER_ROUND`] addresses, and none while nobody takes anything. No message and no join waits for it.
//!
//! **How far the sum may exceed the limit.** An instance learns only by its next round what an address took elsewhere,
//! and until then admits what its own bucket holds. With `K` instances, a limit of `L` per 10 s and rounds of a second:
//!
//! - An address that floods all of them gets `L` per 10 s on average: what came in excess is a debt, during which no
//!   instance admits anything. Within a round the excess is at most what each other instance lets through in a second
//!   (`L / 10` from buckets that were empty), so `(K - 1) * L / 10`.
//! - An address that was silent, so that all its buckets were full, may get one burst of `L` at each instance before they
//!   hear of each other: once `(K - 1) * L` in excess, which becomes debt too.
//! - A debt lasts a minute at most ([`berth_dataplane::limits::MOST_DEBT`]). Bursts at more than seven instances at once, repeated
//!   after each minute of silence, are therefore not made good in full.
//! - With more active addresses than one round takes, those that took most go first; the others wait for the next round,
//!   and the excess grows by as much.
//!
//! An instance that is alone limits nobody earlier than without all this, but for what comes while a report is on its way to
//! Redis: what was taken before counts from its arrival.
//!
//! **Redis away**: what was taken meanwhile is not told later, and each instance limits by its own buckets alone.
//!
//! **What Redis holds**: two sorted sets per SignalingCluster, `clients:connections` and `clients:messages`, with client
//! addresses as they are (of IPv6 the /64) for as long as their buckets are not full: 10 s after the last
//! message for who keeps to the limits, 70 s at most. They are not hashed: a hash of an IPv4 address without a secret is
//! undone by trying all of them, and there is no secret that all instances of every installation share. Each set
//! holds at most as many addresses as [`Clients`](super::Clients) and always has an expiry.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use berth_crds::settings::RateLimitSettings;
use berth_dataplane::keys::Keys;
use berth_dataplane::redis::{RedisError, RedisLink, Script};
use berth_dataplane::telemetry::Throttle;
use tracing::{debug, warn};

use super::exchange::{self, MalformedAnswer, Report};
use crate::core::Core;
use crate::metrics::SyncResult;

/// Most addresses that are told in one call, which then takes Redis one or two milliseconds.
const MOST_PER_ROUND: usize = 256;

/// Why a round brought nothing.
#[derive(Debug, thiserror::Error)]
enum SyncError {
    #[error(transparent)]
    Redis(#[from] RedisError),
    #[error(transparent)]
    Answer(#[from] MalformedAnswer),
}

fn script() -> &'static Script {
    static SCRIPT: OnceLock<Script> = OnceLock::new();
    SCRIPT.get_or_init(|| Script::new(include_str!("sync.lua")))
}

/// Keeps the limits of client addresses in line with the other instances, for ever. `interval`: between two rounds.
pub(crate) async fn run(core: Arc<Core>, link: RedisLink, keys: Keys, interval: Duration) {
    let keys = [keys.client_connections(), keys.client_messages()];
    loop {
        // Instances that started together do not stay together.
        tokio::time::sleep(interval.mul_f64(0.9 + 0.2 * rand::random::<f64>())).await;
        let limits = core.settings.load().cluster.rate_limits;
        let reports = core.clients.reports(MOST_PER_ROUND, &limits, Instant::now());
        if reports.is_empty() {
            continue;
        }
        // What was taken during an outage is told to nobody: it would be punished after it.
        if !link.healthy() {
            core.metrics.limits_synced(SyncResult::Skipped);
            continue;
        }
        core.metrics
            .limits_synced(match exchange(&link, &keys, &reports, &limits).await {
                Ok(()) => SyncResult::Done,
                Err(error) => {
                    note(&error);
                    SyncResult::Failed
                }
            });
    }
}

/// Tells what was taken, and merges what is heard.
async fn exchange(
    link: &RedisLink,
    keys: &[String; 2],
    reports: &[Report],
    limits: &RateLimitSettings,
) -> Result<(), SyncError> {
    let sent = Instant::now();
    let arguments = exchange::arguments(reports, limits);
    let answer: Vec<u64> = link.script(script(), keys, &arguments).await?;
    let now = Instant::now();
    exchange::merge(reports, &answer, now.duration_since(sent), limits, now)?;
    Ok(())
}

/// The link itself warns of an outage; a single failure is a detail.
fn note(error: &SyncError) {
    static MALFORMED: Throttle = Throttle::new(Duration::from_secs(30));
    match error {
        SyncError::Redis(error) => debug!(%error, "client addresses are limited by this instance alone"),
        SyncError::Answer(error) => {
            if let Some(suppressed) = MALFORMED.pass() {
                warn!(%error, suppressed, "malformed answer to the limits of client addresses");
            }
        }
    }
}

#[cfg(test)]
mod tests;
