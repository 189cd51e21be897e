//! `serin-serve check`.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use crate::models::{add, repository, scorer, scorer_yaml};

fn check(dir: &Path) -> (Output, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_serin-serve"))
        .arg("check")
        .arg(dir)
        // What a container sets for serving.
        .env("SERIN_MODELS", "/elsewhere")
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let (lines, errors) = (text(&output.stdout), text(&output.stderr));
    (output, lines, errors)
}

#[test]
fn a_good_repository_has_a_line_for_each_version_that_would_be_served() {
    let yaml = format!("{}versions: {{latest: 2}}\ninstances: 2\n", scorer_yaml());
    let dir = repository("fraud", &yaml, &scorer(1));
    for version in [2, 10] {
        add(dir.path(), "fraud", version, &yaml, &scorer(1));
    }
    add(dir.path(), "churn", 1, &scorer_yaml(), &scorer(1));
    let (output, lines, errors) = check(dir.path());
    assert_eq!(output.status.code(), Some(0), "{errors}");
    assert_eq!(lines, "churn/1: ok\nfraud/2: ok\nfraud/10: ok\n");
}

#[test]
fn a_version_that_does_not_start_is_said_among_the_others() {
    let dir = repository("fraud", &scorer_yaml(), &scorer(1));
    for version in [2, 3] {
        add(dir.path(), "fraud", version, &scorer_yaml(), &scorer(1));
    }
    fs::write(dir.path().join("fraud/2/model.pt"), "not a model").unwrap();
    let (output, lines, errors) = check(dir.path());
    assert_eq!(output.status.code(), Some(1));
    let lines: Vec<&str> = lines.lines().collect();
    assert_eq!(
        (lines.len(), lines[0], lines[2]),
        (3, "fraud/1: ok", "fraud/3: ok")
    );
    let failed = lines[1];
    assert!(failed.starts_with("fraud/2: FAILED: "), "{failed}");
    assert!(
        failed.contains("failed to load: failed to read the model: PytorchStreamReader"),
        "{failed}"
    );
    assert!(
        errors.contains("1 of 3 model versions cannot be served"),
        "{errors}"
    );
}

#[test]
fn a_repository_with_problems_is_refused_with_all_of_them() {
    let dir = repository("fraud", "inputs: []\noutputs: []\n", &scorer(1));
    let (output, lines, errors) = check(dir.path());
    assert_eq!((output.status.code(), &*lines), (Some(1), ""));
    for problem in [
        "has 2 problems",
        "model.yaml:1: 0 inputs",
        "model.yaml:2: 0 outputs",
    ] {
        assert!(errors.contains(problem), "{errors}");
    }
}

#[test]
fn a_model_that_triton_describes_is_served_as_it_is_and_what_is_not_heeded_is_said() {
    let config = r#"
        platform: "pytorch_libtorch"
        max_batch_size: 8
        input [ { name: "INPUT__0" data_type: TYPE_FP32 dims: [ 7 ] } ]
        output [ { name: "OUTPUT__0" data_type: TYPE_FP32 dims: [ 1 ] } ]
        dynamic_batching { preferred_batch_size: [ 4 ] }
    "#;
    let dir = repository("fraud", &scorer_yaml(), &scorer(1));
    let folder = dir.path().join("fraud");
    fs::write(folder.join("config.pbtxt"), config).unwrap();
    let (_, lines, _) = check(dir.path());
    assert_eq!(
        lines,
        "fraud/1: note: config.pbtxt is not read, because there is a model.yaml\nfraud/1: ok\n"
    );
    fs::remove_file(folder.join("model.yaml")).unwrap();
    let (_, lines, errors) = check(dir.path());
    assert_eq!(
        lines,
        "fraud/1: note: config.pbtxt: 'dynamic_batching.preferred_batch_size' is ignored: an idle instance takes what \
         waits\nfraud/1: ok\n",
        "{errors}"
    );
    let wrong = config.replace("dims: [ 7 ]", "dims: [ 7 ] optional: true");
    fs::write(folder.join("config.pbtxt"), wrong).unwrap();
    let (_, _, errors) = check(dir.path());
    let wanted = "/fraud/config.pbtxt: 'input.optional' is not supported: ";
    assert!(errors.contains(wanted), "{errors}");
}
