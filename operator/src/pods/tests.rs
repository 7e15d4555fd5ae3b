//! Who is asked, how often, and what is made of the answers.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use super::board::GRACE;
use super::*;

fn service() -> Service {
    Service::Signaling(ObjectName::new("ns", "main"))
}

fn pod(last: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 0, 0, last))
}

fn wanted(generation: i64) -> Generations {
    [("SignalingCluster", generation)].into()
}

fn told(generation: i64) -> BTreeMap<String, i64> {
    [("SignalingCluster".to_owned(), generation)].into()
}

fn report(generation: i64, open: i64) -> PodReport {
    PodReport {
        settings: ReportedSettings {
            own: "SignalingCluster named main in namespace ns".into(),
            generations: Some(told(generation)),
            refused: None,
        },
        connections: Some(ReportedConnections { open }),
        redis: None,
    }
}

struct Desk {
    board: Board,
    start: Instant,
    count: Option<Duration>,
}

impl Desk {
    fn new(count: Option<Duration>) -> Self {
        Self {
            board: Board::default(),
            start: Instant::now(),
            count,
        }
    }

    fn at(&self, ms: u64) -> Instant {
        self.start + Duration::from_millis(ms)
    }

    fn plan(&self, generation: i64, pods: &[u8], ms: u64) -> Vec<IpAddr> {
        let ready: BTreeSet<_> = pods.iter().copied().map(pod).collect();
        let wanted = Some(wanted(generation));
        self.board
            .plan(&service(), wanted, &ready, self.count, self.at(ms))
            .0
    }

    fn answer(&self, from: u8, answer: Option<PodReport>, ms: u64) -> bool {
        self.board.answered(&service(), pod(from), answer, self.at(ms))
    }

    fn followers(&self, generation: i64) -> crate::status::Followers {
        self.board
            .followers(&service(), Some(&wanted(generation)))
            .unwrap()
    }
}

#[test]
fn a_pod_is_asked_once_per_generation_and_never_at_rest() {
    let desk = Desk::new(None);
    assert_eq!(desk.plan(1, &[1, 2], 0), [pod(1), pod(2)]);
    assert!(
        desk.plan(1, &[1, 2], 10).is_empty(),
        "the questions are on their way"
    );
    assert!(
        desk.board.followers(&service(), Some(&wanted(1))).is_none(),
        "nobody knows yet"
    );
    desk.answer(1, Some(report(1, 0)), 20);
    assert!(desk.answer(2, Some(report(1, 0)), 30), "the last one is news");
    assert_eq!(desk.followers(1).following, 2);
    for minute in 1..60 {
        assert!(desk.plan(1, &[1, 2], minute * 60_000).is_empty());
    }
    // The same facts say at once, before anybody was asked, that another generation is not followed.
    assert_eq!(desk.followers(2).following, 0);
    assert_eq!(desk.plan(2, &[1, 2], 3_600_001), [pod(1), pod(2)]);
    assert_eq!(
        desk.plan(2, &[1, 2, 3], 3_600_002),
        [pod(3)],
        "a new pod is asked at once"
    );
}

#[test]
fn a_pod_that_stays_behind_is_asked_less_and_less_often() {
    let desk = Desk::new(None);
    let mut asked = Vec::new();
    for ms in (0..120_000).step_by(250) {
        if !desk.plan(2, &[1], ms).is_empty() {
            asked.push(ms);
            desk.answer(1, Some(report(1, 0)), ms);
        }
    }
    let waits: Vec<_> = asked.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert_eq!(waits[..6], [500, 1000, 2000, 4000, 8000, 15_000]);
    assert!(waits[5..].iter().all(|wait| *wait == 15_000), "{waits:?}");
}

#[test]
fn silence_counts_only_when_it_lasts_and_an_answer_ends_it() {
    let desk = Desk::new(None);
    desk.plan(1, &[1, 2], 0);
    desk.answer(2, Some(report(1, 0)), 0);
    let grace = u64::try_from(GRACE.as_millis()).unwrap();
    desk.answer(1, None, 100);
    assert_eq!(desk.followers(1).lost, 0);
    assert!(!desk.answer(1, None, grace), "no news within the grace");
    assert!(desk.answer(1, None, grace + 100));
    assert_eq!(desk.followers(1).lost, 1);
    assert!(!desk.answer(1, None, grace + 200), "the same is no news");
    assert!(desk.answer(1, Some(report(1, 0)), grace + 300));
    assert_eq!((desk.followers(1).lost, desk.followers(1).following), (0, 2));
}

