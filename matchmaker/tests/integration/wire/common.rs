//! What holds for every request: request ids, leave for pages of any origin, paths, bodies.

use serde_json::json;

use crate::support::http::{Answer, Request, delete, get, options, post};
use crate::support::server::{SECRET, Served};

fn assert_common(answer: &Answer) {
    for (name, value) in [
        ("access-control-allow-origin", "*"),
        ("access-control-allow-methods", "GET, POST, OPTIONS, DELETE"),
        (
            "access-control-allow-headers",
            "Content-Type, Authorization, X-Request-Id, Idempotency-Key",
        ),
        ("access-control-expose-headers", "Retry-After, X-Request-Id, Link"),
        ("access-control-max-age", "86400"),
    ] {
        assert_eq!(answer.header(name), Some(value), "{name} of a {}", answer.status);
    }
    let id = answer.header("x-request-id").unwrap();
    assert!(uuid::Uuid::try_parse(id).is_ok(), "{id}");
}

/// A request and the status it is answered with.
fn of_every_kind() -> Vec<(Request, u16)> {
    let heartbeat = || post("/api/host/heartbeat");
    let large = "x".repeat(70_000);
    vec![
        (get("/"), 200),
        (get("/health"), 200),
        (get("/api/hosts"), 200),
        (get("/api/hosts/ttl"), 200),
        (
            heartbeat()
                .bearer(SECRET)
                .json(&json!({"hostId": "h", "roomId": "r"})),
            200,
        ),
        (heartbeat(), 401),
        (heartbeat().bearer("wrong"), 403),
        (heartbeat().bearer(SECRET), 400),
        (heartbeat().bearer(SECRET).text("{"), 400),
        (heartbeat().bearer(SECRET).text(&large), 413),
        (
            heartbeat()
                .bearer(SECRET)
                .json(&json!({"hostId": "other", "roomId": "r"})),
            409,
        ),
        (get("/api/host/heartbeat").bearer(SECRET), 405),
        (get("/api/host/nothing").bearer(SECRET), 405),
        (get("/api/host/nothing/at-all").bearer(SECRET), 404),
        (delete("/api/host/nobody").bearer(SECRET), 404),
        (delete("/api/host/%ff").bearer(SECRET), 404),
        (delete("/api/host/h").bearer(SECRET), 204),
        (delete("/api/host/h"), 401),
        (post("/api/host/status").bearer(SECRET), 400),
        (get("/api/hosts?limit=0"), 400),
        (post("/api/match/find"), 404),
        (post("/api/match/find").text("[]"), 400),
        (post("/api/match/find").text(&large), 413),
        (get("/api/match/find"), 405),
        (get("/nothing"), 404),
        (get("/metrics"), 404),
        (options("/api/match/find"), 204),
        (options("/api/host/heartbeat"), 204),
        (options("/nothing"), 204),
    ]
}

#[tokio::test]
async fn every_answer_has_request_id_and_cross_origin_headers() {
    let served = Served::new().await;
    for (request, status) in of_every_kind() {
        let answer = request.clone().send(served.public).await;
        assert_eq!(answer.status, status, "{request:?}: {}", answer.body);
        assert_common(&answer);
        // RFC 9110, section 15.5.6.
        assert!(status != 405 || answer.header("allow").is_some(), "{request:?}");
        let text = status == 204 || answer.header("content-type").unwrap().starts_with("text/plain");
        assert!(
            text || answer.header("content-type") == Some("application/json"),
            "{request:?}"
        );
    }
}

#[tokio::test]
async fn request_id_of_the_client_comes_back_trimmed() {
    let served = Served::new().await;
    let with = |id: &str| get("/nothing").header("X-Request-Id", id);
    assert_eq!(
        with("  abc-1 ").send(served.public).await.header("x-request-id"),
        Some("abc-1")
    );
    assert_eq!(
        options("/")
            .header("x-request-id", "o")
            .send(served.public)
            .await
            .header("x-request-id"),
        Some("o")
    );
    let (first, second) = (
        with("   ").send(served.public).await,
        with("").send(served.public).await,
    );
    assert_common(&first);
    assert_common(&second);
    assert_ne!(first.header("x-request-id"), second.header("x-request-id"));
}

#[tokio::test]
async fn health_endpoints_answer_texts() {
    let served = Served::new().await;
    for (path, text) in [
        ("/", "ok"),
        ("/health", "OK"),
        ("/healthz", "OK"),
        ("/readyz", "OK"),
    ] {
        let answer = get(path).send(served.public).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, text), "{path}");
    }
    served.host_secret(None, None);
    assert_eq!(
        get("/readyz").send(served.public).await.status,
        200,
        "the public port never says otherwise"
    );
}

#[tokio::test]
async fn errors_are_json() {
    let served = Served::new().await;
    for (request, body) in [
        (get("/nothing"), json!({"error": "Not found"})),
        (get("/api/match/find"), json!({"error": "Method not allowed"})),
        (
            post("/api/match/find").text(&"x".repeat(65_537)),
            json!({"error": "Body is larger than 65536 bytes"}),
        ),
    ] {
        assert_eq!(request.send(served.public).await.json(), body);
    }
}

#[tokio::test]
async fn a_drain_lets_requests_finish() {
    let served = Served::new().await;
    served.seated_host("a").await;
    assert_eq!(served.find(&json!({})).await.status, 200);
    served.shutdown.begin();
    crate::support::until("the port is closed", || async {
        get("/").try_send(served.public).await.is_err()
    })
    .await;
}
