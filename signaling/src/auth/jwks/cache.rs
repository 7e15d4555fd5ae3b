//! When a key set is used, waited for and fetched: pure, time comes as an argument.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::auth::key_set::KeySet;
use crate::auth::token::TokenHeader;

/// Time to the second attempt; it doubles with each failure.
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// Longest time between two attempts.
const LONGEST_RETRY: Duration = Duration::from_secs(30);

/// How long a set is good for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lifetimes {
    /// Until it is fetched again.
    pub(super) cache: Duration,
    /// How much longer it is used if that fails.
    pub(super) stale: Duration,
    /// Shortest time from a fetched set to the next fetch, whoever asks for it.
    pub(super) floor: Duration,
}

/// What to do about a token.
#[derive(Debug)]
pub(super) enum Answer {
    /// Check it with these.
    Use(Arc<KeySet>),
    /// Wait for the fetch that is on its way: it may help.
    Wait,
    /// There is nothing to check it with, and nothing to wait for.
    Nothing,
}

/// The set, and how the last fetch ended. At most one is on its way.
#[derive(Debug, Default)]
pub(super) struct Cache {
    held: Option<Held>,
    last: Option<Attempt>,
    fetching: bool,
}

#[derive(Debug)]
struct Held {
    set: Arc<KeySet>,
    since: Instant,
}

#[derive(Debug)]
struct Attempt {
    ended: Instant,
    /// In a row; 0 after a success.
    failures: u32,
}

impl Cache {
    /// What to do about a token with this header, or in general, and whether to begin a fetch, which must end in [`Cache::landed`].
    ///
    /// A set is fetched when there is none, shortly before it is too old, and when it lacks the token's key. The peer
    /// waits only if its token could not be checked otherwise, or if the set is too old; while the issuer is away, the old
    /// set is used without waiting.
    pub(super) fn ask(
        &mut self,
        header: Option<&TokenHeader>,
        lifetimes: Lifetimes,
        now: Instant,
    ) -> (Answer, bool) {
        let due = !self.fetching && self.may_fetch(lifetimes.floor, now);
        let Some(set) = self.held(lifetimes, now) else {
            self.fetching |= due;
            let answer = if self.fetching {
                Answer::Wait
            } else {
                Answer::Nothing
            };
            return (answer, due);
        };
        let age = self.age(now).unwrap_or_default();
        let lacks = header.is_some_and(|header| !set.fits(header));
        let fetch = due && (lacks || age >= lifetimes.cache.mul_f64(0.8));
        self.fetching |= fetch;
        let too_old = age >= lifetimes.cache && self.failures() == 0;
        let answer = if self.fetching && (lacks || too_old) {
            Answer::Wait
        } else {
            Answer::Use(set)
        };
        (answer, fetch)
    }

    /// What came of a fetch: `None` if it failed.
    pub(super) fn landed(&mut self, set: Option<KeySet>, now: Instant) {
        let failures = if set.is_some() {
            0
        } else {
            self.failures().saturating_add(1)
        };
        if let Some(set) = set {
            self.held = Some(Held {
                set: Arc::new(set),
                since: now,
            });
        }
        self.last = Some(Attempt { ended: now, failures });
        self.fetching = false;
    }

    /// The set, unless it is too old even for an issuer that is away.
    pub(super) fn held(&mut self, lifetimes: Lifetimes, now: Instant) -> Option<Arc<KeySet>> {
        let longest = lifetimes.cache.saturating_add(lifetimes.stale);
        if self.age(now).is_some_and(|age| age >= longest) {
            self.held = None;
        }
        self.held.as_ref().map(|held| Arc::clone(&held.set))
    }

    /// Age of the set.
    pub(super) fn age(&self, now: Instant) -> Option<Duration> {
        let held = self.held.as_ref()?;
        Some(now.saturating_duration_since(held.since))
    }

    /// How many keys the set has.
    pub(super) fn len(&self) -> Option<usize> {
        self.held.as_ref().map(|held| held.set.len())
    }

    /// Failed attempts in a row.
    pub(super) fn failures(&self) -> u32 {
        self.last.as_ref().map_or(0, |last| last.failures)
    }

    fn may_fetch(&self, floor: Duration, now: Instant) -> bool {
        self.last.as_ref().is_none_or(|last| {
            let pause = match last.failures {
                0 => floor,
                failures => FIRST_RETRY
                    .saturating_mul(1 << (failures - 1).min(10))
                    .min(LONGEST_RETRY),
            };
            now.saturating_duration_since(last.ended) >= pause
        })
    }
}

#[cfg(test)]
mod tests {
    use berth_dataplane::testing::IssuerKey;
    use jsonwebtoken::Algorithm;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const LIFETIMES: Lifetimes = Lifetimes {
        cache: Duration::from_mins(5),
        stale: Duration::from_hours(1),
        floor: Duration::from_secs(10),
    };

    /// A set with keys of these ids. The keys themselves do not matter here, so they are all the same.
    fn set(ids: &[&str]) -> KeySet {
        static KEY: std::sync::LazyLock<serde_json::Value> =
            std::sync::LazyLock::new(|| IssuerKey::ec("").jwk());
        let keys: Vec<_> = ids
            .iter()
            .map(|id| {
                let mut key = KEY.clone();
                key["kid"] = json!(id);
                key
            })
            .collect();
        KeySet::parse(json!({"keys": keys}).to_string().as_bytes()).unwrap()
    }

