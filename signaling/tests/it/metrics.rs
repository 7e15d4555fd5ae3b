//! What a running server exports is what `docs/metrics.md` says.

use std::path::Path;

use berth_dataplane::testing::page_names_every_metric;

use crate::process::Program;
use crate::support::{Client, RedisServer, eventually, get};

#[tokio::test]
async fn the_page_names_every_metric_and_no_other() {
    let redis = RedisServer::start();
    // A provider of ICE servers that is not there.
    let environment = [
        ("REDIS_URL", redis.url()),
        ("METERED_DOMAIN", "127.0.0.1".to_owned()),
        ("METERED_API_KEY", "key".to_owned()),
    ];
    let environment: Vec<_> = environment
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    let program = Program::start(&environment, &[]).await;
    // With a peer in a room, so that whatever begins with the first one is there.
    let _peer = eventually("a seat", || Client::try_join(program.address, "r1")).await;
    let text = eventually("a lease, and an answer of the provider", || async {
        let (_, text) = get(program.internal, "/metrics").await;
        let whole = ["signaling_lease_age_seconds", "berth_ice_issue_seconds_count"];
        whole.iter().all(|name| text.contains(name)).then_some(text)
    })
    .await;
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/metrics.md");
    let page = std::fs::read_to_string(page).unwrap();
    page_names_every_metric(&page, &text, &["signaling_", "berth_", "process_"]);
    // The names of the Node service are among those that were looked at.
    let kept = page.split("## Names of the Node service").nth(1).unwrap();
    let rows: Vec<_> = kept.lines().filter(|line| line.starts_with("| `")).collect();
    assert!(rows.len() > 8);
}
