//! Hosts register, a player finds one and connects.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::kubectl::{Cluster, Pod};
use crate::peers::Peer;
use crate::wait::{Seen, until};
use crate::{SLOW, Story};

/// The pool of the quickstart.
pub(crate) const POOL: &str = "demo";
/// Pods of the quickstart's SignalingCluster.
pub(crate) const SIGNALING: &str = "app.kubernetes.io/name=signaling,app.kubernetes.io/instance=main";

/// Two `berth host`, from outside the cluster, with the secret that the operator generated.
pub(crate) fn hosts(story: &Story) -> Result<Peer> {
    let secret = secret_of_hosts(&story.cluster)?;
    let mut hosts = story.peers.host(&secret, &["--count", "2"])?;
    hosts.expect_events("joined", 2, SLOW)?;
    hosts.expect_events("registered", 2, SLOW)?;
    pool_shows(story, "hosts 2, idle 2", |hosts| {
        hosts["total"] == 2 && hosts["idle"] == 2
    })?;
    Ok(hosts)
}

/// The host's secret, as the README gets it.
pub(crate) fn secret_of_hosts(cluster: &Cluster) -> Result<String> {
    let data = [
        "get",
        "secret",
        "demo-host-secret",
        "-o",
        "go-template={{.data.current | base64decode}}",
    ];
    let secret = cluster.kubectl(&data)?;
    ensure!(
        secret.len() >= 32,
        "the generated secret has {} characters only",
        secret.len()
    );
    Ok(secret)
}

/// Waits until `kubectl get hostpool` shows these counts.
pub(crate) fn pool_shows(story: &Story, what: &str, right: impl Fn(&Value) -> bool) -> Result<()> {
    until(&format!("kubectl get hostpools: {what}"), SLOW, || {
        let pool = story.cluster.get(&["hostpool", POOL])?;
        let hosts = &pool["status"]["hosts"];
        Ok(if right(hosts) {
            Seen::Yes
        } else {
            Seen::Instead(hosts.to_string())
        })
    })
}

/// A player on another signaling instance than its host: match, data channel, round trips, video; the pool's counts follow.
pub(crate) fn across_instances(story: &Story, hosts: &mut Peer) -> Result<()> {
    let joined = hosts.events("joined");
    let host = joined.last().context("no host has joined")?;
    let (id, instance) = (text(host, "hostId")?, text(host, "instance")?);
    let before = remote_relayed(story)?;
    let args = [
        "--host-id",
        &id,
        "--avoid-instance",
        &instance,
        "--frames",
        "20",
        "--round-trips",
        "20",
        "--hold",
        "600",
    ];
    let mut player = story.peers.player(&args)?;
    player.expect_events("goals-reached", 1, SLOW)?;
    hosts.expect_events("session-started", 1, SLOW)?;
    pool_shows(story, "idle 1", |hosts| hosts["idle"] == 1 && hosts["total"] == 2)?;
    let after = remote_relayed(story)?;
    let both = before
        .iter()
        .zip(&after)
        .filter(|((_, before), (_, after))| after > before)
        .count();
    ensure!(
        both == 2,
        "the remote relay of both instances was to count: {before:?}, then {after:?}"
    );
    player.interrupt()?;
    let (code, report) = player.finish(Duration::from_mins(1))?;
    ensure!(code == 0, "the player ended with {code}: {report}");
    ensure!(
        report["video"]["frames"].as_u64() >= Some(20),
        "no video: {report}"
    );
    ensure!(
        report["roundTrip"]["count"].as_u64() >= Some(20),
        "no round trips: {report}"
    );
    ensure!(
        report["instance"] != instance,
        "host and player were on one instance: {report}"
    );
    pool_shows(story, "idle 2", |hosts| hosts["idle"] == 2)
}

/// A player that connects and leaves at once; the report.
pub(crate) fn one_more_player(story: &Story) -> Result<Value> {
    let player = story.peers.player(&["--frames", "5", "--round-trips", "5"])?;
    let (code, report) = player.finish(SLOW)?;
    ensure!(code == 0, "the player ended with {code}: {report}");
    Ok(report)
}

/// The first player after an outage: he tries until he is served, as a client does that is told to come back later.
pub(crate) fn first_player_again(story: &Story) -> Result<Value> {
    let mut report = Value::Null;
    until("a player connects", SLOW, || {
        let player = story.peers.player(&["--frames", "5", "--round-trips", "5"])?;
        let (code, last) = player.finish(SLOW)?;
        report = last;
        Ok(Seen::equal(code, 0))
    })?;
    Ok(report)
}

/// Messages that each signaling pod sent to another one, by pod.
fn remote_relayed(story: &Story) -> Result<Vec<(String, u64)>> {
    let pods = story.cluster.pods(SIGNALING)?;
    ensure!(pods.len() == 2, "two signaling pods were to run: {pods:?}");
    pods.into_iter()
        .map(|Pod { name, .. }| {
            Ok((
                name.clone(),
                metric(story, &name, "signaling_relayed_total{path=\"remote\"}")?,
            ))
        })
        .collect()
}

fn metric(story: &Story, pod: &str, series: &str) -> Result<u64> {
    let text = story.cluster.pod_get(pod, 8080, "/metrics")?;
    let value = text.lines().find_map(|line| line.strip_prefix(series));
    Ok(value.map_or(Ok(0), |value| value.trim().parse())?)
}

/// A text field of an event.
pub(crate) fn text(event: &Value, field: &str) -> Result<String> {
    Ok(event[field]
        .as_str()
        .with_context(|| format!("no {field} in {event}"))?
        .to_owned())
}
