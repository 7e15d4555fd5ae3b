//! Listeners, health endpoints, the client's address, and requests to servers of others.

mod client;
mod health;
mod listener;
mod outbound;

pub use client::{ClientAddress, client_address};
pub use health::{Gate, Health, Readiness, health_router, internal_router, metrics_router};
pub use listener::{BindError, ConnectionIo, ConnectionPermit, Listener, ListenerOptions};
pub use outbound::{Outbound, OutboundError, Trust};
