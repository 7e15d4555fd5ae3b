//! What is told follows from what was seen, and from nothing else.

use berth_crds::api::{
    HostCounts, HostPoolSpec, HostPoolStatus, RegionDemand, SignalingClusterSpec, SignalingClusterStatus,
    SlotCounts, TurnConfigSpec, TurnConfigStatus,
};
use berth_crds::{HostPool, SignalingCluster, TurnConfig};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use proptest::prelude::*;

use super::conditions::find;
use super::*;
use crate::pods::ReportedRedis;
use crate::probe::{ProbeError, Reach};
use crate::render::{ChildId, ChildKind};
use crate::resolve::{Missing, Placeholder, Purpose, SecretKey};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

pub(super) fn complete() -> Rollout {
    Rollout {
        hash: "h".into(),
        observed: true,
        desired: 2,
        replicas: 2,
        updated: 2,
        ready: 2,
        available: 2,
        image: Some("berth:test".into()),
        stuck: None,
        refused: None,
    }
}

fn settled() -> SettingsFacts {
    SettingsFacts {
        wanted: Some([("SignalingCluster", 3)].into()),
        followers: Some(Followers {
            ready: 2,
            following: 2,
            ..Followers::default()
        }),
    }
}

fn cluster() -> SignalingCluster {
    let mut resource = SignalingCluster::new("main", SignalingClusterSpec::new("ws://a"));
    resource.metadata.generation = Some(3);
    resource
}

fn good() -> SignalingClusterFacts {
    SignalingClusterFacts {
        around: AroundFacts::default(),
        missing: Some(vec![]),
        settings: settled(),
        connections: None,
        rollout: Some(complete()),
        applied: Some("h".into()),
        held: vec![],
        redis: RedisFacts {
            rollout: Some(Rollout {
                desired: 1,
                replicas: 1,
                updated: 1,
                ready: 1,
                available: 1,
                ..complete()
            }),
            applied: Some("h".into()),
            ..RedisFacts::default()
        },
        placeholders: vec![],
    }
}

fn tell(facts: &SignalingClusterFacts, trouble: Option<&Trouble>) -> Vec<Condition> {
    signaling_cluster(
        &cluster(),
        &berth_crds::api::SignalingClusterStatus::default(),
        facts,
        trouble,
        at(1),
    )
    .conditions
}

/// Status of `Ready`, `Reconciling` and `Stalled`, and the reason of `Ready`.
fn summary(conditions: &[Condition]) -> (String, String) {
    let status = |kind| find(conditions, kind).unwrap().status.clone();
    let [ready, reconciling, stalled] = [
        ConditionType::Ready,
        ConditionType::Reconciling,
        ConditionType::Stalled,
    ]
    .map(status);
    let reason = find(conditions, ConditionType::Ready).unwrap().reason.clone();
    (format!("{ready} {reconciling} {stalled}"), reason)
}

fn expect(facts: &SignalingClusterFacts, trouble: Option<&Trouble>, states: &str, reason: Reason) {
    assert_eq!(
        summary(&tell(facts, trouble)),
        (states.to_owned(), reason.as_str().to_owned())
    );
}

/// A pause is no failure, and what it holds back is not called done.
#[test]
fn a_paused_resource_is_ready_only_if_nothing_waits() {
    let of = |held: &[&str]| {
        let mut resource = cluster();
        resource.spec.paused = true;
        let held = held.iter().map(|name| ChildId::new(ChildKind::Service, *name));
        let facts = SignalingClusterFacts {
            around: AroundFacts::default(),
            held: held.collect(),
            ..good()
        };
        let before = berth_crds::api::SignalingClusterStatus::default();
        let conditions = signaling_cluster(&resource, &before, &facts, None, at(1)).conditions;
        let paused = find(&conditions, ConditionType::Paused).unwrap();
        assert_eq!((&*paused.status, &*paused.reason), ("True", "Paused"));
        (summary(&conditions), paused.message.clone())
    };
    let texts = |states: &str, reason: &str| (states.to_owned(), reason.to_owned());
    assert_eq!(
        of(&[]),
        (
            texts("True False False", "UpToDate"),
            "spec.paused is true: nothing is written".into()
        )
    );
    assert_eq!(
        of(&["a", "b"]),
        (
            texts("False True False", "Paused"),
            "spec.paused is true: not written Service a, Service b".into()
        )
    );
    let many = of(&["a", "b", "c", "d", "e", "f", "g"]).1;
    assert!(many.ends_with("Service e and 2 more"), "{many}");
    let conditions = tell(&good(), None);
    let paused = find(&conditions, ConditionType::Paused).unwrap();
    assert_eq!((&*paused.status, &*paused.reason), ("False", "NotPaused"));
}

