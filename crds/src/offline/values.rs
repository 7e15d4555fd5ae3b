//! Types, bounds, patterns and uniqueness.
//!
//! The generated schemas use a part of what a structural schema may hold; a test fails when they use more than is
//! checked here.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::JSONSchemaProps;
use serde_json::{Number, Value};

use super::definition::Definition;
use super::finding::{Findings, Stage};
use super::structural::{field, item, join};

/// Checks everything but `apiVersion`, `kind` and `metadata`, which are the same for every kind.
pub(super) fn check(definition: &Definition, value: &Value, found: &mut Findings) {
    Values { definition, found }.node(&definition.schema, value, "");
}

struct Values<'a> {
    definition: &'a Definition,
    found: &'a mut Findings,
}

impl Values<'_> {
    fn node(&mut self, schema: &JSONSchemaProps, value: &Value, path: &str) {
        if value.is_null() && schema.nullable == Some(true) {
            return;
        }
        if !has_type(schema, value) {
            self.found
                .blocking_error(path, format!("must be {}, is {}", wanted(schema), given(value)));
            return;
        }
        self.allowed(schema, value, path);
        match value {
            Value::Object(_) => self.object(schema, value, path),
            Value::Array(items) => self.list(schema, items, path),
            Value::String(text) => self.text(schema, text, path),
            Value::Number(number) => self.number(schema, number, path),
            Value::Null | Value::Bool(_) => {}
        }
    }

    fn allowed(&mut self, schema: &JSONSchemaProps, value: &Value, path: &str) {
        if let Some(allowed) = &schema.enum_
            && !allowed.iter().any(|candidate| candidate.0 == *value)
        {
            let allowed: Vec<_> = allowed.iter().map(|candidate| plain(&candidate.0)).collect();
            let message = format!("must be one of {}, is {}", allowed.join(", "), plain(value));
            self.found.blocking_error(path, message);
        }
    }

    fn object(&mut self, schema: &JSONSchemaProps, value: &Value, path: &str) {
        let Some(fields) = value.as_object() else { return };
        for name in schema.required.iter().flatten() {
            if !fields.contains_key(name) {
                self.found.blocking_error(&join(path, name), "must be set");
            }
        }
        if below(schema.min_properties, fields.len()) {
            let message = format!("must have at least {} entries", bound(schema.min_properties));
            self.found.error(Stage::Values, path, message);
        }
        if above(schema.max_properties, fields.len()) {
            let message = format!("must have at most {} entries", bound(schema.max_properties));
            self.found.blocking_error(path, message);
        }
        for (name, value) in fields {
            if let Some(schema) = field(schema, name) {
                self.node(schema, value, &join(path, name));
            }
        }
    }

    fn list(&mut self, schema: &JSONSchemaProps, items: &[Value], path: &str) {
        if below(schema.min_items, items.len()) {
            let message = format!("must have at least {} items", bound(schema.min_items));
            self.found.error(Stage::Values, path, message);
        }
        if above(schema.max_items, items.len()) {
            let message = format!("must have at most {} items", bound(schema.max_items));
            self.found.blocking_error(path, message);
        }
        if let Some(schema) = item(schema) {
            for (index, value) in items.iter().enumerate() {
                self.node(schema, value, &format!("{path}[{index}]"));
            }
        }
        self.unique(schema, items, path);
    }

    fn unique(&mut self, schema: &JSONSchemaProps, items: &[Value], path: &str) {
        match schema.x_kubernetes_list_type.as_deref() {
            Some("set") => self.distinct(items, path),
            Some("map") => {
                let names: Vec<_> = schema.x_kubernetes_list_map_keys.iter().flatten().collect();
                let key = |item: &'_ Value| -> Vec<Option<Value>> {
                    names
                        .iter()
                        .map(|name| item.get(name.as_str()).cloned())
                        .collect()
                };
                self.distinct(&items.iter().map(key).collect::<Vec<_>>(), path);
            }
            _ => {}
        }
    }

    /// Reports the first repetition of each key.
    fn distinct<K: PartialEq>(&mut self, keys: &[K], path: &str) {
        for (index, key) in keys.iter().enumerate() {
            if keys[..index].iter().filter(|before| *before == key).count() == 1 {
                let message = "must not repeat an item of the list";
                self.found
                    .error(Stage::Values, &format!("{path}[{index}]"), message);
            }
        }
    }

    fn text(&mut self, schema: &JSONSchemaProps, text: &str, path: &str) {
        let length = text.chars().count();
        if below(schema.min_length, length) {
            let message = format!("must have at least {} characters", bound(schema.min_length));
            self.found.error(Stage::Values, path, message);
        }
        if above(schema.max_length, length) {
            let message = format!("must have at most {} characters", bound(schema.max_length));
            self.found.blocking_error(path, message);
        }
        if let Some(pattern) = &schema.pattern
            && !self.definition.matches(pattern, text)
        {
            self.found
                .error(Stage::Values, path, format!("must match {pattern}, is {text:?}"));
        }
    }

    fn number(&mut self, schema: &JSONSchemaProps, number: &Number, path: &str) {
        let Some(value) = number.as_f64() else { return };
        let too_small = schema.minimum.is_some_and(|minimum| value < minimum);
        let too_large = schema.maximum.is_some_and(|maximum| value > maximum);
        if too_small || too_large {
            let range = match (schema.minimum, schema.maximum) {
                (Some(minimum), Some(maximum)) => format!("from {minimum} to {maximum}"),
                (Some(minimum), None) => format!("at least {minimum}"),
                (None, maximum) => format!("at most {}", maximum.unwrap_or_default()),
            };
            self.found
                .error(Stage::Values, path, format!("must be {range}, is {number}"));
        }
    }
}

fn has_type(schema: &JSONSchemaProps, value: &Value) -> bool {
    if schema.x_kubernetes_int_or_string == Some(true) {
        return value.is_string() || is_integer(value);
    }
    match schema.type_.as_deref() {
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("boolean") => value.is_boolean(),
        Some("integer") => is_integer(value),
        Some("number") => value.is_number(),
        _ => true,
    }
}

fn is_integer(value: &Value) -> bool {
    let whole = |number: &Number| number.as_f64().is_some_and(|value| value.fract() == 0.0);
    value.as_number().is_some_and(whole)
}

fn wanted(schema: &JSONSchemaProps) -> &str {
    if schema.x_kubernetes_int_or_string == Some(true) {
        return "an integer or a string";
    }
    match schema.type_.as_deref() {
        Some("object") => "an object",
        Some("array") => "a list",
        Some("string") => "a string",
        Some("boolean") => "true or false",
        Some("integer") => "an integer",
        _ => "a number",
    }
}

fn given(value: &Value) -> String {
    match value {
        Value::Object(_) => "an object".into(),
        Value::Array(_) => "a list".into(),
        Value::String(text) => format!("the string {text:?}"),
        other => other.to_string(),
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn below(minimum: Option<i64>, count: usize) -> bool {
    minimum.is_some_and(|minimum| i64::try_from(count).is_ok_and(|count| count < minimum))
}

fn above(maximum: Option<i64>, count: usize) -> bool {
    maximum.is_some_and(|maximum| i64::try_from(count).map_or(true, |count| count > maximum))
}

fn bound(limit: Option<i64>) -> i64 {
    limit.unwrap_or_default()
}
