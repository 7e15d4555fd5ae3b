//! The internal port: counts, hosts in all states, readiness, status, metrics.

use berth_dataplane::testing::RedisServer;
use serde_json::json;

use crate::support::http::{Request, delete, post};
use crate::support::server::{SECRET, Served};
use crate::support::until;

#[tokio::test]
async fn counts_for_the_operator() {
    let served = Served::new().await;
    served.seated_host("a").await;
    served.seated_host("b").await;
    served
        .heartbeat(&json!({"hostId": "away", "roomId": "away", "region": "eu", "capacity": 2}))
        .await;
    served.find(&json!({})).await;
    let answer = served.ask("/counts").await;
    let expected = json!({
        "pool": "games/eu",
        "hosts": {"total": 3, "idle": 1, "busy": 0, "allocated": 1, "unreachable": 1, "draining": 0},
        "slots": {"total": 4, "available": 1, "taken": 1},
        "regions": {
            "local": {"hosts": 2, "states": {"idle": 1, "allocated": 1}, "slots": 2, "availableSlots": 1},
            "eu": {"hosts": 1, "states": {"unreachable": 1}, "slots": 2, "availableSlots": 0},
        },
        "occupancyKnown": true,
        "demand": [],
    });
    assert_eq!((answer.status, answer.json()), (200, expected));
    for path in ["/counts", "/hosts", "/statusz"] {
        let answer = crate::support::http::get(path).send(served.public).await;
        assert_eq!(answer.status, 404, "{path} is not for the public");
    }
}

/// What players could not get, by the region that they asked for.
#[tokio::test]
async fn demand_is_counted_by_region() {
    let served = Served::new().await;
    let refuse = async |body: serde_json::Value| assert_eq!(served.find(&body).await.status, 404, "{body}");
    for body in [json!({}), json!({"region": "eu"}), json!({"region": "eu"})] {
        refuse(body).await;
    }
    // That one host is not there is no want of hosts.
    refuse(json!({"hostId": "b", "region": "eu"})).await;
    let told = served.ask("/counts").await.json();
    let expected = json!([{"region": "eu", "refused": 2}, {"region": "any", "refused": 1}]);
    assert_eq!(told["demand"], expected);
    served.seated_host("a").await;
    assert_eq!(
        served.find(&json!({"region": "eu"})).await.status,
        200,
        "another region serves"
    );
    refuse(json!({"region": "eu"})).await;
    let told = served.ask("/counts").await.json();
    assert_eq!(told["demand"][0], json!({"region": "eu", "refused": 3}));
    let metrics = served.ask("/metrics").await.body;
    for line in [
        "berth_finds_refused_total{region=\"eu\"} 3",
        "berth_finds_refused_total{region=\"any\"} 1",
    ] {
        assert!(
            metrics.lines().any(|other| other == line),
            "{line} missing in\n{metrics}"
        );
    }
}

/// Whoever asks for regions that do not exist fills neither the metrics nor the answer.
#[tokio::test]
async fn at_most_64_regions_of_demand_are_named() {
    let served = Served::new().await;
    for number in 0..100 {
        served
            .find(&json!({"region": format!("nonsense-{number}")}))
            .await;
    }
    let told = served.ask("/counts").await.json();
    let demand = told["demand"].as_array().unwrap();
    assert_eq!(
        (demand.len(), &demand[0]),
        (33, &json!({"region": "other", "refused": 68}))
    );
    let metrics = served.ask("/metrics").await.body;
    let named = metrics
        .lines()
        .filter(|line| line.starts_with("berth_finds_refused_total{"));
    assert_eq!(named.count(), 33);
}

/// A replica tells what it refused, although nobody asks for its counts.
#[tokio::test]
async fn demand_of_every_replica_is_told() {
    let redis = RedisServer::start();
    let (one, other) = (Served::on_redis(&redis).await, Served::on_redis(&redis).await);
    assert_eq!(one.find(&json!({"region": "eu"})).await.status, 404);
    until("the other replica knows", || async {
        other.ask("/counts").await.json()["demand"] == json!([{"region": "eu", "refused": 1}])
    })
    .await;
}

