//! Providers that issue credentials: what they issued is kept, and fetched again ahead of its end.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use berth_crds::settings::{ObjectName, ProviderSettings, TurnSettings};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::watch;
use tracing::{debug, info, warn};
use url::Url;

use super::assemble::{self, FailureCause, IceServers, Issued, IssuedByProvider, ice_servers};
use super::issuance::{Issuance, Outlook};
use super::metered::{Application, MeteredError};
use super::metrics::{IceMetrics, Reason};
use super::server::IceServer;
use crate::secrets::SecretStore;
use crate::telemetry::{Throttle, with_causes};

/// Longest wait of a match for all its providers together.
pub const PATIENCE: Duration = Duration::from_secs(2);
/// How long a provider may take to issue a credential.
const ISSUE_WITHIN: Duration = Duration::from_secs(5);
/// Most providers that are remembered: two TurnConfigs have 16 at most, and what one of them names no longer makes room.
const MOST_REMEMBERED: usize = 16;

/// What tests change. By default nothing is changed.
#[derive(Clone)]
pub struct IceOptions {
    /// The API that is asked in the place of every application at Metered.
    pub metered: Option<Url>,
    /// Longest wait of a match.
    pub patience: Duration,
    /// The clock by which credentials grow old.
    pub clock: Arc<dyn Fn() -> Instant + Send + Sync>,
}

impl Default for IceOptions {
    fn default() -> Self {
        Self {
            metered: None,
            patience: PATIENCE,
            clock: Arc::new(Instant::now),
        }
    }
}

/// The providers of the TurnConfigs that services of this process name. Clones share them.
#[derive(Clone)]
pub struct IceProviders(Arc<Shared>);

struct Shared {
    options: IceOptions,
    metrics: IceMetrics,
    remembered: Mutex<Remembered>,
    /// Counts fetches that have ended.
    ended: watch::Sender<u64>,
}

#[derive(Default)]
struct Remembered {
    providers: BTreeMap<Key, Provider>,
    /// Counts providers: what one issued is of no use for another in its place.
    epochs: u64,
}

/// A provider of a TurnConfig.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    turn: ObjectName,
    provider: String,
}

/// A provider as it was last named.
struct Provider {
    application: Application,
    life: Duration,
    issuance: Issuance,
    epoch: u64,
    /// When it was last named.
    named: Instant,
    /// Why the last fetch failed.
    error: Option<String>,
}

/// A fetch on its way. Dropping it unfinished counts as a failure, so that another may follow.
struct Flight {
    shared: Arc<Shared>,
    key: Key,
    epoch: u64,
    begun: Instant,
    done: bool,
}

impl IceProviders {
    /// Nothing is issued yet.
    pub fn new(options: IceOptions, metrics: IceMetrics) -> Self {
        Self(Arc::new(Shared {
            options,
            metrics,
            remembered: Mutex::default(),
            ended: watch::Sender::default(),
        }))
    }

    /// Fetches what will be needed soon. To be called once a second, and with the settings in force, so that nobody ever has to wait for
    /// more than a provider that has just been named.
    pub fn tend(&self, turn: Option<&TurnSettings>, secrets: &SecretStore) {
        for provider in turn.iter().flat_map(|turn| &turn.providers) {
            self.0.metrics.expect(provider.name());
        }
        drop(self.look(turn, secrets, true));
    }

    /// ICE servers for `user` at `now` (Unix seconds), of what there is. Never waits, but has fetched what is not there.
    pub fn servers(
        &self,
        turn: Option<&TurnSettings>,
        secrets: &SecretStore,
        user: &str,
        now: u64,
    ) -> IceServers {
        let outlooks = self.look(turn, secrets, true);
        self.assemble(turn, secrets, outlooks, user, now)
    }

    /// The same, after waiting for what is expected to come, no longer than [`PATIENCE`].
    pub async fn servers_soon(
        &self,
        turn: Option<&TurnSettings>,
        secrets: &SecretStore,
        user: &str,
        now: u64,
    ) -> IceServers {
        let mut ended = self.0.ended.subscribe();
        let mut outlooks = self.look(turn, secrets, true);
        let end = tokio::time::Instant::now() + self.0.options.patience;
        // A provider that takes longer than this is not waited for again by each match that comes.
        while let Some(left) = self.worth_waiting(&outlooks) {
            let until = end.min(tokio::time::Instant::now() + left);
            let waited = tokio::time::timeout_at(until, ended.changed()).await;
            // What failed is not asked again for this match.
            outlooks = self.look(turn, secrets, false);
            if waited.is_err() {
                break;
            }
        }
        self.assemble(turn, secrets, outlooks, user, now)
    }

