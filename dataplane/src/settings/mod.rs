//! Settings: one snapshot of validated settings, whatever feeds it.
//!
//! ```text
//! API server ─┐
//! file(s)    ─┼─> Bundle (raw resources) ──assemble──> View ──> Snapshot
//! environment┘                              │ wrong
//!                                           └──> refused: counted, reported; the last good one stays
//! ```
//!
//! Every source gives the same raw resources, so that one validation, one set of defaults and one way of refusing
//! stands behind all of them. What was applied last is kept in a cache file for a start without the API server.

mod bundle;
mod cache;
mod follow;
mod snapshot;
mod source;
mod view;

pub use bundle::{Bundle, BundleError, Kind, Own, ResourceKey};
pub use follow::{Settings, SettingsError, Update};
pub use snapshot::Snapshot;
pub use source::env::{ENVIRONMENT_SECRET, EnvironmentError, EnvironmentSettings, VariableError};
pub use source::file::{follow_manifests, read_manifests};
pub use view::{MatchmakerView, Refusal, Refusals, SignalingView, View};
