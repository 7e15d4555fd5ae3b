//! What peers say: protocol v1, the wire of the Node services, and protocol v2, which cures its defects. `docs/protocol.md`
//! specifies both.

mod fields;
pub mod v1;
pub mod v2;

pub use tokio_tungstenite::tungstenite::Utf8Bytes as Text;
