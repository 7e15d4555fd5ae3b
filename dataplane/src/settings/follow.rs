//! Following a source: assemble, put in force, or refuse and keep what is good.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use ::kube::Client;
use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;
use tracing::{info, warn};

use super::bundle::{Bundle, Kind, Own};
use super::cache::Cache;
use super::snapshot::Snapshot;
use super::source::env::EnvironmentError;
use super::source::{env, file, kube};
use super::view::{Refusals, View};
use crate::boot::{Boot, SettingsSource};
use crate::secrets::SecretStore;
use crate::telemetry::Metrics;

/// How long the API server is waited for before the cache is used.
const CACHE_AFTER: Duration = Duration::from_secs(3);

/// What a source says.
#[derive(Debug, Clone, PartialEq)]
pub enum Update {
    /// Nothing yet, for this reason.
    Waiting(String),
    /// These are the resources.
    Bundle(Bundle),
    /// There is a new version that cannot even be read.
    Broken(String),
}

/// Settings that are being followed. Clones share them; following ends with the last one.
pub struct Settings<V> {
    shared: Arc<Shared<V>>,
    /// Ends the following with the last clone.
    task: Arc<AbortOnDropHandle<()>>,
}

/// Why settings cannot be followed at all. Names the variable or field and what is allowed.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// A wrong environment variable.
    #[error(transparent)]
    Environment(#[from] EnvironmentError),
    /// A file that cannot be read, at the start.
    #[error("{path}: {message}")]
    File {
        /// The file or folder.
        path: String,
        /// What is wrong.
        message: String,
    },
    /// Wrong values in a file, at the start.
    #[error(transparent)]
    Refused(#[from] Refusals),
    /// No client for the API server: not in a pod and no kubeconfig.
    #[error("cannot reach the Kubernetes API")]
    Kubernetes(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The API server is to be watched, but nothing says for what.
    #[error("BERTH_NAMESPACE and BERTH_NAME must be set to follow a resource of the API server")]
    Unnamed,
}

struct Shared<V> {
    source: &'static str,
    own: Own,
    state: Mutex<State>,
    snapshot: watch::Sender<Option<Snapshot<V>>>,
    metrics: SettingsMetrics,
}

#[derive(Default)]
struct State {
    applied: Option<Applied>,
    refusals: u64,
    last_refusal: Option<LastRefusal>,
    /// The newest version, while it is a refused one.
    refused: Option<Refused>,
    /// Why there is nothing yet.
    waiting: String,
}

struct Applied {
    generations: BTreeMap<&'static str, i64>,
    own_generation: i64,
    at: String,
    from_cache: bool,
}

struct LastRefusal {
    at: String,
    reason: String,
}

/// A version that is not in force because it was refused.
struct Refused {
    /// Those of its resources; absent when they could not be read.
    generations: Option<BTreeMap<&'static str, i64>>,
    reason: String,
}

#[derive(Clone, Default)]
struct SettingsMetrics {
    refused: Counter,
    generation: Family<[(&'static str, &'static str); 1], Gauge>,
}

/// What runs behind settings: the source's own task.
type SourceTask = Pin<Box<dyn Future<Output = ()> + Send>>;

// === impl Settings ===

impl<V: View> Settings<V> {
    /// Starts following the source that `boot` names. A wrong file or variable at the start is an error; later it is a
    /// refusal. Secrets that stand in files or variables go into `secrets`. Runs inside a tokio runtime.
    pub async fn start(boot: &Boot, secrets: &SecretStore, metrics: &Metrics) -> Result<Self, SettingsError> {
        match &boot.source {
            SettingsSource::Env => {
                let settings = env::EnvironmentSettings::read(V::OWN, &boot.environment)?;
                settings.log_notes();
                for (reference, secret) in &settings.secrets {
                    secrets.put(reference, secret.clone());
                }
                // The bundle was checked with the names of the variables; what remains is a defect of ours.
                let (_, updates) = watch::channel(Update::Bundle(settings.bundle));
                Self::follow_from_start("env", Own::default(), updates, Box::pin(async {}), metrics)
            }
            SettingsSource::File(path) => {
                let (first, task) = file::follow_manifests(path.clone(), secrets.clone())
                    .await
                    .map_err(|message| SettingsError::File {
                        path: path.display().to_string(),
                        message,
                    })?;
                Self::follow_from_start("file", boot.own.clone(), first, Box::pin(task), metrics)
            }
            SettingsSource::Kube => {
                let client = kube::client().await?;
                Self::watch(client, boot.own.clone(), boot.cache_file.clone(), metrics)
            }
        }
    }

    /// Watches `own`, whose namespace and name must be known, and what it references at the API server of `client`. The
    /// file `cache` keeps the last good version for a start while that server is away. Runs inside a tokio runtime.
    pub fn watch(
        client: Client,
        own: Own,
        cache: Option<PathBuf>,
        metrics: &Metrics,
    ) -> Result<Self, SettingsError> {
        let (mut updates, task) = kube::follow(client, V::OWN, &own)?;
        updates.mark_changed();
        let cache = cache.map(Cache::new);
        Ok(Self::follow("kube", own, updates, Box::pin(task), cache, metrics))
    }

    /// Follows any stream of updates: what [`Settings::start`] does with its sources. The stream's sender decides how
    /// long; the settings outlive it.
    pub fn follow_updates(own: Own, mut updates: watch::Receiver<Update>, metrics: &Metrics) -> Self {
        updates.mark_changed();
        Self::follow("updates", own, updates, Box::pin(async {}), None, metrics)
    }

    /// Like [`Settings::follow_updates`], but a wrong first version is an error, as it is for files at the start.
    pub fn follow_valid_updates(
        own: Own,
        updates: watch::Receiver<Update>,
        metrics: &Metrics,
    ) -> Result<Self, SettingsError> {
        Self::follow_from_start("file", own, updates, Box::pin(async {}), metrics)
    }

    /// Refuses to start with a wrong first version: there is no good one that could be kept.
    fn follow_from_start(
        source: &'static str,
        own: Own,
        updates: watch::Receiver<Update>,
        task: SourceTask,
        metrics: &Metrics,
    ) -> Result<Self, SettingsError> {
        let first = updates.borrow().clone();
        if let Update::Bundle(bundle) = &first {
            assemble::<V>(bundle, &own)?;
        }
        let settings = Self::follow(source, own, updates, task, None, metrics);
        settings.shared.take(&first);
        Ok(settings)
    }

    fn follow(
        source: &'static str,
        own: Own,
        updates: watch::Receiver<Update>,
        task: SourceTask,
        cache: Option<Cache>,
        metrics: &Metrics,
    ) -> Self {
        let shared = Arc::new(Shared {
            source,
            own,
            state: Mutex::default(),
            snapshot: watch::Sender::new(None),
            metrics: SettingsMetrics::register(metrics),
        });
        let following = Arc::clone(&shared).run(updates, cache);
        let task = tokio::spawn(async move {
            tokio::join!(task, following);
        });
        Self {
            shared,
            task: Arc::new(AbortOnDropHandle::new(task)),
        }
    }

    /// Waits for the first version: the API server may be away and the cache empty. Cancel-safe.
    pub async fn first(&self) -> Snapshot<V> {
        let mut snapshots = self.shared.snapshot.subscribe();
        loop {
            if let Some(snapshot) = snapshots.borrow_and_update().clone() {
                return snapshot;
            }
            // The sender lives in `self`.
            let _ = snapshots.changed().await;
        }
    }

    /// The settings in force, once there are any.
    pub fn snapshot(&self) -> Option<Snapshot<V>> {
        self.shared.snapshot.borrow().clone()
    }

    /// Why there are no settings yet, for readiness. A later version that was refused is no reason.
    pub fn not_ready(&self) -> Option<String> {
        let state = self.shared.state.lock();
        state.applied.is_none().then(|| {
            let refused = state.last_refusal.as_ref().map(|refusal| refusal.reason.clone());
            refused.unwrap_or_else(|| state.waiting.clone())
        })
    }

    /// For `/statusz`: `source`, `own`, `generation` (of the own resource), `generations`, `appliedAt`, `fromCache`,
    /// `refusals`, `lastRefusal`, `refused` (the newest version while it is a refused one: `generations`, `reason`).
    pub fn status(&self) -> Value {
        let state = self.shared.state.lock();
        let applied = state.applied.as_ref();
        json!({
            "source": self.shared.source,
            "own": format!("{}{}", V::OWN, self.shared.own),
            "generation": applied.map(|applied| applied.own_generation),
            "generations": applied.map(|applied| &applied.generations),
            "appliedAt": applied.map(|applied| &applied.at),
            "fromCache": applied.is_some_and(|applied| applied.from_cache),
            "refusals": state.refusals,
            "lastRefusal": state
                .last_refusal
                .as_ref()
                .map(|refusal| json!({"at": refusal.at, "reason": refusal.reason})),
            "refused": state
                .refused
                .as_ref()
                .map(|refused| json!({"generations": refused.generations, "reason": refused.reason})),
        })
    }
}

impl<V> Clone for Settings<V> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            task: Arc::clone(&self.task),
        }
    }
}

