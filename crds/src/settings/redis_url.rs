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
mod tests;
