//! `POST /api/match/find`

use berth_crds::api::{FailurePolicy, SharedSecretProvider, SharedSecretRef, TurnConfigSpec, TurnProvider};
use berth_crds::settings::{SecretRef, match_key_secret};
use berth_dataplane::match_token::{MatchKeys, Role};
use berth_dataplane::secrets::Secret;
use berth_dataplane::testing::RedisServer;
use serde_json::{Value, json};

use crate::support::http::post;
use crate::support::server::{Served, view};
use crate::support::until;

fn keys(answer: &Value) -> Vec<&str> {
    answer.as_object().unwrap().keys().map(String::as_str).collect()
}

fn now() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs()
}

#[tokio::test]
async fn answer_of_a_find() {
    let served = Served::new().await;
    served.seated_host("a").await;
    let answer = served.find(&json!({})).await;
    assert_eq!(answer.status, 200);
    let mut answer = answer.json();
    let id = answer.as_object_mut().unwrap().remove("matchId").unwrap();
    assert!(uuid::Uuid::try_parse(id.as_str().unwrap()).is_ok());
    assert!(answer.as_object_mut().unwrap().remove("resumeToken").is_some());
    let expected = json!({
        "found": true,
        "roomId": "room-a",
        "signalingUrl": "wss://signaling.example.com/ws",
        "iceServers": [{"urls": "stun:stun.l.google.com:19302"}],
    });
    assert_eq!(answer, expected);
}

