//! Wrong fields of a request, as the Node services name them: path, message and code of the Zod library.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;
use uuid::Uuid;

/// One wrong field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Issue {
    /// Path of the field, parts joined by dots; empty for the body as a whole.
    pub path: String,
    /// What is wrong and what is allowed.
    pub message: String,
    /// Kind of the mistake.
    pub code: &'static str,
}

/// Reads the fields of a JSON object and collects what is wrong with them.
pub(super) struct Fields<'a> {
    object: &'a Map<String, Value>,
    /// Path of the object with a dot behind it; empty for the body itself.
    at: String,
    issues: Vec<Issue>,
}

impl Issue {
    /// A field of a wrong type.
    fn type_of(path: &str, expected: &str, found: Option<&Value>) -> Self {
        let found = match found {
            None => "undefined",
            Some(Value::Null) => "null",
            Some(Value::Bool(_)) => "boolean",
            Some(Value::Number(_)) => "number",
            Some(Value::String(_)) => "string",
            Some(Value::Array(_)) => "array",
            Some(Value::Object(_)) => "object",
        };
        let message = format!("Invalid input: expected {expected}, received {found}");
        Self {
            path: path.to_owned(),
            message,
            code: "invalid_type",
        }
    }

    /// A field beyond its bound.
    pub(super) fn too_big(path: &str, expected: &str) -> Self {
        Self {
            path: path.to_owned(),
            message: format!("Too big: expected {expected}"),
            code: "too_big",
        }
    }

    /// A body that is not JSON.
    pub(super) fn json(error: &serde_json::Error) -> Self {
        Self {
            path: String::new(),
            message: format!("Invalid JSON: {error}"),
            code: "invalid_json",
        }
    }

    /// A header that is not as it must be.
    pub(crate) fn header(name: &str, message: String) -> Self {
        Self {
            path: name.to_owned(),
            message,
            code: "invalid_format",
        }
    }

    /// A field that another host already uses.
    pub(crate) fn taken(path: &str, message: String) -> Self {
        Self {
            path: path.to_owned(),
            message,
            code: "taken",
        }
    }

    /// A host that is not alive.
    pub(super) fn unknown_host() -> Self {
        Self {
            path: "hostId".to_owned(),
            message: "No host of this id is alive".to_owned(),
            code: "unknown",
        }
    }

    /// A field with a value that is none of those allowed.
    pub(crate) fn value(path: &str, message: impl Into<String>) -> Self {
        Self {
            path: path.to_owned(),
            message: message.into(),
            code: "invalid_value",
        }
    }
}

impl<'a> Fields<'a> {
    /// The fields of `body`, which is an object or absent.
    pub(super) fn of(body: Option<&'a Value>) -> Result<Self, Vec<Issue>> {
        match body {
            Some(Value::Object(object)) => Ok(Self {
                object,
                at: String::new(),
                issues: Vec::new(),
            }),
            other => Err(vec![Issue::type_of("", "object", other)]),
        }
    }

    /// Notes an issue.
    pub(super) fn refuse(&mut self, name: &str, code: &'static str, message: impl Into<String>) {
        self.issues.push(Issue {
            path: format!("{}{name}", self.at),
            message: message.into(),
            code,
        });
    }

    /// Notes an issue with the object itself.
    pub(super) fn refuse_all(&mut self, code: &'static str, message: impl Into<String>) {
        self.issues.push(Issue {
            path: self.at.trim_end_matches('.').to_owned(),
            message: message.into(),
            code,
        });
    }

    fn refuse_type(&mut self, name: &str, expected: &str, found: Option<&Value>) {
        self.issues
            .push(Issue::type_of(&format!("{}{name}", self.at), expected, found));
    }

