//! What the tests stand on.

mod exact;
pub(crate) mod http;
pub(crate) mod server;
pub(crate) mod world;

use std::future::Future;
use std::time::{Duration, Instant};

/// Longest wait for anything; only a hang reaches it.
pub(crate) const LONG: Duration = Duration::from_mins(1);

/// Waits until `condition` holds.
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, mut condition: impl FnMut() -> F) {
    let deadline = Instant::now() + LONG;
    while !condition().await {
        assert!(Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
