//! How peers prove who they are. Each field is proven with a peer that the old value lets in and the new one would not: it stays,
//! and the next one like it is refused.

use std::time::Duration;

use axum::http::StatusCode;
use berth_crds::reload::ReloadClass;
use berth_crds::settings::{SecretRef, match_key_secret};
use berth_dataplane::secrets::Secret;
use berth_dataplane::testing::{IssuerKey, KeySetServer};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};

use super::{Live, Proof, talk};
use crate::auth::match_token;
use crate::refusals::unix_now;
use crate::support::{Client, Request, eventually, get};

/// Fields that are proven here.
pub(super) const PROVEN: &[Proof] = &[
    ("spec.auth.jwt.algorithm", ReloadClass::Connection, algorithm),
    ("spec.auth.jwt.algorithms", ReloadClass::Connection, algorithms),
    ("spec.auth.jwt.audience", ReloadClass::Connection, audience),
    ("spec.auth.jwt.issuer", ReloadClass::Connection, issuer),
    (
        "spec.auth.jwt.jwks.cacheSeconds",
        ReloadClass::Connection,
        cache_seconds,
    ),
    (
        "spec.auth.jwt.jwks.staleSeconds",
        ReloadClass::Connection,
        stale_seconds,
    ),
    (
        "spec.auth.jwt.leewaySeconds",
        ReloadClass::Connection,
        leeway_seconds,
    ),
    ("spec.auth.jwt.roomsClaim", ReloadClass::Connection, rooms_claim),
    ("spec.auth.legacyPeers", ReloadClass::Connection, legacy_peers),
    ("spec.environment", ReloadClass::Hot, environment),
];

const UNAUTHORIZED: (u16, &str) = (1008, "Unauthorized");
const FORBIDDEN: (u16, &str) = (1008, "Forbidden");

/// A handshake for the room `r1`.
fn with(token: &str) -> Request {
    Request::target(&format!("/?roomId=r1&token={token}"))
}

/// The same with a token that is signed with the shared key.
fn shared(algorithm: Algorithm, claims: &Value) -> Request {
    let key = EncodingKey::from_secret(b"key");
    with(&encode(&Header::new(algorithm), claims, &key).unwrap())
}

fn hs256(claims: &Value) -> Request {
    shared(Algorithm::HS256, claims)
}

/// A server that asks for tokens which are signed with the shared key.
async fn shared_key() -> Live {
    let mut live = Live::memory().await;
    let secret = SecretRef {
        name: "jwt".to_owned(),
        key: "current".to_owned(),
    };
    live.node.secrets.put(&secret, Secret::new("key").unwrap());
    live.set(&[
        ("spec.rooms.capacity", json!(8)),
        (
            "spec.auth",
            json!({"mode": "Jwt", "jwt": {"secretRef": {"name": "jwt"}}}),
        ),
    ]);
    live
}

/// Before the change `old` comes in and `new` is refused, after it the other way round, and who is inside stays.
async fn changes_hands(
    live: &mut Live,
    (old, new): (Request, Request),
    change: &[(&str, Value)],
    refusal: (u16, &str),
) {
    let mut before = live.is_seated(old.clone()).await;
    live.is_closed(new.clone(), refusal.0, refusal.1).await;
    live.set(change);
    live.is_closed(old, refusal.0, refusal.1).await;
    let mut after = live.is_seated(new).await;
    talk((&mut before, &mut after), "still here").await;
}

#[tokio::test]
async fn algorithm() {
    let mut live = shared_key().await;
    live.set(&[("spec.auth.jwt.algorithm", json!("HS256"))]);
    changes_hands(
        &mut live,
        (hs256(&json!({})), shared(Algorithm::HS384, &json!({}))),
        &[("spec.auth.jwt.algorithm", json!("HS384"))],
        UNAUTHORIZED,
    )
    .await;
}

