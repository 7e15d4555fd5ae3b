//! One end of a WebRTC connection, shared by the simulated host and the probe.
//!
//! ```text
//!   signaling ──── Signal ────▶ Connection ◀──── Application (what the peer does)
//!   (websocket)  ◀── Notice ──   │      │
//!                              Rtc    Transport
//!                            (str0m)   ├─ host sockets, STUN queries
//!                                      └─ TURN relays
//! ```
//!
//! [`Transport`](transport) owns every UDP socket and is the only place where candidates come
//! from. [`Connection`](connection) drives the WebRTC state machine over it in one task. What a
//! peer does with its channels and tracks is an [`Application`](application): a plain state
//! machine without I/O. [`SignalingClient`](signaling) keeps the peer in its room; a connection
//! does not depend on it once it is up.

pub mod application;
pub mod backoff;
pub mod candidate;
pub mod close;
pub mod connection;
pub mod frame_marker;
mod host_socket;
pub mod http;
pub mod ice_server;
pub mod interfaces;
mod reflexive;
mod relay;
pub mod sdp;
pub mod secret;
pub mod signal;
pub mod signaling;
pub mod socket;
pub mod transport;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Milliseconds since the Unix epoch, as events and frame markers carry it.
pub fn unix_millis() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .ok()
        .and_then(|elapsed| u64::try_from(elapsed.as_millis()).ok())
        .unwrap_or_default()
}

/// A duration as events and reports carry it.
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
