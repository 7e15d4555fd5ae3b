//! `metadata`: the rules that hold for every kind.

use serde_json::{Map, Value};

use super::finding::{Findings, Stage};
use super::structural::join;

const FIELDS: [&str; 15] = [
    "annotations",
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "finalizers",
    "generateName",
    "generation",
    "labels",
    "managedFields",
    "name",
    "namespace",
    "ownerReferences",
    "resourceVersion",
    "selfLink",
    "uid",
];
/// Most bytes of all annotations of a resource together.
const ANNOTATIONS_MAX_BYTES: usize = 262_144;
const LABEL_NAME: &str =
    "must have 1 to 63 letters, digits, '-', '_' or '.', begin and end with a letter or digit";

/// Checks `metadata` of the resource `value`.
pub(super) fn check(value: &Value, found: &mut Findings) {
    let empty = Map::new();
    let metadata = match value.get("metadata") {
        None | Some(Value::Null) => &empty,
        Some(Value::Object(metadata)) => metadata,
        Some(_) => return found.error(Stage::Metadata, "metadata", "must be an object"),
    };
    for name in metadata.keys().filter(|name| !FIELDS.contains(&name.as_str())) {
        found.error(Stage::Fields, &join("metadata", name), "unknown field");
    }
    names(metadata, found);
    for (key, value) in strings(metadata, "labels", found) {
        let path = join("metadata.labels", key);
        require(found, &path, qualified(key));
        require(found, &path, label_value(value));
    }
    let mut bytes = 0;
    for (key, value) in strings(metadata, "annotations", found) {
        require(
            found,
            &join("metadata.annotations", key),
            qualified(&key.to_lowercase()),
        );
        bytes += key.len() + value.len();
    }
    if bytes > ANNOTATIONS_MAX_BYTES {
        let message = format!("must have at most {ANNOTATIONS_MAX_BYTES} bytes together");
        found.error(Stage::Metadata, "metadata.annotations", message);
    }
}

fn names(metadata: &Map<String, Value>, found: &mut Findings) {
    let mut text = |name: &str| match metadata.get(name) {
        None | Some(Value::Null) => "",
        Some(Value::String(text)) => text,
        Some(_) => {
            found.error(Stage::Metadata, &join("metadata", name), "must be a string");
            ""
        }
    };
    let (name, generate_name, namespace) = (text("name"), text("generateName"), text("namespace"));
    if name.is_empty()
        && generate_name.is_empty()
        && !matches!(metadata.get("name"), Some(Value::Number(_) | Value::Bool(_)))
    {
        found.error(Stage::Metadata, "metadata.name", "must be set");
    }
    if !name.is_empty() {
        require(found, "metadata.name", subdomain(name));
    }
    if !namespace.is_empty() {
        require(found, "metadata.namespace", dns_label(namespace));
    }
}

/// The entries of a map of strings.
fn strings<'a>(
    metadata: &'a Map<String, Value>,
    name: &str,
    found: &mut Findings,
) -> Vec<(&'a String, &'a str)> {
    let path = join("metadata", name);
    let entries = match metadata.get(name) {
        None | Some(Value::Null) => return Vec::new(),
        Some(Value::Object(entries)) => entries,
        Some(_) => {
            found.error(Stage::Metadata, &path, "must be a map of strings");
            return Vec::new();
        }
    };
    let mut strings = Vec::with_capacity(entries.len());
    for (key, value) in entries {
        match value {
            Value::String(text) => strings.push((key, text.as_str())),
            Value::Null => strings.push((key, "")),
            _ => found.error(
                Stage::Metadata,
                &join(&path, key),
                format!("must be a string, is {value}: quote it"),
            ),
        }
    }
    strings
}

fn require(found: &mut Findings, path: &str, verdict: Result<(), &'static str>) {
    if let Err(message) = verdict {
        found.error(Stage::Metadata, path, message);
    }
}

/// One part of a DNS name (RFC 1123).
fn dns_label(text: &str) -> Result<(), &'static str> {
    let inside = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let allowed = text.len() <= 63 && text.bytes().all(inside) && bounded(text, &['-']);
    allowed.then_some(()).ok_or(
        "must have 1 to 63 lower case letters, digits or '-', and begin and end with a letter or digit",
    )
}

/// A DNS name (RFC 1123).
fn subdomain(text: &str) -> Result<(), &'static str> {
    let inside = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let part = |part: &str| part.bytes().all(inside) && bounded(part, &['-']);
    (text.len() <= 253 && text.split('.').all(part)).then_some(()).ok_or(
        "must have 1 to 253 lower case letters, digits, '-' or '.', and each part must begin and end with a letter or digit",
    )
}

/// Key of a label or an annotation.
fn qualified(key: &str) -> Result<(), &'static str> {
    let (prefix, name) = match key.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    if prefix.is_some_and(|prefix| subdomain(prefix).is_err()) {
        return Err("the part of the key before '/' must be a DNS name");
    }
    if name.is_empty() {
        return Err("the name of the key must not be empty");
    }
    label_value(name)
}

fn label_value(text: &str) -> Result<(), &'static str> {
    let inside = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let allowed = text.len() <= 63 && text.bytes().all(inside) && bounded(text, &['-', '_', '.']);
    (text.is_empty() || allowed).then_some(()).ok_or(LABEL_NAME)
}

/// Whether `text` has a first and a last character that are not among `marks`.
fn bounded(text: &str, marks: &[char]) -> bool {
    !text.is_empty() && !text.starts_with(marks) && !text.ends_with(marks)
}
