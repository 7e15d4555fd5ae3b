//! `berth validate` and the API server give the same verdict: on the corpus of `berth-crds`, and on every edge case that its
//! schemas yield.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use berth_crds::offline::{Finding, Source, Stage, Validator, cases};
use berth_crds::{GROUP, VERSION, generate};
use futures::{StreamExt, stream};
use kube::Client;
use serde_json::Value;

use crate::server::{client, complaint, repository, shared};

fn corpus(folder: &str) -> Vec<PathBuf> {
    let folder = repository().join("crds/tests/corpus").join(folder);
    let mut files: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert!(!files.is_empty(), "nothing in {}", folder.display());
    files
}

/// The paths that a file of the corpus must be refused at.
fn expected(text: &str) -> Vec<String> {
    let lines = text.lines().filter_map(|line| line.strip_prefix("# expect: "));
    lines
        .filter(|path| *path != "(document)")
        .map(str::to_owned)
        .collect()
}

#[test]
fn the_server_takes_the_definitions_without_a_warning_and_serves_them_all() {
    // `shared` applies them with warnings as errors.
    let server = shared();
    let listed = berth_e2e::process::output(server.kubectl().args([
        "get",
        "crd",
        "-o",
        "jsonpath={range .items[*]}{.metadata.name}{range .status.conditions[*]} {.type}={.status}{end}{'\\n'}{end}",
    ]))
    .unwrap();
    let ours = |line: &&str| {
        line.split(' ')
            .next()
            .is_some_and(|name| name.ends_with(".berth.dev"))
    };
    let lines: Vec<_> = listed.lines().filter(ours).collect();
    assert_eq!(lines.len(), 3, "{listed}");
    for line in lines {
        // A schema that is not structural, or a group without approval, is a condition of its own.
        assert!(line.ends_with(" NamesAccepted=True Established=True"), "{line}");
    }
}

