//! `POST /api/host/heartbeat`

use berth_crds::settings::match_key_secret;
use berth_dataplane::match_token::{MatchKeys, Role};
use berth_dataplane::secrets::Secret;
use berth_dataplane::testing::RedisServer;
use serde_json::{Value, json};

use crate::support::http::{get, post};
use crate::support::server::{SECRET, Served};
use crate::support::until;

fn body() -> Value {
    json!({"hostId": "h", "roomId": "r"})
}

#[tokio::test]
async fn answer_of_a_heartbeat() {
    let served = Served::new().await;
    let answer = served.heartbeat(&body()).await;
    assert_eq!(
        (answer.status, answer.json()),
        (200, json!({"success": true, "ttl": 30, "reservations": []}))
    );
    let everything = json!({
        "hostId": "h", "roomId": "r", "region": "us-east-1", "status": "idle", "capacity": 4, "availableSlots": 2,
        "publicIp": "192.0.2.1", "gameInfo": {"name": "x", "specs": []},
    });
    assert_eq!(
        served.heartbeat(&everything).await.json(),
        json!({"success": true, "ttl": 30, "reservations": []})
    );
    let bare = post("/api/host/heartbeat")
        .bearer(SECRET)
        .text(&body().to_string())
        .send(served.public)
        .await;
    assert_eq!(bare.status, 200, "a content type is not needed");
}

#[tokio::test]
async fn who_may_register() {
    let served = Served::new().await;
    let missing = json!({"success": false, "error": "Unauthorized: Missing or invalid Authorization header"});
    let wrong = json!({"success": false, "error": "Forbidden: Invalid host secret"});
    let heartbeat = || post("/api/host/heartbeat").json(&body());
    for (authorization, status, answer) in [
        (None, 401, &missing),
        (Some(""), 401, &missing),
        (Some("Bearer"), 401, &missing),
        (Some("Bearer "), 401, &missing),
        (Some("Basic aG9zdC1zZWNyZXQ="), 401, &missing),
        (Some(SECRET), 401, &missing),
        (Some("Bearer host-secre"), 403, &wrong),
        (Some("Bearer host-secret2"), 403, &wrong),
        (Some("Bearer HOST-SECRET"), 403, &wrong),
    ] {
        let request = match authorization {
            Some(value) => heartbeat().header("Authorization", value),
            None => heartbeat(),
        };
        let seen = request.send(served.public).await;
        assert_eq!((seen.status, &seen.json()), (status, answer), "{authorization:?}");
        let challenge = (status == 401).then_some("Bearer");
        assert_eq!(seen.header("www-authenticate"), challenge, "{authorization:?}");
    }
    let accepted = heartbeat()
        .header("authorization", "bearer  host-secret ")
        .send(served.public)
        .await;
    assert_eq!(accepted.status, 200);
}

#[tokio::test]
async fn the_secret_is_looked_at_before_anything_else() {
    let served = Served::new().await;
    for path in ["/api/host/heartbeat", "/api/host/nothing", "/api/host"] {
        assert_eq!(
            post(path).text("{").send(served.public).await.status,
            401,
            "{path}"
        );
        assert_eq!(
            post(path)
                .bearer("wrong")
                .text("{")
                .send(served.public)
                .await
                .status,
            403,
            "{path}"
        );
    }
    assert_eq!(get("/api/host/heartbeat").send(served.public).await.status, 401);
    assert_eq!(
        post("/api/host/heartbeat")
            .text(&"x".repeat(70_000))
            .send(served.public)
            .await
            .status,
        401
    );
    assert_eq!(
        get("/api/hosts").send(served.public).await.status,
        200,
        "another path"
    );
}

