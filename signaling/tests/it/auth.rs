//! Tokens over real sockets: those of an issuer that publishes its keys, and those of the matchmaker.

mod v2;

use std::time::Duration;

use axum::http::StatusCode;
use berth_crds::api::{JwtAlgorithm, LegacyPeers};
use berth_crds::settings::{AuthSettings, JwksSettings, JwtSettings, KeySource, match_key_secret};
use berth_dataplane::match_token::{MatchGrant, MatchKeys, Role};
use berth_dataplane::secrets::{RotatingSecret, Secret};
use berth_dataplane::testing::{IssuerKey, KeySetServer};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};

use crate::refusals::{is_seated, unix_now};
use crate::support::{Client, Node, NodeOptions, Request, eventually, get, offer};

fn unauthorized() -> (u16, String) {
    (1008, "Unauthorized".to_owned())
}

fn forbidden() -> (u16, String) {
    (1008, "Forbidden".to_owned())
}

/// A handshake for the room `r1`.
fn with(token: &str) -> Request {
    Request::target(&format!("/?roomId=r1&token={token}"))
}

/// How the server closes this handshake.
async fn refused(node: &Node, request: Request) -> (u16, String) {
    Client::open(node.address, request).await.closed().await
}

async fn admitted(node: &Node, request: Request) {
    is_seated(node, Client::open(node.address, request).await).await;
}

/// Makes the node ask for tokens whose keys are published here.
fn require_issuer(node: &Node, issuer: &KeySetServer) {
    let url = issuer.url().parse().unwrap();
    node.change(|settings| {
        settings.auth = AuthSettings::Jwt(Box::new(JwtSettings {
            keys: KeySource::Jwks(JwksSettings {
                url,
                cache: Duration::from_mins(5),
                stale: Duration::from_hours(1),
                authorities: None,
            }),
            algorithms: vec![JwtAlgorithm::RS256, JwtAlgorithm::PS256, JwtAlgorithm::ES256],
            issuer: Some("https://id.example.com".into()),
            audience: Some("signaling".into()),
            rooms_claim: "rooms".into(),
            leeway: Duration::ZERO,
        }));
    });
}

/// Claims that open `r1`.
fn claims() -> Value {
    json!({"iss": "https://id.example.com", "aud": "signaling", "rooms": ["r1"], "exp": unix_now() + 3600})
}

/// The claims with another value.
fn claims_with(name: &str, value: impl Into<Value>) -> Value {
    let mut claims = claims();
    claims[name] = value.into();
    claims
}

/// A node that fetches a key set again whenever a token asks for it.
async fn impatient_node() -> Node {
    let mut options = NodeOptions::default();
    options.timing.key_set_floor = Duration::ZERO;
    Node::start(options).await
}

async fn status(node: &Node) -> Value {
    serde_json::from_str(&get(node.internal, "/statusz").await.1).unwrap()
}

