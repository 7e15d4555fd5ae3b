//! Protocol v1 on the wire.

use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

use crate::support::{Client, Node, NodeOptions, PEER_DISCONNECTED, Request, candidate, get, offer};

const SCHEMA_ERROR: &str = r#"{"type":"control","action":"schema-error"}"#;

#[tokio::test]
async fn messages_are_checked_stripped_and_relayed() {
    let node = Node::memory().await;
    let (mut host, mut player) = (Client::join(&node, "r1").await, Client::join(&node, "r1").await);
    let relayed = [
        (
            r#"{"type":"offer","sdp":"v=0\r\n"}"#,
            r#"{"type":"offer","sdp":"v=0\r\n"}"#,
        ),
        (
            r#"{"type":"answer","sdp":"v=0","to":"x"}"#,
            r#"{"type":"answer","sdp":"v=0"}"#,
        ),
        (
            r#"{"type":"candidate","candidate":"c","sdpMid":"0","sdpMLineIndex":0,"usernameFragment":"u"}"#,
            r#"{"type":"candidate","candidate":"c","sdpMid":"0","sdpMLineIndex":0}"#,
        ),
        (
            r#"{"type":"candidate","candidate":"c"}"#,
            r#"{"type":"candidate","candidate":"c"}"#,
        ),
        (
            r#"{"payload":{"a":[1]},"action":"go","type":"control"}"#,
            r#"{"type":"control","action":"go","payload":{"a":[1]}}"#,
        ),
        (
            r#"{"type":"control","action":"go","payload":null}"#,
            r#"{"type":"control","action":"go","payload":null}"#,
        ),
    ];
    for (sent, heard) in relayed {
        player.send(sent).await;
        assert_eq!(host.hear().await, heard);
    }
    for refused in [
        r#"{"type":"candidate","candidate":"c","sdpMid":null}"#,
        r#"{"type":"candidate","candidate":"c","sdpMLineIndex":null}"#,
        r#"{"type":"candidate","candidate":""}"#,
        r#"{"type":"offer"}"#,
        r#"{"type":"hello"}"#,
        "[]",
        "7",
    ] {
        player.send(refused).await;
        assert_eq!(player.hear().await, SCHEMA_ERROR, "{refused}");
    }
    player.send("no json").await;
    player.send("").await;
    player.send(offer("after")).await;
    // Neither the answers to the sender nor what is not JSON reached the other one.
    assert_eq!(host.hear().await, offer("after"));
    assert!((node.metric("signaling_schema_rejections_total") - 7.0).abs() < 0.5);
    assert!((node.metric("signaling_dropped_total{reason=\"not-json\"}") - 2.0).abs() < 0.5);
}

#[tokio::test]
async fn binary_frames_that_hold_json_are_relayed_as_text() {
    let node = Node::memory().await;
    let (mut host, mut player) = (Client::join(&node, "r1").await, Client::join(&node, "r1").await);
    let sent = Message::binary(offer("binary").into_bytes());
    futures::SinkExt::send(&mut player.stream, sent).await.unwrap();
    assert_eq!(host.hear().await, offer("binary"));
}

#[tokio::test]
async fn fragments_are_one_message() {
    let node = Node::memory().await;
    let (mut host, mut player) = (Client::join(&node, "r1").await, Client::join(&node, "r1").await);
    let text = offer("fragments");
    let (head, tail) = text.split_at(10);
    for (part, code, last) in [(head, Data::Text, false), (tail, Data::Continue, true)] {
        let frame = Frame::message(part.as_bytes().to_vec(), OpCode::Data(code), last);
        futures::SinkExt::send(&mut player.stream, Message::Frame(frame))
            .await
            .unwrap();
    }
    assert_eq!(host.hear().await, text);
}

#[tokio::test]
async fn frames_that_break_the_protocol_are_told_so() {
    let node = Node::memory().await;
    node.change(|settings| settings.websocket.max_message_bytes = 1024);
    let masked = |head: [u8; 2], payload: &[u8]| [&head[..], &[0, 0, 0, 0], payload].concat();
    let cases = [
        ("a message over the limit", masked([0x81, 0xfe], &[]), 1009),
        (
            "text that is not UTF-8",
            masked([0x81, 0x82], &[0xff, 0xfe]),
            1007,
        ),
        ("a frame that is not masked", vec![0x81, 0x02, b'{', b'}'], 1002),
        ("an unknown opcode", masked([0x83, 0x80], &[]), 1002),
        ("a reserved bit", masked([0xc1, 0x80], &[]), 1002),
        ("a continuation of nothing", masked([0x80, 0x80], &[]), 1002),
        ("a control frame in fragments", masked([0x09, 0x80], &[]), 1002),
    ];
    for (case, mut bytes, code) in cases {
        if code == 1009 {
            // Length 2048, in two bytes before the mask.
            bytes.splice(2..2, 2048u16.to_be_bytes());
        }
        let mut other = Client::join(&node, "r1").await;
        let mut client = Client::join(&node, "r1").await;
        client.send_raw(&bytes).await;
        assert_eq!(client.closed().await, (code, String::new()), "{case}");
        assert_eq!(other.hear().await, PEER_DISCONNECTED, "{case}");
        drop((client, other));
        node.empties().await;
    }
}

