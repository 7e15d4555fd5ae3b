//! Relay inside one instance.

use futures::SinkExt as _;
use tokio_tungstenite::tungstenite::Message;

use crate::support::{Client, Node, NodeOptions, PEER_DISCONNECTED, candidate, offer};

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

/// Messages that come in one segment are relayed with one write, whatever is among them and however they end.
#[tokio::test]
async fn everything_of_a_burst_arrives_at_once_and_in_order() {
    let mut options = NodeOptions::default();
    options.spec.websocket.heartbeat_interval_ms = 300_000;
    let node = Node::start(options).await;
    // A ping would bring what was left behind; those that come later are not pinged before a message is missed.
    let mut others = Vec::new();
    for number in 0..10 {
        others.push(Client::join(&node, &format!("other-{number}")).await);
    }
    let small: Vec<String> = (0..10).map(|n| candidate(&n.to_string())).collect();
    let large: Vec<String> = (0..10)
        .map(|n| offer(&format!("{n}{}", "x".repeat(3000))))
        .collect();
    let ends = [
        Message::text("no JSON"),
        Message::Ping("?".into()),
        Message::Close(None),
    ];
    for (number, (texts, end)) in [&small, &large, &small].into_iter().zip(ends).enumerate() {
        let room = format!("r{number}");
        let (mut host, mut player) = (Client::join(&node, &room).await, Client::join(&node, &room).await);
        let closes = end.is_close();
        player.stream.feed(Message::text("[]")).await.unwrap();
        for text in texts {
            player.stream.feed(Message::text(text.clone())).await.unwrap();
        }
        player.stream.feed(end).await.unwrap();
        player.stream.flush().await.unwrap();
        assert_eq!(&host.hear_many(texts.len()).await, texts);
        if closes {
            assert_eq!(host.hear().await, PEER_DISCONNECTED);
        } else {
            player.hear().await;
            host.send(offer("still there")).await;
            assert_eq!(player.hear().await, offer("still there"));
        }
    }
}
