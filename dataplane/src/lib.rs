//! What Berth's signaling server and matchmaker stand on. It knows no rule of either service.
//!
//! | module | what a service takes from it |
//! |---|---|
//! | [`process`] | the process around a service: ports, signals, drain; [`process::run`] |
//! | [`boot`] | command line and environment that both services share; instance id; listener ports |
//! | [`settings`] | one [`settings::Snapshot`] of validated settings, whatever feeds it: API server, file, environment |
//! | [`secrets`] | [`secrets::SecretStore`]: mounted Secrets, re-read on change; [`secrets::Secret`] never prints itself |
//! | [`redis`] | [`redis::RedisLink`]: commands, scripts, publish, subscriptions, reconnect, circuit breaker |
//! | [`http`] | listeners, [`http::Health`] with its endpoints, client address behind proxies, requests to servers of others |
//! | [`telemetry`] | logs with redaction, [`telemetry::Metrics`], rate-limited warnings |
//! | [`shutdown`] | [`shutdown::Shutdown`]: the phases from a signal to the end of the process |
//! | [`match_token`] | the JWT that binds a match to one room, one role and one id |
//! | [`ice`] | ICE servers from a TurnConfig, with credentials of providers that issue them |
//! | [`breaker`] | the circuit breaker of the link to Redis and of such providers |
//! | [`limits`] | token buckets, and a limit per client address |
//!
//! ```text
//!   boot ──> settings ──> Snapshot<View> ──> the service's rules
//!     │         ▲                               │
//!     │      kube | file | env                  ▼
//!     └──> secrets ──> ice, match_token     redis, http ──> telemetry
//! ```
//!
//! Pure inside: the breaker, the backoff, `assemble`, the client address, tokens, ICE servers and the life of an issued credential are
//! functions of their arguments. Sockets, files, clocks and signals are touched only by the tasks around them.

pub mod boot;
pub mod breaker;
pub mod http;
pub mod ice;
pub mod keys;
pub mod limits;
pub mod match_token;
pub mod occupancy;
pub mod process;
pub mod redis;
pub mod secrets;
pub mod settings;
pub mod shutdown;
pub mod telemetry;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
