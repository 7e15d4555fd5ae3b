use super::*;
use std::os::unix::fs::symlink;

use crate::testing::MountedSecret;

fn write(folder: &Path, name: &str, key: &str, content: &[u8]) {
    std::fs::create_dir_all(folder.join(name)).unwrap();
    std::fs::write(folder.join(name).join(key), content).unwrap();
}

fn get(store: &SecretStore, name: &str, key: &str) -> Option<Secret> {
    store.get(&SecretRef {
        name: name.to_owned(),
        key: key.to_owned(),
    })
}

fn text(store: &SecretStore, name: &str, key: &str) -> Option<String> {
    get(store, name, key).map(|secret| secret.expose_str().unwrap().to_owned())
}

#[test]
fn never_prints_itself() {
    let pair = RotatingSecret {
        current: Some(Secret::new("hunter2").unwrap()),
        previous: None,
    };
    assert_eq!(
        format!("{pair:?}"),
        "RotatingSecret { current: Some(Secret(***)), previous: None }"
    );
}

#[test]
fn compares_content_and_length() {
    let secret = Secret::new("hunter2").unwrap();
    assert!(secret.matches(b"hunter2"));
    for wrong in [&b"hunter"[..], b"hunter22", b"hunter3", b""] {
        assert!(!secret.matches(wrong));
    }
}

#[test]
fn pair_accepts_both_and_none_accepts_nothing() {
    let pair = RotatingSecret {
        current: Some(Secret::new("new").unwrap()),
        previous: Some(Secret::new("old").unwrap()),
    };
    assert!(pair.accepts(b"new") && pair.accepts(b"old") && !pair.accepts(b"other"));
    assert!(RotatingSecret::default().is_empty() && !RotatingSecret::default().accepts(b""));
}

#[test]
fn rotation_reads_both_keys() {
    let store = SecretStore::in_memory();
    let reference = |key: &str| SecretRef {
        name: "host".to_owned(),
        key: key.to_owned(),
    };
    let pair = SecretPair {
        current: reference("current"),
        previous: reference("previous"),
    };
    assert!(store.rotating(&pair).is_empty());
    store.put(&pair.current, Secret::new("new").unwrap());
    store.put(&pair.previous, Secret::new("old").unwrap());
    assert!(store.rotating(&pair).accepts(b"old"));
    assert_eq!(store.rotating(&pair).current, Some(Secret::new("new").unwrap()));
}

#[test]
fn bounded_and_never_empty() {
    assert!(Secret::new(vec![b'x'; MAX_SECRET_BYTES]).is_ok());
    assert!(matches!(
        Secret::new(vec![b'x'; MAX_SECRET_BYTES + 1]),
        Err(SecretError::TooLarge)
    ));
    assert!(matches!(Secret::new(""), Err(SecretError::Empty)));
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "a", "huge", &vec![b'x'; MAX_SECRET_BYTES + 1]);
    write(folder.path(), "a", "blank", b"\n");
    let store = SecretStore::open(folder.path());
    assert_eq!(
        (get(&store, "a", "huge"), get(&store, "a", "blank")),
        (None, None)
    );
}

#[test]
fn reads_mounted_files_without_their_final_line_break() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "host-secret", "current", b"with space \r\n");
    write(folder.path(), "..2026_data", "current", b"kubelet's own");
    let store = SecretStore::open(folder.path());
    assert_eq!(
        text(&store, "host-secret", "current").as_deref(),
        Some("with space ")
    );
    assert_eq!(get(&store, "host-secret", "previous"), None);
    assert_eq!(get(&store, "..2026_data", "current"), None);
    assert_eq!(get(&store, "../host-secret", "current"), None);
}

#[test]
fn file_wins_over_memory_and_documents_can_vanish() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "s", "a", b"file");
    let store = SecretStore::open(folder.path());
    store.put(
        &SecretRef {
            name: "s".into(),
            key: "a".into(),
        },
        Secret::new("put").unwrap(),
    );
    store.put(
        &SecretRef {
            name: "s".into(),
            key: "b".into(),
        },
        Secret::new("put").unwrap(),
    );
    let document = BTreeMap::from([("c".to_owned(), Secret::new("document").unwrap())]);
    store.set_documents(BTreeMap::from([("s".to_owned(), document)]));
    let all = ["a", "b", "c"].map(|key| text(&store, "s", key).unwrap());
    assert_eq!(all, ["file", "put", "document"]);
    store.set_documents(BTreeMap::new());
    assert_eq!(get(&store, "s", "c"), None);
}

