//! What both services read before they have settings: command line and environment variables.

mod environment;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::path::PathBuf;
use std::time::Duration;

use tracing::info;

use crate::redis::{EndpointError, RedisEndpoint};
use crate::settings::Own;
use crate::shutdown::{DrainPlan, ENDPOINT_DELAY};
use crate::telemetry::{LogLevel, init_logs};

pub use environment::Environment;

/// Version of the program, as `--version` shows it.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

const DEFAULT_SECRETS_DIR: &str = "/etc/berth/secrets";
/// Longest instance id: it becomes a part of channel names and a header of each upgrade.
const MAX_INSTANCE_ID: usize = 128;

/// Options that both services take; flattened into their command lines.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct ServiceArgs {
    /// Where settings come from.
    #[arg(
        long,
        value_name = "SOURCE",
        help = "Where settings come from: kube (the API server), file:PATH (manifests in a file or folder) or env \
                [default: kube in a pod with BERTH_NAME, else env]"
    )]
    pub settings: Option<String>,
    /// Folder with one folder per Secret and one file per key.
    #[arg(
        long,
        value_name = "DIR",
        help = "Folder with one folder per Secret and one file per key [env: BERTH_SECRETS_DIR] \
                [default: /etc/berth/secrets]"
    )]
    pub secrets: Option<PathBuf>,
    /// File that keeps the last good settings for a start without the API server.
    #[arg(
        long,
        value_name = "FILE",
        help = "File that keeps the last good settings for a start without the API server [env: BERTH_CACHE_FILE]"
    )]
    pub cache: Option<PathBuf>,
    /// Address to listen on; all if absent.
    #[arg(long, value_name = "ADDRESS", help = "Address to listen on [default: all]")]
    pub bind: Option<IpAddr>,
}

/// What command line and environment say.
#[derive(Debug, Clone)]
pub struct Boot {
    /// Where settings come from.
    pub source: SettingsSource,
    /// What decided that, for the log.
    pub source_from: &'static str,
    /// Folder with the Secrets.
    pub secrets_dir: PathBuf,
    /// File with the last good settings.
    pub cache_file: Option<PathBuf>,
    /// The service's own resource.
    pub own: Own,
    /// Redis; `None` is the in-memory store of a single process.
    pub redis: Option<RedisEndpoint>,
    /// Name of this instance, unique among all that share a Redis.
    pub instance_id: String,
    /// Log level.
    pub log_level: LogLevel,
    /// Logs for people instead of JSON.
    pub pretty_logs: bool,
    /// Whether this is a pod of a cluster.
    pub in_pod: bool,
    /// Address to listen on.
    pub bind: IpAddr,
    /// All variables, for those that only one service reads.
    pub environment: Environment,
}

/// Where settings come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SettingsSource {
    /// The API server.
    Kube,
    /// A file or folder of manifests.
    File(PathBuf),
    /// Environment variables alone.
    Env,
}

/// A port and who chose it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Port {
    /// The port.
    pub number: u16,
    /// The variable or field.
    pub from: &'static str,
    /// A variable names it. If not, and the settings come from variables alone, a taken port is only a warning on
    /// the internal listener.
    pub explicit: bool,
}

/// What the process is, apart from its command line and variables.
#[derive(Debug, Clone)]
pub struct ProcessFacts {
    /// Name of the machine or pod.
    pub hostname: String,
    /// Random number that makes the instance id of a restarted process another one.
    pub random: u32,
    /// Address to listen on if none is named.
    pub bind: IpAddr,
}

