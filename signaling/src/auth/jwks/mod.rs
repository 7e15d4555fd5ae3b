//! The issuer's key set: fetched once for all connections that need it, kept, and renewed.

mod cache;
mod fetch;

use std::sync::Arc;
use std::time::{Duration, Instant};

use berth_crds::settings::{JwksSettings, SecretRef};
use berth_dataplane::secrets::{Secret, SecretStore};
use berth_dataplane::telemetry::{Throttle, with_causes};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::watch;
use tracing::{debug, info, warn};
use url::Url;

use super::AuthMetrics;
use super::key_set::KeySet;
use super::token::TokenHeader;
use cache::{Answer, Cache, Lifetimes};
use fetch::FetchError;

/// How much longer a connection waits than a fetch may take.
const GRACE: Duration = Duration::from_millis(500);

/// Times that no setting changes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeySetTiming {
    /// How long a fetch may take.
    pub(crate) fetch_within: Duration,
    /// Shortest time from a fetched set to the next fetch.
    pub(crate) floor: Duration,
}

/// The key set of the issuer that the settings name. Clones share it.
#[derive(Clone)]
pub(crate) struct KeySets(Arc<Shared>);

struct Shared {
    metrics: Arc<AuthMetrics>,
    timing: KeySetTiming,
    state: Mutex<State>,
    /// Counts fetches that have ended.
    ended: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    source: Option<Source>,
    /// Counts sources: what was fetched from another one than the present is of no use.
    epoch: u64,
    cache: Cache,
    error: Option<String>,
}

/// Where the set comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Source {
    url: Url,
    authorities: Option<SecretRef>,
}

/// A fetch on its way. Dropping it unfinished counts as a failure, so that another may follow.
struct Flight {
    shared: Arc<Shared>,
    epoch: u64,
    done: bool,
}

impl Source {
    fn of(settings: &JwksSettings) -> Self {
        Self {
            url: settings.url.clone(),
            authorities: settings.authorities.clone(),
        }
    }
}

impl KeySets {
    /// Nothing is fetched yet.
    pub(crate) fn new(metrics: Arc<AuthMetrics>, timing: KeySetTiming) -> Self {
        Self(Arc::new(Shared {
            metrics,
            timing,
            state: Mutex::default(),
            ended: watch::Sender::default(),
        }))
    }

    /// The set with which a token with this header has to be checked. Waits for a fetch if that can help, not longer than one
    /// may take. `None`: there is no set.
    pub(super) async fn find(
        &self,
        secrets: &SecretStore,
        settings: &JwksSettings,
        header: &TokenHeader,
    ) -> Option<Arc<KeySet>> {
        let mut ended = self.0.ended.subscribe();
        match self.ask(secrets, settings, Some(header)) {
            Answer::Use(set) => return Some(set),
            Answer::Nothing => return None,
            Answer::Wait => {}
        }
        let within = self.0.timing.fetch_within.saturating_add(GRACE);
        // Whatever came of it, what is there now decides, unless it is of another issuer by now.
        let _ = tokio::time::timeout(within, ended.changed()).await;
        let mut state = self.0.state.lock();
        if state.source != Some(Source::of(settings)) {
            return None;
        }
        state.cache.held(self.lifetimes(settings), Instant::now())
    }

    /// Has the set fetched if it is not there, and does not wait for it.
    pub(super) fn prepare(&self, secrets: &SecretStore, settings: &JwksSettings) {
        drop(self.ask(secrets, settings, None));
    }

    fn ask(&self, secrets: &SecretStore, settings: &JwksSettings, header: Option<&TokenHeader>) -> Answer {
        let mut state = self.0.state.lock();
        let source = Source::of(settings);
        if state.source.as_ref() != Some(&source) {
            *state = State {
                source: Some(source.clone()),
                epoch: state.epoch + 1,
                ..State::default()
            };
        }
        let (answer, fetch) = state.cache.ask(header, self.lifetimes(settings), Instant::now());
        if fetch {
            let authorities = source.authorities.as_ref();
            let authorities =
                authorities.map(|reference| secrets.get(reference).ok_or(FetchError::NoAuthorities));
            self.0.depart(source.url, authorities.transpose(), state.epoch);
        }
        answer
    }

    fn lifetimes(&self, settings: &JwksSettings) -> Lifetimes {
        Lifetimes {
            cache: settings.cache,
            stale: settings.stale,
            floor: self.0.timing.floor,
        }
    }

    /// For `/statusz`.
    pub(super) fn describe(&self) -> Value {
        let state = self.0.state.lock();
        let age = state.cache.age(Instant::now());
        json!({
            "url": state.source.as_ref().map(|source| shown(&source.url)),
            "keys": state.cache.len(),
            "ageMs": age.map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX)),
            "failures": state.cache.failures(),
            "error": state.error,
        })
    }
}

impl Shared {
    /// Starts a fetch.
    fn depart(self: &Arc<Self>, url: Url, authorities: Result<Option<Secret>, FetchError>, epoch: u64) {
        let flight = Flight {
            shared: Arc::clone(self),
            epoch,
            done: false,
        };
        let within = self.timing.fetch_within;
        tokio::spawn(async move {
            let fetched = async { fetch::fetch(&url, authorities?).await };
            let fetched = tokio::time::timeout(within, fetched).await;
            flight.land(&url, fetched.unwrap_or(Err(FetchError::TimedOut)));
        });
    }

    /// Takes in what came of the fetch of `epoch`.
    fn landed(&self, epoch: u64, fetched: Result<KeySet, FetchError>, url: &str) {
        let mut state = self.state.lock();
        if state.epoch == epoch {
            let (before, failures) = (state.cache.len(), state.cache.failures());
            match &fetched {
                Ok(set) => told_success(url, set.len(), before, failures),
                Err(error) => told_failure(url, error, before),
            }
            self.metrics.refreshed(fetched.as_ref().ok().map(KeySet::len));
            state.error = fetched.as_ref().err().map(|error| with_causes(error));
            state.cache.landed(fetched.ok(), Instant::now());
        }
        drop(state);
        self.ended.send_modify(|ended| *ended += 1);
    }
}

impl Flight {
    fn land(mut self, url: &Url, fetched: Result<KeySet, FetchError>) {
        self.done = true;
        self.shared.landed(self.epoch, fetched, &shown(url));
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        if !self.done {
            self.shared.landed(self.epoch, Err(FetchError::Interrupted), "");
        }
    }
}

fn told_success(url: &str, keys: usize, before: Option<usize>, failures: u32) {
    if before == Some(keys) && failures == 0 {
        debug!(url, keys, "key set fetched");
    } else {
        info!(url, keys, failures, "key set fetched");
    }
}

fn told_failure(url: &str, error: &FetchError, before: Option<usize>) {
    static FAILED: Throttle = Throttle::new(Duration::from_secs(30));
    if let Some(suppressed) = FAILED.pass() {
        let error = with_causes(error);
        if before.is_some() {
            warn!(
                url,
                error, suppressed, "key set not fetched: the last one stays in use for a while"
            );
        } else {
            warn!(
                url,
                error, suppressed, "key set not fetched: every peer is refused"
            );
        }
    }
}

/// A URL without its query, which may hold a key.
fn shown(url: &Url) -> String {
    format!("{}{}", url.origin().ascii_serialization(), url.path())
}

#[cfg(test)]
mod tests;
