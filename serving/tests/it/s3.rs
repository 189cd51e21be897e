//! Models from a bucket.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use serde_json::json;

use crate::{
    bucket::{Bucket, SECRET, Weather},
    models::{add, scorer, scorer_yaml},
    reload::{bits, row, until, until_versions, wanted},
    server::Server,
};

/// More than one read brings, and more than is ever trickled.
const SIZE: usize = 4 << 20;

/// Adds a version of `fraud` with a file of [`SIZE`] beside it, moved into the bucket as a whole.
fn publish(bucket: &Bucket, version: u64) {
    let folder = bucket.folder().join("fraud");
    let hidden = tempfile::tempdir_in(bucket.folder().parent().unwrap()).unwrap();
    let staged = hidden.path().join("fraud").join(version.to_string());
    add(
        hidden.path(),
        "fraud",
        version,
        &scorer_yaml(),
        &scorer(version as i64),
    );
    let words: Vec<u8> = (0..SIZE).map(|at| (at % 251) as u8).collect();
    fs::write(staged.join("words.bin"), words).unwrap();
    fs::create_dir_all(&folder).unwrap();
    fs::rename(&staged, folder.join(version.to_string())).unwrap();
}

fn fraud(more: &str) -> Bucket {
    let bucket = Bucket::new();
    publish(&bucket, 1);
    let yaml = format!("{}{more}", scorer_yaml());
    fs::write(bucket.folder().join("fraud/model.yaml"), yaml).unwrap();
    bucket
}

/// The sums of a version, written by `sha256sum`.
fn write_sums(folder: &Path) {
    let sums = Command::new("sha256sum")
        .args(["model.pt", "words.bin"])
        .current_dir(folder)
        .output()
        .unwrap();
    assert!(sums.status.success());
    fs::write(folder.join("SHA256SUMS"), sums.stdout).unwrap();
}

/// Runs a program that gives up, and returns what it says.
#[track_caller]
fn refusal(command: &mut Command) -> String {
    let output = command.stderr(Stdio::piped()).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(!said.contains(SECRET), "{said}");
    said
}

#[track_caller]
fn check(refusal: &str, words: &[&str]) {
    for words in words {
        assert!(refusal.contains(words), "{words:?} is not in\n{refusal}");
    }
}

