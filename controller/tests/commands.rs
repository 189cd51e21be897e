//! Commands as a person types them, right and wrong.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests, which clippy sees as code"
)]

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};
use tempfile::TempDir;

const ROLLOUT: &str = r#"apiVersion: serin.dev/v1alpha1
kind: ModelRollout
metadata: {name: fraud, namespace: ml}
spec:
  match: {hosts: [fraud.ml], pathPrefix: /v2/models/fraud}
  variants:
    - {name: stable, role: stable, version: "7", route: {cluster: fraud-v7}}
    - {name: canary, version: "8", route: {cluster: fraud-v8}}
  assignment: {key: [{header: x-user-id}], salt: fraud-8}
  strategy:
    canary:
      steps:
        - {weight: 10, gate: {ratio: 2.0, absolute: 0.5pp}}
        - {weight: 50, gate: {ratio: 1.25, absolute: 0.2pp}}
"#;

struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

fn serin(args: &[&str], files: &[&Path]) -> Output {
    let program = Path::new(env!("CARGO_BIN_EXE_serin"));
    nowhere(program).args(args).args(files).output().unwrap()
}

/// A program that finds neither settings nor an installation in the environment.
fn nowhere(program: &Path) -> Command {
    let mut command = Command::new(program);
    for name in [
        "SERIN_CELL",
        "SERIN_LAG",
        "SERIN_PROXIES",
        "SERIN_STANDALONE",
        "SERIN_NAMESPACE",
        "KUBECONFIG",
        "KUBERNETES_SERVICE_HOST",
    ] {
        command.env_remove(name);
    }
    command.env("HOME", "/nowhere");
    command
}