#[test]
fn ready_only_when_everything_is() {
    expect(&good(), None, "True False False", Reason::UpToDate);
    let without = |change: fn(&mut SignalingClusterFacts)| {
        let mut facts = good();
        change(&mut facts);
        facts
    };
    let waits = "False True False";
    expect(
        &without(|facts| facts.rollout = None),
        None,
        waits,
        Reason::RollingOut,
    );
    // The watch still shows what was there before the last apply.
    expect(
        &without(|facts| facts.applied = Some("newer".into())),
        None,
        waits,
        Reason::RollingOut,
    );
    expect(
        &without(|facts| facts.redis.rollout = None),
        None,
        waits,
        Reason::RedisNotReady,
    );
    expect(
        &without(|facts| facts.missing = Some(vec![Missing::Secret("a".into())])),
        None,
        waits,
        Reason::SecretNotFound,
    );
    let stuck = without(|facts| {
        facts.rollout = Some(Rollout {
            stuck: Some("timed out".into()),
            ready: 0,
            ..complete()
        });
    });
    expect(&stuck, None, "False False True", Reason::RolloutStuck);
}

#[test]
fn any_part_of_a_rollout_that_is_behind_keeps_it_from_being_complete() {
    for change in [
        |rollout: &mut Rollout| rollout.observed = false,
        |rollout: &mut Rollout| rollout.replicas = 3,
        |rollout: &mut Rollout| rollout.updated = 1,
        |rollout: &mut Rollout| rollout.ready = 1,
        |rollout: &mut Rollout| rollout.available = 1,
    ] {
        let mut rollout = complete();
        change(&mut rollout);
        assert!(!rollout.is_complete(), "{rollout:?}");
    }
    assert!(complete().is_complete());
}

#[test]
fn trouble_comes_first_and_is_stalled_unless_it_passes() {
    let message = || "why".to_owned();
    for (trouble, states, reason) in [
        (
            Trouble::InvalidSpec(message()),
            "False False True",
            Reason::InvalidSpec,
        ),
        (
            Trouble::NameConflict(message()),
            "False False True",
            Reason::NameConflict,
        ),
        (Trouble::Rejected(message()), "False False True", Reason::Rejected),
        (
            Trouble::Forbidden(message()),
            "False False True",
            Reason::Forbidden,
        ),
        (
            Trouble::ApiUnavailable(message()),
            "False True False",
            Reason::ApiUnavailable,
        ),
        (
            Trouble::WaitingForDeletion(message()),
            "False True False",
            Reason::WaitingForDeletion,
        ),
    ] {
        expect(&good(), Some(&trouble), states, reason);
    }
}

#[test]
fn references_that_were_not_looked_at_are_not_called_resolved() {
    let mut facts = good();
    facts.missing = None;
    let conditions = tell(&facts, Some(&Trouble::InvalidSpec("why".into())));
    assert_eq!(
        find(&conditions, ConditionType::ResolvedRefs).unwrap().status,
        "Unknown"
    );
}

#[test]
fn an_external_redis_is_known_by_the_pods_that_reach_it() {
    let mut facts = good();
    facts.redis = RedisFacts {
        endpoint: Some("redis.example:6379".into()),
        external: true,
        ..RedisFacts::default()
    };
    let status = |facts: &SignalingClusterFacts| {
        let conditions = tell(facts, None);
        let redis = find(&conditions, ConditionType::RedisReady)
            .unwrap()
            .status
            .clone();
        (redis, summary(&conditions).0)
    };
    assert_eq!(status(&facts), ("True".into(), "True False False".into()));
    facts.rollout = None;
    assert_eq!(status(&facts), ("Unknown".into(), "False True False".into()));
}

