//! Asking the matchmaker for a host.

use std::time::Duration;

use http::StatusCode;
use serde::{Deserialize, Serialize};
use url::Url;
use uuid::Uuid;

use crate::peer::http::{HttpClient, HttpError};
use crate::peer::ice_server::IceServer;
use crate::peer::secret::Secret;

/// Path of the matchmaker's call.
const PATH: &str = "/api/match/find";
/// How often it is made, and the pause.
const TRIES: u32 = 3;
const RETRY: Duration = Duration::from_millis(500);
/// Giving up must not hold up the exit.
const FAREWELL_TIMEOUT: Duration = Duration::from_secs(2);

/// What a player asks for.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Wish {
    /// Region.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Only this host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_id: Option<String>,
}

/// A host that was found.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Match {
    /// Room to join.
    pub room_id: String,
    /// Signaling to join it at.
    pub signaling_url: Url,
    /// STUN and TURN servers.
    #[serde(default)]
    pub ice_servers: Vec<IceServer>,
    /// The reservation, where the matchmaker names it.
    pub match_id: Option<String>,
    /// The right to join the room, where one is needed.
    pub match_token: Option<Secret>,
}

/// Why there is no match.
#[derive(Debug, thiserror::Error)]
pub enum FindError {
    /// 404: no host is free, or none fits.
    #[error("no host: {0}")]
    NoHost(String),
    /// Another refusal.
    #[error("the matchmaker answered {status}: {message}")]
    Refused {
        /// Status code.
        status: StatusCode,
        /// The matchmaker's words.
        message: String,
    },
    /// The matchmaker was not reached.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// The answer is not a match.
    #[error("the matchmaker's answer is not a match")]
    Malformed(#[source] serde_json::Error),
}

#[derive(Deserialize)]
struct Refusal {
    message: Option<String>,
    error: Option<String>,
}

/// Asks for one match, up to three times if no answer comes: the same request is granted once.
///
/// # Errors
/// When there is no match.
pub async fn find(client: &HttpClient, wish: &Wish) -> Result<Match, FindError> {
    let key = Uuid::new_v4().to_string();
    let mut tries = 0;
    loop {
        tries += 1;
        match client.post_once(PATH, &key, wish).await {
            Ok(answer) => return read(answer.status, &answer.body),
            Err(error) if tries == TRIES => return Err(error.into()),
            Err(_) => tokio::time::sleep(RETRY).await,
        }
    }
}

/// Gives a match up, so that its slot is free at once. A matchmaker that does not know how, or does not answer in time, finds out by
/// itself.
pub async fn give_up(client: &HttpClient, id: &str) {
    let path = format!("/api/match/{id}");
    let _ = tokio::time::timeout(FAREWELL_TIMEOUT, client.delete(&path, None)).await;
}

fn read(status: StatusCode, body: &[u8]) -> Result<Match, FindError> {
    if status.is_success() {
        return serde_json::from_slice(body).map_err(FindError::Malformed);
    }
    let refusal: Option<Refusal> = serde_json::from_slice(body).ok();
    let message = refusal
        .and_then(|refusal| refusal.message.or(refusal.error))
        .unwrap_or_default();
    if status == StatusCode::NOT_FOUND {
        return Err(FindError::NoHost(message));
    }
    Err(FindError::Refused { status, message })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_match_of_the_reference() {
        let body = br#"{"found": true, "roomId": "r", "signalingUrl": "ws://localhost:3002",
            "iceServers": [{"urls": "stun:stun.example.org:3478"}]}"#;
        let found = read(StatusCode::OK, body).unwrap();
        assert_eq!(found.room_id, "r");
        assert_eq!(found.ice_servers.len(), 1);
        assert!(found.match_token.is_none());
    }

    #[test]
    fn reads_the_additions_of_berth_without_showing_the_token() {
        let body = br#"{"found": true, "roomId": "r", "signalingUrl": "wss://s/x", "iceServers": [],
            "matchId": "m", "matchToken": "hunter2"}"#;
        let found = read(StatusCode::OK, body).unwrap();
        assert_eq!(found.match_id.as_deref(), Some("m"));
        assert!(!format!("{found:?}").contains("hunter2"));
    }

    #[test]
    fn tells_no_host_from_other_refusals() {
        let none = br#"{"found": false, "message": "No hosts available"}"#;
        let error = read(StatusCode::NOT_FOUND, none).unwrap_err();
        assert!(matches!(&error, FindError::NoHost(message) if message == "No hosts available"));
        let broken = br#"{"error": "Internal server error"}"#;
        let error = read(StatusCode::INTERNAL_SERVER_ERROR, broken).unwrap_err();
        assert!(matches!(error, FindError::Refused { .. }));
        assert!(matches!(
            read(StatusCode::OK, b"{}"),
            Err(FindError::Malformed(_))
        ));
    }

    #[test]
    fn an_empty_wish_is_an_empty_object() {
        assert_eq!(serde_json::to_string(&Wish::default()).unwrap(), "{}");
    }
}
