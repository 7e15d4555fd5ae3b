//! One pod is asked per interval; what cannot be read changes nothing.

use std::net::{IpAddr, Ipv4Addr};

use axum::Router;
use axum::routing::get;
use berth_crds::api::{HostCounts, RegionCounts, RegionDemand, SlotCounts};
use futures::future::BoxFuture;
use parking_lot::Mutex;

use super::*;

struct Answers {
    asked: Mutex<Vec<SocketAddr>>,
    answer: fn(SocketAddr) -> Result<PoolCounts, CountsError>,
}

impl CountsReader for Answers {
    fn read(&self, pod: SocketAddr) -> BoxFuture<'static, Result<PoolCounts, CountsError>> {
        self.asked.lock().push(pod);
        Box::pin(std::future::ready((self.answer)(pod)))
    }
}

fn pod(last: u8) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, last)), 9090)
}

fn counts(pool: &str) -> PoolCounts {
    PoolCounts {
        pool: pool.into(),
        slots: SlotCounts {
            total: 3,
            available: 2,
            taken: 1,
        },
        ..PoolCounts::default()
    }
}

fn due(pods: &[u8]) -> Due {
    Due {
        pool: ObjectName::new("ns", "eu"),
        pods: pods.iter().copied().map(pod).collect(),
    }
}

#[tokio::test]
async fn the_first_pod_that_answers_is_the_only_one_that_counts() {
    let reader = Answers {
        asked: Mutex::default(),
        answer: |asked| match asked {
            asked if asked == pod(1) => Err(CountsError::Unreachable),
            asked if asked == pod(2) => Ok(counts("ns/us")),
            _ => Ok(counts("ns/eu")),
        },
    };
    let reading = ask(&reader, &due(&[1, 2, 3, 4])).await;
    assert!(matches!(reading, Occupation::Counted { slots, .. } if slots.available == 2));
    assert_eq!(*reader.asked.lock(), [pod(1), pod(2), pod(3)]);
}

#[tokio::test]
async fn nobody_to_ask_is_unreachable_and_tries_are_bounded() {
    let reader = Answers {
        asked: Mutex::default(),
        answer: |_| Err(CountsError::Unreachable),
    };
    assert_eq!(ask(&reader, &due(&[])).await, Occupation::Unreachable);
    assert_eq!(
        ask(&reader, &due(&[1, 2, 3, 4, 5])).await,
        Occupation::Unreachable
    );
    assert_eq!(reader.asked.lock().len(), MOST_TRIES);
}

#[test]
fn a_reading_is_news_only_when_it_differs() {
    let board = Board::default();
    let pool = ObjectName::new("ns", "eu");
    assert!(!board.put(&pool, &Occupation::Unread));
    assert!(board.put(&pool, &Occupation::Unreachable));
    assert!(!board.put(&pool, &Occupation::Unreachable));
    board.retain(|_| false);
    assert_eq!(board.get(&pool), Occupation::Unread);
}

#[tokio::test]
async fn reads_what_a_matchmaker_serves() {
    const BODY: &str = r#"{"pool": "ns/eu", "hosts": {"total": 7, "idle": 1, "busy": 2, "allocated": 1, "unreachable": 0, "draining": 3},
        "slots": {"total": 3, "available": 1}, "regions": {"us": {"hosts": 2, "availableSlots": 1}, "eu": {"hosts": 1,
        "availableSlots": 0}}, "demand": [{"region": "us", "refused": 4}, {"region": "asia", "refused": 1}],
        "occupancyKnown": true}"#;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = Router::new().route("/counts", get(async || BODY));
    tokio::spawn(async move { axum::serve(listener, app).await });

    let reader = HttpCounts::default();
    let counts = reader.read(address).await.unwrap();
    assert_eq!(
        counts.hosts,
        HostCounts {
            total: 7,
            idle: 1,
            busy: 2,
            allocated: 1,
            unreachable: 0,
            draining: 3
        }
    );
    let region = |name: &str, hosts, available_slots| RegionCounts {
        name: name.into(),
        hosts,
        available_slots,
    };
    assert_eq!(counts.regions(), [region("eu", 1, 0), region("us", 2, 1)]);
    let demand = |region: &str, refused| RegionDemand {
        region: region.into(),
        refused,
    };
    assert_eq!(counts.demand(), [demand("asia", 1), demand("us", 4)]);
    // One of before has none to tell.
    let before: PoolCounts = serde_json::from_str(r#"{"pool": "ns/eu", "hosts": {}, "slots": {}}"#).unwrap();
    assert_eq!(before.demand(), []);
}

#[test]
fn demand_is_bounded_and_names_each_region_once() {
    let demand = |number: i64| RegionDemand {
        region: format!("r{:03}", number % 100),
        refused: number,
    };
    let counts = PoolCounts {
        demand: (0..200).map(demand).collect(),
        ..PoolCounts::default()
    };
    let told = counts.demand();
    assert_eq!(told.len(), 65);
    assert!(told.windows(2).all(|pair| pair[0].region < pair[1].region));
}

#[tokio::test]
async fn an_answer_that_is_too_long_is_refused() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = Router::new().route("/counts", get(async || "x".repeat(1 << 20)));
    tokio::spawn(async move { axum::serve(listener, app).await });
    let refused = HttpCounts::default().read(address).await.unwrap_err();
    assert!(matches!(refused, CountsError::Malformed), "{refused}");
}
