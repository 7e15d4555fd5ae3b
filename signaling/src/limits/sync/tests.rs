use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use berth_crds::settings::{ObjectName, RateLimitSettings};
use berth_dataplane::redis::{LinkOptions, RedisEndpoint, RedisMetrics};
use berth_dataplane::testing::RedisServer;
use proptest::prelude::*;
use rand::SeedableRng as _;
use rand::rngs::SmallRng;

use super::super::Clients;
use super::*;
use berth_dataplane::limits::{MOST_DEBT, PERIOD};

const LIMIT: u32 = 100;
const LIMITS: RateLimitSettings = RateLimitSettings {
    connections_per_ip: 20,
    messages_per_client: 1,
    messages_per_ip: LIMIT,
    messages_per_room: 1,
};
const LONGEST_US: u64 = 70_000_000;

fn ip() -> IpAddr {
    IpAddr::from([203, 0, 113, 7])
}

/// What `sync.lua` does, without its bound of addresses. Times in µs.
#[derive(Default)]
struct Model {
    full_at: HashMap<(usize, String), u64>,
}

impl Model {
    fn call(&mut self, arguments: &[String], now: u64) -> Vec<u64> {
        let number = |index: usize| arguments[index].parse::<u64>().unwrap();
        let mut answer = Vec::new();
        for i in (2..arguments.len()).step_by(5) {
            for which in 0..2 {
                let (cost, age) = (number(i + 1 + 2 * which), number(i + 2 + 2 * which));
                if cost == 0 {
                    answer.push(0);
                    continue;
                }
                let bucket = (which, arguments[i].clone());
                let mut full_at = self.full_at.get(&bucket).copied().unwrap_or_default();
                full_at = (full_at.max(now.saturating_sub(age)) + cost).min(now + number(1));
                if full_at > now {
                    self.full_at.insert(bucket, full_at);
                } else {
                    self.full_at.remove(&bucket);
                }
                answer.push(full_at.saturating_sub(now));
            }
        }
        answer
    }
}

/// Instances that share a model, in a time of their own.
struct World {
    start: Instant,
    now_ms: u64,
    model: Model,
    instances: Vec<Clients>,
    passed: Vec<u32>,
}

impl World {
    fn new(instances: usize) -> Self {
        Self {
            start: Instant::now(),
            // The clock of the model is no younger than what was taken.
            now_ms: 0,
            model: Model::default(),
            instances: (0..instances).map(|_| Clients::reporting()).collect(),
            passed: vec![0; instances],
        }
    }

    fn now(&self) -> Instant {
        self.start + Duration::from_millis(self.now_ms)
    }

    fn send(&mut self, instance: usize, messages: u32) {
        let now = self.now();
        let client = self.instances[instance].client(ip(), &LIMITS, now);
        let passed: u32 = (0..messages)
            .map(|_| u32::from(client.message(&LIMITS, now)))
            .sum();
        self.passed[instance] += passed;
    }

    fn round(&mut self, instance: usize) {
        self.slow_round(instance, [0, 0], 0);
    }

    /// A round whose ways there and back take so many ms, while so many messages are sent before, between and after
    /// them.
    fn slow_round(&mut self, instance: usize, ways_ms: [u64; 2], messages: u32) {
        let sent_ms = self.now_ms;
        let reports = self.instances[instance].reports(1024, &LIMITS, self.now());
        let arguments = exchange::arguments(&reports, &LIMITS);
        self.send(instance, messages);
        self.now_ms += ways_ms[0];
        let answer = self.model.call(&arguments, 1_000_000_000 + self.now_ms * 1000);
        self.send(instance, messages);
        self.now_ms += ways_ms[1];
        self.send(instance, messages);
        let flight = Duration::from_millis(self.now_ms - sent_ms);
        exchange::merge(&reports, &answer, flight, &LIMITS, self.now()).unwrap();
    }