#[tokio::test]
async fn algorithms() {
    let mut live = shared_key().await;
    live.set(&[("spec.auth.jwt.algorithms", json!(["HS256", "HS512"]))]);
    changes_hands(
        &mut live,
        (hs256(&json!({})), shared(Algorithm::HS384, &json!({}))),
        &[("spec.auth.jwt.algorithms", json!(["HS384", "HS512"]))],
        UNAUTHORIZED,
    )
    .await;
}

#[tokio::test]
async fn audience() {
    let mut live = shared_key().await;
    live.set(&[("spec.auth.jwt.audience", json!("one"))]);
    changes_hands(
        &mut live,
        (hs256(&json!({"aud": "one"})), hs256(&json!({"aud": "other"}))),
        &[("spec.auth.jwt.audience", json!("other"))],
        UNAUTHORIZED,
    )
    .await;
}

#[tokio::test]
async fn issuer() {
    let mut live = shared_key().await;
    live.set(&[("spec.auth.jwt.issuer", json!("one"))]);
    changes_hands(
        &mut live,
        (hs256(&json!({"iss": "one"})), hs256(&json!({"iss": "other"}))),
        &[("spec.auth.jwt.issuer", json!("other"))],
        UNAUTHORIZED,
    )
    .await;
}

#[tokio::test]
async fn rooms_claim() {
    let mut live = shared_key().await;
    live.set(&[("spec.auth.jwt.roomsClaim", json!("doors"))]);
    let opens = |claim: &str, otherwise: &str| hs256(&json!({claim: ["r1"], otherwise: ["r2"]}));
    changes_hands(
        &mut live,
        (opens("doors", "gates"), opens("gates", "doors")),
        &[("spec.auth.jwt.roomsClaim", json!("gates"))],
        FORBIDDEN,
    )
    .await;
}

#[tokio::test]
async fn leeway_seconds() {
    let mut live = shared_key().await;
    // Long beyond what this test takes.
    live.set(&[("spec.auth.jwt.leewaySeconds", json!(300))]);
    let expired = hs256(&json!({"exp": unix_now() - 1}));
    let mut before = live.is_seated(expired.clone()).await;
    live.set(&[("spec.auth.jwt.leewaySeconds", json!(0))]);
    live.is_closed(expired.clone(), 1008, "Unauthorized").await;
    // It ends when it would have ended before.
    let mut after = live.is_seated(hs256(&json!({}))).await;
    talk((&mut before, &mut after), "still here").await;
    live.set(&[("spec.auth.jwt.leewaySeconds", json!(300))]);
    live.is_seated(expired).await;
}

/// A server that asks for tokens of this issuer, and a peer that it has let in.
async fn published_keys(issuer: &KeySetServer, key: &IssuerKey, jwks: &[(&str, i32)]) -> (Live, Client) {
    let mut live = Live::memory().await;
    let mut set = json!({"url": issuer.url()});
    for (name, seconds) in jwks {
        set[name] = json!(seconds);
    }
    live.set(&[
        ("spec.rooms.capacity", json!(8)),
        ("spec.auth", json!({"mode": "Jwt", "jwt": {"jwks": set}})),
    ]);
    let client = live.is_seated(with(&key.token("ES256", &json!({})))).await;
    (live, client)
}