fn out(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

fn err(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

fn parsed(output: &Output) -> Value {
    serde_json::from_str(out(output)).unwrap_or_else(|_| panic!("no JSON: {output:?}"))
}

#[test]
fn a_simulation_depends_on_its_seed_and_not_on_the_threads() {
    let folder = Folder::new();
    let file = folder.file("fraud.yaml", ROLLOUT);
    let run = |threads: &str, seed: &str| {
        let args = [
            "simulate",
            "--runs",
            "20",
            "--horizon",
            "1h",
            "--threads",
            threads,
            "--seed",
            seed,
            "--against",
            "flagger,argo,kayenta",
        ];
        let output = serin(&args, &[&file]);
        assert!(output.status.success(), "{output:?}");
        // Without a terminal there is no bar.
        assert_eq!(err(&output), "");
        out(&output).to_owned()
    };
    let table = run("1", "1");
    assert_eq!(table, run("3", "1"));
    assert_ne!(table, run("3", "2").replace("seed 2", "seed 1"));
    for words in [
        "outage",
        "promised: at most 1%",
        "Flagger: interval 1m, threshold 5",
        "failureLimit 3",
    ] {
        assert!(table.contains(words), "{table}");
    }
}

#[test]
fn a_simulation_in_json_says_how_an_outage_ends() {
    let folder = Folder::new();
    let file = folder.file("fraud.yaml", ROLLOUT);
    let args = [
        "simulate",
        "--json",
        "--runs",
        "10",
        "--horizon",
        "1h",
        "--users",
        "5000",
        "--failing",
        "1%:50%",
    ];
    let report = parsed(&serin(&args, &[&file]));
    let outage = report["releases"].as_array().unwrap().last().unwrap();
    assert_eq!(outage["name"], "outage");
    assert_eq!(outage["wanted"], "rollBack");
    assert_eq!(outage["rolledBack"]["share"], 1.0);
    assert_eq!(outage["byJudge"]["count"], 10);
    // All of the canary's users at most, who are a tenth.
    let exposed = outage["rolledBack"]["exposed"]["p90"].as_f64().unwrap();
    assert!((1.0..=600.0).contains(&exposed), "{exposed}");
}

#[test]
fn what_cannot_be_simulated_is_said_with_its_flag() {
    let folder = Folder::new();
    let file = folder.file("fraud.yaml", ROLLOUT);
    for (args, words) in [
        (["--error-rate", "0"], "where stable never fails"),
        (["--requests-per-minute", "0"], "--requests-per-minute"),
        (["--horizon", "10s"], "shorter than a cell"),
        (["--cell", "1ms"], "at least 100ms"),
    ] {
        let output = serin(&[&["simulate"][..], &args].concat(), &[&file]);
        assert_eq!(output.status.code(), Some(1));
        assert!(err(&output).contains(words), "{output:?}");
    }
    let random = ROLLOUT.replace("key: [{header: x-user-id}], ", "");
    let file = folder.file("random.yaml", &random);
    let output = serin(&["simulate", "--users", "10"], &[&file]);
    assert!(
        err(&output).contains("neither a key nor a cookie"),
        "{output:?}"
    );
}

/// Requests and bad ones of a release that breaks: canary, stable.
fn counts(cell: i64) -> [(&'static str, u64, u64); 2] {
    let bad = if cell % 100 < 4 { 1 } else { 80 };
    [("8", 1000, bad), ("7", 9000, 9)]
}

fn csv(first: i64) -> String {
    let mut csv = "cell,version,total,bad\n".to_owned();
    for cell in first..first + 12 {
        for (version, total, bad) in counts(cell) {
            let _ = writeln!(csv, "{cell},{version},{total},{bad}");
        }
    }
    csv
}

#[test]
fn a_replay_tells_the_story_and_how_it_ended() {
    let folder = Folder::new();
    let file = folder.file("fraud.yaml", ROLLOUT);
    let recorded = folder.file("counts.csv", &csv(100));
    let recorded = recorded.to_str().unwrap();
    let output = serin(&["replay", "--counts", recorded], &[&file]);
    assert!(output.status.success(), "{output:?}");
    let story = out(&output);
    for words in [
        "version 8 begins beside version 7 at 10 %",
        "at most 1 in 100 healthy releases would look like this",
        "stopped by the comparison after",
        "recorded cells after that were not looked at",
    ] {
        assert!(story.contains(words), "{story}");
    }
    assert!(!story.contains("Undecided"), "{story}");
    let verbose = serin(&["replay", "--verbose", "--counts", recorded], &[&file]);
    assert!(out(&verbose).contains("Undecided"), "{verbose:?}");
}

#[test]
fn mistakes_of_a_recording_name_file_line_and_column() {
    let folder = Folder::new();
    let file = folder.file("fraud.yaml", ROLLOUT);
    let recorded = folder.file("counts.csv", "cell,version,total,bad\n1,8,10,11\n1,9,1,0\n");
    let output = serin(
        &["replay", "--counts", recorded.to_str().unwrap()],
        &[&file],
    );
    assert_eq!(output.status.code(), Some(1));
    let said = err(&output);
    assert!(
        said.contains("counts.csv:2:8: bad: 11 bad requests among 10"),
        "{said}"
    );
    assert!(
        said.contains("counts.csv:3:3: version: '9' is no version"),
        "{said}"
    );
    let neither = serin(&["replay"], &[&file]);
    assert_eq!(neither.status.code(), Some(2), "{neither:?}");
}

/// A Prometheus that answers every query with the counts of the cell that ends at its time.
fn answer(mut stream: &TcpStream) {
    let mut lines = BufReader::new(stream).lines();
    let request = lines.next().unwrap().unwrap();
    while lines.next().is_some_and(|line| !line.unwrap().is_empty()) {}
    let time = request.split("time=").nth(1).unwrap();
    let end: f64 = time.split('&').next().unwrap().parse().unwrap();
    let rows: Vec<Value> = counts((end / 30.0) as i64 - 1)
        .iter()
        .flat_map(|(version, total, bad)| {
            [("serin_split_total", total), ("serin_split_bad_total", bad)].map(
                |(counter, count)| {
                    let labels = json!({
                        "counter": counter, "serin_rollout": "ml/fraud", "serin_version": version,
                        "serin_group": "none",
                    });
                    json!({"metric": labels, "value": [end, count.to_string()]})
                },
            )
        })
        .collect();
    let body = json!({"status": "success", "data": {"resultType": "vector", "result": rows}});
    let body = body.to_string();
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all((head + &body).as_bytes()).unwrap();
}

#[test]
fn a_replay_from_prometheus_is_that_of_the_same_counts_in_a_file() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        listener
            .incoming()
            .flatten()
            .for_each(|stream| answer(&stream));
    });
    let folder = Folder::new();
    let file = folder.file("fraud.yaml", ROLLOUT);
    // Cells 100 to 111, whose lag is over one cell later.
    let from = [
        "--from",
        "1970-01-01T00:50:00Z",
        "--to",
        "1970-01-01T00:56:30Z",
    ];
    let read = ["replay", "--json", "--prometheus", &endpoint];
    let from_prometheus = serin(&[&read[..], &from].concat(), &[&file]);
    assert!(from_prometheus.status.success(), "{from_prometheus:?}");
    let recorded = folder.file("counts.csv", &csv(100));
    let args = ["replay", "--json", "--counts", recorded.to_str().unwrap()];
    assert_eq!(parsed(&from_prometheus), parsed(&serin(&args, &[&file])));
    let other = folder.file(
        "other.yaml",
        &ROLLOUT.replace("name: fraud,", "name: other,"),
    );
    let none = serin(&[&read[..], &from].concat(), &[&other]);
    assert_eq!(none.status.code(), Some(1));
    assert!(
        err(&none).contains("has no requests of rollout 'ml/other' with the versions 7 and 8"),
        "{none:?}"
    );
}

