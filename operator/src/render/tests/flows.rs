//! Who reaches whom through the policies that are rendered: a table of flows, and pods at random.

use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use proptest::prelude::*;

use super::policies::{Door, End, Labels, passes, passes_by};
use super::*;

const WS: i32 = 3002;
const SIGNALING_INTERNAL: i32 = 8080;
const HTTP: i32 = 8080;
const MATCHMAKER_INTERNAL: i32 = 9090;
const REDIS: i32 = 6379;

fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

fn pod(namespace: &str, pairs: &[(&str, &str)]) -> End {
    End::Pod {
        namespace: namespace.into(),
        namespace_labels: labels(&[("kubernetes.io/metadata.name", namespace)]),
        labels: labels(pairs),
    }
}

/// The pod that a Deployment or StatefulSet of `desired` makes.
fn rendered(desired: &Desired) -> Vec<End> {
    let pod = |template: &PodTemplateSpec| End::Pod {
        namespace: "games".into(),
        namespace_labels: labels(&[("kubernetes.io/metadata.name", "games")]),
        labels: template.metadata.clone().unwrap().labels.unwrap(),
    };
    desired
        .children
        .iter()
        .filter_map(|child| match child {
            Child::Deployment(object) => Some(pod(&object.spec.as_ref().unwrap().template)),
            Child::StatefulSet(object) => Some(pod(&object.spec.as_ref().unwrap().template)),
            Child::DaemonSet(object) => Some(pod(&object.spec.as_ref().unwrap().template)),
            _ => None,
        })
        .collect()
}

fn policies(desired: &[Desired]) -> Vec<NetworkPolicy> {
    let children = desired.iter().flat_map(|desired| &desired.children);
    children
        .filter_map(|child| match child {
            Child::NetworkPolicy(policy) => Some(policy.clone()),
            _ => None,
        })
        .collect()
}

/// Two SignalingClusters with a managed Redis and a pool each, in one namespace, and everybody around them.
struct World {
    policies: Vec<NetworkPolicy>,
    signaling: End,
    redis: End,
    matchmaker: End,
    other_signaling: End,
    other_matchmaker: End,
}

fn world() -> World {
    let mut other = small_cluster();
    other.metadata.name = Some("other".into());
    let mut other_pool = small_pool();
    other_pool.metadata.name = Some("us".into());
    other_pool.spec.signaling_cluster_ref.name = "other".into();
    let all = [
        cluster(&small_cluster()),
        pool(&small_pool(), &small_cluster(), None),
        cluster(&other),
        pool(&other_pool, &other, None),
    ];
    let first = |desired: &Desired| rendered(desired).remove(0);
    let of_cluster = rendered(&all[0]);
    assert_eq!(of_cluster.len(), 2, "Redis and signaling");
    World {
        policies: policies(&all),
        // In the order in which they are applied.
        redis: of_cluster[0].clone(),
        signaling: of_cluster[1].clone(),
        matchmaker: first(&all[1]),
        other_signaling: rendered(&all[2]).remove(1),
        other_matchmaker: first(&all[3]),
    }
}

