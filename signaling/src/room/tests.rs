//! Single stories; what holds in all of them is in `simulation`.

use uuid::Uuid;

use super::*;

mod departures;

fn member(number: u128) -> MemberId {
    MemberId(Uuid::from_u128(number))
}

fn instance(number: usize) -> Instance {
    Instance::new(&format!("i{number}"), 1)
}

fn seat(number: u64, on: usize) -> Seat {
    Seat::new(member(number.into()), instance(on), number)
}

fn text(text: &'static str) -> Text {
    Text::from_static(text)
}

fn sent(from: u128, number: u64, said: &'static str) -> Sent {
    Sent::new(member(from), number, text(said))
}

fn given(join: u64, others: &[Seat]) -> Given<'_> {
    Given {
        join,
        others,
        reaped: &[],
        moved_from: None,
        taken: 0,
    }
}

/// A room of instance 0 in which the local member 1 sits, with `others`.
fn room(others: &[Seat]) -> Room {
    let mut room = Room::new(instance(0));
    let view = room.enter();
    room.seated(view, member(1), Speech::V1, given(1, others));
    room
}

fn deliver(to: u128, said: &'static str) -> Effect {
    Effect::Deliver {
        to: member(to),
        text: text(said),
    }
}

fn publish(to: usize, sent: Sent) -> Effect {
    Effect::Publish {
        to: instance(to),
        notice: Notice::Message(sent),
    }
}

fn disconnected(to: u128) -> Effect {
    Effect::PeerDisconnected { to: member(to) }
}

#[test]
fn early_messages_reach_a_local_peer_first_and_in_order() {
    let mut room = room(&[]);
    for said in ["offer", "candidate"] {
        assert!(room.message(member(1), text(said)).is_empty());
    }
    assert_eq!(room.early(), 2);
    let view = room.enter();
    // Sent while the second member sits down: it is not there yet.
    assert!(room.message(member(1), text("late")).is_empty());
    let effects = room.seated(view, member(2), Speech::V1, given(2, &[seat(1, 0)]));
    assert_eq!(
        effects.as_slice(),
        [deliver(2, "offer"), deliver(2, "candidate"), deliver(2, "late")]
    );
    assert_eq!(
        room.message(member(2), text("answer")).as_slice(),
        [deliver(1, "answer")]
    );
}

#[test]
fn early_messages_reach_a_remote_peer_first_and_in_order() {
    let mut room = room(&[]);
    room.message(member(1), text("offer"));
    let effects = room.remote_joined(&seat(2, 1), &[seat(1, 0), seat(2, 1)], None);
    assert_eq!(effects.as_slice(), [publish(1, sent(1, 1, "offer"))]);
    assert_eq!(
        room.message(member(1), text("candidate")).as_slice(),
        [publish(1, sent(1, 2, "candidate"))]
    );
}

#[test]
fn early_messages_die_with_their_sender() {
    let mut room = room(&[]);
    room.message(member(1), text("offer"));
    room.leave(member(1), Departure::Left);
    assert!(room.is_deserted());
    let view = room.enter();
    assert!(room.seated(view, member(2), Speech::V1, given(2, &[])).is_empty());
}

#[test]
fn early_messages_are_bounded() {
    let mut room = room(&[]);
    let lost = (0..100)
        .filter(|_| !room.message(member(1), text("x")).is_empty())
        .count();
    assert_eq!((room.early(), lost), (64, 36));
}

#[test]
fn a_message_is_published_once_per_instance() {
    let mut room = room(&[seat(2, 1), seat(3, 1), seat(4, 2)]);
    let effects = room.message(member(1), text("offer"));
    assert_eq!(
        effects.as_slice(),
        [publish(1, sent(1, 1, "offer")), publish(2, sent(1, 1, "offer"))]
    );
    let mut receiver = Room::new(instance(1));
    for (number, others) in [(2, vec![seat(1, 0)]), (3, vec![seat(1, 0), seat(2, 1)])] {
        let view = receiver.enter();
        receiver.seated(
            view,
            member(number),
            Speech::V1,
            given(u64::try_from(number).unwrap(), &others),
        );
    }
    let effects = receiver.remote_message(sent(1, 1, "offer"), instance(1).short());
    assert_eq!(effects.as_slice(), [deliver(2, "offer"), deliver(3, "offer")]);
    let again = receiver.remote_message(sent(1, 1, "offer"), instance(1).short());
    assert_eq!(
        again.as_slice(),
        [Effect::Lost {
            loss: Loss::Stale,
            messages: 1
        }]
    );
}

