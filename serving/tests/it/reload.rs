//! The repository changes while the server runs.

use std::{collections::BTreeSet, fs, path::Path, sync::Mutex};

use serde_json::{Value, json};
use tch::CModule;
use tempfile::TempDir;

use crate::{
    models::{FEATURES, add, numbers, repository, scorer, scorer_yaml},
    server::{DEADLINE, Server, body},
};

/// What a version answers to one row, bit for bit.
pub(crate) fn wanted(version: i64) -> Vec<u32> {
    let row = numbers(1, &[1, FEATURES]);
    let score = tch::no_grad(|| scorer(version).forward_ts(&[row])).unwrap();
    let values: Vec<f32> = Vec::try_from(score.flatten(0, -1)).unwrap();
    values.into_iter().map(f32::to_bits).collect()
}

pub(crate) fn row() -> String {
    let values: Vec<f32> = Vec::try_from(numbers(1, &[1, FEATURES]).flatten(0, -1)).unwrap();
    body("features", "FP32", &[1, FEATURES], &values)
}

pub(crate) fn bits(answer: &Value) -> Vec<u32> {
    let values: Vec<f32> = serde_json::from_value(answer["outputs"][0]["data"].clone()).unwrap();
    values.into_iter().map(f32::to_bits).collect()
}

/// Adds a version of `fraud` of weights that follow from its number, moved into place as a whole.
fn publish(dir: &Path, version: u64, module: &CModule) {
    let folder = dir.join("fraud").join(version.to_string());
    let hidden = dir.join("fraud").join(format!(".{version}"));
    fs::create_dir(&hidden).unwrap();
    module.save(hidden.join("model.pt")).unwrap();
    fs::rename(hidden, folder).unwrap();
}

/// Asks until `condition` is true of the answer.
pub(crate) async fn until(
    server: &Server,
    what: &str,
    path: &str,
    condition: impl Fn(u16, &str) -> bool,
) {
    let begun = std::time::Instant::now();
    loop {
        let request = if path.starts_with("/v2/repository") {
            server.client.post(format!("{}{path}", server.url))
        } else {
            server.client.get(format!("{}{path}", server.url))
        };
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        let text = answer.text().await.unwrap();
        if condition(status, &text) {
            return;
        }
        assert!(begun.elapsed() < DEADLINE, "{what}: {status} {text}");
        tokio::task::yield_now().await;
    }
}

pub(crate) fn versions(text: &str) -> Value {
    let metadata: Value = serde_json::from_str(text).unwrap();
    metadata["versions"].clone()
}

pub(crate) async fn until_versions(server: &Server, wanted: &[&str]) {
    let wanted = json!(wanted);
    until(
        server,
        &wanted.to_string(),
        "/v2/models/fraud",
        |_, text| versions(text) == wanted,
    )
    .await;
}

