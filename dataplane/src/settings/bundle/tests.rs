use super::*;

fn cluster(name: &str) -> Value {
    json!({
        "apiVersion": "berth.dev/v1alpha1",
        "kind": "SignalingCluster",
        "metadata": {"name": name, "generation": 3, "managedFields": [1]},
        "spec": {"publicUrl": "wss://a"},
        "status": {"replicas": 2},
    })
}

fn bundle(manifests: &[Value]) -> Result<Bundle, BundleError> {
    let mut bundle = Bundle::default();
    for manifest in manifests {
        bundle.add(manifest, "default")?;
    }
    Ok(bundle)
}

#[test]
fn status_and_other_kinds_make_no_difference() {
    let mut later = cluster("main");
    later["status"] = json!({"replicas": 7});
    later["metadata"]["resourceVersion"] = json!("9");
    let others = [
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "x"}}),
        json!({"apiVersion": "other.dev/v1", "kind": "HostPool"}),
        Value::Null,
    ];
    let same = bundle(&[&[later][..], &others].concat()).unwrap();
    assert_eq!(same, bundle(&[cluster("main")]).unwrap());
    let mut next = cluster("main");
    next["metadata"]["generation"] = json!(4);
    assert_ne!(same, bundle(&[next]).unwrap());
}

/// Of a status that is the only part which a service needs.
#[test]
fn addresses_of_managed_turn_servers_are_kept() {
    let turn = |status: Value| {
        json!({
            "apiVersion": "berth.dev/v1alpha1", "kind": "TurnConfig", "metadata": {"name": "turn"},
            "spec": {"managed": {"network": "Host"}}, "status": status,
        })
    };
    let at = |addresses: &[&str]| {
        turn(json!({"consumers": 2, "managed": {"readyReplicas": 1, "addresses": addresses}}))
    };
    let one = bundle(&[at(&["10.0.0.1"])]).unwrap();
    let without_counts = turn(json!({"managed": {"addresses": ["10.0.0.1"]}}));
    assert_eq!(one, bundle(&[without_counts]).unwrap());
    assert_ne!(one, bundle(&[at(&["10.0.0.2"])]).unwrap());
    assert_eq!(bundle(&[at(&[])]).unwrap(), bundle(&[turn(Value::Null)]).unwrap());
    let key = ResourceKey::new(Kind::TurnConfig, ObjectName::new("default", "turn"));
    let read: TurnConfig = one.read(&key).unwrap().unwrap();
    assert_eq!(read.status.unwrap().managed.unwrap().addresses, ["10.0.0.1"]);
    let text = serde_json::to_string(&one).unwrap();
    assert_eq!(serde_json::from_str::<Bundle>(&text).unwrap(), one);
}

#[test]
fn survives_the_cache() {
    let mut elsewhere = cluster("b");
    elsewhere["metadata"]["namespace"] = json!("games");
    let bundle = bundle(&[cluster("a"), elsewhere]).unwrap();
    let text = serde_json::to_string(&bundle).unwrap();
    assert_eq!(serde_json::from_str::<Bundle>(&text).unwrap(), bundle);
}

#[test]
fn wrong_documents_are_named() {
    assert_eq!(
        bundle(&[cluster("main"), cluster("main")])
            .unwrap_err()
            .to_string(),
        "SignalingCluster default/main is there twice"
    );
    let mut old = cluster("main");
    old["apiVersion"] = json!("berth.dev/v1");
    assert_eq!(
        bundle(&[old]).unwrap_err().to_string(),
        "SignalingCluster: apiVersion must be berth.dev/v1alpha1, is berth.dev/v1"
    );
    let mut nameless = cluster("main");
    nameless["metadata"] = Value::Null;
    assert_eq!(
        bundle(&[nameless]).unwrap_err(),
        BundleError::Name("SignalingCluster")
    );
}

