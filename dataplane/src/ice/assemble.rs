//! The servers for one user (pure: secrets, what providers issued, user and time come as arguments).

use std::collections::BTreeMap;
use std::sync::Arc;

use aws_lc_rs::{digest, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use berth_crds::settings::{ProviderSettings, SecretRef, TurnSettings};

use super::server::{DEFAULT_STUN, IceServer};
use crate::secrets::{Secret, SecretStore};

/// Of several servers that Berth runs, how many each user gets. Each costs a browser time and a relay, and one may just be going away.
const SERVERS_OF_A_USER: usize = 2;

/// ICE servers for one user.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct IceServers {
    /// The servers, STUN first, then TURN in the order of the TurnConfig. Never empty.
    pub servers: Vec<IceServer>,
    /// When the first of the credentials expires, Unix seconds; `None` if none does.
    pub expires_at: Option<u64>,
    /// Providers that had to be left out. Not the user's business, but the operator's.
    pub failures: Vec<ProviderFailure>,
}

/// A provider that had to be left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderFailure {
    /// Its name in the TurnConfig.
    pub provider: String,
    /// Why.
    pub cause: FailureCause,
}

/// Why a provider is left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FailureCause {
    /// This secret is absent, or no text where text is needed.
    NoSecret(SecretRef),
    /// It has issued no credential that is still good.
    NotIssued,
    /// No address of its servers is known: none of them is ready.
    NoServer,
}

/// What a provider issued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issued {
    /// Its servers, with the credential.
    pub servers: Vec<IceServer>,
    /// When the credential expires, Unix seconds.
    pub expires_at: u64,
}

/// What providers issued and may be handed out, by their names in one TurnConfig.
pub type IssuedByProvider = BTreeMap<String, Arc<Issued>>;

/// ICE servers for `user` at `now` (Unix seconds).
///
/// Without a TurnConfig that is [`DEFAULT_STUN`] alone. `user` becomes a part of the time-limited user name, by which
/// the TURN server's log tells sessions apart. A provider that fails is left out and named in the answer, so that players who
/// need no relay can still play; where nothing would be left, there is [`DEFAULT_STUN`].
pub fn ice_servers(
    turn: Option<&TurnSettings>,
    secrets: &SecretStore,
    issued: &IssuedByProvider,
    user: &str,
    now: u64,
) -> IceServers {
    let mut answer = IceServers::default();
    if let Some(turn) = turn {
        answer
            .servers
            .extend(turn.stun_urls.iter().map(|url| IceServer::stun(url)));
        for provider in &turn.providers {
            let taken = match provider {
                ProviderSettings::Managed { servers, secret } => {
                    let expiry = now.saturating_add(turn.credential_ttl.as_secs());
                    let urls = servers_of(user, servers);
                    if urls.is_empty() {
                        Err(FailureCause::NoServer)
                    } else {
                        answer.shared_secret(secrets, secret, &urls, user, expiry)
                    }
                }
                ProviderSettings::SharedSecret { urls, secret, .. } => {
                    let expiry = now.saturating_add(turn.credential_ttl.as_secs());
                    answer.shared_secret(secrets, secret, urls, user, expiry)
                }
                ProviderSettings::Static {
                    urls,
                    username,
                    credential,
                    ..
                } => answer.fixed(secrets, username, credential, urls),
                ProviderSettings::Metered { name, api_key, .. } => {
                    text(secrets, api_key).and_then(|_| answer.issued(issued.get(name)))
                }
            };
            if let Err(cause) = taken {
                let provider = provider.name().to_owned();
                answer.failures.push(ProviderFailure { provider, cause });
            }
        }
    }
    if answer.servers.is_empty() {
        answer.servers.push(IceServer::stun(DEFAULT_STUN));
    }
    answer
}