    fn sum(&self) -> u32 {
        self.passed.iter().sum()
    }
}

#[test]
fn a_flood_at_several_instances_gets_about_the_one_limit() {
    for instances in [2_u32, 3, 5, 8] {
        let mut world = World::new(instances as usize);
        let (mut before, mut seconds) = (0, 0);
        for step in 0_u32..20_000 {
            world.now_ms += 10;
            for instance in 0..instances {
                world.send(instance as usize, 10);
                // Each at its own time of the second.
                if step % 100 == instance * 7 {
                    world.round(instance as usize);
                }
            }
            seconds += u32::from(step % 100 == 99);
            // Ten periods, after the debt of the first bursts.
            if seconds == 100 && before == 0 {
                before = world.sum();
            }
        }
        let sum = world.sum() - before;
        let excess = (instances - 1) * LIMIT / 10;
        assert!(
            (10 * LIMIT - excess..=10 * LIMIT + excess).contains(&sum),
            "{instances} instances let {sum} through in 100 s, of {LIMIT} per 10 s"
        );
        let first_bursts = instances * (LIMIT + LIMIT / 10) + instances;
        assert!(world.sum() <= 20 * LIMIT + first_bursts, "{} in all", world.sum());
    }
}

#[test]
fn who_moves_to_another_instance_takes_what_is_left() {
    let mut world = World::new(2);
    world.send(0, 70);
    world.round(0);
    world.send(1, 1);
    world.round(1);
    world.send(1, 200);
    assert_eq!(world.passed, [70, 30]);
    // Ten seconds later nothing is remembered.
    world.now_ms += 10_000;
    world.send(0, 200);
    assert_eq!(world.passed, [170, 30]);
}

#[test]
fn what_is_sent_while_a_report_is_away_counts_too() {
    let mut world = World::new(2);
    world.send(0, 90);
    world.round(0);
    world.send(1, 1);
    world.slow_round(1, [0, 0], 2);
    world.send(1, 200);
    assert_eq!(world.passed, [90, 10]);
}

proptest! {
    /// Whatever is sent where and whenever instances speak: over all instances no more than one limit, and one burst and
    /// one round's flow for each further instance.
    #[test]
    fn the_excess_is_bounded(
        instances in 1usize..=5,
        steps in prop::collection::vec((0usize..5, 0u32..150, 0u64..3000), 1..200),
    ) {
        let mut world = World::new(instances);
        let mut spoken_ms = vec![0; instances];
        for (instance, messages, gap_ms) in steps {
            let end_ms = world.now_ms + gap_ms;
            // Rounds come once a second, whatever else happens.
            while world.now_ms < end_ms {
                world.now_ms = end_ms.min(world.now_ms + 250);
                for (instance, spoken_ms) in spoken_ms.iter_mut().enumerate() {
                    if world.now_ms >= *spoken_ms + 750 {
                        *spoken_ms = world.now_ms;
                        world.round(instance);
                    }
                }
            }
            world.send(instance % instances, messages);
            let seconds = f64::from(u32::try_from(world.now_ms).unwrap()) / 1000.0;
            let flow = seconds * f64::from(LIMIT) / 10.0;
            let bursts = f64::from(u32::try_from(instances).unwrap()) * f64::from(LIMIT) * 1.1;
            prop_assert!(f64::from(world.sum()) <= flow + bursts + 1.0, "{:?} after {} s", world.passed, seconds);
        }
    }

    /// An instance that is alone lets through what it would without a word to anybody, but for what comes while reports are
    /// on their way to Redis.
    #[test]
    fn an_instance_alone_limits_nobody_earlier(
        ways_ms in prop_oneof![Just([0, 0]), [0u64..500, 0u64..500]],
        steps in prop::collection::vec((0u32..150, 0u64..3000, any::<bool>(), 0u32..50), 1..100),
    ) {
        let (mut told, mut alone) = (World::new(1), World::new(1));
        let mut on_the_way_ms = 0;
        for (messages, gap_ms, round, meanwhile) in steps {
            for world in [&mut told, &mut alone] {
                world.now_ms += gap_ms;
                world.send(0, messages);
            }
            if round {
                told.slow_round(0, ways_ms, meanwhile);
                for way_ms in [0, ways_ms[0], ways_ms[1]] {
                    alone.now_ms += way_ms;
                    alone.send(0, meanwhile);
                }
                on_the_way_ms += ways_ms[0];
            }
            let came = u32::try_from((on_the_way_ms * u64::from(LIMIT)).div_ceil(10_000)).unwrap();
            prop_assert!(told.sum() <= alone.sum() && told.sum() + came >= alone.sum());
        }
    }
}