// === impl Shared ===

impl<V: View> Shared<V> {
    async fn run(self: Arc<Self>, mut updates: watch::Receiver<Update>, cache: Option<Cache>) {
        let mut patience = std::pin::pin!(tokio::time::sleep(CACHE_AFTER));
        let mut may_start_from_cache = cache.is_some();
        loop {
            tokio::select! {
                biased;
                changed = updates.changed() => if changed.is_err() { return },
                () = patience.as_mut(), if may_start_from_cache => {
                    may_start_from_cache = false;
                    if let Some(cache) = &cache {
                        self.start_from(cache, "the API server does not answer").await;
                    }
                    continue;
                }
            }
            let update = updates.borrow_and_update().clone();
            let applied = self.take(&update);
            let Some(cache) = &cache else { continue };
            match update {
                Update::Waiting(_) => {}
                Update::Bundle(bundle) if applied => {
                    may_start_from_cache = false;
                    if let Err(error) = cache.store(bundle).await {
                        warn!(%error, "cannot keep the settings in the cache");
                    }
                }
                // A restart must not make a wrong edit an outage: a process that runs keeps its last good version too.
                Update::Bundle(_) | Update::Broken(_) => {
                    if std::mem::take(&mut may_start_from_cache) {
                        self.start_from(cache, "the first version was refused").await;
                    }
                }
            }
        }
    }

