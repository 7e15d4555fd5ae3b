use super::*;
use crate::host::video::h264::Encoder;
use crate::host::video::pattern::Pattern;
use str0m::Rtc;

const GOALS: Goals = Goals {
    frames: 2,
    round_trips: 3,
};

fn channel() -> ChannelId {
    Rtc::new(Instant::now()).sdp_api().add_channel("x".into())
}

fn opened(now: Instant) -> (Probe, ChannelId) {
    let mut probe = Probe::new(GOALS, now);
    let channel = channel();
    probe.handle(
        PeerEvent::ChannelOpened {
            channel,
            label: CHANNEL.into(),
        },
        now,
    );
    (probe, channel)
}

/// All actions that are due, as messages and notes.
fn act(probe: &mut Probe, now: Instant) -> (Vec<(bool, Bytes)>, Vec<ProbeNote>) {
    let (mut messages, mut notes) = (Vec::new(), Vec::new());
    while let Some(action) = probe.next_action(now) {
        match action {
            Action::Send { binary, data, .. } => messages.push((binary, data)),
            Action::Notify(note) => notes.push(note),
            Action::SendFrame { .. } | Action::RequestKeyframe(_) => {}
        }
    }
    (messages, notes)
}

fn echo(probe: &mut Probe, channel: ChannelId, data: &Bytes, now: Instant) {
    probe.handle(
        PeerEvent::Message {
            channel,
            binary: true,
            data: data.to_vec(),
        },
        now,
    );
}

fn frame(probe: &mut Probe, number: u64, now: Instant) {
    let marker = FrameMarker { number, drawn_at: 0 };
    let unit = Encoder::default().encode(&Pattern::new("x").draw(marker), marker, true);
    let mid = Mid::from("0");
    probe.handle(
        PeerEvent::Frame {
            mid,
            data: unit.data.into(),
            keyframe: true,
            contiguous: true,
        },
        now,
    );
}

#[test]
fn one_message_is_on_its_way_at_a_time_text_and_binary_in_turn() {
    let mut now = Instant::now();
    let (mut probe, channel) = opened(now);
    let mut kinds = Vec::new();
    for _ in 0..4 {
        let (messages, _) = act(&mut probe, now);
        assert_eq!(messages.len(), 1);
        kinds.push(messages[0].0);
        now += Duration::from_millis(7);
        assert!(act(&mut probe, now).0.is_empty());
        echo(&mut probe, channel, &messages[0].1, now);
        now = probe.wake_at().unwrap();
    }
    assert_eq!(kinds, [false, true, false, true]);
    let echoes = probe.echoes(now);
    assert_eq!(echoes.count, 4);
    assert!(
        echoes
            .samples
            .iter()
            .all(|sample| *sample == Duration::from_millis(7))
    );
}

#[test]
fn a_message_without_echo_is_lost_and_the_gap_is_measured() {
    let start = Instant::now();
    let (mut probe, channel) = opened(start);
    act(&mut probe, start);
    let later = start + LOST_AFTER;
    assert_eq!(probe.wake_at(), Some(later));
    let (messages, _) = act(&mut probe, later);
    assert_eq!(messages.len(), 1, "it goes on after a loss");
    echo(&mut probe, channel, &messages[0].1, later);
    let echoes = probe.echoes(later + Duration::from_secs(1));
    assert_eq!((echoes.count, echoes.lost), (1, 1));
    assert_eq!(echoes.longest_gap, LOST_AFTER);
    assert_eq!(
        probe.echoes(later + Duration::from_secs(9)).longest_gap,
        Duration::from_secs(9)
    );
}

#[test]
fn what_is_not_an_echo_does_not_count() {
    let now = Instant::now();
    let (mut probe, own) = opened(now);
    act(&mut probe, now);
    echo(&mut probe, own, &Bytes::from_static(b"welcome"), now);
    assert_eq!(probe.echoes(now).count, 0);
}

#[test]
fn goals_are_reached_once_and_then_it_reports() {
    let mut now = Instant::now();
    let (mut probe, channel) = opened(now);
    frame(&mut probe, 1, now);
    frame(&mut probe, 2, now);
    let mut notes = Vec::new();
    for _ in 0..4 {
        let (messages, new) = act(&mut probe, now);
        notes.extend(new);
        echo(&mut probe, channel, &messages[0].1, now);
        now = probe.wake_at().unwrap();
    }
    let reached = notes
        .iter()
        .filter(|note| **note == ProbeNote::GoalsReached)
        .count();
    assert_eq!(reached, 1, "{notes:?}");
    let (_, notes) = act(&mut probe, now + REPORT_INTERVAL);
    assert!(
        matches!(notes[..], [ProbeNote::Alive { frames: 2, .. }]),
        "{notes:?}"
    );
}

#[test]
fn frame_numbers_that_go_back_are_noticed() {
    let now = Instant::now();
    let mut probe = Probe::new(GOALS, now);
    for number in [1, 2, 2, 5, 4] {
        frame(&mut probe, number, now);
    }
    assert_eq!(probe.video().frames, 5);
    assert_eq!(probe.video().out_of_order, 2);
    assert_eq!(probe.video().last_number, Some(4));
}

#[test]
fn a_stream_that_starts_in_the_middle_needs_a_key_frame() {
    let now = Instant::now();
    let mut probe = Probe::new(GOALS, now);
    let mid = Mid::from("0");
    let data: std::sync::Arc<[u8]> = vec![0, 0, 0, 1, 0x61, 0].into();
    for _ in 0..3 {
        let data = data.clone();
        probe.handle(
            PeerEvent::Frame {
                mid,
                data,
                keyframe: false,
                contiguous: true,
            },
            now,
        );
    }
    let requests = std::iter::from_fn(|| probe.next_action(now))
        .filter(|action| matches!(action, Action::RequestKeyframe(_)))
        .count();
    assert_eq!(requests, 1);
}
