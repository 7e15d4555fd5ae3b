//! Parts are taken away; nobody repairs anything by hand.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::peers::Peer;
use crate::play::{POOL, SIGNALING, first_player_again, one_more_player, pool_shows, text};
use crate::wait::{Seen, until};
use crate::{SLOW, Story};

const MATCHMAKER: &str = "app.kubernetes.io/name=matchmaker,app.kubernetes.io/instance=demo";

/// `kubectl scale hostpool` changes the number of matchmaker pods.
pub(crate) fn scale(story: &Story) -> Result<()> {
    for replicas in [3, 2] {
        story
            .cluster
            .kubectl(&["scale", "hostpool", POOL, &format!("--replicas={replicas}")])?;
        until("matchmaker pods", SLOW, || {
            Ok(Seen::equal(story.cluster.pods(MATCHMAKER)?.len(), replicas))
        })?;
        until("the pool's status", SLOW, || {
            let status = &story.cluster.get(&["hostpool", POOL])?["status"];
            Ok(Seen::equal(
                status["readyReplicas"].as_u64(),
                Some(replicas as u64),
            ))
        })?;
    }
    story
        .cluster
        .wait_for("Ready", &format!("hostpool/{POOL}"), "180s")
}

/// The HPA of the signaling Deployment sees real CPU use.
pub(crate) fn autoscaler(story: &Story) -> Result<()> {
    until("CPU in the autoscaler's status", SLOW, || {
        let hpa = story.cluster.get(&["hpa", "main-signaling"])?;
        ensure!(
            hpa["spec"]["scaleTargetRef"]["name"] == "main-signaling",
            "wrong target: {}",
            hpa["spec"]
        );
        let current = &hpa["status"]["currentMetrics"][0]["resource"]["current"]["averageUtilization"];
        Ok(if current.is_u64() {
            Seen::Yes
        } else {
            Seen::Instead(hpa["status"].to_string())
        })
    })
}

/// The pod that carries a session's signaling ends: the data channel survives, the host comes back, a new player connects.
pub(crate) fn lose_signaling(story: &Story, hosts: &mut Peer) -> Result<()> {
    let mut player = story
        .peers
        .player(&["--frames", "5", "--round-trips", "5", "--hold", "600"])?;
    player.expect_events("goals-reached", 1, SLOW)?;
    let host = room_of(&player)?;
    let of_host = |event: &serde_json::Value| event["roomId"] == host.as_str();
    let joins = |hosts: &Peer| {
        hosts
            .events("joined")
            .into_iter()
            .filter(of_host)
            .collect::<Vec<_>>()
    };
    let instance = text(joins(hosts).last().context("the host never joined")?, "instance")?;
    let (joined, echoed) = (joins(hosts).len(), echoes(&player));
    story
        .cluster
        .kubectl(&["delete", "pod", &instance, "--wait=false"])?;
    until("the host to join again", SLOW, || {
        Ok(if joins(hosts).len() > joined {
            Seen::Yes
        } else {
            Seen::Instead("no join".into())
        })
    })?;
    until("more echoes on the data channel", SLOW, || {
        Ok(if echoes(&player) >= echoed + 5 {
            Seen::Yes
        } else {
            Seen::Instead(format!("{} after {echoed}", echoes(&player)))
        })
    })?;
    ensure!(
        player.runs()?,
        "the session ended with its signaling pod: {:?}",
        player.lines()
    );
    player.interrupt()?;
    let (code, report) = player.finish(Duration::from_mins(1))?;
    ensure!(code == 0, "the player ended with {code}: {report}");
    until("two signaling pods", SLOW, || {
        Ok(Seen::equal(story.cluster.pods(SIGNALING)?.len(), 2))
    })?;
    pool_shows(story, "idle 2", |hosts| hosts["idle"] == 2)?;
    one_more_player(story).map(drop)
}

