//! What a host does with messages of its room that no well-behaved player sends in this order.

use std::time::{Duration, Instant};

use berth::host::event::HostEvent;
use berth::peer::candidate::CandidatePair;
use berth::peer::connection::{Connection, ConnectionOptions, Notice, OfferOptions};
use berth::peer::ice_server::IceEndpoints;
use berth::peer::signal::Signal;
use berth::peer::socket::{Seat, SignalingSocket};
use berth::peer::transport::GatherOptions;
use berth::play::options::Goals;
use berth::play::probe::{CHANNEL, Probe, ProbeNote};

use crate::support::doubles::{Behaviour, Doubles};
use crate::support::{DEADLINE, Hosts, eventually, host_options};

/// A player whose messages the test passes on by hand.
struct Player {
    socket: SignalingSocket,
    connection: Connection<Probe>,
}

impl Player {
    async fn enter(doubles: &Doubles) -> Self {
        let seat = Seat {
            url: doubles.ws().parse().unwrap(),
            room: "room".into(),
            token: None,
        };
        let options = ConnectionOptions {
            gather: GatherOptions::default(),
            ice: IceEndpoints::default(),
            connect_timeout: DEADLINE,
            orphan_grace: DEADLINE,
        };
        let probe = Probe::new(
            Goals {
                frames: 1,
                round_trips: 1,
            },
            Instant::now(),
        );
        let offer = OfferOptions {
            channel: CHANNEL.into(),
            video: true,
        };
        Self {
            socket: SignalingSocket::open(&seat).await.unwrap(),
            connection: Connection::offering(probe, options, offer),
        }
    }

    /// The offer and the candidates that follow it at once.
    async fn opening(&mut self) -> Vec<Signal> {
        let mut signals = Vec::new();
        while let Ok(Some(Notice::Signal(signal))) =
            tokio::time::timeout(Duration::from_millis(500), self.connection.next()).await
        {
            signals.push(signal);
        }
        assert!(
            matches!(signals[0], Signal::Offer { .. }) && signals.len() > 1,
            "{signals:?}"
        );
        signals
    }

    async fn send(&mut self, signals: impl IntoIterator<Item = Signal>) {
        for signal in signals {
            self.socket.send(&signal).await.unwrap();
        }
    }

    /// Passes messages on until the connection is up; `edit` changes those of the host.
    async fn connect(&mut self, edit: impl Fn(Signal) -> Option<Signal>) -> CandidatePair {
        let up = async {
            loop {
                tokio::select! {
                    signal = self.socket.receive() => match edit(signal.unwrap()) {
                        Some(Signal::Answer { sdp }) => self.connection.answer(sdp),
                        Some(Signal::Candidate(c)) => self.connection.candidate(c.candidate),
                        _ => {}
                    },
                    notice = self.connection.next() => match notice.expect("a connection") {
                        Notice::Signal(signal) => self.socket.send(&signal).await.unwrap(),
                        Notice::Connected(pair) => return pair,
                        Notice::Note(_) => {}
                    },
                }
            }
        };
        tokio::time::timeout(DEADLINE, up)
            .await
            .expect("a connection in time")
    }

    /// Waits for an echo that is later than `time` from now, without signaling.
    async fn echoes_for(&mut self, time: Duration) {
        let start = Instant::now();
        let mut first = None;
        while let Some(notice) = self.connection.next().await {
            if let Notice::Note(ProbeNote::Alive {
                round_trips,
                silent_for,
                ..
            }) = notice
            {
                let first = *first.get_or_insert(round_trips);
                let fresh = silent_for < Duration::from_secs(1);
                if start.elapsed() > time && round_trips > first && fresh {
                    return;
                }
                assert!(start.elapsed() < time + DEADLINE, "no echo");
            }
        }
        panic!("the connection ended");
    }
}

async fn start() -> (Doubles, Hosts) {
    let doubles = Doubles::start(Behaviour::default()).await;
    let (http, ws) = (doubles.http(), doubles.ws());
    let args = [
        "--matchmaker",
        &http,
        "--signaling",
        &ws,
        "--id",
        "h",
        "--room",
        "room",
    ];
    let host = Hosts::start(host_options(&args));
    host.wait_for("the host's seat", 1, |event| {
        matches!(event, HostEvent::Joined { .. })
    })
    .await;
    (doubles, host)
}

fn ended(event: &HostEvent) -> bool {
    matches!(event, HostEvent::SessionEnded { .. })
}

fn end_reason(host: &Hosts) -> &'static str {
    match host.last(ended) {
        Some(HostEvent::SessionEnded { reason, .. }) => reason,
        _ => "none",
    }
}

