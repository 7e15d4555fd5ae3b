//! Collecting every wrong field of a resource.

use std::fmt;
use std::ops::RangeInclusive;

use crate::api::{LocalRef, RotatingSecretRef};

/// Most characters of the name of one of Berth's resources.
const MAX_NAME: usize = 40;
/// Most characters of the name of a Secret and of a key in it.
const MAX_SECRET_PART: usize = 253;

/// One wrong field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    /// Path in the resource, for example `spec.rooms.capacity`.
    pub path: String,
    /// What is wrong and what is allowed.
    pub message: String,
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.message)
    }
}

/// All wrong fields of a resource; never empty.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct FieldErrors(pub Vec<FieldError>);

impl fmt::Display for FieldErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("; ")?;
            }
            error.fmt(f)?;
        }
        Ok(())
    }
}

/// Collects errors while a resource is read.
#[derive(Default)]
pub(super) struct Checker {
    errors: Vec<FieldError>,
}

impl Checker {
    /// Notes that the field at `path` is wrong.
    pub(super) fn refuse(&mut self, path: &str, message: impl Into<String>) {
        self.errors.push(FieldError {
            path: path.to_owned(),
            message: message.into(),
        });
    }

    /// `value` as the type of the settings when it is in `range`, else an error and the lowest allowed value.
    pub(super) fn number<T: TryFrom<i32> + Default>(
        &mut self,
        path: &str,
        value: i32,
        range: RangeInclusive<i32>,
    ) -> T {
        if !range.contains(&value) {
            self.refuse(
                path,
                format!("must be from {} to {}, is {value}", range.start(), range.end()),
            );
        }
        T::try_from(value).unwrap_or_default()
    }

    /// Takes what parsing the field at `path` gave, or notes why it failed.
    pub(super) fn parse<T, E: fmt::Display>(&mut self, path: &str, parsed: Result<T, E>) -> Option<T> {
        parsed.map_err(|error| self.refuse(path, error.to_string())).ok()
    }

    /// Notes an error unless `condition` holds.
    pub(super) fn require(&mut self, condition: bool, path: &str, message: &str) {
        if !condition {
            self.refuse(path, message);
        }
    }

    /// Notes an error unless `text` has a number of characters in `range`.
    pub(super) fn length(&mut self, path: &str, text: &str, range: RangeInclusive<usize>) {
        let length = text.chars().count();
        if !range.contains(&length) {
            self.refuse(
                path,
                format!(
                    "must have {} to {} characters, has {length}",
                    range.start(),
                    range.end()
                ),
            );
        }
    }

    /// Notes an error unless a list has a number of entries in `range`.
    pub(super) fn entries(&mut self, path: &str, count: usize, range: RangeInclusive<usize>) {
        if !range.contains(&count) {
            self.refuse(
                path,
                format!(
                    "must have {} to {} entries, has {count}",
                    range.start(),
                    range.end()
                ),
            );
        }
    }

    /// The name of the resource itself, of which names of children are made.
    pub(super) fn own_name(&mut self, name: &str) {
        self.require(
            name.chars().count() <= MAX_NAME,
            "metadata.name",
            "must have at most 40 characters",
        );
    }

    /// A reference to a resource of one of Berth's kinds.
    pub(super) fn local_ref(&mut self, path: &str, reference: &LocalRef) {
        self.length(&format!("{path}.name"), &reference.name, 1..=MAX_NAME);
    }

    /// A name or key of a Secret.
    pub(super) fn secret_part(&mut self, path: &str, text: &str) {
        self.length(path, text, 1..=MAX_SECRET_PART);
    }

    /// A reference to a secret under rotation.
    pub(super) fn rotating_secret(&mut self, path: &str, reference: &RotatingSecretRef) {
        self.secret_part(&format!("{path}.name"), &reference.name);
        self.secret_part(&format!("{path}.currentKey"), &reference.current_key);
        self.secret_part(&format!("{path}.previousKey"), &reference.previous_key);
    }

    /// The settings when nothing was wrong; `None` stands for a part that could not be parsed, which was noted.
    pub(super) fn finish<T>(self, settings: Option<T>) -> Result<T, FieldErrors> {
        match settings {
            Some(settings) if self.errors.is_empty() => Ok(settings),
            _ => Err(FieldErrors(self.errors)),
        }
    }
}
