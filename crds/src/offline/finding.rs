//! What was found.

use std::fmt;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Nothing is wrong.
    Note,
    /// It may be meant so.
    Warning,
    /// It must be changed.
    Error,
}

/// The step that found it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Reading the text.
    Document,
    /// Looking for fields that the kind does not have.
    Fields,
    /// `metadata`.
    Metadata,
    /// Types, bounds and patterns.
    Values,
    /// CEL rules.
    Rules,
    /// The settings that a service makes of the resource; the API server does not do this.
    Settings,
    /// References among resources; the API server does not do this.
    References,
}

/// Something that was found in a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Name of the [`Source`](super::Source).
    pub source: String,
    /// `Kind/name`, or the place of a document that does not say what it is.
    pub resource: String,
    /// Path of the field, for example `spec.providers[0].name`; empty for the whole document.
    pub path: String,
    /// What is wrong and what is allowed.
    pub message: String,
    /// How bad it is.
    pub level: Level,
    /// The step that found it.
    pub stage: Stage,
}

impl Finding {
    /// Whether the API server refuses the resource for this.
    pub fn is_refusal(&self) -> bool {
        self.level == Level::Error && !matches!(self.stage, Stage::Settings | Stage::References)
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: ", self.source, self.resource)?;
        match self.level {
            Level::Note => f.write_str("note: ")?,
            Level::Warning => f.write_str("warning: ")?,
            Level::Error => {}
        }
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)
    }
}

/// Collects what is found in one resource.
pub(super) struct Findings {
    source: String,
    resource: String,
    found: Vec<Finding>,
    blocking: bool,
}

impl Findings {
    pub(super) fn new(source: &str, resource: &str) -> Self {
        Self {
            source: source.to_owned(),
            resource: resource.to_owned(),
            found: Vec::new(),
            blocking: false,
        }
    }

    pub(super) fn error(&mut self, stage: Stage, path: &str, message: impl Into<String>) {
        self.add(Level::Error, stage, path, message.into());
    }

    /// An error after which the API server does not evaluate rules any more: they could not rely on types and sizes.
    pub(super) fn blocking_error(&mut self, path: &str, message: impl Into<String>) {
        self.blocking = true;
        self.error(Stage::Values, path, message);
    }

    pub(super) fn warning(&mut self, stage: Stage, path: &str, message: impl Into<String>) {
        self.add(Level::Warning, stage, path, message.into());
    }

    pub(super) fn note(&mut self, stage: Stage, path: &str, message: impl Into<String>) {
        self.add(Level::Note, stage, path, message.into());
    }

    pub(super) fn block_rules(&self) -> bool {
        self.blocking
    }

    pub(super) fn has_errors(&self) -> bool {
        self.found.iter().any(|finding| finding.level == Level::Error)
    }

    pub(super) fn into_vec(self) -> Vec<Finding> {
        self.found
    }

    fn add(&mut self, level: Level, stage: Stage, path: &str, message: String) {
        self.found.push(Finding {
            source: self.source.clone(),
            resource: self.resource.clone(),
            path: path.to_owned(),
            message,
            level,
            stage,
        });
    }
}
