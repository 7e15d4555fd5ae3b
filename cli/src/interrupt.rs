//! Ending on request: Ctrl-C and SIGTERM.

use berth_dataplane::shutdown::Signals;
use tokio_util::sync::CancellationToken;

/// A token that is cancelled by SIGINT or SIGTERM. A second signal ends the process at once.
pub fn token() -> CancellationToken {
    let token = CancellationToken::new();
    // Signals that cannot be followed keep their default effect, which ends the process.
    if let Ok(mut signals) = Signals::follow() {
        let cancelled = token.clone();
        tokio::spawn(async move {
            signals.next().await;
            cancelled.cancel();
            signals.next().await;
            std::process::exit(130);
        });
    }
    token
}