fn fraud(more: &str) -> TempDir {
    repository("fraud", &format!("{}{more}", scorer_yaml()), &scorer(1))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_reloads_under_load_fail_no_request_and_each_answer_is_of_a_version_that_was_there()
{
    const RELOADS: u64 = 20;
    let dir = fraud("versions: {latest: 1}\n");
    let server = Server::start_with(dir.path(), &["--poll", "20ms"]);
    let done = std::sync::atomic::AtomicBool::new(false);
    let seen = Mutex::new(BTreeSet::new());
    let ask = async || {
        while !done.load(std::sync::atomic::Ordering::SeqCst) {
            let (status, answer) = server.infer("fraud", row()).await;
            assert_eq!(status, 200, "{answer}");
            let version = answer["model_version"].as_str().unwrap();
            seen.lock()
                .unwrap()
                .insert((version.parse::<u64>().unwrap(), bits(&answer)));
        }
    };
    let reload = async {
        for version in 2..=RELOADS + 1 {
            publish(dir.path(), version, &scorer(version as i64));
            // The one before goes.
            until_versions(&server, &[&version.to_string()]).await;
        }
        done.store(true, std::sync::atomic::Ordering::SeqCst);
    };
    tokio::join!(reload, ask(), ask(), ask(), ask());
    let seen = seen.into_inner().unwrap();
    for (version, found) in &seen {
        assert!((1..=RELOADS + 1).contains(version));
        assert_eq!(*found, wanted(*version as i64), "version {version}");
    }
    assert!(
        seen.len() as u64 > RELOADS / 2,
        "most versions answered: {}",
        seen.len()
    );
}

#[tokio::test]
async fn a_broken_new_version_leaves_the_old_one_and_says_why() {
    let dir = fraud("versions: {latest: 1}\n");
    let server = Server::start_with(dir.path(), &["--poll", "20ms"]);
    let folder = dir.path().join("fraud/2");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("model.pt"), "not a model").unwrap();
    until(&server, "the reason", "/v2/repository/index", |_, text| {
        text.contains("failed to load: failed to read the model: PytorchStreamReader")
    })
    .await;
    let (status, answer) = server.infer("fraud", row()).await;
    assert_eq!((status, &answer["model_version"]), (200, &json!("1")));
    until(&server, "readiness", "/v2/health/ready", |status, _| {
        status == 200
    })
    .await;
    until(&server, "the metric", "/metrics", |_, text| {
        text.contains(r#"serin_serve_model_load_failures_total{model="fraud"} 1"#)
            && !text.contains(r#"serin_serve_model_loaded{model="fraud",version="2"}"#)
    })
    .await;
    scorer(2).save(folder.join("model.pt")).unwrap();
    until_versions(&server, &["2"]).await;
    let (_, answer) = server.infer("fraud", row()).await;
    assert_eq!(bits(&answer), wanted(2));
    until(&server, "the metric", "/metrics", |_, text| {
        text.contains(r#"serin_serve_model_loaded{model="fraud",version="2"} 1"#)
            && !text.contains(r#"serin_serve_model_loaded{model="fraud",version="1"}"#)
    })
    .await;
}

#[tokio::test]
async fn a_file_or_model_yaml_that_changes_is_served_in_the_place_of_the_old_one() {
    let dir = fraud("");
    let server = Server::start_with(dir.path(), &[]);
    let (_, answer) = server.infer("fraud", row()).await;
    assert_eq!(bits(&answer), wanted(1));
    add(
        dir.path(),
        "fraud",
        1,
        &scorer_yaml().replace("score", "result"),
        &scorer(5),
    );
    server.process().signal("HUP");
    until(&server, "the new output", "/v2/models/fraud", |_, text| {
        text.contains("result")
    })
    .await;
    let (_, answer) = server.infer("fraud", row()).await;
    assert_eq!(bits(&answer), wanted(5));
}

#[tokio::test]
async fn sighup_loads_what_is_there_and_drops_what_is_gone() {
    let dir = fraud("");
    let server = Server::start_with(dir.path(), &[]);
    publish(dir.path(), 2, &scorer(2));
    server.process().signal("HUP");
    until_versions(&server, &["1", "2"]).await;
    fs::remove_dir_all(dir.path().join("fraud/1")).unwrap();
    server.process().signal("HUP");
    until_versions(&server, &["2"]).await;
    let url = format!("{}/v2/models/fraud/versions/1/infer", server.url);
    let gone = server.client.post(url).body(row()).send().await.unwrap();
    assert_eq!(gone.status(), 404);
}

#[tokio::test]
async fn the_policy_says_which_versions_are_served() {
    let dir = fraud("versions: {specific: [1, 3]}\n");
    for version in 2..=4 {
        publish(dir.path(), version, &scorer(version as i64));
    }
    let server = Server::start_with(dir.path(), &["--poll", "20ms"]);
    until_versions(&server, &["1", "3"]).await;
    let yaml = format!("{}versions: {{latest: 2}}\n", scorer_yaml());
    fs::write(dir.path().join("fraud/model.yaml"), yaml).unwrap();
    until_versions(&server, &["3", "4"]).await;
    fs::write(dir.path().join("fraud/model.yaml"), scorer_yaml()).unwrap();
    until_versions(&server, &["1", "2", "3", "4"]).await;
}