#[test]
fn only_a_refusal_of_what_is_wanted_counts() {
    let desk = Desk::new(None);
    desk.plan(2, &[1], 0);
    let refusing = |generations| {
        let mut report = report(1, 0);
        report.settings.refused = Some(ReportedRefusal {
            generations,
            reason: "spec.a: b".into(),
        });
        Some(report)
    };
    desk.answer(1, refusing(Some(told(1))), 0);
    assert_eq!(desk.followers(2).refused, None, "that was another version");
    desk.answer(1, refusing(Some(told(2))), 1);
    assert_eq!(desk.followers(2).refused.as_deref(), Some("spec.a: b"));
    desk.answer(1, refusing(None), 2);
    assert_eq!(desk.followers(2).refused.as_deref(), Some("spec.a: b"));
}

#[test]
fn connections_are_told_once_per_interval() {
    let desk = Desk::new(Some(Duration::from_secs(10)));
    let connections = || desk.board.connections(&service());
    assert_eq!(desk.plan(1, &[1, 2], 0).len(), 2);
    desk.answer(1, Some(report(1, 3)), 0);
    assert_eq!(connections(), None, "half a count is none");
    assert!(desk.answer(2, Some(report(1, 4)), 0));
    assert_eq!(connections(), Some(7));
    assert!(desk.plan(1, &[1, 2], 9_000).is_empty());
    assert_eq!(desk.plan(1, &[1, 2], 10_000).len(), 2);
    desk.answer(1, Some(report(1, 5)), 10_001);
    assert_eq!(connections(), Some(7));
    assert!(
        desk.answer(2, None, 10_002),
        "a silent pod has as many as it said last"
    );
    assert_eq!(connections(), Some(9));
    desk.board.retain(|_| false);
    assert_eq!(connections(), None);
}

#[tokio::test]
async fn reads_what_a_service_serves() {
    const BODY: &str = r#"{"service": "signaling", "connections": {"open": 4, "slowReceivers": 0},
        "settings": {"own": "SignalingCluster named main in namespace ns", "generation": 2, "fromCache": false,
        "generations": {"SignalingCluster": 2}, "refused": {"generations": {"SignalingCluster": 3}, "reason": "no"}}}"#;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = axum::Router::new().route("/statusz", axum::routing::get(async || BODY));
    tokio::spawn(async move { axum::serve(listener, app).await });
    let told_now = PodReader::read(&crate::counts::HttpCounts::default(), address)
        .await
        .unwrap();
    let mut expected = report(2, 4);
    expected.settings.refused = Some(ReportedRefusal {
        generations: Some(told(3)),
        reason: "no".into(),
    });
    assert_eq!(told_now, expected);
}

#[test]
fn what_any_pod_says_of_redis_is_kept_and_a_change_is_told() {
    let desk = Desk::new(None);
    desk.plan(1, &[1], 0);
    let says = |up| {
        let redis = ReportedRedis {
            mode: "sentinel".into(),
            up,
            ..ReportedRedis::default()
        };
        Some(PodReport {
            redis: Some(redis),
            ..report(1, 0)
        })
    };
    assert_eq!(desk.board.redis(&service()), None);
    desk.board.answered(&service(), pod(1), says(true), desk.at(1));
    // One that is not ready speaks of it too, and is not counted.
    assert!(desk.board.answered(&service(), pod(9), says(false), desk.at(2)));
    assert!(!desk.board.answered(&service(), pod(9), says(false), desk.at(3)));
    assert!(!desk.board.redis(&service()).unwrap().up);
    assert_eq!(
        desk.board.followers(&service(), Some(&wanted(1))).unwrap().ready,
        1
    );

    let every = Duration::from_secs(15);
    assert!(desk.board.redis_is_due(&service(), every, desk.at(4)));
    assert!(!desk.board.redis_is_due(&service(), every, desk.at(14_000)));
    assert!(desk.board.redis_is_due(&service(), every, desk.at(15_004)));
}
