//! Protocol v1 below its messages: sizes, fragments, control frames, and what breaks the framing.

use futures::{SinkExt as _, StreamExt as _};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

use crate::cluster::join_when_free;
use crate::support::{Client, Node, PEER_DISCONNECTED, RedisServer, candidate, offer, pause};

const MAX: usize = 1024;

/// A frame with a mask of zeros.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = header(first, payload.len());
    bytes.extend(payload);
    bytes
}

/// The head of a frame whose payload may never come.
fn header(first: u8, length: usize) -> Vec<u8> {
    let mut bytes = vec![first];
    match u16::try_from(length) {
        Ok(length @ 0..=125) => bytes.push(0x80 | u8::try_from(length).unwrap()),
        Ok(length) => {
            bytes.push(0xfe);
            bytes.extend(length.to_be_bytes());
        }
        Err(_) => {
            bytes.push(0xff);
            bytes.extend((length as u64).to_be_bytes());
        }
    }
    bytes.extend([0; 4]);
    bytes
}

fn x(count: usize) -> Vec<u8> {
    vec![b'x'; count]
}

/// What a peer sends, and the code with which it is closed.
fn broken() -> Vec<(&'static str, Vec<u8>, u16)> {
    vec![
        (
            "a frame over the limit, of which only the head comes",
            header(0x81, MAX + 1),
            1009,
        ),
        ("a binary frame over the limit", frame(0x82, &x(MAX + 1)), 1009),
        ("a frame of 5 GiB", header(0x81, 5 << 30), 1009),
        (
            "a length with its highest bit set",
            [&[0x81, 0xff][..], &[0xff; 8], &[0; 4]].concat(),
            1009,
        ),
        (
            "fragments over the limit",
            [frame(0x01, &x(600)), frame(0x80, &x(MAX - 599))].concat(),
            1009,
        ),
        (
            "fragments without an end",
            [frame(0x01, &x(600)), frame(0x00, &x(400)), header(0x00, 25)].concat(),
            1009,
        ),
        (
            "fragments over the limit around a ping",
            [frame(0x02, &x(MAX)), frame(0x89, b"p"), frame(0x80, b"x")].concat(),
            1009,
        ),
        ("text that is not UTF-8", frame(0x81, &[0xff, 0xfe]), 1007),
        (
            "text that ends within a character",
            frame(0x81, "é".as_bytes().split_at(1).0),
            1007,
        ),
        (
            "fragments that are not UTF-8",
            [frame(0x01, b"{"), frame(0x00, &[0xc3]), frame(0x80, &[0x28])].concat(),
            1007,
        ),
        ("a surrogate in UTF-8", frame(0x81, &[0xed, 0xa0, 0x80]), 1007),
        (
            "a close whose reason is not UTF-8",
            frame(0x88, &[0x03, 0xe8, 0xff]),
            1007,
        ),
        ("a frame without a mask", vec![0x81, 0x02, b'{', b'}'], 1002),
        ("an unknown data opcode", frame(0x83, b""), 1002),
        ("an unknown control opcode", frame(0x8b, b""), 1002),
        ("the first reserved bit", frame(0xc1, b""), 1002),
        ("the second reserved bit", frame(0xa1, b""), 1002),
        ("the third reserved bit", frame(0x91, b""), 1002),
        ("a continuation of nothing", frame(0x80, b"x"), 1002),
        (
            "a message within fragments",
            [frame(0x01, b"x"), frame(0x81, b"y")].concat(),
            1002,
        ),
        ("a ping in fragments", frame(0x09, b""), 1002),
        ("a ping that is too long", frame(0x89, &x(126)), 1002),
        ("a close of one byte", frame(0x88, b"x"), 1002),
        (
            "a close code that is never sent",
            frame(0x88, &1005u16.to_be_bytes()),
            1002,
        ),
        (
            "a close code that does not exist",
            frame(0x88, &999u16.to_be_bytes()),
            1002,
        ),
    ]
}

#[tokio::test]
async fn what_breaks_the_framing_is_closed_without_a_reason() {
    let node = Node::memory().await;
    node.change(|settings| settings.websocket.max_message_bytes = MAX);
    for (case, bytes, code) in broken() {
        let mut other = Client::join(&node, "r1").await;
        let mut client = Client::join(&node, "r1").await;
        client.send_raw(&bytes).await;
        assert_eq!(client.closed().await, (code, String::new()), "{case}");
        assert_eq!(other.hear().await, PEER_DISCONNECTED, "{case}");
        drop((client, other));
        node.empties().await;
    }
}

