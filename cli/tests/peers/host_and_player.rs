//! A simulated host and a headless player meet in one process.

use std::time::{Duration, Instant};

use crate::support::doubles::{Behaviour, Doubles};
use crate::support::{Hosts, eventually, host_options, play_options, registered};
use berth::host::event::HostEvent;
use berth::play::event::{PlayEvent, silent_sink};
use berth::play::report::{Outcome, Report};
use serde_json::json;
use tokio_util::sync::CancellationToken;

fn is_joined(event: &HostEvent) -> bool {
    matches!(event, HostEvent::Joined { .. })
}

fn is_started(event: &HostEvent) -> bool {
    matches!(event, HostEvent::SessionStarted { .. })
}

fn is_ended(event: &HostEvent) -> bool {
    matches!(event, HostEvent::SessionEnded { .. })
}

fn start_host(doubles: &Doubles, args: &[&str]) -> Hosts {
    let (http, ws) = (doubles.http(), doubles.ws());
    let mut all = vec![
        "--matchmaker",
        &http,
        "--signaling",
        &ws,
        "--id",
        "h",
        "--room",
        "room",
    ];
    all.extend(args);
    Hosts::start(host_options(&all))
}

async fn play(doubles: &Doubles, args: &[&str]) -> Report {
    let http = doubles.http();
    let mut all = vec!["--matchmaker", http.as_str()];
    all.extend(args);
    if !args.contains(&"--timeout") {
        all.extend(["--timeout", "60"]);
    }
    berth::play::run(play_options(&all)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn data_channel_and_video_reach_the_player() {
    let doubles = Doubles::start(Behaviour {
        instances: vec!["sig-a".into()],
        ..Behaviour::default()
    })
    .await;
    let host = start_host(&doubles, &[]);
    registered(&doubles).await;

    let report = play(&doubles, &["--frames", "40", "--round-trips", "20"]).await;

    assert_eq!(report.outcome, Outcome::Ok, "{report:?}");
    assert_eq!(report.exit_code, 0);
    assert_eq!(report.instance.as_deref(), Some("sig-a"));
    assert!(report.round_trip.count >= 20);
    assert!(report.video.frames >= 40);
    assert!(report.video.keyframes >= 1);
    assert_eq!(report.video.in_order, Some(true));
    assert!(report.video.last_frame_number >= Some(40));
    assert!(report.time_to_match_ms <= report.time_to_joined_ms);
    assert!(report.time_to_joined_ms <= report.time_to_connected_ms);
    let pair = report.candidate_pair.expect("a pair");
    assert_eq!((pair.local.kind, pair.remote.kind), ("host", "host"));

    host.wait_for("the end of the session", 1, is_ended).await;
    let Some(HostEvent::SessionEnded {
        reason,
        connected,
        frames,
        echoed,
        ..
    }) = host.last(is_ended)
    else {
        panic!("no end");
    };
    assert_eq!(reason, "remote-closed", "the player says goodbye");
    assert!(connected && frames >= 40 && echoed >= 20);
    assert!(host.count(|event| matches!(event, HostEvent::Input { .. })) >= 1);
    host.stop().await;
    assert_eq!(doubles.members("room"), 0, "both left the room");
}

#[tokio::test(flavor = "multi_thread")]
async fn heartbeats_tell_the_session_and_present_hosts_do_not() {
    for (flags, expected) in [(&[][..], vec![1, 0, 1, 0]), (&["--present-host"][..], vec![1])] {
        let doubles = Doubles::start(Behaviour::default()).await;
        let host = start_host(&doubles, flags);
        registered(&doubles).await;
        assert_eq!(
            play(&doubles, &["--frames", "1", "--seconds", "2"])
                .await
                .exit_code,
            0
        );
        host.wait_for("the end of the session", 1, is_ended).await;
        eventually("the free slot told", || {
            (doubles.heartbeats().last()?["availableSlots"] == 1).then_some(())
        })
        .await;
        host.stop().await;
        let beats = doubles.heartbeats();
        let mut slots: Vec<_> = beats
            .iter()
            .map(|beat| beat["availableSlots"].as_u64().unwrap())
            .collect();
        slots.dedup();
        // A slow machine may send a heartbeat before the seat is there.
        let slots = if slots[0] == 0 { &slots[1..] } else { &slots[..] };
        assert_eq!(slots, expected, "flags {flags:?}");
        let busy = beats.iter().any(|beat| beat["status"] == "busy");
        assert_eq!(busy, flags.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_have_the_v1_form() {
    let doubles = Doubles::start(Behaviour::default()).await;
    let host = start_host(&doubles, &[]);
    registered(&doubles).await;
    assert_eq!(play(&doubles, &["--frames", "1"]).await.exit_code, 0);
    host.stop().await;

    let relayed = doubles.relayed();
    let of = |kind: &str| {
        relayed
            .iter()
            .filter(|m| m["type"] == kind)
            .cloned()
            .collect::<Vec<_>>()
    };
    let offer = of("offer")[0]["sdp"].as_str().unwrap().to_owned();
    assert!(offer.contains("H264") && offer.contains("a=recvonly"), "{offer}");
    let answer = of("answer")[0]["sdp"].as_str().unwrap().to_owned();
    assert!(
        answer.contains("a=max-message-size:"),
        "browsers assume 64 KiB without it"
    );
    assert!(answer.contains("a=sendonly"), "{answer}");
    let candidates = of("candidate");
    assert!(candidates.len() >= 2, "both sides trickle");
    for candidate in candidates {
        assert!(candidate["candidate"].as_str().unwrap().starts_with("candidate:"));
        assert!(candidate["sdpMid"].is_string(), "{candidate}");
        assert_eq!(candidate["sdpMLineIndex"], 0);
    }
    assert!(relayed.iter().all(|m| m["type"] != "control"));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_video_there_is_only_the_data_channel() {
    let doubles = Doubles::start(Behaviour::default()).await;
    let host = start_host(&doubles, &[]);
    registered(&doubles).await;
    let report = play(&doubles, &["--frames", "0", "--round-trips", "5"]).await;
    assert_eq!(report.outcome, Outcome::Ok, "{report:?}");
    assert_eq!(report.video.frames, 0);
    host.wait_for("the end of the session", 1, is_ended).await;
    assert!(matches!(
        host.last(is_ended),
        Some(HostEvent::SessionEnded { frames: 0, .. })
    ));
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_player_stays_as_long_as_it_wants() {
    let doubles = Doubles::start(Behaviour::default()).await;
    let host = start_host(&doubles, &[]);
    registered(&doubles).await;
    let start = Instant::now();
    let report = play(&doubles, &["--seconds", "3"]).await;
    assert_eq!(report.outcome, Outcome::Ok, "{report:?}");
    assert!(start.elapsed() >= Duration::from_secs(3));
    assert!(report.video.frames >= 1 && report.round_trip.count >= 1);
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_serves_one_player_after_another() {
    let doubles = Doubles::start(Behaviour::default()).await;
    let host = start_host(&doubles, &[]);
    for session in 1..=3 {
        registered(&doubles).await;
        let report = play(&doubles, &["--frames", "3", "--round-trips", "3"]).await;
        assert_eq!(report.outcome, Outcome::Ok, "{report:?}");
        host.wait_for("the end of the session", session, is_ended).await;
    }
    assert_eq!(host.count(is_started), 3);
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_session_survives_the_loss_of_signaling_on_both_sides() {
    let doubles = Doubles::start(Behaviour::default()).await;
    let host = start_host(&doubles, &[]);
    registered(&doubles).await;
    let http = doubles.http();
    let options = play_options(&[
        "--matchmaker",
        &http,
        "--hold",
        "12",
        "--frames",
        "3",
        "--max-gap",
        "8",
    ]);
    let player = tokio::spawn(berth::play::run(options));
    host.wait_for("the session", 1, is_started).await;

    doubles.close_all(1012, "Server draining");

    host.wait_for("the host's return", 2, is_joined).await;
    eventually("the player's return", || {
        (doubles.members("room") == 2).then_some(())
    })
    .await;
    let report = player.await.unwrap();
    assert_eq!(report.outcome, Outcome::Ok, "{report:?}");
    assert!(report.signaling_losses >= 1);
    assert_eq!(host.count(is_started), 1, "it is still the first session");
    host.wait_for("the end of the session", 1, is_ended).await;
    assert!(matches!(
        host.last(is_ended),
        Some(HostEvent::SessionEnded {
            reason: "remote-closed",
            ..
        })
    ));
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_offer_that_was_lost_is_sent_again() {
    let doubles = Doubles::start(Behaviour {
        lose_offers: 1,
        ..Behaviour::default()
    })
    .await;
    let host = start_host(&doubles, &[]);
    registered(&doubles).await;
    let report = play(&doubles, &["--frames", "1"]).await;
    assert_eq!(report.outcome, Outcome::Ok, "{report:?}");
    host.wait_for("the end of the session", 1, is_ended).await;
    assert_eq!(host.count(is_started), 1);
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_avoided_instance_is_left_until_another_answers() {
    let instances = ["sig-a", "sig-a", "sig-a", "sig-b"].map(String::from).to_vec();
    let doubles = Doubles::start(Behaviour {
        instances,
        ..Behaviour::default()
    })
    .await;
    let host = start_host(&doubles, &[]);
    registered(&doubles).await;
    let report = play(&doubles, &["--avoid-instance", "sig-a", "--frames", "1"]).await;
    assert_eq!(report.outcome, Outcome::Ok, "{report:?}");
    assert_eq!(report.instance.as_deref(), Some("sig-b"));
    assert_eq!(report.signaling_attempts, 3);
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn match_tokens_open_the_room_to_both() {
    let doubles = Doubles::start(Behaviour {
        token: Some("secret".into()),
        ..Behaviour::default()
    })
    .await;
    let host = start_host(&doubles, &[]);
    registered(&doubles).await;
    let report = play(&doubles, &["--frames", "1"]).await;
    assert_eq!(report.outcome, Outcome::Ok, "{report:?}");
    assert!(host.count(|event| matches!(event, HostEvent::Reconnect { code: Some(1008), .. })) >= 1);
    assert!(!serde_json::to_string(&report).unwrap().contains("secret"));
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_whose_room_is_full_waits_and_gets_in_later() {
    let doubles = Doubles::start(Behaviour {
        refuse: Some((1000, "Room is full")),
        ..Behaviour::default()
    })
    .await;
    let host = start_host(&doubles, &[]);
    host.wait_for("the refusal", 1, |e| {
        matches!(e, HostEvent::Reconnect { code: Some(1000), .. })
    })
    .await;
    assert_eq!(host.count(is_joined), 0);
    doubles.change(|behaviour| behaviour.refuse = None);
    host.wait_for("the seat", 1, is_joined).await;
    registered(&doubles).await;
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_hosts_run_in_one_process() {
    let doubles = Doubles::start(Behaviour::default()).await;
    let host = start_host(&doubles, &["--count", "20", "--region", "eu"]);
    host.wait_for("all seats", 20, is_joined).await;
    host.wait_for("all heartbeats", 20, |e| {
        matches!(
            e,
            HostEvent::Registered {
                available_slots: 1,
                ..
            }
        )
    })
    .await;
    let report = play(&doubles, &["--host-id", "h-13", "--frames", "1"]).await;
    assert_eq!(report.outcome, Outcome::Ok, "{report:?}");
    assert_eq!(report.room_id.as_deref(), Some("room-13"));
    host.stop().await;
    assert!(doubles.heartbeats().iter().all(|beat| beat["region"] == "eu"));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_way_to_fail_has_its_exit_code() {
    let doubles = Doubles::start(Behaviour {
        no_hosts: true,
        ..Behaviour::default()
    })
    .await;
    let host = start_host(&doubles, &[]);
    registered(&doubles).await;
    let report = play(&doubles, &[]).await;
    assert_eq!((report.exit_code, report.outcome), (2, Outcome::NoHost));

    doubles.change(|behaviour| {
        behaviour.no_hosts = false;
        behaviour.refuse = Some((1008, "Forbidden"));
    });
    let report = play(&doubles, &[]).await;
    assert_eq!(
        (report.exit_code, report.outcome),
        (3, Outcome::SignalingRefused),
        "{report:?}"
    );

    // Offers never arrive: the host cannot answer.
    doubles.change(|behaviour| {
        behaviour.refuse = None;
        behaviour.lose_offers = usize::MAX;
    });
    let report = play(&doubles, &["--timeout", "2"]).await;
    assert_eq!(
        (report.exit_code, report.outcome),
        (4, Outcome::NotConnected),
        "{report:?}"
    );

    doubles.change(|behaviour| behaviour.lose_offers = 0);
    let report = play(&doubles, &["--frames", "1000000", "--timeout", "3"]).await;
    assert_eq!(
        (report.exit_code, report.outcome),
        (5, Outcome::StreamFailed),
        "{report:?}"
    );
    assert!(report.video.frames > 0, "what was measured is still told");

    let gone = berth::play::run(play_options(&["--matchmaker", "http://127.0.0.1:9"])).await;
    assert_eq!((gone.exit_code, gone.outcome), (1, Outcome::Error));
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupt_ends_a_good_session_well() {
    let doubles = Doubles::start(Behaviour::default()).await;
    let host = start_host(&doubles, &[]);
    registered(&doubles).await;
    let http = doubles.http();
    let options = play_options(&["--matchmaker", &http, "--hold", "600", "--frames", "1"]);
    let shutdown = CancellationToken::new();
    let (alive, mut seen) = tokio::sync::mpsc::unbounded_channel();
    let events: berth::play::event::Sink = std::sync::Arc::new(move |event| {
        if matches!(event, PlayEvent::Alive { .. }) {
            let _ = alive.send(());
        }
    });
    let player = tokio::spawn(berth::play::run_with(options, events, shutdown.clone()));
    seen.recv().await.expect("it reports while it holds");
    shutdown.cancel();
    let report = player.await.unwrap();
    assert_eq!(report.outcome, Outcome::Ok, "{report:?}");
    assert!(report.interrupted);
    eventually("the player's leave", || {
        (doubles.members("room") == 1).then_some(())
    })
    .await;
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_goes_away_ends_the_players_session() {
    let doubles = Doubles::start(Behaviour::default()).await;
    let host = start_host(&doubles, &[]);
    registered(&doubles).await;
    let http = doubles.http();
    let options = play_options(&["--matchmaker", &http, "--hold", "600", "--frames", "1"]);
    let player = tokio::spawn(berth::play::run_with(
        options,
        silent_sink(),
        CancellationToken::new(),
    ));
    host.wait_for("the session", 1, is_started).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    host.stop().await;
    let report = player.await.unwrap();
    assert_eq!(
        (report.exit_code, report.outcome),
        (5, Outcome::StreamFailed),
        "{report:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unusable_relay_only_setup_is_told_at_once() {
    let ice_servers = json!([{"urls": "stun:127.0.0.1:9"}]);
    let doubles = Doubles::start(Behaviour {
        ice_servers,
        ..Behaviour::default()
    })
    .await;
    let host = start_host(&doubles, &[]);
    registered(&doubles).await;
    let report = play(&doubles, &["--relay-only"]).await;
    assert_eq!(report.outcome, Outcome::NotConnected);
    assert!(report.error.unwrap().contains("TURN"));
    host.stop().await;
}