#[test]
fn a_malformed_answer_changes_nothing() {
    let clients = Clients::reporting();
    let now = Instant::now();
    assert!(clients.client(ip(), &LIMITS, now).message(&LIMITS, now));
    let reports = clients.reports(9, &LIMITS, now);
    let error = exchange::merge(&reports, &[9_000_000], Duration::ZERO, &LIMITS, now).unwrap_err();
    assert_eq!(error.to_string(), "1 numbers to a report of 2 buckets");
    assert_eq!(
        clients.client(ip(), &LIMITS, now).message_wait(&LIMITS, now),
        Duration::ZERO
    );
}

// === with a real Redis ===

struct Store {
    server: RedisServer,
    link: RedisLink,
    keys: [String; 2],
}

impl Store {
    async fn start() -> Self {
        let server = RedisServer::start();
        let endpoint = RedisEndpoint::from_url(&server.url()).unwrap();
        let link = RedisLink::start(endpoint, LinkOptions::default(), RedisMetrics::unregistered());
        link.wait_healthy().await;
        let keys = Keys::new(&ObjectName::new("games", "main"));
        let keys = [keys.client_connections(), keys.client_messages()];
        Self { server, link, keys }
    }

    async fn call(&self, arguments: &[String]) -> Vec<u64> {
        self.link.script(script(), &self.keys, arguments).await.unwrap()
    }

    fn integer(&self, command: &str) -> i64 {
        let answer = self.server.command(command);
        let line = answer.lines().find_map(|line| line.strip_prefix(':'));
        line.unwrap().parse().unwrap()
    }
}

fn unix_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    u64::try_from(since.as_micros()).unwrap()
}

fn call_of(most: usize, entries: &[(&str, [u64; 4])]) -> Vec<String> {
    let mut arguments = vec![most.to_string(), LONGEST_US.to_string()];
    for (address, numbers) in entries {
        arguments.push((*address).to_owned());
        arguments.extend(numbers.iter().map(u64::to_string));
    }
    arguments
}

#[tokio::test]
async fn two_instances_share_a_limit_through_redis() {
    let store = Store::start().await;
    let (one, two) = (Clients::reporting(), Clients::reporting());
    let started = Instant::now();
    let send = |clients: &Clients, messages: u32| {
        let now = Instant::now();
        let client = clients.client(ip(), &LIMITS, now);
        (0..messages)
            .map(|_| u32::from(client.message(&LIMITS, now)))
            .sum::<u32>()
    };
    let came = || started.elapsed().as_secs_f64() * f64::from(LIMIT) / 10.0;
    let round = async |clients: &Clients| {
        let reports = clients.reports(9, &LIMITS, Instant::now());
        exchange(&store.link, &store.keys, &reports, &LIMITS)
            .await
            .unwrap();
    };
    assert_eq!((send(&one, 70), send(&two, 1)), (70, 1));
    round(&one).await;
    round(&two).await;
    let left = send(&two, 1000);
    let most = 29.0 + came() + 1.0;
    assert!(
        left >= 29 && f64::from(left) <= most,
        "{left} passed, at most {most}"
    );
    round(&two).await;
    // Whoever speaks next hears of it.
    send(&one, 1);
    round(&one).await;
    let left = send(&one, 1000);
    assert!(
        f64::from(left) <= came() + 1.0,
        "{left} passed of a bucket that is empty elsewhere"
    );
    // Connections are another matter, and nobody made one.
    assert_eq!(store.integer(&format!("EXISTS {}", store.keys[0])), 0);
    let ttl = store.integer(&format!("PTTL {}", store.keys[1]));
    let longest = i64::try_from((PERIOD + MOST_DEBT).as_millis()).unwrap();
    assert!(ttl > 0 && ttl <= longest, "{ttl}");
}

