use super::*;

#[derive(clap::Parser)]
struct Cli {
    #[command(flatten)]
    service: ServiceArgs,
}

fn parsed(args: &[&str]) -> ServiceArgs {
    <Cli as clap::Parser>::try_parse_from([&["program"], args].concat())
        .unwrap()
        .service
}

fn boot(args: &[&str], variables: &[(&str, &str)]) -> Result<Boot, BootError> {
    let facts = ProcessFacts {
        hostname: "eu-signaling-1".to_owned(),
        random: 255,
        bind: Ipv4Addr::LOCALHOST.into(),
    };
    Boot::resolve(
        &parsed(args),
        Environment::from_pairs(variables.iter().copied()),
        &facts,
    )
}

fn refusal(args: &[&str], variables: &[(&str, &str)]) -> String {
    crate::telemetry::with_causes(&boot(args, variables).unwrap_err())
}

const POD: (&str, &str) = ("KUBERNETES_SERVICE_HOST", "10.96.0.1");

#[test]
fn source_depends_on_flag_and_place() {
    let source = |args: &[&str], variables: &[(&str, &str)]| boot(args, variables).unwrap().source;
    assert_eq!(source(&[], &[]), SettingsSource::Env);
    assert_eq!(source(&[], &[POD]), SettingsSource::Env);
    assert_eq!(source(&[], &[POD, ("BERTH_NAME", "eu")]), SettingsSource::Kube);
    assert_eq!(
        source(&["--settings", "env"], &[POD, ("BERTH_NAME", "eu")]),
        SettingsSource::Env
    );
    assert_eq!(
        source(&["--settings", "file:a/b"], &[]),
        SettingsSource::File("a/b".into())
    );
    let message = refusal(&["--settings", "files"], &[]);
    assert_eq!(
        message,
        "--settings: must be kube, file:PATH or env, is \"files\""
    );
}

#[test]
fn defaults() {
    let boot = boot(&[], &[]).unwrap();
    assert_eq!(boot.secrets_dir, PathBuf::from("/etc/berth/secrets"));
    assert_eq!((boot.cache_file, boot.own), (None, Own::default()));
    assert_eq!(boot.instance_id, "eu-signaling-1-000000ff");
    assert!(boot.redis.is_none() && !boot.in_pod && !boot.pretty_logs);
    assert_eq!(boot.log_level, LogLevel::Info);
}

#[test]
fn flags_win_over_their_variables() {
    let variables = [
        ("BERTH_SECRETS_DIR", "/a"),
        ("BERTH_CACHE_FILE", "/b"),
        ("BERTH_NAMESPACE", "games"),
    ];
    let from_variables = boot(&[], &variables).unwrap();
    assert_eq!(from_variables.secrets_dir, PathBuf::from("/a"));
    assert_eq!(from_variables.cache_file, Some("/b".into()));
    assert_eq!(from_variables.own.namespace.as_deref(), Some("games"));
    let from_flags = boot(&["--secrets", "/c", "--cache", "/d", "--bind", "::1"], &variables).unwrap();
    assert_eq!(from_flags.secrets_dir, PathBuf::from("/c"));
    assert_eq!(from_flags.cache_file, Some("/d".into()));
    assert_eq!(from_flags.bind, Ipv6Addr::LOCALHOST);
}

#[test]
fn first_set_variable_decides_the_port() {
    let boot = boot(
        &[],
        &[("PORT", " "), ("WS_PORT", "4000"), ("HEALTH_PORT", "70000")],
    )
    .unwrap();
    let port = boot.port(&["PORT", "WS_PORT"], "spec.wsPort", 3002).unwrap();
    assert_eq!(
        port,
        Port {
            number: 4000,
            from: "WS_PORT",
            explicit: true
        }
    );
    let port = boot.port(&["PORT"], "spec.httpPort", 8080).unwrap();
    assert_eq!(
        port,
        Port {
            number: 8080,
            from: "spec.httpPort",
            explicit: false
        }
    );
    let error = boot.port(&["HEALTH_PORT"], "spec.healthPort", 8080).unwrap_err();
    assert_eq!(
        error.to_string(),
        "HEALTH_PORT: must be a port from 0 to 65535, is \"70000\""
    );
}

#[test]
fn redis_by_url_or_by_file_and_never_shown() {
    let endpoint = boot(&[], &[("REDIS_URL", "redis://:hunter2@cache")])
        .unwrap()
        .redis
        .unwrap();
    assert_eq!(endpoint.to_string(), "redis://cache:6379/0");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("url");
    let file = ("BERTH_REDIS_URL_FILE", path.to_str().unwrap());
    assert!(refusal(&[], &[file]).starts_with("BERTH_REDIS_URL_FILE: cannot read "));
    std::fs::write(&path, "http://:hunter2@cache").unwrap();
    let message = refusal(&[], &[file]);
    assert!(
        message.contains("redis[s]://") && !message.contains("hunter2"),
        "{message}"
    );
    std::fs::write(&path, "redis+cluster://:hunter2@cache").unwrap();
    let endpoint = boot(&[], &[file]).unwrap().redis.unwrap();
    assert_eq!(endpoint.to_string(), format!("as in {}", path.display()));
    assert_eq!(
        refusal(&[], &[file, ("BERTH_REDIS_KEY_FILE", "/key")]),
        "BERTH_REDIS_CERT_FILE and BERTH_REDIS_KEY_FILE must both be set, or neither"
    );
    assert_eq!(
        refusal(&[], &[file, ("REDIS_URL", "redis://cache")]),
        "REDIS_URL and BERTH_REDIS_URL_FILE must not both be set"
    );
    let message = refusal(&[], &[("REDIS_URL", "http://:hunter2@cache")]);
    assert!(
        message.starts_with("REDIS_URL: ") && message.contains("redis[s]://"),
        "{message}"
    );
    let shown = format!(
        "{:?}",
        boot(&[], &[("REDIS_URL", "redis://:hunter2@cache")]).unwrap()
    );
    assert!(
        !message.contains("hunter2") && !shown.contains("hunter2"),
        "{message} {shown}"
    );
}

#[test]
fn wrong_variables_are_named_with_what_is_allowed() {
    assert!(refusal(&[], &[("LOG_LEVEL", "loud")]).starts_with("LOG_LEVEL: must be trace, "));
    assert_eq!(
        refusal(&[], &[("PRETTY_LOGS", "yes")]),
        "PRETTY_LOGS: must be true or false, is \"yes\""
    );
    assert!(refusal(&[], &[("INSTANCE_ID", "a b")]).starts_with("INSTANCE_ID: must have at most 128"));
    assert_eq!(
        boot(&[], &[("INSTANCE_ID", "replica:1")]).unwrap().instance_id,
        "replica:1"
    );
}

#[test]
fn only_a_pod_waits_for_its_endpoints() {
    let drain = Duration::from_secs(9);
    let plan = |variables: &[(&str, &str)]| boot(&[], variables).unwrap().drain_plan(drain);
    assert_eq!(
        plan(&[]),
        DrainPlan {
            endpoint_delay: Duration::ZERO,
            drain_timeout: drain
        }
    );
    assert_eq!(plan(&[POD]).endpoint_delay, ENDPOINT_DELAY);
}