#[test]
fn what_signaling_pods_say_of_an_external_redis_is_passed_on() {
    let told = |mode: &str, up, sharded| {
        let mut facts = good();
        facts.redis = RedisFacts {
            endpoint: Some("redis.example:6379".into()),
            external: true,
            report: Some(ReportedRedis {
                mode: mode.into(),
                up,
                master: Some("10.0.0.1:6379".into()),
                sharded,
                last_error: (!up).then(|| "connection refused".into()),
            }),
            ..RedisFacts::default()
        };
        let status = signaling_cluster(
            &cluster(),
            &SignalingClusterStatus::default(),
            &facts,
            None,
            at(0),
        );
        let condition = find(&status.conditions, ConditionType::RedisReady).unwrap();
        let redis = status.redis.unwrap();
        (
            format!("{} {}", condition.status, condition.reason),
            condition.message.clone(),
            redis.mode.unwrap_or_default(),
            redis.master.unwrap_or_default(),
        )
    };
    let (sentinel, _, mode, master) = told("sentinel", true, None);
    assert_eq!(
        (&*sentinel, &*mode, &*master),
        ("True ExternalRedis", "Sentinel", "10.0.0.1:6379")
    );
    let (single, _, mode, master) = told("standalone", true, None);
    assert_eq!(
        (&*single, &*mode, &*master),
        ("True ExternalRedis", "Standalone", "")
    );
    assert_eq!(told("cluster", true, Some(true)).0, "True ExternalRedis");
    assert_eq!(told("cluster", true, Some(false)).0, "True RedisNotSharded");
    let (down, message, ..) = told("cluster", false, None);
    assert_eq!(down, "False RedisUnreachable");
    assert!(message.ends_with("connection refused"), "{message}");
}

#[test]
fn security_is_warned_of_and_readiness_does_not_mind() {
    let told = |auth: serde_json::Value| {
        let mut resource = cluster();
        resource.spec.auth = serde_json::from_value(auth).unwrap();
        resource.spec.security.allowed_origins = vec!["https://a".into()];
        resource.spec.security.require_wss = true;
        let previous = berth_crds::api::SignalingClusterStatus::default();
        let status = signaling_cluster(&resource, &previous, &good(), None, at(1));
        let warned = find(&status.conditions, ConditionType::SecurityWarnings).unwrap();
        assert_eq!(
            summary(&status.conditions),
            ("True False False".to_owned(), "UpToDate".to_owned())
        );
        (warned.status.clone(), warned.reason.clone())
    };
    let key_set = |url: &str| serde_json::json!({"mode": "Jwt", "jwt": {"jwks": {"url": url}}});
    for (auth, status, reason) in [
        (serde_json::json!({}), "True", "AuthOff"),
        (serde_json::json!({"mode": "MatchToken"}), "False", "NoWarnings"),
        (
            serde_json::json!({"mode": "MatchToken", "legacyPeers": "Allow"}),
            "True",
            "LegacyPeersAllowed",
        ),
        (key_set("https://id.example.com/keys"), "False", "NoWarnings"),
        (key_set("http://id.example.com/keys"), "True", "KeySetUnprotected"),
    ] {
        assert_eq!(
            told(auth.clone()),
            (status.to_owned(), reason.to_owned()),
            "{auth}"
        );
    }
}

fn secret(name: &str) -> SecretKey {
    SecretKey {
        secret: name.into(),
        key: "current".into(),
    }
}

/// A value that everybody knows will not get better by waiting, whatever else may be on its way.
#[test]
fn a_weak_secret_is_stalled_and_its_message_names_the_cure() {
    let weak = |purpose, name: &str| Missing::Weak(purpose, secret(name));
    for (missing, reason) in [
        (vec![weak(Purpose::Hosts, "hosts")], Reason::WeakHostSecret),
        (vec![weak(Purpose::Admin, "admin")], Reason::WeakAdminToken),
        (vec![weak(Purpose::Tokens, "jwt")], Reason::WeakTokenSecret),
        (
            vec![Missing::Secret("a".into()), weak(Purpose::Hosts, "hosts")],
            Reason::WeakHostSecret,
        ),
    ] {
        let facts = HostPoolFacts {
            around: AroundFacts::default(),
            held: vec![],
            missing: Some(missing.clone()),
            settings: settled(),
            rollout: Some(complete()),
            applied: None,
            occupation: Occupation::Unread,
            placeholders: Some(vec![]),
        };
        let pool = HostPool::new("eu", HostPoolSpec::new("main"));
        let status = host_pool(&pool, &HostPoolStatus::default(), &facts, None, at(1));
        assert_eq!(
            summary(&status.conditions),
            ("False False True".to_owned(), reason.as_str().to_owned())
        );
        for kind in [ConditionType::Stalled, ConditionType::ResolvedRefs] {
            let told = find(&status.conditions, kind).unwrap();
            assert_eq!(told.reason, reason.as_str());
            assert!(
                told.message.contains("put a random value there"),
                "{}",
                told.message
            );
            assert!(told.message.contains("spec.environment"), "{}", told.message);
        }
    }
}

