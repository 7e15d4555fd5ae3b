//! Lists of hosts: which part is asked for, and where the next one is.

use axum::http::HeaderValue;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::{LONGEST_HOST_ID, OFFLINE};
use crate::api::Issue;
use crate::host::{HostId, HostState};
use crate::store::HostRecord;

/// Most hosts that can be asked for at once.
pub const LARGEST_LIMIT: usize = 1000;

/// The part of a list that is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// Most hosts in it.
    pub limit: Option<usize>,
    /// The first host behind this one is the first one in it.
    pub after: Option<HostId>,
}

/// Which hosts are asked for: those that fit everything that is given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// In this state.
    pub state: Option<Wanted>,
    /// In this region.
    pub region: Option<String>,
    /// In this room.
    pub room: Option<String>,
}

/// A state that can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Of hosts that are alive.
    Alive(HostState),
    /// They are gone.
    Offline,
}

/// The parameters of a query. Those that are not known are ignored, as unknown fields of bodies are.
pub type Query = [(String, String)];

/// The last value of a parameter; an empty one counts as absent.
fn value<'a>(query: &'a Query, name: &str) -> Option<&'a str> {
    let (_, value) = query.iter().rfind(|(other, _)| other == name)?;
    (!value.is_empty()).then_some(value)
}

impl Part {
    /// Reads `limit` and `after`, each given once: of two it would be anybody's guess which one is meant.
    pub fn read(query: &Query) -> Result<Self, Vec<Issue>> {
        let twice = |wanted: &&str| query.iter().filter(|(name, _)| name == wanted).count() > 1;
        if let Some(name) = ["limit", "after"].into_iter().find(twice) {
            return Err(vec![Issue::value(
                name,
                "Invalid input: expected to be given once",
            )]);
        }
        let limit = value(query, "limit").map(|text| {
            let number = text
                .parse()
                .ok()
                .filter(|number| (1..=LARGEST_LIMIT).contains(number));
            number.ok_or_else(|| {
                let message = format!("Invalid input: expected int from 1 to {LARGEST_LIMIT}");
                vec![Issue::value("limit", message)]
            })
        });
        let after = value(query, "after");
        if after.is_some_and(|id| id.chars().count() > LONGEST_HOST_ID) {
            return Err(vec![Issue::too_big(
                "after",
                &format!("string to have <={LONGEST_HOST_ID} characters"),
            )]);
        }
        Ok(Self {
            limit: limit.transpose()?,
            after: after.map(HostId::new),
        })
    }

    /// The header `Link` (RFC 8288) that leads behind `last`: relative, so that it holds behind a proxy with a path of its own.
    pub fn link_behind(&self, last: &HostId) -> Option<HeaderValue> {
        let after = utf8_percent_encode(last.as_str(), NON_ALPHANUMERIC);
        let limit = self
            .limit
            .map(|limit| format!("limit={limit}&"))
            .unwrap_or_default();
        HeaderValue::try_from(format!("<?{limit}after={after}>; rel=\"next\"")).ok()
    }
}

impl Filter {
    /// Reads `state`, `region` and `room`.
    pub fn read(query: &Query) -> Result<Self, Vec<Issue>> {
        let state = value(query, "state").map(|name| {
            let wanted = HostState::from_name(name).map(Wanted::Alive);
            let wanted = wanted.or_else(|| (name == OFFLINE).then_some(Wanted::Offline));
            wanted.ok_or_else(|| {
                let names = HostState::ALL.map(HostState::as_str).into_iter().chain([OFFLINE]);
                let allowed: Vec<String> = names.map(|name| format!("\"{name}\"")).collect();
                let message = format!("Invalid option: expected one of {}", allowed.join("|"));
                vec![Issue::value("state", message)]
            })
        });
        Ok(Self {
            state: state.transpose()?,
            region: value(query, "region").map(str::to_owned),
            room: value(query, "room").map(str::to_owned),
        })
    }

    /// Whether a host fits.
    pub fn fits(&self, host: &HostRecord) -> bool {
        self.state.is_none_or(|state| Wanted::Alive(host.state) == state)
            && self.is_at(&host.region, host.room.as_str())
    }

    /// Whether a host in this region and room fits, whatever its state is.
    pub fn is_at(&self, region: &str, room: &str) -> bool {
        let is = |wanted: &Option<String>, text: &str| wanted.as_ref().is_none_or(|wanted| wanted == text);
        is(&self.region, region) && is(&self.room, room)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(text: &str) -> Vec<(String, String)> {
        let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
        pairs
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    }

    #[test]
    fn parts_within_their_bounds() {
        let part = |text: &str| Part::read(&query(text));
        assert_eq!(part("other=1&limit=&after=").unwrap(), Part::default());
        let read = part("limit=1000&after=b").unwrap();
        assert_eq!((read.limit, read.after.unwrap().as_str()), (Some(1000), "b"));
        for (twice, name) in [("limit=x&limit=", "limit"), ("limit=1&after=a&after=b", "after")] {
            let issues = part(twice).unwrap_err();
            assert_eq!((issues.len(), issues[0].path.as_str()), (1, name), "{twice}");
        }
        for wrong in ["0", "1001", "-1", "x", "1.5"] {
            let issues = part(&format!("limit={wrong}")).unwrap_err();
            assert_eq!(
                (issues.len(), issues[0].path.as_str(), issues[0].code),
                (1, "limit", "invalid_value"),
                "{wrong}"
            );
        }
    }

    #[test]
    fn nothing_is_behind_what_is_no_id() {
        let after = |length: usize| Part::read(&query(&format!("after={}", "ü".repeat(length))));
        assert!(after(128).is_ok());
        let issues = after(129).unwrap_err();
        assert_eq!((issues[0].path.as_str(), issues[0].code), ("after", "too_big"));
    }

    #[test]
    fn links_are_relative_and_encoded() {
        let link = |limit, last: &str| {
            let part = Part {
                limit,
                after: Some(HostId::new("gone")),
            };
            part.link_behind(&HostId::new(last)).unwrap()
        };
        assert_eq!(link(Some(2), "b1"), r#"<?limit=2&after=b1>; rel="next""#);
        assert_eq!(link(None, "a b>;ü"), r#"<?after=a%20b%3E%3B%C3%BC>; rel="next""#);
    }

    #[test]
    fn unknown_states_are_named() {
        let filter = |text: &str| Filter::read(&query(text));
        assert_eq!(
            filter("state=draining&region=eu").unwrap().state,
            Some(Wanted::Alive(HostState::Draining))
        );
        let issues = filter("state=gone").unwrap_err();
        assert_eq!(issues[0].path, "state");
        assert!(
            issues[0].message.ends_with("\"draining\"|\"offline\""),
            "{}",
            issues[0].message
        );
    }
}
