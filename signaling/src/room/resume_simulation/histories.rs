//! What happens, in which order: anything, and histories that were once told wrongly.

use proptest::prelude::*;

use super::{Step, World};

/// Lets it happen, everybody come back and everything arrive.
fn run(clients: usize, v1: usize, steps: impl IntoIterator<Item = Step>) {
    let mut world = World::new(clients, v1);
    for step in steps {
        world.step(step);
    }
    world.settle();
    world.check();
}

/// `deaths`: of instances. `deaf`: subscriptions are lost, which only who speaks v2 can make good.
fn step(deaths: bool, deaf: bool) -> impl Strategy<Value = Step> {
    let n = 0usize..12;
    let weight = u32::from(deaths);
    prop_oneof![
        8 => (n.clone(), prop::option::of(n.clone())).prop_map(|(a, to)| Step::Send(a, to)),
        2 => n.clone().prop_map(Step::Lose),
        3 => (n.clone(), n.clone()).prop_map(|(a, b)| Step::Resume(a, b)),
        10 => n.clone().prop_map(Step::Publish),
        10 => n.clone().prop_map(Step::Receive),
        1 => n.clone().prop_map(Step::Retry),
        1 => n.clone().prop_map(move |a| if deaf { Step::Resubscribe(a) } else { Step::Retry(a) }),
        1 + weight => (n.clone(), any::<bool>()).prop_map(|(a, done)| Step::TimeOut(a, done)),
        weight.max(1) => n.prop_map(move |a| if deaths { Step::Kill(a) } else { Step::Retry(a) }),
    ]
}

/// A route that was closed and opened again while messages to its instance were on the lane, the first of which failed.
#[test]
fn a_message_is_not_lost_between_two_moves() {
    use Step::{Publish, Receive, Resume, Retry, Send, TimeOut};
    let steps = [
        Send(1, None),
        Resume(4, 8),
        Send(0, Some(11)),
        Publish(10),
        Send(2, None),
        Publish(2),
        Resume(1, 2),
        Send(0, None),
        Publish(4),
        Receive(0),
        Resume(3, 1),
        Send(0, None),
        Send(0, None),
        Publish(10),
        Receive(2),
        Receive(2),
        Send(10, None),
        Publish(2),
        Send(6, None),
        Publish(2),
        Publish(2),
        Retry(10),
        TimeOut(2, false),
    ];
    run(4, 0, steps);
}

/// A sender that moves to another instance and back: what it said before is still under way from there, and the store says
/// that it is back before its instance does.
#[test]
fn what_was_said_before_two_moves_does_not_count_as_said_after_them() {
    use Step::{Kill, Publish, Receive, Resume, Send};
    let steps = [
        Resume(2, 2),
        Send(3, None),
        Send(3, None),
        Send(3, None),
        Resume(9, 2),
        Publish(2),
        Publish(8),
        Publish(2),
        Kill(2),
        Resume(3, 3),
        Receive(4),
        Send(10, None),
    ];
    run(3, 0, steps);
}

/// A sender moves away from an instance and speaks, and the news of both are lost with a subscription: only the store says where
/// it is.
#[test]
fn what_a_member_said_that_moved_unnoticed_is_not_missed() {
    use Step::{Publish, Resubscribe, Resume, Send};
    let steps = [
        Resume(3, 7),
        Resume(3, 0),
        Send(3, None),
        Publish(0),
        Publish(3),
        Send(3, None),
        Publish(0),
        Resubscribe(4),
    ];
    run(3, 0, steps);
}

proptest! {
    #[test]
    fn nothing_is_missed_by_who_resumes(
        clients in 2usize..=4,
        // Fewer messages than a history keeps.
        steps in prop::collection::vec(step(false, true), 1..120),
    ) {
        run(clients, 0, steps);
    }

    #[test]
    fn nothing_is_missed_when_instances_die(
        clients in 2usize..=4,
        steps in prop::collection::vec(step(true, true), 1..120),
    ) {
        run(clients, 0, steps);
    }

    #[test]
    fn nothing_is_missed_beside_who_speaks_v1(
        (clients, v1) in (2usize..=5).prop_flat_map(|clients| (Just(clients), 1..clients)),
        steps in prop::collection::vec(step(false, false), 1..120),
    ) {
        run(clients, v1, steps);
    }
}