#[test]
fn placeholders_of_development_are_warned_of() {
    let weak = |purpose, name: &str| Placeholder {
        purpose,
        key: secret(name),
        current: true,
    };
    let pool = HostPool::new("eu", HostPoolSpec::new("main"));
    let mut facts = HostPoolFacts {
        around: AroundFacts::default(),
        held: vec![],
        missing: Some(vec![]),
        settings: settled(),
        rollout: Some(complete()),
        applied: Some("h".into()),
        ..HostPoolFacts::default()
    };
    let mut status = HostPoolStatus::default();
    let mut told = |facts: &HostPoolFacts| {
        status = host_pool(&pool, &status, facts, None, at(1));
        let warned = find(&status.conditions, ConditionType::SecurityWarnings).unwrap();
        assert_eq!(summary(&status.conditions).0, "True False False");
        (
            warned.status.clone(),
            warned.reason.clone(),
            warned.message.clone(),
        )
    };
    assert_eq!(told(&facts).0, "Unknown");
    facts.placeholders = Some(vec![]);
    assert_eq!(told(&facts).1, "NoWarnings");
    facts.placeholders = Some(vec![weak(Purpose::Hosts, "hosts"), weak(Purpose::Admin, "admin")]);
    let warned = told(&facts);
    assert_eq!((warned.0.as_str(), warned.1.as_str()), ("True", "WeakHostSecret"));
    assert!(
        warned.2.contains("Secret hosts") && warned.2.contains("Secret admin"),
        "{}",
        warned.2
    );
    // Nobody looked: nobody knows better.
    facts.placeholders = None;
    assert_eq!(told(&facts), warned);

    let facts = SignalingClusterFacts {
        around: AroundFacts::default(),
        placeholders: vec![weak(Purpose::Tokens, "jwt")],
        ..good()
    };
    let conditions = tell(&facts, None);
    let warned = find(&conditions, ConditionType::SecurityWarnings).unwrap();
    assert_eq!(
        (warned.status.as_str(), warned.reason.as_str()),
        ("True", "WeakTokenSecret")
    );
}

#[test]
fn a_pool_without_hosts_is_ready_and_counts_that_cannot_be_read_stay() {
    let mut pool = HostPool::new("eu", HostPoolSpec::new("main"));
    pool.metadata.generation = Some(1);
    let counted = |available| Occupation::Counted {
        hosts: HostCounts {
            total: 2,
            ..HostCounts::default()
        },
        slots: SlotCounts {
            total: 2,
            available,
            taken: 0,
        },
        regions: vec![],
        demand: vec![RegionDemand {
            region: "eu".into(),
            refused: 2 - available,
        }],
    };
    let mut facts = HostPoolFacts {
        around: AroundFacts::default(),
        held: vec![],
        missing: Some(vec![]),
        settings: settled(),
        rollout: Some(complete()),
        applied: Some("h".into()),
        occupation: counted(1),
        placeholders: Some(vec![]),
    };
    let mut status = HostPoolStatus::default();
    let mut next = |facts: &HostPoolFacts| {
        status = host_pool(&pool, &status, facts, None, at(1));
        let hosts = find(&status.conditions, ConditionType::HostsAvailable).unwrap();
        let told = (hosts.status.clone(), hosts.reason.clone());
        assert_eq!(
            status.demand[0].refused,
            2 - status.slots.available,
            "it stays as long as the counts do"
        );
        (told, status.slots.available, summary(&status.conditions).0)
    };
    let ready = || "True False False".to_owned();
    let told = |status: &str, reason: Reason| (status.to_owned(), reason.as_str().to_owned());
    assert_eq!(next(&facts), (told("True", Reason::FreeSlots), 1, ready()));
    facts.occupation = Occupation::Unreachable;
    assert_eq!(
        next(&facts),
        (told("Unknown", Reason::CountsUnavailable), 1, ready())
    );
    facts.occupation = counted(0);
    assert_eq!(next(&facts), (told("False", Reason::NoFreeSlots), 0, ready()));
    // A restarted operator has not asked yet: everything stays as it was told.
    facts.occupation = Occupation::Unread;
    assert_eq!(next(&facts), (told("False", Reason::NoFreeSlots), 0, ready()));
}

