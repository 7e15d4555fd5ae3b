//! Diagnostics of the commands that are not services: on standard error, so that standard output
//! holds results only.

use berth_dataplane::telemetry::init_diagnostics;

/// Starts logging at `LOG_LEVEL` (default `warn`; a level or tracing directives). The STUN, TURN
/// and WebRTC libraries stay at `warn` unless they are named.
pub fn init() {
    let wanted = std::env::var("LOG_LEVEL").unwrap_or_else(|_| "warn".to_owned());
    if wanted.contains(['=', ',']) {
        init_diagnostics(&wanted);
    } else {
        init_diagnostics(&format!("warn,berth={wanted}"));
    }
}