/// URLs of the servers that `user` gets: the same ones every time, and others for other users, so that the load spreads.
fn servers_of(user: &str, servers: &[Vec<String>]) -> Vec<String> {
    let digest = digest::digest(&digest::SHA256, user.as_bytes());
    let first = digest
        .as_ref()
        .first_chunk()
        .map_or(0, |bytes| u32::from_be_bytes(*bytes));
    let first = usize::try_from(first).unwrap_or_default() % servers.len().max(1);
    let chosen = servers
        .iter()
        .cycle()
        .skip(first)
        .take(servers.len().min(SERVERS_OF_A_USER));
    chosen.flatten().cloned().collect()
}

/// User name and credential of the TURN REST API (draft-uberti-behave-turn-rest-00), which coturn and STUNner check
/// with the same secret: `expiry:user` and base64(HMAC-SHA1(secret, user name)).
fn time_limited(secret: &Secret, expiry: u64, user: &str) -> (String, String) {
    let username = format!("{expiry}:{user}");
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret.expose());
    let credential = STANDARD.encode(hmac::sign(&key, username.as_bytes()));
    (username, credential)
}

impl IceServers {
    fn shared_secret(
        &mut self,
        secrets: &SecretStore,
        secret: &SecretRef,
        urls: &[String],
        user: &str,
        expiry: u64,
    ) -> Result<(), FailureCause> {
        let secret = secrets
            .get(secret)
            .ok_or_else(|| FailureCause::NoSecret(secret.clone()))?;
        let (username, credential) = time_limited(&secret, expiry, user);
        self.expire(expiry);
        self.turn(urls, &username, &credential);
        Ok(())
    }

    fn fixed(
        &mut self,
        secrets: &SecretStore,
        username: &SecretRef,
        credential: &SecretRef,
        urls: &[String],
    ) -> Result<(), FailureCause> {
        let (username, credential) = (text(secrets, username)?, text(secrets, credential)?);
        self.turn(urls, &username, &credential);
        Ok(())
    }

    fn issued(&mut self, issued: Option<&Arc<Issued>>) -> Result<(), FailureCause> {
        let issued = issued.ok_or(FailureCause::NotIssued)?;
        self.expire(issued.expires_at);
        self.servers.extend(issued.servers.iter().cloned());
        Ok(())
    }

    fn expire(&mut self, at: u64) {
        self.expires_at = Some(self.expires_at.map_or(at, |first| first.min(at)));
    }

    fn turn(&mut self, urls: &[String], username: &str, credential: &str) {
        let servers = urls.iter().map(|url| IceServer::turn(url, username, credential));
        self.servers.extend(servers);
    }
}

