//! Puts the parts of a link together, by the kind of Redis.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::cluster::{Lines, Topology};
use super::commands::Commands;
use super::endpoint::RedisEndpoint;
use super::gate::Gauges;
use super::keeper::{Keeper, connection_config};
use super::line::{Limits, Line};
use super::link::LinkOptions;
use super::metrics::RedisMetrics;
use super::news::News;
use super::sentinel::Sentinels;
use super::subscriber::{Idle, Subscriber};
use super::subscriptions::{BySlot, Subscriptions};
use super::target::Target;

/// What all parts are made of. Everything that is spawned ends with `stop`.
pub(super) struct Start {
    pub(super) options: LinkOptions,
    pub(super) limits: Arc<Limits>,
    pub(super) metrics: RedisMetrics,
    pub(super) news: Arc<News>,
    pub(super) stop: CancellationToken,
}

impl Start {
    /// One line for commands and one connection for subscriptions.
    pub(super) fn one(&self, target: &Target) -> (Commands, Subscriptions) {
        let line = Arc::new(Line::new(Arc::clone(&self.limits), self.gauges()));
        let keeper = self.keeper("commands", target.clone());
        self.spawn(Arc::clone(&line).keep(keeper));
        let subscriber = Arc::new(Subscriber::new(self.metrics.lost_messages.clone(), Idle::Stays));
        let keeper = self.keeper("subscriptions", target.clone());
        // Not by `spawn`: it tells its readers of the end.
        tokio::spawn(Arc::clone(&subscriber).run(keeper, self.stop.clone()));
        (Commands::One(line), Subscriptions::One(subscriber))
    }

    /// The same at the master that Sentinels name.
    pub(super) fn sentinel(&self, endpoint: &RedisEndpoint) -> (Commands, Subscriptions) {
        let LinkOptions {
            connect_timeout,
            response_timeout,
            ..
        } = self.options;
        let sentinels = Arc::new(Sentinels::new(
            endpoint.clone(),
            connection_config(&self.options),
            connect_timeout + response_timeout,
        ));
        // What becomes of that connection is no news of Redis itself.
        let apart = Arc::new(News::new(RedisMetrics::unregistered()));
        let target = Target::Sentinel(Arc::clone(&sentinels));
        let keeper = Keeper::new("news of sentinels", target, &self.options, apart);
        self.spawn(Arc::clone(&sentinels).listen(keeper));
        self.one(&Target::Master(sentinels))
    }

    /// Lines to the nodes of a cluster.
    pub(super) fn cluster(&self, endpoint: &RedisEndpoint) -> (Commands, Subscriptions) {
        let topology = Arc::new(Topology::new(
            endpoint.clone(),
            connection_config(&self.options),
            self.options.patience,
            Arc::clone(&self.news),
        ));
        self.spawn(Arc::clone(&topology).run());
        let lines = Arc::new(Lines::new(
            Arc::clone(&topology),
            Arc::clone(&self.limits),
            Arc::clone(&self.news),
            self.gauges(),
            self.stop.clone(),
        ));
        self.spawn(Arc::clone(&lines).follow());
        let by_slot = BySlot {
            topology,
            options: self.options.clone(),
            metrics: self.metrics.clone(),
            news: Arc::clone(&self.news),
            stop: self.stop.clone(),
            subscribers: Mutex::default(),
        };
        (
            Commands::Cluster(lines),
            Subscriptions::Cluster(Box::new(by_slot)),
        )
    }

    fn keeper(&self, purpose: &'static str, target: Target) -> Keeper {
        Keeper::new(purpose, target, &self.options, Arc::clone(&self.news))
    }

    fn gauges(&self) -> Gauges {
        Gauges {
            up: self.metrics.up.clone(),
            breaker_open: self.metrics.breaker_open.clone(),
        }
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        tokio::spawn(self.stop.clone().run_until_cancelled_owned(task));
    }
}
