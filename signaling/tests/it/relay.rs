//! Relay inside one instance.

use crate::support::{Client, Node, candidate, offer};

#[tokio::test]
async fn messages_before_the_second_peer_come_first_and_in_order() {
    let node = Node::memory().await;
    let mut early = Client::join(&node, "r1").await;
    let texts: Vec<String> = std::iter::once(offer("early"))
        .chain((0..20).map(|n| candidate(&n.to_string())))
        .collect();
    for text in &texts {
        early.send(text.clone()).await;
    }
    node.metric_becomes("signaling_early_buffered_total", 21.0).await;
    let mut late = Client::join(&node, "r1").await;
    early.send(candidate("live")).await;
    assert_eq!(late.hear_many(21).await, texts);
    assert_eq!(late.hear().await, candidate("live"));
}

#[tokio::test]
async fn messages_of_a_peer_that_left_reach_nobody() {
    let node = Node::memory().await;
    let mut gone = Client::join(&node, "r1").await;
    gone.send(offer("gone")).await;
    node.metric_becomes("signaling_early_buffered_total", 1.0).await;
    gone.leave().await;
    node.empties().await;
    let (mut host, mut player) = (Client::join(&node, "r1").await, Client::join(&node, "r1").await);
    host.send(offer("here")).await;
    assert_eq!(player.hear().await, offer("here"));
}

#[tokio::test]
async fn rooms_are_apart_and_nobody_hears_himself() {
    let node = Node::memory().await;
    let mut rooms = Vec::new();
    for number in 0..20 {
        let room = format!("room-{number}");
        rooms.push((Client::join(&node, &room).await, Client::join(&node, &room).await));
    }
    for (number, (host, player)) in rooms.iter_mut().enumerate() {
        host.send(offer(&format!("from host {number}"))).await;
        player.send(offer(&format!("from player {number}"))).await;
    }
    for (number, (host, player)) in rooms.iter_mut().enumerate() {
        assert_eq!(host.hear().await, offer(&format!("from player {number}")));
        assert_eq!(player.hear().await, offer(&format!("from host {number}")));
    }
    drop(rooms);
    node.empties().await;
}

#[tokio::test]
async fn order_holds_under_load_in_both_directions() {
    let node = Node::memory().await;
    let (host, player) = (Client::join(&node, "r1").await, Client::join(&node, "r1").await);
    let talk = |mut client: Client| async move {
        let (mut heard, mut sent) = (0, 0);
        while heard < 2000 {
            if sent < 2000 {
                client.send(candidate(&sent.to_string())).await;
                sent += 1;
            }
            if sent - heard > 50 || sent == 2000 {
                assert_eq!(client.hear().await, candidate(&heard.to_string()));
                heard += 1;
            }
        }
        client
    };
    let _peers = tokio::join!(talk(host), talk(player));
    node.metric_becomes("signaling_relayed_total{path=\"local\"}", 4000.0)
        .await;
}
