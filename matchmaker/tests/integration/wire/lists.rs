//! `GET /api/hosts` and `GET /api/hosts/ttl`

use serde_json::{Value, json};

use crate::support::http::get;
use crate::support::server::Served;

async fn list(served: &Served, path: &str) -> Vec<Value> {
    let answer = get(path).send(served.public).await;
    assert_eq!(answer.status, 200);
    answer.json().as_array().expect("a bare array").clone()
}

#[tokio::test]
async fn hosts_with_a_free_slot() {
    let served = Served::new().await;
    assert_eq!(list(&served, "/api/hosts").await, [] as [Value; 0]);
    served.join("r").await;
    let body = json!({"hostId": "h", "roomId": "r", "region": "eu", "capacity": 4, "availableSlots": 3});
    served.heartbeat(&body).await;
    let mut hosts = list(&served, "/api/hosts").await;
    let last = hosts[0].as_object_mut().unwrap().remove("lastHeartbeat").unwrap();
    let expected = json!({
        "hostId": "h", "roomId": "r", "region": "eu", "status": "idle", "capacity": 4, "availableSlots": 3,
    });
    assert_eq!(hosts, [expected]);
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_millis();
    let age = now - u128::from(last.as_u64().unwrap());
    assert!(age < 60_000, "{age} ms ago");

    served.find(&json!({})).await;
    assert_eq!(list(&served, "/api/hosts").await[0]["availableSlots"], 2);
    for _ in 0..2 {
        served.find(&json!({})).await;
    }
    assert_eq!(list(&served, "/api/hosts").await, [] as [Value; 0]);
}

#[tokio::test]
async fn hosts_that_are_away_or_busy_are_not_listed() {
    let served = Served::new().await;
    served
        .heartbeat(&json!({"hostId": "away", "roomId": "away"}))
        .await;
    served.join("busy").await;
    served
        .heartbeat(&json!({"hostId": "busy", "roomId": "busy", "status": "busy"}))
        .await;
    served.seated_host("free").await;
    let hosts = list(&served, "/api/hosts").await;
    assert_eq!(
        hosts.iter().map(|host| &host["hostId"]).collect::<Vec<_>>(),
        ["free"]
    );
}

#[tokio::test]
async fn ttls_of_all_hosts() {
    let served = Served::new().await;
    assert_eq!(list(&served, "/api/hosts/ttl").await, [] as [Value; 0]);
    served.seated_host("a").await;
    served
        .heartbeat(&json!({"hostId": "b", "roomId": "b", "status": "busy"}))
        .await;
    let ttls = list(&served, "/api/hosts/ttl").await;
    assert_eq!(
        ttls.iter().map(|host| &host["hostId"]).collect::<Vec<_>>(),
        ["a", "b"]
    );
    for host in ttls {
        assert_eq!(host.as_object().unwrap().len(), 2);
        assert!((1..=30).contains(&host["ttlSeconds"].as_u64().unwrap()), "{host}");
    }
}