/// The same before the peer has its seat: it has one until its frame is read, and none afterwards.
#[tokio::test]
async fn what_breaks_the_framing_while_joining_costs_no_seat() {
    let redis = RedisServer::start();
    let node = Node::on(&redis, "i1").await;
    node.change(|settings| settings.websocket.max_message_bytes = MAX);
    for (case, bytes, code) in broken() {
        pause(&redis, 20);
        let mut client = Client::connect(node.address, "r1").await;
        client.send_raw(&bytes).await;
        assert_eq!(client.closed().await, (code, String::new()), "{case}");
    }
    let _seats = (
        join_when_free(&node, "r1").await,
        join_when_free(&node, "r1").await,
    );
}

#[tokio::test]
async fn a_peer_that_goes_on_sending_too_much_still_reads_why() {
    let node = Node::memory().await;
    node.change(|settings| settings.websocket.max_message_bytes = MAX);
    let mut client = Client::join(&node, "r1").await;
    client.send_raw(&header(0x81, 1 << 20)).await;
    client.send_raw(&x(1 << 20)).await;
    assert_eq!(client.closed().await, (1009, String::new()));
}

#[tokio::test]
async fn the_limit_is_that_of_a_message_and_not_of_a_frame() {
    let node = Node::memory().await;
    node.change(|settings| settings.websocket.max_message_bytes = MAX);
    let (mut host, mut player) = (Client::join(&node, "r1").await, Client::join(&node, "r1").await);
    let text = candidate(&"x".repeat(MAX - candidate("").len()));
    let bytes = text.as_bytes();
    // Each byte a frame of its own, with a ping in between.
    let last = bytes.len() - 1;
    for (at, byte) in bytes.iter().enumerate() {
        let first = u8::from(at == 0) | if at == last { 0x80 } else { 0 };
        player.send_raw(&frame(first, &[*byte])).await;
        if at % 100 == 0 {
            player.send_raw(&frame(0x89, b"in between")).await;
        }
    }
    assert!(host.hear().await == text);
    player.send(text.clone()).await;
    assert!(host.hear().await == text);
}

#[tokio::test]
async fn pings_are_answered_and_pongs_are_not() {
    let node = Node::memory().await;
    let mut client = Client::join(&node, "r1").await;
    client.send_raw(&frame(0x8a, b"nobody asked")).await;
    client.send_raw(&frame(0x89, &x(125))).await;
    client.send_raw(&frame(0x89, b"")).await;
    for expected in [x(125), Vec::new()] {
        match client.stream.next().await {
            Some(Ok(Message::Pong(payload))) => assert_eq!(payload, expected),
            other => panic!("expected a pong, got {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_close_is_answered_with_its_code() {
    let node = Node::memory().await;
    for (sent, answered) in [
        (Some((1000, "done")), 1000),
        (Some((1001, "")), 1001),
        (Some((4321, "own")), 4321),
        (None, 1005),
    ] {
        let mut client = Client::join(&node, "r1").await;
        let close = sent.map(|(code, reason): (u16, &str)| CloseFrame {
            code: code.into(),
            reason: reason.into(),
        });
        client.stream.send(Message::Close(close)).await.unwrap();
        assert_eq!(client.closed().await.0, answered);
        node.empties().await;
    }
}

/// Whatever a peer sends between its messages, they arrive whole, in order and as text.
#[tokio::test]
async fn binary_and_text_are_the_same_to_the_other_side() {
    let node = Node::memory().await;
    let (mut host, mut player) = (Client::join(&node, "r1").await, Client::join(&node, "r1").await);
    for number in 0..20 {
        let text = offer(&format!("é {number}"));
        let first = if number % 2 == 0 { 0x82 } else { 0x81 };
        player.send_raw(&frame(first, text.as_bytes())).await;
        assert_eq!(host.hear().await, text);
    }
    // Binary that is not UTF-8 cannot be JSON: it is dropped, and nobody is closed for it.
    player.send_raw(&frame(0x82, &[0xff, 0xfe])).await;
    player.send(offer("after")).await;
    assert_eq!(host.hear().await, offer("after"));
}
