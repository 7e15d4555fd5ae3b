//! Whole objects. A change of a pod template here restarts the pods of everyone who upgrades.

use super::*;

#[test]
fn small_signaling_cluster() {
    let links = resolve::cluster_links(&small_cluster(), None);
    let desired =
        signaling_cluster(&small_cluster(), Some(&links), &defaults(), Offered::EVERYTHING).unwrap();
    insta::with_settings!({sort_maps => true}, { insta::assert_yaml_snapshot!(values(&desired)) });
}

#[test]
fn full_host_pool() {
    let desired = pool(&full_pool(), &full_cluster(), Some(&turn_config()));
    insta::with_settings!({sort_maps => true}, { insta::assert_yaml_snapshot!(values(&desired)) });
}

#[test]
fn redis_that_keeps_its_data() {
    let desired = cluster(&full_cluster());
    let set = find(&desired, ChildKind::StatefulSet, "main-redis");
    insta::with_settings!({sort_maps => true}, { insta::assert_yaml_snapshot!(set) });
}

#[test]
fn turn_servers_with_addresses_of_their_own() {
    let desired = turn(&full_turn());
    insta::with_settings!({sort_maps => true}, { insta::assert_yaml_snapshot!(values(&desired)) });
}

#[test]
fn turn_servers_on_every_node() {
    let desired = turn(&host_turn("DaemonSet"));
    insta::with_settings!({sort_maps => true}, { insta::assert_yaml_snapshot!(values(&desired)) });
}

#[test]
fn manifests_become_what_the_operator_applies() {
    let manifests = [
        Manifest::HostPool(Box::new(small_pool())),
        Manifest::SignalingCluster(Box::new(small_cluster())),
    ];
    let objects = render_manifests(&manifests, &defaults()).unwrap();
    let names: Vec<_> = objects
        .iter()
        .map(|object| {
            format!(
                "{} {}",
                object["kind"].as_str().unwrap(),
                object["metadata"]["name"]
            )
        })
        .collect();
    insta::assert_yaml_snapshot!(names);
    let secrets = objects.iter().filter(|object| object["kind"] == "Secret");
    for secret in secrets {
        let values = secret["stringData"].as_object().unwrap();
        assert!(values.values().all(|value| value == GENERATED), "{secret}");
    }
}

#[test]
fn a_cluster_without_its_turn_config_is_named() {
    let cluster = Manifest::SignalingCluster(Box::new(full_cluster()));
    let error = render_manifests(std::slice::from_ref(&cluster), &defaults()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "SignalingCluster main: TurnConfig turn does not exist among the given manifests"
    );
    let both = [cluster, Manifest::TurnConfig(Box::new(turn_config()))];
    assert!(render_manifests(&both, &defaults()).is_ok());
}

#[test]
fn a_pool_without_its_cluster_is_named() {
    let alone = [Manifest::HostPool(Box::new(small_pool()))];
    let error = render_manifests(&alone, &defaults()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "HostPool eu: SignalingCluster main does not exist among the given manifests"
    );
}
