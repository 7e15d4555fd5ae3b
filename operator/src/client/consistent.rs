//! Lists that begin a watch are never older than the request.
//!
//! kube asks for them with version 0, which an API server whose cache is behind others may answer with what it held then. An operator that
//! starts, or begins its watch anew, would go back in time, and could delete what is wanted or set an earlier number of pods.
//! Without a version the server first catches up ("consistent read", Kubernetes API concepts, "Streaming lists").

use http::{Request, Uri};
use kube::client::Body;

/// Takes the version 0 out of a watch that begins with a list.
pub(crate) fn consistent(mut request: Request<Body>) -> Request<Body> {
    if let Some(uri) = without_version(request.uri()) {
        *request.uri_mut() = uri;
    }
    request
}

fn without_version(uri: &Uri) -> Option<Uri> {
    let query = uri.query()?;
    let has = |wanted: &str| query.split('&').any(|part| part == wanted);
    if !has("sendInitialEvents=true") || !has("resourceVersion=0") {
        return None;
    }
    let kept: Vec<_> = query
        .split('&')
        .filter(|part| *part != "resourceVersion=0")
        .collect();
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(format!("{}?{}", uri.path(), kept.join("&")).parse().ok()?);
    Uri::from_parts(parts).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_version_0_of_a_streamed_list_is_taken_out() {
        let of = |text: &str| without_version(&text.parse().unwrap()).map(|uri| uri.to_string());
        assert_eq!(
            of("https://api/apis/g/v1/kinds?&watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&resourceVersion=0"),
            Some(
                "https://api/apis/g/v1/kinds?&watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan".into()
            )
        );
        assert_eq!(of("/apis/g/v1/kinds?watch=true&resourceVersion=0"), None);
        assert_eq!(
            of("/apis/g/v1/kinds?watch=true&sendInitialEvents=true&resourceVersion=7"),
            None
        );
        assert_eq!(of("/apis/g/v1/kinds"), None);
    }
}
