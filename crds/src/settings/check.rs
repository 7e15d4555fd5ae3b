//! Collecting every wrong field of a resource.

use std::fmt;
use std::ops::RangeInclusive;

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

    /// The settings when nothing was wrong; `None` stands for a part that could not be parsed, which was noted.
    pub(super) fn finish<T>(self, settings: Option<T>) -> Result<T, FieldErrors> {
        match settings {
            Some(settings) if self.errors.is_empty() => Ok(settings),
            _ => Err(FieldErrors(self.errors)),
        }
    }
}
