//! What is asked of the API server, and what it answered.

use std::collections::BTreeMap;
use std::time::Instant;

use http::{Method, Uri};

/// A request.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// Its number in this life of the operator, from 0.
    pub(crate) number: usize,
    /// Its number among the writes of this life, from 1, when it is one. Events and leases do not count.
    pub(crate) write: Option<usize>,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `patch-status`, `delete`
    pub(crate) verb: &'static str,
    /// Plural.
    pub(crate) kind: String,
    /// Name of the object, when one is named.
    pub(crate) name: Option<String>,
    /// Where it goes.
    pub(crate) uri: Uri,
    /// When it was sent.
    pub(crate) at: Instant,
}

impl Asked {
    pub(super) fn new(number: usize, method: &Method, uri: &Uri) -> Self {
        let parts: Vec<_> = uri.path().trim_matches('/').split('/').collect();
        // api/v1/... and apis/GROUP/VERSION/...
        let rest = &parts[if parts[0] == "api" { 2 } else { 3 }.min(parts.len())..];
        let rest = match rest {
            ["namespaces", _, inside @ ..] if !inside.is_empty() => inside,
            other => other,
        };
        let watches = uri
            .query()
            .unwrap_or_default()
            .split('&')
            .any(|part| part == "watch=true");
        let verb = match *method {
            Method::GET if watches => "watch",
            Method::GET if rest.len() > 1 => "get",
            Method::GET => "list",
            Method::POST => "create",
            Method::PUT => "update",
            Method::PATCH if rest.get(2) == Some(&"status") => "patch-status",
            Method::PATCH => "patch",
            Method::DELETE => "delete",
            _ => panic!("{method} {uri}"),
        };
        Self {
            number,
            write: None,
            verb,
            kind: rest.first().copied().unwrap_or_default().to_owned(),
            name: rest.get(1).map(|name| (*name).to_owned()),
            uri: uri.clone(),
            at: Instant::now(),
        }
    }

    /// Whether it changes one of our resources or their children.
    pub(crate) fn is_write(&self) -> bool {
        !matches!(self.verb, "get" | "list" | "watch") && !matches!(&*self.kind, "events" | "leases")
    }
}

/// A request in the log.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) asked: Asked,
    /// What was sent, of everything that is no read.
    pub(crate) body: Vec<u8>,
    /// What the server answered; absent when it was never asked, or not yet done.
    pub(crate) code: Option<u16>,
    /// Whether a fault was done to it.
    pub(crate) faulty: bool,
}

impl Entry {
    /// What was written, by kind and name.
    pub(crate) fn object(&self) -> String {
        let given = self.asked.name.clone();
        // A create has the name in its body.
        let name = given.or_else(|| {
            let body: serde_json::Value = serde_json::from_slice(&self.body).ok()?;
            Some(body["metadata"]["name"].as_str()?.to_owned())
        });
        format!("{} {}", self.asked.kind, name.unwrap_or_default())
    }

    /// Whether the server did what a write asked for.
    pub(crate) fn is_done(&self) -> bool {
        self.asked.is_write() && self.code.is_some_and(|code| (200..300).contains(&code))
    }
}

/// How often each object was created and deleted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Summary {
    pub(crate) created: BTreeMap<String, usize>,
    pub(crate) deleted: BTreeMap<String, usize>,
}

impl Summary {
    /// Adds what `entries` did.
    pub(crate) fn add(&mut self, entries: &[Entry]) {
        for entry in entries.iter().filter(|entry| entry.is_done()) {
            let counted = match (entry.asked.verb, entry.code) {
                ("delete", _) => &mut self.deleted,
                (_, Some(201)) => &mut self.created,
                _ => continue,
            };
            *counted.entry(entry.object()).or_default() += 1;
        }
    }
}
