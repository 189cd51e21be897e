//! A model that others have made: Silero VAD, which tells speech from noise. Its `forward` takes a number beside the
//! audio, and keeps a state from one call to the next.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use tch::{CModule, IValue, Tensor};
use tempfile::TempDir;

use crate::{
    models::numbers,
    server::Server,
    wire::{Caller, Way, plain},
};

const YAML: &str = "inputs:
  - {name: audio, datatype: FP32, shape: [-1, 512]}
  - {name: rate, datatype: INT64, shape: [], number: true, warmUp: 16000}
outputs: [{name: speech, datatype: FP32, shape: [-1, 1]}]
";

fn file() -> PathBuf {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.deps/silero_vad.jit");
    assert!(
        file.exists(),
        "the model is not in .deps: run 'tests/setup/setup.sh all'"
    );
    file
}

fn repository(yaml: &str) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("speech/1")).unwrap();
    fs::copy(file(), dir.path().join("speech/1/model.pt")).unwrap();
    fs::write(dir.path().join("speech/model.yaml"), yaml).unwrap();
    dir
}

fn audio(call: i64, rows: i64) -> Tensor {
    numbers(call, &[rows, 512]) * 0.3
}

fn rate(rate: i64) -> Tensor {
    Tensor::from(rate)
}

/// What libtorch itself computes.
fn direct(module: &CModule, reset: bool, audio: &Tensor) -> Tensor {
    tch::no_grad(|| {
        if reset {
            let nothing: [IValue; 0] = [];
            module.method_is("reset_states", &nothing).unwrap();
        }
        let inputs = [IValue::Tensor(audio.shallow_clone()), IValue::Int(16_000)];
        match module.forward_is(&inputs).unwrap() {
            IValue::Tensor(speech) => speech,
            other => panic!("{other:?}"),
        }
    })
}

async fn ask(caller: &Caller, way: Way, audio: &Tensor, of: i64) -> Result<Vec<u8>, String> {
    let inputs = [("audio", plain(audio)), ("rate", plain(&rate(of)))];
    let answer = caller.ask(way, "speech", &inputs).await?;
    Ok(answer[0].1.bytes().to_vec())
}

#[tokio::test]
async fn with_a_reset_every_request_is_answered_bit_for_bit_as_by_a_fresh_module() {
    let dir = repository(&format!("{YAML}reset: reset_states\n"));
    let module = CModule::load(file()).unwrap();
    let server = Server::start(dir.path());
    let caller = Caller::of(&server);
    for round in 0..2 {
        for way in Way::ALL {
            for (call, rows) in [(1, 1), (2, 1), (3, 4)] {
                let audio = audio(call, rows);
                let wanted = plain(&direct(&module, true, &audio));
                let answer = ask(&caller, way, &audio, 16_000).await.unwrap();
                assert_eq!(answer, wanted.bytes(), "{round} {way:?} {rows} rows");
            }
        }
    }
}

#[tokio::test]
async fn without_a_reset_requests_meet_the_state_of_those_before() {
    let dir = repository(YAML);
    let server = Server::start(dir.path());
    let caller = Caller::of(&server);
    let (one, other) = (audio(1, 1), audio(2, 1));
    let first = ask(&caller, Way::Binary, &one, 16_000).await.unwrap();
    ask(&caller, Way::Grpc, &other, 16_000).await.unwrap();
    let again = ask(&caller, Way::Binary, &one, 16_000).await.unwrap();
    assert_ne!(first, again);
}

#[tokio::test]
async fn what_the_model_throws_of_its_own_is_told() {
    let dir = repository(&format!("{YAML}reset: reset_states\n"));
    let server = Server::start(dir.path());
    let caller = Caller::of(&server);
    for way in Way::ALL {
        let refusal = ask(&caller, way, &audio(1, 1), 44_100).await.unwrap_err();
        let sentence = "model 'speech' version 1 failed: Supported sampling rates: [8000, 16000]";
        assert!(refusal.contains(sentence), "{way:?}: {refusal}");
        assert!(ask(&caller, way, &audio(1, 1), 16_000).await.is_ok());
    }
}

/// What `serin-serve check` prints of a repository.
fn checked(yaml: &str) -> String {
    let dir = repository(yaml);
    let output = Command::new(env!("CARGO_BIN_EXE_serin-serve"))
        .arg("check")
        .arg(dir.path())
        .stderr(Stdio::null())
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_check_says_what_the_model_keeps_and_what_it_lacks() {
    let keeps = "speech/1: note: the same inputs got different outputs while it was warmed up";
    let found = checked(YAML);
    assert!(
        found.contains(keeps) && found.ends_with("speech/1: ok\n"),
        "{found}"
    );
    assert_eq!(
        checked(&format!("{YAML}reset: reset_states\n")),
        "speech/1: ok\n"
    );
    for (yaml, reason) in [
        (
            YAML.replace(", number: true", ""),
            "failed to warm up: forward() Expected a value of type 'int' for argument 'sr' but instead found type 'Tensor'",
        ),
        (
            YAML.replace(", warmUp: 16000", ""),
            "failed to warm up: slice step must be positive",
        ),
        (
            format!("{YAML}reset: forget\n"),
            "failed to warm up: Method 'forget' is not defined",
        ),
    ] {
        let found = checked(&yaml);
        assert!(found.contains(reason), "{found}");
    }
}
