//! Types and reasons of conditions: closed sets, so that documentation and alerts can rely on them.

/// Type of a condition. (`ValueEnum` lists them, for metrics.)
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum ConditionType {
    /// Everything that the spec asks for is in force.
    Ready,
    /// Something is on the way (kstatus).
    Reconciling,
    /// Nothing will happen without a change by someone (kstatus).
    Stalled,
    /// The operator leaves everything that the resource has become as it is.
    Paused,
    /// At least one pod serves.
    Available,
    /// Redis is ready.
    RedisReady,
    /// An autoscaler decides how many pods there are, and `spec.replicas` has no effect.
    AutoscalingOwnsReplicas,
    /// The autoscaler cannot scale by everything that it should. Never part of `Ready`.
    AutoscalingLimited,
    /// Every Gateway that is named takes the HTTPRoute; only where the spec asks for one.
    RouteAccepted,
    /// Everything that the spec names exists.
    ResolvedRefs,
    /// Every pod follows the newest settings.
    SettingsApplied,
    /// A player who asks now gets a host. Never part of `Ready`: an empty pool is no broken rollout.
    HostsAvailable,
    /// Fewer slots are free than `spec.minAvailableSlots`. Never part of `Ready`.
    CapacityLow,
    /// The pool is out of service and no session is left. Never part of `Ready`.
    Drained,
    /// Something is allowed that should not stay allowed. Never part of `Ready`.
    SecurityWarnings,
    /// The namespace refuses the pods by its pod security standard.
    PodSecurityBlocked,
    /// The STUN and TURN servers answer. Never part of `Ready`: players may see what the operator does not.
    ServersReachable,
}

impl ConditionType {
    /// The word in the status.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "Ready",
            Self::Reconciling => "Reconciling",
            Self::Stalled => "Stalled",
            Self::Paused => "Paused",
            Self::Available => "Available",
            Self::RedisReady => "RedisReady",
            Self::AutoscalingOwnsReplicas => "AutoscalingOwnsReplicas",
            Self::AutoscalingLimited => "AutoscalingLimited",
            Self::RouteAccepted => "RouteAccepted",
            Self::ResolvedRefs => "ResolvedRefs",
            Self::SettingsApplied => "SettingsApplied",
            Self::HostsAvailable => "HostsAvailable",
            Self::CapacityLow => "CapacityLow",
            Self::Drained => "Drained",
            Self::SecurityWarnings => "SecurityWarnings",
            Self::PodSecurityBlocked => "PodSecurityBlocked",
            Self::ServersReachable => "ServersReachable",
        }
    }
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Reason of a condition.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Reason {
            $($(#[$doc])* $name,)*
        }

        impl Reason {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The word in the status.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)*
                }
            }
        }
    };
}

reasons! {
    /// All is as the spec says.
    UpToDate,
    /// `spec.paused` is true.
    Paused,
    /// `spec.paused` is false.
    NotPaused,
    /// Pods are being started or replaced.
    RollingOut,
    /// Kubernetes gave up replacing the pods: they do not become ready.
    RolloutStuck,
    /// At least one pod serves.
    PodsAvailable,
    /// No pod serves.
    NoPodAvailable,
    /// No pods are wanted.
    ScaledToZero,
    /// The managed Redis is ready.
    RedisReady,
    /// The managed Redis is not ready.
    RedisNotReady,
    /// The Redis is one of the team's; the signaling pods say whether they reach it.
    ExternalRedis,
    /// The signaling pods do not reach the Redis of the team's.
    RedisUnreachable,
    /// A Redis Cluster that copies each message between signaling pods to all of its nodes.
    RedisNotSharded,
    /// `spec.replicas` says how many pods there are.
    FixedReplicas,
    /// An autoscaler says how many pods there are.
    Autoscaled,
    /// Scaling by connections needs custom metrics, and nothing offers them.
    CustomMetricsMissing,
    /// The autoscaler cannot read its metrics.
    AutoscalerBlind,
    /// The autoscaler has not said anything yet.
    AutoscalerSilent,
    /// Every Gateway takes the HTTPRoute.
    RouteAccepted,
    /// A Gateway does not take the HTTPRoute.
    RouteRefused,
    /// A Gateway has not said anything yet.
    RoutePending,
    /// The Kubernetes cluster has no HTTPRoute.
    GatewayApiMissing,
    /// Everything that is named exists.
    Resolved,
    /// The SignalingCluster that is named does not exist.
    SignalingClusterNotFound,
    /// The TurnConfig that is named does not exist.
    TurnConfigNotFound,
    /// The TurnConfig that is named has an invalid spec.
    TurnConfigInvalid,
    /// A Secret that is named does not exist.
    SecretNotFound,
    /// A Secret has no value under the key that is named.
    SecretKeyMissing,
    /// A key of a Secret should hold the URL of a Redis and does not.
    RedisUrlInvalid,
    /// The secret of the hosts is one that everybody knows.
    WeakHostSecret,
    /// The token for changes on the internal port is one that everybody knows.
    WeakAdminToken,
    /// The secret that signs the tokens of peers is one that everybody knows.
    WeakTokenSecret,
    /// The spec breaks a rule.
    InvalidSpec,
    /// An object with the name of a child belongs to someone else.
    NameConflict,
    /// The API server refuses a child.
    Rejected,
    /// The operator lacks a permission.
    Forbidden,
    /// The API server has not taken what it should for a while.
    ApiUnavailable,
    /// Children of a deleted resource of the same name are still being deleted.
    WaitingForDeletion,
    /// Every pod follows the newest settings.
    SettingsInForce,
    /// Some pods do not follow the newest settings yet.
    SettingsPending,
    /// A pod refuses the newest settings.
    SettingsRefused,
    /// Pods that may not follow the newest settings cannot be asked.
    PodsUnreachable,
    /// Hosts have free slots.
    FreeSlots,
    /// Hosts are there, but none has a free slot.
    NoFreeSlots,
    /// No host has a live heartbeat.
    NoHosts,
    /// The pool is being taken out of service: its hosts get no new sessions.
    Draining,
    /// The pool is in service.
    NotDraining,
    /// No session is left.
    NoSessions,
    /// Fewer slots are free than there should be.
    SlotsBelowMinimum,
    /// As many slots are free as there should be.
    SlotsAboveMinimum,
    /// Nothing says how many slots should be free.
    NoMinimum,
    /// The matchmaker could not be asked for the counts; they are the last that were read.
    CountsUnavailable,
    /// Nothing is allowed that should not stay allowed.
    NoWarnings,
    /// Secrets were not looked at, because something else is missing or wrong.
    NotLookedAt,
    /// Peers without a match token are let in.
    LegacyPeersAllowed,
    /// Browsers may connect from every origin.
    OriginsOpen,
    /// Peers need not prove who they are.
    AuthOff,
    /// Connections without TLS are let in.
    WssOff,
    /// The issuer's keys come over a connection that anybody on the way can change.
    KeySetUnprotected,
    /// The namespace refuses the pods by its pod security standard.
    PodSecurityBlocked,
    /// The namespace refuses no pod by its pod security standard.
    PodsAdmitted,
    /// All servers that were asked answered.
    ServersAnswer,
    /// A server did not answer.
    ServersSilent,
    /// No server was asked.
    ServersNotAsked,
}
