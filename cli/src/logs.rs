//! Diagnostics of the commands that are not services: on standard error, so that standard output
//! holds results only.

use std::io::stderr;

use tracing_subscriber::EnvFilter;

/// Starts logging at `LOG_LEVEL` (default `warn`; a level or tracing directives). The STUN, TURN
/// and WebRTC libraries stay at `warn` unless they are named.
pub fn init() {
    let wanted = std::env::var("LOG_LEVEL").unwrap_or_else(|_| "warn".to_owned());
    let filter = if wanted.contains(['=', ',']) {
        wanted
    } else {
        format!("warn,berth={wanted}")
    };
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("warn"));
    // A second start, as in tests, changes nothing.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(stderr)
        .try_init();
}
