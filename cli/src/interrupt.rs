//! Ending on request: Ctrl-C and SIGTERM.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// A token that is cancelled by SIGINT or SIGTERM. A second signal ends the process at once.
pub fn token() -> CancellationToken {
    let token = CancellationToken::new();
    let cancelled = token.clone();
    tokio::spawn(async move {
        next_signal().await;
        cancelled.cancel();
        next_signal().await;
        std::process::exit(130);
    });
    token
}

async fn next_signal() {
    let signals = signal(SignalKind::interrupt())
        .and_then(|interrupt| signal(SignalKind::terminate()).map(|terminate| (interrupt, terminate)));
    match signals {
        Ok((mut interrupt, mut terminate)) => {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        }
        // Without handlers the signals keep their default effect, which ends the process.
        Err(_) => std::future::pending().await,
    }
}
