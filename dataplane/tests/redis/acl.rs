//! A user that may do what Berth needs and nothing else, on each kind of Redis. What the stores need beyond that is
//! proven by their own suites, which run as this user too.

use std::collections::BTreeSet;
use std::path::Path;

use berth_dataplane::redis::{RedisLink, Script, SubscriptionEvent, cmd};
use berth_dataplane::testing::{
    RedisCluster, RedisSentinels, RedisServer, SentinelOptions, TestRedis, narrow_sentinel_user, narrow_user,
};

use crate::support::{link, message, next, set, until};

/// Who is logged in.
struct As<'a, R>(&'a R);

impl<R: TestRedis> TestRedis for As<'_, R> {
    fn url(&self) -> String {
        self.0.url().replacen("://", "://berth:narrow@", 1)
    }
}

async fn does_its_work(link: &RedisLink) {
    let script = Script::new("return redis.call('HSET', KEYS[1], 'a', '1')");
    let key = "berth:games/main:{games/main}:room:a";
    assert_eq!(link.script::<i64>(&script, &[key], &[""; 0]).await.unwrap(), 1);
    let channel = "berth:games/main:inbox:i1";
    let mut inbox = link.subscribe(channel, 10);
    assert_eq!(next(&mut inbox).await, SubscriptionEvent::Subscribed);
    assert_eq!(link.publish(channel, b"x").await.unwrap(), 1);
    assert_eq!(next(&mut inbox).await, message("x"));
    drop(inbox);
}

fn nothing_was_refused(servers: &[&RedisServer]) {
    for server in servers {
        let log = server.command("ACL LOG");
        assert!(log.starts_with("*0\r\n"), "{log}");
    }
}

#[tokio::test]
async fn one_server() {
    let server = RedisServer::start();
    narrow_user([&server], "games", "main");
    let link = link(&As(&server)).await;
    does_its_work(&link).await;
    until("unsubscribed", || {
        server.command("PUBSUB CHANNELS").starts_with("*0")
    })
    .await;
    nothing_was_refused(&[&server]);

    // What is not Berth's, or another SignalingCluster's.
    for other in ["other", "berth:games/main2:x", "berth:games/mai"] {
        assert!(set(&link, other, "1").await.is_err(), "{other}");
        assert!(link.publish(other, b"x").await.is_err(), "{other}");
    }
    for command in ["FLUSHALL", "CONFIG", "KEYS", "EVAL"] {
        let refused = link
            .command::<()>(cmd(command).arg("berth:games/main:x").arg("0"))
            .await;
        assert!(refused.is_err(), "{command}");
    }
    assert!(link.healthy(), "refusals are no outage");
}

#[tokio::test]
async fn a_cluster() {
    let cluster = RedisCluster::start();
    narrow_user(cluster.nodes(), "games", "main");
    let link = link(&As(&cluster)).await;
    does_its_work(&link).await;
    assert_eq!(cluster.calls("spublish"), 1);
    let servers: Vec<&RedisServer> = cluster.nodes().iter().collect();
    nothing_was_refused(&servers);
}

#[tokio::test]
async fn servers_behind_sentinels() {
    let options = SentinelOptions {
        parameters: "?sentinel_username=berth&sentinel_password=narrow",
        ..SentinelOptions::default()
    };
    let sentinels = RedisSentinels::start_with(1, &options);
    let servers = [sentinels.server(0), sentinels.server(1)];
    narrow_user(servers, "games", "main");
    narrow_sentinel_user(sentinels.sentinels());
    let link = link(&As(&sentinels)).await;
    does_its_work(&link).await;
    // The other one knows the user as well.
    sentinels.fail_over();
    let port = servers[1].port().to_string();
    until("the other one is the master", || {
        let master = link.health().master;
        master.is_some_and(|master| master.ends_with(&port)) && link.healthy()
    })
    .await;
    let news = || {
        let clients = sentinels.sentinels()[0].command("CLIENT LIST");
        clients.contains("user=berth")
    };
    until("the news of switches are subscribed", news).await;
    nothing_was_refused(&servers);
    nothing_was_refused(&sentinels.sentinels().iter().collect::<Vec<_>>());
}

/// The commands that scripts of the whole workspace call.
fn commands_of_scripts(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && !name.starts_with('.') && name != "target" {
            commands_of_scripts(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "lua") {
            let text = std::fs::read_to_string(&path).unwrap();
            for call in text.split("redis.call('").skip(1) {
                let (command, _) = call.split_once('\'').unwrap();
                found.insert(command.to_lowercase());
            }
        }
    }
}

#[test]
fn the_rules_name_every_command_of_every_script() {
    let server = RedisServer::start();
    narrow_user([&server], "games", "main");
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut commands = BTreeSet::new();
    commands_of_scripts(workspace, &mut commands);
    assert!(
        commands.contains("zadd") && commands.contains("time"),
        "{commands:?}"
    );
    // The server takes the rules, and shows them in other words.
    let page = std::fs::read_to_string(workspace.join("docs/operations.md")).unwrap();
    let (_, rules) = page.split_once("```text redis-acl\n").unwrap();
    let (rules, _) = rules.split_once("```").unwrap();
    for command in commands {
        let rule = format!("+{command}");
        // Of some commands only a part is needed.
        let part = format!("{rule}|");
        let names = |word: &str| word == rule || word.starts_with(&part);
        assert!(rules.split_whitespace().any(names), "{rule} is missing");
    }
}
