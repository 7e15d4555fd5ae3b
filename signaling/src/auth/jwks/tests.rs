use std::io::Write as _;
use std::net::Ipv4Addr;

use axum::http::StatusCode;
use berth_dataplane::secrets::{Secret, SecretStore};
use berth_dataplane::telemetry::Metrics;
use berth_dataplane::testing::{IssuerKey, KeySetServer};
use futures::future::join_all;
use jsonwebtoken::Algorithm;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;

/// Only a hang reaches it.
const DEADLINE: Duration = Duration::from_mins(1);

struct Bed {
    sets: KeySets,
    metrics: Metrics,
    secrets: SecretStore,
    settings: JwksSettings,
}

impl Bed {
    fn new(url: &str, floor: Duration) -> Self {
        Self::with_limit(url, floor, DEADLINE)
    }

    fn with_limit(url: &str, floor: Duration, fetch_within: Duration) -> Self {
        let metrics = Metrics::new();
        let timing = KeySetTiming { fetch_within, floor };
        Self {
            sets: KeySets::new(AuthMetrics::register(&metrics), timing),
            metrics,
            secrets: SecretStore::in_memory(),
            settings: JwksSettings {
                url: url.parse().unwrap(),
                cache: Duration::from_mins(5),
                stale: Duration::from_hours(1),
                authorities: None,
            },
        }
    }

    /// Whether a set was found that has a key of this id.
    async fn finds(&self, id: &str) -> bool {
        let header = signed_with(id);
        let set = self.sets.find(&self.secrets, &self.settings, &header).await;
        set.is_some_and(|set| set.fits(&header))
    }

