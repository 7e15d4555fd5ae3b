//! Berth's custom resources, group `berth.dev/v1alpha1`: the one source of truth of its API.
//!
//! ```text
//! HostPool ──signalingClusterRef──▶ SignalingCluster ──turnConfigRef──▶ TurnConfig
//!     └────────────────────────────turnConfigRef──────────────────────────▲
//! ```
//!
//! - [`api`]: the types as they stand in a manifest. The files `crds/*.yaml` and `docs/api.md` are generated from them.
//! - [`settings`]: what a service reads from a resource: fully defaulted and validated, so that no invalid
//!   state can be represented behind it.
//! - [`field`]: names of the fields that log lines of several programs share.
//! - [`generate`]: the `CustomResourceDefinition` objects, and every file that is made from the types.
//! - [`docs`]: the API reference.
//! - `offline` (feature of that name): the verdict of the API server on a manifest, without one.
//! - `yaml` (with `offline`): YAML that kubectl and the services read alike.
//! - [`reload`]: the reload class that each field of a spec declares in its description.

pub mod api;
pub mod docs;
pub mod field;
pub mod generate;
#[cfg(feature = "offline")]
pub mod offline;
pub mod reload;
pub mod settings;
#[cfg(feature = "offline")]
pub mod yaml;

pub use api::{HostPool, SignalingCluster, TurnConfig};

/// API group of the three kinds.
pub const GROUP: &str = "berth.dev";
/// The served and stored version.
pub const VERSION: &str = "v1alpha1";