#[tokio::test]
async fn a_body_is_not_needed() {
    let served = Served::new().await;
    for (number, body) in [
        None,
        Some(""),
        Some("  \n"),
        Some("{}"),
        Some(r#"{"region":"","hostId":""}"#),
    ]
    .into_iter()
    .enumerate()
    {
        served.seated_host(&format!("h{number}")).await;
        let request = post("/api/match/find");
        let answer = body
            .map_or(request.clone(), |body| request.text(body))
            .send(served.public)
            .await;
        assert_eq!(answer.status, 200, "{body:?}: {}", answer.body);
    }
}

#[tokio::test]
async fn nobody_there_or_nobody_fitting() {
    let served = Served::new().await;
    let none = json!({"found": false, "message": "No hosts available"});
    let not_fitting = json!({"found": false, "message": "No available hosts found matching criteria"});
    let answer = served.find(&json!({})).await;
    assert_eq!((answer.status, answer.json()), (404, none.clone()));
    served.seated_host("a").await;
    let answer = served.find(&json!({"hostId": "b"})).await;
    assert_eq!((answer.status, answer.json()), (404, not_fitting));
    let answer = served.find(&json!({"hostId": "a", "region": "anywhere"})).await;
    assert_eq!((answer.status, &answer.json()["roomId"]), (200, &json!("room-a")));
    let answer = served.find(&json!({})).await;
    assert_eq!(
        (answer.status, answer.json()),
        (404, none),
        "the only slot is granted"
    );
}

#[tokio::test]
async fn wrong_fields_are_named() {
    let served = Served::new().await;
    served.seated_host("a").await;
    let answer = served.find(&json!({"region": 1, "hostId": []})).await;
    let issue = |path: &str, found: &str| {
        let message = format!("Invalid input: expected string, received {found}");
        json!({"path": path, "message": message, "code": "invalid_type"})
    };
    let issues = [issue("region", "number"), issue("hostId", "array")];
    let expected = json!({"success": false, "error": "Validation failed", "issues": issues});
    assert_eq!((answer.status, answer.json()), (400, expected));
    for text in ["null", "[]", "\"x\"", "{", "{\"region\"}"] {
        let answer = post("/api/match/find").text(text).send(served.public).await;
        assert_eq!(
            (answer.status, &answer.json()["error"]),
            (400, &json!("Validation failed")),
            "{text}"
        );
    }
    assert_eq!(served.find(&json!({})).await.status, 200, "no slot was spent");
}

/// What hosts and pages of the Node services do: the host says `idle` for ever, the player joins and leaves.
#[tokio::test]
async fn a_whole_session() {
    let served = Served::new().await;
    served.seated_host("a").await;
    let found = served.find(&json!({})).await.json();
    assert_eq!(found["roomId"], "room-a");
    let again = json!({"hostId": "a", "roomId": "room-a", "status": "idle", "capacity": 1, "availableSlots": 1, "region": "local"});
    let free = async || {
        assert_eq!(served.heartbeat(&again).await.status, 200);
        served.find(&json!({})).await.status
    };
    assert_eq!(free().await, 404);
    let player = served.plays("room-a").await;
    assert_eq!((free().await, free().await), (404, 404));
    served.leave("room-a", player).await;
    assert_eq!(free().await, 200);
}

#[tokio::test]
async fn ice_servers_by_turn_config() {
    let provider = TurnProvider {
        name: "coturn".to_owned(),
        shared_secret: Some(SharedSecretProvider {
            urls: vec!["turn:turn.example.com:3478?transport=udp".to_owned()],
            secret_ref: SharedSecretRef {
                name: "coturn".to_owned(),
                key: None,
            },
        }),
        fixed: None,
        metered: None,
    };
    let turn = TurnConfigSpec {
        stun_urls: vec!["stun:stun.example.com:3478".to_owned()],
        providers: vec![provider],
        credential_ttl_seconds: 600,
        failure_policy: FailurePolicy::StunOnly,
        ..TurnConfigSpec::default()
    };
    let served = Served::with(view(Some(turn))).await;
    served.seated_host("a").await;
    served.seated_host("b").await;
    let stun = json!({"urls": "stun:stun.example.com:3478"});
    let found = served.find(&json!({})).await.json();
    assert_eq!(
        found["iceServers"],
        json!([stun]),
        "a provider without its secret is left out"
    );

    let reference = SecretRef {
        name: "coturn".to_owned(),
        key: "secret".to_owned(),
    };
    served.secrets.put(&reference, Secret::new("north").unwrap());
    let found = served.find(&json!({})).await.json();
    let servers = &found["iceServers"];
    assert_eq!(
        (&servers[0], &servers[1]["urls"]),
        (&stun, &json!("turn:turn.example.com:3478?transport=udp"))
    );
    let (expiry, user) = servers[1]["username"].as_str().unwrap().split_once(':').unwrap();
    assert_eq!(user, found["matchId"].as_str().unwrap());
    assert!((now() + 500..=now() + 600).contains(&expiry.parse().unwrap()));
    assert_eq!(servers[1]["credential"].as_str().unwrap().len(), 28);
}

#[tokio::test]
async fn players_get_a_match_token_where_there_is_a_key() {
    let served = Served::new().await;
    served.seated_host("a").await;
    served.secrets.put(
        &match_key_secret("main").current,
        Secret::new("match-key").unwrap(),
    );
    let found = served.find(&json!({})).await.json();
    assert_eq!(
        keys(&found),
        [
            "found",
            "iceServers",
            "matchId",
            "matchToken",
            "resumeToken",
            "roomId",
            "signalingUrl"
        ]
    );
    let tokens = MatchKeys::from_store(&served.secrets, &served.settings.load().cluster).unwrap();
    let claims = tokens
        .verify(found["matchToken"].as_str().unwrap(), now())
        .unwrap();
    assert_eq!(
        (claims.room.as_str(), claims.role, claims.pool.as_str()),
        ("room-a", Role::Player, "games/eu")
    );
    assert_eq!(claims.id, found["matchId"].as_str().unwrap());
}

#[tokio::test]
async fn while_redis_is_away_clients_are_told_at_once() {
    let mut redis = RedisServer::start();
    let served = Served::on_redis(&redis).await;
    served.seated_host("a").await;
    redis.kill();
    for _ in 0..5 {
        let answer = served.find(&json!({})).await;
        assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")));
        assert_eq!(answer.json(), json!({"error": "Service temporarily unavailable"}));
    }
    for path in ["/api/hosts", "/api/hosts/ttl"] {
        assert_eq!(
            crate::support::http::get(path).send(served.public).await.status,
            503,
            "{path}"
        );
    }
    redis.restart();
    until("finds are answered again", || async {
        served.find(&json!({})).await.status == 404
    })
    .await;
}

#[tokio::test]
async fn finds_of_one_client_are_limited() {
    let mut view = view(None);
    view.pool.finds_per_ip = 3;
    view.pool.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
    let served = Served::with(view).await;
    let ask = async |client: &str| {
        let request = post("/api/match/find").header("x-forwarded-for", client);
        request.send(served.public).await
    };
    for _ in 0..3 {
        assert_eq!(ask("192.0.2.1").await.status, 404);
    }
    let refused = ask("192.0.2.1").await;
    assert_eq!(refused.status, 429);
    assert_eq!(
        refused.json(),
        json!({"found": false, "message": "Too many requests"})
    );
    // A third of ten seconds, rounded up.
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=4).contains(&wait), "{wait}");
    // Another client is not concerned, and whoever invents an address before a proxy's is himself.
    assert_eq!(ask("192.0.2.2").await.status, 404);
    assert_eq!(ask("198.51.100.7, 192.0.2.1").await.status, 429);

    // Without a trusted proxy, what a client says of itself does not count.
    let mut changed = (*served.settings.get()).clone();
    changed.pool.trusted_proxies.clear();
    served.settings.replace(changed);
    let answers = [
        ask("1.1.1.1").await,
        ask("2.2.2.2").await,
        ask("3.3.3.3").await,
        ask("4.4.4.4").await,
    ];
    assert_eq!(answers.map(|answer| answer.status), [404, 404, 404, 429]);
}