#[test]
fn the_same_facts_give_the_same_status() {
    let first = signaling_cluster(
        &cluster(),
        &berth_crds::api::SignalingClusterStatus::default(),
        &good(),
        None,
        at(1),
    );
    let second = signaling_cluster(&cluster(), &first, &good(), None, at(2));
    assert_eq!(first, second);
    let stored: berth_crds::api::SignalingClusterStatus =
        serde_json::from_value(serde_json::to_value(&first).unwrap()).unwrap();
    assert_eq!(
        signaling_cluster(&cluster(), &stored, &good(), None, at(3)),
        stored
    );
}

#[test]
fn servers_that_do_not_answer_are_told_of_and_are_no_part_of_readiness() {
    let resource = TurnConfig::new(
        "turn",
        TurnConfigSpec {
            stun_urls: vec!["stun:a".into()],
            ..serde_json::from_str("{}").unwrap()
        },
    );
    let mut facts = TurnConfigFacts {
        missing: Some(Vec::new()),
        ..TurnConfigFacts::default()
    };
    let tell = |facts: &TurnConfigFacts, before: &TurnConfigStatus| {
        turn_config(&resource, before, facts, None, at(1))
    };
    let reach = |status: &TurnConfigStatus| {
        let found = status
            .conditions
            .iter()
            .find(|one| one.type_ == "ServersReachable")
            .unwrap();
        (found.status.clone(), found.reason.clone())
    };
    let word = |truth: &str, reason: &str| (truth.to_owned(), reason.to_owned());
    let unknown = tell(&facts, &TurnConfigStatus::default());
    assert_eq!(reach(&unknown), word("Unknown", "ServersNotAsked"));
    facts.reach.silent.insert("a:3478".into(), ProbeError::Silent);
    let silent = tell(&facts, &unknown);
    assert_eq!(reach(&silent), word("False", "ServersSilent"));
    let ready = silent.conditions.iter().find(|one| one.type_ == "Ready").unwrap();
    assert_eq!(ready.status, "True");
    // Another process leads and has not asked yet: what is known stays.
    facts.reach = Reach::default();
    assert_eq!(reach(&tell(&facts, &silent)), word("False", "ServersSilent"));
    facts.reach.answering.insert("a:3478".into());
    assert_eq!(reach(&tell(&facts, &silent)), word("True", "ServersAnswer"));
}

#[test]
fn reasons_are_what_the_api_takes() {
    for reason in Reason::ALL {
        let word = reason.as_str();
        assert!(
            word.chars().all(|letter| letter.is_ascii_alphanumeric()),
            "{word}"
        );
        assert!(
            word.starts_with(|letter: char| letter.is_ascii_uppercase()),
            "{word}"
        );
    }
}

fn truth() -> impl Strategy<Value = Truth> {
    prop_oneof![Just(Truth::True), Just(Truth::False), Just(Truth::Unknown)]
}

proptest! {
    /// However a condition moves, the time of its last transition changes exactly when its truth does.
    #[test]
    fn transitions_are_timed_by_truth_alone(
        steps in prop::collection::vec((truth(), 0..Reason::ALL.len(), ".{0,40}"), 1..30),
    ) {
        let mut conditions: Vec<Condition> = Vec::new();
        for (second, (truth, reason, message)) in steps.into_iter().enumerate() {
            let now = at(i64::try_from(second).unwrap() + 1);
            let before = find(&conditions, ConditionType::Ready).cloned();
            let mut next = Conditions::after(&conditions, Some(1), now);
            next.set(ConditionType::Ready, truth, Reason::ALL[reason], message);
            let after = next.finish();
            let told = find(&after, ConditionType::Ready).unwrap();
            prop_assert_eq!(&told.status, truth.as_str());
            match before {
                Some(before) if before.status == told.status => {
                    prop_assert_eq!(&before.last_transition_time, &told.last_transition_time);
                }
                _ => prop_assert_eq!(told.last_transition_time.0, now),
            }
            conditions = after;
        }
    }
}

