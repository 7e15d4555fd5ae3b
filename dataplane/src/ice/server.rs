//! One ICE server.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What players get where no TurnConfig is named: the public STUN server of the Node services.
pub const DEFAULT_STUN: &str = "stun:stun.l.google.com:19302";

/// One ICE server, as `RTCIceServer` of the WebRTC specification has it.
///
/// One URL per entry: `urls` is then a plain string, which every client takes. `Debug` shows neither user name nor
/// credential.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IceServer {
    /// The server, for example `turn:host:3478?transport=udp`.
    pub urls: String,
    /// User name, for TURN.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// Credential, for TURN.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
}

impl IceServer {
    /// A STUN server.
    pub(super) fn stun(url: &str) -> Self {
        Self {
            urls: url.to_owned(),
            username: None,
            credential: None,
        }
    }

    /// A TURN server.
    pub(super) fn turn(url: &str, username: &str, credential: &str) -> Self {
        Self {
            urls: url.to_owned(),
            username: Some(username.to_owned()),
            credential: Some(credential.to_owned()),
        }
    }
}

impl fmt::Debug for IceServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hidden = |field: &Option<String>| field.as_ref().map(|_| format_args!("***"));
        f.debug_struct("IceServer")
            .field("urls", &self.urls)
            .field("username", &hidden(&self.username))
            .field("credential", &hidden(&self.credential))
            .finish()
    }
}
