//! Reading manifests as kubectl does.
//!
//! kubectl reads YAML 1.1: `yes` and `on` are booleans there, `010` is eight. The services read YAML 1.2, where these are
//! words and ten. What kubectl sends is what the API server judges, so its reading decides; where the other reading
//! differs, the path is reported.

use serde_json::{Number, Value};
use serde_saphyr::Options;

use super::structural::join;

/// One document of a text.
pub(super) struct Document {
    /// 1 for the first one.
    pub(super) number: usize,
    /// What it holds, or why it cannot be read.
    pub(super) content: Result<Content, String>,
}

/// What a document holds.
pub(super) struct Content {
    /// The resource; those of a `List`.
    pub(super) items: Vec<Value>,
    /// Paths that the services, which read YAML 1.2, read differently, and how.
    pub(super) doubts: Vec<(String, String)>,
}

impl Document {
    /// Says which document it is when its content does not.
    pub(super) fn title(&self) -> String {
        format!("document {}", self.number)
    }
}

/// Reads all documents of `text`; empty ones are left out.
pub(super) fn read(text: &str) -> Vec<Document> {
    let mut documents = Vec::new();
    for (line, part) in split(text) {
        // The padding makes line numbers in messages those of the whole text.
        let padded = format!("{}{part}", "\n".repeat(line));
        let content = match parse(&padded) {
            Ok(Value::Null) => continue,
            Ok(value) => Ok(content(value, &padded)),
            Err(message) => Err(message),
        };
        documents.push(Document {
            number: documents.len() + 1,
            content,
        });
    }
    documents
}

/// The documents of `text`, each with the number of lines before it.
fn split(text: &str) -> Vec<(usize, String)> {
    let mut parts = vec![(0, String::new())];
    for (number, line) in text.lines().enumerate() {
        let rest = line
            .strip_prefix("---")
            .filter(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r']));
        if let Some(rest) = rest {
            parts.push((number, rest.to_owned()));
        }
        if let Some((_, part)) = parts.last_mut() {
            if rest.is_none() {
                part.push_str(line);
            }
            part.push('\n');
        }
    }
    parts
}

#[allow(clippy::field_reassign_with_default)] // `Options` is non-exhaustive.
fn parse(text: &str) -> Result<Value, String> {
    let mut options = Options::default();
    options.legacy_octal_numbers = true;
    options.with_snippet = false;
    let value = serde_saphyr::from_str_with_options::<Option<Value>>(text, options);
    value
        .map(|value| whole_numbers(value.unwrap_or_default()))
        .map_err(|error| error.to_string())
}

fn content(value: Value, text: &str) -> Content {
    let mut doubts = Vec::new();
    match serde_yaml::from_str::<Value>(text) {
        Ok(other) => differences(&value, &whole_numbers(other), "", &mut doubts),
        Err(error) => doubts.push((
            String::new(),
            format!("a service could not read this file: {error}"),
        )),
    }
    let items = match &value {
        Value::Object(fields) if fields.get("kind").is_some_and(|kind| kind == "List") => fields
            .get("items")
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default(),
        _ => vec![value],
    };
    Content { items, doubts }
}

/// Turns `3.0` into `3`, as the way through JSON does.
fn whole_numbers(mut value: Value) -> Value {
    match &mut value {
        Value::Number(number) => {
            if let Some(whole) = number.as_f64().filter(|_| number.is_f64()).and_then(whole) {
                *number = whole;
            }
        }
        Value::Array(items) => items
            .iter_mut()
            .for_each(|item| *item = whole_numbers(item.take())),
        Value::Object(fields) => fields
            .values_mut()
            .for_each(|field| *field = whole_numbers(field.take())),
        _ => {}
    }
    value
}

fn whole(value: f64) -> Option<Number> {
    // JSON of Go writes larger numbers with an exponent.
    let plain = value.fract() == 0.0 && value.abs() < 1e15;
    plain.then(|| format!("{value:.0}").parse().ok()).flatten()
}

fn differences(a: &Value, b: &Value, path: &str, found: &mut Vec<(String, String)>) {
    match (a, b) {
        (Value::Object(left), Value::Object(right)) if left.len() == right.len() => {
            for (name, value) in left {
                match right.get(name) {
                    Some(other) => differences(value, other, &join(path, name), found),
                    None => found.push(doubt(&join(path, name), value, &Value::Null)),
                }
            }
        }
        (Value::Array(left), Value::Array(right)) if left.len() == right.len() => {
            for (index, (value, other)) in left.iter().zip(right).enumerate() {
                differences(value, other, &format!("{path}[{index}]"), found);
            }
        }
        _ if a == b => {}
        _ => found.push(doubt(path, a, b)),
    }
}

fn doubt(path: &str, kubectl: &Value, service: &Value) -> (String, String) {
    let message =
        format!("kubectl reads {kubectl} here, a service reading the file {service}: quote the word");
    (path.to_owned(), message)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn only(text: &str) -> Content {
        let mut documents = read(text);
        assert_eq!(documents.len(), 1, "{text}");
        documents.remove(0).content.unwrap()
    }

    #[test]
    fn plain_words_are_read_as_kubectl_reads_them() {
        // The right column is what `kubectl create --dry-run=client -o json` of version 1.34 printed.
        let words = [
            ("yes", json!(true)),
            ("NO", json!(false)),
            ("Off", json!(false)),
            ("y", json!(true)),
            ("n", json!(false)),
            ("010", json!(8)),
            ("-010", json!(-8)),
            ("0777", json!(511)),
            ("09", json!(9)),
            ("1_000", json!(1000)),
            ("0o10", json!(8)),
            ("0x1F", json!(31)),
            ("0b11", json!(3)),
            ("+5", json!(5)),
            ("1e3", json!(1000)),
            ("1.", json!(1)),
            ("3.0", json!(3)),
            ("12:30:00", json!("12:30:00")),
            ("2024-01-01", json!("2024-01-01")),
            ("=", json!("=")),
            ("~", json!(null)),
            ("\"yes\"", json!("yes")),
            ("!!str yes", json!("yes")),
        ];
        let wrong: Vec<_> = words
            .into_iter()
            .map(|(word, expected)| (word, only(&format!("a: {word}")).items[0]["a"].clone(), expected))
            .filter(|(_, read, expected)| read != expected)
            .collect();
        assert!(wrong.is_empty(), "{wrong:?}");
    }
}
