use super::*;
use proptest::prelude::*;

const OPEN_FOR: Duration = Duration::from_secs(5);

fn breaker() -> Breaker {
    Breaker::new(BreakerSettings {
        error_threshold: 3,
        open_for: OPEN_FOR,
    })
}

fn opened(at: Instant) -> Breaker {
    let mut breaker = breaker();
    for _ in 0..3 {
        assert!(breaker.admit(at));
        breaker.failed(at);
    }
    assert_eq!(breaker.state(), BreakerState::Open);
    breaker
}

#[test]
fn opens_only_after_the_threshold_of_failures_in_a_row() {
    let now = Instant::now();
    let mut breaker = breaker();
    breaker.failed(now);
    breaker.failed(now);
    breaker.succeeded();
    breaker.failed(now);
    breaker.failed(now);
    assert_eq!(breaker.state(), BreakerState::Closed);
    breaker.failed(now);
    assert_eq!(breaker.state(), BreakerState::Open);
}

#[test]
fn refuses_while_open_then_admits_one_probe() {
    let now = Instant::now();
    let mut breaker = opened(now);
    assert!(!breaker.admit(now + OPEN_FOR.checked_sub(Duration::from_millis(1)).unwrap()));
    assert!(breaker.admit(now + OPEN_FOR));
    assert_eq!(breaker.state(), BreakerState::HalfOpen);
    assert!(
        !breaker.admit(now + OPEN_FOR),
        "a second command passed beside the probe"
    );
}

#[test]
fn probe_decides() {
    let now = Instant::now();
    let mut healed = opened(now);
    assert!(healed.admit(now + OPEN_FOR));
    healed.succeeded();
    assert_eq!(healed.state(), BreakerState::Closed);

    let mut ill = opened(now);
    assert!(ill.admit(now + OPEN_FOR));
    ill.failed(now + OPEN_FOR);
    assert_eq!(ill.state(), BreakerState::Open);
    assert!(!ill.admit(now + OPEN_FOR + OPEN_FOR / 2));
    assert!(ill.admit(now + OPEN_FOR * 2));
}

#[test]
fn late_answers_of_commands_from_before_the_opening_change_nothing() {
    let now = Instant::now();
    let mut breaker = opened(now);
    breaker.succeeded();
    assert_eq!(breaker.state(), BreakerState::Open);
    breaker.failed(now + OPEN_FOR / 2);
    assert!(
        breaker.admit(now + OPEN_FOR),
        "a late failure prolonged the opening"
    );
}

#[test]
fn lost_probe_does_not_keep_it_open_for_good() {
    let now = Instant::now();
    let mut breaker = opened(now);
    assert!(breaker.admit(now + OPEN_FOR));
    assert!(breaker.admit(now + OPEN_FOR * 2));
    breaker.succeeded();
    assert_eq!(breaker.state(), BreakerState::Closed);
}

#[test]
fn settings_are_hot() {
    let now = Instant::now();
    let mut breaker = opened(now);
    breaker.set(BreakerSettings {
        error_threshold: 1,
        open_for: Duration::from_millis(10),
    });
    assert!(breaker.admit(now + Duration::from_millis(10)));
    breaker.succeeded();
    breaker.failed(now);
    assert_eq!(breaker.state(), BreakerState::Open);
}

proptest! {
    /// Whatever happens, an open breaker admits at most one command per `open_for`, and a breaker whose
    /// commands all succeed is closed after one opening time.
    #[test]
    fn bounded_and_self_healing(steps in prop::collection::vec((0u64..3000, any::<bool>()), 1..200)) {
        let mut now = Instant::now();
        let mut breaker = breaker();
        let mut admitted_while_open: Option<Instant> = None;
        for (wait, success) in steps {
            now += Duration::from_millis(wait);
            let was_open = breaker.state() != BreakerState::Closed;
            if breaker.admit(now) {
                if was_open {
                    if let Some(last) = admitted_while_open {
                        prop_assert!(now - last >= OPEN_FOR);
                    }
                    admitted_while_open = Some(now);
                }
                if success { breaker.succeeded() } else { breaker.failed(now) }
            }
            if breaker.state() == BreakerState::Closed {
                admitted_while_open = None;
            }
        }
        now += OPEN_FOR;
        prop_assert!(breaker.admit(now));
        breaker.succeeded();
        prop_assert_eq!(breaker.state(), BreakerState::Closed);
    }
}
