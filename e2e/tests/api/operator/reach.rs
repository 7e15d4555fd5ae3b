//! Whether the servers of a TurnConfig answer, with a real coturn.

use std::time::Duration;

use berth_dataplane::testing::CoturnServer;
use berth_operator::Options;
use serde_json::json;

use super::bed::{Bed, Running, WRITES, conditions};

/// What the condition says: truth, reason, message.
async fn reachable(bed: &Bed) -> Option<(String, String, String)> {
    let config = bed.ours("TurnConfig").get("turn").await.unwrap();
    conditions(&config).get("ServersReachable").cloned()
}

async fn told(bed: &Bed, truth: &str, reason: &str) -> String {
    bed.wait(&format!("ServersReachable is {truth}, {reason}"), async || {
        let (found_truth, found_reason, message) = reachable(bed).await?;
        (found_truth == truth && found_reason == reason).then_some(message)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_come_and_go_are_told_of() {
    let bed = Bed::new("reach").await;
    let mut options: Options = bed.options().await;
    options.intervals.probe = Duration::from_secs(1);
    let operator = Running::start(options);
    let coturn = CoturnServer::start();
    let port = coturn.port();
    let spec = json!({
        "stunUrls": [format!("stun:127.0.0.1:{port}"), "stuns:127.0.0.1"],
        "providers": [{"name": "coturn", "sharedSecret": {
            "urls": [format!("turn:127.0.0.1:{port}"), format!("turn:127.0.0.1:{port}?transport=tcp")],
            "secretRef": {"name": "not-there"},
        }}],
    });
    bed.resource("TurnConfig", "turn", spec).await;
    let message = told(&bed, "True", "ServersAnswer").await;
    assert_eq!(message, "2 of 2 servers answer; not asked: 1 (TLS, or too many)");
    let config = bed.ours("TurnConfig").get("turn").await.unwrap();
    assert_eq!(conditions(&config)["Ready"].0, "False", "its Secret is not there");

    // Nothing is written while they answer.
    operator.settle().await;
    let before = operator.requests(&WRITES);
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(operator.requests(&WRITES), before);

    drop(coturn);
    let message = told(&bed, "False", "ServersSilent").await;
    assert!(
        message.contains(&format!("127.0.0.1:{port} (TCP): the connection is refused")),
        "{message}"
    );
    let _again = CoturnServer::start_on(port);
    told(&bed, "True", "ServersAnswer").await;

    // A server that is named now is asked at once, whatever the interval is.
    let elsewhere = CoturnServer::start();
    let urls = json!({"stunUrls": [format!("stun:127.0.0.1:{}", elsewhere.port())], "providers": []});
    bed.resource("TurnConfig", "turn", urls).await;
    bed.wait("the other server is asked", async || {
        let (truth, _, message) = reachable(&bed).await?;
        (truth == "True" && message == "1 of 1 servers answer").then_some(())
    })
    .await;
}