    /// A field as it came.
    pub(super) fn raw(&self, name: &str) -> Option<&'a Value> {
        self.object.get(name)
    }

    /// Names of all fields.
    pub(super) fn names(&self) -> impl ExactSizeIterator<Item = &'a String> + use<'a> {
        self.object.keys()
    }

    /// Reads the fields of an object; may be absent.
    pub(super) fn object<T>(&mut self, name: &str, read: impl FnOnce(&mut Self) -> T) -> Option<T> {
        match self.object.get(name)? {
            Value::Object(object) => {
                let mut inner = Self {
                    object,
                    at: format!("{}{name}.", self.at),
                    issues: Vec::new(),
                };
                let value = read(&mut inner);
                self.issues.append(&mut inner.issues);
                Some(value)
            }
            other => {
                self.refuse_type(name, "object", Some(other));
                None
            }
        }
    }

    /// A text that must be there, of 1 to `longest` characters.
    pub(super) fn text(&mut self, name: &str, longest: usize) -> Option<&'a str> {
        if self.object.contains_key(name) {
            let text = self.optional_text(name, longest)?;
            if text.is_empty() {
                self.refuse(
                    name,
                    "too_small",
                    "Too small: expected string to have >=1 characters",
                );
                return None;
            }
            return Some(text);
        }
        self.refuse_type(name, "string", None);
        None
    }

    /// A text that may be absent, of at most `longest` characters.
    pub(super) fn optional_text(&mut self, name: &str, longest: usize) -> Option<&'a str> {
        match self.object.get(name)? {
            Value::String(text) if text.chars().count() <= longest => Some(text),
            Value::String(_) => {
                let message = format!("Too big: expected string to have <={longest} characters");
                self.refuse(name, "too_big", message);
                None
            }
            other => {
                self.refuse_type(name, "string", Some(other));
                None
            }
        }
    }

    /// A list of at most `most` ids; may be absent.
    pub(super) fn ids(&mut self, name: &str, most: usize) -> Option<Vec<Uuid>> {
        let value = self.object.get(name)?;
        let Value::Array(items) = value else {
            self.issues.push(Issue::type_of(name, "array", Some(value)));
            return None;
        };
        if items.len() > most {
            let message = format!("Too big: expected array to have <={most} items");
            self.refuse(name, "too_big", message);
            return None;
        }
        let mut ids = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            let path = format!("{name}.{index}");
            match item {
                Value::String(text) => match Uuid::try_parse(text) {
                    Ok(id) => ids.push(id),
                    Err(_) => self.refuse(&path, "invalid_format", "Invalid UUID"),
                },
                other => self.issues.push(Issue::type_of(&path, "string", Some(other))),
            }
        }
        Some(ids)
    }

    /// One of several words that must be there.
    pub(super) fn required_word<T: Copy>(&mut self, name: &str, words: &[(&str, T)]) -> Option<T> {
        if !self.object.contains_key(name) {
            self.refuse_type(name, "string", None);
        }
        self.word(name, words)
    }

    /// One of several words; may be absent.
    pub(super) fn word<T: Copy>(&mut self, name: &str, words: &[(&str, T)]) -> Option<T> {
        let value = self.object.get(name)?;
        let found = words.iter().find(|(word, _)| value.as_str() == Some(word));
        if found.is_none() {
            let allowed: Vec<String> = words.iter().map(|(word, _)| format!("\"{word}\"")).collect();
            let message = format!("Invalid option: expected one of {}", allowed.join("|"));
            self.refuse(name, "invalid_value", message);
        }
        found.map(|(_, meaning)| *meaning)
    }

    /// A whole number of at least `least` that must be there.
    pub(super) fn required_integer(&mut self, name: &str, least: u64) -> Option<u64> {
        if !self.object.contains_key(name) {
            self.refuse_type(name, "number", None);
        }
        self.integer(name, least)
    }

    /// A whole number of at least `least`; may be absent.
    pub(super) fn integer(&mut self, name: &str, least: u64) -> Option<u64> {
        let value = self.object.get(name)?;
        let Some(number) = value.as_f64() else {
            self.refuse_type(name, "number", Some(value));
            return None;
        };
        if number.fract() != 0.0 {
            let message = "Invalid input: expected int, received number";
            self.refuse(name, "invalid_type", message);
            return None;
        }
        let wide = value.as_u64().or_else(|| whole(number));
        if wide.is_none_or(|number| number < least) {
            let bound = if least == 1 {
                ">0".to_owned()
            } else {
                format!(">={least}")
            };
            self.refuse(
                name,
                "too_small",
                format!("Too small: expected number to be {bound}"),
            );
            return None;
        }
        wide
    }

    /// An object with at most `most` texts of at most `longest` characters, under keys of 1 to `longest`; may be absent.
    pub(super) fn texts(&mut self, name: &str, most: usize, longest: usize) -> BTreeMap<String, String> {
        let entry = |path: &str, value: &Value| match value {
            Value::String(text) if text.chars().count() <= longest => Ok(text.clone()),
            Value::String(_) => Err(Issue::too_big(
                path,
                &format!("string to have <={longest} characters"),
            )),
            other => Err(Issue::type_of(path, "string", Some(other))),
        };
        self.entries(name, most, longest, entry)
    }

    /// An object with at most `most` numbers within `range`, under keys of 1 to `longest` characters; may be absent.
    pub(super) fn numbers(
        &mut self,
        name: &str,
        most: usize,
        longest: usize,
        range: RangeInclusive<f64>,
    ) -> BTreeMap<String, f64> {
        let entry = |path: &str, value: &Value| match value.as_f64() {
            Some(number) if range.contains(&number) => Ok(number),
            Some(number) if number > *range.end() => {
                Err(Issue::too_big(path, &format!("number to be <={}", range.end())))
            }
            Some(_) => Err(Issue {
                path: path.to_owned(),
                message: format!("Too small: expected number to be >={}", range.start()),
                code: "too_small",
            }),
            None => Err(Issue::type_of(path, "number", Some(value))),
        };
        self.entries(name, most, longest, entry)
    }

    fn entries<T>(
        &mut self,
        name: &str,
        most: usize,
        longest: usize,
        read: impl Fn(&str, &Value) -> Result<T, Issue>,
    ) -> BTreeMap<String, T> {
        let object = match self.object.get(name) {
            None => return BTreeMap::new(),
            Some(Value::Object(object)) if object.len() <= most => object,
            Some(Value::Object(_)) => {
                let issue = Issue::too_big(name, &format!("object to have <={most} keys"));
                self.issues.push(issue);
                return BTreeMap::new();
            }
            other => {
                self.issues.push(Issue::type_of(name, "object", other));
                return BTreeMap::new();
            }
        };
        let mut entries = BTreeMap::new();
        for (key, value) in object {
            // An answer does not repeat what is endless.
            let shown: String = key.chars().take(longest).collect();
            let path = format!("{name}.{shown}");
            if key.is_empty() || shown.len() < key.len() {
                let message = format!("Invalid key: expected string of 1 to {longest} characters");
                self.refuse(&path, "invalid_key", message);
                continue;
            }
            match read(&path, value) {
                Ok(value) => drop(entries.insert(key.clone(), value)),
                Err(issue) => self.issues.push(issue),
            }
        }
        entries
    }

    /// A number from `-most` to `most`; may be absent.
    pub(super) fn degrees(&mut self, name: &str, most: f64) -> Option<f64> {
        let value = self.object.get(name)?;
        let Some(number) = value.as_f64() else {
            self.refuse_type(name, "number", Some(value));
            return None;
        };
        if number.abs() > most {
            let message = format!("Out of range: expected number from -{most} to {most}");
            self.refuse(name, "out_of_range", message);
            return None;
        }
        Some(number)
    }

    /// `value` when nothing was wrong; `None` stands for a field whose issue is noted.
    pub(super) fn finish<T>(self, value: Option<T>) -> Result<T, Vec<Issue>> {
        match value {
            Some(value) if self.issues.is_empty() => Ok(value),
            _ => Err(self.issues),
        }
    }
}

/// A whole number that was written with a point or an exponent, as `4.0`.
fn whole(number: f64) -> Option<u64> {
    // Numbers above 2^53 are not exact; as counts of slots they all mean "many".
    let largest = 9_007_199_254_740_992.0;
    if !(0.0..=largest).contains(&number) {
        return (number > largest).then_some(u64::MAX);
    }
    format!("{number:.0}").parse().ok()
}
