//! The URL of a Redis: one server, the servers behind Sentinels, or a Redis Cluster.

use std::fmt;
use std::str::FromStr;

use percent_encoding::percent_decode_str;
use serde::Serialize;
use thiserror::Error;
use url::{Host, Url};

/// Port of a server without one in the URL.
const SERVER_PORT: u16 = 6379;
/// Port of a Sentinel without one in the URL.
const SENTINEL_PORT: u16 = 26379;
/// Most addresses in one URL.
const MOST_ADDRESSES: usize = 64;

/// Where Redis is and how to log in. `Display` and `Debug` show neither users nor passwords.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisUrl {
    /// What the addresses are.
    pub kind: RedisKind,
    /// Whether all connections use TLS.
    pub tls: bool,
    /// The server, the Sentinels, or some nodes of the Cluster; at least one.
    pub addresses: Vec<RedisAddress>,
    /// Login at the servers.
    pub login: RedisLogin,
    /// Login at the Sentinels.
    pub sentinel_login: RedisLogin,
    /// Database; 0 in a Cluster.
    pub database: u32,
}

/// What a URL leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RedisKind {
    /// One server.
    Standalone,
    /// The servers that Sentinels watch under this name.
    Sentinel {
        /// The name.
        master: String,
    },
    /// A Redis Cluster.
    Cluster,
}

/// The same without particulars.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RedisMode {
    /// One server.
    Standalone,
    /// Servers behind Sentinels.
    Sentinel,
    /// A Redis Cluster.
    Cluster,
}

/// Host and port.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RedisAddress {
    /// Name or IP address, without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
}

/// User and password, as far as there are any. `Debug` shows neither.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct RedisLogin {
    /// User of an access control list; absent: the default user.
    pub user: Option<String>,
    /// Password.
    pub password: Option<String>,
}

/// Why a text is no URL of a Redis. It never holds the text, which may contain a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "not a Redis URL ({0}): expected redis[s]://[user:password@]host[:port][/database], \
     redis[s]+sentinel://[user:password@]host[:port][,host[:port]...]/master[/database]\
     [?sentinel_username=user&sentinel_password=password] or \
     redis[s]+cluster://[user:password@]host[:port][,host[:port]...]"
)]
pub struct RedisUrlError(&'static str);

// === impl RedisUrl ===

impl RedisUrl {
    /// What the URL leads to.
    pub fn mode(&self) -> RedisMode {
        match self.kind {
            RedisKind::Standalone => RedisMode::Standalone,
            RedisKind::Sentinel { .. } => RedisMode::Sentinel,
            RedisKind::Cluster => RedisMode::Cluster,
        }
    }

    /// Hosts and ports, separated by commas.
    pub fn authority(&self) -> String {
        let addresses: Vec<String> = self.addresses.iter().map(ToString::to_string).collect();
        addresses.join(",")
    }
}

impl FromStr for RedisUrl {
    type Err = RedisUrlError;

    fn from_str(text: &str) -> Result<Self, RedisUrlError> {
        let (scheme, rest) = text.trim().split_once("://").ok_or(RedisUrlError("no scheme"))?;
        let (tls, mode) = match scheme {
            "redis" => (false, RedisMode::Standalone),
            "rediss" => (true, RedisMode::Standalone),
            "redis+sentinel" => (false, RedisMode::Sentinel),
            "rediss+sentinel" => (true, RedisMode::Sentinel),
            "redis+cluster" => (false, RedisMode::Cluster),
            "rediss+cluster" => (true, RedisMode::Cluster),
            _ => return Err(RedisUrlError("unknown scheme")),
        };
        if rest.contains('#') {
            return Err(RedisUrlError("# in it; a password needs %23"));
        }
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (login, hosts) = match authority.rsplit_once('@') {
            Some((login, hosts)) => (RedisLogin::parse(login)?, hosts),
            None => (RedisLogin::default(), authority),
        };
        let addresses = addresses(hosts, mode)?;
        let (kind, database) = match mode {
            RedisMode::Standalone => (RedisKind::Standalone, database(path)?),
            RedisMode::Sentinel => {
                let (master, number) = path.split_once('/').unwrap_or((path, ""));
                let master = master_name(master)?;
                (RedisKind::Sentinel { master }, database(number)?)
            }
            RedisMode::Cluster if matches!(path, "" | "0") => (RedisKind::Cluster, 0),
            RedisMode::Cluster => return Err(RedisUrlError("a Redis Cluster has database 0 only")),
        };
        Ok(Self {
            kind,
            tls,
            addresses,
            login,
            sentinel_login: parameters(query, mode)?,
            database,
        })
    }
}

impl fmt::Display for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "rediss" } else { "redis" };
        let (addresses, database) = (self.authority(), self.database);
        match &self.kind {
            RedisKind::Standalone => write!(f, "{scheme}://{addresses}/{database}"),
            RedisKind::Sentinel { master } => {
                write!(f, "{scheme}+sentinel://{addresses}/{master}/{database}")
            }
            RedisKind::Cluster => write!(f, "{scheme}+cluster://{addresses}"),
        }
    }
}

