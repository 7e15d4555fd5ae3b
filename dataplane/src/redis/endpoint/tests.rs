use super::*;

fn server(access: &Access) -> ::redis::ConnectionInfo {
    let address = &access.url().addresses[0];
    access.server(address).unwrap().get_connection_info().clone()
}

#[test]
fn never_shows_credentials() {
    for (url, shown_as) in [
        (
            "rediss://someone:hunter2@cache.example:6380/3",
            "rediss://cache.example:6380/3",
        ),
        (
            "redis+sentinel://someone:hunter2@a,b/main?sentinel_password=hunter2",
            "redis+sentinel://a:26379,b:26379/main/0",
        ),
        (
            "redis+cluster://someone:hunter2@a,b",
            "redis+cluster://a:6379,b:6379",
        ),
    ] {
        let endpoint = RedisEndpoint::from_url(url).unwrap();
        let shown = format!("{endpoint} {endpoint:?}");
        assert!(shown.contains(shown_as), "{shown}");
        assert!(
            !shown.contains("hunter2") && !shown.contains("someone"),
            "{shown}"
        );
    }
}

#[test]
fn wrong_url_is_not_repeated() {
    let error = RedisEndpoint::from_url("http://:hunter2@cache.example").unwrap_err();
    let shown = format!("{error} {error:?}");
    assert!(shown.contains("redis[s]://"), "{shown}");
    assert!(!shown.contains("hunter2"), "{shown}");
}

#[tokio::test]
async fn url_and_password_files_are_read_at_each_connect() {
    let folder = tempfile::tempdir().unwrap();
    let (url, password) = (folder.path().join("url"), folder.path().join("password"));
    std::fs::write(&url, "redis://one:6379/1\n").unwrap();
    std::fs::write(&password, "first\n").unwrap();
    let endpoint = RedisEndpoint::from_url_file(url.clone())
        .unwrap()
        .with_password_file(password.clone());
    let info = server(&endpoint.access().await.unwrap());
    assert_eq!(info.addr().to_string(), "one:6379");
    assert_eq!(info.redis_settings().db(), 1);
    assert_eq!(info.redis_settings().password(), Some("first"));

    std::fs::write(&url, "redis://user:in-the-url@two:6379").unwrap();
    std::fs::write(&password, "second").unwrap();
    let info = server(&endpoint.access().await.unwrap());
    assert_eq!(info.addr().to_string(), "two:6379");
    assert_eq!(info.redis_settings().username(), Some("user"));
    assert_eq!(info.redis_settings().password(), Some("second"));

    std::fs::remove_file(&password).unwrap();
    let error = endpoint.access().await.err().unwrap();
    assert!(error.to_string().contains("password"), "{error}");
}

#[tokio::test]
async fn the_kind_of_a_file_stays_what_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let url = folder.path().join("url");
    assert!(RedisEndpoint::from_url_file(url.clone()).is_err(), "not there");
    std::fs::write(&url, "http://:hunter2@one").unwrap();
    let error = RedisEndpoint::from_url_file(url.clone()).unwrap_err();
    let text = crate::telemetry::with_causes(&error);
    assert!(text.contains("redis+") || text.contains("redis[s]://"), "{text}");
    assert!(text.contains("url") && !text.contains("hunter2"), "{text}");

    std::fs::write(&url, "redis+cluster://one").unwrap();
    let endpoint = RedisEndpoint::from_url_file(url.clone()).unwrap();
    assert_eq!(endpoint.mode(), RedisMode::Cluster);
    std::fs::write(&url, "redis://one").unwrap();
    let error = endpoint.access().await.err().unwrap().to_string();
    assert!(error.contains("restart"), "{error}");
}

#[tokio::test]
async fn sentinels_have_a_login_of_their_own() {
    let endpoint = RedisEndpoint::from_url(
        "redis+sentinel://data:one@a:1/main/4?sentinel_username=watch&sentinel_password=two",
    )
    .unwrap();
    let access = endpoint.access().await.unwrap();
    let at_server = server(&access);
    let client = access.sentinel(&access.url().addresses[0]).unwrap();
    let at_sentinel = client.get_connection_info().redis_settings();
    assert_eq!(at_server.redis_settings().username(), Some("data"));
    assert_eq!(at_server.redis_settings().password(), Some("one"));
    assert_eq!(at_server.redis_settings().db(), 4);
    assert_eq!(
        (at_sentinel.username(), at_sentinel.password()),
        (Some("watch"), Some("two"))
    );
    assert_eq!(at_sentinel.db(), 0);
}

#[tokio::test]
async fn certificates_need_tls_and_must_be_some() {
    let folder = tempfile::tempdir().unwrap();
    let authority = folder.path().join("ca.crt");
    std::fs::write(&authority, "no certificate").unwrap();
    for (url, why) in [("redis://a", "rediss"), ("rediss://a", "PEM")] {
        let endpoint = RedisEndpoint::from_url(url).unwrap();
        let endpoint = endpoint.with_ca_file(authority.clone());
        let error = endpoint.access().await.err().unwrap();
        assert!(error.to_string().contains(why), "{error}");
    }
    let endpoint = RedisEndpoint::from_url("rediss://a").unwrap();
    let endpoint = endpoint.with_client_certificate(authority.clone(), authority);
    let access = endpoint.access().await.unwrap();
    let error = access.server(&access.url().addresses[0]).err().unwrap();
    assert!(error.to_string().contains("PEM"), "{error}");
}