/// A wrong flag or variable.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// `--settings` names no source.
    #[error("--settings: must be kube, file:PATH or env, is {0:?}")]
    Settings(String),
    /// `REDIS_URL` is no Redis URL.
    #[error("REDIS_URL")]
    Redis(#[source] EndpointError),
    /// The file that `BERTH_REDIS_URL_FILE` names holds no Redis URL.
    #[error("BERTH_REDIS_URL_FILE")]
    RedisFile(#[source] EndpointError),
    /// Two variables belong together.
    #[error("{0} and {1} must both be set, or neither")]
    Pair(&'static str, &'static str),
    /// Two variables exclude each other.
    #[error("{0} and {1} must not both be set")]
    Both(&'static str, &'static str),
    /// A variable has a wrong value.
    #[error("{variable}: {allowed}, is {value:?}")]
    Variable {
        /// The variable.
        variable: &'static str,
        /// What is allowed.
        allowed: &'static str,
        /// What stands there. Never a secret.
        value: String,
    },
}

// === impl Boot ===

impl Boot {
    /// Reads the process: variables, host name, randomness. Call it before threads are started.
    pub fn from_process(args: &ServiceArgs) -> Result<Self, BootError> {
        Self::resolve(
            args,
            Environment::from_process(),
            &ProcessFacts::of_this_process(),
        )
    }

    /// Pure: everything comes as an argument.
    pub fn resolve(
        args: &ServiceArgs,
        environment: Environment,
        facts: &ProcessFacts,
    ) -> Result<Self, BootError> {
        let in_pod = environment.get("KUBERNETES_SERVICE_HOST").is_some();
        let owned = |name| environment.get(name).map(str::to_owned);
        let own = Own {
            namespace: owned("BERTH_NAMESPACE"),
            name: owned("BERTH_NAME"),
        };
        let (source, source_from) = match args.settings.as_deref() {
            Some(text) => (text.parse()?, "--settings"),
            None if in_pod && own.name.is_some() => (SettingsSource::Kube, "pod with BERTH_NAME"),
            None => (SettingsSource::Env, "default"),
        };
        let path =
            |flag: &Option<PathBuf>, name| flag.clone().or_else(|| environment.get(name).map(PathBuf::from));
        Ok(Self {
            source,
            source_from,
            secrets_dir: path(&args.secrets, "BERTH_SECRETS_DIR")
                .unwrap_or_else(|| DEFAULT_SECRETS_DIR.into()),
            cache_file: path(&args.cache, "BERTH_CACHE_FILE"),
            own,
            redis: redis(&environment)?,
            instance_id: instance_id(&environment, facts)?,
            log_level: log_level(&environment)?,
            pretty_logs: pretty_logs(&environment)?,
            in_pod,
            bind: args.bind.unwrap_or(facts.bind),
            environment,
        })
    }

    /// The port that the first set one of `variables` names, else `value` of the settings' `field`.
    pub fn port(
        &self,
        variables: &[&'static str],
        field: &'static str,
        value: u16,
    ) -> Result<Port, BootError> {
        let set = variables
            .iter()
            .find_map(|name| Some((*name, self.environment.get(name)?)));
        let Some((variable, text)) = set else {
            return Ok(Port {
                number: value,
                from: field,
                explicit: false,
            });
        };
        let allowed = "must be a port from 0 to 65535";
        let number = text.parse().map_err(|_| BootError::Variable {
            variable,
            allowed,
            value: text.to_owned(),
        })?;
        Ok(Port {
            number,
            from: variable,
            explicit: true,
        })
    }

    /// The phases of a shutdown: a pod waits until its endpoints have gone.
    pub fn drain_plan(&self, drain_timeout: Duration) -> DrainPlan {
        let endpoint_delay = if self.in_pod {
            ENDPOINT_DELAY
        } else {
            Duration::ZERO
        };
        DrainPlan {
            endpoint_delay,
            drain_timeout,
        }
    }

    /// Starts the logs and writes the first line: who this is, and which source gave what.
    pub fn start_logs(&self, service: &'static str) {
        init_logs(self.log_level, self.pretty_logs);
        let overriding: Vec<&str> = [
            "PORT",
            "WS_PORT",
            "HEALTH_PORT",
            "INTERNAL_PORT",
            "REDIS_URL",
            "INSTANCE_ID",
            "LOG_LEVEL",
        ]
        .into_iter()
        .filter(|name| self.environment.get(name).is_some())
        .collect();
        info!(
            service,
            version = VERSION,
            instance = self.instance_id,
            settings = %self.source,
            settings_from = self.source_from,
            own = %self.own,
            variables_that_win = ?overriding,
            redis = self.redis.as_ref().map_or_else(|| "none, in memory".to_owned(), ToString::to_string),
            secrets = %self.secrets_dir.display(),
            "starting"
        );
    }
}

/// Makes aws-lc-rs the process's provider of TLS. Once, first thing in `main`.
pub fn install_crypto_provider() {
    // A second call finds the same provider already installed.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

fn redis(environment: &Environment) -> Result<Option<RedisEndpoint>, BootError> {
    let endpoint = match (
        environment.get("REDIS_URL"),
        environment.get("BERTH_REDIS_URL_FILE"),
    ) {
        (None, None) => return Ok(None),
        (Some(_), Some(_)) => return Err(BootError::Both("REDIS_URL", "BERTH_REDIS_URL_FILE")),
        (Some(url), None) => RedisEndpoint::from_url(url).map_err(BootError::Redis)?,
        (None, Some(path)) => RedisEndpoint::from_url_file(path.into()).map_err(BootError::RedisFile)?,
    };
    let endpoint = match environment.get("BERTH_REDIS_PASSWORD_FILE") {
        Some(path) => endpoint.with_password_file(path.into()),
        None => endpoint,
    };
    let endpoint = match environment.get("BERTH_REDIS_CA_FILE") {
        Some(path) => endpoint.with_ca_file(path.into()),
        None => endpoint,
    };
    match (
        environment.get("BERTH_REDIS_CERT_FILE"),
        environment.get("BERTH_REDIS_KEY_FILE"),
    ) {
        (None, None) => Ok(Some(endpoint)),
        (Some(certificate), Some(key)) => Ok(Some(
            endpoint.with_client_certificate(certificate.into(), key.into()),
        )),
        _ => Err(BootError::Pair("BERTH_REDIS_CERT_FILE", "BERTH_REDIS_KEY_FILE")),
    }
}

fn log_level(environment: &Environment) -> Result<LogLevel, BootError> {
    let Some(text) = environment.get("LOG_LEVEL") else {
        return Ok(LogLevel::default());
    };
    text.parse().map_err(|_| BootError::Variable {
        variable: "LOG_LEVEL",
        allowed: "must be trace, debug, info, warn, error, fatal or silent",
        value: text.to_owned(),
    })
}

fn pretty_logs(environment: &Environment) -> Result<bool, BootError> {
    let Some(text) = environment.get("PRETTY_LOGS") else {
        return Ok(false);
    };
    text.parse().map_err(|_| BootError::Variable {
        variable: "PRETTY_LOGS",
        allowed: "must be true or false",
        value: text.to_owned(),
    })
}

fn instance_id(environment: &Environment, facts: &ProcessFacts) -> Result<String, BootError> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b':');
    let Some(id) = environment.get("INSTANCE_ID") else {
        let name: String = facts
            .hostname
            .bytes()
            .filter(|byte| allowed(*byte))
            .take(64)
            .map(char::from)
            .collect();
        return Ok(format!("{name}-{:08x}", facts.random));
    };
    if id.len() <= MAX_INSTANCE_ID && id.bytes().all(allowed) {
        return Ok(id.to_owned());
    }
    Err(BootError::Variable {
        variable: "INSTANCE_ID",
        allowed: "must have at most 128 characters out of A-Z a-z 0-9 - _ . :",
        value: id.to_owned(),
    })
}

impl ProcessFacts {
    /// Asks the kernel.
    pub fn of_this_process() -> Self {
        let hostname = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        Self {
            hostname: hostname.trim().to_owned(),
            random: rand::random(),
            bind: any_address(),
        }
    }
}

/// All addresses: of both families where the machine has IPv6, else of IPv4.
fn any_address() -> IpAddr {
    let v6 = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0));
    if v6.is_ok() {
        Ipv6Addr::UNSPECIFIED.into()
    } else {
        Ipv4Addr::UNSPECIFIED.into()
    }
}

impl std::str::FromStr for SettingsSource {
    type Err = BootError;

    fn from_str(text: &str) -> Result<Self, BootError> {
        match (text, text.strip_prefix("file:")) {
            ("kube", _) => Ok(Self::Kube),
            ("env", _) => Ok(Self::Env),
            (_, Some(path)) if !path.is_empty() => Ok(Self::File(path.into())),
            _ => Err(BootError::Settings(text.to_owned())),
        }
    }
}

impl fmt::Display for SettingsSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kube => f.write_str("kube"),
            Self::Env => f.write_str("env"),
            Self::File(path) => write!(f, "file:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests;