#[tokio::test]
async fn tokens_of_an_issuer_open_rooms() {
    let (rsa, ec, stranger) = (IssuerKey::rsa("rsa"), IssuerKey::ec("ec"), IssuerKey::ec("ec"));
    let issuer = KeySetServer::start(&[&rsa, &ec]).await;
    let node = Node::memory().await;
    require_issuer(&node, &issuer);
    for (key, algorithm) in [(&rsa, "RS256"), (&rsa, "PS256"), (&ec, "ES256")] {
        admitted(&node, with(&key.token(algorithm, &claims()))).await;
        let bearer = format!("Bearer {}", key.token(algorithm, &claims()));
        admitted(&node, Request::room("r1").header("Authorization", bearer)).await;
    }
    let unsigned = "eyJhbGciOiJub25lIn0.e30.";
    let public = EncodingKey::from_secret(&rsa.public());
    let confused = encode(&Header::new(Algorithm::HS256), &claims(), &public).unwrap();
    for token in [
        "",
        "nonsense",
        unsigned,
        &confused,
        &stranger.token("ES256", &claims()),
        &IssuerKey::ec("unknown").token("ES256", &claims()),
        &ec.sign("ES256", &json!({"alg": "RS256", "kid": "rsa"}), &claims()),
        &ec.token("ES256", &claims_with("exp", unix_now() - 1)),
        &ec.token("ES256", &claims_with("nbf", unix_now() + 1000)),
        &ec.token("ES256", &claims_with("iss", "https://other.example.com")),
        &ec.token("ES256", &claims_with("aud", "other")),
    ] {
        assert_eq!(refused(&node, with(token)).await, unauthorized(), "{token}");
    }
    assert_eq!(refused(&node, Request::room("r1")).await, unauthorized());
    for rooms in [json!(["r2"]), json!([]), json!("r1")] {
        let token = ec.token("ES256", &claims_with("rooms", rooms));
        assert_eq!(refused(&node, with(&token)).await, forbidden());
    }
    assert_eq!(issuer.requests(), 1, "one fetch for all of them");
    for (result, count) in [
        ("accepted", 6.0),
        ("missing", 2.0),
        ("unknown-key", 1.0),
        ("expired", 1.0),
        ("not-yet-valid", 1.0),
        ("other-room", 3.0),
        ("invalid", 7.0),
    ] {
        node.metric_becomes(&format!("signaling_auth_total{{result=\"{result}\"}}"), count)
            .await;
    }
    assert!((node.metric("signaling_jwks_keys") - 2.0).abs() < 0.5);
    let status = status(&node).await;
    assert_eq!(status["auth"]["mode"], "Jwt");
    assert_eq!(status["auth"]["keySet"]["keys"], 2);
    assert_eq!(status["auth"]["keySet"]["url"], issuer.url());
}

#[tokio::test]
async fn many_connections_at_once_cause_one_fetch() {
    let key = IssuerKey::ec("k");
    let issuer = KeySetServer::start(&[&key]).await;
    issuer.hold(true);
    let node = Node::memory().await;
    node.change(|settings| settings.rooms.capacity = 64);
    require_issuer(&node, &issuer);
    let token = key.token("ES256", &claims());
    let mut peers = Vec::new();
    for _ in 0..60 {
        peers.push(Client::open(node.address, with(&token)).await);
    }
    issuer.hold(false);
    node.metric_becomes("signaling_active_connections", 60.0).await;
    assert_eq!(issuer.requests(), 1);
}

#[tokio::test]
async fn keys_change_without_a_refused_peer() {
    let (old, new) = (IssuerKey::ec("old"), IssuerKey::ec("new"));
    let issuer = KeySetServer::start(&[&old]).await;
    let node = impatient_node().await;
    require_issuer(&node, &issuer);
    admitted(&node, with(&old.token("ES256", &claims()))).await;
    issuer.publish(&[&old, &new]);
    for key in [&old, &new, &old] {
        admitted(&node, with(&key.token("ES256", &claims()))).await;
    }
    // The issuer is away: what is known stays in use.
    issuer.answer(StatusCode::BAD_GATEWAY, "");
    let unknown = IssuerKey::ec("unknown").token("ES256", &claims());
    assert_eq!(refused(&node, with(&unknown)).await, unauthorized());
    node.metric_becomes("signaling_jwks_refreshes_total{result=\"failed\"}", 1.0)
        .await;
    admitted(&node, with(&new.token("ES256", &claims()))).await;
    let status = status(&node).await;
    assert_eq!(status["auth"]["keySet"]["error"], "answered 502 Bad Gateway");
    assert_eq!(status["auth"]["keySet"]["keys"], 2);
}

