//! Resources from environment variables: the names of the Node services, in both spellings where their pages differ.
//!
//! Values go into the same spec types as those of a manifest, with the same defaults and the same validation. What
//! the Node services take as a secret becomes a secret in memory.

use std::fmt;

use berth_crds::api::{
    ApiKeySecretRef, AuthMode, ClusterEnvironment, FailurePolicy, HostListAccess, HostPoolSpec, Jwt,
    LocalRef, MeteredProvider, RotatingSecretRef, SignalingClusterSpec, TurnConfigSpec, TurnProvider,
};
use berth_crds::settings::{
    FieldErrors, PoolSettings, SecretRef, SignalingSettings, TurnSettings, is_placeholder,
};
use berth_crds::{HostPool, SignalingCluster, TurnConfig};
use serde_json::Value;
use tracing::warn;

use crate::boot::Environment;
use crate::ice::DEFAULT_STUN;
use crate::secrets::Secret;
use crate::settings::bundle::{Bundle, BundleError, Kind};

mod variables;

use variables::{JWKS_URL, JWT, MATCHMAKER, METERED, SIGNALING, Variable, flag, variable_of};

/// Name of the Secret that stands for secrets in variables; its keys are the names of the variables.
pub const ENVIRONMENT_SECRET: &str = "environment";

/// Name of the resources that stand for the environment.
const NAME: &str = "default";
/// Host secret of a Node matchmaker that was not given one.
const USUAL_HOST_SECRET: &str = "to-change-in-prod";
/// What a secret must be in production.
const OWN_SECRET: &str =
    "must be a secret of your own while NODE_ENV is production: `openssl rand -base64 32` prints a good one";
/// More than anybody asks for.
const NO_LIMIT: i32 = 1_000_000_000;
/// Internal port if `HEALTH_PORT` is absent and signaling itself was put on that port's default.
const OTHER_HEALTH_PORT: i32 = 8081;
/// Networks whose `X-Forwarded-Proto` is believed if `REQUIRE_WSS` is set and `TRUSTED_PROXY_CIDRS` is not: platforms
/// put their proxies into private, shared (RFC 6598) or local networks.
const PLATFORM_PROXIES: [&str; 8] = [
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "::1/128",
    "fc00::/7",
    "fe80::/10",
];

/// What the environment says.
#[derive(Debug)]
pub struct EnvironmentSettings {
    /// The same resources as a file would hold.
    pub bundle: Bundle,
    /// Secrets that stand in variables.
    pub secrets: Vec<(SecretRef, Secret)>,
    /// What an operator should know: variables without effect, defaults that are unsafe.
    pub notes: Vec<String>,
}

/// One wrong variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VariableError {
    /// The variable.
    pub variable: &'static str,
    /// What is wrong and what is allowed. Never holds the value of a secret.
    pub message: String,
}

/// All wrong variables; never empty.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct EnvironmentError(pub Vec<VariableError>);

impl EnvironmentSettings {
    /// Reads what the service whose own resource is of `kind` needs. Every wrong variable is reported.
    pub fn read(kind: Kind, environment: &Environment) -> Result<Self, EnvironmentError> {
        let mut reader = Reader {
            environment,
            secrets: Vec::new(),
            notes: Vec::new(),
            errors: Vec::new(),
        };
        let turn = reader.turn_config();
        let named = turn.as_ref().map(|_| LocalRef {
            name: NAME.to_owned(),
        });
        let cluster = reader.signaling_cluster(named.clone());
        if kind == Kind::HostPool {
            reader.public_url();
        }
        let pool = (kind == Kind::HostPool).then(|| reader.host_pool(named));
        if !reader.errors.is_empty() {
            return Err(EnvironmentError(reader.errors));
        }
        let bundle = bundle(&cluster, pool.as_ref(), turn.as_ref()).map_err(|message| {
            EnvironmentError(vec![VariableError {
                variable: "environment",
                message,
            }])
        })?;
        Ok(Self {
            bundle,
            secrets: reader.secrets,
            notes: reader.notes,
        })
    }

    /// Writes the notes to the log.
    pub(in crate::settings) fn log_notes(&self) {
        for note in &self.notes {
            warn!("{note}");
        }
    }
}

struct Reader<'a> {
    environment: &'a Environment,
    secrets: Vec<(SecretRef, Secret)>,
    notes: Vec<String>,
    errors: Vec<VariableError>,
}