    fn error(&self) -> String {
        self.sets.describe()["error"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }

    fn refreshes(&self, result: &str) -> String {
        let start = format!("signaling_jwks_refreshes_total{{result=\"{result}\"}} ");
        let text = self.metrics.encode();
        let line = text.lines().find_map(|line| line.strip_prefix(&start));
        line.unwrap_or("0").to_owned()
    }
}

fn signed_with(id: &str) -> TokenHeader {
    TokenHeader {
        algorithm: Algorithm::ES256,
        key_id: Some(id.to_owned()),
    }
}

#[tokio::test]
async fn a_hundred_connections_cause_one_fetch() {
    let key = IssuerKey::ec("a");
    let server = KeySetServer::start(&[&key]).await;
    server.hold(true);
    let bed = Bed::new(&server.url(), Duration::from_hours(1));
    let all = join_all((0..100).map(|_| bed.finds("a")));
    let release = async {
        while server.requests() == 0 {
            tokio::task::yield_now().await;
        }
        server.hold(false);
    };
    let (found, ()) = tokio::join!(all, release);
    assert!(found.into_iter().all(|found| found));
    assert_eq!(server.requests(), 1);
    assert_eq!(
        (bed.refreshes("ok"), bed.refreshes("failed")),
        ("1".into(), "0".into())
    );
    assert_eq!(bed.sets.describe()["keys"], 1);
}

#[tokio::test]
async fn bogus_key_ids_cause_no_fetch_within_the_floor() {
    let key = IssuerKey::ec("a");
    let server = KeySetServer::start(&[&key]).await;
    let bed = Bed::new(&server.url(), Duration::from_hours(1));
    for id in 0..50 {
        assert!(!bed.finds(&id.to_string()).await);
    }
    assert!(bed.finds("a").await);
    assert_eq!(server.requests(), 1);
}

#[tokio::test]
async fn a_new_key_is_found_when_a_token_names_it() {
    let (old, new) = (IssuerKey::ec("old"), IssuerKey::ec("new"));
    let server = KeySetServer::start(&[&old]).await;
    let bed = Bed::new(&server.url(), Duration::ZERO);
    assert!(bed.finds("old").await && !bed.finds("new").await);
    server.publish(&[&old, &new]);
    assert!(bed.finds("new").await && bed.finds("old").await);
    let requests = server.requests();
    server.publish(&[&new]);
    assert!(bed.finds("old").await, "in the cache");
    assert_eq!(server.requests(), requests, "nobody needed a fetch");
}

#[tokio::test]
async fn old_keys_stay_while_the_issuer_is_away_and_not_for_ever() {
    let key = IssuerKey::ec("a");
    let server = KeySetServer::start(&[&key]).await;
    let mut bed = Bed::new(&server.url(), Duration::ZERO);
    assert!(bed.finds("a").await);
    server.answer(StatusCode::SERVICE_UNAVAILABLE, "");
    // As if the time had passed: fetched again at each use.
    bed.settings.cache = Duration::ZERO;
    assert!(bed.finds("a").await);
    assert_eq!(bed.refreshes("failed"), "1");
    assert_eq!(bed.error(), "answered 503 Service Unavailable");
    assert_eq!(server.requests(), 2);
    assert!(bed.finds("a").await);
    bed.settings.stale = Duration::ZERO;
    assert!(!bed.finds("a").await, "too old");
    // It comes back; the next attempt is due a second after the last.
    server.publish(&[&key]);
    bed.settings.cache = Duration::from_mins(5);
    let back = async {
        while !bed.finds("a").await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(DEADLINE, back).await.unwrap();
    assert_eq!(bed.error(), "");
}

#[tokio::test]
async fn an_issuer_that_says_nothing_holds_nobody_up_for_long() {
    let server = KeySetServer::start(&[]).await;
    server.hold(true);
    let bed = Bed::with_limit(&server.url(), Duration::ZERO, Duration::from_millis(50));
    let started = Instant::now();
    assert!(!bed.finds("a").await);
    assert!(started.elapsed() < DEADLINE);
    assert_eq!(bed.error(), "did not answer in time");
    assert_eq!(server.requests(), 1);
}

#[tokio::test]
async fn an_answer_that_is_no_key_set_is_named() {
    let elsewhere = KeySetServer::start(&[&IssuerKey::ec("a")]).await;
    for (status, body, error) in [
        (
            StatusCode::OK,
            "<html>".to_owned(),
            "cannot be used: the answer is no key set",
        ),
        (
            StatusCode::OK,
            r#"{"keys":[{"kty":"oct","k":"AAAA"}]}"#.to_owned(),
            "cannot be used: the key set has no key for RS256, PS256 or ES256",
        ),
        (
            StatusCode::OK,
            format!("{{\"keys\":[],\"x\":\"{}\"}}", "x".repeat(256 * 1024)),
            "the answer cannot be read: it was cut off or has more than 262144 bytes",
        ),
        (StatusCode::NOT_FOUND, String::new(), "answered 404 Not Found"),
        (StatusCode::FOUND, elsewhere.url(), "answered 302 Found"),
    ] {
        let server = KeySetServer::start(&[]).await;
        server.answer(status, &body);
        let bed = Bed::new(&server.url(), Duration::ZERO);
        assert!(!bed.finds("a").await);
        assert_eq!(bed.error(), error);
    }
    assert_eq!(elsewhere.requests(), 0, "redirects are not followed");
    let gone = KeySetServer::start(&[]).await.url();
    let bed = Bed::new(&gone, Duration::ZERO);
    assert!(!bed.finds("a").await);
    assert!(bed.error().starts_with("cannot be reached: "), "{}", bed.error());
}

#[tokio::test]
async fn another_address_is_another_set() {
    let (one, other) = (IssuerKey::ec("one"), IssuerKey::ec("other"));
    let (first, second) = (
        KeySetServer::start(&[&one]).await,
        KeySetServer::start(&[&other]).await,
    );
    let mut bed = Bed::new(&first.url(), Duration::from_hours(1));
    assert!(bed.finds("one").await);
    bed.settings.url = second.url().parse().unwrap();
    assert!(bed.finds("other").await && !bed.finds("one").await);
    assert_eq!((first.requests(), second.requests()), (1, 1));
}

#[tokio::test]
async fn queries_are_not_told() {
    let server = KeySetServer::start(&[&IssuerKey::ec("a")]).await;
    let bed = Bed::new(&format!("{}?key=hunter2", server.url()), Duration::ZERO);
    assert!(bed.finds("a").await);
    let told = bed.sets.describe().to_string();
    assert!(
        told.contains(&server.url()) && !told.contains("hunter2"),
        "{told}"
    );
}

/// A server with a certificate of an authority of its own: its address, and the authority's certificate (PEM).
async fn private_server(body: String) -> (String, String) {
    let mut parameters = rcgen::CertificateParams::new(Vec::<String>::new()).unwrap();
    parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority_key = rcgen::KeyPair::generate().unwrap();
    let authority = parameters.self_signed(&authority_key).unwrap();
    let issuer = rcgen::Issuer::new(parameters, authority_key);
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["localhost".to_owned()])
        .unwrap()
        .signed_by(&key, &issuer)
        .unwrap();
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(key.serialize_der());
    let config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key.into())
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            // A client that does not trust it goes away.
            let Ok(mut socket) = acceptor.accept(socket).await else {
                continue;
            };
            let mut request = [0; 4096];
            let _ = socket.read(&mut request).await;
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
            let _ = socket.write_all(format!("{head}{body}").as_bytes()).await;
            let _ = socket.shutdown().await;
        }
    });
    (format!("https://localhost:{port}/keys"), pem(authority.der()))
}