    /// For `/statusz`.
    pub fn describe(&self) -> Value {
        let now = (self.0.options.clock)();
        let remembered = self.0.remembered.lock();
        let all = remembered.providers.iter().map(|(key, provider)| {
            let age = provider.issuance.age(now);
            json!({
                "turnConfig": key.turn.to_string(),
                "provider": key.provider,
                "ageMs": age.map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX)),
                "circuit": provider.issuance.breaker(),
                "error": provider.error,
            })
        });
        all.collect()
    }

    fn assemble(
        &self,
        turn: Option<&TurnSettings>,
        secrets: &SecretStore,
        outlooks: BTreeMap<String, Outlook>,
        user: &str,
        now: u64,
    ) -> IceServers {
        let issued: IssuedByProvider = outlooks
            .into_iter()
            .filter_map(|(name, outlook)| match outlook {
                Outlook::Have(issued) => Some((name, issued)),
                Outlook::Soon(_) | Outlook::Nothing => None,
            })
            .collect();
        let answer = ice_servers(turn, secrets, &issued, user, now);
        for failure in &answer.failures {
            static LEFT_OUT: Throttle = Throttle::new(Duration::from_secs(10));
            let provider = &failure.provider;
            self.0.metrics.left_out(provider);
            let secret = match &failure.cause {
                FailureCause::NoSecret(secret) => {
                    self.0.metrics.failed(provider, Reason::Secret);
                    Some(secret)
                }
                FailureCause::NoServer => {
                    self.0.metrics.failed(provider, Reason::NoServer);
                    None
                }
                FailureCause::NotIssued => None,
            };
            let Some(suppressed) = LEFT_OUT.pass() else {
                continue;
            };
            if let Some(secret) = secret {
                warn!(
                    provider,
                    secret = secret.name,
                    secret_key = secret.key,
                    suppressed,
                    "TURN provider left out: its Secret is missing"
                );
            } else if failure.cause == FailureCause::NoServer {
                warn!(
                    provider,
                    suppressed, "TURN provider left out: none of its servers is ready"
                );
            } else {
                warn!(
                    provider,
                    suppressed, "TURN provider left out: it has issued no credential"
                );
            }
        }
        answer
    }

    /// What the providers of `turn` that issue credentials can give; `begin`: and fetch what they could.
    fn look(
        &self,
        turn: Option<&TurnSettings>,
        secrets: &SecretStore,
        begin: bool,
    ) -> BTreeMap<String, Outlook> {
        let mut outlooks = BTreeMap::new();
        for (turn, provider) in turn.into_iter().flat_map(|turn| {
            let providers = turn.providers.iter();
            providers.map(move |provider| (turn, provider))
        }) {
            let ProviderSettings::Metered {
                name,
                domain,
                api_key,
            } = provider
            else {
                continue;
            };
            // Who lacks its secret, or has one that cannot be sent, is left out.
            let application = assemble::text(secrets, api_key)
                .ok()
                .and_then(|key| self.0.application(domain, key));
            let Some(application) = application else { continue };
            let key = Key {
                turn: turn.name.clone(),
                provider: name.clone(),
            };
            let outlook = self.0.ask(key, application, turn.credential_ttl, begin);
            outlooks.insert(name.clone(), outlook);
        }
        outlooks
    }

    /// How much longer it is worth to wait for one of them.
    fn worth_waiting(&self, outlooks: &BTreeMap<String, Outlook>) -> Option<Duration> {
        let now = (self.0.options.clock)();
        let left = outlooks.values().filter_map(|outlook| match outlook {
            Outlook::Soon(since) => {
                let waited = now.saturating_duration_since(*since);
                self.0.options.patience.checked_sub(waited)
            }
            Outlook::Have(_) | Outlook::Nothing => None,
        });
        left.max().filter(|left| !left.is_zero())
    }
}

impl Shared {
    fn application(&self, domain: &str, key: String) -> Option<Application> {
        match &self.options.metered {
            Some(api) => Some(Application {
                api: api.clone(),
                key,
            }),
            None => Application::at(domain, key),
        }
    }

