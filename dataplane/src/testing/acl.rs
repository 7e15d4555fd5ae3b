//! The user that the documentation tells operators to make.

use super::RedisServer;

/// The page that names the rules.
const PAGE: &str = include_str!("../../../docs/operations.md");
/// Makes the user `berth` with the password `narrow` on all these servers, with exactly the rules that
/// `docs/operations.md` gives for a SignalingCluster.
pub fn narrow_user<'a>(servers: impl IntoIterator<Item = &'a RedisServer>, namespace: &str, name: &str) {
    let command = rules("redis-acl").replace("NAMESPACE/NAME", &format!("{namespace}/{name}"));
    make(servers, &command);
}

/// The same on Sentinels.
pub fn narrow_sentinel_user<'a>(sentinels: impl IntoIterator<Item = &'a RedisServer>) {
    make(sentinels, &rules("sentinel-acl"));
}

fn make<'a>(servers: impl IntoIterator<Item = &'a RedisServer>, command: &str) {
    for server in servers {
        let made = server.command(command);
        assert!(made.starts_with("+OK"), "{command}: {made}");
    }
}

/// The command in the block of this name.
fn rules(block: &str) -> String {
    let (_, text) = PAGE
        .split_once(&format!("```text {block}\n"))
        .expect("the page has that block");
    let (text, _) = text.split_once("```").expect("the block ends");
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").replace("PASSWORD", "narrow")
}