/// Asks the port of the repository to load `fraud`.
async fn load(server: &Server) -> (u16, String) {
    let api = server.repository_api.as_ref().unwrap();
    let url = format!("http://{api}/v2/repository/models/fraud/load");
    let answer = server.client.post(url).send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

async fn answers(server: &Server, version: u64) {
    let (status, answer) = server.infer("fraud", row()).await;
    assert_eq!(
        (status, &answer["model_version"]),
        (200, &json!(version.to_string())),
        "{answer}"
    );
    assert_eq!(bits(&answer), wanted(version as i64));
}

const API: [&str; 2] = ["--repository-api", "127.0.0.1:0"];

#[tokio::test]
async fn models_come_from_the_bucket_and_only_what_has_changed_comes_again() {
    let bucket = fraud("");
    let server = Server::start_by(&mut bucket.command(&API));
    answers(&server, 1).await;
    let first = bucket.bytes();
    assert!(first > SIZE as u64);
    assert_eq!(load(&server).await, (200, String::new()));
    assert!(bucket.bytes() - first < SIZE as u64 / 4, "a listing");
    publish(&bucket, 2);
    assert_eq!(load(&server).await.0, 200);
    answers(&server, 2).await;
    let second = bucket.bytes();
    assert!(second - first < SIZE as u64 * 3 / 2, "one version");
    // Another model.pt beside words.bin that stays: what stays is not fetched.
    scorer(5)
        .save(bucket.folder().join("fraud/2/model.pt"))
        .unwrap();
    assert_eq!(load(&server).await.0, 200);
    let (_, answer) = server.infer("fraud", row()).await;
    assert_eq!(bits(&answer), wanted(5));
    assert!(bucket.bytes() - second < SIZE as u64 / 4, "one small file");
    assert!(server.into_process().end("TERM").success());
    let third = bucket.bytes();
    let server = Server::start_by(&mut bucket.command(&[]));
    let (_, answer) = server.infer("fraud", row()).await;
    assert_eq!(bits(&answer), wanted(5));
    assert!(bucket.bytes() - third < SIZE as u64 / 4, "the cache stays");
}

#[tokio::test]
async fn only_the_versions_that_are_served_are_fetched() {
    let bucket = fraud("versions: {latest: 1}\n");
    for version in 2..=4 {
        publish(&bucket, version);
    }
    let server = Server::start_by(&mut bucket.command(&API));
    answers(&server, 4).await;
    assert!(bucket.bytes() < SIZE as u64 * 3 / 2);
    assert!(!bucket.cache().join("fraud/3").exists());
    publish(&bucket, 5);
    assert_eq!(load(&server).await.0, 200);
    answers(&server, 5).await;
    assert!(!bucket.cache().join("fraud/4").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_versions_that_appear_under_load_fail_no_request() {
    const VERSIONS: u64 = 5;
    let bucket = fraud("versions: {latest: 1}\n");
    let server = Server::start_by(&mut bucket.command(&["--poll", "20ms"]));
    let done = std::sync::atomic::AtomicBool::new(false);
    let ask = async || {
        while !done.load(std::sync::atomic::Ordering::SeqCst) {
            let (status, answer) = server.infer("fraud", row()).await;
            assert_eq!(status, 200, "{answer}");
            let version = answer["model_version"].as_str().unwrap();
            assert_eq!(bits(&answer), wanted(version.parse().unwrap()));
        }
    };
    let reload = async {
        for version in 2..=VERSIONS {
            publish(&bucket, version);
            until_versions(&server, &[&version.to_string()]).await;
        }
        done.store(true, std::sync::atomic::Ordering::SeqCst);
    };
    tokio::join!(reload, ask(), ask());
}

#[tokio::test]
async fn a_download_that_is_cut_goes_on_where_it_was() {
    let bucket = fraud("");
    let weather = Weather::Cut {
        times: 3,
        after: 1 << 20,
    };
    bucket.weather(weather);
    let server = Server::start_by(&mut bucket.command(&[]));
    answers(&server, 1).await;
    let cached = fs::read(bucket.cache().join("fraud/1/words.bin")).unwrap();
    let there = fs::read(bucket.folder().join("fraud/1/words.bin")).unwrap();
    assert!(cached == there, "whole and in order");
    assert!(bucket.bytes() < 2 * SIZE as u64, "{} bytes", bucket.bytes());
    let requests = bucket.requests();
    let resumed: Vec<_> = requests
        .split("\r\n\r\n")
        .filter(|it| it.contains("range: bytes="))
        .collect();
    assert_eq!(resumed.len(), 3, "{requests}");
    assert!(
        resumed.iter().all(|it| it.contains("if-match: \"")),
        "{requests}"
    );
}

#[tokio::test]
async fn a_link_that_trickles_is_given_up_with_a_reason_and_what_serves_goes_on() {
    let bucket = fraud("");
    // Less than what counts as progress, on every connection.
    let slow = Weather::Trickle { after: 20_000 };
    let timeout = ["--s3-timeout", "200ms"];
    let server = Server::start_by(&mut bucket.command(&[&API[..], &timeout].concat()));
    bucket.weather(slow);
    publish(&bucket, 2);
    let (status, answer) = load(&server).await;
    assert_eq!(status, 400, "{answer}");
    assert!(
        answer.contains("the model repository is not in order"),
        "{answer}"
    );
    answers(&server, 1).await;
    // What had arrived is not fetched again.
    bucket.weather(Weather::Fair);
    let before = bucket.bytes();
    assert_eq!(load(&server).await.0, 200);
    answers(&server, 2).await;
    assert!(
        bucket.bytes() - before < SIZE as u64,
        "{} more",
        bucket.bytes() - before
    );
    drop(server);
    let fresh = fraud("");
    fresh.weather(slow);
    check(
        &refusal(&mut fresh.command(&timeout)),
        &[
            "s3://models/fraud/1/words.bin: cannot be fetched: next to nothing arrived for 200ms from http://127.0.0.1:",
            "; check the network, or raise --s3-timeout",
        ],
    );
}

#[test]
fn a_bucket_that_cannot_be_read_ends_the_start_with_what_where_why_and_what_to_do() {
    let bucket = fraud("");
    // Whatever is logged of it: `refusal` looks for the secret.
    let noisy = || {
        let mut command = bucket.command(&[]);
        command.env("RUST_LOG", "trace");
        command
    };
    check(
        &refusal(noisy().env("AWS_SECRET_ACCESS_KEY", "wrong")),
        &[
            "s3://models: cannot be listed: http://127.0.0.1:",
            " refuses the credentials (SignatureDoesNotMatch); check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY",
        ],
    );
    check(
        &refusal(noisy().env("AWS_ACCESS_KEY_ID", "AKIANOBODY")),
        &["s3://models: cannot be listed: ", "check "],
    );
    for (url, words) in [
        (
            "s3://nowhere/deep",
            [
                "s3://nowhere/deep: cannot be listed: ",
                " has no bucket 'nowhere'; check the name in --models",
            ],
        ),
        (
            "s3://models/other",
            ["s3://models/other: no models: ", "check bucket and prefix"],
        ),
    ] {
        let cache = tempfile::tempdir().unwrap();
        let mut elsewhere = crate::server::command(Path::new(url));
        bucket.lead_by(&mut elsewhere, cache.path());
        check(&refusal(&mut elsewhere), &words);
    }
    let mut plain = crate::server::command(bucket.url());
    plain
        .args(["--s3-endpoint", "http://127.0.0.1:1"])
        .env("AWS_ACCESS_KEY_ID", "a");
    check(&refusal(&mut plain), &["is without TLS", "--s3-allow-http"]);
    plain
        .arg("--s3-allow-http")
        .env("AWS_SECRET_ACCESS_KEY", SECRET)
        .arg("--model-cache")
        .arg(bucket.cache().join("x"));
    check(
        &refusal(&mut plain),
        &[
            "s3://models: cannot be listed: http://127.0.0.1:1 cannot be used: Connection refused",
            "--s3-endpoint",
        ],
    );
}

#[test]
fn what_is_wrong_in_a_bucket_is_told_by_its_url() {
    let bucket = fraud("nonsense: 1\n");
    fs::create_dir_all(bucket.folder().join("empty/1")).unwrap();
    fs::write(bucket.folder().join("empty/model.yaml"), scorer_yaml()).unwrap();
    fs::write(bucket.folder().join("empty/1/words.bin"), "x").unwrap();
    check(
        &refusal(&mut bucket.command(&[])),
        &[
            "has 2 problems",
            "s3://models/fraud/model.yaml:3: not a valid model.yaml: ",
            "s3://models/empty/1/model.pt: cannot be read: it does not exist; ",
        ],
    );
    fs::create_dir_all(bucket.folder().join("fraud/new")).unwrap();
    fs::write(bucket.folder().join("fraud/new/model.pt"), "x").unwrap();
    check(
        &refusal(&mut bucket.command(&[])),
        &["s3://models/fraud/new/model.pt: 'new' is not a version: "],
    );
}

#[tokio::test]
async fn a_version_that_is_not_what_its_sums_say_is_not_served_and_the_old_one_goes_on() {
    let bucket = fraud("versions: {latest: 1}\n");
    write_sums(&bucket.folder().join("fraud/1"));
    let server = Server::start_by(&mut bucket.command(&API));
    publish(&bucket, 2);
    let folder = bucket.folder().join("fraud/2");
    write_sums(&folder);
    let good = fs::read(folder.join("words.bin")).unwrap();
    fs::write(folder.join("words.bin"), vec![0; SIZE]).unwrap();
    let (status, answer) = load(&server).await;
    assert_eq!(status, 400, "{answer}");
    check(
        &answer,
        &[
            "failed to load model 'fraud': version 2: the sha256 of 'words.bin' is ",
            "but SHA256SUMS says ",
        ],
    );
    answers(&server, 1).await;
    until(&server, "the reason", "/v2/repository/index", |_, text| {
        text.contains("the sha256 of 'words.bin' is ")
    })
    .await;
    assert!(
        refusal(
            Command::new(env!("CARGO_BIN_EXE_serin-serve"))
                .arg("check")
                .arg(bucket.folder())
        )
        .contains("1 of 1 model versions cannot be served")
    );
    fs::write(folder.join("words.bin"), good).unwrap();
    assert_eq!(load(&server).await, (200, String::new()));
    answers(&server, 2).await;
}

#[tokio::test]
async fn what_is_gone_from_the_bucket_goes_but_never_everything() {
    let bucket = fraud("");
    publish(&bucket, 2);
    let server = Server::start_by(&mut bucket.command(&API));
    fs::remove_dir_all(bucket.folder().join("fraud/1")).unwrap();
    assert_eq!(load(&server).await.0, 200);
    until_versions(&server, &["2"]).await;
    assert!(!bucket.cache().join("fraud/1").exists());
    fs::remove_dir_all(bucket.folder().join("fraud")).unwrap();
    assert_eq!(load(&server).await.0, 400);
    answers(&server, 2).await;
    assert!(bucket.cache().join("fraud/2/model.pt").exists());
}

#[test]
fn a_cache_is_used_by_one_process_and_check_reads_buckets_too() {
    let bucket = fraud("");
    let check_bucket = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_serin-serve"));
        command.arg("check").arg(bucket.url());
        bucket.lead(&mut command);
        command
    };
    let server = Server::start_by(&mut bucket.command(&[]));
    check(
        &refusal(&mut check_bucket()),
        &["is not used as a cache: another process uses it; name another folder"],
    );
    drop(server);
    let output = check_bucket().output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "fraud/1: ok\n");
}
