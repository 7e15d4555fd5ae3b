//! Status of a SignalingCluster.

use berth_crds::SignalingCluster;
use berth_crds::api::{RedisStatus, SignalingClusterStatus};
use jiff::Timestamp;
use kube::ResourceExt;

use super::around::{self, AroundFacts};
use super::conditions::{Conditions, Truth};
use super::pause;
use super::progress::{Progress, Trouble};
use super::reason::{ConditionType, Reason};
use super::rollout::Rollout;
use super::security;
use super::settings::{self, SettingsFacts};
use crate::names::Component;
use crate::pods::ReportedRedis;
use crate::render::ChildId;
use crate::resolve::{Missing, Placeholder};

/// What was seen of a SignalingCluster.
#[derive(Clone, Debug, Default)]
pub struct SignalingClusterFacts {
    /// What is named and does not exist; absent when that was not found out.
    pub missing: Option<Vec<Missing>>,
    /// What the pods follow.
    pub settings: SettingsFacts,
    /// The Deployment.
    pub rollout: Option<Rollout>,
    /// Hash of the Deployment that was applied; absent when it was withheld.
    pub applied: Option<String>,
    /// Children that are not what they should be, because the resource is paused.
    pub held: Vec<ChildId>,
    /// What stands around the pods.
    pub around: AroundFacts,
    /// Open connections of all pods; absent when they were not counted yet.
    pub connections: Option<i64>,
    /// Redis.
    pub redis: RedisFacts,
    /// Secrets that are accepted although everybody knows them.
    pub placeholders: Vec<Placeholder>,
}

/// What was seen of Redis.
#[derive(Clone, Debug, Default)]
pub struct RedisFacts {
    /// Host and port, when known.
    pub endpoint: Option<String>,
    /// Whether it is one of the team's.
    pub external: bool,
    /// What signaling pods say of one of the team's.
    pub report: Option<ReportedRedis>,
    /// The StatefulSet.
    pub rollout: Option<Rollout>,
    /// Hash of the StatefulSet that was applied.
    pub applied: Option<String>,
}

impl RedisFacts {
    /// `signaling` is the rollout of the signaling pods: they are ready only while they reach Redis.
    fn tell(&self, signaling: Option<&Rollout>) -> (Truth, Reason, String) {
        if self.external {
            return self.tell_external(signaling.is_some_and(|pods| pods.ready > 0));
        }
        let ready = self.rollout.as_ref().is_some_and(|seen| {
            seen.is_complete() && self.applied.as_ref().is_none_or(|hash| *hash == seen.hash)
        });
        if ready {
            (
                Truth::True,
                Reason::RedisReady,
                "the managed Redis is ready".into(),
            )
        } else {
            (
                Truth::False,
                Reason::RedisNotReady,
                "the managed Redis is not ready".into(),
            )
        }
    }

    fn tell_external(&self, some_pod_is_ready: bool) -> (Truth, Reason, String) {
        let reached = |what: &str| {
            let message = format!("the signaling pods reach {what}");
            (Truth::True, Reason::ExternalRedis, message)
        };
        match &self.report {
            Some(ReportedRedis {
                mode,
                up: true,
                sharded,
                ..
            }) => match (mode.as_str(), sharded) {
                ("cluster", Some(false)) => (
                    Truth::True,
                    Reason::RedisNotSharded,
                    "the Redis Cluster has no sharded pub/sub (Redis 7): each message between signaling pods goes to all of \
                     its nodes"
                        .into(),
                ),
                ("cluster", _) => reached("the Redis Cluster"),
                ("sentinel", _) => reached("the master that the Sentinels name"),
                _ => reached("the external Redis"),
            },
            Some(ReportedRedis { last_error, .. }) => {
                let why = last_error.as_deref().unwrap_or("it does not answer");
                let message = format!("the signaling pods do not reach the external Redis: {why}");
                (Truth::False, Reason::RedisUnreachable, message)
            }
            None if some_pod_is_ready => reached("the external Redis"),
            None => (
                Truth::Unknown,
                Reason::ExternalRedis,
                "no signaling pod is ready to tell of the external Redis".into(),
            ),
        }
    }

    /// What the status shows of it.
    fn status(&self, ready: bool) -> Option<RedisStatus> {
        let report = self.report.as_ref();
        let mode = report.and_then(|report| match report.mode.as_str() {
            "standalone" => Some("Standalone"),
            "sentinel" => Some("Sentinel"),
            "cluster" => Some("Cluster"),
            _ => None,
        });
        let several = mode.is_some_and(|mode| mode != "Standalone");
        Some(RedisStatus {
            endpoint: self.endpoint.clone()?,
            ready,
            mode: mode.map(str::to_owned),
            master: report
                .and_then(|report| report.master.clone())
                .filter(|_| several),
        })
    }
}

/// The status of `resource` after `previous`; `trouble` is what went wrong.
pub fn signaling_cluster(
    resource: &SignalingCluster,
    previous: &SignalingClusterStatus,
    facts: &SignalingClusterFacts,
    trouble: Option<&Trouble>,
    now: Timestamp,
) -> SignalingClusterStatus {
    let mut conditions = Conditions::after(&previous.conditions, resource.metadata.generation, now);
    let (verdict, settings) = settings::judge(
        &facts.settings,
        facts.rollout.as_ref(),
        resource.metadata.generation,
        (&previous.conditions, previous.settings),
    );
    verdict.tell(&mut conditions);
    let mut progress = Progress {
        settings: Some(verdict),
        trouble,
        missing: facts.missing.as_deref(),
        ..Progress::default()
    };
    let held = pause::tell(resource.spec.paused, &facts.held, &mut conditions);
    progress.waiting.extend(held);
    around::tell_autoscaling(
        resource.spec.autoscaling.as_ref().map(|scaling| &scaling.common),
        resource.spec.replicas,
        resource
            .spec
            .autoscaling
            .as_ref()
            .is_some_and(|scaling| scaling.target_connections_per_pod.is_some()),
        &facts.around,
        &mut conditions,
    );
    let route = around::tell_route(resource.spec.http_route.as_ref(), &facts.around, &mut conditions);
    progress.waiting.extend(route);
    let (redis, reason, message) = facts.redis.tell(facts.rollout.as_ref());
    conditions.set(ConditionType::RedisReady, redis, reason, message.clone());
    if redis == Truth::False {
        progress.waiting.push((reason, message));
    }
    let rollout = progress.tell_rollout(facts.rollout.as_ref(), facts.applied.as_deref(), &mut conditions);
    let mut warnings = security::of_auth(&resource.spec.auth);
    warnings.extend(security::of_placeholders(&facts.placeholders));
    warnings.extend(security::of_access(&resource.spec));
    security::tell(Some(warnings), &mut conditions);

    SignalingClusterStatus {
        observed_generation: resource.metadata.generation,
        replicas: rollout.replicas,
        ready_replicas: rollout.ready,
        selector: Component::Signaling.selector_text(&resource.name_any()),
        image: rollout.image,
        settings,
        connections: facts.connections.unwrap_or(previous.connections),
        redis: facts.redis.status(redis == Truth::True),
        conditions: conditions.finish(),
    }
}
