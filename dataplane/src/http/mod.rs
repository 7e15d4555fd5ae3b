//! Listeners, health endpoints and the client's address.

mod client;
mod health;
mod listener;

pub use client::{ClientAddress, client_address};
pub use health::{Gate, Health, Readiness, health_router, internal_router, metrics_router};
pub use listener::{BindError, ConnectionIo, ConnectionPermit, Listener, ListenerOptions};
