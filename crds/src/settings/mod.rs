//! Validated settings: what a service reads from a resource.
//!
//! The API server refuses most wrong manifests by schema and CEL. A service takes resources from files and from
//! environment variables as well, and must not trust any of them: `TryFrom` of each kind checks everything again and
//! reports every wrong field at once. What comes out has no invalid state: numbers are in their bounds and in
//! their unit, texts are parsed.

mod auth;
mod check;
mod host_pool;
mod ice_url;
mod managed_turn;
mod placeholder;
mod public_address;
mod redis_url;
mod signaling;
mod turn;
mod values;

#[cfg(test)]
mod tests;

pub use auth::{AuthSettings, JwksSettings, JwtSettings, KeySource};
pub use check::{FieldError, FieldErrors};
pub use host_pool::{PoolSettings, Strategy, admin_token_secret, host_secret, match_key_secret};
pub use ice_url::{IceTransport, IceUrl, IceUrlError};
pub use managed_turn::{MANAGED_PROVIDER, MOST_ADDRESSES, PeerRules, turn_secret};
pub use placeholder::{is_placeholder, placeholder_cure};
pub use public_address::PublicAddress;
pub use redis_url::{RedisAddress, RedisKind, RedisLogin, RedisMode, RedisUrl, RedisUrlError};
pub use signaling::{
    BreakerSettings, RateLimitSettings, ResumeSettings, RoomSettings, SecuritySettings, SignalingSettings,
    WebSocketSettings,
};
pub use turn::{ProviderSettings, TurnSettings};
pub use values::{AllowedOrigins, ObjectName, PublicUrl, RoomId, RoomIdError, SecretPair, SecretRef};