#[tokio::test]
async fn the_largest_message_passes() {
    let node = Node::memory().await;
    node.change(|settings| settings.websocket.max_message_bytes = 65_536);
    let (mut host, mut player) = (Client::join(&node, "r1").await, Client::join(&node, "r1").await);
    let text = offer(&"x".repeat(65_536 - offer("").len()));
    player.send(text.clone()).await;
    assert_eq!(host.hear().await, text);
    player.send(format!("{text} ")).await;
    assert_eq!(player.closed().await.0, 1009);
}

#[tokio::test]
async fn peers_hear_when_one_leaves() {
    let node = Node::memory().await;
    node.change(|settings| settings.rooms.capacity = 3);
    let mut stays = Client::join(&node, "r1").await;
    let mut stays_too = Client::join(&node, "r1").await;
    let leaves = Client::join(&node, "r1").await;
    let mut elsewhere = Client::join(&node, "r2").await;
    leaves.leave().await;
    assert_eq!(stays.hear().await, PEER_DISCONNECTED);
    assert_eq!(stays_too.hear().await, PEER_DISCONNECTED);
    // Dropped without a close frame.
    drop(stays);
    assert_eq!(stays_too.hear().await, PEER_DISCONNECTED);
    elsewhere.send("[]").await;
    assert_eq!(elsewhere.hear().await, SCHEMA_ERROR);
}

#[tokio::test]
async fn handshakes_on_any_path_with_the_first_subprotocol_and_the_instance() {
    let node = Node::memory().await;
    let plain = Client::open(node.address, Request::target("/healthz?roomId=r1")).await;
    assert_eq!(plain.headers.get("sec-websocket-protocol"), None);
    assert_eq!(plain.headers["x-berth-instance"], "i1");
    // The value of RFC 6455 for this key.
    assert_eq!(
        plain.headers["sec-websocket-accept"],
        "ICX+Yqv66kxgM0FcWaLWlFLwTAI="
    );
    assert_eq!(plain.headers.get("sec-websocket-extensions"), None);
    let request = Request::target("/any/path/at/all?x=1&roomId=r1&y=2")
        .header("Sec-WebSocket-Protocol", "b, a")
        .header("Sec-WebSocket-Extensions", "permessage-deflate");
    let mut client = Client::open(node.address, request).await;
    assert_eq!(client.headers["sec-websocket-protocol"], "b");
    assert_eq!(client.headers.get("sec-websocket-extensions"), None);
    client.send("[]").await;
    assert_eq!(client.hear().await, SCHEMA_ERROR);
}

#[tokio::test]
async fn what_comes_right_behind_the_request_is_not_lost() {
    let node = Node::memory().await;
    let mut host = Client::join(&node, "r1").await;
    let text = offer("eager");
    let mut request = Request::room("r1");
    let length = u8::try_from(text.len()).unwrap();
    request.behind = [&[0x81, 0x80 | length, 0, 0, 0, 0], text.as_bytes()].concat();
    let mut player = Client::open(node.address, request).await;
    player.send(candidate("next")).await;
    assert_eq!(host.hear_many(2).await, [text, candidate("next")]);
}

#[tokio::test]
async fn plain_requests() {
    let public = Node::start(NodeOptions {
        public_metrics: true,
        ..NodeOptions::default()
    })
    .await;
    for (target, expected) in [("/healthz", (200, "ok")), ("/readyz", (200, "ready"))] {
        for port in [public.address, public.internal] {
            assert_eq!(
                get(port, target).await,
                (expected.0, expected.1.to_owned()),
                "{target}"
            );
        }
    }
    for target in ["/", "/?roomId=r1", "/nothing", "/statusz"] {
        assert_eq!(
            get(public.address, target).await,
            (426, "Upgrade Required".to_owned()),
            "{target}"
        );
    }
    assert_eq!(
        get(public.internal, "/nothing").await,
        (404, "not-found".to_owned())
    );
    for port in [public.address, public.internal] {
        let (status, text) = get(port, "/metrics").await;
        assert_eq!(status, 200);
        for name in [
            "signaling_active_connections",
            "signaling_local_rooms",
            "signaling_messages_forwarded_total",
            "signaling_schema_rejections_total",
            "signaling_rate_limit_drops_total",
            "signaling_backpressure_closes_total",
            "signaling_fanout_latency_seconds_bucket",
            "process_resident_memory_bytes",
        ] {
            assert!(
                text.lines().any(|line| line.starts_with(name)),
                "{name} is missing in\n{text}"
            );
        }
    }
    let (_, status) = get(public.internal, "/statusz").await;
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    assert_eq!(
        (&status["service"], &status["instance"], &status["rooms"]),
        (&"signaling".into(), &"i1".into(), &0.into())
    );

    let private = Node::memory().await;
    assert_eq!(get(private.address, "/metrics").await.0, 426);
}
