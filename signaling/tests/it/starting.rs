//! An instance that starts.

use crate::support::{Node, NodeOptions, RedisServer, eventually_true, pause_writes};

/// Another one that starts at the same moment takes a store without a lease, to which somebody listens, for one that lost its keys.
#[tokio::test]
async fn the_lease_is_there_before_anybody_listens() {
    let redis = RedisServer::start();
    // While nothing is written, what comes first shows.
    pause_writes(&redis, 700);
    let options = NodeOptions {
        redis: Some(redis.url()),
        ..NodeOptions::default()
    };
    let node = Node::start_unready(options).await;
    eventually_true("an inbox", || {
        let listens = !redis.command("PUBSUB CHANNELS *inbox*").starts_with("*0");
        let has_lease = !redis.command("KEYS *instances").starts_with("*0");
        assert!(has_lease || !listens, "it listens and has no lease");
        listens
    })
    .await;
    node.ready().await;
}