#[test]
fn unknown_fields_are_found_at_any_depth() {
    let unknown = |spec: Value| {
        let mut manifest = cluster("main");
        manifest["spec"] = spec;
        bundle(&[manifest])
            .unwrap()
            .unknown_fields()
            .map_err(|error| error.to_string())
    };
    assert_eq!(
        unknown(json!({"publicUrl": "wss://a", "rooms": {"capacity": 4}})),
        Ok(())
    );
    assert_eq!(
        unknown(json!({"publicUrl": "wss://a", "rooms": {"capacitty": 4}})),
        Err("SignalingCluster default/main: spec.rooms.capacitty: there is no such field".to_owned())
    );
    assert_eq!(
        unknown(json!({"publicUrl": "wss://a", "turnConfigRef": null})),
        Ok(())
    );
    let list = json!({"publicUrl": "wss://a", "pod": {"tolerations": [{"key": "a"}, {"kee": "b"}]}});
    assert!(unknown(list).unwrap_err().contains("spec.pod.tolerations[1].kee"));
}

#[test]
fn own_resource_is_the_named_or_the_only_one() {
    let mut elsewhere = cluster("b");
    elsewhere["metadata"]["namespace"] = json!("games");
    let both = bundle(&[cluster("a"), elsewhere]).unwrap();
    let resolve = |namespace: Option<&str>, name: Option<&str>| {
        let own = Own {
            namespace: namespace.map(str::to_owned),
            name: name.map(str::to_owned),
        };
        own.resolve(&both, Kind::SignalingCluster)
            .map(|key| key.to_string())
            .map_err(|error| error.to_string())
    };
    assert_eq!(
        resolve(None, Some("b")),
        Ok("SignalingCluster games/b".to_owned())
    );
    assert_eq!(
        resolve(Some("default"), None),
        Ok("SignalingCluster default/a".to_owned())
    );
    let message = resolve(None, None).unwrap_err();
    assert!(
        message.contains("default/a, games/b") && message.contains("BERTH_NAME"),
        "{message}"
    );
    let message = resolve(Some("default"), Some("b")).unwrap_err();
    assert_eq!(
        message,
        "SignalingCluster: there is no SignalingCluster named b in namespace default"
    );
}

#[test]
fn references_stay_in_the_namespace() {
    let pool = json!({
        "apiVersion": "berth.dev/v1alpha1",
        "kind": "HostPool",
        "metadata": {"name": "eu", "namespace": "games"},
        "spec": {"signalingClusterRef": {"name": "main"}, "turnConfigRef": {"name": "turn"}},
    });
    let bundle = bundle(&[pool]).unwrap();
    let key = ResourceKey::new(Kind::HostPool, ObjectName::new("games", "eu"));
    let references: Vec<String> = bundle.references(&key).iter().map(ToString::to_string).collect();
    assert_eq!(
        references,
        ["SignalingCluster games/main", "TurnConfig games/turn"]
    );
}

#[test]
fn null_members_are_absent() {
    let mut with_nulls = cluster("main");
    with_nulls["spec"] = json!({
        "publicUrl": "wss://a",
        "rooms": null,
        "replicas": null,
        "websocket": {"subprotocol": null, "maxMessageBytes": null},
        "pod": {"tolerations": [{"key": "a", "value": null}]},
    });
    let bundle = bundle(&[with_nulls]).unwrap();
    let key = ResourceKey::new(Kind::SignalingCluster, ObjectName::new("default", "main"));
    let cluster: SignalingCluster = bundle.read(&key).unwrap().unwrap();
    let defaults = berth_crds::api::SignalingClusterSpec::new("wss://a");
    assert_eq!(cluster.spec.rooms, defaults.rooms);
    assert_eq!(cluster.spec.replicas, defaults.replicas);
    assert_eq!(cluster.spec.websocket, defaults.websocket);
    assert_eq!(
        serde_json::to_value(&bundle).unwrap()[0]["spec"]["pod"],
        json!({"tolerations": [{"key": "a"}]})
    );
}
