//! When a credential that a provider issued is used, waited for and fetched: pure, time comes as an argument.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::assemble::Issued;
use crate::breaker::{Breaker, BreakerSettings, BreakerState};

/// Failures in a row after which a provider is left alone.
const FAILURES: u32 = 3;
/// How long it is left alone the first time; that doubles with each attempt that fails.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
/// Longest time between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_mins(1);

/// What a provider can give.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outlook {
    /// This.
    Have(Arc<Issued>),
    /// Nothing yet, but it was asked at this time and is expected to answer.
    Soon(Instant),
    /// Nothing.
    Nothing,
}

/// The credential of one provider, and how the provider fares. At most one fetch is on its way.
#[derive(Debug)]
pub(super) struct Issuance {
    /// How long a credential is valid.
    life: Duration,
    held: Option<Held>,
    fetching: Option<Instant>,
    breaker: Breaker,
    /// How long the provider is left alone next.
    pause: Duration,
}

#[derive(Debug)]
struct Held {
    issued: Arc<Issued>,
    since: Instant,
}

impl Issuance {
    /// Nothing is issued yet. `life`: how long a credential is valid.
    pub(super) fn new(life: Duration) -> Self {
        Self {
            life,
            held: None,
            fetching: None,
            breaker: Breaker::new(closed_for(FIRST_PAUSE)),
            pause: FIRST_PAUSE,
        }
    }

    /// Whether to begin a fetch now, which must end in [`Issuance::landed`].
    ///
    /// A credential is replaced after half of its life. The old one is used meanwhile, also while the provider fails, but not in the last
    /// quarter of its life: who gets it then would lose his relay soon.
    pub(super) fn begin(&mut self, now: Instant) -> bool {
        let due = self.age(now).is_none_or(|age| age.saturating_mul(2) >= self.life);
        let begin = due && self.fetching.is_none() && self.breaker.admit(now);
        if begin {
            self.fetching = Some(now);
        }
        begin
    }

    /// What the provider can give.
    pub(super) fn outlook(&self, now: Instant) -> Outlook {
        if let Some(held) = &self.held
            && self
                .age(now)
                .is_some_and(|age| age.saturating_mul(4) < self.life.saturating_mul(3))
        {
            return Outlook::Have(Arc::clone(&held.issued));
        }
        match self.fetching {
            // The probe of a provider that failed a moment ago is nothing to wait for.
            Some(since) if self.breaker.state() == BreakerState::Closed => Outlook::Soon(since),
            _ => Outlook::Nothing,
        }
    }

    /// The fetch that was begun has ended.
    pub(super) fn landed(&mut self, issued: Option<Issued>, now: Instant) {
        let began = self.fetching.take();
        let Some(issued) = issued else {
            self.breaker.failed(now);
            if self.breaker.state() == BreakerState::Open {
                self.breaker.set(closed_for(self.pause));
                self.pause = self.pause.saturating_mul(2).min(LONGEST_PAUSE);
            }
            return;
        };
        self.breaker.succeeded();
        self.pause = FIRST_PAUSE;
        self.held = Some(Held {
            issued: Arc::new(issued),
            // Its life may have begun when it was asked for.
            since: began.unwrap_or(now),
        });
    }

    /// How long ago the credential was asked for.
    pub(super) fn age(&self, now: Instant) -> Option<Duration> {
        let held = self.held.as_ref()?;
        Some(now.saturating_duration_since(held.since))
    }

    /// State of the circuit breaker.
    pub(super) fn breaker(&self) -> BreakerState {
        self.breaker.state()
    }
}

