//! Where a public URL leads, for what stands in front of a service.

use url::{Host, Url};

/// Host name and path of a public URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicAddress {
    /// The name, in lower case; absent where the URL has an IP address.
    pub host: Option<String>,
    /// The path, beginning with `/`.
    pub path: String,
}

impl PublicAddress {
    /// Those of a `ws`, `wss`, `http` or `https` URL; `None` when it is none.
    pub fn of(url: &str) -> Option<Self> {
        let url = Url::parse(url).ok()?;
        let host = match url.host()? {
            Host::Domain(name) => Some(name.to_owned()),
            Host::Ipv4(_) | Host::Ipv6(_) => None,
        };
        Some(Self {
            host,
            path: url.path().to_owned(),
        })
    }
}

/// Whether `text` can be the public URL of an HTTP service: an error says what is allowed.
pub(super) fn http_url(text: &str) -> Result<(), &'static str> {
    const RULE: &str = "must be a URL such as https://match.example.com, without user, query or fragment";
    let url = Url::parse(text).map_err(|_| RULE)?;
    // The parser reads `HTTP:a` and `http:////a` as well, which clients do not.
    let rest = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"));
    let begins = rest.is_some_and(|rest| !rest.starts_with('/')) && text.chars().count() <= 512;
    let plain = url.query().is_none() && url.fragment().is_none() && !text.contains(char::is_whitespace);
    let nobody = !rest.is_some_and(|rest| rest.split('/').next().unwrap_or_default().contains('@'));
    (begins && plain && nobody && url.has_host())
        .then_some(())
        .ok_or(RULE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_leads_to_a_name_and_a_path() {
        for (url, host, path) in [
            ("wss://signaling.example.com", Some("signaling.example.com"), "/"),
            (
                "ws://Signaling.example.com:3002/a/b",
                Some("signaling.example.com"),
                "/a/b",
            ),
            ("https://example.com/", Some("example.com"), "/"),
            ("http://10.0.0.1:8080/x", None, "/x"),
            ("http://[::1]/", None, "/"),
        ] {
            let address = PublicAddress::of(url).unwrap();
            assert_eq!(
                (address.host.as_deref(), address.path.as_str()),
                (host, path),
                "{url}"
            );
        }
        assert_eq!(PublicAddress::of("nonsense"), None);
    }

    #[test]
    fn an_http_url_is_plain() {
        for right in [
            "http://a",
            "https://match.example.com:8443/eu",
            "http://[::1]:3000",
            "http://a/@b",
        ] {
            assert_eq!(http_url(right), Ok(()), "{right}");
        }
        for wrong in [
            "",
            "a",
            "ws://a",
            "HTTP://a",
            "http:a",
            "http:////a",
            "http://a?b",
            "http://a#b",
            "http://u:p@a",
            "http://a b",
        ] {
            assert!(http_url(wrong).is_err(), "{wrong}");
        }
    }
}