#[tokio::test(start_paused = true)]
async fn follows_the_symlink_swap_of_a_mounted_secret() {
    let folder = tempfile::tempdir().unwrap();
    let mut mounted = MountedSecret::new(folder.path(), "match-key");
    mounted.set(&[("current", "first")]);
    let store = SecretStore::open(folder.path());
    store.follow();
    assert_eq!(text(&store, "match-key", "current").as_deref(), Some("first"));

    let mut changes = store.watch();
    mounted.set(&[("current", "second")]);
    tokio::time::timeout(Duration::from_mins(1), changes.changed())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(text(&store, "match-key", "current").as_deref(), Some("second"));
}

/// A link to itself cannot be read, whoever reads: the error is none of absence.
fn break_path(path: &Path) {
    symlink(path.file_name().unwrap(), path).unwrap();
}

#[test]
fn unreadable_secrets_stay_and_deleted_ones_go() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("secrets");
    for (name, key) in [
        ("a", "current"),
        ("a", "previous"),
        ("b", "current"),
        ("c", "current"),
    ] {
        write(&folder, name, key, b"value");
    }
    let store = SecretStore::open(&folder);
    let held = |store: &SecretStore| {
        let all = [
            ("a", "current"),
            ("a", "previous"),
            ("b", "current"),
            ("c", "current"),
        ];
        all.map(|(name, key)| get(store, name, key).is_some())
    };
    assert_eq!(held(&store), [true; 4]);

    // One file, one folder; beside them one key and one Secret are deleted.
    std::fs::remove_file(folder.join("a/current")).unwrap();
    break_path(&folder.join("a/current"));
    std::fs::remove_file(folder.join("a/previous")).unwrap();
    std::fs::rename(folder.join("b"), root.path().join("b")).unwrap();
    break_path(&folder.join("b"));
    std::fs::remove_dir_all(folder.join("c")).unwrap();
    store.shared.reread();
    assert_eq!(held(&store), [true, false, true, false]);

    // All of them, more than once.
    std::fs::rename(&folder, root.path().join("away")).unwrap();
    break_path(&folder);
    store.shared.reread();
    store.shared.reread();
    assert_eq!(held(&store), [true, false, true, false]);

    std::fs::remove_file(&folder).unwrap();
    store.shared.reread();
    assert_eq!(held(&store), [false; 4]);
}

/// However often a Secret changes while it is read: what is in force is one of its versions, and never a part of one beside a
/// part of another.
#[test]
fn keys_of_a_mounted_secret_are_of_one_version() {
    const VERSIONS: u32 = 2000;
    let root = tempfile::tempdir().unwrap();
    let mut mounted = MountedSecret::new(root.path(), "host");
    let mut set = move |number: u32| {
        let (current, previous) = (number.to_string(), (number - 1).to_string());
        mounted.set(&[("current", &current), ("previous", &previous)]);
    };
    set(1);
    let store = SecretStore::open(root.path());
    let writing = std::thread::spawn(move || (2..=VERSIONS).for_each(set));
    let mut seen = 0;
    while !writing.is_finished() || seen < VERSIONS {
        store.shared.reread();
        let number = |key| {
            text(&store, "host", key)
                .expect("there is always one")
                .parse::<u32>()
                .unwrap()
        };
        let (current, previous) = (number("current"), number("previous"));
        assert_eq!(current, previous + 1);
        assert!(current >= seen, "{current} after {seen}");
        seen = current;
    }
    writing.join().unwrap();
}

#[test]
fn placeholders_count_in_development_alone() {
    let secret = |text: &str| Some(Secret::new(text).unwrap());
    let pair = |current: &str, previous: &str| RotatingSecret {
        current: secret(current),
        previous: secret(previous),
    };
    let known = pair("HELLO-MFS", "own");
    assert!(
        known.current.as_ref().unwrap().is_placeholder()
            && !known.previous.as_ref().unwrap().is_placeholder()
    );
    assert_eq!(known.clone().counting_in(ClusterEnvironment::Development), known);
    let counts = known.counting_in(ClusterEnvironment::Production);
    assert_eq!(
        (counts.current.clone(), counts.previous.clone()),
        (None, secret("own"))
    );
    assert!(counts.accepts(b"own") && !counts.accepts(b"HELLO-MFS"));
    let old = pair("own", "to-change-in-prod").counting_in(ClusterEnvironment::Production);
    assert_eq!((old.current, old.previous), (secret("own"), None));
}