#[test]
fn peers_hear_of_a_departure_once() {
    let mut room = room(&[seat(2, 1)]);
    assert_eq!(
        room.remote_left(member(2), &instance(1), Departure::Left)
            .as_slice(),
        [disconnected(1)]
    );
    assert!(
        room.remote_left(member(2), &instance(1), Departure::Left)
            .is_empty()
    );
    let view = room.enter();
    room.seated(view, member(3), Speech::V1, given(3, &[seat(1, 0)]));
    let (effects, Parting { told, .. }) = room.leave(member(3), Departure::Left).unwrap();
    assert_eq!(
        (effects.as_slice(), told.as_slice()),
        ([disconnected(1)].as_slice(), [].as_slice())
    );
}

#[test]
fn a_drained_peer_that_comes_back_was_never_gone() {
    let mut room = room(&[seat(2, 1)]);
    assert_eq!(
        room.remote_left(member(2), &instance(1), Departure::Drained)
            .as_slice(),
        [Effect::Grace(member(2))]
    );
    // Meanwhile the other one goes on talking; nothing of it is lost.
    assert!(room.message(member(1), text("candidate")).is_empty());
    let effects = room.remote_joined(&seat(3, 2), &[seat(1, 0), seat(3, 2)], None);
    assert_eq!(effects.as_slice(), [publish(2, sent(1, 1, "candidate"))]);
    assert!(room.grace_over(member(2)).is_empty());
}

#[test]
fn a_drained_peer_that_stays_away_is_gone_after_the_grace() {
    let mut room = room(&[seat(2, 1)]);
    room.remote_left(member(2), &instance(1), Departure::Drained);
    assert_eq!(room.grace_over(member(2)).as_slice(), [disconnected(1)]);
    assert!(room.grace_over(member(2)).is_empty());
}

#[test]
fn messages_to_an_instance_that_is_gone_become_early_ones() {
    let mut room = room(&[seat(2, 1)]);
    for said in ["offer", "candidate"] {
        room.message(member(1), text(said));
    }
    let effects = room.unreached(&instance(1), vec![sent(1, 1, "offer")], true);
    let [Effect::Ask(view)] = effects.as_slice() else {
        panic!("{effects:?}")
    };
    assert!(room.message(member(1), text("late")).is_empty());
    assert!(
        room.unreached(&instance(1), vec![sent(1, 2, "candidate")], false)
            .is_empty()
    );
    // The store does not list the unreachable member: that alone does not mean that it is gone.
    assert!(room.answer(*view, Some(&[seat(1, 0)])).is_empty());
    assert_eq!(
        room.remote_left(member(2), &instance(1), Departure::Left)
            .as_slice(),
        [disconnected(1)]
    );
    let effects = room.remote_joined(&seat(3, 2), &[seat(1, 0), seat(3, 2)], None);
    let expected =
        [sent(1, 1, "offer"), sent(1, 2, "candidate"), sent(1, 3, "late")].map(|sent| publish(2, sent));
    assert_eq!(effects.as_slice(), expected);
}

#[test]
fn messages_wait_for_an_instance_that_is_only_not_listening() {
    let mut room = room(&[seat(2, 1)]);
    room.message(member(1), text("offer"));
    let effects = room.unreached(&instance(1), vec![sent(1, 1, "offer")], true);
    let [Effect::Ask(view)] = effects.as_slice() else {
        panic!("{effects:?}")
    };
    assert!(room.answer(*view, Some(&[seat(1, 0), seat(2, 1)])).is_empty());
    room.message(member(1), text("candidate"));
    // It listens again and says who is there.
    let effects = room.remote_joined(&seat(2, 1), &[seat(1, 0), seat(2, 1)], None);
    assert_eq!(
        effects.as_slice(),
        [
            publish(1, sent(1, 1, "offer")),
            publish(1, sent(1, 2, "candidate"))
        ]
    );
}

#[test]
fn a_store_that_lost_everything_separates_nobody() {
    let mut room = room(&[seat(2, 1)]);
    let effects = room.reassert();
    assert_eq!(effects.as_slice(), [Effect::Assert(member(1))]);
    let view = room.asserting();
    // The other instance has not asserted its seat yet.
    let (effects, present) = room.asserted(view, member(1), given(1, &[]));
    assert!(
        present
            && matches!(
                effects.as_slice(),
                [Effect::Publish {
                    notice: Notice::Joined { .. },
                    ..
                }]
            )
    );
    assert_eq!(
        room.message(member(1), text("candidate")).as_slice(),
        [publish(1, sent(1, 1, "candidate"))]
    );
    assert!(
        room.remote_joined(&seat(2, 1), &[seat(1, 0), seat(2, 1)], None)
            .is_empty()
    );

    // A member that never comes back is given up in the end.
    let view = room.asserting();
    room.asserted(view, member(1), given(1, &[]));
    for _ in 1..PATIENCE {
        assert!(room.retry().is_empty());
    }
    let effects = room.retry();
    let [Effect::Ask(view)] = effects.as_slice() else {
        panic!("{effects:?}")
    };
    assert_eq!(
        room.answer(*view, Some(&[seat(1, 0)])).as_slice(),
        [disconnected(1)]
    );
}