/// The room of the host that the player was given.
fn room_of(player: &Peer) -> Result<String> {
    text(
        player
            .events("matched")
            .first()
            .context("the player was given no host")?,
        "roomId",
    )
}

fn echoes(player: &Peer) -> u64 {
    player
        .events("alive")
        .last()
        .and_then(|event| event["roundTrips"].as_u64())
        .unwrap_or(0)
}

/// Redis ends and comes back empty: hosts register again, a session that runs keeps its slot, and players connect.
pub(crate) fn lose_redis(story: &Story, hosts: &mut Peer) -> Result<()> {
    let mut player = story
        .peers
        .player(&["--frames", "5", "--round-trips", "5", "--hold", "600"])?;
    player.expect_events("goals-reached", 1, SLOW)?;
    let taken = room_of(&player)?;
    story
        .cluster
        .kubectl(&["delete", "pod", "main-redis-0", "--wait=true"])?;
    until("Redis", SLOW, || {
        Ok(Seen::equal(
            story.cluster.pods("app.kubernetes.io/name=redis")?.len(),
            1,
        ))
    })?;
    pool_shows(story, "hosts 2, idle 1 beside the running session", |hosts| {
        hosts["total"] == 2 && hosts["idle"] == 1
    })?;
    ensure!(
        player.runs()?,
        "the session ended with Redis: {:?}",
        player.lines()
    );
    // While the first session runs, only the other host may be handed out.
    let mut rooms: HashMap<String, u32> = HashMap::new();
    for number in 0..3 {
        // The status may be older than the outage, and the services may still be on their way back.
        let report = if number == 0 {
            first_player_again(story)?
        } else {
            one_more_player(story)?
        };
        *rooms.entry(text(&report, "roomId")?).or_default() += 1;
        pool_shows(story, "idle 1 again", |hosts| hosts["idle"] == 1)?;
    }
    ensure!(
        !rooms.contains_key(&taken),
        "the slot of a running session was granted again: {rooms:?}"
    );
    player.interrupt()?;
    let (code, report) = player.finish(Duration::from_mins(1))?;
    ensure!(code == 0, "the player ended with {code}: {report}");
    ensure!(hosts.runs()?, "a host ended: {:?}", hosts.lines());
    pool_shows(story, "idle 2", |hosts| hosts["idle"] == 2)
}

/// Applying the same manifests and restarting the operator change nothing.
pub(crate) fn nothing_changes(story: &Story) -> Result<()> {
    let cluster = &story.cluster;
    let manifests = story.path("examples/quickstart")?;
    let printed = cluster.kubectl(&["apply", "-f", &manifests])?;
    ensure!(
        printed.lines().all(|line| line.ends_with("unchanged")),
        "a second apply changed something: {printed}"
    );
    let (code, diff) = cluster.kubectl_code(&["diff", "-f", &manifests])?;
    ensure!(code == 0, "kubectl diff: {diff}");
    let pods = || -> Result<Vec<_>> { Ok([cluster.pods(SIGNALING)?, cluster.pods(MATCHMAKER)?].concat()) };
    let before = pods()?;
    let deployment = [
        "--namespace",
        "berth-system",
        "rollout",
        "restart",
        "deployment/berth-operator",
    ];
    cluster.kubectl(&deployment)?;
    cluster.kubectl(&[
        "--namespace",
        "berth-system",
        "rollout",
        "status",
        "deployment/berth-operator",
        "--timeout=180s",
    ])?;
    cluster.wait_for("Ready", &format!("hostpool/{POOL}"), "180s")?;
    // The new operator has looked at everything once a change of its own making is visible.
    cluster.kubectl(&["annotate", "hostpool", POOL, "example.com/touched=yes"])?;
    cluster.kubectl(&["annotate", "hostpool", POOL, "example.com/touched-"])?;
    let after = pods()?;
    ensure!(
        after == before,
        "pods were replaced or restarted: {before:?}, then {after:?}"
    );
    Ok(())
}
