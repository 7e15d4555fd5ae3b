//! The lease of this instance, and what follows from the loss of its own and of others'.

use std::sync::Arc;
use std::time::Duration;

use berth_dataplane::occupancy::{REASSERT, Reaped, Renewal};
use berth_dataplane::redis::RedisLink;
use parking_lot::Mutex;
use smallvec::SmallVec;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until};
use tracing::{debug, info};

use crate::core::{Core, Source};
use crate::room::Departure;
use crate::seating::farewell;

/// Longest pause before this instance does what a loss asks for.
const MOMENT: Duration = Duration::from_secs(1);

/// Longest wait for the first lease.
const BEGIN: Duration = Duration::from_secs(2);

/// The lease of this instance.
pub(crate) struct Lease {
    /// How long the store believes in this instance after a renewal.
    length: Duration,
    renewed_at: Mutex<Option<Instant>>,
    /// Notices may be lost: assert every seat and learn who else is there.
    refresh: Notify,
}

impl Lease {
    pub(crate) fn new(length: Duration) -> Self {
        Self {
            length,
            renewed_at: Mutex::default(),
            refresh: Notify::new(),
        }
    }

    /// How long the store believes in this instance after a renewal.
    pub(crate) fn length(&self) -> Duration {
        self.length
    }

    /// Time since the last renewal.
    pub(crate) fn age(&self) -> Option<Duration> {
        self.renewed_at.lock().map(|at| at.elapsed())
    }

    /// Asks for every seat to be asserted.
    pub(crate) fn refresh(&self) {
        self.refresh.notify_one();
    }

    /// A moment: short against the lease, however long that is.
    fn moment(&self) -> Duration {
        (self.length / 9).min(MOMENT)
    }

    /// Instances that lose the same Redis do not come back at the same moment.
    fn jitter(&self) -> Duration {
        self.moment().mul_f64(rand::random())
    }
}

/// Why the lease is renewed.
#[derive(Clone, Copy, PartialEq)]
enum Cause {
    /// It is time.
    Tick,
    /// Redis, or what it said, was lost for a while: the store may not know our seats, nor we those of others.
    Loss,
    /// The last renewal failed.
    Again,
}

/// Takes the lease, or gives up after a moment: then [`run`] takes it as soon as there is a store.
///
/// It comes before the inbox. To another instance that starts, a store without any lease to which somebody listens is one that lost them, and joins would
/// wait for seats that nobody has.
pub(crate) async fn begin(core: &Core) {
    if tokio::time::timeout(BEGIN, renew(core)).await.is_err() {
        debug!("the store has not given a lease yet");
    }
}

/// Renews the lease for ever, and keeps the store's knowledge of our seats and ours of the rooms up to date.
pub(crate) async fn run(core: Arc<Core>) {
    let mut ticks = interval(core.lease.length / 3);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut healthy = core.link.as_ref().map(RedisLink::watch_healthy);
    let mut next_assertion = Instant::now() + assertion_interval();
    let mut renewed = true;
    loop {
        let cause = tokio::select! {
            _ = ticks.tick() => Cause::Tick,
            // Redis may have come back empty, or may have been away for longer than the lease.
            () = recovered(&mut healthy) => {
                sleep(core.lease.jitter()).await;
                Cause::Loss
            }
            () = core.lease.refresh.notified() => {
                sleep(core.lease.jitter()).await;
                Cause::Loss
            }
            () = sleep_until(next_assertion) => {
                next_assertion = Instant::now() + assertion_interval();
                Cause::Loss
            }
            () = sleep(core.lease.moment()), if !renewed => Cause::Again,
        };
        if cause == Cause::Loss {
            reassert(&core);
        }
        renewed = renew(&core).await;
        if cause == Cause::Again {
            continue;
        }
        for cell in core.rooms.all() {
            core.update(&cell, Source::Here, |inner| {
                if cause == Cause::Tick {
                    inner.room.retry()
                } else {
                    inner.room.resume()
                }
            });
        }
    }
}

/// Waits until Redis is there again.
async fn recovered(healthy: &mut Option<watch::Receiver<bool>>) {
    while let Some(watch) = healthy {
        if watch.changed().await.is_err() {
            *healthy = None;
        } else if *watch.borrow_and_update() {
            return;
        }
    }
    std::future::pending::<()>().await;
}

/// Between nine tenths and all of the usual interval, so that instances which started together do not stay together.
fn assertion_interval() -> Duration {
    REASSERT.mul_f64(0.9 + 0.1 * rand::random::<f64>())
}

/// Whether the store took it.
async fn renew(core: &Core) -> bool {
    loop {
        match core.seats.renew(&core.own).await {
            Ok(renewal) => {
                let more = renewal.more;
                renewed(core, renewal);
                if !more {
                    return true;
                }
            }
            Err(error) => {
                debug!(%error, "the lease was not renewed");
                return false;
            }
        }
    }
}

fn renewed(core: &Core, renewal: Renewal) {
    *core.lease.renewed_at.lock() = Some(Instant::now());
    if renewal.lost && core.rooms.len() > 0 {
        info!(instance = %core.own, "the store did not know this instance: asserting every seat");
        reassert(core);
    }
    for reaped in renewal.reaped {
        bury(core, reaped);
    }
}

/// Tells everybody of a member of a dead instance.
fn bury(core: &Core, reaped: Reaped) {
    let Reaped {
        room,
        member,
        instance,
        left,
    } = reaped;
    core.metrics.seats_reaped.inc();
    if let Some(cell) = core.rooms.find(&room) {
        core.update(&cell, Source::Here, |inner| {
            inner.room.remote_left(member, &instance, Departure::Left)
        });
    }
    let told: SmallVec<_> = left.into_iter().map(|seat| seat.instance).collect();
    farewell(core, &room, member, &instance, Departure::Left, told);
}

fn reassert(core: &Core) {
    for cell in core.rooms.all() {
        core.update(&cell, Source::Here, |inner| inner.room.reassert());
    }
}