/// Whatever the pods say, `Ready` implies that every one of them follows, and the numbers are those of the message.
#[test]
fn ready_implies_that_every_pod_follows() {
    let followers = |following, refused: Option<&str>, lost| {
        Some(Followers {
            ready: 2,
            following,
            refused: refused.map(str::to_owned),
            lost,
        })
    };
    for (followers, truth, reason, states, applied) in [
        (
            followers(2, None, 0),
            "True",
            Reason::SettingsInForce,
            "True False False",
            2,
        ),
        (
            followers(1, None, 0),
            "False",
            Reason::SettingsPending,
            "False True False",
            1,
        ),
        (
            followers(1, None, 1),
            "Unknown",
            Reason::PodsUnreachable,
            "False True False",
            1,
        ),
        (
            followers(1, Some("spec.a: b"), 0),
            "False",
            Reason::SettingsRefused,
            "False False True",
            1,
        ),
        (None, "False", Reason::SettingsPending, "False True False", 0),
    ] {
        let mut facts = good();
        facts.settings.followers = followers;
        let previous = berth_crds::api::SignalingClusterStatus::default();
        let status = signaling_cluster(&cluster(), &previous, &facts, None, at(1));
        let told = find(&status.conditions, ConditionType::SettingsApplied).unwrap();
        assert_eq!(
            (told.status.as_str(), told.reason.as_str()),
            (truth, reason.as_str())
        );
        assert_eq!(summary(&status.conditions).0, states, "{}", told.message);
        assert_eq!(
            (status.settings.applied_pods, status.settings.total_pods),
            (applied, 2)
        );
        if reason == Reason::SettingsRefused {
            assert!(told.message.contains("spec.a: b"), "{}", told.message);
        }
    }
}

/// A pod that the slices do not list yet counts as one that was not asked.
#[test]
fn a_ready_pod_that_no_slice_lists_is_waited_for() {
    let mut facts = good();
    facts.settings.followers = Some(Followers {
        ready: 1,
        following: 1,
        ..Followers::default()
    });
    expect(&facts, None, "False True False", Reason::SettingsPending);
}

#[test]
fn what_was_told_stands_after_a_restart_but_not_for_another_generation() {
    let first = signaling_cluster(
        &cluster(),
        &berth_crds::api::SignalingClusterStatus::default(),
        &good(),
        None,
        at(1),
    );
    let mut restarted = good();
    restarted.settings.followers = None;
    assert_eq!(
        signaling_cluster(&cluster(), &first, &restarted, None, at(2)),
        first
    );
    let mut edited = cluster();
    edited.metadata.generation = Some(4);
    let status = signaling_cluster(&edited, &first, &restarted, None, at(2));
    let told = find(&status.conditions, ConditionType::SettingsApplied).unwrap();
    assert_eq!(
        (told.status.as_str(), told.observed_generation),
        ("False", Some(4))
    );
    assert_eq!(summary(&status.conditions).0, "False True False");
}

#[test]
fn a_service_without_pods_has_nothing_to_follow() {
    let mut facts = good();
    facts.rollout = Some(Rollout {
        desired: 0,
        replicas: 0,
        updated: 0,
        ready: 0,
        available: 0,
        ..complete()
    });
    facts.settings.followers = Some(Followers::default());
    expect(&facts, None, "True False False", Reason::UpToDate);
}

