//! Repositories that the program refuses to serve.

use std::{fs, process::Stdio};

use tch::{Device, Kind, Tensor};

use crate::{
    models::{add, repository, scorer, scorer_yaml, trace, yaml},
    server::command,
};

/// Runs the program until it gives up, and returns what it says.
fn refusal(dir: &std::path::Path) -> String {
    let output = command(dir).stderr(Stdio::piped()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        output.stdout.is_empty(),
        "a server that does not start does not say that it listens"
    );
    String::from_utf8(output.stderr).unwrap()
}

#[track_caller]
fn check(refusal: &str, words: &[&str]) {
    for words in words {
        assert!(refusal.contains(words), "{words:?} is not in\n{refusal}");
    }
}

#[test]
fn all_problems_of_a_repository_are_told_at_once() {
    let dir = repository("good", &scorer_yaml(), &scorer(1));
    fs::create_dir_all(dir.path().join("no-yaml/1")).unwrap();
    fs::create_dir_all(dir.path().join("good/new")).unwrap();
    check(
        &refusal(dir.path()),
        &[
            "the model repository has 3 problems",
            "/good/new: 'new' is not a version: ",
            "/no-yaml/model.yaml: cannot be read: it does not exist; write one",
            "/no-yaml/1/model.pt: cannot be read: it does not exist; put the TorchScript file there",
        ],
    );
}

#[test]
fn models_that_do_not_load_or_warm_up_are_told_at_once() {
    let dir = repository("good", &scorer_yaml(), &scorer(1));
    add(dir.path(), "garbage", 1, &scorer_yaml(), &scorer(1));
    fs::write(dir.path().join("garbage/1/model.pt"), "not a model").unwrap();
    add(
        dir.path(),
        "other-output",
        1,
        &scorer_yaml().replace("[-1, 1]", "[-1, 2]"),
        &scorer(1),
    );
    let narrow = yaml(
        "{name: features, datatype: FP32, shape: [-1, 6]}",
        "[-1, 1]",
    );
    add(dir.path(), "other-input", 1, &narrow, &scorer(1));
    let two = scorer_yaml().replace(
        "outputs: [",
        "outputs: [{name: more, datatype: FP32, shape: [1]}, ",
    );
    add(dir.path(), "two-outputs", 1, &two, &scorer(1));
    let half = trace(
        &[Tensor::zeros([1, 7], (Kind::Float, Device::Cpu))],
        |inputs| inputs[0].to_kind(Kind::Half),
    );
    add(dir.path(), "half", 1, &scorer_yaml(), &half);
    check(
        &refusal(dir.path()),
        &[
            "5 model versions cannot be served",
            "/garbage/1/model.pt: failed to load: failed to read the model: PytorchStreamReader failed reading zip",
            "/other-output/1/model.pt: failed to warm up: its output 'score' is not what model.yaml declares: \
             shape is [1, 1], but the model has [-1, 2]",
            "/other-input/1/model.pt: failed to warm up: mat1 and mat2 shapes cannot be multiplied",
            "/two-outputs/1/model.pt: failed to warm up: it returned 1 outputs, but model.yaml declares 2",
            "/half/1/model.pt: failed to warm up: its output 'score' is not what model.yaml declares: datatype is FP16, but the \
             model has FP32",
        ],
    );
}

#[test]
fn a_taken_port_is_named() {
    let dir = repository("fraud", &scorer_yaml(), &scorer(1));
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    // The later --port would be a second one, so the command is built anew.
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_serin-serve"))
        .args([
            "--models",
            dir.path().to_str().unwrap(),
            "--port",
            &port,
            "--grpc-port",
            "0",
        ])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let refusal = String::from_utf8(output.stderr).unwrap();
    check(
        &refusal,
        &[&format!(
            "failed to listen for REST on '127.0.0.1' port {port}, choose another with --port: Address already in use"
        )],
    );
}