    /// Puts the cache in force. One that is refused is no version that anybody made: the status keeps its reason.
    async fn start_from(&self, cache: &Cache, why: &str) {
        match cache.load().await {
            Ok(Some(bundle)) => match assemble::<V>(&bundle, &self.own) {
                Ok(view) => {
                    warn!("{why}: starting with the settings of the cache");
                    self.apply(view, true);
                }
                Err(error) => warn!(%error, "the cache of settings is refused"),
            },
            Ok(None) => {}
            Err(error) => warn!(%error, "the cache of settings cannot be used"),
        }
    }

    /// Puts an update in force (`true`), or refuses it.
    fn take(&self, update: &Update) -> bool {
        match update {
            Update::Waiting(reason) => self.state.lock().waiting.clone_from(reason),
            Update::Broken(reason) => self.refuse(reason.clone(), None),
            Update::Bundle(bundle) => match assemble::<V>(bundle, &self.own) {
                Ok(view) => {
                    self.apply(view, false);
                    return true;
                }
                Err(refusals) => {
                    let generations = generations(bundle, &self.own, V::OWN);
                    self.refuse(refusals.to_string(), Some(generations));
                }
            },
        }
        false
    }

    fn apply(&self, view: V, from_cache: bool) {
        let generations = view.generations();
        let own_generation = generations.get(V::OWN.as_str()).copied().unwrap_or_default();
        for (kind, generation) in &generations {
            self.metrics
                .generation
                .get_or_create(&[("kind", kind)])
                .set(*generation);
        }
        info!(
            source = self.source,
            ?generations,
            from_cache,
            "settings in force"
        );
        {
            let mut state = self.state.lock();
            state.applied = Some(Applied {
                generations,
                own_generation,
                at: jiff::Timestamp::now().to_string(),
                from_cache,
            });
            // The cache stands in for a version that was refused; it does not mend it.
            if !from_cache {
                state.refused = None;
            }
        }
        self.snapshot.send_modify(|snapshot| match snapshot {
            Some(snapshot) => snapshot.replace(view),
            None => *snapshot = Some(Snapshot::new(view)),
        });
    }

    /// Sources tell each version once, so a version is logged and counted once.
    fn refuse(&self, reason: String, generations: Option<BTreeMap<&'static str, i64>>) {
        let mut state = self.state.lock();
        state.refusals += 1;
        self.metrics.refused.inc();
        let kept = state.applied.is_some();
        warn!(
            source = self.source,
            reason,
            kept_last_good = kept,
            "settings refused"
        );
        state.refused = Some(Refused {
            generations,
            reason: reason.clone(),
        });
        state.last_refusal = Some(LastRefusal {
            at: jiff::Timestamp::now().to_string(),
            reason,
        });
    }
}

/// Pure: everything between raw resources and settings.
fn assemble<V: View>(bundle: &Bundle, own: &Own) -> Result<V, Refusals> {
    let own = own.resolve(bundle, V::OWN)?;
    V::assemble(bundle, &own)
}

/// The generations of what the own resource and its references are in a bundle, whether or not they are good.
fn generations(bundle: &Bundle, own: &Own, kind: Kind) -> BTreeMap<&'static str, i64> {
    let Ok(own) = own.resolve(bundle, kind) else {
        return BTreeMap::new();
    };
    let references = bundle.references(&own);
    [own]
        .into_iter()
        .chain(references)
        .filter_map(|key| Some((key.kind.as_str(), bundle.generation(&key)?)))
        .collect()
}

impl SettingsMetrics {
    fn register(metrics: &Metrics) -> Self {
        let this = Self::default();
        metrics.register(|registry| {
            registry.register(
                "berth_settings_refused",
                "Versions of the settings that were refused",
                this.refused.clone(),
            );
            registry.register(
                "berth_settings_generation",
                "Generation of each resource whose settings are in force",
                this.generation.clone(),
            );
        });
        this
    }
}

#[cfg(test)]
mod tests;
