//! What a person types, against a running installation.

use serin_controller::rollout::Phase;

use super::{Bench, FILE, canary_requests, held, weight};

impl Bench {
    /// Runs `serin` and returns whether it succeeded, stdout and stderr.
    pub(super) async fn serin(&self, arguments: &[&str]) -> (bool, String, String) {
        let output = self.installation.serin(arguments).await.unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (
            output.status.success(),
            text(&output.stdout),
            text(&output.stderr),
        )
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_is_driven_and_explained_from_the_command_line() {
    let bench = Bench::start("cli", &held()).await;
    bench
        .until("traffic", |status| canary_requests(status) > 20)
        .await;

    // The decision explained is the decision made: for users on both sides.
    let assignment = bench.traffic.snapshot();
    let assignment = assignment.assignment().unwrap();
    for version in ["7", "8"] {
        let (user, _) = assignment
            .iter()
            .find(|(_, seen)| **seen == version)
            .unwrap();
        let (done, said, error) = bench
            .serin(&["explain", "fraud", "--header", &format!("x-user-id={user}")])
            .await;
        assert!(done, "{error}");
        assert!(
            said.contains(&format!("version {version} (weight)")),
            "user {user} met {version}, but:\n{said}"
        );
        assert!(said.contains("ml/fraud (generation"), "{said}");
    }
    let (_, said, _) = bench
        .serin(&["explain", "fraud", "--path", "/elsewhere"])
        .await;
    assert!(said.contains("none matches"), "{said}");
    let (_, said, _) = bench.serin(&["explain", "fraud"]).await;
    assert!(said.contains("every such request draws anew"), "{said}");

    let (done, table, _) = bench.serin(&["get"]).await;
    assert!(
        done && table.contains("ml/fraud") && table.contains("20.0 %"),
        "{table}"
    );
    let (done, json, _) = bench.serin(&["get", "ml/fraud", "-o", "json"]).await;
    let parsed: Vec<serin_controller::report::Status> = serde_json::from_str(&json).unwrap();
    assert!(done && parsed.len() == 1);

    let (done, said, error) = bench
        .serin(&["pause", "fraud", "--by", "ann", "--why", "lunch"])
        .await;
    assert!(
        done && said.contains("Paused") && said.contains("paused by ann: lunch"),
        "{said}{error}"
    );
    let (done, said, _) = bench.serin(&["resume", "fraud", "--by", "ann"]).await;
    assert!(done && said.contains("resumed by ann"), "{said}");
    bench
        .until("approval to be asked for", |status| {
            status.phase == Phase::Paused
        })
        .await;
    let (done, said, _) = bench.serin(&["promote", "fraud", "--by", "ann"]).await;
    assert!(done && said.contains("approved by ann"), "{said}");
    bench
        .until("the soak", |status| weight(status) == 100.0)
        .await;
    let (done, said, _) = bench
        .serin(&["abort", "fraud", "--by", "bob", "--why", "wrong model"])
        .await;
    assert!(
        done && said.contains("RolledBack") && said.contains("aborted by bob: wrong model"),
        "{said}"
    );
    assert_eq!(weight(&bench.status().await), 0.0);

    let (done, _, error) = bench.serin(&["get", "nobody"]).await;
    assert!(
        !done && error.contains("there is no rollout 'nobody'; known: ml/fraud"),
        "{error}"
    );
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_file_leaves_the_live_version_serving_and_its_return_is_understood() {
    let bench = Bench::start("removed", &held()).await;
    bench
        .until("a start", |status| canary_requests(status) > 0)
        .await;
    std::fs::remove_file(bench.installation.folder().join(FILE)).unwrap();
    let status = bench
        .until("the tombstone", |status| status.release.is_none())
        .await;
    assert_eq!(status.live.version, "7");
    let seen = bench.traffic.snapshot();
    bench
        .until("further traffic", |_| {
            bench.traffic.snapshot().total().requests > seen.total().requests + 500
        })
        .await;
    bench.installation.write_rollout(FILE, &held()).unwrap();
    bench
        .until("a new start", |status| weight(status) == 20.0)
        .await;
    let tally = bench.stop().await;
    assert_eq!(tally.total().bad, 0, "nobody noticed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_controller_on_the_folder_is_refused() {
    let bench = Bench::start("second", &held()).await;
    let wasm = serin_tests::tools::filter().unwrap();
    let (done, _, error) = bench
        .serin(&[
            "run",
            "--wasm",
            wasm.to_str().unwrap(),
            "--listen",
            "127.0.0.1:0",
        ])
        .await;
    assert!(
        !done && error.contains("another controller runs on"),
        "{error}"
    );
    bench.stop().await;
}
