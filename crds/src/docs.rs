//! `docs/api.md`: the reference of the three kinds, from their definitions.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use serde_json::Value;

use crate::generate::definitions;
use crate::reload::ReloadClass;

const INTRODUCTION: &str = "\
<!-- Generated from crds/src/api by `cargo xtask generate`. Change the comments there. -->

# API reference

Three kinds, group `berth.dev`, version `v1alpha1`, all namespaced, all in the category `berth` (`kubectl get berth`). A resource
names others of its own namespace only. Names have at most 40 characters, so that the objects which Berth derives from them fit.

| kind | says | becomes |
|---|---|---|
| [SignalingCluster](#signalingcluster) | how signaling behaves, and the Redis behind it | signaling pods, Redis or a link to yours |
| [HostPool](#hostpool) | one pool of streaming hosts | matchmaker pods, live capacity in the status |
| [TurnConfig](#turnconfig) | where ICE servers come from | servers and credentials in every match; coturn pods where Berth runs them |

**Reload** says what a change of a field costs:

| class | a change |
|---|---|
| hot | is in force for the next message or request; no pod restarts |
| connection | is in force for the next connection; open ones keep the old value |
| rolling | replaces the pods, a few at a time |
| immutable | is refused |

A field without a default may be left out unless it says *required*. A null means the same as leaving the field out. Fields that a kind
does not have are refused by `kubectl` and by `berth validate FILE...`, which gives the verdict of the API server without one.
";

/// Types of Kubernetes, which are documented there: field and what to call it.
const KUBERNETES_TYPES: [(&str, &str); 3] = [
    (
        "resources",
        "[ResourceRequirements](https://kubernetes.io/docs/concepts/configuration/manage-resources-containers/)",
    ),
    (
        "tolerations",
        "list of [Toleration](https://kubernetes.io/docs/concepts/scheduling-eviction/taint-and-toleration/)",
    ),
    (
        "imagePullSecrets",
        "list of [LocalObjectReference](https://kubernetes.io/docs/tasks/configure-pod-container/pull-image-private-registry/)",
    ),
];

/// The text of `docs/api.md`.
pub fn api_reference() -> String {
    let mut text = INTRODUCTION.to_owned();
    for crd in definitions() {
        text.push('\n');
        text.push_str(&kind(&crd));
    }
    text
}

fn kind(crd: &CustomResourceDefinition) -> String {
    let names = &crd.spec.names;
    let short = names
        .short_names
        .iter()
        .flatten()
        .map(|name| format!(", short `{name}`"));
    let mut lines = vec![
        format!("## {}", names.kind),
        String::new(),
        format!("`kubectl get {}`{}", names.plural, short.collect::<String>()),
        String::new(),
    ];
    for version in &crd.spec.versions {
        let root = version
            .schema
            .as_ref()
            .and_then(|schema| schema.open_api_v3_schema.as_ref());
        let Some(root) = root else { continue };
        lines.extend([description(root), String::new()]);
        let part = |name: &str| root.properties.as_ref().and_then(|parts| parts.get(name));
        if let Some(spec) = part("spec") {
            lines.push("| Field | Type | Default | Allowed | Reload | Description |".into());
            lines.push("|---|---|---|---|---|---|".into());
            spec_rows(spec, "spec", None, &mut lines);
        }
        lines.extend([
            String::new(),
            "Rules over more than one field:".into(),
            String::new(),
        ]);
        rules(root, "", &mut lines);
        if let Some(status) = part("status") {
            lines.extend(["", "| Status | Type | Description |", "|---|---|---|"].map(str::to_owned));
            status_rows(status, "status", &mut lines);
        }
        lines.extend([
            String::new(),
            columns(version.additional_printer_columns.iter().flatten()),
        ]);
    }
    lines.join("\n") + "\n"
}

type Column =
    k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceColumnDefinition;

fn columns<'a>(columns: impl Iterator<Item = &'a Column>) -> String {
    let columns = columns.map(|column| {
        let wide = column.priority.unwrap_or_default() > 0;
        format!("{}{}", column.name, if wide { " (wide)" } else { "" })
    });
    format!("Columns: {}.", columns.collect::<Vec<_>>().join(", "))
}

fn spec_rows(schema: &JSONSchemaProps, path: &str, around: Option<ReloadClass>, lines: &mut Vec<String>) {
    for (name, field) in schema.properties.iter().flatten() {
        let path = format!("{path}.{name}");
        let own = field.description.as_deref().and_then(ReloadClass::declared);
        let class = own.or(around);
        let required = schema.required.iter().flatten().any(|required| required == name);
        let below = below(name, field);
        lines.push(format!(
            "| `{path}` | {} | {} | {} | {} | {} |",
            type_of(name, field),
            if required {
                "*required*".into()
            } else {
                default_of(field, below.is_some())
            },
            allowed(field).join("; "),
            class.filter(|_| below.is_none()).map_or("", ReloadClass::as_str),
            description(field),
        ));
        if let Some((below, suffix)) = below {
            spec_rows(below, &format!("{path}{suffix}"), class, lines);
        }
    }
}

fn status_rows(schema: &JSONSchemaProps, path: &str, lines: &mut Vec<String>) {
    for (name, field) in schema.properties.iter().flatten() {
        let path = format!("{path}.{name}");
        let type_ = if name == "conditions" {
            "list of Condition".into()
        } else {
            type_of(name, field)
        };
        lines.push(format!("| `{path}` | {type_} | {} |", description(field)));
        if let Some((below, suffix)) = below(name, field).filter(|_| name != "conditions") {
            status_rows(below, &format!("{path}{suffix}"), lines);
        }
    }
}

fn rules(schema: &JSONSchemaProps, path: &str, lines: &mut Vec<String>) {
    for rule in schema.x_kubernetes_validations.iter().flatten() {
        let place = format!("{path}{}", rule.field_path.as_deref().unwrap_or_default());
        let place = if place.is_empty() {
            "metadata.name"
        } else {
            place.trim_start_matches('.')
        };
        let message = rule.message.as_deref().unwrap_or(&rule.rule);
        lines.push(format!("- `{place}`: {message}"));
    }
    for (name, field) in schema.properties.iter().flatten() {
        rules(field, &format!("{path}.{name}"), lines);
    }
    if let Some(item) = item(schema) {
        rules(item, &format!("{path}[]"), lines);
    }
}

/// The schema whose fields get rows of their own, and what stands between its path and theirs.
fn below<'a>(name: &str, schema: &'a JSONSchemaProps) -> Option<(&'a JSONSchemaProps, &'static str)> {
    if KUBERNETES_TYPES.iter().any(|(field, _)| *field == name) {
        return None;
    }
    match item(schema) {
        Some(item) => item.properties.is_some().then_some((item, "[]")),
        None => schema.properties.is_some().then_some((schema, "")),
    }
}

fn item(schema: &JSONSchemaProps) -> Option<&JSONSchemaProps> {
    match &schema.items {
        Some(JSONSchemaPropsOrArray::Schema(item)) => Some(item),
        _ => None,
    }
}

fn type_of(name: &str, schema: &JSONSchemaProps) -> String {
    if let Some((_, known)) = KUBERNETES_TYPES.iter().find(|(field, _)| *field == name) {
        return (*known).to_owned();
    }
    if let Some(item) = item(schema) {
        return format!("list of {}", type_of("", item));
    }
    if let Some(JSONSchemaPropsOrBool::Schema(value)) = &schema.additional_properties {
        return format!("map of {}", type_of("", value));
    }
    if schema.x_kubernetes_int_or_string == Some(true) {
        return "quantity".into();
    }
    schema.type_.clone().unwrap_or_default()
}

fn default_of(schema: &JSONSchemaProps, has_fields: bool) -> String {
    match schema.default.as_ref().map(|default| &default.0) {
        None => String::new(),
        // The defaults of its fields say the rest.
        Some(Value::Object(fields)) if has_fields => {
            let chosen = fields.keys().filter(|name| {
                let field = schema.properties.as_ref().and_then(|fields| fields.get(*name));
                field.is_some_and(|field| field.default.is_none())
            });
            chosen
                .map(|name| format!("with `{name}`"))
                .collect::<Vec<_>>()
                .join(", ")
        }
        Some(Value::String(text)) => format!("`{text}`"),
        Some(other) => format!("`{other}`"),
    }
}

fn allowed(schema: &JSONSchemaProps) -> Vec<String> {
    let mut allowed = Vec::new();
    if let Some(values) = &schema.enum_ {
        let values = values.iter().filter_map(|value| value.0.as_str());
        allowed.push(
            values
                .map(|value| format!("`{value}`"))
                .collect::<Vec<_>>()
                .join(", "),
        );
    }
    allowed.extend(range(schema.minimum, schema.maximum, ""));
    let count = |count: Option<i64>| count.map(|count| i32::try_from(count).unwrap_or(i32::MAX).into());
    allowed.extend(range(
        count(schema.min_length),
        count(schema.max_length),
        " characters",
    ));
    allowed.extend(range(count(schema.min_items), count(schema.max_items), " items"));
    allowed.extend(range(
        count(schema.min_properties),
        count(schema.max_properties),
        " entries",
    ));
    allowed.extend(schema.pattern.as_deref().map(code));
    if let Some(item) = item(schema).filter(|item| item.properties.is_none()) {
        allowed.extend(self::allowed(item).into_iter().map(|rule| format!("each {rule}")));
    }
    allowed
}

fn range(minimum: Option<f64>, maximum: Option<f64>, unit: &str) -> Option<String> {
    match (minimum, maximum) {
        (Some(minimum), Some(maximum)) => Some(format!("{minimum} to {maximum}{unit}")),
        (Some(minimum), None) => Some(format!("at least {minimum}{unit}")),
        (None, Some(maximum)) => Some(format!("at most {maximum}{unit}")),
        (None, None) => None,
    }
}

/// The description without the reload class, which has its own column.
fn description(schema: &JSONSchemaProps) -> String {
    let text = schema.description.as_deref().unwrap_or_default();
    let text = match ReloadClass::declared(text) {
        Some(_) => text.rsplit_once("Reload: ").map_or(text, |(before, _)| before),
        None => text,
    };
    cell(text.trim())
}

/// `text` as code in a cell of a table; it may hold a backtick itself.
fn code(text: &str) -> String {
    let (open, close) = if text.contains('`') {
        ("`` ", " ``")
    } else {
        ("`", "`")
    };
    format!("{open}{}{close}", cell(text))
}

/// `text` as it may stand in a cell of a table.
fn cell(text: &str) -> String {
    text.replace('\n', " ").replace('|', "\\|")
}