#[test]
#[allow(clippy::too_many_lines, reason = "a table")]
fn every_flow_that_is_needed_passes_and_no_other() {
    let World {
        policies,
        signaling,
        redis,
        matchmaker,
        other_signaling,
        other_matchmaker,
    } = world();
    let outside = End::Outside;
    let operator = pod(
        "berth-system",
        &[
            ("app.kubernetes.io/name", "berth-operator"),
            ("app.kubernetes.io/instance", "berth"),
        ],
    );
    let ingress_controller = pod("ingress-nginx", &[("app.kubernetes.io/name", "ingress-nginx")]);
    let dns = pod("kube-system", &[("k8s-app", "kube-dns")]);
    let prometheus = pod("monitoring", &[("app.kubernetes.io/name", "prometheus")]);
    let labelled_prometheus = pod("elsewhere", &[("berth.dev/internal-client", "true")]);
    let scrapes = End::Pod {
        namespace: "monitoring".into(),
        namespace_labels: labels(&[("berth.dev/internal-client", "true")]),
        labels: labels(&[("app.kubernetes.io/name", "prometheus")]),
    };
    let neighbour = pod("games", &[("app", "web")]);
    let impostor = pod("elsewhere", &[("berth.dev/redis-client", "main")]);

    let (yes, no) = (true, false);
    let table: &[(&str, &End, &End, i32, bool)] = &[
        // Players, hosts, and what stands between.
        ("player to signaling", &outside, &signaling, WS, yes),
        ("player to matchmaker", &outside, &matchmaker, HTTP, yes),
        ("ingress to signaling", &ingress_controller, &signaling, WS, yes),
        (
            "ingress to matchmaker",
            &ingress_controller,
            &matchmaker,
            HTTP,
            yes,
        ),
        (
            "player to signaling's internal port",
            &outside,
            &signaling,
            SIGNALING_INTERNAL,
            no,
        ),
        (
            "player to matchmaker's internal port",
            &outside,
            &matchmaker,
            MATCHMAKER_INTERNAL,
            no,
        ),
        (
            "ingress to signaling's internal port",
            &ingress_controller,
            &signaling,
            SIGNALING_INTERNAL,
            no,
        ),
        (
            "ingress to matchmaker's internal port",
            &ingress_controller,
            &matchmaker,
            MATCHMAKER_INTERNAL,
            no,
        ),
        ("player to Redis", &outside, &redis, REDIS, no),
        ("ingress to Redis", &ingress_controller, &redis, REDIS, no),
        // The operator and scrapes.
        (
            "operator to signaling",
            &operator,
            &signaling,
            SIGNALING_INTERNAL,
            yes,
        ),
        (
            "operator to matchmaker",
            &operator,
            &matchmaker,
            MATCHMAKER_INTERNAL,
            yes,
        ),
        ("operator to Redis", &operator, &redis, REDIS, no),
        (
            "scrape by namespace of signaling",
            &scrapes,
            &signaling,
            SIGNALING_INTERNAL,
            yes,
        ),
        (
            "scrape by namespace of matchmaker",
            &scrapes,
            &matchmaker,
            MATCHMAKER_INTERNAL,
            yes,
        ),
        (
            "scrape by pod of signaling",
            &labelled_prometheus,
            &signaling,
            SIGNALING_INTERNAL,
            yes,
        ),
        (
            "scrape by pod of matchmaker",
            &labelled_prometheus,
            &matchmaker,
            MATCHMAKER_INTERNAL,
            yes,
        ),
        (
            "scrape without a label",
            &prometheus,
            &signaling,
            SIGNALING_INTERNAL,
            no,
        ),
        (
            "scrape without a label",
            &prometheus,
            &matchmaker,
            MATCHMAKER_INTERNAL,
            no,
        ),
        ("scrapers to Redis", &scrapes, &redis, REDIS, no),
        // The services on their way out.
        (
            "signaling to API server, issuer's keys, providers",
            &signaling,
            &outside,
            443,
            yes,
        ),
        (
            "matchmaker to API server and providers",
            &matchmaker,
            &outside,
            443,
            yes,
        ),
        ("signaling to API server", &signaling, &outside, 6443, yes),
        ("matchmaker to API server", &matchmaker, &outside, 6443, yes),
        ("signaling to DNS", &signaling, &dns, 53, yes),
        ("matchmaker to DNS", &matchmaker, &dns, 53, yes),
        ("signaling to a Redis of yours", &signaling, &outside, 6380, yes),
        ("matchmaker to a Redis of yours", &matchmaker, &outside, 6380, yes),
        ("signaling to its Redis", &signaling, &redis, REDIS, yes),
        (
            "matchmaker to the Redis of its cluster",
            &matchmaker,
            &redis,
            REDIS,
            yes,
        ),
        (
            "another cluster's signaling to Redis",
            &other_signaling,
            &redis,
            REDIS,
            no,
        ),
        (
            "another cluster's matchmaker to Redis",
            &other_matchmaker,
            &redis,
            REDIS,
            no,
        ),
        // Redis has nowhere to go.
        ("Redis to the world", &redis, &outside, 443, no),
        ("Redis to DNS", &redis, &dns, 53, no),
        ("Redis to signaling", &redis, &signaling, WS, no),
        // Everybody else.
        ("a neighbour to signaling", &neighbour, &signaling, WS, yes),
        (
            "a neighbour to signaling's internal port",
            &neighbour,
            &signaling,
            SIGNALING_INTERNAL,
            no,
        ),
        (
            "a neighbour to matchmaker's internal port",
            &neighbour,
            &matchmaker,
            MATCHMAKER_INTERNAL,
            no,
        ),
        ("a neighbour to Redis", &neighbour, &redis, REDIS, no),
        ("Redis's label in another namespace", &impostor, &redis, REDIS, no),
        (
            "matchmaker to signaling's internal port",
            &matchmaker,
            &signaling,
            SIGNALING_INTERNAL,
            no,
        ),
        (
            "signaling to matchmaker's internal port",
            &signaling,
            &matchmaker,
            MATCHMAKER_INTERNAL,
            no,
        ),
        ("a port that nobody listens on", &outside, &signaling, 22, no),
        ("another port of Redis", &signaling, &redis, 16379, no),
    ];
    let wrong: Vec<_> = table
        .iter()
        .filter(|(_, from, to, port, expected)| passes(&policies, from, to, *port) != *expected)
        .map(|(name, _, _, port, expected)| format!("{name} ({port}): should pass: {expected}"))
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Who reaches TURN servers, and whom they reach.
#[test]
fn turn_servers_reach_what_they_may_relay_to_and_nothing_else() {
    let desired = turn(&full_turn());
    let (policies, server) = (
        policies(std::slice::from_ref(&desired)),
        rendered(&desired).remove(0),
    );
    let at = |text: &str| End::At(text.parse().unwrap());
    let scrapes = pod("elsewhere", &[("berth.dev/internal-client", "true")]);
    let neighbour = pod("games", &[("app", "web")]);
    let (player, private, friend) = (at("198.51.100.9"), at("10.1.2.3"), at("10.7.0.9"));
    let (metadata, six, six_private) = (at("169.254.169.254"), at("2600::1"), at("fd00::1"));
    let (udp, tcp) = (|port| Door("UDP", port), |port| Door("TCP", port));
    let (yes, no) = (true, false);
    for (name, from, to, door, expected) in [
        ("player by UDP", &player, &server, udp(3479), yes),
        ("player by TCP", &player, &server, tcp(3479), yes),
        ("player by TLS", &six, &server, tcp(5350), yes),
        ("player by DTLS", &player, &server, udp(5350), yes),
        ("player to the first relay", &player, &server, udp(50_000), yes),
        ("player to the last relay", &player, &server, udp(50_999), yes),
        ("player beyond the relays", &player, &server, udp(51_000), no),
        ("player to a relay by TCP", &player, &server, tcp(50_000), no),
        ("player to the metrics", &player, &server, tcp(9642), no),
        ("neighbour to the metrics", &neighbour, &server, tcp(9642), no),
        ("scrape", &scrapes, &server, tcp(9642), yes),
        ("relay to a player", &server, &player, udp(7), yes),
        ("relay to a player by IPv6", &server, &six, udp(7), yes),
        ("relay by TCP", &server, &player, tcp(443), no),
        ("relay to a private address", &server, &private, udp(53), no),
        (
            "relay to a private address by IPv6",
            &server,
            &six_private,
            udp(53),
            no,
        ),
        ("relay to a pod", &server, &neighbour, udp(53), no),
        (
            "relay to the metadata of a cloud",
            &server,
            &metadata,
            udp(80),
            no,
        ),
        ("relay to who is allowed", &server, &friend, udp(7), yes),
        ("the API server", &server, &at("203.0.113.1"), tcp(6443), no),
    ] {
        let passed = passes_by(&policies, from, to, door);
        assert_eq!(passed, expected, "{name}");
    }
}

/// What may be said of peers, at its ends.
#[test]
fn a_turn_server_that_denies_all_reaches_those_who_are_allowed() {
    let policy_of = |denied: &[&str], allowed: &[&str]| {
        let mut resource = full_turn();
        let managed = resource.spec.managed.as_mut().unwrap();
        managed.denied_peers = denied.iter().map(|text| (*text).to_owned()).collect();
        managed.allowed_peers = allowed.iter().map(|text| (*text).to_owned()).collect();
        let desired = turn(&resource);
        (
            policies(std::slice::from_ref(&desired)),
            rendered(&desired).remove(0),
        )
    };
    let reaches = |(policies, server): &(Vec<NetworkPolicy>, End), address: &str| {
        passes_by(
            policies,
            server,
            &End::At(address.parse().unwrap()),
            Door("UDP", 7),
        )
    };
    let all = ["0.0.0.0/0", "::/0"];
    let nobody = policy_of(&all, &[]);
    assert!(!reaches(&nobody, "198.51.100.9") && !reaches(&nobody, "2600::1"));
    let one = policy_of(&all, &["198.51.100.9"]);
    assert!(reaches(&one, "198.51.100.9") && !reaches(&one, "198.51.100.8") && !reaches(&one, "2600::1"));
    let open = policy_of(&[], &[]);
    assert!(reaches(&open, "10.1.2.3") && !reaches(&open, "127.0.0.1") && !reaches(&open, "fe80::1"));
}

#[test]
fn every_pod_that_is_rendered_has_its_policy() {
    for desired in everything() {
        let policies = policies(std::slice::from_ref(&desired));
        for pod in rendered(&desired) {
            // Unlike a pod that no policy selects.
            assert!(!passes(&policies, &End::Outside, &pod, 1), "{pod:?}");
        }
    }
}

/// Labels as others have them: also keys of ours with values that are not.
fn foreign_labels() -> impl Strategy<Value = Labels> {
    let key = prop_oneof![
        "[a-z]{1,8}",
        Just("app.kubernetes.io/name".to_owned()),
        Just("app.kubernetes.io/instance".to_owned()),
        Just("berth.dev/redis-client".to_owned()),
        Just("berth.dev/internal-client".to_owned()),
        Just("berth.dev/host-pool".to_owned()),
    ];
    let value = prop_oneof!["[a-z]{0,6}", Just("false".to_owned()), Just("eu".to_owned())];
    proptest::collection::btree_map(key, value, 0..5).prop_filter("is one of ours", |labels| {
        let is = |key: &str, value: &str| labels.get(key).is_some_and(|found| found == value);
        !is("berth.dev/redis-client", "main")
            && !is("berth.dev/redis-client", "other")
            && !is("berth.dev/internal-client", "true")
    })
}

proptest! {
    #[test]
    fn foreign_pods_reach_neither_redis_nor_an_internal_port(
        namespace in prop_oneof![Just("games".to_owned()), "[a-z]{1,8}"],
        namespace_labels in foreign_labels(),
        labels in foreign_labels(),
    ) {
        let world = world();
        let stranger = End::Pod { namespace, namespace_labels, labels };
        prop_assert!(!passes(&world.policies, &stranger, &world.redis, REDIS));
        prop_assert!(!passes(&world.policies, &stranger, &world.signaling, SIGNALING_INTERNAL));
        prop_assert!(!passes(&world.policies, &stranger, &world.matchmaker, MATCHMAKER_INTERNAL));
    }
}
