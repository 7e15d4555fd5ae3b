//! What peers say to each other: protocol v1, the wire of the Node services.

pub mod v1;

pub use tokio_tungstenite::tungstenite::Utf8Bytes as Text;