fn addresses(hosts: &str, mode: RedisMode) -> Result<Vec<RedisAddress>, RedisUrlError> {
    let port = match mode {
        RedisMode::Sentinel => SENTINEL_PORT,
        RedisMode::Standalone | RedisMode::Cluster => SERVER_PORT,
    };
    let addresses = hosts
        .split(',')
        .take(MOST_ADDRESSES + 1)
        .map(|host| RedisAddress::parse(host, port))
        .collect::<Result<Vec<_>, _>>()?;
    match addresses.len() {
        1 => Ok(addresses),
        _ if mode == RedisMode::Standalone => Err(RedisUrlError("several hosts")),
        count if count > MOST_ADDRESSES => Err(RedisUrlError("more than 64 hosts")),
        _ => Ok(addresses),
    }
}

fn database(text: &str) -> Result<u32, RedisUrlError> {
    if text.is_empty() {
        return Ok(0);
    }
    text.parse()
        .map_err(|_| RedisUrlError("the database is no number"))
}

/// The characters that Sentinel allows.
fn master_name(text: &str) -> Result<String, RedisUrlError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if text.is_empty() || !text.chars().all(allowed) {
        return Err(RedisUrlError(
            "the name of the master must be letters, digits, '.', '-' and '_'",
        ));
    }
    Ok(text.to_owned())
}

fn parameters(query: &str, mode: RedisMode) -> Result<RedisLogin, RedisUrlError> {
    let mut login = RedisLogin::default();
    for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        let place = match name {
            "sentinel_username" if mode == RedisMode::Sentinel => &mut login.user,
            "sentinel_password" if mode == RedisMode::Sentinel => &mut login.password,
            _ => return Err(RedisUrlError("unknown parameter")),
        };
        *place = Some(decoded(value)?);
    }
    Ok(login)
}

fn decoded(text: &str) -> Result<String, RedisUrlError> {
    let decoded = percent_decode_str(text).decode_utf8();
    Ok(decoded
        .map_err(|_| RedisUrlError("user or password is not UTF-8"))?
        .into_owned())
}

// === impl RedisAddress ===

impl RedisAddress {
    /// Takes `host[:port]`, an IPv6 address in brackets.
    fn parse(text: &str, port: u16) -> Result<Self, RedisUrlError> {
        const RULE: RedisUrlError = RedisUrlError("host[:port] is missing or wrong");
        if text.contains(['/', '?', '@', '\\']) {
            return Err(RULE);
        }
        let url = Url::parse(&format!("redis://{text}")).map_err(|_| RULE)?;
        let host = match url.host().ok_or(RULE)? {
            Host::Domain("") => return Err(RULE),
            Host::Domain(name) => name.to_owned(),
            Host::Ipv4(ip) => ip.to_string(),
            Host::Ipv6(ip) => ip.to_string(),
        };
        Ok(Self {
            host,
            port: url.port().unwrap_or(port),
        })
    }
}

impl fmt::Display for RedisAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

// === impl RedisLogin ===

impl RedisLogin {
    /// Takes `user[:password]` or `:password`, percent-encoded.
    fn parse(text: &str) -> Result<Self, RedisUrlError> {
        let (user, password) = match text.split_once(':') {
            Some((user, password)) => (user, Some(password)),
            None => (text, None),
        };
        Ok(Self {
            user: (!user.is_empty()).then(|| decoded(user)).transpose()?,
            password: password.map(decoded).transpose()?,
        })
    }
}