    fn signed_with(id: &str) -> TokenHeader {
        TokenHeader {
            algorithm: Algorithm::ES256,
            key_id: Some(id.to_owned()),
        }
    }

    /// A cache and its clock.
    struct Run {
        cache: Cache,
        now: Instant,
    }

    impl Run {
        fn new() -> Self {
            Self {
                cache: Cache::default(),
                now: Instant::now(),
            }
        }

        fn with(ids: &[&str]) -> Self {
            let mut run = Self::new();
            assert_eq!(run.ask("a"), ("wait", true));
            run.cache.landed(Some(set(ids)), run.now);
            run
        }

        fn pass(&mut self, seconds: u64) {
            self.now += Duration::from_secs(seconds);
        }

        fn ask(&mut self, id: &str) -> (&'static str, bool) {
            let (answer, fetch) = self.cache.ask(Some(&signed_with(id)), LIFETIMES, self.now);
            let answer = match answer {
                Answer::Use(_) => "use",
                Answer::Wait => "wait",
                Answer::Nothing => "nothing",
            };
            (answer, fetch)
        }

        fn fail(&mut self) {
            self.cache.landed(None, self.now);
        }
    }

    #[test]
    fn the_first_fetch_is_one_for_all() {
        let mut run = Run::new();
        assert_eq!(run.ask("a"), ("wait", true));
        for _ in 0..100 {
            assert_eq!(run.ask("a"), ("wait", false));
        }
        run.cache.landed(Some(set(&["a"])), run.now);
        assert_eq!(run.ask("a"), ("use", false));
    }

    #[test]
    fn an_unknown_key_has_the_set_fetched_but_not_often() {
        let mut run = Run::with(&["a"]);
        run.pass(9);
        assert_eq!(run.ask("bogus"), ("use", false), "the last fetch is not long ago");
        run.pass(1);
        assert_eq!(run.ask("b"), ("wait", true));
        assert_eq!(run.ask("b"), ("wait", false));
        assert_eq!(run.ask("a"), ("use", false), "who needs no new key does not wait");
        run.cache.landed(Some(set(&["a", "b"])), run.now);
        assert_eq!(run.ask("b"), ("use", false));
        assert_eq!(run.ask("bogus"), ("use", false));
    }

    #[test]
    fn a_set_is_renewed_before_it_is_too_old_and_nobody_waits() {
        let mut run = Run::with(&["a"]);
        run.pass(239);
        assert_eq!(run.ask("a"), ("use", false));
        run.pass(1);
        assert_eq!(run.ask("a"), ("use", true));
        assert_eq!(run.ask("a"), ("use", false));
        run.cache.landed(Some(set(&["a"])), run.now);
        // Nobody came for a while: then it is waited for.
        run.pass(300);
        assert_eq!(run.ask("a"), ("wait", true));
    }

    #[test]
    fn while_the_issuer_is_away_the_old_set_is_used_for_a_bounded_time() {
        let mut run = Run::with(&["a"]);
        run.pass(300);
        assert_eq!(run.ask("a"), ("wait", true));
        run.fail();
        assert_eq!(run.ask("a"), ("use", false), "not tried again at once");
        run.pass(1);
        assert_eq!(run.ask("a"), ("use", true), "and not waited for");
        run.fail();
        run.pass(1);
        assert_eq!(run.ask("a"), ("use", false));
        run.pass(1);
        assert_eq!(run.ask("a"), ("use", true));
        run.fail();
        run.pass(3600);
        assert_eq!(
            run.ask("a"),
            ("wait", true),
            "too old: there is nothing to check with"
        );
        run.fail();
        assert_eq!(run.ask("a"), ("nothing", false));
        run.pass(8);
        assert_eq!(run.ask("a"), ("wait", true));
        run.cache.landed(Some(set(&["a"])), run.now);
        assert_eq!((run.ask("a"), run.cache.failures()), (("use", false), 0));
    }

    proptest! {
        /// Whatever happens: one fetch at a time, pauses between them, and no set that is too old.
        #[test]
        fn fetches_are_single_and_rare_and_sets_are_young(
            steps in prop::collection::vec((0u64..2000, any::<bool>(), 0usize..3), 1..200),
        ) {
            let mut run = Run::new();
            let (mut on_the_way, mut ended, mut fetched_at) = (false, None::<(Instant, bool)>, None);
            for (seconds, succeeds, what) in steps {
                run.pass(seconds % [2, 20, 2000][what]);
                if what == 2 && on_the_way {
                    run.cache.landed(succeeds.then(|| set(&["a"])), run.now);
                    on_the_way = false;
                    ended = Some((run.now, succeeds));
                    fetched_at = if succeeds { Some(run.now) } else { fetched_at };
                    continue;
                }
                let (answer, fetch) = run.cache.ask(
                    Some(&signed_with(if what == 0 { "a" } else { "bogus" })),
                    LIFETIMES,
                    run.now,
                );
                if fetch {
                    prop_assert!(!on_the_way);
                    if let Some((at, succeeded)) = ended {
                        let least = if succeeded { LIFETIMES.floor } else { FIRST_RETRY };
                        prop_assert!(run.now - at >= least);
                    }
                    on_the_way = true;
                }
                match answer {
                    Answer::Use(_) => {
                        let age = run.now - fetched_at.unwrap();
                        prop_assert!(age < LIFETIMES.cache + LIFETIMES.stale);
                    }
                    Answer::Wait => prop_assert!(on_the_way, "waits for nothing"),
                    Answer::Nothing => prop_assert!(!on_the_way),
                }
            }
        }
    }
}
