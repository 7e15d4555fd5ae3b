//! Rate limits and heartbeats.

use std::time::{Duration, Instant};

use crate::support::{Client, DEADLINE, Node, PEER_DISCONNECTED, candidate, eventually_true, offer};

/// Sends until something is heard again.
async fn passes_again(from: &mut Client, to: &mut Client) {
    let end = Instant::now() + DEADLINE;
    loop {
        from.send(offer("again")).await;
        if let Some(heard) = to.hears_within(Duration::from_millis(100)).await {
            // On a slow machine one more of the earlier ones may have passed.
            if heard == offer("again") {
                return;
            }
        }
        assert!(Instant::now() < end, "nothing passes");
    }
}

#[tokio::test]
async fn messages_over_a_limit_are_dropped_without_a_word() {
    let node = Node::memory().await;
    for reason in ["client-rate", "ip-rate", "room-rate"] {
        node.change(|settings| {
            let limits = &mut settings.rate_limits;
            *match reason {
                "client-rate" => &mut limits.messages_per_client,
                "ip-rate" => &mut limits.messages_per_ip,
                _ => &mut limits.messages_per_room,
            } = 5;
        });
        let (mut host, mut player) = (Client::join(&node, "r1").await, Client::join(&node, "r1").await);
        for number in 0..50 {
            player.send(candidate(&number.to_string())).await;
        }
        let first: Vec<String> = (0..5).map(|number| candidate(&number.to_string())).collect();
        assert_eq!(host.hear_many(5).await, first, "{reason}");
        let drops = format!("signaling_dropped_total{{reason=\"{reason}\"}}");
        eventually_true(&drops, || node.metric(&drops) > 20.0).await;
        // In force for the next message, on open connections too.
        node.change(|settings| {
            settings.rate_limits.messages_per_client = 1_000_000;
            settings.rate_limits.messages_per_ip = 1_000_000;
            settings.rate_limits.messages_per_room = 1_000_000;
        });
        passes_again(&mut player, &mut host).await;
        drop((host, player));
        node.empties().await;
    }
    assert!(node.metric("signaling_rate_limit_drops_total") > 60.0);
}

#[tokio::test]
async fn who_does_not_answer_pings_is_gone() {
    let node = Node::memory().await;
    node.change(|settings| settings.websocket.heartbeat_interval = Duration::from_secs(1));
    // Nobody polls this one, so it answers nothing.
    let frozen = Client::join(&node, "r1").await;
    // Polled while it waits, so it answers.
    let mut alive = Client::join(&node, "r1").await;
    assert_eq!(alive.hear().await, PEER_DISCONNECTED);
    alive.send("[]").await;
    alive.hear().await;
    node.metric_becomes("signaling_active_connections", 1.0).await;
    drop(frozen);
}