fn pem(certificate: &[u8]) -> String {
    use base64::Engine as _;
    let mut text = Vec::new();
    writeln!(text, "-----BEGIN CERTIFICATE-----").unwrap();
    let encoded = base64::engine::general_purpose::STANDARD.encode(certificate);
    for line in encoded.as_bytes().chunks(64) {
        text.extend_from_slice(line);
        text.push(b'\n');
    }
    writeln!(text, "-----END CERTIFICATE-----").unwrap();
    String::from_utf8(text).unwrap()
}

#[tokio::test]
async fn a_private_authority_vouches_if_it_is_named() {
    let key = IssuerKey::ec("a");
    let (url, authority) = private_server(json!({"keys": [key.jwk()]}).to_string()).await;
    let reference = SecretRef {
        name: "authorities".into(),
        key: "ca.crt".into(),
    };
    let bed = |secret: Option<&str>| {
        let mut bed = Bed::new(&url, Duration::ZERO);
        bed.settings.authorities = Some(reference.clone());
        if let Some(secret) = secret {
            bed.secrets.put(&reference, Secret::new(secret).unwrap());
        }
        bed
    };
    let trusting = bed(Some(&authority));
    assert!(trusting.finds("a").await, "{}", trusting.error());
    let (_, stranger) = private_server(String::new()).await;
    for (secret, error) in [
        (Some(stranger.as_str()), "cannot be reached: "),
        (
            Some("no certificate"),
            "the Secret of caSecretRef holds no certificates (PEM)",
        ),
        (None, "the Secret of caSecretRef is not there"),
    ] {
        let bed = bed(secret);
        assert!(!bed.finds("a").await);
        assert!(bed.error().starts_with(error), "{}", bed.error());
    }
}

/// The address of the set is changed while somebody waits for the old one.
#[tokio::test]
async fn who_waits_for_one_issuer_gets_no_keys_of_another() {
    let key = IssuerKey::ec("a");
    let (old, new) = (
        KeySetServer::start(&[&key]).await,
        KeySetServer::start(&[&key]).await,
    );
    old.hold(true);
    let bed = Bed::new(&old.url(), Duration::ZERO);
    let settings = JwksSettings {
        url: new.url().parse().unwrap(),
        ..bed.settings.clone()
    };
    let header = signed_with("a");
    let change = async {
        while old.requests() == 0 {
            tokio::task::yield_now().await;
        }
        assert!(bed.sets.find(&bed.secrets, &settings, &header).await.is_some());
        old.hold(false);
    };
    let (found, ()) = tokio::join!(bed.sets.find(&bed.secrets, &bed.settings, &header), change);
    assert!(found.is_none());
}
