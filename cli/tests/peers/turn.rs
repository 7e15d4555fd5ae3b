//! Candidates that ICE servers give: host and player over a real coturn, and a STUN server that
//! sees another address.

use crate::support::coturn::{CREDENTIAL_TTL, Coturn, unix_now};
use crate::support::doubles::{Behaviour, Doubles};
use crate::support::{Hosts, host_options, play_options, registered};
use std::net::{SocketAddr, UdpSocket};

use berth::play::report::Outcome;
use serde_json::Value;
use stun_proto::types::attribute::XorMappedAddress;
use stun_proto::types::message::{Message, MessageWriteVec};
use stun_proto::types::prelude::{MessageWrite, MessageWriteExt};

/// A host that offers its loopback address too, and has registered.
async fn loopback_host(doubles: &Doubles) -> Hosts {
    let (http, ws) = (doubles.http(), doubles.ws());
    let options = host_options(&["--matchmaker", &http, "--signaling", &ws, "--loopback"]);
    let host = Hosts::start(options);
    registered(doubles).await;
    host
}

#[tokio::test(flavor = "multi_thread")]
async fn two_relayed_peers_meet() {
    let coturn = Coturn::start();
    let doubles = Doubles::start(Behaviour {
        ice_servers: coturn.ice_servers(),
        ..Behaviour::default()
    })
    .await;
    let (http, ws) = (doubles.http(), doubles.ws());
    let (username, credential) = coturn.credential();
    let url = format!("turn:127.0.0.1:{}", coturn.port());
    let host = Hosts::start(host_options(&[
        "--matchmaker",
        &http,
        "--signaling",
        &ws,
        "--relay-only",
        "--ice-server",
        &url,
        "--ice-username",
        &username,
        "--ice-credential",
        &credential,
    ]));
    registered(&doubles).await;

    let options = play_options(&[
        "--matchmaker",
        &http,
        "--relay-only",
        "--frames",
        "30",
        "--round-trips",
        "30",
        "--timeout",
        "60",
    ]);
    let report = berth::play::run(options).await;

    assert_eq!(report.outcome, Outcome::Ok, "{report:?}");
    let pair = report.candidate_pair.clone().expect("a pair");
    assert_eq!(
        (pair.local.kind, pair.remote.kind),
        ("relay", "relay"),
        "{report:?}"
    );
    assert!(report.video.frames >= 30 && report.round_trip.count >= 30);
    for message in doubles
        .relayed()
        .iter()
        .filter(|message| message["type"] == "candidate")
    {
        let line = message["candidate"].as_str().unwrap();
        assert!(line.contains("typ relay"), "nothing else is revealed: {line}");
    }
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relayed_player_meets_a_direct_host() {
    let coturn = Coturn::start();
    let doubles = Doubles::start(Behaviour {
        ice_servers: coturn.ice_servers(),
        ..Behaviour::default()
    })
    .await;
    let host = loopback_host(&doubles).await;
    let options = play_options(&["--matchmaker", &doubles.http(), "--relay-only", "--timeout", "60"]);
    let report = berth::play::run(options).await;
    assert_eq!(report.outcome, Outcome::Ok, "{report:?}");
    assert_eq!(report.candidate_pair.expect("a pair").local.kind, "relay");
    host.stop().await;
}

/// What is wrong with a credential: the one that [`a_relayed_player_meets_a_direct_host`] uses, altered or too old.
fn refused(coturn: &Coturn) -> [(&'static str, Value); 3] {
    let altered = |field: &str, wrong: &str| {
        let mut servers = coturn.ice_servers();
        servers[0][field] = wrong.into();
        servers
    };
    let hours_ago = unix_now() - 2 * CREDENTIAL_TTL.as_secs();
    let longer = format!("{}:test", unix_now() + 7200);
    [
        ("another credential", altered("credential", "wrong")),
        ("a longer life", altered("username", &longer)),
        ("expired", coturn.ice_servers_made_at(hours_ago)),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_credential_gives_no_relay() {
    let coturn = Coturn::start();
    for (what, ice_servers) in refused(&coturn) {
        let doubles = Doubles::start(Behaviour {
            ice_servers,
            ..Behaviour::default()
        })
        .await;
        let host = loopback_host(&doubles).await;
        let options = play_options(&["--matchmaker", &doubles.http(), "--relay-only", "--timeout", "4"]);
        let report = berth::play::run(options).await;
        assert_eq!(report.outcome, Outcome::NotConnected, "{what}: {report:?}");
        host.stop().await;
    }
}

/// Answers one binding request after another with this address.
fn start_stun(mapped: SocketAddr) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    // The thread ends with the test process.
    std::thread::spawn(move || {
        let mut buffer = [0; 1500];
        while let Ok((length, source)) = socket.recv_from(&mut buffer) {
            let Ok(request) = Message::from_bytes(&buffer[..length]) else {
                continue;
            };
            let mut response = Message::builder_success(&request, MessageWriteVec::new());
            let attribute = XorMappedAddress::new(mapped, request.transaction_id());
            response.add_attribute(&attribute).unwrap();
            socket.send_to(&response.finish(), source).unwrap();
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn the_address_that_a_stun_server_sees_is_announced() {
    let stun = start_stun("203.0.113.7:40000".parse().unwrap());
    let ice_servers = serde_json::json!([{"urls": format!("stun:{stun}")}]);
    let doubles = Doubles::start(Behaviour {
        ice_servers,
        ..Behaviour::default()
    })
    .await;
    let host = loopback_host(&doubles).await;
    let report = berth::play::run(play_options(&["--matchmaker", &doubles.http(), "--loopback"])).await;
    assert_eq!(report.outcome, Outcome::Ok, "{report:?}");
    let announced = doubles.relayed().iter().any(|message| {
        message["candidate"]
            .as_str()
            .is_some_and(|line| line.contains("203.0.113.7 40000 typ srflx"))
    });
    assert!(announced, "{:?}", doubles.relayed());
    host.stop().await;
}