#[tokio::test]
async fn without_keys_everybody_is_refused_until_there_are_some() {
    let key = IssuerKey::ec("k");
    let issuer = KeySetServer::start(&[]).await;
    issuer.answer(StatusCode::INTERNAL_SERVER_ERROR, "");
    let node = Node::memory().await;
    require_issuer(&node, &issuer);
    let token = key.token("ES256", &claims());
    assert_eq!(refused(&node, with(&token)).await, unauthorized());
    issuer.publish(&[&key]);
    eventually("the keys are there", || async {
        let mut client = Client::open(node.address, with(&token)).await;
        client.send("[]").await;
        let heard = client.hears_within(Duration::from_secs(1)).await;
        heard.map(|_| ())
    })
    .await;
}

#[tokio::test]
async fn a_connection_ends_with_its_token() {
    let key = IssuerKey::rsa("k");
    let issuer = KeySetServer::start(&[&key]).await;
    let node = Node::memory().await;
    require_issuer(&node, &issuer);
    let mut host = Client::open(node.address, with(&key.token("RS256", &claims()))).await;
    node.metric_becomes("signaling_active_connections", 1.0).await;
    let expiry = unix_now() + 8;
    let token = key.token("RS256", &claims_with("exp", expiry));
    let mut player = Client::open(node.address, with(&token)).await;
    player.send(offer("hello")).await;
    assert_eq!(host.hear().await, offer("hello"));
    assert_eq!(player.closed().await, unauthorized());
    assert!(unix_now() >= expiry, "closed too early");
    host.send("[]").await;
    host.hear_many(2).await;
}

/// Makes the node ask for match tokens.
pub(crate) fn require_match_tokens(node: &Node, legacy_peers: LegacyPeers) {
    node.change(|settings| settings.auth = AuthSettings::MatchToken { legacy_peers });
}

/// Puts the match key in place, as the mounted Secret would.
pub(crate) fn put_match_key(node: &Node, current: &str, previous: Option<&str>) {
    let pair = match_key_secret("default");
    if let Some(previous) = previous {
        node.secrets.put(&pair.previous, Secret::new(previous).unwrap());
    }
    node.secrets.put(&pair.current, Secret::new(current).unwrap());
}

/// A token for the room `r1`.
pub(crate) fn match_token(key: &str) -> String {
    let keys = MatchKeys::new(&RotatingSecret {
        current: Some(Secret::new(key).unwrap()),
        previous: None,
    });
    let grant = MatchGrant {
        room: "r1",
        role: Role::Player,
        id: "m-1",
        pool: "default/eu",
        ttl: Duration::from_mins(1),
    };
    keys.unwrap().issue(&grant, unix_now()).unwrap()
}

#[tokio::test]
async fn match_tokens_open_their_room() {
    let node = Node::memory().await;
    require_match_tokens(&node, LegacyPeers::Refuse);
    let token = match_token("key");
    assert_eq!(
        refused(&node, with(&token)).await,
        unauthorized(),
        "there is no key yet"
    );
    node.metric_becomes("signaling_auth_total{result=\"no-key\"}", 1.0)
        .await;
    put_match_key(&node, "key", None);
    admitted(&node, with(&token)).await;
    let bearer = format!("Bearer {token}");
    admitted(&node, Request::room("r1").header("Authorization", bearer)).await;
    let elsewhere = Request::target(&format!("/?roomId=r2&token={token}"));
    assert_eq!(refused(&node, elsewhere).await, forbidden());
    assert_eq!(refused(&node, with(&match_token("other"))).await, unauthorized());
    assert_eq!(refused(&node, Request::room("r1")).await, unauthorized());
    assert_eq!(status(&node).await["auth"]["key"], true);
}

