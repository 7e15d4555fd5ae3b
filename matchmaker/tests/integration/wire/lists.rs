//! `GET /api/hosts` and `GET /api/hosts/ttl`

use berth_crds::api::HostListAccess;
use serde_json::{Value, json};

use crate::support::http::{Answer, get};
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

fn ids(answer: &Answer) -> Vec<String> {
    let hosts = answer.json();
    let id = |host: &Value| host["hostId"].as_str().unwrap().to_owned();
    hosts.as_array().unwrap().iter().map(id).collect()
}

#[tokio::test]
async fn pages_are_linked() {
    let served = Served::new().await;
    let strange = "b ü/&limit=1>";
    for name in ["a", "c", "d"] {
        served.seated_host(name).await;
    }
    served.join("b").await;
    served.heartbeat(&json!({"hostId": strange, "roomId": "b"})).await;
    served
        .heartbeat(&json!({"hostId": "busy", "roomId": "busy", "status": "busy"}))
        .await;
    for (path, names) in [
        ("/api/hosts", vec!["a", strange, "c", "d"]),
        ("/api/hosts/ttl", vec!["a", strange, "busy", "c", "d"]),
    ] {
        for limit in 1..=6 {
            let mut query = format!("?limit={limit}");
            let mut seen: Vec<String> = Vec::new();
            loop {
                let answer = get(&format!("{path}{query}")).send(served.public).await;
                let page = ids(&answer);
                assert!(
                    page.len() == limit || answer.header("link").is_none(),
                    "{path}{query}"
                );
                seen.extend(page);
                let Some(link) = answer.header("link") else { break };
                let target = link.strip_prefix('<').unwrap();
                query = target.strip_suffix(">; rel=\"next\"").unwrap().to_owned();
            }
            assert_eq!(seen, names, "{path} by {limit}");
        }
        assert_eq!(get(path).send(served.public).await.header("link"), None);
        let behind = get(&format!("{path}?after=c&other=1")).send(served.public).await;
        assert_eq!(
            (ids(&behind), behind.header("link")),
            (vec!["d".to_owned()], None)
        );
    }
    for limit in ["0", "1001", "x"] {
        let answer = get(&format!("/api/hosts?limit={limit}"))
            .send(served.public)
            .await;
        let issue = json!({
            "path": "limit", "message": "Invalid input: expected int from 1 to 1000", "code": "invalid_value",
        });
        let expected = json!({"success": false, "error": "Validation failed", "issues": [issue]});
        assert_eq!((answer.status, answer.json()), (400, expected));
    }
}

#[tokio::test]
async fn a_page_of_much_info_ends_early() {
    let served = Served::patient().await;
    // 4,096 bytes each: 1,024 of them are 4 MiB.
    let game = json!({"x": "y".repeat(4088)});
    for number in 0..1100 {
        let name = format!("h{number:04}");
        let body = json!({"hostId": name, "roomId": name, "gameInfo": game});
        assert_eq!(served.heartbeat(&body).await.status, 200);
    }
    let first = get("/api/hosts/ttl").send(served.public).await;
    let seen = ids(&first);
    assert!((1000..1025).contains(&seen.len()), "{}", seen.len());
    let query = format!("?after={}", seen.last().unwrap());
    assert_eq!(first.header("link"), Some(&*format!("<{query}>; rel=\"next\"")));
    let second = get(&format!("/api/hosts/ttl{query}")).send(served.public).await;
    assert_eq!(
        (ids(&second).len() + seen.len(), second.header("link")),
        (1100, None)
    );
}

#[tokio::test]
async fn an_internal_list_is_not_shown() {
    let served = Served::new().await;
    served.seated_host("a").await;
    let mut view = (*served.settings.get()).clone();
    view.pool.host_list_access = HostListAccess::Internal;
    served.settings.replace(view);
    for path in ["/api/hosts", "/api/hosts/ttl", "/api/hosts?limit=x"] {
        let answer = get(path).send(served.public).await;
        let expected = json!({"error": "Forbidden: the list of hosts is internal (spec.hostListAccess)"});
        assert_eq!((answer.status, answer.json()), (403, expected), "{path}");
    }
    assert_eq!(served.ask("/hosts").await.json()["hosts"][0]["hostId"], "a");
}
