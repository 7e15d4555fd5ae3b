use std::net::Ipv4Addr;
use std::task::Waker;

use berth_crds::api::{SignalingCluster, SignalingClusterSpec};
use berth_crds::settings::SignalingSettings;
use tokio::net::TcpListener;

use super::*;

/// A connection, and its peer's socket.
async fn pair() -> (Conn, TcpStream) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let peer = TcpStream::connect(listener.local_addr().unwrap());
    let (peer, ours) = tokio::join!(peer, listener.accept());
    let resource = SignalingCluster::new("main", SignalingClusterSpec::new("ws://x"));
    let settings = SignalingSettings::try_from(&resource).unwrap();
    (
        Conn::new(ours.unwrap().0, &[], &settings.websocket, false),
        peer.unwrap(),
    )
}

fn listens(conn: &Conn) {
    let mut context = Context::from_waker(Waker::noop());
    assert!(conn.poll_next(&mut context).is_pending());
}

#[tokio::test]
async fn only_who_would_be_heard_can_fall_silent() {
    let (conn, _peer) = pair().await;
    // Nobody reads yet: its seat is being asked for.
    for _ in 0..5 {
        conn.ping();
        assert!(!conn.is_gone());
    }
    listens(&conn);
    conn.ping();
    assert!(conn.is_gone());
    assert_eq!(conn.ending(), Ending::Silence);
}

#[tokio::test]
async fn the_end_of_a_connection_has_a_cause() {
    let (conn, peer) = pair().await;
    drop(peer);
    let ended = std::future::poll_fn(|context| conn.poll_next(context)).await;
    assert_eq!((ended, conn.ending()), (Event::Ended, Ending::Lost));

    let (conn, _peer) = pair().await;
    listens(&conn);
    conn.close(Close::TooLarge);
    assert_eq!(conn.ending(), Ending::Server);
    // A peer that does not answer the close frame is still one that the server closed.
    conn.ping();
    conn.ping();
    assert_eq!(conn.ending(), Ending::Server);
}

#[tokio::test]
async fn a_drain_has_its_code_for_v1_alone() {
    for (v2, code) in [(false, 4321_u16), (true, 1012)] {
        let (conn, mut peer) = pair().await;
        conn.socket.lock().v2 = v2;
        conn.drain(4321);
        let mut bytes = [0; 512];
        let count = tokio::io::AsyncReadExt::read(&mut peer, &mut bytes)
            .await
            .unwrap();
        let frame = [&[0x88, 17][..], &code.to_be_bytes(), b"Server draining"].concat();
        assert!(bytes[..count].ends_with(&frame), "{:?}", &bytes[..count]);
        assert_eq!(conn.closed(), Some(Close::Draining));
    }
}
