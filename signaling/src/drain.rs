//! The end of the process, as its peers see it: connections are closed one after the other, so that they do not
//! all come back to the remaining instances in one instant.

use std::sync::Arc;

use berth_dataplane::shutdown::Phase;
use rand::RngExt as _;
use rand::seq::SliceRandom as _;
use tokio::time::{Instant, sleep_until};

use crate::core::Core;

/// Part of the drain window in which connections are closed; the rest is for their answers.
const SPREAD: f64 = 0.75;

/// Waits for the drain and closes every connection in the course of it.
pub(crate) async fn run(core: Arc<Core>) {
    core.shutdown.reached(Phase::Draining).await;
    let mut conns = core.connections.all();
    conns.shuffle(&mut rand::rng());
    let start = Instant::now();
    let window = core
        .shutdown
        .deadline()
        .map(|deadline| deadline.saturating_duration_since(start))
        .unwrap_or_default();
    let step = window.mul_f64(SPREAD) / u32::try_from(conns.len().max(1)).unwrap_or(u32::MAX);
    for (number, conn) in (0u32..).zip(conns) {
        let jitter = step.mul_f64(rand::rng().random_range(0.0..1.0));
        sleep_until(start + step * number + jitter).await;
        conn.drain(core.drain_close_code());
    }
}
