//! ICE servers from a TurnConfig (pure: secrets, user and time come as arguments).

use std::fmt;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use berth_crds::settings::{ProviderSettings, SecretRef, TurnSettings};
use serde::{Deserialize, Serialize};

use crate::secrets::{Secret, SecretStore};

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

/// ICE servers for one user.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct IceServers {
    /// The servers, STUN first, then TURN in the order of the TurnConfig.
    pub servers: Vec<IceServer>,
    /// When the first of the credentials expires, Unix seconds; `None` if none does.
    pub expires_at: Option<u64>,
    /// Secrets, absent or no text, without which a provider had to be left out. Not the user's business, but the operator's.
    pub missing: Vec<SecretRef>,
}

/// ICE servers for `user` at `now` (Unix seconds).
///
/// Without a TurnConfig that is [`DEFAULT_STUN`] alone. `user` becomes a part of the time-limited user name, by which
/// the TURN server's log tells sessions apart. A provider whose secret is missing is left out, so that players who
/// need no relay can still play.
pub fn ice_servers(turn: Option<&TurnSettings>, secrets: &SecretStore, user: &str, now: u64) -> IceServers {
    let mut answer = IceServers::default();
    let Some(turn) = turn else {
        answer.servers.push(IceServer::stun(DEFAULT_STUN));
        return answer;
    };
    answer
        .servers
        .extend(turn.stun_urls.iter().map(|url| IceServer::stun(url)));
    for provider in &turn.providers {
        match provider {
            ProviderSettings::SharedSecret { urls, secret, .. } => {
                let Some(key) = answer.need(secrets, secret) else {
                    continue;
                };
                let expiry = now.saturating_add(turn.credential_ttl.as_secs());
                let (username, credential) = time_limited(&key, expiry, user);
                answer.expires_at = Some(expiry);
                answer.turn(urls, &username, &credential);
            }
            ProviderSettings::Static {
                urls,
                username,
                credential,
                ..
            } => {
                let (Some(username), Some(credential)) = (
                    answer.need_text(secrets, username),
                    answer.need_text(secrets, credential),
                ) else {
                    continue;
                };
                answer.turn(urls, &username, &credential);
            }
            // Nobody asks Metered yet.
            ProviderSettings::Metered { .. } => {}
        }
    }
    answer
}

/// User name and credential of the TURN REST API (draft-uberti-behave-turn-rest-00), which coturn and STUNner check
/// with the same secret: `expiry:user` and base64(HMAC-SHA1(secret, user name)).
fn time_limited(secret: &Secret, expiry: u64, user: &str) -> (String, String) {
    let username = format!("{expiry}:{user}");
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret.expose());
    let credential = STANDARD.encode(hmac::sign(&key, username.as_bytes()));
    (username, credential)
}