#[test]
fn strangers_are_heard_only_when_the_store_knows_them() {
    let mut room = room(&[]);
    for (number, known) in [(2, true), (3, false)] {
        let effects = room.remote_message(sent(number, 1, "offer"), instance(1).short());
        let [Effect::Ask(view)] = effects.as_slice() else {
            panic!("{effects:?}")
        };
        let stranger = seat(u64::try_from(number).unwrap(), 1);
        let seats: Vec<Seat> = [seat(1, 0), seat(2, 1)]
            .into_iter()
            .filter(|seat| known || seat.member != stranger.member)
            .collect();
        let effects = room.answer(*view, Some(&seats));
        let lost = Effect::Lost {
            loss: Loss::Stranger,
            messages: 1,
        };
        assert_eq!(
            effects.as_slice(),
            [if known { deliver(1, "offer") } else { lost }]
        );
    }
}

#[test]
fn a_question_that_was_not_answered_is_asked_again() {
    let mut room = room(&[]);
    let effects = room.remote_message(sent(2, 1, "offer"), instance(1).short());
    let [Effect::Ask(view)] = effects.as_slice() else {
        panic!("{effects:?}")
    };
    assert!(room.answer(*view, None).is_empty());
    let effects = room.retry();
    let [Effect::Ask(view)] = effects.as_slice() else {
        panic!("{effects:?}")
    };
    assert_eq!(
        room.answer(*view, Some(&[seat(1, 0), seat(2, 1)])).as_slice(),
        [deliver(1, "offer")]
    );
    assert!(room.retry().is_empty());
}

#[test]
fn who_sat_down_first_hears_who_joined_after_him() {
    // The answer of the store to the first is late; the second, at another instance, is faster.
    let mut room = Room::new(instance(0));
    let view = room.enter();
    assert!(
        room.remote_joined(&seat(2, 1), &[seat(1, 0), seat(2, 1)], None)
            .is_empty()
    );
    assert!(
        room.remote_message(sent(2, 1, "offer"), instance(1).short())
            .is_empty()
    );
    let effects = room.seated(view, member(1), Speech::V1, given(1, &[]));
    assert_eq!(effects[0], deliver(1, "offer"));
    assert_eq!(
        room.message(member(1), text("answer")).as_slice(),
        [publish(1, sent(1, 1, "answer"))]
    );
}

/// Instance 1 asserts its seat, and so learns of a seat here before the store's answer to him who took it has come.
#[test]
fn what_comes_before_the_answer_of_the_store_is_not_missed() {
    type Step<'a> = &'a dyn Fn(&mut Room) -> Effects;
    let said = || sent(2, 1, "offer");
    let members = [seat(2, 1), seat(1, 0)];
    let message: Step<'_> = &|room| room.remote_message(said(), instance(1).short());
    let joined: Step<'_> = &|room| room.remote_joined(&members[0], &members, None);
    for order in [&[message][..], &[message, joined], &[joined, message]] {
        let mut room = Room::new(instance(0));
        let view = room.enter();
        for step in order {
            let effects = step(&mut room);
            assert!(
                !effects.iter().any(|effect| matches!(effect, Effect::Lost { .. })),
                "{effects:?}"
            );
        }
        let others = [seat(2, 1)];
        let effects = room.seated(view, member(1), Speech::V1, given(7, &others));
        let delivered: Vec<&Effect> = effects
            .iter()
            .filter(|effect| matches!(effect, Effect::Deliver { .. }))
            .collect();
        assert_eq!(delivered, [&deliver(1, "offer")], "{} steps", order.len());
    }
}

#[test]
fn whoever_takes_seats_away_tells_those_who_are_left() {
    // Instance 1 is dead; member 3 joins at instance 0 and gets its seat, beside 1 here and 4 at instance 2.
    let mut room = room(&[seat(2, 1), seat(4, 2)]);
    let view = room.enter();
    let others = [seat(1, 0), seat(4, 2)];
    let effects = room.seated(
        view,
        member(3),
        Speech::V1,
        Given {
            join: 5,
            others: &others,
            reaped: &[Gone {
                member: member(2),
                instance: instance(1),
            }],
            moved_from: None,
            taken: 0,
        },
    );
    let notice = Notice::Left {
        member: member(2),
        instance: instance(1),
        departure: Departure::Left,
    };
    assert_eq!(
        effects[..3],
        [
            disconnected(1),
            Effect::Publish {
                to: instance(2),
                notice: notice.clone()
            },
            // It may live, and have had to give the seat of somebody who is away.
            Effect::Publish {
                to: instance(1),
                notice
            }
        ]
    );
    assert!(
        matches!(
            &effects[3..],
            [Effect::Publish {
                notice: Notice::Joined { .. },
                ..
            }]
        ),
        "{effects:?}"
    );
}