#[tokio::test]
async fn at_most_64_regions_are_named() {
    let served = Served::new().await;
    for number in 0..70 {
        let name = format!("r{number:02}");
        served
            .heartbeat(&json!({"hostId": name, "roomId": name, "region": name}))
            .await;
    }
    let counts = served.ask("/counts").await.json();
    let regions = counts["regions"].as_object().unwrap();
    assert_eq!((regions.len(), &regions["other"]["hosts"]), (65, &json!(6)));
    let metrics = served.ask("/metrics").await.body;
    assert_eq!(
        metrics
            .lines()
            .filter(|line| line.starts_with("berth_region_hosts{"))
            .count(),
        65
    );
}

#[tokio::test]
async fn hosts_in_all_states_by_page() {
    let served = Served::new().await;
    for name in ["a", "b", "c"] {
        served.seated_host(name).await;
    }
    let found = served.find(&json!({"hostId": "b"})).await.json();
    let page = served.ask("/hosts?limit=2").await.json();
    assert_eq!(
        (&page["next"], page["hosts"].as_array().unwrap().len()),
        (&json!("b"), 2)
    );
    let b = &page["hosts"][1];
    assert_eq!(
        (&b["state"], &b["offeredSlots"], &b["availableSlots"]),
        (&json!("allocated"), &json!(1), &json!(0))
    );
    let reservation = &b["reservations"][0];
    assert_eq!(
        (&reservation["matchId"], &reservation["joined"]),
        (&found["matchId"], &json!(false))
    );
    assert_eq!(
        reservation["deadline"].as_u64().unwrap() - reservation["grantedAt"].as_u64().unwrap(),
        30_000
    );
    let page = served.ask("/hosts?limit=2&after=b").await.json();
    assert_eq!(
        (&page["next"], &page["hosts"][0]["hostId"]),
        (&json!(null), &json!("c"))
    );
}

#[tokio::test]
async fn hosts_are_found_by_what_they_are() {
    let served = Served::new().await;
    for (name, region) in [("a", "eu"), ("b", "us"), ("c", "eu"), ("away", "eu")] {
        if name != "away" {
            served.join(&format!("room-{name}")).await;
        }
        let body = json!({"hostId": name, "roomId": format!("room-{name}"), "region": region});
        served.heartbeat(&body).await;
    }
    served.find(&json!({"hostId": "c"})).await;
    for (query, names) in [
        ("", vec!["a", "away", "b", "c"]),
        ("?state=idle", vec!["a", "b"]),
        ("?state=unreachable&region=eu", vec!["away"]),
        ("?state=allocated&region=us", vec![]),
        ("?region=eu&after=a", vec!["away", "c"]),
        ("?room=room-b", vec!["b"]),
        ("?room=room", vec![]),
        ("?region=&room=", vec!["a", "away", "b", "c"]),
    ] {
        let answer = served.ask(&format!("/hosts{query}")).await.json();
        let hosts = answer["hosts"].as_array().unwrap();
        let found: Vec<_> = hosts.iter().map(|host| &host["hostId"]).collect();
        assert_eq!(found, names, "{query}");
        assert_eq!(answer["next"], json!(null), "{query}");
    }
    let page = served.ask("/hosts?region=eu&limit=1").await.json();
    assert_eq!(page["next"], "a");
    let leaves = delete("/api/host/away").bearer(SECRET);
    assert_eq!(leaves.send(served.public).await.status, 204);
    let gone = served.ask("/hosts?state=offline&region=eu").await.json();
    let (listed, since) = (&gone["hosts"][0], gone["hosts"][0]["since"].as_u64());
    let expected = json!({
        "hostId": "away", "roomId": "room-away", "region": "eu", "state": "offline", "since": since, "reason": "left",
    });
    assert_eq!(
        (listed, gone["hosts"].as_array().map(Vec::len)),
        (&expected, Some(1))
    );
    for query in [
        "state=offline&region=us",
        "state=offline&room=b",
        "room=room-away",
    ] {
        assert_eq!(
            served.ask(&format!("/hosts?{query}")).await.json()["hosts"],
            json!([]),
            "{query}"
        );
    }
    for (query, path) in [("limit=1001", "limit"), ("state=gone", "state")] {
        let answer = served.ask(&format!("/hosts?{query}")).await;
        assert_eq!(
            (answer.status, &answer.json()["issues"][0]["path"]),
            (400, &json!(path))
        );
    }
}