impl IceServer {
    fn stun(url: &str) -> Self {
        Self {
            urls: url.to_owned(),
            username: None,
            credential: None,
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

impl IceServers {
    fn turn(&mut self, urls: &[String], username: &str, credential: &str) {
        self.servers.extend(urls.iter().map(|url| IceServer {
            urls: url.clone(),
            username: Some(username.to_owned()),
            credential: Some(credential.to_owned()),
        }));
    }

    fn need(&mut self, secrets: &SecretStore, reference: &SecretRef) -> Option<Secret> {
        let secret = secrets.get(reference);
        if secret.is_none() {
            self.missing.push(reference.clone());
        }
        secret
    }

    fn need_text(&mut self, secrets: &SecretStore, reference: &SecretRef) -> Option<String> {
        let text = self.need(secrets, reference)?.expose_str().map(str::to_owned);
        if text.is_none() {
            self.missing.push(reference.clone());
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    use berth_crds::api::FailurePolicy;
    use berth_crds::settings::ObjectName;

    fn reference(key: &str) -> SecretRef {
        SecretRef {
            name: "turn".to_owned(),
            key: key.to_owned(),
        }
    }

    fn secrets(keys: &[(&str, &str)]) -> SecretStore {
        let store = SecretStore::in_memory();
        for (key, value) in keys {
            store.put(&reference(key), Secret::new(value).unwrap());
        }
        store
    }

    fn settings(stun: &[&str], providers: Vec<ProviderSettings>) -> TurnSettings {
        TurnSettings {
            name: ObjectName::new("default", "turn"),
            generation: 1,
            stun_urls: stun.iter().map(|url| (*url).to_owned()).collect(),
            providers,
            credential_ttl: Duration::from_hours(1),
            failure_policy: FailurePolicy::StunOnly,
        }
    }

    fn shared(url: &str) -> ProviderSettings {
        ProviderSettings::SharedSecret {
            name: "shared".to_owned(),
            urls: vec![url.to_owned()],
            secret: reference("secret"),
        }
    }

    #[test]
    fn without_turn_config_the_default_stun_server() {
        let answer = ice_servers(None, &secrets(&[]), "player", 0);
        assert_eq!(
            serde_json::to_string(&answer.servers).unwrap(),
            r#"[{"urls":"stun:stun.l.google.com:19302"}]"#
        );
        assert_eq!(answer.expires_at, None);
    }

    /// Expected values from
    /// `printf %s USERNAME | openssl dgst -sha1 -hmac SECRET -binary | openssl base64`.
    #[test]
    fn shared_secret_gives_what_openssl_gives() {
        for (secret, user, now, username, credential) in [
            (
                "north",
                "match-1",
                1_700_000_000,
                "1700003600:match-1",
                "nVuKhAA9pkyjK8duSrsaFOHGVUM=",
            ),
            (
                "a longer secret with spaces",
                "h\u{f6}st",
                1_800_000_000,
                "1800003600:h\u{f6}st",
                "0LX4ZtGuqV77qpyBS53PkB/ePFw=",
            ),
        ] {
            let turn = settings(&["stun:s:1"], vec![shared("turn:t:3478?transport=udp")]);
            let answer = ice_servers(Some(&turn), &secrets(&[("secret", secret)]), user, now);
            let expected = IceServer {
                urls: "turn:t:3478?transport=udp".to_owned(),
                username: Some(username.to_owned()),
                credential: Some(credential.to_owned()),
            };
            assert_eq!(answer.servers, [IceServer::stun("stun:s:1"), expected]);
            assert_eq!(answer.expires_at, Some(now + 3600));
        }
    }

    #[test]
    fn static_provider_gives_its_one_user_for_every_url() {
        let urls = vec!["turn:a:1".to_owned(), "turns:b:2".to_owned()];
        let (username, credential) = (reference("username"), reference("credential"));
        let turn = settings(
            &[],
            vec![ProviderSettings::Static {
                name: "fixed".to_owned(),
                urls,
                username,
                credential,
            }],
        );
        let answer = ice_servers(
            Some(&turn),
            &secrets(&[("username", "u"), ("credential", "c")]),
            "player",
            7,
        );
        assert_eq!(
            serde_json::to_string(&answer.servers).unwrap(),
            r#"[{"urls":"turn:a:1","username":"u","credential":"c"},{"urls":"turns:b:2","username":"u","credential":"c"}]"#
        );
        assert_eq!(answer.expires_at, None);
    }

    #[test]
    fn provider_without_its_secret_is_left_out_and_named() {
        let fixed = ProviderSettings::Static {
            name: "fixed".to_owned(),
            urls: vec!["turn:b:2".to_owned()],
            username: reference("username"),
            credential: reference("credential"),
        };
        let turn = settings(&["stun:s:1"], vec![shared("turn:a:1"), fixed]);
        let answer = ice_servers(Some(&turn), &secrets(&[("username", "u")]), "player", 7);
        assert_eq!(answer.servers, [IceServer::stun("stun:s:1")]);
        assert_eq!(answer.missing, [reference("secret"), reference("credential")]);
        assert_eq!(answer.expires_at, None);
    }

    #[test]
    fn provider_whose_secret_is_no_text_is_left_out_and_named() {
        let fixed = ProviderSettings::Static {
            name: "fixed".to_owned(),
            urls: vec!["turn:b:2".to_owned()],
            username: reference("username"),
            credential: reference("credential"),
        };
        let store = secrets(&[("username", "u")]);
        store.put(&reference("credential"), Secret::new(b"\xff\xfe").unwrap());
        let answer = ice_servers(Some(&settings(&[], vec![fixed])), &store, "player", 7);
        assert_eq!(answer.servers, []);
        assert_eq!(answer.missing, [reference("credential")]);
    }

    #[test]
    fn debug_output_shows_no_credentials() {
        let turn = settings(&["stun:s:1"], vec![shared("turn:a:1")]);
        let answer = ice_servers(Some(&turn), &secrets(&[("secret", "north")]), "hunter", 7);
        let server = &answer.servers[1];
        let shown = format!("{answer:?} {server:?}");
        assert!(shown.contains("turn:a:1") && shown.contains("***"), "{shown}");
        let credential = server.credential.as_deref().unwrap();
        assert!(
            !shown.contains("hunter") && !shown.contains(credential),
            "{shown}"
        );
    }
}