#[tokio::test]
async fn a_drained_pool_hands_nobody_out() {
    let served = Served::new().await;
    served.seated_host("a").await;
    served.seated_host("b").await;
    served.join("away").await;
    served
        .heartbeat(&json!({"hostId": "away", "roomId": "nobody-there"}))
        .await;
    let found = served.find(&json!({"hostId": "a"})).await;
    assert_eq!(found.status, 200);
    let drain = |drain: bool| {
        let mut view = (*served.settings.get()).clone();
        view.pool.drain = drain;
        served.settings.replace(view);
    };
    drain(true);
    for body in [json!({}), json!({"hostId": "b"})] {
        let answer = served.find(&body).await;
        assert_eq!(
            (answer.status, answer.json()),
            (404, json!({"found": false, "message": "Pool is draining"}))
        );
    }
    assert_eq!(served.find(&json!({"region": 1})).await.status, 400);
    served.seated_host("c").await;
    let counts = served.ask("/counts").await.json();
    assert_eq!(
        counts["hosts"],
        json!({"total": 4, "idle": 0, "busy": 0, "allocated": 0, "draining": 3, "unreachable": 1})
    );
    assert_eq!(
        (&counts["slots"], &counts["regions"]["local"]),
        (
            &json!({"total": 4, "available": 0, "taken": 1}),
            &json!({"hosts": 4, "states": {"draining": 3, "unreachable": 1}, "slots": 4, "availableSlots": 0})
        )
    );
    let hosts = served.ask("/hosts?state=draining").await.json()["hosts"].clone();
    let names: Vec<_> = hosts
        .as_array()
        .unwrap()
        .iter()
        .map(|host| &host["hostId"])
        .collect();
    assert_eq!(names, ["a", "b", "c"]);
    assert_eq!(served.ask("/statusz").await.json()["pool"]["drain"], true);
    let listed = crate::support::http::get("/api/hosts").send(served.public).await;
    assert_eq!(listed.json(), json!([]));
    let metrics = served.ask("/metrics").await.body;
    for line in [
        "berth_finds_total{result=\"draining\"} 2",
        "berth_hosts{state=\"draining\"} 3",
        "berth_hosts{state=\"idle\"} 0",
        "berth_slots{kind=\"free\"} 0",
    ] {
        assert!(
            metrics.lines().any(|other| other == line),
            "{line} missing in\n{metrics}"
        );
    }
    // The end of it needs no heartbeat.
    drain(false);
    assert_eq!(served.find(&json!({"hostId": "b"})).await.status, 200);
    assert_eq!(served.ask("/counts").await.json()["hosts"]["idle"], 1);
}