#[tokio::test]
async fn a_long_list_is_walked_in_parts() {
    let served = Served::patient().await;
    for number in 0..600 {
        let name = format!("h{number:03}");
        let region = if number % 100 == 99 { "rare" } else { "eu" };
        served
            .heartbeat(&json!({"hostId": name, "roomId": name, "region": region}))
            .await;
    }
    let mut query = "/hosts?limit=500".to_owned();
    let mut seen = 0;
    loop {
        let answer = served.ask(&query).await.json();
        seen += answer["hosts"].as_array().unwrap().len();
        let Some(next) = answer["next"].as_str() else {
            break;
        };
        query = format!("/hosts?limit=500&after={next}");
    }
    assert_eq!(seen, 600);
    let rare = served.ask("/hosts?region=rare&limit=5").await.json();
    assert_eq!(
        (rare["hosts"].as_array().unwrap().len(), &rare["next"]),
        (5, &json!("h499"))
    );
    let usual = served.ask("/hosts").await.json();
    assert_eq!(usual["hosts"].as_array().unwrap().len(), 256);
}

#[tokio::test]
async fn a_host_is_taken_out_of_service() {
    let served = Served::new().await;
    served.seated_host("a").await;
    served.admin_token(Some("admin"), None);
    let drain = async |request: Request| request.bearer("admin").send(served.internal).await;
    let answer = drain(post("/hosts/a/drain")).await;
    assert_eq!(
        (answer.status, answer.json()),
        (200, json!({"hostId": "a", "drained": true}))
    );
    served
        .heartbeat(&json!({"hostId": "a", "roomId": "room-a"}))
        .await;
    assert_eq!(served.find(&json!({})).await.status, 404);
    let host = served.ask("/hosts").await.json()["hosts"][0].clone();
    assert_eq!(
        (&host["state"], &host["status"], &host["drained"]),
        (&json!("draining"), &json!("idle"), &json!(true))
    );
    assert_eq!(served.ask("/counts").await.json()["hosts"]["draining"], 1);
    let answer = drain(delete("/hosts/a/drain")).await;
    assert_eq!(
        (answer.status, answer.json()),
        (200, json!({"hostId": "a", "drained": false}))
    );
    assert_eq!(served.find(&json!({})).await.status, 200);
    for request in [post("/hosts/nobody/drain"), delete("/hosts/nobody/drain")] {
        assert_eq!(drain(request).await.status, 404);
    }
    let public = post("/hosts/a/drain").bearer("admin").send(served.public).await;
    assert_eq!(public.status, 404, "not for the public");
}

#[tokio::test]
async fn changes_need_the_admin_token() {
    let served = Served::new().await;
    served.seated_host("a").await;
    let drain = async |token: Option<&str>| {
        let request = post("/hosts/a/drain");
        let request = match token {
            Some(token) => request.bearer(token),
            None => request,
        };
        request.send(served.internal).await
    };
    for token in [None, Some("x")] {
        let answer = drain(token).await;
        let cure = "put one into the Secret eu-admin-token under the key current";
        let expected = json!({"error": format!("Forbidden: no admin token is set; {cure}")});
        assert_eq!((answer.status, answer.json()), (403, expected));
    }
    served.admin_token(Some("new"), Some("old"));
    for (token, status) in [
        (None, 401),
        (Some("x"), 403),
        (Some(SECRET), 403),
        (Some("old"), 200),
        (Some("new"), 200),
    ] {
        assert_eq!(drain(token).await.status, status, "{token:?}");
    }
    served.admin_token(Some("new"), None);
    assert_eq!(drain(Some("old")).await.status, 403);
    let refused = delete("/hosts/a/drain").send(served.internal).await;
    assert_eq!(refused.status, 401);
    // The admin token is no host secret.
    let heartbeat = post("/api/host/heartbeat")
        .bearer("new")
        .send(served.public)
        .await;
    assert_eq!(heartbeat.status, 403);
}