#[tokio::test]
async fn secrets_rotate_without_a_refused_heartbeat() {
    let served = Served::new().await;
    let status = async |secret: &str| {
        post("/api/host/heartbeat")
            .bearer(secret)
            .json(&body())
            .send(served.public)
            .await
            .status
    };
    served.host_secret(Some("new"), Some(SECRET));
    assert_eq!((status("new").await, status(SECRET).await), (200, 200));
    served.host_secret(Some("new"), None);
    assert_eq!((status("new").await, status(SECRET).await), (200, 403));
    served.host_secret(None, None);
    assert_eq!(status("new").await, 403);
    assert_eq!(status("").await, 401);
}

#[tokio::test]
async fn wrong_fields_are_named() {
    let served = Served::new().await;
    let answer = served
        .heartbeat(&json!({"hostId": "", "status": "offline", "capacity": 0}))
        .await;
    let issue =
        |path: &str, message: &str, code: &str| json!({"path": path, "message": message, "code": code});
    let expected = json!({"success": false, "error": "Validation failed", "issues": [
        issue("hostId", "Too small: expected string to have >=1 characters", "too_small"),
        issue("roomId", "Invalid input: expected string, received undefined", "invalid_type"),
        issue("status", "Invalid option: expected one of \"idle\"|\"busy\"|\"allocated\"|\"draining\"", "invalid_value"),
        issue("capacity", "Too small: expected number to be >0", "too_small"),
    ]});
    assert_eq!((answer.status, answer.json()), (400, expected));
    for (text, path, code) in [
        ("", "", "invalid_type"),
        ("[]", "", "invalid_type"),
        ("{\"hostId\":", "", "invalid_json"),
    ] {
        let answer = post("/api/host/heartbeat")
            .bearer(SECRET)
            .text(text)
            .send(served.public)
            .await;
        let issues = answer.json()["issues"].clone();
        assert_eq!(
            (answer.status, &issues[0]["path"], &issues[0]["code"]),
            (400, &json!(path), &json!(code)),
            "{text}"
        );
    }
}

#[tokio::test]
async fn room_ids_follow_the_rule_of_signaling() {
    let served = Served::new().await;
    for (room, status) in [("A-z_0:9.", 200), ("a room", 400), ("room/1", 400), ("", 400)] {
        let answer = served.heartbeat(&json!({"hostId": "h", "roomId": room})).await;
        assert_eq!(answer.status, status, "{room}");
        assert!(
            status == 200 || answer.json()["issues"][0]["path"] == "roomId",
            "{}",
            answer.body
        );
    }
    let longest = served.settings.load().cluster.rooms.id_max_length;
    let status = async |length| {
        served
            .heartbeat(&json!({"hostId": "h", "roomId": "r".repeat(length)}))
            .await
            .status
    };
    assert_eq!((status(longest).await, status(longest + 1).await), (200, 400));
}

#[tokio::test]
async fn one_room_belongs_to_one_live_host() {
    let served = Served::new().await;
    served.heartbeat(&body()).await;
    let answer = served.heartbeat(&json!({"hostId": "other", "roomId": "r"})).await;
    let issue = json!({"path": "roomId", "message": "Host h is alive in this room", "code": "taken"});
    let expected = json!({"success": false, "error": "Conflict", "issues": [issue]});
    assert_eq!((answer.status, answer.json()), (409, expected));
}

#[tokio::test]
async fn settings_count_from_the_next_heartbeat_on() {
    let served = Served::new().await;
    let mut view = (*served.settings.get()).clone();
    view.pool.heartbeat_ttl = std::time::Duration::from_secs(45);
    view.pool.default_capacity = 3;
    served.settings.replace(view);
    served.join("r").await;
    assert_eq!(served.heartbeat(&body()).await.json()["ttl"], 45);
    let hosts = get("/api/hosts").send(served.public).await.json();
    assert_eq!(
        (&hosts[0]["capacity"], &hosts[0]["availableSlots"]),
        (&json!(3), &json!(3))
    );
}