#[test]
fn lint_goes_through_a_folder_past_what_it_cannot_read() {
    let folder = Folder::new();
    folder.file("a.yaml", ROLLOUT);
    folder.file("b.yaml", "kind: [");
    folder.file("c.yml", &ROLLOUT.replace("name: fraud,", "name: other,"));
    std::fs::create_dir(folder.0.path().join("d.yaml")).unwrap();
    let third = ROLLOUT.replace("name: fraud,", "name: third,");
    folder.file("e.yaml", &third.replace("fraud.ml", "third.ml"));
    let output = serin(
        &["lint"],
        &[folder.0.path(), &folder.0.path().join("absent.yaml")],
    );
    assert_eq!(output.status.code(), Some(1));
    let (said, fine) = (err(&output), out(&output));
    for words in [
        "absent.yaml: cannot be read",
        "b.yaml:1:7: ",
        "c.yml:5:3: spec.match: 'fraud.ml/v2/models/fraud' already belongs to rollout 'ml/fraud'",
        "d.yaml: cannot be read",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
    assert_eq!(fine.lines().count(), 2, "{fine}");
    assert!(fine.contains("rollout ml/fraud is fine") && fine.contains("rollout ml/third is fine"));
}

#[test]
fn lint_warns_of_what_cannot_be_decided_and_fails_nothing_for_it() {
    let folder = Folder::new();
    let file = folder.file("fraud.yaml", ROLLOUT);
    let traffic = [
        "lint",
        "--requests-per-minute",
        "10",
        "--error-rate",
        "0.1%",
    ];
    let output = serin(&traffic, &[&file]);
    assert!(output.status.success(), "{output:?}");
    assert!(
        err(&output).contains(
            "fraud.yaml:13:24: warning: spec.strategy.canary.steps[0].gate: at 10 requests/min with 0.1% errors a healthy release needs about"
        ),
        "{output:?}"
    );
    assert!(err(&output).contains("twice the errors (0.2% instead of 0.1%) take about"));
    let plenty = [
        "lint",
        "--requests-per-minute",
        "60000",
        "--error-rate",
        "1%",
    ];
    assert_eq!(err(&serin(&plenty, &[&file])), "");
    assert_eq!(err(&serin(&["lint"], &[&file])), "");
}

/// The same program under another name.
fn named(folder: &Folder, name: &str) -> Command {
    let link = folder.0.path().join(name);
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_serin"), &link).unwrap();
    nowhere(&link)
}

#[test]
fn as_kubectls_plugin_it_says_how_it_is_typed() {
    let folder = Folder::new();
    let plugin = |args: &[&str]| named(&Folder::new(), "kubectl-serin").args(args).output();
    let help = plugin(&["get", "--help"]).unwrap();
    assert!(out(&help).contains("Usage: kubectl serin get"), "{help:?}");
    let wrong = plugin(&["pause"]).unwrap();
    assert_eq!(wrong.status.code(), Some(2));
    assert!(
        err(&wrong).contains("Usage: kubectl serin pause"),
        "{wrong:?}"
    );
    let failed = named(&folder, "kubectl-serin")
        .env("SERIN_STANDALONE", folder.0.path())
        .arg("get")
        .output()
        .unwrap();
    assert_eq!(failed.status.code(), Some(1));
    let said = err(&failed);
    assert!(
        said.starts_with("kubectl serin: ") && said.contains("no kubeconfig"),
        "a folder of the environment is not what kubectl is asked about: {said}"
    );
}

#[test]
fn shells_and_kubectl_are_told_how_a_command_goes_on() {
    for shell in ["bash", "zsh", "fish"] {
        let script = serin(&["completion", shell], &[]);
        assert!(out(&script).contains("set-weight"), "{script:?}");
    }
    let asked = named(&Folder::new(), "kubectl_complete-serin")
        .args(["get", "-o", "ya"])
        .output()
        .unwrap();
    assert_eq!(out(&asked), "yaml\n:4\n");
}

#[test]
fn without_an_installation_it_is_said_how_to_name_one() {
    for args in [&["get"][..], &["watch"], &["pause", "fraud"], &["list"]] {
        let output = serin(args, &[]);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        for word in ["--standalone DIR", "SERIN_STANDALONE", "--kubeconfig FILE"] {
            assert!(err(&output).contains(word), "{output:?}");
        }
    }
    let both = ["get", "--standalone", "x", "--context", "y"];
    assert_eq!(serin(&both, &[]).status.code(), Some(2));
}

/// A folder on which a controller has run that does not answer.
fn asleep() -> Folder {
    let folder = Folder::new();
    std::fs::create_dir(folder.0.path().join("state")).unwrap();
    let controller = r#"{"address": "http://127.0.0.1:1", "generation": 1}"#;
    folder.file("state/controller.json", controller);
    folder
}

#[test]
fn a_rollout_that_is_not_there_is_a_failure() {
    let folder = asleep();
    let at = ["--standalone", folder.0.path().to_str().unwrap()];
    let all = serin(&[&["get"][..], &at].concat(), &[]);
    assert!(
        all.status.success() && out(&all) == "no rollouts\n",
        "{all:?}"
    );
    for command in ["get", "history", "abort"] {
        let output = serin(&[&[command, "nobody"][..], &at].concat(), &[]);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert_eq!(
            err(&output),
            "serin: there is no rollout 'nobody'; known: none\n"
        );
    }
}

#[test]
fn status_says_by_another_code_that_nobody_knows() {
    let folder = asleep();
    let at = ["--standalone", folder.0.path().to_str().unwrap()];
    for args in [
        &["status", "nobody"][..],
        &["status", "nobody", "--timeout", "5s"],
    ] {
        let output = serin(&[args, &at].concat(), &[]);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(
            err(&output).contains("there is no rollout 'nobody'"),
            "{output:?}"
        );
    }
    assert_eq!(serin(&["status", "nobody"], &[]).status.code(), Some(2));
    let help = serin(&["status", "--help"], &[]);
    assert!(
        out(&help).contains("Exit codes: 0 the new version is live"),
        "{help:?}"
    );
}

#[test]
fn a_weight_that_would_be_everybody_is_refused_before_anything_is_asked() {
    for weight in ["100", "-5", "half"] {
        let output = serin(&["set-weight", "fraud", "--", weight], &[]);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(err(&output).contains("promote --full"), "{output:?}");
    }
}