/// The text of a secret.
pub(super) fn text(secrets: &SecretStore, reference: &SecretRef) -> Result<String, FailureCause> {
    let secret = secrets.get(reference);
    let text = secret.as_ref().and_then(Secret::expose_str);
    text.map(str::to_owned)
        .ok_or_else(|| FailureCause::NoSecret(reference.clone()))
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

    fn serve(turn: Option<&TurnSettings>, secrets: &SecretStore, user: &str, now: u64) -> IceServers {
        ice_servers(turn, secrets, &IssuedByProvider::new(), user, now)
    }

    fn no_secret(provider: &str, key: &str) -> ProviderFailure {
        ProviderFailure {
            provider: provider.to_owned(),
            cause: FailureCause::NoSecret(reference(key)),
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
        let answer = serve(None, &secrets(&[]), "player", 0);
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
            let answer = serve(Some(&turn), &secrets(&[("secret", secret)]), user, now);
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
        let answer = serve(
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
        let answer = serve(Some(&turn), &secrets(&[("username", "u")]), "player", 7);
        assert_eq!(answer.servers, [IceServer::stun("stun:s:1")]);
        let expected = [no_secret("shared", "secret"), no_secret("fixed", "credential")];
        assert_eq!(answer.failures, expected);
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
        let answer = serve(Some(&settings(&[], vec![fixed])), &store, "player", 7);
        assert_eq!(answer.servers, [IceServer::stun(DEFAULT_STUN)]);
        assert_eq!(answer.failures, [no_secret("fixed", "credential")]);
    }

    fn managed(servers: &[&str]) -> ProviderSettings {
        ProviderSettings::Managed {
            servers: servers.iter().map(|url| vec![(*url).to_owned()]).collect(),
            secret: reference("secret"),
        }
    }

    #[test]
    fn users_share_the_servers_that_berth_runs() {
        let urls = ["turn:a", "turn:b", "turn:c"];
        let secrets = secrets(&[("secret", "north")]);
        let answer = |servers: &[&str], user: &str| {
            let turn = settings(&[], vec![managed(servers)]);
            ice_servers(Some(&turn), &secrets, &IssuedByProvider::new(), user, 1_000)
        };
        let mut counts = BTreeMap::new();
        for number in 0..300 {
            let user = format!("match-{number}");
            let found = answer(&urls, &user);
            assert_eq!(found, answer(&urls, &user));
            assert_eq!((found.servers.len(), found.failures.len()), (2, 0));
            for server in found.servers {
                *counts.entry(format!("{:?}", server.urls)).or_insert(0) += 1;
            }
        }
        assert_eq!(counts.len(), 3);
        assert!(
            counts.values().all(|count| (120..280).contains(count)),
            "{counts:?}"
        );
        assert_eq!(answer(&urls[..1], "u").servers.len(), 1);
    }

    #[test]
    fn without_a_server_that_is_ready_the_provider_is_left_out() {
        let turn = settings(&["stun:a"], vec![managed(&[])]);
        let secrets = secrets(&[("secret", "north")]);
        let answer = ice_servers(Some(&turn), &secrets, &IssuedByProvider::new(), "u", 1_000);
        assert_eq!(answer.servers, [IceServer::stun("stun:a")]);
        assert_eq!(answer.expires_at, None);
        let failure = ProviderFailure {
            provider: "managed".into(),
            cause: FailureCause::NoServer,
        };
        assert_eq!(answer.failures, [failure]);
    }

    fn metered() -> ProviderSettings {
        ProviderSettings::Metered {
            name: "metered".to_owned(),
            domain: "games.metered.live".to_owned(),
            api_key: reference("apiKey"),
        }
    }

    #[test]
    fn what_a_provider_issued_stands_in_its_place_and_the_first_expiry_counts() {
        let turn = settings(&[], vec![metered(), shared("turn:a:1")]);
        let store = secrets(&[("secret", "north"), ("apiKey", "k")]);
        let server = IceServer::turn("turn:m:1", "u", "c");
        for (expires_at, first) in [(100, 100), (10_000, 3607)] {
            let issued = Issued {
                servers: vec![server.clone()],
                expires_at,
            };
            let issued = [("metered".to_owned(), Arc::new(issued))].into();
            let answer = ice_servers(Some(&turn), &store, &issued, "player", 7);
            let urls: Vec<_> = answer.servers.iter().map(|server| server.urls.as_str()).collect();
            assert_eq!(
                (&answer.servers[0], urls),
                (&server, vec!["turn:m:1", "turn:a:1"])
            );
            assert_eq!(answer.expires_at, Some(first));
            assert_eq!(answer.failures, []);
        }
    }

    #[test]
    fn a_provider_that_has_issued_nothing_is_left_out_and_named() {
        let turn = settings(&[], vec![metered()]);
        let answer = serve(Some(&turn), &secrets(&[("apiKey", "k")]), "player", 7);
        assert_eq!(answer.servers, [IceServer::stun(DEFAULT_STUN)], "never empty");
        let failure = ProviderFailure {
            provider: "metered".to_owned(),
            cause: FailureCause::NotIssued,
        };
        assert_eq!(answer.failures, [failure]);

        let both = settings(&[], vec![metered(), shared("turn:a:1")]);
        let answer = serve(Some(&both), &secrets(&[("secret", "north")]), "player", 7);
        assert_eq!(answer.failures, [no_secret("metered", "apiKey")]);
        let urls: Vec<_> = answer.servers.iter().map(|server| server.urls.as_str()).collect();
        assert_eq!(urls, ["turn:a:1"], "what is left is enough");
    }

    #[test]
    fn debug_output_shows_no_credentials() {
        let turn = settings(&["stun:s:1"], vec![shared("turn:a:1")]);
        let answer = serve(Some(&turn), &secrets(&[("secret", "north")]), "hunter", 7);
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
