//! The two calls by which Metered issues a credential: one makes it, the other gives the servers that take it.
//!
//! Both have a secret in the query of their address, so no address stands in an error or a log line.

use std::time::Duration;

use axum::http::{HeaderValue, Request, header};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::json;
use url::Url;

use super::metrics::Reason;
use super::server::IceServer;
use crate::http::{Outbound, OutboundError, Trust};

/// Longest answer, bytes: a list of five servers has about one thousand.
const LONGEST_ANSWER: usize = 64 * 1024;
/// Most servers in an answer.
const MOST_SERVERS: usize = 32;
/// Most bytes of a URL, a user name or a credential.
const LONGEST_TEXT: usize = 512;
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Why Metered issued nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum MeteredError {
    /// Domain or key cannot stand in an address.
    #[error("its address cannot be asked")]
    Address,
    /// No answer, or none that can be read.
    #[error("{call}")]
    Outbound {
        /// Which of the calls.
        call: &'static str,
        source: OutboundError,
    },
    /// Another answer than the documented one.
    #[error("{call}: {problem}")]
    Answer {
        /// Which of the calls.
        call: &'static str,
        problem: &'static str,
    },
    /// No answer in time.
    #[error("did not answer in time")]
    TimedOut,
    /// The process had other things to do.
    #[error("interrupted")]
    Interrupted,
}

/// An application at Metered.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Application {
    /// Where its API is: `https://` and its domain.
    pub(super) api: Url,
    /// Its secret key.
    pub(super) key: String,
}

/// What the first call gives; its other fields are of no use here.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Made {
    api_key: String,
}

/// A server as the second call gives it.
#[derive(Deserialize)]
struct Listed {
    urls: Urls,
    username: Option<String>,
    credential: Option<String>,
}

/// `RTCIceServer` may have one or several.
#[derive(Deserialize)]
#[serde(untagged)]
enum Urls {
    One(String),
    Many(Vec<String>),
}

const MAKE: &str = "making a credential";
const LIST: &str = "asking for its servers";

impl Application {
    /// The application at this domain.
    pub(super) fn at(domain: &str, key: String) -> Option<Self> {
        let api = Url::parse(&format!("https://{domain}")).ok()?;
        Some(Self { api, key })
    }

    /// Has a credential issued that is valid for `life`, and gives the servers that take it. How long that may take is the caller's
    /// to say.
    pub(super) async fn issue(&self, life: Duration) -> Result<Vec<IceServer>, MeteredError> {
        let trust = if self.api.scheme() == "https" {
            Trust::System
        } else {
            Trust::Nobody
        };
        let client = Outbound::new(trust)
            .await
            .map_err(|error| outbound(MAKE, error))?;
        let address = self.address("api/v1/turn/credential", "secretKey", &self.key)?;
        let wanted = json!({"expiryInSeconds": life.as_secs()}).to_string();
        let request = Request::post(address.as_str())
            .header(header::CONTENT_TYPE, JSON)
            .header(header::ACCEPT, JSON)
            .body(Bytes::from(wanted))
            .map_err(|_| MeteredError::Address)?;
        let answer = client.ask(request, LONGEST_ANSWER).await;
        let made = made(&answer.map_err(|error| outbound(MAKE, error))?)?;
        let address = self.address("api/v1/turn/credentials", "apiKey", &made.api_key)?;
        let request = Request::get(address.as_str())
            .header(header::ACCEPT, JSON)
            .body(Bytes::new())
            .map_err(|_| MeteredError::Address)?;
        let answer = client.ask(request, LONGEST_ANSWER).await;
        servers(&answer.map_err(|error| outbound(LIST, error))?)
    }

    fn address(&self, path: &str, name: &str, secret: &str) -> Result<Url, MeteredError> {
        let mut address = self.api.join(path).map_err(|_| MeteredError::Address)?;
        address.query_pairs_mut().append_pair(name, secret);
        Ok(address)
    }
}

fn made(answer: &Bytes) -> Result<Made, MeteredError> {
    let made: Option<Made> = serde_json::from_slice(answer).ok();
    made.filter(|made| !made.api_key.is_empty())
        .ok_or_else(|| problem(MAKE, "the answer has no apiKey"))
}

