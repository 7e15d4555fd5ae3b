//! A real coturn on loopback, with a static shared secret.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use berth_crds::api::FailurePolicy;
use berth_crds::settings::{ObjectName, ProviderSettings, SecretRef, TurnSettings};
use berth_dataplane::ice::{IceServer, IssuedByProvider, ice_servers};
use berth_dataplane::secrets::{Secret, SecretStore};
use berth_dataplane::testing::CoturnServer;
use serde_json::Value;

/// How long the credentials are good.
pub(crate) const CREDENTIAL_TTL: Duration = Duration::from_hours(1);

/// A TURN server that ends with the test.
pub(crate) struct Coturn(CoturnServer);

impl Coturn {
    /// Starts one and waits until it answers a STUN request.
    pub(crate) fn start() -> Self {
        Self(CoturnServer::start())
    }

    pub(crate) fn port(&self) -> u16 {
        self.0.port()
    }

    /// User name and credential as the matchmaker makes them, good for an hour from now on.
    pub(crate) fn credential(&self) -> (String, String) {
        let server = self.servers(unix_now()).remove(0);
        (server.username.unwrap(), server.credential.unwrap())
    }

    /// `iceServers` of a match.
    pub(crate) fn ice_servers(&self) -> Value {
        self.ice_servers_made_at(unix_now())
    }

    /// The same as they were handed out at this time, Unix seconds.
    pub(crate) fn ice_servers_made_at(&self, now: u64) -> Value {
        serde_json::to_value(self.servers(now)).unwrap()
    }

    fn servers(&self, now: u64) -> Vec<IceServer> {
        let secret = SecretRef {
            name: "turn".into(),
            key: "secret".into(),
        };
        let secrets = SecretStore::in_memory();
        secrets.put(&secret, Secret::new(CoturnServer::SECRET).unwrap());
        let settings = TurnSettings {
            name: ObjectName::new("default", "turn"),
            generation: 0,
            stun_urls: Vec::new(),
            providers: vec![ProviderSettings::SharedSecret {
                name: "coturn".into(),
                urls: vec![format!("turn:127.0.0.1:{}?transport=udp", self.port())],
                secret,
            }],
            credential_ttl: CREDENTIAL_TTL,
            failure_policy: FailurePolicy::StunOnly,
        };
        ice_servers(Some(&settings), &secrets, &IssuedByProvider::new(), "test", now).servers
    }
}

pub(crate) fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}