impl Reader<'_> {
    /// The servers of Metered, where both the application and its key are named; as in the Node services, one of the two alone is nothing.
    fn turn_config(&mut self) -> Option<TurnConfig> {
        let set = |name: &&str| self.environment.get(name).is_some();
        let (given, absent): (Vec<&str>, Vec<&str>) = ["METERED_DOMAIN", "METERED_API_KEY"]
            .iter()
            .partition(|name| set(name));
        if !absent.is_empty() {
            let without = absent.join(" and ");
            let idle = given.into_iter().chain(Some("TURN_EXPIRY_SECONDS").filter(set));
            let notes = idle.map(|name| format!("{name} has no effect without {without}"));
            self.notes.extend(notes.collect::<Vec<_>>());
            return None;
        }
        self.secret("METERED_API_KEY");
        let metered = MeteredProvider {
            domain: String::new(),
            api_key_secret_ref: ApiKeySecretRef {
                name: ENVIRONMENT_SECRET.to_owned(),
                key: Some("METERED_API_KEY".to_owned()),
            },
        };
        let mut spec = TurnConfigSpec {
            stun_urls: vec![DEFAULT_STUN.to_owned()],
            providers: vec![TurnProvider {
                name: "metered".to_owned(),
                shared_secret: None,
                fixed: None,
                metered: Some(metered),
            }],
            credential_ttl_seconds: 14_400,
            failure_policy: FailurePolicy::StunOnly,
            ..TurnConfigSpec::default()
        };
        self.apply(METERED, &mut spec);
        let turn = TurnConfig::new(NAME, spec);
        let environment = self.environment;
        self.validate(TurnSettings::try_from(&turn), |path| {
            variable_of(METERED, path, environment)
        });
        Some(turn)
    }

    fn signaling_cluster(&mut self, turn: Option<LocalRef>) -> SignalingCluster {
        let mut spec = SignalingClusterSpec::new(String::new());
        spec.turn_config_ref = turn;
        // What the Node services take themselves to be in.
        spec.environment = ClusterEnvironment::Development;
        self.apply(SIGNALING, &mut spec);
        self.auth(&mut spec);
        if spec.public_url.is_empty() {
            let scheme = if spec.security.require_wss { "wss" } else { "ws" };
            // A wrong port is told of as such, and not as a wrong URL that nobody wrote.
            let port = u16::try_from(spec.ws_port).unwrap_or_default();
            spec.public_url = format!("{scheme}://localhost:{port}");
        }
        if spec.health_port == spec.ws_port && self.environment.get("HEALTH_PORT").is_none() {
            spec.health_port = OTHER_HEALTH_PORT;
        }
        if spec.security.require_wss && spec.security.trusted_proxy_cidrs.is_empty() {
            spec.security.trusted_proxy_cidrs = PLATFORM_PROXIES.map(str::to_owned).into();
            self.notes.push(
                "REQUIRE_WSS without TRUSTED_PROXY_CIDRS: proxies in private networks are trusted".to_owned(),
            );
        }
        let cluster = SignalingCluster::new(NAME, spec);
        let environment = self.environment;
        self.validate(SignalingSettings::try_from(&cluster), |path| {
            variable_of(SIGNALING, path, environment).or_else(|| variable_of(JWT, path, environment))
        });
        cluster
    }

    fn auth(&mut self, spec: &mut SignalingClusterSpec) {
        let mut enabled = false;
        if let Some(text) = self.environment.get("ENABLE_AUTH")
            && let Err(message) = flag(text, &mut enabled)
        {
            self.error("ENABLE_AUTH", message);
        }
        if !enabled {
            self.unused_auth();
            return;
        }
        let shared = self.secret("JWT_SECRET");
        self.secret("JWT_SECRET_PREVIOUS");
        let published = JWKS_URL
            .into_iter()
            .find(|name| self.environment.get(name).is_some());
        match (shared, published) {
            (false, None) => self.error(
                "JWT_SECRET",
                "this or JWKS_URL must be set while ENABLE_AUTH is true",
            ),
            (true, Some(url)) => self.error(
                url,
                "must not be set beside JWT_SECRET: tokens are checked by one of the two",
            ),
            _ => {}
        }
        if published.is_none() && self.environment.get("JWKS_CACHE_TTL").is_some() {
            self.notes
                .push("JWKS_CACHE_TTL has no effect without JWKS_URL".to_owned());
        }
        let mut jwt = Jwt {
            secret_ref: shared.then(|| rotating("JWT_SECRET", "JWT_SECRET_PREVIOUS")),
            ..Jwt::default()
        };
        self.apply(JWT, &mut jwt);
        // Otherwise it was told already, in the names of variables.
        if shared != published.is_some() {
            spec.auth.mode = AuthMode::Jwt;
            spec.auth.jwt = Some(jwt);
        }
    }

    /// A wrong value is told also where nobody asks for tokens: it would stop the process on the day on which somebody does.
    fn unused_auth(&mut self) {
        let mut jwt = Jwt::default();
        self.apply(JWT, &mut jwt);
        // What fits together is another matter.
        jwt.algorithms = None;
        if jwt.jwks.is_none() {
            jwt.secret_ref = Some(rotating("JWT_SECRET", "JWT_SECRET_PREVIOUS"));
        }
        let mut spec = SignalingClusterSpec::new("ws://localhost".to_owned());
        spec.auth.mode = AuthMode::Jwt;
        spec.auth.jwt = Some(jwt);
        let environment = self.environment;
        let settings = SignalingSettings::try_from(&SignalingCluster::new(NAME, spec));
        self.validate(settings, |path| variable_of(JWT, path, environment));
    }

    fn host_pool(&mut self, turn: Option<LocalRef>) -> HostPool {
        let mut spec = HostPoolSpec::new(NAME);
        spec.turn_config_ref = turn;
        // The Node matchmaker shows its hosts to everybody.
        spec.host_list_access = HostListAccess::Public;
        // The Node matchmaker has no limit, and behind a proxy that nobody named all players have one address.
        spec.rate_limits.finds_per_ip = NO_LIMIT;
        self.apply(MATCHMAKER, &mut spec);
        spec.host_auth.secret_ref = Some(rotating("HOST_SECRET", "HOST_SECRET_PREVIOUS"));
        self.host_secret();
        self.secret("HOST_SECRET_PREVIOUS");
        spec.admin_token_secret_ref = Some(rotating("ADMIN_TOKEN", "ADMIN_TOKEN_PREVIOUS"));
        self.secret("ADMIN_TOKEN");
        self.secret("ADMIN_TOKEN_PREVIOUS");
        let pool = HostPool::new(NAME, spec);
        let environment = self.environment;
        self.validate(PoolSettings::try_from(&pool), |path| {
            variable_of(MATCHMAKER, path, environment)
        });
        pool
    }

    /// Without a host secret the Node matchmaker takes one that everybody knows. That is for a laptop.
    fn host_secret(&mut self) {
        if self.secret("HOST_SECRET") {
            return;
        }
        if self.in_production() {
            self.error("HOST_SECRET", OWN_SECRET);
        } else {
            self.put("HOST_SECRET", USUAL_HOST_SECRET);
            self.notes.push(format!(
                "HOST_SECRET is not set: hosts register with {USUAL_HOST_SECRET}"
            ));
        }
    }

    /// The usual address is one of this machine, and no player is on it.
    fn public_url(&mut self) {
        const NAME: &str = "SIGNALING_PUBLIC_URL";
        if self.in_production() && self.environment.get(NAME).is_none() {
            self.error(
                NAME,
                "must be set while NODE_ENV is production, such as to wss://signaling.example.com: players get it with each match",
            );
        }
    }

    fn in_production(&self) -> bool {
        self.environment.get("NODE_ENV") == Some("production")
    }

    fn apply<S>(&mut self, variables: &[Variable<S>], spec: &mut S) {
        for variable in variables {
            let mut values = variable
                .names
                .iter()
                .filter_map(|name| Some((*name, self.environment.get(name)?)));
            let Some((name, text)) = values.next() else {
                continue;
            };
            if let Some((other, _)) = values.find(|(_, value)| *value != text) {
                self.notes.push(format!("{other} has no effect beside {name}"));
            }
            if let Err(message) = (variable.set)(spec, text) {
                self.error(name, message);
            }
        }
    }

    /// Validation speaks of fields; people wrote variables.
    fn validate<T>(
        &mut self,
        settings: Result<T, FieldErrors>,
        variable_of: impl Fn(&str) -> Option<&'static str>,
    ) {
        let Err(FieldErrors(errors)) = settings else {
            return;
        };
        for error in errors {
            let variable = variable_of(&error.path);
            let message = if variable.is_some() {
                error.message
            } else {
                error.to_string()
            };
            self.error(variable.unwrap_or("environment"), message);
        }
    }

    fn secret(&mut self, variable: &'static str) -> bool {
        let Some(text) = self.environment.get(variable) else {
            return false;
        };
        if self.in_production() && is_placeholder(text.as_bytes()) {
            self.error(
                variable,
                format!("{OWN_SECRET}; this one is a placeholder that everybody knows"),
            );
        } else {
            self.put(variable, text);
        }
        true
    }

    fn put(&mut self, variable: &'static str, text: &str) {
        let reference = SecretRef {
            name: ENVIRONMENT_SECRET.to_owned(),
            key: variable.to_owned(),
        };
        match Secret::new(text) {
            Ok(secret) => self.secrets.push((reference, secret)),
            Err(error) => self.error(variable, format!("must not be {error}")),
        }
    }

    fn error(&mut self, variable: &'static str, message: impl Into<String>) {
        // A wrong number is also out of range: one message per variable is enough.
        if self.errors.iter().all(|error| error.variable != variable) {
            self.errors.push(VariableError {
                variable,
                message: message.into(),
            });
        }
    }
}

fn bundle(
    cluster: &SignalingCluster,
    pool: Option<&HostPool>,
    turn: Option<&TurnConfig>,
) -> Result<Bundle, String> {
    let mut bundle = Bundle::default();
    let mut add = |resource: serde_json::Result<Value>| {
        let resource = resource.map_err(|error| error.to_string())?;
        bundle
            .add(&resource, "default")
            .map_err(|error: BundleError| error.to_string())
    };
    add(serde_json::to_value(cluster))?;
    if let Some(pool) = pool {
        add(serde_json::to_value(pool))?;
    }
    if let Some(turn) = turn {
        add(serde_json::to_value(turn))?;
    }
    Ok(bundle)
}

fn rotating(current: &str, previous: &str) -> RotatingSecretRef {
    RotatingSecretRef {
        name: ENVIRONMENT_SECRET.to_owned(),
        current_key: current.to_owned(),
        previous_key: previous.to_owned(),
    }
}

impl fmt::Display for VariableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.variable, self.message)
    }
}

impl fmt::Display for EnvironmentError {
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

#[cfg(test)]
mod tests;
