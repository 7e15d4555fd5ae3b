//! What a running matchmaker exports is what `docs/metrics-matchmaker.md` says.

use std::path::Path;

use berth_dataplane::testing::{RedisServer, free_port, page_names_every_metric};
use serde_json::json;

use crate::program::{Program, answers, local};
use crate::support::http::{get, post};
use crate::support::until;

#[tokio::test]
async fn the_page_names_every_metric_and_no_other() {
    let redis = RedisServer::start();
    let (port, internal) = (free_port(), free_port());
    let _program = Program::start(&[
        ("PORT", &port.to_string()),
        ("INTERNAL_PORT", &internal.to_string()),
        ("REDIS_URL", &redis.url()),
        ("HOST_SECRET", "s3cret"),
        // A provider of ICE servers that is not there.
        ("METERED_DOMAIN", "127.0.0.1"),
        ("METERED_API_KEY", "key"),
    ]);
    answers(local(port)).await;
    let whole = [
        "berth_region_free_slots{",
        "berth_finds_refused_total{",
        "berth_ice_issue_seconds_count",
    ];
    // With a host and somebody who wants another one, so that whatever begins with them is there.
    until(
        "a host, a player in vain, and an answer of the provider",
        || async {
            let body = json!({"hostId": "h", "roomId": "r", "capacity": 1});
            let beat = post("/api/host/heartbeat").bearer("s3cret").json(&body);
            beat.send(local(port)).await;
            let find = post("/api/match/find").json(&json!({"region": "eu"}));
            find.send(local(port)).await;
            let text = get("/metrics").send(local(internal)).await.body;
            whole.iter().all(|name| text.contains(name))
        },
    )
    .await;
    let text = get("/metrics").send(local(internal)).await.body;
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/metrics-matchmaker.md");
    page_names_every_metric(
        &std::fs::read_to_string(page).unwrap(),
        &text,
        &["berth_", "process_"],
    );
}
