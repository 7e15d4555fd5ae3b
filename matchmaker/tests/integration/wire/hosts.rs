//! `POST /api/host/status` and `DELETE /api/host/{id}`

use berth_dataplane::testing::RedisServer;
use serde_json::{Value, json};

use crate::support::http::{Answer, delete, get, post};
use crate::support::server::{SECRET, Served};

async fn says(served: &Served, body: &Value) -> Answer {
    post("/api/host/status")
        .bearer(SECRET)
        .json(body)
        .send(served.public)
        .await
}

async fn leaves(served: &Served, path: &str) -> Answer {
    delete(path).bearer(SECRET).send(served.public).await
}

fn unknown() -> Value {
    let issue = json!({"path": "hostId", "message": "No host of this id is alive", "code": "unknown"});
    json!({"success": false, "error": "Not found", "issues": [issue]})
}

async fn state(served: &Served, host: &str) -> Value {
    let hosts = served.ask("/hosts").await.json()["hosts"].clone();
    let found = hosts
        .as_array()
        .unwrap()
        .iter()
        .find(|other| other["hostId"] == host);
    found.map_or(Value::Null, |host| host["state"].clone())
}

#[tokio::test]
async fn a_host_says_how_it_goes_on() {
    let served = Served::new().await;
    served.seated_host("a").await;
    for (status, expected, found) in [
        ("busy", "busy", 404),
        ("allocated", "busy", 404),
        ("draining", "draining", 404),
        ("idle", "idle", 200),
    ] {
        let answer = says(&served, &json!({"hostId": "a", "status": status})).await;
        assert_eq!((answer.status, answer.json()), (200, json!({"success": true})));
        assert_eq!(state(&served, "a").await, expected, "{status}");
        assert_eq!(served.find(&json!({})).await.status, found, "{status}");
    }
    let answer = says(&served, &json!({"hostId": "a", "status": "offline"})).await;
    assert_eq!((answer.status, answer.json()), (200, json!({"success": true})));
    assert_eq!(state(&served, "a").await, Value::Null);
    for status in ["offline", "idle"] {
        let answer = says(&served, &json!({"hostId": "a", "status": status})).await;
        assert_eq!((answer.status, answer.json()), (404, unknown()), "{status}");
    }
}

#[tokio::test]
async fn a_plain_heartbeat_ends_the_drain_of_a_host() {
    let served = Served::new().await;
    served.seated_host("a").await;
    let draining = json!({"hostId": "a", "roomId": "room-a", "status": "draining"});
    assert_eq!(served.heartbeat(&draining).await.status, 200);
    assert_eq!(served.find(&json!({})).await.status, 404);
    served
        .heartbeat(&json!({"hostId": "a", "roomId": "room-a"}))
        .await;
    assert_eq!(served.find(&json!({})).await.status, 200);
}

#[tokio::test]
async fn wrong_words_are_named() {
    let served = Served::new().await;
    let answer = says(&served, &json!({"hostId": "", "status": "away"})).await;
    let allowed = r#""idle"|"busy"|"allocated"|"draining"|"offline""#;
    let expected = json!([
        {"path": "hostId", "message": "Too small: expected string to have >=1 characters", "code": "too_small"},
        {"path": "status", "message": format!("Invalid option: expected one of {allowed}"), "code": "invalid_value"},
    ]);
    assert_eq!((answer.status, &answer.json()["issues"]), (400, &expected));
    let answer = says(&served, &json!({"hostId": "a"})).await;
    assert_eq!(
        (answer.status, &answer.json()["issues"][0]["path"]),
        (400, &json!("status"))
    );
}

#[tokio::test]
async fn a_host_leaves() {
    let served = Served::new().await;
    served.seated_host("a").await;
    served.find(&json!({})).await;
    let answer = leaves(&served, "/api/host/a").await;
    assert_eq!((answer.status, answer.body.as_str()), (204, ""));
    let answer = leaves(&served, "/api/host/a").await;
    assert_eq!((answer.status, answer.json()), (404, unknown()));
    assert_eq!(get("/api/hosts/ttl").send(served.public).await.json(), json!([]));
    let metrics = served.ask("/metrics").await.body;
    for line in [
        "berth_reservations_total{outcome=\"host_left\"} 1",
        "berth_reservations_total{outcome=\"host_lost\"} 0",
        "berth_hosts_left_total 1",
        "berth_hosts_lost_total 0",
    ] {
        assert!(
            metrics.lines().any(|other| other == line),
            "{line} missing in\n{metrics}"
        );
    }
    let strange = "a/b ü?";
    served.heartbeat(&json!({"hostId": strange, "roomId": "r"})).await;
    assert_eq!(leaves(&served, "/api/host/a%2Fb%20%C3%BC%3F").await.status, 204);
}

#[tokio::test]
async fn the_secret_is_asked_for() {
    let served = Served::new().await;
    served.seated_host("a").await;
    for (secret, status) in [(None, 401), (Some("wrong"), 403)] {
        for request in [
            delete("/api/host/a"),
            post("/api/host/status").json(&json!({"hostId": "a", "status": "offline"})),
        ] {
            let request = match secret {
                Some(secret) => request.bearer(secret),
                None => request,
            };
            assert_eq!(request.send(served.public).await.status, status);
        }
    }
    assert_eq!(state(&served, "a").await, "idle");
}

#[tokio::test]
async fn while_redis_is_away_hosts_are_told_at_once() {
    let mut redis = RedisServer::start();
    let served = Served::on_redis(&redis).await;
    served.seated_host("a").await;
    redis.kill();
    for answer in [
        says(&served, &json!({"hostId": "a", "status": "draining"})).await,
        leaves(&served, "/api/host/a").await,
    ] {
        assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")));
    }
}