impl fmt::Debug for RedisLogin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |value: &Option<String>| if value.is_some() { "set" } else { "none" };
        f.debug_struct("RedisLogin")
            .field("user", &shown(&self.user))
            .field("password", &shown(&self.password))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn url(text: &str) -> RedisUrl {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    fn login(user: Option<&str>, password: Option<&str>) -> RedisLogin {
        RedisLogin {
            user: user.map(str::to_owned),
            password: password.map(str::to_owned),
        }
    }

    #[test]
    fn every_form_says_what_it_means() {
        for (text, shown) in [
            ("redis://cache", "redis://cache:6379/0"),
            (" rediss://10.0.0.1:6380/3\n", "rediss://10.0.0.1:6380/3"),
            ("redis://[::1]:7000/", "redis://[::1]:7000/0"),
            (
                "redis+sentinel://a,b:1,[::1]/main",
                "redis+sentinel://a:26379,b:1,[::1]:26379/main/0",
            ),
            (
                "rediss+sentinel://u:p@a/my.master_1-x/2",
                "rediss+sentinel://a:26379/my.master_1-x/2",
            ),
            ("redis+cluster://a,b:7001/", "redis+cluster://a:6379,b:7001"),
            ("rediss+cluster://:p@a/0", "rediss+cluster://a:6379"),
        ] {
            assert_eq!(url(text).to_string(), shown);
        }
        assert_eq!(url("redis+cluster://a,b:7001").authority(), "a:6379,b:7001");
        assert_eq!(
            url("redis+sentinel://a/main").kind,
            RedisKind::Sentinel {
                master: "main".into()
            }
        );
        assert!(url("rediss+cluster://a").tls && !url("redis+cluster://a").tls);
    }

    #[test]
    fn logins_are_decoded_and_not_shown() {
        assert_eq!(
            url("redis://us%65r:p%40%2F:%23@a").login,
            login(Some("user"), Some("p@/:#"))
        );
        assert_eq!(url("redis://:p@a").login, login(None, Some("p")));
        assert_eq!(url("redis://user@a").login, login(Some("user"), None));
        // As shells and generators write them: an @ in the password, a + that is no space.
        assert_eq!(url("redis://:a@b@host").login, login(None, Some("a@b")));
        let sentinel =
            url("redis+sentinel://u:hunter2@a/main?sentinel_username=w&sentinel_password=hunter3%26+");
        assert_eq!(sentinel.login, login(Some("u"), Some("hunter2")));
        assert_eq!(sentinel.sentinel_login, login(Some("w"), Some("hunter3&+")));
        let shown = format!("{sentinel} {sentinel:?}");
        assert!(!shown.contains("hunter"), "{shown}");
    }

    #[test]
    fn wrong_urls_are_refused_with_what_is_allowed_and_not_repeated() {
        for (text, why) in [
            ("", "no scheme"),
            ("hunter2", "no scheme"),
            ("http://:hunter2@a", "unknown scheme"),
            ("redis+unix:///hunter2", "unknown scheme"),
            ("redis://", "host"),
            ("redis://:hunter2@", "host"),
            ("redis://:hunter2@a:port", "host"),
            ("redis://:hunter2@a:65536", "host"),
            ("redis://:hunter2@a,b", "several hosts"),
            ("redis://:hunter2@a/main", "no number"),
            ("redis://:hunter2@a/-1", "no number"),
            ("redis://:hunter2@a?protocol=3", "unknown parameter"),
            (
                "redis://:hunter2@a?sentinel_password=hunter2",
                "unknown parameter",
            ),
            ("rediss://:hunter2@a/#insecure", "# in it"),
            ("redis://:hunter2%ff@a", "not UTF-8"),
            ("redis+sentinel://:hunter2@a", "name of the master"),
            ("redis+sentinel://:hunter2@a/", "name of the master"),
            ("redis+sentinel://:hunter2@a/my master", "name of the master"),
            ("redis+sentinel://:hunter2@a/main/x", "no number"),
            ("redis+sentinel://:hunter2@a,,b/main", "host"),
            (
                "redis+sentinel://:hunter2@a/main?user=hunter2",
                "unknown parameter",
            ),
            ("redis+cluster://:hunter2@a/1", "database 0 only"),
            ("redis+cluster://:hunter2@a/main", "database 0 only"),
        ] {
            let error = text.parse::<RedisUrl>().unwrap_err();
            let shown = format!("{error} {error:?}");
            assert!(shown.contains(why), "{text}: {shown}");
            assert!(shown.contains("redis[s]+cluster://"), "{shown}");
            assert!(!shown.contains("hunter2"), "{shown}");
        }
        let many = format!("redis+cluster://{}", vec!["a"; 65].join(","));
        assert!(many.parse::<RedisUrl>().is_err());
    }

    proptest! {
        #[test]
        fn no_text_breaks_the_parser_or_is_repeated(
            text in "(redis|rediss)(\\+sentinel|\\+cluster)?://[ -~]{0,40}",
        ) {
            match text.parse::<RedisUrl>() {
                // What is shown leads to the same place.
                Ok(url) => prop_assert_eq!(
                    url.to_string().parse::<RedisUrl>().map(|again| (again.kind, again.tls, again.addresses, again.database)),
                    Ok((url.kind, url.tls, url.addresses, url.database))
                ),
                Err(error) => prop_assert!(error.to_string().starts_with("not a Redis URL (")),
            }
        }
    }
}