#[tokio::test]
async fn what_hosts_tell_of_themselves() {
    let served = Served::new().await;
    served.join("r").await;
    let info = json!({
        "publicIp": "192.0.2.1", "gameInfo": {"name": "x", "specs": [{"gpu": null}]}, "fqdn": "h.example.com",
        "ports": {"game": {"port": 7777, "protocol": "UDP"}}, "location": {"city": "Oslo", "country": "Norway"},
    });
    let beat = async |info: &Value| {
        let mut body = body();
        body.as_object_mut()
            .unwrap()
            .extend(info.as_object().unwrap().clone());
        served.heartbeat(&body).await
    };
    assert_eq!(beat(&info).await.status, 200);
    let listed = get("/api/hosts").send(served.public).await.json();
    let inside = served.ask("/hosts").await.json();
    for shown in [&listed[0], &inside["hosts"][0]] {
        for (name, value) in info.as_object().unwrap() {
            assert_eq!(&shown[name], value, "{name}");
        }
    }
    // What hosts of the field may send is left out where it does not fit, and what came with Berth is not.
    let strange = json!({"publicIp": "my-host", "gameInfo": {"x": "y".repeat(5000)}});
    assert_eq!(beat(&strange).await.status, 200);
    let listed = get("/api/hosts").send(served.public).await.json();
    assert_eq!(listed[0].as_object().unwrap().len(), 7, "{listed}");
    let metrics = served.ask("/metrics").await.body;
    for name in ["publicIp", "gameInfo"] {
        let line = format!("berth_heartbeat_fields_dropped_total{{field=\"{name}\"}} 1\n");
        assert!(metrics.contains(&line), "{line}");
    }
    let refused = beat(&json!({"ports": {"game": {"port": 0}}, "fqdn": "a b"})).await;
    let issues = refused.json()["issues"].clone();
    let paths: Vec<&Value> = issues
        .as_array()
        .unwrap()
        .iter()
        .map(|issue| &issue["path"])
        .collect();
    assert_eq!(
        (refused.status, paths),
        (
            400,
            vec![
                &json!("fqdn"),
                &json!("ports.game.port"),
                &json!("ports.game.protocol")
            ]
        )
    );
}

#[tokio::test]
async fn the_documented_heartbeat_is_kept_whole() {
    let page = include_str!("../../../../docs/hosts.md");
    let (_, rest) = page.split_once("```json heartbeat\n").unwrap();
    let (text, _) = rest.split_once("```").unwrap();
    let body: Value = serde_json::from_str(text).unwrap();
    let served = Served::new().await;
    served.join(body["roomId"].as_str().unwrap()).await;
    assert_eq!(served.heartbeat(&body).await.status, 200);
    let hosts = get("/api/hosts").send(served.public).await.json();
    for (name, value) in body.as_object().unwrap() {
        assert_eq!(&hosts[0][name], value, "{name}");
    }
}

#[tokio::test]
async fn hosts_get_a_match_token_where_there_is_a_key() {
    let served = Served::new().await;
    served.secrets.put(
        &match_key_secret("main").current,
        Secret::new("match-key").unwrap(),
    );
    let answer = served.heartbeat(&body()).await.json();
    let keys = MatchKeys::from_store(&served.secrets, &served.settings.load().cluster).unwrap();
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs();
    let claims = keys.verify(answer["matchToken"].as_str().unwrap(), now).unwrap();
    assert_eq!(
        (claims.room.as_str(), claims.role, claims.id.as_str()),
        ("r", Role::Host, "h")
    );
    assert_eq!((claims.pool.as_str(), claims.exp - claims.iat), ("games/eu", 90));
}

#[tokio::test]
async fn while_redis_is_away_a_heartbeat_is_kept() {
    let mut redis = RedisServer::start();
    let served = Served::on_redis(&redis).await;
    redis.kill();
    // Whom it reserved for whom, nobody knows now.
    let answer = served.heartbeat(&body()).await;
    assert_eq!(
        (answer.status, answer.json()),
        (200, json!({"success": true, "ttl": 30}))
    );
    redis.restart();
    until("the host is known without a further heartbeat", || async {
        served.ask("/counts").await.json()["hosts"]["total"] == 1
    })
    .await;
}
