//! What both ports answer to requests that are no WebSocket handshakes.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::{Client, DEADLINE, Node, NodeOptions, RedisServer, Request, eventually, get};

/// Status and body of a request that is written by hand.
async fn ask(address: std::net::SocketAddr, request: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    timeout(DEADLINE, stream.read_to_string(&mut answer))
        .await
        .expect("an answer in time")
        .unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, body.to_owned())
}

fn plain(method: &str, target: &str) -> String {
    format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
}

async fn public() -> Node {
    Node::start(NodeOptions {
        public_metrics: true,
        ..NodeOptions::default()
    })
    .await
}

/// The Node services compare the whole URL and look at nothing else.
#[tokio::test]
async fn the_main_port_compares_the_whole_url_and_no_method() {
    let node = public().await;
    let upgrade = (426, "Upgrade Required".to_owned());
    for target in [
        "/",
        "/?roomId=r1",
        "/healthz?",
        "/healthz?x=1",
        "/readyz?x=1",
        "/metrics?x=1",
        "/healthz/",
        "//healthz",
        "/Healthz",
        "/health",
        "/statusz",
        "/ready",
    ] {
        for method in ["GET", "POST"] {
            assert_eq!(
                ask(node.address, &plain(method, target)).await,
                upgrade,
                "{method} {target}"
            );
        }
    }
    for method in ["GET", "POST", "PUT", "DELETE", "OPTIONS"] {
        assert_eq!(
            ask(node.address, &plain(method, "/healthz")).await,
            (200, "ok".to_owned()),
            "{method}"
        );
        assert_eq!(
            ask(node.address, &plain(method, "/readyz")).await,
            (200, "ready".to_owned()),
            "{method}"
        );
        let (status, text) = ask(node.address, &plain(method, "/metrics")).await;
        assert!(
            status == 200 && text.contains("signaling_active_connections"),
            "{method}"
        );
    }
    for (target, status) in [("/healthz", 200), ("/readyz", 200), ("/metrics", 200), ("/", 426)] {
        assert_eq!(
            ask(node.address, &plain("HEAD", target)).await,
            (status, String::new()),
            "{target}"
        );
    }
}

#[tokio::test]
async fn the_health_port_knows_the_rest_and_answers_404_elsewhere() {
    let node = public().await;
    assert_eq!(get(node.internal, "/healthz").await, (200, "ok".to_owned()));
    assert_eq!(get(node.internal, "/readyz").await, (200, "ready".to_owned()));
    assert_eq!(get(node.internal, "/metrics").await.0, 200);
    for target in ["/", "/health", "/healthz/", "/?roomId=r1"] {
        assert_eq!(
            get(node.internal, target).await,
            (404, "not-found".to_owned()),
            "{target}"
        );
    }
    let (status, text) = get(node.internal, "/statusz").await;
    let document: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!((status, &document["ready"]), (200, &true.into()));
}

#[tokio::test]
async fn readiness_is_one_word_through_a_whole_outage() {
    let mut redis = RedisServer::start();
    let node = Node::on(&redis, "i1").await;
    let ports = [node.address, node.internal];
    redis.kill();
    for (expected, word) in [(503, "not-ready"), (200, "ready")] {
        for port in ports {
            eventually(word, || async {
                let (status, body) = get(port, "/readyz").await;
                assert!(
                    matches!((status, &*body), (200, "ready") | (503, "not-ready")),
                    "{status} {body}"
                );
                (status == expected).then_some(())
            })
            .await;
            assert_eq!(get(port, "/healthz").await, (200, "ok".to_owned()));
        }
        if expected == 503 {
            redis.restart();
        }
    }
}

/// Handshakes that are none are answered without an upgrade; nothing is closed by code, for there is no WebSocket.
#[tokio::test]
async fn a_handshake_that_is_none_is_a_bad_request() {
    let node = Node::memory().await;
    let key = "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n";
    let version = "Sec-WebSocket-Version: 13\r\n";
    for (method, headers) in [
        ("GET", version.to_owned()),
        ("GET", format!("{version}Sec-WebSocket-Key: short\r\n")),
        ("GET", key.to_owned()),
        ("GET", format!("{key}Sec-WebSocket-Version: 12\r\n")),
        ("POST", format!("{key}{version}")),
    ] {
        let request = format!(
            "{method} /?roomId=r1 HTTP/1.1\r\nHost: h\r\nConnection: Upgrade, close\r\nUpgrade: websocket\r\n{headers}\r\n"
        );
        let (status, _) = ask(node.address, &request).await;
        assert_eq!(status, 400, "{method} {headers}");
    }
    // Lists and any case are as good.
    let request = format!(
        "GET /?roomId=r1 HTTP/1.1\r\nHost: h\r\nconnection: keep-alive, UPGRADE\r\nupgrade: WebSocket\r\n{key}{version}\r\n"
    );
    let mut stream = TcpStream::connect(node.address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut start = [0; 12];
    timeout(DEADLINE, stream.read_exact(&mut start))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(&start, b"HTTP/1.1 101");
}

/// The first offered subprotocol is echoed whether one is required or not: clients that offer one fail without it.
#[tokio::test]
async fn the_first_offered_subprotocol_is_echoed() {
    let node = Node::memory().await;
    for (required, offered, echoed) in [
        (None, Some("b, a"), Some("b")),
        (None, Some("only"), Some("only")),
        (None, None, None),
        (Some("a"), Some("b, a"), Some("b")),
        (Some("a"), Some("a"), Some("a")),
    ] {
        node.change(|settings| settings.websocket.subprotocol = required.map(str::to_owned));
        let mut request = Request::room("r1");
        if let Some(offered) = offered {
            request = request.header("Sec-WebSocket-Protocol", offered);
        }
        let mut client = Client::open(node.address, request).await;
        assert_eq!(
            client.headers.get("sec-websocket-protocol").map(String::as_str),
            echoed
        );
        client.send("[]").await;
        assert!(client.hear().await.contains("schema-error"));
        client.leave().await;
        node.empties().await;
    }
}
