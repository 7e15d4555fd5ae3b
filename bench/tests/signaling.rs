//! The whole bench at a tiny size: that it works, and that what it counts is right. Nothing here depends on time.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "this is a test"
)]

use std::path::Path;
use std::time::Duration;

use berth_bench::process::Cores;
use berth_bench::report::{Row, Table};
use berth_bench::signaling::{Figure, Plan, Programs, run};

fn tables(figures: &[Figure]) -> Vec<Table> {
    let plan = Plan {
        figures: figures.to_vec(),
        rounds: 1,
        rooms: 6,
        warm_up: Duration::from_millis(50),
        duration: Duration::from_millis(300),
        rate: 500.0,
        remote_rates: vec![200.0, 500.0],
        instances: vec![2, 3],
        idle: vec![40],
        concurrent: 3,
        seats: 5,
    };
    let programs = Programs::of(Path::new(env!("CARGO_BIN_EXE_berth-bench")));
    run(&plan, &programs, &Cores::shared()).unwrap()
}

/// The only sample of each row in a column.
fn column(table: &Table, name: &str) -> Vec<f64> {
    let value = |row: &Row| table.cell(&row.label, name).unwrap().median();
    table.rows.iter().map(value).collect()
}

/// A run fails when a message is lost, repeated, changed, out of order or delivered to a stranger; here is that something ran.
#[test]
fn local_messages_arrive_exactly_once_and_in_order() {
    let tables = tables(&[Figure::Local, Figure::Rate]);
    assert_eq!(tables.len(), 2);
    for rate in ["berth msgs/s", "bare msgs/s"] {
        assert!(column(&tables[0], rate).iter().all(|rate| *rate > 0.0));
    }
    assert!(column(&tables[1], "p50 µs").iter().all(|micros| *micros > 0.0));
    for table in &tables {
        assert!(column(table, "not arrived").iter().all(|missing| *missing == 0.0));
    }
}

#[test]
fn remote_messages_cost_one_command_and_local_ones_none() {
    let tables = tables(&[Figure::Remote]);
    let [paced @ .., saturated] = &tables[..] else {
        panic!("no table")
    };
    assert_eq!(paced.len(), 2, "one for each rate");
    for paced in paced {
        // Should seats be asserted late, on a slow machine, that is at most one more for each of the 12 sockets.
        let publish = column(paced, "PUBLISH / msg");
        for (publish, messages) in publish.iter().zip(column(paced, "msgs")).take(2) {
            assert!(
                (1.0..=1.0 + 12.0 / messages).contains(publish),
                "{publish} for each of {messages}"
            );
        }
        assert!(
            publish[2] < f64::EPSILON,
            "{} for each message that stays on one instance",
            publish[2]
        );
        // Who waits for the next message gives up its core, and so does who relays it, bare or not.
        assert!(column(paced, "waits / msg").iter().all(|waits| *waits > 0.0));
    }
    assert!(
        column(saturated, "PUBLISH / msg")
            .iter()
            .all(|publish| (1.0..1.1).contains(publish))
    );
    for table in &tables {
        assert!(column(table, "not arrived").iter().all(|missing| *missing == 0.0));
    }
}

#[test]
fn idle_connections_are_held_and_talk_afterwards() {
    let tables = tables(&[Figure::Idle]);
    assert_eq!(tables[0].rows.len(), 2);
    assert!(
        column(&tables[0], "server in the end, MiB")
            .iter()
            .all(|mib| *mib > 0.0)
    );
}

#[test]
fn sessions_begin_with_their_first_message_and_end() {
    let tables = tables(&[Figure::Joins]);
    assert!(column(&tables[0], "joins/s").iter().all(|rate| *rate > 0.0));
    let missing = column(&tables[0], "sessions without their message");
    assert_eq!(missing, [0.0; 4]);
}

#[test]
fn every_seat_becomes_free_and_every_first_message_is_heard() {
    let tables = tables(&[Figure::Seats]);
    assert_eq!(column(&tables[0], "rooms"), [5.0; 3]);
}
