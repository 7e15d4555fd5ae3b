//! How much is measured.

use std::time::Duration;

/// A group of figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Figure {
    /// Messages per CPU second between two sockets of one instance, beside the bare relay.
    Local,
    /// Latency at fixed rates, beside the bare relay.
    Rate,
    /// Messages between instances, over Redis.
    Remote,
    /// Memory of idle connections.
    Idle,
    /// Sessions that begin and end.
    Joins,
    /// How soon a seat is free again, and how soon who takes one is heard.
    Seats,
}

/// How much is measured.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Which figures; empty: all of them.
    pub figures: Vec<Figure>,
    /// Times that everything is measured.
    pub rounds: usize,
    /// Rooms of two.
    pub rooms: usize,
    /// Before each measurement.
    pub warm_up: Duration,
    /// Each measurement.
    pub duration: Duration,
    /// Messages per second at which latency is measured, beside half of what saturates.
    pub rate: f64,
    /// Messages per second over all instances together, one table for each.
    pub remote_rates: Vec<f64>,
    /// Instances that share a Redis.
    pub instances: Vec<usize>,
    /// Idle sockets.
    pub idle: Vec<usize>,
    /// Sessions at once, of those that begin and end.
    pub concurrent: usize,
    /// Rooms, one after the other, in which a seat is taken.
    pub seats: usize,
}

impl Plan {
    /// What `docs/benchmarks.md` shows.
    pub fn full() -> Self {
        Self {
            figures: Vec::new(),
            rounds: 5,
            rooms: 200,
            warm_up: Duration::from_secs(1),
            duration: Duration::from_secs(4),
            rate: 2000.0,
            // A light one, at which each message comes alone, and one at which several may come together.
            remote_rates: vec![2000.0, 8000.0],
            instances: vec![2, 4, 8],
            idle: vec![2000, 18_000],
            concurrent: 16,
            seats: 200,
        }
    }

    /// The same, small: it shows that everything works.
    pub fn quick() -> Self {
        Self {
            rounds: 1,
            rooms: 50,
            warm_up: Duration::from_millis(200),
            duration: Duration::from_millis(700),
            idle: vec![1000],
            seats: 20,
            ..Self::full()
        }
    }

    /// Whether a figure is wanted.
    pub fn wants(&self, figure: Figure) -> bool {
        self.figures.is_empty() || self.figures.contains(&figure)
    }

    /// In words.
    pub fn describe(&self) -> String {
        format!(
            "{} rooms of two, {} rounds of {:.1} s after {:.1} s, median [least–most]",
            self.rooms,
            self.rounds,
            self.duration.as_secs_f64(),
            self.warm_up.as_secs_f64(),
        )
    }
}
