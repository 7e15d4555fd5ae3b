//! Settings of both services from one set of manifests, and the secrets that a laptop does not have.

use std::path::PathBuf;

use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use berth_crds::settings::{SecretRef, match_key_secret};
use berth_dataplane::secrets::{Secret, SecretStore};
use berth_dataplane::settings::{
    Bundle, Kind, MatchmakerView, Own, Settings, SignalingView, Update, follow_manifests, read_manifests,
};
use berth_dataplane::telemetry::Metrics;
use serde_json::Value;
use tokio::sync::watch;

use super::{UpError, UpOptions};

/// The folder that is read when none is named.
const LOCAL: &str = "examples/local";
/// The same manifests, for a program that was taken out of its repository.
const EMBEDDED: &str = include_str!("../../../examples/local/berth.yaml");
/// Secret of hosts on a laptop.
const LOCAL_HOST_SECRET: &str = "berth-local";

/// Settings of both services.
pub(super) struct BothSettings {
    pub(super) signaling: Settings<SignalingView>,
    pub(super) matchmaker: Settings<MatchmakerView>,
    /// Where they come from, for people.
    pub(super) origin: String,
}

/// Starts following the manifests. `public_url` replaces what they say where the ports were moved.
pub(super) async fn start(
    options: &UpOptions,
    secrets: &SecretStore,
    metrics: &Metrics,
    public_url: Option<String>,
) -> Result<BothSettings, UpError> {
    let named = options
        .manifests
        .clone()
        .or_else(|| Some(PathBuf::from(LOCAL)).filter(|path| path.is_dir()));
    let (updates, origin) = if let Some(path) = named {
        let origin = path.display().to_string();
        let (updates, task) = follow_manifests(path, secrets.clone())
            .await
            .map_err(UpError::Manifests)?;
        tokio::spawn(task);
        (updates, origin)
    } else {
        let bundle = read_manifests("built-in manifests", EMBEDDED, secrets).map_err(UpError::Manifests)?;
        (
            watch::channel(Update::Bundle(bundle)).1,
            "the manifests built into this program".to_owned(),
        )
    };
    let updates = match public_url {
        Some(url) => with_public_url(updates, Value::String(url)),
        None => updates,
    };
    Ok(BothSettings {
        signaling: Settings::follow_valid_updates(
            Own::default(),
            updates.clone(),
            &metrics.scoped("signaling"),
        )?,
        matchmaker: Settings::follow_valid_updates(Own::default(), updates, &metrics.scoped("matchmaker"))?,
        origin,
    })
}

/// The same updates with another public address of signaling.
fn with_public_url(mut updates: watch::Receiver<Update>, url: Value) -> watch::Receiver<Update> {
    let changed = move |update: &Update| match update {
        Update::Bundle(bundle) => Update::Bundle(overridden(bundle.clone(), &url)),
        other => other.clone(),
    };
    let (sender, receiver) = watch::channel(changed(&updates.borrow_and_update()));
    tokio::spawn(async move {
        while updates.changed().await.is_ok() {
            let update = changed(&updates.borrow_and_update());
            sender.send_replace(update);
        }
        // Manifests that are not followed stay as they are.
        sender.closed().await;
    });
    receiver
}

fn overridden(mut bundle: Bundle, url: &Value) -> Bundle {
    bundle.override_spec(Kind::SignalingCluster, "publicUrl", url);
    bundle
}

/// Gives the secrets that the operator would generate: the hosts' and the key of match tokens.
pub(super) fn generate_secrets(
    options: &UpOptions,
    secrets: &SecretStore,
    view: &MatchmakerView,
) -> Result<(), UpError> {
    let host = &view.pool.host_secret.current;
    match &options.host_secret {
        Some(secret) => put(secrets, host, secret)?,
        None if secrets.get(host).is_none() => put(secrets, host, LOCAL_HOST_SECRET)?,
        None => {}
    }
    let key = match_key_secret(&view.cluster.name.name).current;
    if secrets.get(&key).is_none() {
        let mut bytes = [0; 32];
        rand::fill(&mut bytes).map_err(|_| UpError::Random)?;
        put(secrets, &key, &URL_SAFE_NO_PAD.encode(bytes))?;
    }
    Ok(())
}

fn put(secrets: &SecretStore, reference: &SecretRef, text: &str) -> Result<(), UpError> {
    secrets.put(reference, Secret::new(text).map_err(UpError::HostSecret)?);
    Ok(())
}
