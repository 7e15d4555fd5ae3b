//! `POST /api/match/find` that asks for more than any host.

use berth_crds::settings::Strategy;
use serde_json::{Value, json};

use crate::support::http::get;
use crate::support::server::{Served, view};

/// Strategy, latencies and labels from the wire down to the store.
#[tokio::test]
async fn a_host_is_picked_by_latencies_labels_and_strategy() {
    let mut view = view(None);
    view.pool.strategy = Strategy::Packed;
    let served = Served::with(view).await;
    for (name, region, gpu, slots) in [
        ("a", "eu", "a100", 3),
        ("b", "eu", "a100", 2),
        ("c", "us", "l4", 9),
        ("d", "asia", "l4", 9),
    ] {
        served.seated_host(name).await;
        let body = json!({
            "hostId": name, "roomId": format!("room-{name}"), "region": region,
            "capacity": slots, "availableSlots": slots, "labels": {"gpu": gpu, "codec": "av1"},
        });
        assert_eq!(served.heartbeat(&body).await.status, 200);
    }
    let public = get("/api/hosts").send(served.public).await.json();
    let internal = served.ask("/hosts").await.json()["hosts"].clone();
    for listed in [public, internal] {
        assert_eq!(
            listed[3]["labels"],
            json!({"gpu": "l4", "codec": "av1"}),
            "{listed}"
        );
    }
    for (body, room) in [
        (
            json!({"latencies": {"moon": 1, "asia": 20.5, "us": 40, "eu": 90}}),
            "room-d",
        ),
        (
            json!({"latencies": {"asia": 20, "us": 40}, "region": "us"}),
            "room-c",
        ),
        (
            json!({"labels": {"gpu": "a100"}, "latencies": {"asia": 20}}),
            "room-b",
        ),
        (json!({"labels": {"codec": "av1"}, "region": "eu"}), "room-b"),
        (json!({"labels": {"gpu": "a100"}, "hostId": "a"}), "room-a"),
        (json!({"labels": {}, "latencies": {}, "region": "eu"}), "room-a"),
    ] {
        assert_eq!(served.find(&body).await.json()["roomId"], room, "{body}");
    }
    let nobody = json!({"found": false, "message": "No available hosts found matching criteria"});
    for body in [
        json!({"labels": {"gpu": "h100"}}),
        json!({"labels": {"gpu": "a100"}, "hostId": "c"}),
    ] {
        let answer = served.find(&body).await;
        assert_eq!((answer.status, answer.json()), (404, nobody.clone()), "{body}");
    }
    let answer = served.find(&json!({"latencies": {"eu": -1}})).await;
    assert_eq!(
        (answer.status, &answer.json()["issues"][0]["path"]),
        (400, &json!("latencies.eu"))
    );
}

#[tokio::test]
async fn the_documented_find_is_granted() {
    let page = include_str!("../../../../docs/matching.md");
    let (_, rest) = page.split_once("```json find\n").unwrap();
    let (text, _) = rest.split_once("```").unwrap();
    let body: Value = serde_json::from_str(text).unwrap();
    let served = Served::new().await;
    let nearest = ["eu-west", "eu-north", "us-east"];
    let wrong = json!({"gpu": "l4", "codec": "av1"});
    for (name, region, labels) in [
        ("wrong", nearest[0], &wrong),
        ("far", nearest[2], &body["labels"]),
        ("near", nearest[1], &body["labels"]),
        ("elsewhere", "moon", &body["labels"]),
    ] {
        served.seated_host(name).await;
        let heartbeat =
            json!({"hostId": name, "roomId": format!("room-{name}"), "region": region, "labels": labels});
        assert_eq!(served.heartbeat(&heartbeat).await.status, 200);
    }
    for room in ["room-near", "room-far", "room-elsewhere"] {
        assert_eq!(served.find(&body).await.json()["roomId"], room);
    }
    assert_eq!(served.find(&body).await.status, 404);
}
