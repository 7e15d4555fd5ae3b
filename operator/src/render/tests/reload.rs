//! Oracle 19, reload class. The class of every field is proven: a hot field never changes a pod template, a rolling one always does.

use berth_crds::generate::definitions;
use berth_crds::reload::{Field, ReloadClass, leaves};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::JSONSchemaProps;

use super::*;

/// Fields whose class is that of the reference around them, but which alone change no pod: keys are files in a folder
/// that is mounted anyway.
fn is_key(path: &str) -> bool {
    [
        "currentKey",
        "previousKey",
        "usernameKey",
        "credentialKey",
        "sharedSecret.secretRef.key",
        "jwks.caSecretRef.key",
        "apiKeySecretRef.key",
    ]
    .iter()
    .any(|key| path.ends_with(key))
}

/// Another valid value of the field.
fn other(path: &str, schema: &JSONSchemaProps, now: Option<&Value>) -> Value {
    match path {
        "spec.publicUrl" if now.is_some_and(|now| now.as_str().unwrap().starts_with("http")) => {
            return json!("https://other.example.com");
        }
        "spec.publicUrl" => return json!("wss://other.example.com"),
        "spec.redis.managed.maxMemory" | "spec.redis.managed.storageSize" => return json!("512Mi"),
        "spec.stunUrls" => return json!(["stun:other.example.com"]),
        "spec.managed.deniedPeers" | "spec.managed.allowedPeers" => return json!(["192.0.2.0/24"]),
        "spec.managed.externalAddress" => return json!("203.0.113.8"),
        "spec.security.trustedProxyCidrs" => return json!(["10.0.0.0/8"]),
        "spec.auth.jwt.algorithms" => return json!(["HS256"]),
        _ if path.rsplit('.').next() == Some("urls") => return json!(["turn:other.example.com"]),
        _ => {}
    }
    if let Some(words) = &schema.enum_ {
        let mut words = words.iter().map(|word| &word.0);
        return words
            .find(|word| Some(*word) != now && !word.is_null())
            .unwrap()
            .clone();
    }
    match schema.type_.as_deref() {
        Some("integer") => {
            let now = now.and_then(Value::as_i64).unwrap_or_default();
            let most = schema.maximum.unwrap_or(f64::MAX);
            // Bounds are whole numbers far below the limits of f64.
            #[allow(clippy::cast_precision_loss)]
            let fits = (now + 1) as f64 <= most;
            json!(if fits { now + 1 } else { now - 1 })
        }
        Some("boolean") => json!(now != Some(&json!(true))),
        Some("array") => json!(["other"]),
        Some("object") => json!({"cpu": "3"}),
        _ => json!("other"),
    }
}

/// Another TurnConfig has other Secrets.
fn turn_of(name: &str) -> TurnConfig {
    let mut turn = turn_config();
    let shared = turn.spec.providers[0].shared_secret.as_mut().unwrap();
    shared.secret_ref.name = format!("secret-of-{name}");
    turn
}

/// The place of `path`; `x[]` is the item of the list `x` that has the next part of the path.
fn place<'a>(root: &'a mut Value, path: &str) -> Option<&'a mut Value> {
    let parts: Vec<_> = path.split('.').collect();
    let mut place = root;
    for (index, part) in parts.iter().enumerate() {
        place = match part.strip_suffix("[]") {
            Some(list) => {
                let items = place.get_mut(list)?.as_array_mut()?;
                let next = parts.get(index + 1).copied().unwrap_or_default();
                let found = items
                    .iter()
                    .position(|item| item.get(next).is_some())
                    .unwrap_or(0);
                items.get_mut(found)?
            }
            None => place.as_object_mut()?.entry(*part).or_insert(Value::Null),
        };
    }
    Some(place)
}

/// Whether there is something at `path`.
fn exists(root: &Value, path: &str) -> bool {
    place(&mut root.clone(), path).is_some_and(|found| !found.is_null())
}

/// Pods, and what makes them.
fn templates(desired: &Desired) -> Vec<(Value, Value)> {
    values(desired)
        .into_iter()
        .filter_map(|object| Some((object["kind"].clone(), object.pointer("/spec/template")?.clone())))
        .collect()
}