    fn ask(self: &Arc<Self>, key: Key, application: Application, life: Duration, begin: bool) -> Outlook {
        let now = (self.options.clock)();
        let mut remembered = self.remembered.lock();
        let provider = remembered.recall(&key, &application, life, now);
        let begin = begin && provider.issuance.begin(now);
        let (epoch, outlook) = (provider.epoch, provider.issuance.outlook(now));
        drop(remembered);
        if begin {
            self.depart(key, epoch, application, life, now);
        }
        outlook
    }

    /// Starts a fetch.
    fn depart(
        self: &Arc<Self>,
        key: Key,
        epoch: u64,
        application: Application,
        life: Duration,
        begun: Instant,
    ) {
        let flight = Flight {
            shared: Arc::clone(self),
            key,
            epoch,
            begun,
            done: false,
        };
        // From before it is made: it must not expire earlier than we say.
        let expires_at = unix_seconds().saturating_add(life.as_secs());
        tokio::spawn(async move {
            let issued = tokio::time::timeout(ISSUE_WITHIN, application.issue(life)).await;
            let issued = issued.unwrap_or(Err(MeteredError::TimedOut));
            flight.land(issued.map(|servers| Issued { servers, expires_at }));
        });
    }

    /// Takes in what came of a fetch.
    fn landed(&self, key: &Key, epoch: u64, begun: Instant, issued: Result<Issued, MeteredError>) {
        let now = (self.options.clock)();
        let mut remembered = self.remembered.lock();
        // Else it is of another provider by now.
        let provider = remembered.providers.get_mut(key);
        if let Some(provider) = provider.filter(|known| known.epoch == epoch) {
            self.metrics
                .asked(&key.provider, now.saturating_duration_since(begun));
            match &issued {
                Ok(issued) => told_success(key, &issued.servers, provider.error.take().is_some()),
                Err(error) => {
                    self.metrics.failed(&key.provider, error.reason());
                    told_failure(key, error, provider.issuance.age(now).is_some());
                    provider.error = Some(with_causes(error));
                }
            }
            provider.issuance.landed(issued.ok(), now);
        }
        drop(remembered);
        self.ended.send_modify(|ended| *ended += 1);
    }
}

impl Flight {
    fn land(mut self, issued: Result<Issued, MeteredError>) {
        self.done = true;
        self.shared.landed(&self.key, self.epoch, self.begun, issued);
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        if !self.done {
            let interrupted = Err(MeteredError::Interrupted);
            self.shared.landed(&self.key, self.epoch, self.begun, interrupted);
        }
    }
}

impl Remembered {
    /// The provider at `key`, which begins anew if it is another than before.
    fn recall(
        &mut self,
        key: &Key,
        application: &Application,
        life: Duration,
        now: Instant,
    ) -> &mut Provider {
        let known = self.providers.get(key);
        let same = known.is_some_and(|known| known.application == *application && known.life == life);
        if !same {
            self.providers.remove(key);
            self.make_room();
            self.epochs += 1;
        }
        let provider = self.providers.entry(key.clone()).or_insert_with(|| Provider {
            application: application.clone(),
            life,
            issuance: Issuance::new(life),
            epoch: self.epochs,
            named: now,
            error: None,
        });
        provider.named = now;
        provider
    }

    /// Forgets whoever was not named for the longest time, if there are too many for another.
    fn make_room(&mut self) {
        if self.providers.len() < MOST_REMEMBERED {
            return;
        }
        let oldest = self.providers.iter().min_by_key(|(_, provider)| provider.named);
        if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
            self.providers.remove(&oldest);
        }
    }
}

fn told_success(key: &Key, servers: &[IceServer], failed_before: bool) {
    let (provider, servers) = (&key.provider, servers.len());
    if failed_before {
        info!(provider, servers, "TURN provider issues credentials again");
    } else {
        debug!(provider, servers, "TURN credential issued");
    }
}

fn told_failure(key: &Key, error: &MeteredError, has_old: bool) {
    static FAILED: Throttle = Throttle::new(Duration::from_secs(10));
    if let Some(suppressed) = FAILED.pass() {
        let (provider, error) = (&key.provider, with_causes(error));
        if has_old {
            warn!(
                provider,
                error, suppressed, "TURN credential not issued: the last one stays in use for a while"
            );
        } else {
            warn!(provider, error, suppressed, "TURN credential not issued");
        }
    }
}

fn unix_seconds() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.unwrap_or_default().as_secs()
}

impl fmt::Debug for IceProviders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IceProviders").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
