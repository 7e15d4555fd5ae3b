//! Names of the fields that log lines of several programs share, so that one search finds a pool or a match in all of them:
//!
//! ```ignore
//! tracing::info!({ field::ROOM } = "r1", { field::MEMBER } = "m1", "joined");
//! ```
//!
//! A room, a match, a member, a host and a pool are named by their ids. The address of a client is personal data: it
//! stands in lines of level `debug` and below, and nowhere else.

/// Id of a room.
pub const ROOM: &str = "room";
/// Id of a match: of the reservation that a find made.
pub const MATCH: &str = "match";
/// Id of a member of a room: of one connection, in the store of seats too.
pub const MEMBER: &str = "member";
/// Id of a streaming host.
pub const HOST: &str = "host";
/// `NAMESPACE/NAME` of a HostPool.
pub const POOL: &str = "pool";
/// An instance of the signaling server.
pub const INSTANCE: &str = "instance";
/// Address of a client. Never above `debug`.
pub const CLIENT_IP: &str = "client_ip";