fn servers(answer: &Bytes) -> Result<Vec<IceServer>, MeteredError> {
    let listed: Vec<Listed> =
        serde_json::from_slice(answer).map_err(|_| problem(LIST, "the answer is no list of ICE servers"))?;
    let mut servers = Vec::new();
    for server in listed {
        let urls = match server.urls {
            Urls::One(url) => vec![url],
            Urls::Many(urls) => urls,
        };
        for urls in urls {
            servers.push(IceServer {
                urls,
                username: server.username.clone(),
                credential: server.credential.clone(),
            });
            if servers.len() > MOST_SERVERS {
                return Err(problem(LIST, "the list has too many servers"));
            }
        }
    }
    if !servers.iter().all(is_usable) {
        return Err(problem(LIST, "the list has an entry that is no ICE server"));
    }
    if !servers.iter().any(is_turn) {
        return Err(problem(LIST, "the list has no TURN server"));
    }
    Ok(servers)
}

/// Whether browsers take it: one wrong entry makes them refuse all.
fn is_usable(server: &IceServer) -> bool {
    let IceServer {
        urls,
        username,
        credential,
    } = server;
    let is_stun = ["stun:", "stuns:"].iter().any(|scheme| urls.starts_with(scheme));
    let short = [Some(urls), username.as_ref(), credential.as_ref()]
        .into_iter()
        .flatten()
        .all(|text| text.len() <= LONGEST_TEXT);
    let complete = is_turn(server) && username.is_some() && credential.is_some();
    (is_stun || complete) && short && !urls.contains(char::is_whitespace)
}

fn is_turn(server: &IceServer) -> bool {
    ["turn:", "turns:"]
        .iter()
        .any(|scheme| server.urls.starts_with(scheme))
}

fn outbound(call: &'static str, source: OutboundError) -> MeteredError {
    MeteredError::Outbound { call, source }
}

fn problem(call: &'static str, problem: &'static str) -> MeteredError {
    MeteredError::Answer { call, problem }
}

impl MeteredError {
    /// What is counted.
    pub(super) fn reason(&self) -> Reason {
        match self {
            Self::Address => Reason::Secret,
            Self::TimedOut => Reason::Timeout,
            Self::Interrupted => Reason::Unreachable,
            Self::Answer { .. } => Reason::Answer,
            Self::Outbound { source, .. } => match source {
                OutboundError::Status(_) => Reason::Status,
                OutboundError::Answer { .. } => Reason::Answer,
                _ => Reason::Unreachable,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_calls_go_to_the_domain_by_https() {
        let application = Application::at("games.metered.live", "k&y=/?".to_owned()).unwrap();
        let address = application.address("api/v1/turn/credential", "secretKey", &application.key);
        assert_eq!(
            address.unwrap().as_str(),
            "https://games.metered.live/api/v1/turn/credential?secretKey=k%26y%3D%2F%3F"
        );
    }

    #[test]
    fn a_list_of_servers_is_taken_whole_or_not_at_all() {
        let list =
            |text: &str| servers(&Bytes::copy_from_slice(text.as_bytes())).map_err(|error| error.to_string());
        let turn = IceServer::turn("turn:a:80?transport=tcp", "u", "c");
        let stun = IceServer::stun("stun:a:80");
        assert_eq!(
            list(
                r#"[{"urls":"stun:a:80"},{"urls":"turn:a:80?transport=tcp","username":"u","credential":"c","more":1}]"#
            ),
            Ok(vec![stun.clone(), turn.clone()])
        );
        assert_eq!(
            list(r#"[{"urls":["turn:a:80?transport=tcp","turns:b"],"username":"u","credential":"c"}]"#),
            Ok(vec![turn, IceServer::turn("turns:b", "u", "c")])
        );
        let many = vec![r#"{"urls":"stun:a"}"#; MOST_SERVERS + 1].join(",");
        let long = format!(
            r#"[{{"urls":"turn:{}","username":"u","credential":"c"}}]"#,
            "x".repeat(600)
        );
        for (text, error) in [
            ("", "the answer is no list of ICE servers"),
            ("<html>", "the answer is no list of ICE servers"),
            ("{}", "the answer is no list of ICE servers"),
            (r#"[{"username":"u"}]"#, "the answer is no list of ICE servers"),
            ("[]", "the list has no TURN server"),
            (r#"[{"urls":"stun:a"}]"#, "the list has no TURN server"),
            (
                r#"[{"urls":"turn:a"}]"#,
                "the list has an entry that is no ICE server",
            ),
            (
                r#"[{"urls":"http://a"}]"#,
                "the list has an entry that is no ICE server",
            ),
            (&long, "the list has an entry that is no ICE server"),
            (&format!("[{many}]"), "the list has too many servers"),
        ] {
            assert_eq!(
                list(text),
                Err(format!("asking for its servers: {error}")),
                "{text}"
            );
        }
    }
}
