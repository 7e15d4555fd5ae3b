//! Faults, and random lists of them.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::LEASE;
use super::field::Field;
use crate::support::Network;

/// Something that goes wrong. Numbers choose an instance.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    /// Redis loses all keys.
    Flush,
    /// Redis forgets the scripts.
    FlushScripts,
    /// Redis answers nobody for so long.
    Pause(Duration),
    /// The process of Redis stands still for so long.
    Sleep(Duration),
    /// Redis dies and is back, empty, after so long.
    Restart(Duration),
    /// Redis ends all subscriptions.
    LoseSubscriptions,
    /// The network of one instance is in this state for so long.
    Cut(usize, Network, Duration),
    /// All connections of one instance break.
    Reset(usize),
    /// The connections of all peers to one instance are lost that can live without.
    Unplug(usize),
    /// An instance dies without a word; another one takes its place.
    Kill(usize),
}

impl Fault {
    fn random(random: &mut StdRng) -> Self {
        let short = Duration::from_millis(random.random_range(50..1500));
        let instance = random.random_range(0..4);
        match random.random_range(0..14) {
            0 => Self::Flush,
            1 => Self::FlushScripts,
            2 => Self::Pause(short),
            3 => Self::Sleep(short),
            4 => Self::Restart(short),
            5 => Self::LoseSubscriptions,
            6 => Self::Reset(instance),
            7 => Self::Cut(instance, Network::BlackHole, short * 3),
            8 => Self::Cut(instance, Network::OnlyTo, short * 3),
            9 => Self::Cut(instance, Network::OnlyFrom, short * 3),
            10 => Self::Cut(instance, Network::Slow(short / 10), short),
            11 => Self::Cut(instance, Network::Refused, short),
            _ => Self::Unplug(instance),
        }
    }
}

/// A storm of so many faults, with one death in the middle of it.
pub(crate) async fn run(seed: u64, faults: usize) {
    println!("BERTH_FAULT_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let instances = random.random_range(2..=4);
    let mut field = Field::start(instances, 30, LEASE).await;
    field.all_talk().await;
    for number in 0..faults {
        let fault = if number == faults / 2 {
            Fault::Kill(random.random_range(0..instances))
        } else {
            Fault::random(&mut random)
        };
        println!("{fault:?}");
        field.inflict(fault).await;
        // Now and then the next one comes before the last one is over.
        if random.random_bool(0.5) {
            field.all_talk().await;
        }
    }
    field.all_talk().await;
    field.end().await;
}
