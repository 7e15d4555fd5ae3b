//! The TURN servers that Berth runs.

use super::*;

fn kinds(desired: &Desired) -> Vec<String> {
    desired
        .children
        .iter()
        .map(|child| child.id().to_string())
        .collect()
}

fn pod(desired: &Desired, kind: ChildKind) -> Value {
    find(desired, kind, "turn-turn")["spec"]["template"]["spec"].clone()
}

fn arguments(desired: &Desired, kind: ChildKind) -> Vec<String> {
    let pod = pod(desired, kind);
    let arguments = pod["containers"][0]["args"].as_array().unwrap();
    arguments
        .iter()
        .map(|argument| argument.as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn a_turn_config_becomes_nothing_unless_berth_runs_its_servers() {
    assert_eq!(
        super::super::turn_config(&turn_config(), true, &defaults()),
        Desired::default()
    );
}

#[test]
fn each_mode_has_what_it_needs_and_no_more() {
    let all = |workload: &str| {
        let children = [
            "ServiceAccount turn-turn",
            "Secret turn-turn-secret",
            "Service turn-turn",
            "NetworkPolicy turn-turn",
            "PodDisruptionBudget turn-turn",
            workload,
        ];
        children.map(str::to_owned).to_vec()
    };
    assert_eq!(kinds(&turn(&full_turn())), all("Deployment turn-turn"));
    let host = |workload: &str, without: &[&str]| {
        let mut children = all(workload);
        children[2] = "Service turn-turn-nodes".into();
        children.retain(|child| !without.iter().any(|kind| child.starts_with(kind)));
        children
    };
    assert_eq!(
        kinds(&turn(&host_turn("Deployment"))),
        host("Deployment turn-turn", &["NetworkPolicy"])
    );
    assert_eq!(
        kinds(&turn(&host_turn("DaemonSet"))),
        host("DaemonSet turn-turn", &["NetworkPolicy", "PodDisruptionBudget"])
    );
    let mut bare = full_turn();
    let managed = bare.spec.managed.as_mut().unwrap();
    managed.pdb.enabled = false;
    managed.network_policy.enabled = false;
    assert_eq!(kinds(&turn(&bare)).len(), 4);
}

/// A namespace that enforces `baseline` refuses them for this and for nothing else.
#[test]
fn in_the_network_of_the_node_a_pod_is_restricted_but_for_that() {
    for (workload, kind) in [
        ("Deployment", ChildKind::Deployment),
        ("DaemonSet", ChildKind::DaemonSet),
    ] {
        let mut pod = pod(&turn(&host_turn(workload)), kind);
        assert_eq!(pod["hostNetwork"], true);
        let restricted = full_turn();
        let security = &super::turn::pod(&turn(&restricted), ChildKind::Deployment)["securityContext"];
        assert_eq!(pod["securityContext"], *security);
        let container = pod["containers"][0].take();
        assert_eq!(container["securityContext"]["runAsUser"], Value::Null);
        assert_eq!(container["securityContext"]["allowPrivilegeEscalation"], false);
        assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], true);
        assert_eq!(
            container["securityContext"]["capabilities"]["drop"],
            json!(["ALL"])
        );
        for other in ["hostPID", "hostIPC"] {
            assert!(pod.get(other).is_none(), "{other}");
        }
    }
}

#[test]
fn servers_listen_and_relay_on_their_own_address() {
    let own = |resource: &TurnConfig, kind| {
        let desired = turn(resource);
        let address = &pod(&desired, kind)["containers"][0]["env"][0];
        assert_eq!(address["name"], "ADDRESS");
        let arguments = arguments(&desired, kind);
        for option in ["listening-ip", "relay-ip", "allowed-peer-ip"] {
            assert!(arguments.contains(&format!("--{option}=$(ADDRESS)")), "{option}");
        }
        let external = arguments
            .iter()
            .find(|argument| argument.starts_with("--external-ip"));
        (
            address["valueFrom"]["fieldRef"]["fieldPath"]
                .as_str()
                .unwrap()
                .to_owned(),
            external.cloned(),
        )
    };
    assert_eq!(
        own(&full_turn(), ChildKind::Deployment),
        (
            "status.podIP".into(),
            Some("--external-ip=203.0.113.7/$(ADDRESS)".into())
        )
    );
    let mut host = host_turn("Deployment");
    assert_eq!(own(&host, ChildKind::Deployment), ("status.hostIP".into(), None));
    host.spec.managed.as_mut().unwrap().external_address = Some("203.0.113.7".into());
    assert_eq!(
        own(&host, ChildKind::Deployment).1,
        Some("--external-ip=203.0.113.7/$(ADDRESS)".into())
    );
}

