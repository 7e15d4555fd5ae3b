//! Tokens of peers that speak v2: they come in the `hello`, and a lost connection comes back with another one.

use berth_crds::api::LegacyPeers;
use berth_dataplane::testing::{IssuerKey, KeySetServer};
use serde_json::{Value, json};

use super::{
    claims, claims_with, forbidden, match_token, put_match_key, require_issuer, require_match_tokens,
    unauthorized,
};
use crate::refusals::unix_now;
use crate::support::v2::{Peer, request};
use crate::support::{Client, Node, RedisServer};

/// How the server closes a connection that begins with this `hello`.
pub(super) async fn refused(node: &Node, hello: &Value) -> (u16, String) {
    let mut client = Client::open(node.address, request("r1")).await;
    client.send(hello.to_string()).await;
    client.closed().await
}

#[tokio::test]
async fn peers_bring_their_token_in_their_hello() {
    let node = Node::memory().await;
    require_match_tokens(&node, LegacyPeers::Refuse);
    put_match_key(&node, "key", None);
    let token = match_token("key");
    let hello = json!({"type": "hello", "role": "player", "token": token});
    let client = Client::open(node.address, request("r1")).await;
    let player = Peer::greet(client, "r1", "player", &hello).await;
    // The token decides about the role.
    let host = json!({"type": "hello", "role": "host", "token": token});
    assert_eq!(refused(&node, &host).await, forbidden());
    // The token has served its purpose: the seat is opened by its own secret, as long as it is there, and by no other.
    let resumed = player.lose().resume(&node).await;
    assert_eq!(resumed.hello["resumed"], true);
    let mut as_host = resumed.lose().hello();
    let stranger =
        json!({"type": "hello", "role": "player", "resume": {"token": "A".repeat(43), "heard": {}}});
    assert_eq!(refused(&node, &stranger).await, unauthorized());
    as_host["role"] = json!("host");
    assert_eq!(refused(&node, &as_host).await, unauthorized());
    as_host["role"] = json!("player");
    as_host["token"] = json!("nonsense");
    assert_eq!(refused(&node, &as_host).await, unauthorized());
}

/// The end of a token ends a connection, and not the session: the client brings the next token to the seat that it has.
#[tokio::test]
async fn an_expired_token_costs_the_connection_and_not_the_seat() {
    let key = IssuerKey::ec("k");
    let issuer = KeySetServer::start(&[&key]).await;
    let redis = RedisServer::start();
    let (one, two) = (Node::on(&redis, "i1").await, Node::on(&redis, "i2").await);
    for node in [&one, &two] {
        require_issuer(node, &issuer);
    }
    let hello = |role: &str, claims: &Value| json!({"type": "hello", "role": role, "token": key.token("ES256", claims)});
    let client = Client::open(two.address, request("r1")).await;
    let mut host = Peer::greet(client, "r1", "host", &hello("host", &claims())).await;
    let client = Client::open(one.address, request("r1")).await;
    let expiry = unix_now() + 8;
    let brief = hello("player", &claims_with("exp", expiry));
    let mut player = Peer::greet(client, "r1", "player", &brief).await;
    let (host_id, player_id) = (host.id(), player.id());
    assert_eq!(host.hear_type("peer-joined").await["resumed"], false);
    player.offer().await;
    host.hear_up_to(&player_id, 1).await;
    assert_eq!(player.hear_type("error").await["code"], "unauthorized");
    assert_eq!(player.client.closed().await, unauthorized());
    assert!(unix_now() >= expiry, "closed too early");
    // Nothing else comes between: it has not left.
    let away = host.hear().await;
    assert_eq!(
        (&away["type"], &away["peer"]["id"]),
        (&json!("peer-reconnecting"), &json!(player_id))
    );
    host.offer().await;
    let lost = player.lose();
    let mut again = lost.hello();
    again["token"] = brief["token"].clone();
    let refused = lost.try_resume(&one, &again).await.err().expect("a refusal");
    assert_eq!(refused["code"], "unauthorized");
    again["token"] = hello("player", &claims())["token"].clone();
    let mut player = lost
        .try_resume(&one, &again)
        .await
        .unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(player.hello["resumed"], true);
    assert_eq!(player.id(), player_id);
    player.hear_up_to(&host_id, 1).await;
    loop {
        let heard = host.hear().await;
        match heard["type"].as_str() {
            Some("ack") => {}
            Some("peer-joined") => {
                assert_eq!(heard["resumed"], true, "{heard}");
                break;
            }
            _ => panic!("{heard}"),
        }
    }
    player.offer().await;
    host.hear_up_to(&player_id, 2).await;
}
