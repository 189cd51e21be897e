//! `serin-serve bench`.

use std::process::{Command, Output};

use crate::models::{repository, scorer, scorer_yaml};

fn bench(model: &str) -> (Output, String, String) {
    let yaml = format!("{}maxBatchSize: 4\n", scorer_yaml());
    let dir = repository("fraud", &yaml, &scorer(1));
    let output = Command::new(env!("CARGO_BIN_EXE_serin-serve"))
        .arg("bench")
        .arg(dir.path())
        .args([model, "--time", "200ms", "--connections", "3"])
        .env("RUST_LOG", "error")
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let (lines, errors) = (text(&output.stdout), text(&output.stderr));
    (output, lines, errors)
}

#[test]
fn a_model_is_measured_with_and_without_a_server() {
    for model in ["fraud", "fraud/1"] {
        let (output, lines, errors) = bench(model);
        assert_eq!(output.status.code(), Some(0), "{errors}");
        for name in [
            "forwards without a server, rows together: 1 ",
            "forwards without a server, rows together: 4 ",
            "requests of 1 row, 1 at a time ",
            "requests of 1 row, 3 at a time ",
        ] {
            let line = lines
                .lines()
                .find_map(|line| line.trim_start().strip_prefix(name));
            let rate = line.and_then(|line| line.split_whitespace().next());
            let rate = rate.and_then(|rate| rate.parse::<f64>().ok());
            assert!(rate.is_some_and(|rate| rate > 0.0), "{name}: {lines}");
        }
        assert!(lines.contains("serving adds "), "{lines}");
    }
}

#[test]
fn a_model_that_is_not_there_is_said_with_those_that_are() {
    for model in ["churn", "fraud/2", "fraud/one"] {
        let (output, _, errors) = bench(model);
        assert_eq!(output.status.code(), Some(1));
        let wanted = format!("serin-serve: model '{model}' is not found: there are fraud/1\n");
        assert!(errors.ends_with(&wanted), "{errors}");
    }
}