#[test]
fn the_shared_secret_is_in_no_argument() {
    let desired = turn(&full_turn());
    let arguments = arguments(&desired, ChildKind::Deployment);
    assert_eq!(arguments[0], "/etc/berth/secrets/turn-turn-secret/secret");
    assert_eq!(arguments[2], "/etc/berth/secrets/turn-tls");
    let text = pod(&desired, ChildKind::Deployment).to_string();
    assert!(!text.contains("--static-auth-secret"), "{text}");
    let run = pod(&desired, ChildKind::Deployment)["volumes"][0].clone();
    assert_eq!(run["emptyDir"]["medium"], "Memory");
    for safe in [
        "--use-auth-secret",
        "--no-cli",
        "--no-tcp-relay",
        "--no-multicast-peers",
        "--denied-peer-ip=169.254.0.0-169.254.255.255",
        "--denied-peer-ip=10.0.0.0-10.255.255.255",
        "--denied-peer-ip=fc00::-fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
        "--allowed-peer-ip=10.7.0.0-10.7.255.255",
    ] {
        assert!(arguments.iter().any(|argument| argument == safe), "{safe}");
    }
    assert!(!arguments.iter().any(|argument| argument == "--no-auth"));
    // What coturn takes for every IPv4 address.
    assert!(
        !arguments.iter().any(|argument| argument.contains("=::-")),
        "{arguments:?}"
    );
}

#[test]
fn the_service_leads_to_the_servers_by_udp_and_tcp() {
    let ports = |resource: &TurnConfig, name: &str| {
        let spec = find(&turn(resource), ChildKind::Service, name)["spec"].clone();
        let ports = spec["ports"].as_array().unwrap().iter().map(|port| {
            (
                port["protocol"].as_str().unwrap().to_owned(),
                port["port"].as_i64().unwrap(),
                port["nodePort"].as_i64(),
                port["targetPort"].as_str().unwrap().to_owned(),
            )
        });
        (
            spec["type"].clone(),
            spec["clusterIP"].clone(),
            ports.collect::<Vec<_>>(),
        )
    };
    let (type_, _, found) = ports(&full_turn(), "turn-turn");
    assert_eq!(type_, "NodePort");
    let port = |protocol: &str, port, node_port, target: &str| {
        (protocol.to_owned(), port, node_port, target.to_owned())
    };
    assert_eq!(
        found,
        [
            port("UDP", 3479, Some(30_479), "turn"),
            port("TCP", 3479, Some(30_479), "turn-tcp"),
            port("UDP", 5350, Some(30_350), "turns-udp"),
            port("TCP", 5350, Some(30_350), "turns"),
        ]
    );
    // What a Service inside of the cluster cannot have is left out.
    let mut inside = full_turn();
    inside.spec.managed.as_mut().unwrap().service.type_ = berth_crds::api::ServiceType::ClusterIP;
    assert!(ports(&inside, "turn-turn").2.iter().all(|port| port.2.is_none()));
    let (_, address, found) = ports(&host_turn("DaemonSet"), "turn-turn-nodes");
    assert_eq!((address, found.len()), (json!("None"), 2));
}

/// Two servers cannot have the same ports of one node.
#[test]
fn on_a_node_the_old_server_goes_before_the_new_one_comes() {
    let update = |resource: &TurnConfig| {
        find(&turn(resource), ChildKind::Deployment, "turn-turn")["spec"]["strategy"]["rollingUpdate"].clone()
    };
    assert_eq!(update(&full_turn()), json!({"maxUnavailable": 0, "maxSurge": 1}));
    assert_eq!(
        update(&host_turn("Deployment")),
        json!({"maxUnavailable": 1, "maxSurge": 0})
    );
}

#[test]
fn without_its_certificate_a_server_is_left_alone() {
    let desired = super::super::turn_config(&full_turn(), false, &defaults());
    for kind in [ChildKind::Deployment, ChildKind::DaemonSet] {
        let workload = ChildId::new(kind, "turn-turn");
        assert!(desired.children.iter().all(|child| child.id() != workload));
        assert!(desired.withheld.contains(&workload));
    }
    assert_eq!(desired.children.len(), 5);
}

/// The consumers hand out credentials by the secret that the servers know.
#[test]
fn consumers_mount_the_secret_of_the_servers() {
    let desired = pool(&full_pool(), &full_cluster(), Some(&full_turn()));
    let text = find(&desired, ChildKind::Deployment, "eu-matchmaker").to_string();
    assert!(text.contains("/etc/berth/secrets/turn-turn-secret"), "{text}");
    assert!(!text.contains("turn-tls"), "the certificate is none of theirs");
    let settings = berth_crds::settings::TurnSettings::try_from(&full_turn()).unwrap();
    let needs = resolve::turn_needs(&settings);
    assert_eq!((needs.len(), needs[0].keys.len()), (1, 0));
    let (own, tls) = resolve::turn_own_needs(&full_turn(), &settings);
    assert_eq!(own, [], "the operator makes its secret");
    assert_eq!(
        tls.unwrap().keys.into_iter().collect::<Vec<_>>(),
        ["tls.crt", "tls.key"]
    );
    let named = resolve::names_of_turn(&full_turn()).secrets;
    assert_eq!(
        named.into_iter().collect::<Vec<_>>(),
        ["turn-tls", "turn-turn-secret"]
    );
}

#[test]
fn manifests_with_servers_are_rendered() {
    let manifests = [Manifest::TurnConfig(Box::new(full_turn()))];
    let objects = render_manifests(&manifests, &defaults()).unwrap();
    assert_eq!(objects.len(), 6);
}
