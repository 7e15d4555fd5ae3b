//! Who hears of a departure, when the news of it and of those who come afterwards cross.

use super::*;

/// The local member `number` gets a seat; these are the others.
fn sits(room: &mut Room, number: u64, others: &[Seat]) -> Effects {
    let view = room.enter();
    room.seated(view, member(number.into()), Speech::V1, given(number, others))
}

#[test]
fn who_came_after_a_departure_does_not_hear_of_it() {
    let mut room = room(&[]);
    room.remote_joined(&seat(2, 1), &[seat(1, 0), seat(2, 1)], None);
    // The store took the seat of 2 back and gave one to 3; the news of the first are still on their way.
    sits(&mut room, 3, &[seat(1, 0)]);
    let effects = room.remote_left(member(2), &instance(1), Departure::Left);
    assert_eq!(effects.as_slice(), [disconnected(1)]);
}

#[test]
fn a_drained_member_that_came_back_before_the_news_of_its_departure_was_never_gone() {
    let mut room = room(&[]);
    room.remote_joined(&seat(2, 1), &[seat(1, 0), seat(2, 1)], None);
    sits(&mut room, 3, &[seat(1, 0)]);
    assert!(
        room.remote_left(member(2), &instance(1), Departure::Drained)
            .is_empty()
    );
    assert!(room.grace_over(member(2)).is_empty());
    // The same when it came back to a third instance.
    let mut room = self::room(&[]);
    room.remote_joined(&seat(2, 1), &[seat(1, 0), seat(2, 1)], None);
    room.remote_joined(&seat(3, 2), &[seat(1, 0), seat(3, 2)], None);
    assert!(
        room.remote_left(member(2), &instance(1), Departure::Drained)
            .is_empty()
    );
}

#[test]
fn slow_news_of_a_member_tell_nobody_who_came_after_it() {
    let mut room = room(&[]);
    // 2 came and went on another instance; nothing of it was heard when 3 sat down.
    sits(&mut room, 3, &[seat(1, 0)]);
    room.remote_joined(&seat(2, 1), &[seat(1, 0), seat(2, 1)], None);
    let effects = room.remote_left(member(2), &instance(1), Departure::Left);
    assert_eq!(effects.as_slice(), [disconnected(1)]);
}

#[test]
fn a_member_whose_seat_the_store_had_lost_is_met_again() {
    let mut room = room(&[seat(2, 1)]);
    // The store was flushed: it lists nobody.
    sits(&mut room, 3, &[seat(1, 0)]);
    room.remote_joined(&seat(2, 1), &[seat(1, 0), seat(2, 1), seat(3, 0)], None);
    let effects = room.remote_left(member(2), &instance(1), Departure::Left);
    assert_eq!(effects.as_slice(), [disconnected(1), disconnected(3)]);
}

#[test]
fn who_left_and_has_its_seat_again_is_asked_for() {
    let mut room = Room::new(instance(0));
    let view = room.enter();
    // Its instance was taken for dead, and asserted its seat before the store answered.
    room.remote_left(member(2), &instance(1), Departure::Left);
    let effects = room.seated(view, member(1), Speech::V1, given(3, &[seat(2, 1)]));
    let [Effect::Ask(view)] = effects.as_slice() else {
        panic!("{effects:?}")
    };
    room.answer(*view, Some(&[seat(1, 0), seat(2, 1)]));
    assert!(room.has_remotes());
}
