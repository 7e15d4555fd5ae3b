//! Who is asked when.

use std::collections::BTreeSet;

use berth_crds::settings::IceUrl;
use parking_lot::Mutex;

use super::*;

/// Answers for hosts that begin with `up`.
#[derive(Default)]
struct Answers(Mutex<Vec<String>>);

impl ServerProbe for Answers {
    fn ask(&self, url: IceUrl) -> BoxFuture<'static, Result<(), ProbeError>> {
        self.0.lock().push(url.to_string());
        let answer = if url.host.starts_with("up") {
            Ok(())
        } else {
            Err(ProbeError::Silent)
        };
        Box::pin(std::future::ready(answer))
    }
}

fn servers(urls: &[&str]) -> Servers {
    Servers {
        asked: urls.iter().map(|url| IceUrl::parse(url).unwrap()).collect(),
        left_out: 0,
    }
}

#[tokio::test]
async fn every_server_is_asked_once() {
    let probe = Answers::default();
    let reach = ask_all(&probe, servers(&["stun:up1", "stun:down", "stun:up2:9"])).await;
    assert_eq!(
        reach.answering,
        BTreeSet::from(["up1:3478".to_owned(), "up2:9".to_owned()])
    );
    assert_eq!(reach.silent["down:3478"], ProbeError::Silent);
    assert_eq!(probe.0.lock().len(), 3);
}

#[test]
fn what_stays_the_same_is_told_once() {
    let board = Board::default();
    let name = ObjectName::new("ns", "turn");
    let reach = Reach {
        left_out: 1,
        ..Reach::default()
    };
    assert!(board.put(&name, &reach));
    assert!(!board.put(&name, &reach));
    board.retain(|_| false);
    assert_eq!(board.get(&name), Reach::default());
}