/// A description without the candidates that it carries.
fn without_candidates(signal: Signal) -> Signal {
    let strip = |sdp: String| -> String {
        sdp.split_inclusive('\n')
            .filter(|line| !line.starts_with("a=candidate:"))
            .collect()
    };
    match signal {
        Signal::Offer { sdp } => Signal::Offer { sdp: strip(sdp) },
        Signal::Answer { sdp } => Signal::Answer { sdp: strip(sdp) },
        other => other,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn candidates_may_overtake_their_offer() {
    let (doubles, host) = start().await;
    let mut player = Player::enter(&doubles).await;
    let mut signals = player.opening().await;
    signals.rotate_left(1);
    assert!(matches!(signals.last(), Some(Signal::Offer { .. })));
    player.send(signals.into_iter().map(without_candidates)).await;
    // The host's side comes without candidates, so only those that came early can connect.
    let pair = player
        .connect(|signal| match signal {
            Signal::Candidate(_) => None,
            other => Some(without_candidates(other)),
        })
        .await;
    assert_eq!(pair.remote.kind, "prflx");
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_in_place_of_addresses_do_not_stop_a_session() {
    let (doubles, host) = start().await;
    let mut player = Player::enter(&doubles).await;
    let mut signals = player.opening().await;
    for signal in &mut signals {
        *signal = without_candidates(signal.clone());
        if let Signal::Candidate(candidate) = signal {
            let mut words: Vec<_> = candidate.candidate.split(' ').map(str::to_owned).collect();
            words[4] = "8a6e3f0c-1d2b.local".into();
            candidate.candidate = words.join(" ");
            candidate.sdp_mid = None;
            candidate.sdp_m_line_index = None;
        }
    }
    player.send(signals).await;
    let pair = player.connect(Some).await;
    assert_eq!(pair.remote.kind, "host");
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_player_without_signaling_keeps_its_session_and_a_new_offer_takes_it() {
    let (doubles, host) = start().await;
    let mut first = Player::enter(&doubles).await;
    let signals = first.opening().await;
    first.send(signals).await;
    first.connect(Some).await;

    let Player { socket, connection } = first;
    socket.close().await;
    let mut second = Player::enter(&doubles).await;
    let mut first = Player {
        socket: second.socket,
        connection,
    };
    // Longer than the grace that a silent player has.
    first.echoes_for(Duration::from_secs(7)).await;
    assert_eq!(host.count(ended), 0);
    let Player {
        socket,
        connection: kept,
    } = first;
    second.socket = socket;

    let signals = second.opening().await;
    second.send(signals).await;
    second.connect(Some).await;
    host.wait_for("the end of the first session", 1, ended).await;
    assert_eq!(end_reason(&host), "replaced");
    let started = |event: &HostEvent| matches!(event, HostEvent::SessionStarted { .. });
    host.wait_for("the second session", 2, started).await;
    drop(kept);
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_offer_of_the_same_peer_connection_is_answered_within_the_session() {
    let (doubles, host) = start().await;
    let mut player = Player::enter(&doubles).await;
    let signals = player.opening().await;
    player.send(signals.clone()).await;
    player.connect(Some).await;
    let answers = || {
        doubles
            .relayed()
            .iter()
            .filter(|message| message["type"] == "answer")
            .count()
    };
    assert_eq!(answers(), 1);
    player.send(signals).await;
    eventually("a second answer", || (answers() == 2).then_some(())).await;
    player.echoes_for(Duration::ZERO).await;
    assert_eq!(
        host.count(|event| matches!(event, HostEvent::SessionStarted { .. })),
        1
    );
    assert_eq!(host.count(ended), 0);
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_player_that_vanishes_is_gone_after_the_grace() {
    let (doubles, host) = start().await;
    let mut player = Player::enter(&doubles).await;
    let signals = player.opening().await;
    player.send(signals).await;
    player.connect(Some).await;
    let vanished = Instant::now();
    // Neither goodbye on the connection nor a close frame.
    drop(player);
    host.wait_for("the end of the session", 1, ended).await;
    assert_eq!(end_reason(&host), "peer-left");
    assert!(vanished.elapsed() >= Duration::from_secs(4), "not at once");
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nonsense_in_the_room_does_not_hurt_the_host() {
    let (doubles, host) = start().await;
    let mut vandal = Player::enter(&doubles).await;
    let nonsense = [
        Signal::Offer {
            sdp: "not an sdp".into(),
        },
        Signal::Offer {
            sdp: "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n".into(),
        },
        Signal::Answer { sdp: "v=0".into() },
        Signal::Control {
            action: "ready".into(),
        },
        Signal::PeerDisconnected,
    ];
    vandal.send(nonsense).await;
    host.wait_for("refused offers", 2, ended).await;
    let signals = vandal.opening().await;
    vandal.send(signals).await;
    vandal.connect(Some).await;
    host.stop().await;
}
