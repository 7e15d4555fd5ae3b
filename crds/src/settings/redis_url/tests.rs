use proptest::prelude::*;

use super::*;

fn url(text: &str) -> RedisUrl {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn login(user: Option<&str>, password: Option<&str>) -> RedisLogin {
    RedisLogin {
        user: user.map(str::to_owned),
        password: password.map(str::to_owned),
    }
}

#[test]
fn every_form_says_what_it_means() {
    for (text, shown) in [
        ("redis://cache", "redis://cache:6379/0"),
        (" rediss://10.0.0.1:6380/3\n", "rediss://10.0.0.1:6380/3"),
        ("redis://[::1]:7000/", "redis://[::1]:7000/0"),
        (
            "redis+sentinel://a,b:1,[::1]/main",
            "redis+sentinel://a:26379,b:1,[::1]:26379/main/0",
        ),
        (
            "rediss+sentinel://u:p@a/my.master_1-x/2",
            "rediss+sentinel://a:26379/my.master_1-x/2",
        ),
        ("redis+cluster://a,b:7001/", "redis+cluster://a:6379,b:7001"),
        ("rediss+cluster://:p@a/0", "rediss+cluster://a:6379"),
    ] {
        assert_eq!(url(text).to_string(), shown);
    }
    assert_eq!(url("redis+cluster://a,b:7001").authority(), "a:6379,b:7001");
    assert_eq!(
        url("redis+sentinel://a/main").kind,
        RedisKind::Sentinel {
            master: "main".into()
        }
    );
    assert!(url("rediss+cluster://a").tls && !url("redis+cluster://a").tls);
}

#[test]
fn logins_are_decoded_and_not_shown() {
    assert_eq!(
        url("redis://us%65r:p%40%2F:%23@a").login,
        login(Some("user"), Some("p@/:#"))
    );
    assert_eq!(url("redis://:p@a").login, login(None, Some("p")));
    assert_eq!(url("redis://user@a").login, login(Some("user"), None));
    // As shells and generators write them: an @ in the password, a + that is no space.
    assert_eq!(url("redis://:a@b@host").login, login(None, Some("a@b")));
    let sentinel = url("redis+sentinel://u:hunter2@a/main?sentinel_username=w&sentinel_password=hunter3%26+");
    assert_eq!(sentinel.login, login(Some("u"), Some("hunter2")));
    assert_eq!(sentinel.sentinel_login, login(Some("w"), Some("hunter3&+")));
    let shown = format!("{sentinel} {sentinel:?}");
    assert!(!shown.contains("hunter"), "{shown}");
}

#[test]
fn wrong_urls_are_refused_with_what_is_allowed_and_not_repeated() {
    for (text, why) in [
        ("", "no scheme"),
        ("hunter2", "no scheme"),
        ("http://:hunter2@a", "unknown scheme"),
        ("redis+unix:///hunter2", "unknown scheme"),
        ("redis://", "host"),
        ("redis://:hunter2@", "host"),
        ("redis://:hunter2@a:port", "host"),
        ("redis://:hunter2@a:65536", "host"),
        ("redis://:hunter2@a,b", "several hosts"),
        ("redis://:hunter2@a/main", "no number"),
        ("redis://:hunter2@a/-1", "no number"),
        ("redis://:hunter2@a?protocol=3", "unknown parameter"),
        (
            "redis://:hunter2@a?sentinel_password=hunter2",
            "unknown parameter",
        ),
        ("rediss://:hunter2@a/#insecure", "# in it"),
        ("redis://:hunter2%ff@a", "not UTF-8"),
        ("redis+sentinel://:hunter2@a", "name of the master"),
        ("redis+sentinel://:hunter2@a/", "name of the master"),
        ("redis+sentinel://:hunter2@a/my master", "name of the master"),
        ("redis+sentinel://:hunter2@a/main/x", "no number"),
        ("redis+sentinel://:hunter2@a,,b/main", "host"),
        (
            "redis+sentinel://:hunter2@a/main?user=hunter2",
            "unknown parameter",
        ),
        ("redis+cluster://:hunter2@a/1", "database 0 only"),
        ("redis+cluster://:hunter2@a/main", "database 0 only"),
    ] {
        let error = text.parse::<RedisUrl>().unwrap_err();
        let shown = format!("{error} {error:?}");
        assert!(shown.contains(why), "{text}: {shown}");
        assert!(shown.contains("redis[s]+cluster://"), "{shown}");
        assert!(!shown.contains("hunter2"), "{shown}");
    }
    let many = format!("redis+cluster://{}", vec!["a"; 65].join(","));
    assert!(many.parse::<RedisUrl>().is_err());
}

proptest! {
    #[test]
    fn no_text_breaks_the_parser_or_is_repeated(
        text in "(redis|rediss)(\\+sentinel|\\+cluster)?://[ -~]{0,40}",
    ) {
        match text.parse::<RedisUrl>() {
            // What is shown leads to the same place.
            Ok(url) => prop_assert_eq!(
                url.to_string().parse::<RedisUrl>().map(|again| (again.kind, again.tls, again.addresses, again.database)),
                Ok((url.kind, url.tls, url.addresses, url.database))
            ),
            Err(error) => prop_assert!(error.to_string().starts_with("not a Redis URL (")),
        }
    }
}
