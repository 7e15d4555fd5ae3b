//! Edge cases derived from the schema: a valid resource in which one field has a value at or beyond what is allowed.
//!
//! Tests that compare two readers of a resource (this library, the API server, the operator) take their input from here, so that
//! a field added to the types is covered without anybody thinking of it.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps,
};
use serde_json::{Map, Value, json};

use super::structural::{complete, field, item, join, map_value};

/// A resource with one changed field.
#[derive(Clone, Debug)]
pub struct Case {
    /// The changed field, for example `spec.rooms.capacity`.
    pub path: String,
    /// What stands there now, or that it is gone; cut after 40 characters.
    pub change: String,
    /// The whole resource.
    pub resource: Value,
}

/// All cases of the fields that are set in `base`, which must be valid, or have a default.
pub fn derive(crd: &CustomResourceDefinition, base: &Value) -> Vec<Case> {
    let mut versions = crd.spec.versions.iter();
    let schema = versions.find_map(|version| version.schema.as_ref()?.open_api_v3_schema.as_ref());
    let Some(schema) = schema else { return Vec::new() };
    let mut completed = base.clone();
    complete(schema, &mut completed);
    let Some(spec) = field(schema, "spec") else {
        return Vec::new();
    };
    let mut walk = Walk {
        base: &completed,
        cases: Vec::new(),
    };
    walk.node(spec, &completed["spec"], "spec", "/spec");
    walk.cases
}

struct Walk<'a> {
    base: &'a Value,
    cases: Vec<Case>,
}

impl Walk<'_> {
    fn node(&mut self, schema: &JSONSchemaProps, value: &Value, path: &str, pointer: &str) {
        for change in changes(schema, value) {
            self.case(path, pointer, Some(change));
        }
        if path != "spec" {
            self.case(path, pointer, None);
        }
        match value {
            Value::Object(fields) => {
                for (name, value) in fields {
                    if let Some(schema) = field(schema, name) {
                        self.node(
                            schema,
                            value,
                            &join(path, name),
                            &format!("{pointer}/{}", escape(name)),
                        );
                    }
                }
            }
            // One item stands for all.
            Value::Array(items) => {
                if let (Some(schema), Some(value)) = (item(schema), items.first()) {
                    self.node(schema, value, &format!("{path}[0]"), &format!("{pointer}/0"));
                }
            }
            _ => {}
        }
    }

    fn case(&mut self, path: &str, pointer: &str, change: Option<Value>) {
        let mut resource = self.base.clone();
        let shown = change
            .as_ref()
            .map_or_else(|| "absent".to_owned(), Value::to_string);
        let done = match change {
            Some(change) => resource.pointer_mut(pointer).map(|place| *place = change),
            None => remove(&mut resource, pointer),
        };
        if done.is_some() {
            self.cases.push(Case {
                path: path.to_owned(),
                change: shown.chars().take(40).collect(),
                resource,
            });
        }
    }
}

fn remove(resource: &mut Value, pointer: &str) -> Option<()> {
    let (around, name) = pointer.rsplit_once('/')?;
    match resource.pointer_mut(around)? {
        Value::Object(fields) => fields
            .remove(&name.replace("~1", "/").replace("~0", "~"))
            .map(drop),
        Value::Array(items) => {
            items.remove(name.parse().ok()?);
            Some(())
        }
        _ => None,
    }
}

fn escape(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// Values to put in the place of `value`.
fn changes(schema: &JSONSchemaProps, value: &Value) -> Vec<Value> {
    let mut changes = vec![
        Value::Null,
        json!(true),
        json!(-1),
        json!(1.5),
        json!("word"),
        json!([]),
        json!({}),
    ];
    if let Some(allowed) = &schema.enum_ {
        changes.extend(allowed.iter().map(|allowed| allowed.0.clone()));
        changes.push(json!(value.as_str().unwrap_or_default().to_lowercase()));
    }
    for bound in [schema.minimum, schema.maximum].into_iter().flatten() {
        // The bounds are whole numbers.
        if let Ok(bound) = format!("{bound:.0}").parse::<i64>() {
            changes.extend([bound - 1, bound, bound + 1].map(Value::from));
        }
    }
    match value {
        Value::String(text) => changes.extend(texts(schema, text)),
        Value::Array(items) => changes.extend(lists(schema, items)),
        Value::Object(fields) => changes.extend(objects(schema, fields)),
        _ => {}
    }
    changes.retain(|change| change != value);
    changes
}

fn texts(schema: &JSONSchemaProps, text: &str) -> Vec<Value> {
    let mut texts = vec![
        json!(""),
        json!(" "),
        json!(format!("{text} ")),
        json!("\u{e4}\u{2028}"),
        json!("10.0.0.0/99"),
    ];
    for bound in [schema.min_length, schema.max_length].into_iter().flatten() {
        let Ok(length) = usize::try_from(bound) else {
            continue;
        };
        // The end of the text is repeated, so that what must stand in front still does.
        let last = text.chars().last().unwrap_or('a');
        for length in [length.saturating_sub(1), length, length + 1] {
            let long: String = text.chars().chain(std::iter::repeat(last)).take(length).collect();
            texts.push(Value::String(long));
        }
    }
    texts
}

fn lists(schema: &JSONSchemaProps, items: &[Value]) -> Vec<Value> {
    let mut lists = Vec::new();
    if let Some(first) = items.first() {
        lists.push(json!([first, first]));
        lists.push(json!([first, null]));
        if let Some(count) = schema.max_items.and_then(|count| usize::try_from(count).ok()) {
            lists.push(Value::Array(vec![first.clone(); count + 1]));
        }
    }
    lists
}

fn objects(schema: &JSONSchemaProps, fields: &Map<String, Value>) -> Vec<Value> {
    let with = |name: &str, value: Value| {
        let mut fields = fields.clone();
        fields.insert(name.to_owned(), value);
        Value::Object(fields)
    };
    let mut objects = vec![with("unknown", json!("a")), with("unknown", Value::Null)];
    if map_value(schema).is_some() {
        objects.push(with("key", json!(1)));
        if let Some(count) = schema.max_properties {
            let many = |count: i64| {
                (0..count)
                    .map(|number| (format!("key-{number}"), json!("a")))
                    .collect()
            };
            objects.extend([Value::Object(many(count)), Value::Object(many(count + 1))]);
        }
    }
    objects
}
