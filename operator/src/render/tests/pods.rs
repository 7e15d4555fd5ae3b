//! Rules that hold for everything that is rendered.

use std::collections::BTreeSet;

use super::*;

fn pod_specs(desired: &Desired) -> Vec<Value> {
    values(desired)
        .into_iter()
        .filter_map(|object| object.pointer("/spec/template/spec").cloned())
        .collect()
}

/// <https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted>, and what we ask beyond it.
#[test]
fn every_pod_is_restricted() {
    let pods: Vec<_> = everything().iter().flat_map(pod_specs).collect();
    assert_eq!(pods.len(), 11, "seven services, three Redis and a TURN server");
    for pod in pods {
        let is_turn = pod["containers"][0]["name"] == "coturn";
        let security = &pod["securityContext"];
        assert_eq!(security["runAsNonRoot"], true);
        assert_ne!(security["runAsUser"], 0);
        assert_eq!(security["seccompProfile"]["type"], "RuntimeDefault");
        assert_eq!(pod["enableServiceLinks"], false);
        for forbidden in ["hostNetwork", "hostPID", "hostIPC", "hostUsers"] {
            assert!(pod.get(forbidden).is_none(), "{forbidden}");
        }
        for container in pod["containers"].as_array().unwrap() {
            let security = &container["securityContext"];
            assert_eq!(security["allowPrivilegeEscalation"], false);
            // The one that the standard allows.
            let capabilities = if is_turn {
                json!({"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]})
            } else {
                json!({"drop": ["ALL"]})
            };
            assert_eq!(security["capabilities"], capabilities);
            assert_eq!(security["readOnlyRootFilesystem"], true);
            assert!(security.get("privileged").is_none());
            assert!(container["resources"]["limits"].get("memory").is_some());
            assert!(
                container["ports"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .all(|port| port.get("hostPort").is_none())
            );
        }
        for volume in pod["volumes"].as_array().unwrap() {
            let sources: Vec<_> = volume
                .as_object()
                .unwrap()
                .keys()
                .filter(|key| *key != "name")
                .collect();
            assert!(matches!(sources[0].as_str(), "secret" | "emptyDir"), "{volume}");
        }
    }
}

#[test]
fn only_pods_that_watch_settings_get_a_token() {
    for pod in everything().iter().flat_map(pod_specs) {
        let name = &pod["containers"][0]["name"];
        assert_eq!(
            pod["automountServiceAccountToken"],
            name != "redis" && name != "coturn"
        );
    }
}

#[test]
fn secrets_are_whole_folders_and_never_variables() {
    for pod in everything().iter().flat_map(pod_specs) {
        for container in pod["containers"].as_array().unwrap() {
            assert!(!container.to_string().contains("secretKeyRef"), "{container}");
            for mount in container["volumeMounts"].as_array().unwrap() {
                assert!(mount.get("subPath").is_none(), "{mount}");
            }
        }
        for volume in pod["volumes"].as_array().unwrap() {
            let Some(secret) = volume.get("secret") else {
                continue;
            };
            assert_eq!(secret["optional"], false);
            assert!(secret.get("items").is_none());
            let mounts = pod["containers"][0]["volumeMounts"].as_array().unwrap();
            let path = format!("/etc/berth/secrets/{}", secret["secretName"].as_str().unwrap());
            let mounted = mounts.iter().any(|mount| {
                mount["name"] == volume["name"] && mount["mountPath"] == path && mount["readOnly"] == true
            });
            assert!(mounted, "{volume}");
        }
    }
}

/// Secrets that a Deployment's pods mount.
fn mounted(desired: &Desired, deployment: &str) -> BTreeSet<String> {
    let deployment = find(desired, ChildKind::Deployment, deployment);
    deployment["spec"]["template"]["spec"]["volumes"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|volume| volume["secret"]["secretName"].as_str().map(str::to_owned))
        .collect()
}

#[test]
fn a_pool_mounts_what_it_names() {
    let desired = pool(&full_pool(), &full_cluster(), Some(&turn_config()));
    let expected = [
        "admins",
        "coturn",
        "fixed",
        "hosts",
        "main-match-key",
        "main-redis-auth",
        "metered",
    ];
    assert_eq!(
        mounted(&desired, "eu-matchmaker"),
        expected.map(str::to_owned).into()
    );
}

/// Signaling hands out ICE servers too, so it needs the same of the TurnConfig as a matchmaker.
#[test]
fn a_cluster_mounts_what_it_and_its_turn_config_name() {
    let of = |resource: &SignalingCluster| mounted(&cluster(resource), "main-signaling");
    let expected = [
        "coturn",
        "fixed",
        "jwt.example",
        "main-match-key",
        "main-redis-auth",
        "metered",
    ];
    assert_eq!(of(&full_cluster()), expected.map(str::to_owned).into());
    let expected = ["authorities", "main-match-key", "main-redis-auth"];
    assert_eq!(of(&jwks_cluster()), expected.map(str::to_owned).into());
    let expected = ["main-match-key", "redis-ca", "redis-url"];
    assert_eq!(of(&external_cluster()), expected.map(str::to_owned).into());
}

/// Key sets, TURN providers and a Redis of yours have addresses that no policy could name.
#[test]
fn services_may_reach_everything() {
    for (desired, name) in [
        (cluster(&jwks_cluster()), "main-signaling"),
        (
            pool(&full_pool(), &full_cluster(), Some(&turn_config())),
            "eu-matchmaker",
        ),
    ] {
        let policy = find(&desired, ChildKind::NetworkPolicy, name);
        assert_eq!(policy["spec"]["policyTypes"], json!(["Ingress"]), "{name}");
        assert!(policy["spec"].get("egress").is_none(), "{name}");
    }
}

#[test]
fn volumes_have_valid_names() {
    let dotted = "a.very.long.name.of.a.secret.that.does.not.fit.into.the.name.of.a.volume.example.com";
    let mut resource = small_pool();
    resource.spec.host_auth.secret_ref = Some(berth_crds::api::RotatingSecretRef::named(dotted));
    let pod = pod_specs(&pool(&resource, &small_cluster(), None)).remove(0);
    for volume in pod["volumes"].as_array().unwrap() {
        let name = volume["name"].as_str().unwrap();
        let valid = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-';
        assert!(name.len() <= 63 && name.chars().all(valid), "{name}");
    }
}

#[test]
fn nothing_of_the_resource_s_own_metadata_is_copied() {
    for desired in everything() {
        for object in values(&desired) {
            let text = object.to_string();
            for mark in ["Helm", "argocd", "fluxcd", "applyset", "last-applied", "helm.sh"] {
                assert!(!text.contains(mark), "{mark} in {text}");
            }
            let labels = &object["metadata"]["labels"];
            assert_eq!(labels["app.kubernetes.io/managed-by"], "berth-operator");
            assert_eq!(labels["app.kubernetes.io/part-of"], "berth");
            assert!(labels.get("team").is_none());
        }
    }
}

#[test]
fn every_object_has_its_resource_as_controller() {
    for desired in everything() {
        for object in values(&desired) {
            let owners = object["metadata"]["ownerReferences"].as_array().unwrap();
            assert_eq!(owners.len(), 1);
            assert_eq!(owners[0]["controller"], true);
            assert_eq!(owners[0]["apiVersion"], "berth.dev/v1alpha1");
        }
    }
}

#[test]
fn labels_of_the_pods_may_be_added_but_not_changed() {
    let deployment = find(&cluster(&full_cluster()), ChildKind::Deployment, "main-signaling");
    let labels = &deployment["spec"]["template"]["metadata"]["labels"];
    assert_eq!(labels["team"], "players");
    assert_eq!(labels["app.kubernetes.io/name"], "signaling");
    for (key, value) in deployment["spec"]["selector"]["matchLabels"].as_object().unwrap() {
        assert_eq!(&labels[key], value);
    }
}

#[test]
fn the_internal_port_is_in_no_service() {
    for desired in everything() {
        for object in values(&desired)
            .iter()
            .filter(|object| object["kind"] == "Service")
        {
            let ports = object["spec"]["ports"].as_array().unwrap();
            let is_turn = object["metadata"]["name"] == "turn-turn";
            assert_eq!(ports.len(), if is_turn { 4 } else { 1 });
            for port in ports {
                assert!(port["targetPort"] != "internal" && port["targetPort"] != "metrics");
            }
        }
    }
}

#[test]
fn an_ingress_leads_to_the_public_port_where_the_public_url_says() {
    let ingress = |desired: &Desired, name: &str| find(desired, ChildKind::Ingress, name)["spec"].clone();
    let rule = |spec: &Value| {
        let rule = &spec["rules"][0];
        let path = &rule["http"]["paths"][0];
        (
            rule["host"].clone(),
            path["path"].clone(),
            path["backend"]["service"].clone(),
        )
    };
    let signaling = json!({"name": "main-signaling", "port": {"name": "ws"}});
    let mut resource = small_cluster();
    resource.spec.ingress = Some(berth_crds::api::IngressSpec::default());
    for (url, host, path) in [
        (
            "wss://Signaling.example.com:8443/a/b",
            json!("signaling.example.com"),
            "/a/b",
        ),
        ("ws://signaling.example.com", json!("signaling.example.com"), "/"),
        ("ws://10.0.0.1:3002", Value::Null, "/"),
    ] {
        resource.spec.public_url = url.into();
        let spec = ingress(&cluster(&resource), "main-signaling");
        assert_eq!(rule(&spec), (host, json!(path), signaling.clone()), "{url}");
        assert_eq!(spec.get("tls"), None, "{url}");
    }
    let named = ingress(&cluster(&full_cluster()), "main-signaling");
    assert_eq!(rule(&named), (json!("s.example.com"), json!("/ws"), signaling));
    assert_eq!(
        named["tls"],
        json!([{"hosts": ["s.example.com"], "secretName": "signaling-tls"}])
    );

    let pool = ingress(
        &pool(&full_pool(), &full_cluster(), Some(&turn_config())),
        "eu-matchmaker",
    );
    let matchmaker = json!({"name": "eu-matchmaker", "port": {"name": "http"}});
    assert_eq!(
        rule(&pool),
        (json!("match.example.com"), json!("/eu"), matchmaker)
    );
    assert_eq!(pool["tls"], json!([{"hosts": ["match.example.com"]}]));
}

#[test]
fn rendering_is_the_same_every_time() {
    assert_eq!(everything(), everything());
    for desired in everything() {
        let seal = || {
            desired
                .children
                .iter()
                .map(|child| child.seal().unwrap())
                .collect::<Vec<_>>()
        };
        assert_eq!(seal(), seal());
    }
}

#[test]
fn the_number_of_pods_is_rendered_only_without_an_autoscaler() {
    let fixed = find(
        &cluster(&small_cluster()),
        ChildKind::Deployment,
        "main-signaling",
    );
    assert_eq!(fixed["spec"]["replicas"], 2);
    let desired = cluster(&full_cluster());
    let deployment = find(&desired, ChildKind::Deployment, "main-signaling");
    assert!(deployment["spec"].get("replicas").is_none());
    assert_eq!(desired.autoscaled_floor, Some(3));
    let scaler = find(&desired, ChildKind::HorizontalPodAutoscaler, "main-signaling");
    assert_eq!(scaler["spec"]["scaleTargetRef"]["name"], "main-signaling");
}

#[test]
fn without_its_references_a_deployment_is_left_alone() {
    let resource = full_pool();
    let desired = host_pool(&resource, None, &defaults(), Offered::EVERYTHING);
    let deployment = ChildId::new(ChildKind::Deployment, "eu-matchmaker");
    assert!(desired.children.iter().all(|child| child.id() != deployment));
    assert!(desired.withheld.contains(&deployment));
    let resolved = pool(&resource, &full_cluster(), Some(&turn_config()));
    let others = |desired: &Desired| {
        let ids = desired.children.iter().map(Child::id);
        ids.filter(|id| {
            !matches!(
                id.kind,
                ChildKind::Deployment | ChildKind::HorizontalPodAutoscaler
            )
        })
        .collect::<Vec<_>>()
    };
    assert_eq!(others(&desired), others(&resolved));
}

#[test]
fn redis_lets_in_its_clients_and_nobody_else() {
    let policy = find(&cluster(&small_cluster()), ChildKind::NetworkPolicy, "main-redis");
    let clients = &policy["spec"]["ingress"][0]["from"][0]["podSelector"]["matchLabels"];
    assert_eq!(*clients, json!({"berth.dev/redis-client": "main"}));
    assert!(policy["spec"].get("egress").is_none());
    assert_eq!(policy["spec"]["policyTypes"], json!(["Ingress", "Egress"]));
    for (desired, kind, name) in [
        (cluster(&small_cluster()), ChildKind::Deployment, "main-signaling"),
        (
            pool(&small_pool(), &small_cluster(), None),
            ChildKind::Deployment,
            "eu-matchmaker",
        ),
    ] {
        let labels = &find(&desired, kind, name)["spec"]["template"]["metadata"]["labels"];
        assert_eq!(labels["berth.dev/redis-client"], "main");
    }
}

#[test]
fn the_redis_password_is_in_no_argument() {
    let set = find(&cluster(&small_cluster()), ChildKind::StatefulSet, "main-redis");
    let container = &set["spec"]["template"]["spec"]["containers"][0];
    let arguments = container["args"].as_array().unwrap();
    assert_eq!(arguments[0], "/etc/berth/secrets/main-redis-auth/password");
    assert!(!arguments.iter().any(|argument| argument == "--requirepass"));
    let index = arguments
        .iter()
        .position(|argument| argument == "--maxmemory")
        .unwrap();
    assert_eq!(arguments[index + 1], "268435456");
    assert_eq!(container["resources"]["limits"]["memory"], "384Mi");
}

#[test]
fn a_quantity_that_cannot_be_read_is_named() {
    let mut resource = small_cluster();
    let managed = resource.spec.redis.managed.get_or_insert_default();
    managed.max_memory = k8s_openapi::apimachinery::pkg::api::resource::Quantity("lots".into());
    let error = signaling_cluster(&resource, None, &defaults(), Offered::EVERYTHING).unwrap_err();
    assert_eq!(
        error.to_string(),
        "spec.redis.managed.maxMemory: must be a quantity such as 256Mi, of at least 16777216 B, is lots"
    );
    let managed = resource.spec.redis.managed.get_or_insert_default();
    managed.max_memory = berth_crds::api::ManagedRedis::default().max_memory;
    managed.storage_size = k8s_openapi::apimachinery::pkg::api::resource::Quantity("-1".into());
    // Without a volume it means nothing.
    assert!(signaling_cluster(&resource, None, &defaults(), Offered::EVERYTHING).is_ok());
    let managed = resource.spec.redis.managed.get_or_insert_default();
    managed.persistence = berth_crds::api::Persistence::AppendOnly;
    let error = signaling_cluster(&resource, None, &defaults(), Offered::EVERYTHING).unwrap_err();
    assert_eq!(
        error.to_string(),
        "spec.redis.managed.storageSize: must be a quantity such as 256Mi, of at least 1 B, is -1"
    );
}

#[test]
fn pods_pull_with_the_secrets_of_the_installation_unless_their_resource_names_others() {
    let mut defaults = defaults();
    defaults.image_pull_secrets = vec!["registry".into()];
    let links = PodLinks {
        redis: RedisAccess::of(&small_cluster()),
        secrets: BTreeSet::new(),
    };
    let secrets = |resource: &SignalingCluster| -> Vec<Value> {
        let desired = signaling_cluster(resource, Some(&links), &defaults, Offered::EVERYTHING).unwrap();
        let pods = pod_specs(&desired).into_iter();
        pods.map(|pod| pod["imagePullSecrets"].clone()).collect()
    };
    let mut resource = small_cluster();
    let both = |name: &str| vec![json!([{"name": name}]), json!([{"name": name}])];
    assert_eq!(secrets(&resource), both("registry"), "signaling and Redis");
    resource.spec.pod = serde_json::from_value(json!({"imagePullSecrets": [{"name": "own"}]})).unwrap();
    assert_eq!(secrets(&resource), both("own"));
}

#[test]
fn pods_are_spread_as_the_resource_says_or_over_nodes_and_zones() {
    let spread = |desired: &Desired| {
        let deployment = values(desired)
            .into_iter()
            .find(|object| object["kind"] == "Deployment");
        let deployment = deployment.unwrap();
        let found = deployment
            .pointer("/spec/template/spec/topologySpreadConstraints")
            .cloned();
        let found = found.unwrap_or_default();
        let found = found.as_array().cloned().unwrap_or_default();
        found
            .iter()
            .map(|one| json!([one["topologyKey"], one["maxSkew"], one["whenUnsatisfiable"]]))
            .collect::<Vec<_>>()
    };
    let asked = |spread: Value| -> Desired {
        let mut resource = serde_json::to_value(small_pool()).unwrap();
        resource["spec"]["pod"]["topologySpread"] = spread;
        pool(&parse(resource), &small_cluster(), None)
    };
    let soft = |key: &str| json!([key, 1, "ScheduleAnyway"]);
    assert_eq!(
        spread(&asked(Value::Null)),
        [
            soft("kubernetes.io/hostname"),
            soft("topology.kubernetes.io/zone")
        ]
    );
    assert_eq!(spread(&asked(json!([]))), Vec::<Value>::new());
    assert_eq!(
        spread(&asked(json!([
            {"topologyKey": "rack", "maxSkew": 3, "whenUnsatisfiable": "DoNotSchedule"},
            {"topologyKey": "room"},
        ]))),
        [json!(["rack", 3, "DoNotSchedule"]), soft("room")]
    );
}

#[test]
fn an_http_route_leads_to_the_public_port_through_the_gateways_that_are_named() {
    let route = find(&cluster(&full_cluster()), ChildKind::HTTPRoute, "main-signaling");
    assert_eq!(route["metadata"]["annotations"]["example.com/a"], "b");
    let spec = &route["spec"];
    assert_eq!(spec["hostnames"], json!(["s.example.com"]));
    assert_eq!(
        spec["parentRefs"],
        json!([{"group": "gateway.networking.k8s.io", "kind": "Gateway",
            "name": "public", "namespace": "gateways", "sectionName": "https", "port": 443}])
    );
    let rule = &spec["rules"][0];
    assert_eq!(
        rule["matches"][0]["path"],
        json!({"type": "PathPrefix", "value": "/ws"})
    );
    assert_eq!(rule["backendRefs"][0]["name"], "main-signaling");
    assert_eq!(rule["backendRefs"][0]["port"], full_cluster().spec.ws_port);
    assert_eq!(
        rule["filters"][0]["urlRewrite"]["path"]["replacePrefixMatch"],
        "/"
    );

    let pool = pool(&full_pool(), &full_cluster(), Some(&turn_config()));
    let spec = &find(&pool, ChildKind::HTTPRoute, "eu-matchmaker")["spec"];
    assert_eq!(
        spec["hostnames"],
        json!(["match.example.com"]),
        "that of publicUrl"
    );
    assert_eq!(spec["rules"][0]["matches"][0]["path"]["value"], "/eu");
    assert_eq!(spec["rules"][0].get("filters"), None);
}

#[test]
fn what_the_cluster_does_not_offer_is_left_out() {
    let full = full_cluster();
    let links = resolve::cluster_links(&full, None);
    let desired = |offered| signaling_cluster(&full, Some(&links), &defaults(), offered).unwrap();
    let metrics = |offered| {
        let scaler = find(
            &desired(offered),
            ChildKind::HorizontalPodAutoscaler,
            "main-signaling",
        );
        scaler["spec"]["metrics"].as_array().cloned().unwrap()
    };
    let has_route = |offered| {
        let desired = desired(offered);
        desired
            .children
            .iter()
            .any(|child| child.id().kind == ChildKind::HTTPRoute)
    };
    assert!(!has_route(Offered::default()) && has_route(Offered::EVERYTHING));
    assert_eq!(metrics(Offered::default()).len(), 1);
    let connections = &metrics(Offered::EVERYTHING)[1]["pods"];
    assert_eq!(connections["metric"]["name"], "signaling_active_connections");
    assert_eq!(
        connections["target"],
        json!({"type": "AverageValue", "averageValue": "5000"})
    );
}

#[test]
fn both_services_check_an_external_redis_with_its_own_authorities() {
    let external = external_cluster();
    for desired in [cluster(&external), pool(&small_pool(), &external, None)] {
        let pod = &pod_specs(&desired)[0];
        let variables = pod["containers"][0]["env"].as_array().unwrap();
        let file = variables
            .iter()
            .find(|variable| variable["name"] == "BERTH_REDIS_CA_FILE");
        assert_eq!(file.unwrap()["value"], "/etc/berth/secrets/redis-ca/ca.crt");
        let volumes = pod["volumes"].as_array().unwrap();
        assert!(
            volumes
                .iter()
                .any(|volume| volume["secret"]["secretName"] == "redis-ca")
        );
    }
}