#[test]
fn what_a_cluster_of_players_lets_in_is_warned_of_in_production_alone() {
    let told = |environment: &str| {
        let mut resource = cluster();
        resource.spec.environment = serde_json::from_value(environment.into()).unwrap();
        let previous = berth_crds::api::SignalingClusterStatus::default();
        let status = signaling_cluster(&resource, &previous, &good(), None, at(1));
        let warned = find(&status.conditions, ConditionType::SecurityWarnings).unwrap();
        (warned.reason.clone(), warned.message.clone())
    };
    let (reason, message) = told("Production");
    assert_eq!(reason, "OriginsOpen");
    for field in [
        "spec.security.allowedOrigins",
        "spec.auth.mode",
        "spec.security.requireWss",
    ] {
        assert!(message.contains(field), "{message}");
    }
    assert_eq!(told("Development").0, "NoWarnings");
}

#[test]
fn capacity_is_low_below_the_minimum_and_never_in_a_drained_pool() {
    let told = |least, drain, available| {
        let mut pool = HostPool::new("eu", HostPoolSpec::new("main"));
        pool.spec.min_available_slots = least;
        pool.spec.drain = drain;
        let facts = HostPoolFacts {
            around: AroundFacts::default(),
            held: vec![],
            occupation: Occupation::Counted {
                hosts: HostCounts::default(),
                slots: SlotCounts {
                    total: 9,
                    available,
                    taken: 0,
                },
                regions: vec![],
                demand: vec![],
            },
            ..HostPoolFacts::default()
        };
        let status = host_pool(&pool, &HostPoolStatus::default(), &facts, None, at(1));
        let [low, hosts] = [ConditionType::CapacityLow, ConditionType::HostsAvailable].map(|kind| {
            let told = find(&status.conditions, kind).unwrap();
            format!("{} {}", told.status, told.reason)
        });
        (low, hosts)
    };
    let expect = |low: &str, hosts: &str| (low.to_owned(), hosts.to_owned());
    assert_eq!(told(0, false, 0), expect("False NoMinimum", "False NoHosts"));
    assert_eq!(
        told(3, false, 2),
        expect("True SlotsBelowMinimum", "True FreeSlots")
    );
    assert_eq!(
        told(3, false, 3),
        expect("False SlotsAboveMinimum", "True FreeSlots")
    );
    assert_eq!(told(3, true, 0), expect("False Draining", "False Draining"));
}

/// Who looks a reason up finds it.
#[test]
fn every_reason_and_condition_is_explained() {
    const PAGE: &str = include_str!("../../../docs/operations.md");
    for reason in Reason::ALL {
        let word = format!("`{}`", reason.as_str());
        assert!(PAGE.contains(&word), "docs/operations.md does not explain {word}");
    }
}

#[test]
fn a_pool_is_drained_when_every_pod_refuses_and_no_session_is_left() {
    let told = |drain, taken, following, before: &HostPoolStatus, read: bool| {
        let mut pool = HostPool::new("eu", HostPoolSpec::new("main"));
        pool.metadata.generation = Some(1);
        pool.spec.drain = drain;
        let slots = SlotCounts {
            total: 9,
            available: 0,
            taken,
        };
        let mut settings = settled();
        settings.followers = Some(Followers {
            ready: 2,
            following,
            ..Followers::default()
        });
        let facts = HostPoolFacts {
            settings,
            rollout: Some(complete()),
            occupation: if read {
                Occupation::Counted {
                    hosts: HostCounts::default(),
                    slots,
                    regions: vec![],
                    demand: vec![],
                }
            } else {
                Occupation::Unread
            },
            ..HostPoolFacts::default()
        };
        host_pool(&pool, before, &facts, None, at(0))
    };
    let word = |status: &HostPoolStatus| {
        let found = find(&status.conditions, ConditionType::Drained).unwrap();
        format!("{} {}", found.status, found.reason)
    };
    let fresh = HostPoolStatus::default();
    assert_eq!(word(&told(false, 0, 2, &fresh, true)), "False NotDraining");
    assert_eq!(word(&told(true, 1, 2, &fresh, true)), "False Draining");
    assert_eq!(
        word(&told(true, 0, 1, &fresh, true)),
        "False Draining",
        "one still grants"
    );
    let empty = told(true, 0, 2, &fresh, true);
    assert_eq!(word(&empty), "True NoSessions");
    assert_eq!(
        word(&told(true, 0, 2, &empty, false)),
        "True NoSessions",
        "a restart"
    );
    assert_eq!(
        word(&told(true, 0, 2, &fresh, false)),
        "Unknown CountsUnavailable"
    );
}