/// Both clocks are that of this machine, so the model runs once at the latest and once at the earliest time at which the
/// script can have looked. No bucket gets full again meanwhile: there the two would part.
#[tokio::test]
async fn the_script_does_what_the_model_says() {
    let store = Store::start().await;
    let (mut early, mut late) = (Model::default(), Model::default());
    let mut random = SmallRng::seed_from_u64(4);
    for _ in 0..300 {
        let mut number = |from: u64, to: u64| random.random_range(from..to);
        // An instance names each address once.
        let addresses: BTreeSet<String> = (0..number(0, 4))
            .map(|_| format!("203.0.113.{}", number(0, 60)))
            .collect();
        let mut entries = Vec::new();
        for address in &addresses {
            let mut numbers = [0; 4];
            for pair in numbers.chunks_mut(2) {
                if number(0, 10) < 7 {
                    pair.copy_from_slice(&[number(20_000_000, 40_000_000), number(0, 2_000_000)]);
                }
            }
            entries.push((&**address, numbers));
        }
        let arguments = call_of(100, &entries);
        let before = unix_us();
        let answer = store.call(&arguments).await;
        let after = unix_us();
        let most = late.call(&arguments, after);
        let least = early.call(&arguments, before);
        assert_eq!(answer.len(), entries.len() * 2);
        for (index, got) in answer.iter().enumerate() {
            let slack = after - before;
            assert!(
                *got + slack >= least[index] && *got <= most[index] + slack,
                "{got} is not from {} to {} ± {slack}: {arguments:?}",
                least[index],
                most[index]
            );
        }
    }
}

#[tokio::test]
async fn what_redis_keeps_is_bounded_and_ends() {
    let store = Store::start().await;
    let second = 1_000_000;
    store
        .call(&call_of(
            2,
            &[
                ("a", [second, 0, second, 0]),
                ("b", [0, 0, 30 * second, 0]),
                ("c", [0, 0, second, 0]),
            ],
        ))
        .await;
    // The third address is limited by its instance alone.
    let answer = store.call(&call_of(2, &[("c", [0, 0, 5 * second, 0])])).await;
    assert_eq!(answer, [0, 5 * second]);
    let count = |key: usize| store.integer(&format!("ZCARD {}", store.keys[key]));
    assert_eq!((count(0), count(1)), (1, 2));
    // No debt is longer than the longest.
    let answer = store.call(&call_of(2, &[("b", [0, 0, 100 * second, 0])])).await;
    assert_eq!(answer, [0, LONGEST_US]);
    for key in &store.keys {
        let ttl = store.integer(&format!("PTTL {key}"));
        assert!(ttl > 0 && ttl <= 70_000, "{key}: {ttl}");
    }
    // Who has waited is forgotten, and makes room.
    let end = Instant::now() + Duration::from_secs(30);
    while count(1) > 1 {
        assert!(Instant::now() < end, "nothing is forgotten");
        tokio::time::sleep(Duration::from_millis(50)).await;
        store.call(&call_of(2, &[("nobody", [0, 0, 0, 0])])).await;
    }
    store.call(&call_of(2, &[("c", [0, 0, 5 * second, 0])])).await;
    assert_eq!(count(1), 2);
}
