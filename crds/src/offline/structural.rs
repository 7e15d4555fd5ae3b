//! What the API server does to a value before it judges it: it looks for unknown fields, drops nulls that
//! stand for "absent", and fills in defaults.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use serde_json::{Map, Value};

use super::finding::{Findings, Stage};

/// Fields that every resource has, whatever its schema says.
const TYPE_AND_METADATA: [&str; 3] = ["apiVersion", "kind", "metadata"];

/// Schema of the items of a list.
pub(super) fn item(schema: &JSONSchemaProps) -> Option<&JSONSchemaProps> {
    match &schema.items {
        Some(JSONSchemaPropsOrArray::Schema(item)) => Some(item),
        _ => None,
    }
}

/// Schema of the values of a map.
pub(super) fn map_value(schema: &JSONSchemaProps) -> Option<&JSONSchemaProps> {
    match &schema.additional_properties {
        Some(JSONSchemaPropsOrBool::Schema(value)) => Some(value),
        _ => None,
    }
}

/// Schema of the field `name`.
pub(super) fn field<'a>(schema: &'a JSONSchemaProps, name: &str) -> Option<&'a JSONSchemaProps> {
    let own = schema.properties.as_ref().and_then(|fields| fields.get(name));
    own.or_else(|| map_value(schema))
}

/// Every schema directly below `schema`.
pub(super) fn children(schema: &JSONSchemaProps) -> impl Iterator<Item = &JSONSchemaProps> {
    let fields = schema.properties.iter().flat_map(|fields| fields.values());
    fields.chain(item(schema)).chain(map_value(schema))
}

/// Path of the field `name` below `path`.
pub(super) fn join(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}

/// Reports every field that `schema` does not have.
pub(super) fn unknown_fields(schema: &JSONSchemaProps, value: &Value, found: &mut Findings) {
    let Some(fields) = value.as_object() else { return };
    for (name, value) in fields {
        if !TYPE_AND_METADATA.contains(&name.as_str()) {
            unknown_field(schema, name, value, "", found);
        }
    }
}

fn unknown_field(schema: &JSONSchemaProps, name: &str, value: &Value, around: &str, found: &mut Findings) {
    let path = join(around, name);
    if let Some(schema) = field(schema, name) {
        return unknown_below(schema, value, &path, found);
    }
    let known = schema.properties.iter().flat_map(|fields| fields.keys());
    let nearest = known.min_by_key(|candidate| distance(candidate, name));
    let hint = nearest.filter(|nearest| distance(nearest, name) <= 2);
    let hint = hint.map(|nearest| format!(", did you mean {nearest}?"));
    found.error(
        Stage::Fields,
        &path,
        format!("unknown field{}", hint.unwrap_or_default()),
    );
}

fn unknown_below(schema: &JSONSchemaProps, value: &Value, path: &str, found: &mut Findings) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                unknown_field(schema, name, value, path, found);
            }
        }
        Value::Array(items) => {
            for (index, value) in items.iter().enumerate() {
                if let Some(schema) = item(schema) {
                    unknown_below(schema, value, &format!("{path}[{index}]"), found);
                }
            }
        }
        _ => {}
    }
}

/// Drops nulls and fills in defaults, and drops the status, which a manifest cannot set.
pub(super) fn complete(schema: &JSONSchemaProps, value: &mut Value) {
    drop_nulls(schema, value);
    fill_defaults(schema, value);
    if let Some(fields) = value.as_object_mut() {
        fields.remove("status");
    }
}

fn refuses_null(schema: &JSONSchemaProps) -> bool {
    schema.nullable != Some(true)
}

fn drop_nulls(schema: &JSONSchemaProps, value: &mut Value) {
    match value {
        Value::Object(fields) => fields.retain(|name, value| {
            let Some(schema) = field(schema, name) else {
                return true;
            };
            drop_nulls(schema, value);
            !(value.is_null() && refuses_null(schema) && schema.default.is_none())
        }),
        Value::Array(items) => {
            if let Some(schema) = item(schema) {
                for value in items {
                    drop_nulls(schema, value);
                }
            }
        }
        _ => {}
    }
}

fn fill_defaults(schema: &JSONSchemaProps, value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fill_absent(schema, fields);
            for (name, value) in fields {
                if let Some(schema) = field(schema, name) {
                    fill_defaults(schema, value);
                }
            }
        }
        Value::Array(items) => {
            if let Some(schema) = item(schema) {
                for value in items {
                    fill_defaults(schema, value);
                }
            }
        }
        _ => {}
    }
}

fn fill_absent(schema: &JSONSchemaProps, fields: &mut Map<String, Value>) {
    for (name, schema) in schema.properties.iter().flatten() {
        let absent = match fields.get(name) {
            None => true,
            Some(value) => value.is_null() && refuses_null(schema),
        };
        if let Some(default) = schema.default.as_ref().filter(|_| absent) {
            fields.insert(name.clone(), default.0.clone());
        }
    }
}

/// How many letters must be changed, added or removed to make `b` of `a`, upper case or not.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.to_lowercase().chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (line, letter) in a.to_lowercase().chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], line + 1);
        for (column, other) in b.iter().enumerate() {
            let changed = diagonal + usize::from(letter != *other);
            diagonal = row[column + 1];
            row[column + 1] = changed.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[b.len()]
}
