//! Matches after their grant: repeated finds, resume, and giving up.

use std::collections::BTreeSet;

use futures::future::join_all;
use serde_json::{Value, json};

use crate::support::http::{Answer, delete, post};
use crate::support::server::{SECRET, Served};

const KEY: &str = "5f0ca2f2-3b0c-4ec9-8f0e-1f2f0c6a7d11";

async fn find_with(served: &Served, key: &str, body: &Value) -> Answer {
    post("/api/match/find")
        .header("Idempotency-Key", key)
        .json(body)
        .send(served.public)
        .await
}

async fn resume(served: &Served, id: &str, body: &Value) -> Answer {
    post(&format!("/api/match/{id}/resume"))
        .json(body)
        .send(served.public)
        .await
}

async fn give_up(served: &Served, id: &str) -> Answer {
    delete(&format!("/api/match/{id}")).send(served.public).await
}

fn id(answer: &Value) -> &str {
    answer["matchId"].as_str().unwrap()
}

#[tokio::test]
async fn finds_with_one_key_are_one_match() {
    let served = Served::new().await;
    for name in ["a", "b", "c"] {
        served.seated_host(name).await;
    }
    let in_eu = json!({"region": "eu"});
    let finds = join_all((0..64).map(|_| find_with(&served, KEY, &in_eu))).await;
    assert!(finds.iter().all(|answer| answer.status == 200), "{finds:?}");
    let answers: BTreeSet<String> = finds.iter().map(|answer| answer.body.clone()).collect();
    assert_eq!(answers.len(), 1, "{answers:?}");
    let counts = served.ask("/counts").await.json();
    assert_eq!(counts["slots"]["available"], 2);
    let other = find_with(&served, KEY, &json!({"region": "us"})).await;
    let expected = json!({"error": "Idempotency-Key was used for another request"});
    assert_eq!((other.status, other.json()), (409, expected));
    let short = find_with(&served, "1", &json!({})).await;
    assert_eq!(
        (short.status, &short.json()["issues"][0]["path"]),
        (400, &json!("Idempotency-Key"))
    );
    assert_eq!(
        find_with(&served, "another-key-of-another-player", &json!({}))
            .await
            .status,
        200
    );
    // A drain refuses what is new.
    let mut view = (*served.settings.get()).clone();
    view.pool.drain = true;
    served.settings.replace(view.clone());
    assert_eq!(find_with(&served, KEY, &in_eu).await.json(), finds[0].json());
    assert_eq!(
        find_with(&served, "a-third-key-of-a-third-player", &in_eu)
            .await
            .status,
        404
    );
    view.pool.drain = false;
    served.settings.replace(view);
    // What is given up is not granted again to the same request.
    assert_eq!(give_up(&served, id(&finds[0].json())).await.status, 204);
    let over = find_with(&served, KEY, &in_eu).await;
    let expected = json!({"error": "Match is over", "reason": "released"});
    assert_eq!((over.status, over.json()), (410, expected));
}

#[tokio::test]
async fn a_player_gets_its_match_again() {
    let served = Served::new().await;
    served.seated_host("a").await;
    let found = served.find(&json!({})).await.json();
    let token = json!({"resumeToken": found["resumeToken"]});
    for _ in 0..2 {
        let again = resume(&served, id(&found), &token).await;
        assert_eq!((again.status, again.json()), (200, found.clone()));
    }
    let player = served.plays("room-a").await;
    assert_eq!(resume(&served, id(&found), &token).await.status, 200);
    served.leave("room-a", player).await;
    let over = resume(&served, id(&found), &token).await;
    let expected = json!({"error": "Match is over", "reason": "left"});
    assert_eq!((over.status, over.json()), (410, expected));
    let metrics = served.ask("/metrics").await.body;
    for line in [
        "berth_resumes_total{result=\"granted\"} 3",
        "berth_resumes_total{result=\"over\"} 1",
    ] {
        assert!(
            metrics.lines().any(|other| other == line),
            "{line} missing in\n{metrics}"
        );
    }
}

#[tokio::test]
async fn nobody_else_gets_a_match_again() {
    let served = Served::new().await;
    for name in ["a", "b"] {
        served.seated_host(name).await;
    }
    let (one, two) = (
        served.find(&json!({})).await.json(),
        served.find(&json!({})).await.json(),
    );
    let of_another = json!({"resumeToken": two["resumeToken"]});
    for token in [of_another, json!({"resumeToken": "x"})] {
        let refused = resume(&served, id(&one), &token).await;
        let expected = json!({"error": "Forbidden: Invalid resume token"});
        assert_eq!((refused.status, refused.json()), (403, expected));
    }
    for body in [json!({}), json!({"resumeToken": 1}), json!({"resumeToken": ""})] {
        let refused = resume(&served, id(&one), &body).await;
        assert_eq!(
            (refused.status, &refused.json()["issues"][0]["path"]),
            (400, &json!("resumeToken"))
        );
    }
    for id in ["x", "00000000"] {
        assert_eq!(
            resume(&served, id, &json!({"resumeToken": "x"})).await.status,
            404
        );
        assert_eq!(give_up(&served, id).await.status, 404);
    }
}

#[tokio::test]
async fn who_gives_up_frees_its_slot() {
    let served = Served::new().await;
    served.seated_host("a").await;
    let found = served.find(&json!({})).await.json();
    assert_eq!(served.find(&json!({})).await.status, 404);
    assert_eq!(give_up(&served, id(&found)).await.status, 204);
    assert_eq!(
        give_up(&served, id(&found)).await.status,
        204,
        "twice is harmless"
    );
    assert_eq!(served.find(&json!({})).await.status, 200);
    let unknown = give_up(&served, "6c1f4c5e-0000-4000-8000-000000000000").await;
    assert_eq!(
        (unknown.status, unknown.json()),
        (404, json!({"error": "No such match"}))
    );
}

#[tokio::test]
async fn a_host_hears_who_comes() {
    let served = Served::new().await;
    served.seated_host("a").await;
    let found = served.find(&json!({})).await.json();
    let beat = json!({"hostId": "a", "roomId": "room-a"});
    let told = served.heartbeat(&beat).await.json()["reservations"].clone();
    assert_eq!(
        (&told[0]["matchId"], &told[0]["joined"]),
        (&found["matchId"], &json!(false))
    );
    assert!(
        told[0]["deadline"].as_u64().unwrap() > 1_700_000_000_000,
        "Unix ms"
    );
    served.plays("room-a").await;
    let told = served.heartbeat(&beat).await.json()["reservations"].clone();
    assert_eq!(told[0]["joined"], true);
    // A host may name what it serves; what is no list of ids is refused.
    for (reservations, path) in [
        (json!("x"), "reservations"),
        (json!(["x"]), "reservations.0"),
        (json!([found["matchId"], 7]), "reservations.1"),
    ] {
        let body = json!({"hostId": "a", "roomId": "room-a", "reservations": reservations});
        let refused = served.heartbeat(&body).await;
        assert_eq!(
            (refused.status, &refused.json()["issues"][0]["path"]),
            (400, &json!(path))
        );
    }
    let body = json!({"hostId": "a", "roomId": "room-a", "reservations": [found["matchId"]]});
    assert_eq!(
        post("/api/host/heartbeat")
            .bearer(SECRET)
            .json(&body)
            .send(served.public)
            .await
            .status,
        200
    );
}
