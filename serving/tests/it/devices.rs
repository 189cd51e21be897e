//! Where models compute, and on what.

use std::process::{Command, Stdio};

use tch::{Kind, Tensor};

use crate::{
    models::{FEATURES, numbers, repository, scorer, scorer_yaml, trace, yaml},
    server::Server,
    wire::{Caller, Way, plain},
};

fn doubled(inputs: &[Tensor]) -> Tensor {
    &inputs[0] + &inputs[0]
}

#[tokio::test]
async fn a_model_that_computes_on_shorter_numbers_takes_and_returns_those_declared() {
    let example = numbers(1, &[1, FEATURES]);
    let shape = format!("[-1, {FEATURES}]");
    let yaml = yaml(
        &format!("{{name: features, datatype: FP32, shape: {shape}}}"),
        &shape,
    );
    let dir = repository(
        "doubled",
        &format!("{yaml}dtype: BF16\nmaxBatchSize: 4\n"),
        &trace(std::slice::from_ref(&example), doubled),
    );
    let server = Server::start(dir.path());
    let caller = Caller::of(&server);
    for way in Way::ALL {
        let features = numbers(2, &[2, FEATURES]);
        let wanted = doubled(&[features.to_kind(Kind::BFloat16)]).to_kind(Kind::Float);
        let inputs = [("features", plain(&features))];
        let answer = caller.ask(way, "doubled", &inputs).await.unwrap();
        assert_eq!(answer[0].1, plain(&wanted), "{way:?}");
        assert_ne!(
            answer[0].1,
            plain(&doubled(&[features])),
            "they are shorter"
        );
    }
}

#[test]
fn a_gpu_that_is_not_there_is_named_with_what_to_do() {
    let yaml = format!("{}device: cuda:1\n", scorer_yaml());
    let dir = repository("fraud", &yaml, &scorer(1));
    let output = Command::new(env!("CARGO_BIN_EXE_serin-serve"))
        .arg("check")
        .arg(dir.path())
        .stderr(Stdio::null())
        // That of a machine which has one as well.
        .env("CUDA_VISIBLE_DEVICES", "")
        .output()
        .unwrap();
    let found = String::from_utf8(output.stdout).unwrap();
    let wanted = "fraud/1: FAILED: ";
    assert!(
        found.starts_with(wanted) && found.contains("'device' is cuda:1, and "),
        "{found}"
    );
    assert_eq!(output.status.code(), Some(1));
}