/// Whether a change of `field` alone changes a pod.
fn restarts(base: &Value, field: &Field, render: &dyn Fn(Value) -> Desired) -> bool {
    let mut base = base.clone();
    if let Some(around) = field
        .path
        .strip_suffix("Policy")
        .filter(|path| path.ends_with("image"))
    {
        // It speaks of pods whose image is named nowhere.
        *place(&mut base, around).unwrap() = Value::Null;
    }
    let mut changed = base.clone();
    let place = place(&mut changed, &field.path).unwrap();
    *place = other(&field.path, &field.schema, Some(&*place));
    templates(&render(base)) != templates(&render(changed))
}

fn check(index: usize, bases: &[Value], render: &dyn Fn(Value) -> Desired) {
    let fields = leaves(&definitions()[index]);
    assert!(fields.len() > 5);
    for field in fields {
        // A base that has the object around the field.
        let around = field.path.rsplit_once('.').unwrap().0;
        let Some(base) = bases.iter().find(|base| exists(base, around)) else {
            assert!(
                field.path.contains("pod.resources.claims"),
                "{} is in no fixture",
                field.path
            );
            continue;
        };
        let restarts = restarts(base, &field, render);
        match field.class.unwrap() {
            ReloadClass::Hot | ReloadClass::Connection => assert!(!restarts, "{} restarts pods", field.path),
            ReloadClass::Rolling if is_key(&field.path) => assert!(!restarts, "{} restarts pods", field.path),
            ReloadClass::Rolling => assert!(restarts, "{} restarts no pod", field.path),
            ReloadClass::Immutable => {}
        }
    }
}

#[test]
fn classes_of_signaling_cluster() {
    let bases = [full_cluster(), external_cluster(), jwks_cluster()];
    let bases = bases.map(|base| serde_json::to_value(base).unwrap());
    check(0, &bases, &|value| {
        let resource: SignalingCluster = parse(value);
        let named = resource.spec.turn_config_ref.as_ref();
        cluster_with(&resource, &turn_of(named.map_or("", |named| &named.name)))
    });
}

#[test]
fn classes_of_host_pool() {
    let base = serde_json::to_value(full_pool()).unwrap();
    check(1, &[base], &|value| {
        let mut other = full_cluster();
        let resource: HostPool = parse(value);
        other.metadata.name = Some(resource.spec.signaling_cluster_ref.name.clone());
        let turn = turn_of(&resource.spec.turn_config_ref.as_ref().unwrap().name);
        pool(&resource, &other, Some(&turn))
    });
}

#[test]
fn classes_of_turn_config() {
    let mut full = full_turn();
    full.spec.providers = turn_config().spec.providers;
    // In which each field may change alone.
    full.spec.managed.as_mut().unwrap().network = berth_crds::api::TurnNetwork::Host;
    let bases = [serde_json::to_value(&full).unwrap()];
    // The consumer's pods, and those of the servers that Berth runs.
    let with = |mut desired: Desired, resource: &TurnConfig| {
        desired
            .children
            .extend(super::super::turn_config(resource, true, &defaults_of_turn(resource)).children);
        desired
    };
    check(2, &bases, &|value| {
        let resource = parse(value);
        with(pool(&full_pool(), &full_cluster(), Some(&resource)), &resource)
    });
    check(2, &bases, &|value| {
        let resource = parse(value);
        with(cluster_with(&full_cluster(), &resource), &resource)
    });
}

/// Pods of consumers do not restart for a change of the servers.
#[test]
fn consumers_follow_managed_servers_without_a_restart() {
    let full = full_turn();
    let mut other = full.clone();
    let managed = other.spec.managed.as_mut().unwrap();
    managed.external_address = Some("203.0.113.8".into());
    managed.hostname = None;
    managed.tls = None;
    managed.listening_port = 4000;
    for of in [&full, &other] {
        assert_eq!(
            templates(&pool(&full_pool(), &full_cluster(), Some(of))),
            templates(&pool(&full_pool(), &full_cluster(), Some(&full)))
        );
    }
}