fn closed_for(open_for: Duration) -> BreakerSettings {
    BreakerSettings {
        error_threshold: FAILURES,
        open_for,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIFE: Duration = Duration::from_secs(400);

    /// A provider and its clock.
    struct Run {
        issuance: Issuance,
        now: Instant,
    }

    fn issued() -> Issued {
        Issued {
            servers: Vec::new(),
            expires_at: 0,
        }
    }

    impl Run {
        fn new() -> Self {
            Self {
                issuance: Issuance::new(LIFE),
                now: Instant::now(),
            }
        }

        fn with_credential() -> Self {
            let mut run = Self::new();
            assert!(run.begin());
            run.succeed();
            run
        }

        fn pass(&mut self, seconds: u64) {
            self.now += Duration::from_secs(seconds);
        }

        fn begin(&mut self) -> bool {
            self.issuance.begin(self.now)
        }

        fn outlook(&self) -> &'static str {
            match self.issuance.outlook(self.now) {
                Outlook::Have(_) => "have",
                Outlook::Soon(_) => "soon",
                Outlook::Nothing => "nothing",
            }
        }

        fn succeed(&mut self) {
            self.issuance.landed(Some(issued()), self.now);
        }

        fn fail(&mut self) {
            self.issuance.landed(None, self.now);
        }

        fn failed_until_open() -> Self {
            let mut run = Self::new();
            for _ in 0..FAILURES {
                assert!(run.begin());
                assert_eq!(run.outlook(), "soon");
                run.fail();
            }
            run
        }
    }

    #[test]
    fn the_first_fetch_is_one_for_all() {
        let mut run = Run::new();
        assert_eq!(run.outlook(), "nothing");
        assert!(run.begin());
        for _ in 0..100 {
            assert!(!run.begin());
            assert_eq!(run.outlook(), "soon");
        }
        run.succeed();
        assert!(!run.begin());
        assert_eq!(run.outlook(), "have");
    }

    #[test]
    fn it_is_replaced_at_half_of_its_life_and_nobody_waits() {
        let mut run = Run::with_credential();
        run.pass(199);
        assert!(!run.begin());
        run.pass(1);
        assert!(run.begin());
        assert_eq!((run.begin(), run.outlook()), (false, "have"));
        run.pass(2);
        run.succeed();
        // Counted from when it was asked for.
        run.pass(197);
        assert!(!run.begin());
        run.pass(1);
        assert!(run.begin());
    }

    #[test]
    fn the_old_one_is_used_until_the_last_quarter_of_its_life() {
        let mut run = Run::with_credential();
        run.pass(299);
        assert!(run.begin());
        run.fail();
        assert_eq!(run.outlook(), "have");
        run.pass(1);
        assert_eq!(run.outlook(), "nothing");
        assert!(run.begin());
        assert_eq!(run.outlook(), "soon");
        run.succeed();
        assert_eq!(run.outlook(), "have");
    }

    #[test]
    fn a_provider_that_fails_is_left_alone_for_longer_and_longer() {
        let mut run = Run::failed_until_open();
        for pause in [5, 10, 20, 40, 60, 60] {
            assert_eq!(run.issuance.breaker(), BreakerState::Open);
            run.pass(pause - 1);
            assert!(!run.begin(), "{pause}");
            assert_eq!(run.outlook(), "nothing");
            run.pass(1);
            assert!(run.begin(), "{pause}");
            assert_eq!(run.outlook(), "nothing", "nobody waits for a probe");
            run.fail();
        }
        run.pass(60);
        assert!(run.begin());
        run.succeed();
        assert_eq!(
            (run.issuance.breaker(), run.outlook()),
            (BreakerState::Closed, "have")
        );
        // All is forgiven.
        run.pass(400);
        for _ in 0..FAILURES {
            assert!(run.begin());
            run.fail();
        }
        run.pass(5);
        assert!(run.begin());
    }

    proptest! {
        /// Whatever happens: one fetch at a time, few while the provider fails, and no credential that ends soon.
        #[test]
        fn fetches_are_single_and_credentials_are_young(
            steps in prop::collection::vec((0u64..400, 0u8..4), 1..200),
        ) {
            let mut run = Run::new();
            let (mut on_the_way, mut failures, mut landed) = (None::<Instant>, 0, None::<Instant>);
            let mut held_since = None;
            for (seconds, what) in steps {
                run.pass(seconds / if what < 2 { 100 } else { 1 });
                match (what, on_the_way) {
                    (0 | 2, Some(began)) => {
                        run.succeed();
                        (on_the_way, failures, held_since) = (None, 0, Some(began));
                    }
                    (1, Some(_)) => {
                        run.fail();
                        (on_the_way, failures, landed) = (None, failures + 1, Some(run.now));
                    }
                    _ => {
                        if run.begin() {
                            prop_assert!(on_the_way.is_none());
                            if failures >= FAILURES {
                                prop_assert!(run.now - landed.unwrap() >= FIRST_PAUSE);
                            }
                            on_the_way = Some(run.now);
                        }
                    }
                }
                match run.issuance.outlook(run.now) {
                    Outlook::Have(_) => prop_assert!(run.now - held_since.unwrap() < LIFE * 3 / 4),
                    Outlook::Soon(since) => prop_assert_eq!(Some(since), on_the_way),
                    Outlook::Nothing => {}
                }
            }
        }
    }
}
