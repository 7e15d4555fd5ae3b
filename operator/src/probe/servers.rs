//! Which servers of a TurnConfig are asked, and what came of it. Pure.

use std::collections::{BTreeMap, BTreeSet};

use berth_crds::settings::{IceTransport, IceUrl, ProviderSettings, TurnSettings};

use super::ProbeError;

/// Most servers of one TurnConfig that are asked.
const MOST: usize = 16;

/// The servers of a TurnConfig.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Servers {
    /// Those that are asked.
    pub(super) asked: BTreeSet<IceUrl>,
    /// How many are not: by TLS, or beyond the first 16.
    pub(super) left_out: usize,
}

/// What is known of the servers of a TurnConfig.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// Those that answered, as host and port.
    pub answering: BTreeSet<String>,
    /// Those that did not, and why.
    pub silent: BTreeMap<String, ProbeError>,
    /// How many were not asked.
    pub left_out: usize,
}

impl Servers {
    /// The servers that `settings` name. Those of a provider that is asked for them, as Metered is, are none of them.
    pub(super) fn of(settings: &TurnSettings) -> Self {
        let of_providers = settings.providers.iter().flat_map(|provider| match provider {
            ProviderSettings::Managed { servers, .. } => servers.concat(),
            ProviderSettings::SharedSecret { urls, .. } | ProviderSettings::Static { urls, .. } => {
                urls.clone()
            }
            ProviderSettings::Metered { .. } => Vec::new(),
        });
        let mut servers = Self::default();
        let urls = settings.stun_urls.iter().cloned().chain(of_providers);
        // A URL that nobody can read was refused where it was written, or by who uses it.
        for url in urls.filter_map(|url| IceUrl::parse(&url).ok()) {
            // Whoever relays answers the same question.
            let url = IceUrl { relays: false, ..url };
            if matches!(url.transport, IceTransport::Tls | IceTransport::Dtls) {
                servers.left_out += 1;
            } else if servers.asked.len() < MOST {
                servers.asked.insert(url);
            } else if !servers.asked.contains(&url) {
                servers.left_out += 1;
            }
        }
        servers
    }
}

impl Reach {
    /// Notes what one server answered.
    pub(super) fn note(&mut self, url: &IceUrl, answer: Result<(), ProbeError>) {
        let name = match url.transport {
            IceTransport::Tcp => format!("{url} (TCP)"),
            _ => url.to_string(),
        };
        match answer {
            Ok(()) => {
                self.answering.insert(name);
            }
            Err(error) => {
                self.silent.insert(name, error);
            }
        }
    }

    /// How many were asked.
    pub fn asked(&self) -> usize {
        self.answering.len() + self.silent.len()
    }

    /// The same in words.
    pub fn text(&self) -> String {
        let answering = match self.asked() {
            0 => "no server is asked".to_owned(),
            asked => format!("{} of {asked} servers answer", self.answering.len()),
        };
        let silent = self.silent.iter().map(|(name, error)| format!("{name}: {error}"));
        let left_out =
            (self.left_out > 0).then(|| format!("not asked: {} (TLS, or too many)", self.left_out));
        let parts: Vec<String> = std::iter::once(answering).chain(silent).chain(left_out).collect();
        parts.join("; ")
    }
}

#[cfg(test)]
mod tests {
    use berth_crds::TurnConfig;

    use super::*;

    fn servers(spec: &str) -> Servers {
        let text = format!(
            "apiVersion: berth.dev/v1alpha1\nkind: TurnConfig\nmetadata: {{name: t}}\nspec: {spec}\n"
        );
        let resource: TurnConfig = serde_json::from_value(serde_json::json!({
            "apiVersion": "berth.dev/v1alpha1", "kind": "TurnConfig", "metadata": {"name": "t"},
            "spec": serde_json::from_str::<serde_json::Value>(spec).expect(&text),
        }))
        .unwrap();
        Servers::of(&TurnSettings::try_from(&resource).unwrap())
    }

    #[test]
    fn each_server_is_asked_once() {
        let found = servers(
            r#"{"stunUrls": ["stun:a", "stuns:b"], "providers": [
                {"name": "one", "sharedSecret": {"urls": ["turn:a", "turn:a?transport=tcp", "turns:c"], "secretRef": {"name": "s"}}},
                {"name": "two", "metered": {"domain": "d", "apiKeySecretRef": {"name": "s"}}}]}"#,
        );
        let asked: Vec<_> = found
            .asked
            .iter()
            .map(|url| (url.to_string(), url.transport))
            .collect();
        let a = || "a:3478".to_owned();
        assert_eq!(asked, [(a(), IceTransport::Udp), (a(), IceTransport::Tcp)]);
        assert_eq!(found.left_out, 2);
    }

    #[test]
    fn their_number_is_bounded() {
        let urls = |number: usize| {
            let urls: Vec<String> = (0..16)
                .map(|at| format!("\"turn:h{}\"", number * 16 + at))
                .collect();
            format!(
                r#"{{"name": "p{number}", "sharedSecret": {{"urls": [{}], "secretRef": {{"name": "s"}}}}}}"#,
                urls.join(",")
            )
        };
        let found = servers(&format!(r#"{{"providers": [{}, {}]}}"#, urls(0), urls(1)));
        assert_eq!((found.asked.len(), found.left_out), (16, 16));
    }

    #[test]
    fn what_came_of_it_is_told() {
        let url = |text: &str| IceUrl::parse(text).unwrap();
        let mut reach = Reach {
            left_out: 1,
            ..Reach::default()
        };
        assert_eq!(
            reach.text(),
            "no server is asked; not asked: 1 (TLS, or too many)"
        );
        reach.note(&url("turn:a?transport=tcp"), Ok(()));
        reach.note(&url("stun:b"), Err(ProbeError::Silent));
        assert_eq!(
            reach.text(),
            "1 of 2 servers answer; b:3478: no answer within 5 s; not asked: 1 (TLS, or too many)"
        );
    }
}
