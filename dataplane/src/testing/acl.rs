//! The user that the documentation tells operators to make.

use super::RedisServer;

/// The page that names the rules.
const PAGE: &str = include_str!("../../../docs/operations.md");
/// What the block of rules begins with there.
const BLOCK: &str = "```text redis-acl\n";

/// Makes the user `berth` with the password `narrow` on all these servers, with exactly the rules that
/// `docs/operations.md` gives for a SignalingCluster.
pub fn narrow_user<'a>(servers: impl IntoIterator<Item = &'a RedisServer>, namespace: &str, name: &str) {
    let (_, block) = PAGE.split_once(BLOCK).expect("the page has a block of rules");
    let (block, _) = block.split_once("```").expect("the block ends");
    let command: String = block
        .replace("NAMESPACE/NAME", &format!("{namespace}/{name}"))
        .replace("PASSWORD", "narrow")
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ");
    for server in servers {
        let made = server.command(&command);
        assert!(made.starts_with("+OK"), "{command}: {made}");
    }
}
