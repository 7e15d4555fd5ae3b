//! Rooms that come and go for a long time, while instances die and Redis comes back empty, on top of rooms that stay.
//! Nothing may pile up: neither in gauges, queues and Redis nor, in the long run, in memory.

use std::time::{Duration, Instant};

use crate::faults::{Fault, Field, LEASE};

/// Rooms of one turn; each has two members and twenty messages.
const ROOMS: usize = 20;
/// What the process may grow between the first and the last third of a long run: allocators keep what they once had.
const MOST_GROWTH_BYTES: u64 = 48 * 1024 * 1024;

/// Turns of rooms. Every third one an instance dies or Redis restarts.
async fn turn(field: &mut Field, number: usize) {
    field.churn(number, ROOMS).await;
    match number % 6 {
        2 => field.inflict(Fault::Restart(Duration::from_millis(300))).await,
        5 => field.inflict(Fault::Kill(number)).await,
        _ => {}
    }
    field.all_talk().await;
}

/// The slice of it that is run with every change.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn for_a_few_turns() {
    let mut field = Field::start(2, 6, LEASE).await;
    for number in 0..7 {
        turn(&mut field, number).await;
    }
    field.end().await;
}

/// For `BERTH_SOAK_SECONDS`, ten minutes if they are not set.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes"]
async fn for_a_while() {
    let seconds =
        std::env::var("BERTH_SOAK_SECONDS").map_or(600, |seconds| seconds.parse().expect("seconds"));
    let (begun, length) = (Instant::now(), Duration::from_secs(seconds));
    let mut field = Field::start(2, 6, LEASE).await;
    let (mut turns, mut after_a_third) = (0, None);
    while begun.elapsed() < length {
        turn(&mut field, turns).await;
        turns += 1;
        if begun.elapsed() > length / 3 {
            after_a_third.get_or_insert_with(resident_bytes);
        }
    }
    let (early, late) = (after_a_third.expect("a third has passed"), resident_bytes());
    field.end().await;
    println!(
        "{turns} turns, {} rooms, {} messages in {:.0} s; resident {} MiB after a third, {} MiB at the end",
        turns * ROOMS,
        turns * ROOMS * 20,
        begun.elapsed().as_secs_f64(),
        early >> 20,
        late >> 20,
    );
    assert!(late < early + MOST_GROWTH_BYTES, "{early} bytes became {late}");
}

fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line
        .and_then(|line| line.trim().strip_suffix(" kB"))
        .expect("a resident size");
    kilobytes.trim().parse::<u64>().expect("a number") * 1024
}
