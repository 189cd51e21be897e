//! Flags, environment and file, and the log that they ask for.

use std::{
    net::TcpListener,
    path::Path,
    process::{Command, Output, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;

use crate::{
    models::{ROWS, embedding, embedding_yaml, repository, scorer, scorer_yaml},
    server::{Server, body, command},
};

/// Runs the program until it finds its port taken, which is after it has said with what it loads.
fn run(dir: &Path, environment: &[(&str, &str)], flags: &[&str]) -> Output {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let mut command = Command::new(env!("CARGO_BIN_EXE_serin-serve"));
    command.args(["--grpc-port", "0", "--port", &port]);
    command.arg("--models").arg(dir).args(flags);
    command.envs(environment.iter().copied()).output().unwrap()
}

fn file(dir: &TempDir, text: &str) -> String {
    let path = dir.path().join("serin.yaml");
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

/// The log as the program wrote it, every line of it an object.
fn log(stderr: &[u8]) -> Vec<Value> {
    let text = std::str::from_utf8(stderr).unwrap();
    let lines = text.lines().map(serde_json::from_str::<Value>);
    let lines: Vec<_> = lines
        .map(|it| it.unwrap_or_else(|error| panic!("{error}: {text}")))
        .collect();
    for line in &lines {
        for field in ["timestamp", "level", "target", "message"] {
            assert!(line[field].is_string(), "{field}: {line}");
        }
    }
    lines
}

#[test]
fn a_flag_wins_over_the_environment_that_over_the_file_and_that_over_the_default() {
    let models = repository("fraud", &scorer_yaml(), &scorer(1));
    let dir = tempfile::tempdir().unwrap();
    let file = file(&dir, "queue: 7\nlogFormat: json\n");
    let json = ("SERIN_LOG_FORMAT", "json");
    let (from_file, from_environment) = (("SERIN_CONFIG", &*file), ("SERIN_QUEUE", "8"));
    for (environment, flags, queue) in [
        (vec![json], vec![], 100),
        (vec![], vec!["--config", &*file], 7),
        (vec![from_file], vec![], 7),
        (vec![from_file, from_environment], vec![], 8),
        (vec![from_file, from_environment], vec!["--queue", "9"], 9),
    ] {
        let output = run(models.path(), &environment, &flags);
        let log = log(&output.stderr);
        let loading = log.iter().find(|it| it["message"] == "loading models");
        let loading = loading.unwrap_or_else(|| panic!("{log:#?}"));
        assert_eq!(loading["queue"], queue, "{environment:?} {flags:?}");
        assert_eq!(loading["level"], "INFO");
        let last = log.last().unwrap();
        assert_eq!(last["level"], "ERROR");
        let why = last["message"].as_str().unwrap();
        assert!(why.starts_with("failed to listen for REST on "), "{why}");
    }
}

#[test]
fn a_bad_value_is_named_by_where_it_came_from() {
    let models = repository("fraud", &scorer_yaml(), &scorer(1));
    let dir = tempfile::tempdir().unwrap();
    let file = file(&dir, "\nqueue: many\n");
    let (from_file, from_environment) = (("SERIN_CONFIG", &*file), ("SERIN_QUEUE", "several"));
    for (environment, flags, wanted) in [
        (
            vec![from_file],
            vec![],
            format!("'many' for '{file}:2: queue'"),
        ),
        (
            vec![from_file, from_environment],
            vec![],
            "'several' for 'SERIN_QUEUE'".to_owned(),
        ),
        (
            vec![from_file, from_environment],
            vec!["--queue", "some"],
            "'some' for '--queue <N>'".to_owned(),
        ),
        (
            vec![("RUST_LOG", "loud")],
            vec![],
            "'loud' for 'RUST_LOG'".to_owned(),
        ),
    ] {
        let output = run(models.path(), &environment, &flags);
        assert_eq!(output.status.code(), Some(2));
        let said = String::from_utf8(output.stderr).unwrap();
        let wanted = format!("error: invalid value {wanted}: ");
        assert!(said.starts_with(&wanted), "{said}wanted: {wanted}");
    }
}

#[test]
fn what_a_variable_says_of_serving_is_asked_of_no_other_command() {
    let models = repository("fraud", &scorer_yaml(), &scorer(1));
    let mut check = Command::new(env!("CARGO_BIN_EXE_serin-serve"));
    check
        .env("SERIN_CONFIG", "/nowhere")
        .env("SERIN_LISTEN_PORT", "8080");
    let output = check.arg("check").arg(models.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
}

#[tokio::test]
async fn a_log_of_json_has_a_line_for_each_event_with_its_fields() {
    let dir = repository("words", &embedding_yaml(), &embedding());
    let mut command = command(dir.path());
    command
        .args(["--log-format", "json"])
        .stderr(Stdio::piped());
    let server = Server::start_by(&mut command);
    let outside = body("tokens", "INT64", &[1], &[ROWS]);
    assert_eq!(server.infer("words", outside).await.0, 500);
    let output = server.into_process().finish("TERM");
    assert!(output.status.success());
    let log = log(&output.stderr);
    let loaded = log
        .iter()
        .find(|it| it["message"] == "model is loaded and warm");
    let loaded = loaded.unwrap_or_else(|| panic!("{log:#?}"));
    assert_eq!(
        (&loaded["model"], &loaded["version"]),
        (&"words".into(), &1.into())
    );
    let failed = log
        .iter()
        .find(|it| it["message"] == "request failed")
        .unwrap();
    assert_eq!(failed["level"], "WARN");
    let error = failed["error"].as_str().unwrap();
    assert!(
        error.starts_with("model 'words' version 1 failed: "),
        "{error}"
    );
}

#[test]
fn the_usual_variables_of_buckets_win_over_the_file_and_flags_over_both() {
    let dir = tempfile::tempdir().unwrap();
    let file = file(
        &dir,
        "models: s3://models\nport: 0\ns3Endpoint: http://file.invalid\n",
    );
    let flag = ["--s3-endpoint", "http://flag.invalid"];
    let variable = ("AWS_ENDPOINT_URL", "http://variable.invalid");
    for (variables, flags, wanted) in [
        (vec![], &[][..], "file"),
        (vec![variable], &[], "variable"),
        (vec![variable], &flag, "flag"),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_serin-serve"));
        command
            .arg("--config")
            .arg(&file)
            .args(flags)
            .envs(variables);
        let said = String::from_utf8(command.output().unwrap().stderr).unwrap();
        let wanted = format!("'http://{wanted}.invalid' is without TLS");
        assert!(said.contains(&wanted), "{said}");
    }
}