#[test]
fn the_server_gives_every_file_of_the_corpus_its_verdict() {
    let server = shared();
    let mut wrong = Vec::new();
    for path in corpus("accept").into_iter().chain(corpus("reject")) {
        let text = fs::read_to_string(&path).unwrap();
        let mut create = server.kubectl();
        create
            .args(["create", "--dry-run=server", "--validate=strict", "-f"])
            .arg(&path);
        let complaint = complaint(&mut create);
        let accept = path.parent().unwrap().ends_with("accept");
        match complaint {
            None if accept => {}
            Some(complaint) if !accept => wrong.extend(
                expected(&text)
                    .into_iter()
                    .filter(|expected| !complaint.contains(expected.as_str()))
                    .map(|expected| format!("{path:?}: not refused at {expected}: {complaint}")),
            ),
            other => wrong.push(format!("{path:?}: {other:?}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_server_judges_changes_as_the_corpus_says() {
    let server = shared();
    let mut wrong = Vec::new();
    for folder in corpus("update") {
        let namespace = format!("update-{}", folder.file_name().unwrap().to_string_lossy());
        let kubectl = |verb: &[&str]| {
            let mut command = server.kubectl();
            command.args(["--namespace", &namespace]).args(verb);
            command
        };
        assert_eq!(
            complaint(&mut kubectl(&["create", "namespace", &namespace])),
            None
        );
        let create = complaint(kubectl(&["create", "-f"]).arg(folder.join("old.yaml")));
        assert_eq!(create, None, "{folder:?}");
        let new = folder.join("new.yaml");
        let expected = expected(&fs::read_to_string(&new).unwrap());
        let complaint = complaint(kubectl(&["replace", "--validate=strict", "-f"]).arg(&new));
        let right = match &complaint {
            None => expected.is_empty(),
            Some(text) => !expected.is_empty() && expected.iter().all(|path| text.contains(path.as_str())),
        };
        if !right {
            wrong.push(format!("{folder:?}: {complaint:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn the_server_refuses_what_kubectl_hides_from_it() {
    let server = shared();
    let client = client(&server).await;
    for path in corpus("raw") {
        let text = fs::read(&path).unwrap();
        let answer = create(&client, "signalingclusters", "application/yaml", text).await;
        assert!(matches!(answer, Err(kube::Error::Api(_))), "{path:?}: {answer:?}");
    }
}

/// Asks the server to create the resource in `body`, without doing it.
async fn create(client: &Client, plural: &str, content_type: &str, body: Vec<u8>) -> kube::Result<Value> {
    let request = http::Request::post(format!(
        "/apis/{GROUP}/{VERSION}/namespaces/default/{plural}?dryRun=All&fieldValidation=Strict"
    ))
    .header(http::header::CONTENT_TYPE, content_type)
    .body(body)
    .unwrap();
    client.request(request).await
}

/// Where the server refuses `resource`; nothing when it takes it.
async fn refusals(client: &Client, resource: &Value) -> BTreeSet<String> {
    let plural = format!("{}s", resource["kind"].as_str().unwrap().to_lowercase());
    match create(
        client,
        &plural,
        "application/json",
        resource.to_string().into_bytes(),
    )
    .await
    {
        Ok(_) => BTreeSet::new(),
        Err(kube::Error::Api(status)) => {
            let causes = status.details.iter().flat_map(|details| &details.causes);
            // The path of the scale subresource is written with a dot in front.
            let mut paths: BTreeSet<_> = causes
                .map(|cause| cause.field.trim_start_matches('.').to_owned())
                .collect();
            paths.extend(
                status
                    .message
                    .split("unknown field \"")
                    .skip(1)
                    .filter_map(|rest| Some(rest.split_once('"')?.0.to_owned())),
            );
            assert!(!paths.is_empty(), "a refusal without a path: {status:?}");
            paths
        }
        Err(error) => panic!("{error}"),
    }
}

/// Where this library refuses it, as the server would list it: strict reading of fields comes first and alone.
fn offline(validator: &Validator, resource: &Value) -> BTreeSet<String> {
    let source = Source {
        name: "case".into(),
        text: resource.to_string(),
    };
    let report = validator.check(&[source], &[]);
    let refusals: Vec<_> = report.refusals().collect();
    let strict: Vec<_> = refusals
        .iter()
        .copied()
        .filter(|finding| finding.stage == Stage::Fields)
        .collect();
    let listed: Vec<&Finding> = if strict.is_empty() { refusals } else { strict };
    listed.into_iter().map(|finding| finding.path.clone()).collect()
}

/// Oracle 15, agreement.
#[tokio::test]
async fn both_give_the_same_verdict_at_the_same_fields_on_every_edge_case() {
    let server = shared();
    let client = client(&server).await;
    let validator = Validator::new().unwrap();
    let mut all = Vec::new();
    for path in corpus("accept") {
        let base: Value = serde_yaml::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        for crd in generate::definitions() {
            if base["kind"] == *crd.spec.names.kind {
                all.extend(cases::derive(&crd, &base));
            }
        }
    }
    assert!(
        all.len() > 2000,
        "only {} cases: the derivation is broken",
        all.len()
    );
    let client = &client;
    let judged = stream::iter(&all).map(|case| async move {
        let mut there = refusals(client, &case.resource).await;
        // The server says so when it has not evaluated the rules.
        there.remove("<nil>");
        (case, there)
    });
    let judged: Vec<_> = judged.buffered(8).collect().await;
    let (mut refused, mut wrong) = (0, Vec::new());
    for (case, mut there) in judged {
        let here = offline(&validator, &case.resource);
        if here.contains("spec") {
            // The server looks for the path of the scale subresource even in what is no object.
            there.remove("spec.replicas");
        }
        refused += usize::from(!there.is_empty());
        if here != there {
            let kind = &case.resource["kind"];
            wrong.push(format!(
                "{kind} {} = {}: offline {here:?}, server {there:?}",
                case.path, case.change
            ));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {}:\n{}",
        wrong.len(),
        all.len(),
        wrong.join("\n")
    );
    assert!(
        refused > 1000 && all.len() - refused > 500,
        "{refused} of {} refused",
        all.len()
    );
}