#[tokio::test]
async fn readiness_needs_a_host_secret() {
    let served = Served::new().await;
    let ready = async || served.ask("/readyz").await;
    assert_eq!(
        (ready().await.status, ready().await.body),
        (200, "ready".to_owned())
    );
    served.host_secret(None, None);
    assert_eq!(
        (ready().await.status, ready().await.body),
        (503, "not-ready".to_owned())
    );
    let status = served.ask("/statusz").await.json();
    assert_eq!(
        status["notReady"],
        json!(["host-secret: Secret eu-host-secret has no key current"])
    );
    served.host_secret(Some("x"), None);
    assert_eq!(ready().await.status, 200);
}

#[tokio::test]
async fn status_says_what_is_known() {
    let served = Served::new().await;
    served.seated_host("a").await;
    served.find(&json!({})).await;
    served.find(&json!({})).await;
    // Refreshes what the status shows.
    served.ask("/counts").await;
    let status = served.ask("/statusz").await.json();
    assert_eq!(
        (&status["service"], &status["instance"], &status["redis"]),
        (&json!("matchmaker"), &json!("m-1"), &json!(null))
    );
    let pool = &status["pool"];
    assert_eq!(
        (&pool["findsGranted"], &pool["findsRefused"], &pool["heartbeats"]),
        (&json!(1), &json!(1), &json!(1))
    );
    assert_eq!(
        (&pool["counts"]["hosts"]["allocated"], &pool["occupancyNote"]),
        (&json!(1), &json!(null))
    );

    let berth_dataplane::occupancy::Seats::Memory(rooms) = &served.seats else {
        panic!("in memory")
    };
    rooms.release();
    served.ask("/counts").await;
    let pool = served.ask("/statusz").await.json()["pool"].clone();
    assert!(
        pool["occupancyNote"]
            .as_str()
            .unwrap()
            .contains("no signaling server"),
        "{pool}"
    );
    assert_eq!(pool["counts"]["occupancyKnown"], false);
}

#[tokio::test]
async fn metrics_tell_what_happens() {
    let served = Served::new().await;
    served.seated_host("a").await;
    served.find(&json!({})).await;
    served.find(&json!({})).await;
    served.find(&json!({"region": 1})).await;
    let player = served.plays("room-a").await;
    served.ask("/counts").await;
    served.leave("room-a", player).await;
    served.ask("/counts").await;
    let metrics = served.ask("/metrics").await.body;
    for line in [
        "berth_finds_total{result=\"granted\"} 1",
        "berth_finds_total{result=\"no_hosts\"} 1",
        "berth_finds_total{result=\"none_matching\"} 0",
        "berth_finds_total{result=\"invalid\"} 1",
        "berth_find_seconds_count 3",
        "berth_heartbeats_total{result=\"accepted\"} 1",
        "berth_heartbeat_gap_seconds_count 0",
        "berth_heartbeats_total{result=\"forbidden\"} 0",
        "berth_reservations_total{outcome=\"granted\"} 1",
        "berth_reservations_total{outcome=\"joined\"} 1",
        "berth_reservations_total{outcome=\"left\"} 1",
        "berth_reservations_total{outcome=\"expired\"} 0",
        "berth_hosts{state=\"idle\"} 1",
        "berth_hosts{state=\"unreachable\"} 0",
        "berth_slots{kind=\"total\"} 1",
        "berth_slots{kind=\"free\"} 1",
        "berth_region_hosts{region=\"local\",state=\"idle\"} 1",
        "berth_region_slots{region=\"local\"} 1",
        "berth_region_free_slots{region=\"local\"} 1",
        "berth_hosts_lost_total 0",
        "berth_occupancy_known 1",
    ] {
        assert!(
            metrics.lines().any(|other| other == line),
            "{line} missing in\n{metrics}"
        );
    }
}

#[tokio::test]
async fn a_leave_shows_without_anybody_asking() {
    let served = Served::new().await;
    served.seated_host("a").await;
    let player = served.plays("room-a").await;
    let shows = async |line: &str| {
        served
            .ask("/metrics")
            .await
            .body
            .lines()
            .any(|other| other == line)
    };
    until("the session is counted", || {
        shows("berth_hosts{state=\"busy\"} 1")
    })
    .await;
    served.leave("room-a", player).await;
    until("the host is idle", || shows("berth_hosts{state=\"idle\"} 1")).await;
}
