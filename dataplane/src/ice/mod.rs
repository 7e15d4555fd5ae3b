//! ICE servers from a TurnConfig.
//!
//! ```text
//!              ┌─ issuance (pure): when a credential is used, waited for and fetched
//! providers ───┤
//!     │        └─ metered: the two calls by which one is issued
//!     └──> assemble (pure): the servers for one user
//! ```
//!
//! What a shared secret or a fixed user gives is computed at once. A credential that a provider issues is fetched ahead of its use and
//! shared by all users, so a match waits only while there is none yet, and never longer than [`PATIENCE`].

mod assemble;
mod issuance;
mod metered;
mod metrics;
mod providers;
mod server;

pub use assemble::{FailureCause, IceServers, Issued, IssuedByProvider, ProviderFailure, ice_servers};
pub use metrics::IceMetrics;
pub use providers::{IceOptions, IceProviders, PATIENCE};
pub use server::{DEFAULT_STUN, IceServer};
