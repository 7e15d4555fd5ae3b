//! TLS: whom the link trusts, and what it shows of itself.

use std::path::PathBuf;
use std::process::Command;

use berth_dataplane::boot::install_crypto_provider;
use berth_dataplane::redis::{LinkOptions, RedisEndpoint, RedisLink, RedisMetrics, SubscriptionEvent};
use berth_dataplane::testing::{
    RedisCluster, RedisSentinels, RedisServer, SentinelOptions, TestRedis, free_port,
};
use tempfile::TempDir;
use tokio::time::timeout;

use crate::support::{LONG, message, next, set, until};

/// A certificate authority in a folder of its own.
struct Authority {
    folder: TempDir,
}

impl Authority {
    fn new() -> Self {
        let this = Self {
            folder: TempDir::new().unwrap(),
        };
        this.openssl("req -x509 NEWKEY -keyout ca.key -out ca.crt -days 2 -subj /CN=authority");
        this
    }

    /// Makes a certificate `NAME.crt` with its key `NAME.key` for an address.
    fn certify(&self, name: &str, address: &str) {
        std::fs::write(self.path("names"), format!("subjectAltName=IP:{address}")).unwrap();
        self.openssl(&format!(
            "req NEWKEY -keyout {name}.key -out {name}.csr -subj /CN={name}"
        ));
        self.openssl(&format!(
            "x509 -req -in {name}.csr -CA ca.crt -CAkey ca.key -CAcreateserial -out {name}.crt -days 2 \
             -extfile names"
        ));
    }

    fn openssl(&self, arguments: &str) {
        let arguments = arguments.replace("NEWKEY", "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes");
        let run = Command::new("openssl")
            .args(arguments.split(' '))
            .current_dir(self.folder.path())
            .output();
        let output = run.expect("cannot run openssl: install the Debian package openssl");
        assert!(
            output.status.success(),
            "openssl {arguments}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Options of a server with the certificate of this name.
    fn options(&self, name: &str, ask_clients: &'static str) -> Vec<(&'static str, String)> {
        let path = |file: &str| self.path(file).display().to_string();
        vec![
            ("tls-cert-file", path(&format!("{name}.crt"))),
            ("tls-key-file", path(&format!("{name}.key"))),
            ("tls-ca-cert-file", path("ca.crt")),
            ("tls-auth-clients", ask_clients.to_owned()),
        ]
    }

    /// A server that speaks TLS on a port of its own, and its endpoint.
    fn server(&self, name: &str, ask_clients: &'static str) -> (RedisServer, RedisEndpoint) {
        let port = free_port().to_string();
        let mut arguments = vec!["--tls-port".to_owned(), port.clone()];
        for (option, value) in self.options(name, ask_clients) {
            arguments.extend([format!("--{option}"), value]);
        }
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let server = RedisServer::start_with(&arguments);
        let endpoint = RedisEndpoint::from_url(&format!("rediss://127.0.0.1:{port}")).unwrap();
        (server, endpoint)
    }
}

fn start(endpoint: RedisEndpoint) -> RedisLink {
    RedisLink::start(endpoint, LinkOptions::default(), RedisMetrics::unregistered())
}

/// The link must never come up, and says why.
async fn refused(endpoint: RedisEndpoint, why: &str) {
    let link = start(endpoint);
    until(&format!("refused for {why}"), || {
        link.health().last_error.is_some_and(|error| error.contains(why))
    })
    .await;
    assert!(!link.healthy());
}

async fn relays(link: &RedisLink) {
    timeout(LONG, link.wait_healthy()).await.expect("never connected");
    set(link, "a", "1").await.unwrap();
    let mut inbox = link.subscribe("inbox", 10);
    assert_eq!(next(&mut inbox).await, SubscriptionEvent::Subscribed);
    assert_eq!(link.publish("inbox", b"x").await.unwrap(), 1);
    assert_eq!(next(&mut inbox).await, message("x"));
}

#[tokio::test]
async fn only_a_known_authority_is_trusted() {
    install_crypto_provider();
    let (authority, other) = (Authority::new(), Authority::new());
    authority.certify("redis", "127.0.0.1");
    let (_server, endpoint) = authority.server("redis", "no");
    refused(endpoint.clone(), "certificate").await;
    refused(endpoint.clone().with_ca_file(other.path("ca.crt")), "certificate").await;
    relays(&start(endpoint.with_ca_file(authority.path("ca.crt")))).await;
}

#[tokio::test]
async fn a_certificate_of_another_name_is_refused() {
    install_crypto_provider();
    let authority = Authority::new();
    authority.certify("other", "127.0.0.2");
    let (_server, endpoint) = authority.server("other", "no");
    refused(endpoint.with_ca_file(authority.path("ca.crt")), "certificate").await;
}

#[tokio::test]
async fn a_server_that_asks_for_a_certificate_gets_one() {
    install_crypto_provider();
    let authority = Authority::new();
    for name in ["redis", "berth"] {
        authority.certify(name, "127.0.0.1");
    }
    let (_server, endpoint) = authority.server("redis", "yes");
    let endpoint = endpoint.with_ca_file(authority.path("ca.crt"));
    let stranger = start(endpoint.clone());
    until("a client without a certificate is refused", || {
        stranger.health().last_error.is_some()
    })
    .await;
    assert!(!stranger.healthy());
    let (certificate, key) = (authority.path("berth.crt"), authority.path("berth.key"));
    relays(&start(endpoint.with_client_certificate(certificate, key))).await;
}

#[tokio::test]
async fn a_cluster_with_tls() {
    install_crypto_provider();
    let authority = Authority::new();
    authority.certify("redis", "127.0.0.1");
    let mut arguments = vec!["--tls-cluster".to_owned(), "yes".to_owned()];
    for (option, value) in authority.options("redis", "no") {
        arguments.extend([format!("--{option}"), value]);
    }
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let cluster = RedisCluster::start_with(&arguments);
    let endpoint = RedisEndpoint::from_url(&cluster.url()).unwrap();
    refused(endpoint.clone(), "certificate").await;
    let link = start(endpoint.with_ca_file(authority.path("ca.crt")));
    relays(&link).await;
    assert_eq!(cluster.calls("spublish"), 1);
}

#[tokio::test]
async fn sentinels_and_servers_with_tls() {
    install_crypto_provider();
    let authority = Authority::new();
    authority.certify("redis", "127.0.0.1");
    let tls = authority.options("redis", "no");
    let tls: Vec<(&str, &str)> = tls.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let sentinels = RedisSentinels::start_with(
        1,
        &SentinelOptions {
            tls: &tls,
            ..SentinelOptions::default()
        },
    );
    let endpoint = RedisEndpoint::from_url(&sentinels.url()).unwrap();
    refused(endpoint.clone(), "certificate").await;
    relays(&start(endpoint.with_ca_file(authority.path("ca.crt")))).await;
}
