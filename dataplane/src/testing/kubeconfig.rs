//! An API server that is away.

use serde_json::json;

use super::free_port;

/// A kubeconfig for an API server that does not answer.
pub fn kubeconfig_of_nobody() -> String {
    let server = format!("http://127.0.0.1:{}", free_port());
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": server}}],
        "users": [{"name": "u", "user": {}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    })
    .to_string()
}