/// The three steps of a rotation (`docs/auth.md`). Between two of them some machines are a step behind, so tokens come by the keys
/// of both.
#[tokio::test]
async fn the_match_key_changes_without_a_refused_peer() {
    let node = Node::memory().await;
    require_match_tokens(&node, LegacyPeers::Refuse);
    put_match_key(&node, "one", None);
    let mut host = Client::open(node.address, with(&match_token("one"))).await;
    node.metric_becomes("signaling_active_connections", 1.0).await;
    let mut tokens_pass = async |issued_by: &[&str]| {
        for key in issued_by {
            let mut player = Client::open(node.address, with(&match_token(key))).await;
            player.send(offer(key)).await;
            assert_eq!(host.hear().await, offer(key));
            player.leave().await;
            host.hear().await;
        }
    };
    tokens_pass(&["one"]).await;
    put_match_key(&node, "one", Some("two"));
    tokens_pass(&["one", "two"]).await;
    put_match_key(&node, "two", Some("one"));
    tokens_pass(&["one", "two"]).await;
    // The old key is forgotten: its tokens open nothing any more, and who is inside stays.
    put_match_key(&node, "two", Some("three"));
    tokens_pass(&["two"]).await;
    assert_eq!(refused(&node, with(&match_token("one"))).await, unauthorized());
    host.send("[]").await;
    host.hear().await;
}

#[tokio::test]
async fn legacy_peers_come_in_where_they_are_allowed() {
    let node = Node::memory().await;
    put_match_key(&node, "key", None);
    require_match_tokens(&node, LegacyPeers::Allow);
    admitted(&node, Request::room("r1")).await;
    admitted(&node, with(&match_token("key"))).await;
    node.metric_becomes("signaling_auth_total{result=\"legacy\"}", 1.0)
        .await;
    let hello = json!({"type": "hello", "role": "player"});
    assert_eq!(
        v2::refused(&node, &hello).await,
        unauthorized(),
        "it knows of tokens"
    );
    assert_eq!(refused(&node, with(&match_token("other"))).await, unauthorized());
    assert_eq!(refused(&node, with("nonsense")).await, unauthorized());
    require_match_tokens(&node, LegacyPeers::Refuse);
    assert_eq!(refused(&node, Request::room("r1")).await, unauthorized());
}

/// A change of the settings, who comes in then, and who does not.
type Step<'a> = (&'a dyn Fn(), Request, Option<Request>);

/// Reload class `connection`: open connections keep what was in force when they came.
#[tokio::test]
async fn changed_settings_are_in_force_for_the_next_connection() {
    let (one, other) = (IssuerKey::ec("one"), IssuerKey::ec("other"));
    let (first, second) = (
        KeySetServer::start(&[&one]).await,
        KeySetServer::start(&[&other]).await,
    );
    let node = Node::memory().await;
    node.change(|settings| settings.rooms.capacity = 8);
    put_match_key(&node, "key", None);
    let by = |key: &IssuerKey| with(&key.token("ES256", &claims()));
    let steps: [Step<'_>; 5] = [
        (&|| (), Request::room("r1"), None),
        (
            &|| require_match_tokens(&node, LegacyPeers::Refuse),
            with(&match_token("key")),
            Some(Request::room("r1")),
        ),
        (
            &|| require_issuer(&node, &first),
            by(&one),
            Some(with(&match_token("key"))),
        ),
        (&|| require_issuer(&node, &second), by(&other), Some(by(&one))),
        (
            &|| node.change(|settings| settings.auth = AuthSettings::None),
            Request::room("r1"),
            None,
        ),
    ];
    let mut inside = Vec::new();
    for (number, (change, welcome, refusal)) in (1u32..).zip(steps) {
        change();
        if let Some(refusal) = refusal {
            assert_eq!(refused(&node, refusal).await, unauthorized(), "step {number}");
        }
        inside.push(Client::open(node.address, welcome).await);
        node.metric_becomes("signaling_active_connections", number.into())
            .await;
    }
    // Everybody who ever came in is still there.
    let (sender, others) = inside.split_first_mut().unwrap();
    sender.send(offer("hello")).await;
    for other in others {
        assert_eq!(other.hear().await, offer("hello"));
    }
    assert_eq!((first.requests(), second.requests()), (1, 1));
}
