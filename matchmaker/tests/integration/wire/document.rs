//! The document of the API, its page, and that both say what is so.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::support::http::{delete, get, post};
use crate::support::server::{SECRET, Served};

/// The file that people read.
const KEPT: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/openapi.json"));

#[tokio::test]
async fn what_is_served_is_what_is_kept() {
    let served = Served::new().await;
    let answer = get("/api/openapi.json").send(served.public).await;
    assert_eq!(
        (answer.status, answer.header("content-type")),
        (200, Some("application/json"))
    );
    assert!(
        answer.body == KEPT,
        "docs/openapi.json is old; run `cargo xtask generate`"
    );
}

#[test]
fn the_document_is_whole() {
    let document: Value = serde_json::from_str(KEPT).unwrap();
    assert_eq!(document["openapi"], "3.1.0");
    let mut statuses = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let secret = operation["security"][0].get("hostSecret").is_some();
            assert_eq!(secret, path.starts_with("/api/host/"), "{method} {path}");
            for (status, answer) in operation["responses"].as_object().unwrap() {
                statuses.insert(status.clone());
                assert!(
                    answer["headers"]["x-request-id"].is_object(),
                    "{method} {path} {status}"
                );
                let retry = answer["headers"]["Retry-After"].is_object();
                assert_eq!(
                    retry,
                    ["429", "503"].contains(&status.as_str()),
                    "{method} {path} {status}"
                );
            }
        }
    }
    let all = [
        "200", "204", "400", "401", "403", "404", "405", "408", "409", "410", "413", "429", "500", "503",
    ];
    assert!(statuses.iter().eq(all), "{statuses:?}");
    let list = &document["paths"]["/api/hosts"]["get"]["responses"]["200"];
    assert!(list["headers"]["Link"].is_object());
    // Every name that is pointed at is there.
    let mut at = KEPT.match_indices("#/components/schemas/").peekable();
    assert!(at.peek().is_some());
    for (start, prefix) in at {
        let name = KEPT[start + prefix.len()..].split('"').next().unwrap();
        assert!(document["components"]["schemas"][name].is_object(), "{name}");
    }
}

#[tokio::test]
async fn every_path_of_the_document_is_served() {
    let served = Served::new().await;
    let document: Value = serde_json::from_str(KEPT).unwrap();
    let paths = document["paths"].as_object().unwrap();
    assert!(paths.len() > 10);
    // On the public port of this server there are no metrics, as the document says.
    for path in paths.keys().filter(|path| *path != "/metrics") {
        let answer = post(&format!("{}/%ff", path.trim_end_matches('/'))).bearer(SECRET);
        assert_ne!(answer.send(served.public).await.status, 200, "{path}");
        for (method, request) in [("get", get(path)), ("post", post(path)), ("delete", delete(path))] {
            let documented = paths[path].get(method).is_some();
            let status = request.bearer(SECRET).send(served.public).await.status;
            // A host of the name of another path cannot be told from it.
            assert_eq!(status != 405, documented, "{method} {path}: {status}");
        }
    }
}

#[tokio::test]
async fn a_path_that_is_no_text_names_no_match() {
    let served = Served::new().await;
    for request in [delete("/api/match/%ff"), post("/api/match/%ff/resume")] {
        let answer = request.send(served.public).await;
        assert_eq!(
            (answer.status, answer.json()["error"].as_str()),
            (404, Some("No such match"))
        );
    }
}

#[tokio::test]
async fn what_no_host_id_can_be_is_refused_in_lists() {
    let served = Served::new().await;
    let answer = get(&format!("/api/hosts?after={}", "x".repeat(129)))
        .send(served.public)
        .await;
    assert_eq!(
        (answer.status, &answer.json()["issues"][0]["path"]),
        (400, &Value::from("after"))
    );
}

#[tokio::test]
async fn the_page_loads_nothing_from_elsewhere() {
    let served = Served::new().await;
    let away = get("/api/docs").send(served.public).await;
    assert_eq!((away.status, away.header("location")), (308, Some("docs/")));
    let page = get("/api/docs/").send(served.public).await;
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    let loaded: Vec<&str> = page
        .body
        .split(['"'])
        .filter(|text| text.contains(".js") || text.contains(".css"))
        .collect();
    assert_eq!(loaded, ["swagger-ui.css", "swagger-ui-bundle.js", "page.js"]);
    assert!(
        !page.body.contains("//") && !page.body.contains("<style"),
        "{}",
        page.body
    );
    for file in ["", "swagger-ui.css", "swagger-ui-bundle.js", "page.js"] {
        let answer = get(&format!("/api/docs/{file}")).send(served.public).await;
        assert_eq!(
            (answer.status, answer.header("x-content-type-options")),
            (200, Some("nosniff")),
            "{file}"
        );
        let policy = answer.header("content-security-policy").unwrap();
        assert!(
            policy.starts_with("default-src 'none'; script-src 'self'; "),
            "{policy}"
        );
        assert!(!policy.contains("unsafe") && !policy.contains("http"), "{policy}");
    }
}