/// Waits until the key set is older than the shortest time after which it may be fetched again.
async fn ages(live: &Live) {
    eventually("the key set is old", || async {
        let (_, status) = get(live.node.internal, "/statusz").await;
        let status: Value = serde_json::from_str(&status).unwrap();
        let age = status["auth"]["keySet"]["ageMs"].as_u64()?;
        (Duration::from_millis(age) > Duration::from_secs(10)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn cache_seconds() {
    let key = IssuerKey::ec("k");
    let issuer = KeySetServer::start(&[&key]).await;
    let token = key.token("ES256", &json!({}));
    let (mut live, mut before) = published_keys(&issuer, &key, &[("cacheSeconds", 86_400)]).await;
    ages(&live).await;
    let _meanwhile = live.is_seated(with(&token)).await;
    assert_eq!(issuer.requests(), 1, "what was fetched is good for a day");
    live.set(&[("spec.auth.jwt.jwks.cacheSeconds", json!(10))]);
    // The old set is too old now: this one waits for a new one.
    let mut after = live.is_seated(with(&token)).await;
    assert_eq!(issuer.requests(), 2);
    talk((&mut before, &mut after), "still here").await;
}

#[tokio::test]
async fn stale_seconds() {
    let key = IssuerKey::ec("k");
    let issuer = KeySetServer::start(&[&key]).await;
    let token = key.token("ES256", &json!({}));
    let lives = [("cacheSeconds", 10), ("staleSeconds", 86_400)];
    let (mut live, mut before) = published_keys(&issuer, &key, &lives).await;
    issuer.answer(StatusCode::BAD_GATEWAY, "");
    ages(&live).await;
    let mut meanwhile = live.is_seated(with(&token)).await;
    live.set(&[("spec.auth.jwt.jwks.staleSeconds", json!(0))]);
    live.is_closed(with(&token), 1008, "Unauthorized").await;
    talk((&mut before, &mut meanwhile), "still here").await;
}

#[tokio::test]
async fn legacy_peers() {
    let mut live = Live::memory().await;
    let secret = match_key_secret("default").current;
    live.node.secrets.put(&secret, Secret::new("key").unwrap());
    let auth = |legacy: &str| ("spec.auth", json!({"mode": "MatchToken", "legacyPeers": legacy}));
    live.set(&[auth("Allow")]);
    let (mut host, mut player) = live.pair("r1").await;
    live.set(&[("spec.auth.legacyPeers", json!("Refuse"))]);
    live.is_closed(Request::room("r2"), 1008, "Unauthorized").await;
    talk((&mut host, &mut player), "still here").await;
    live.set(&[("spec.auth.legacyPeers", json!("Allow"))]);
    live.is_seated(Request::room("r2")).await;
}

/// Keys that everybody knows open doors in development alone, and who is inside stays. The matchmaker's secrets are judged
/// likewise (`matchmaker/tests/integration/secrets.rs`).
#[tokio::test]
async fn environment() {
    let key = EncodingKey::from_secret(b"change-me");
    let jwt = encode(&Header::new(Algorithm::HS256), &json!({}), &key).unwrap();
    let by_issuer = json!({"mode": "Jwt", "jwt": {"secretRef": {"name": "jwt"}}});
    for (auth, token, secret) in [
        (by_issuer, jwt, "Secret jwt "),
        (
            json!({"mode": "MatchToken"}),
            match_token("change-me"),
            "Secret default-match-key ",
        ),
    ] {
        let mut live = shared_key().await;
        for name in ["jwt", "default-match-key"] {
            let reference = SecretRef {
                name: name.to_owned(),
                key: "current".to_owned(),
            };
            live.node
                .secrets
                .put(&reference, Secret::new("change-me").unwrap());
        }
        live.set(&[("spec.auth", auth), ("spec.environment", json!("Development"))]);
        let mut before = live.is_seated(with(&token)).await;
        live.set(&[("spec.environment", json!("Production"))]);
        live.is_closed(with(&token), 1008, "Unauthorized").await;
        let (_, status) = get(live.node.internal, "/statusz").await;
        let auth = serde_json::from_str::<Value>(&status).unwrap()["auth"].clone();
        assert_eq!(auth["key"], false, "{auth}");
        let told = auth["placeholders"][0].as_str().unwrap();
        assert!(told.starts_with(secret) && !told.contains("change-me"), "{told}");
        live.set(&[("spec.environment", json!("Development"))]);
        let mut after = live.is_seated(with(&token)).await;
        talk((&mut before, &mut after), "still here").await;
    }
}
