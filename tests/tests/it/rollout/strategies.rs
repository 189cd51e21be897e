//! Every strategy but canary, from its file to its end.

use hyper::StatusCode;
use serin_controller::report::{Status, Verdict};
use serin_controller::rollout::{Outcome, Phase};
use serin_tests::upstream::{Behaviour, Upstream};

use super::{Bench, FILE, canary_requests, rollout, weight};

/// A rollout file with this strategy in place of canary, and with the rest of its `spec`.
fn file(strategy: &str, more: &str) -> String {
    let canary = rollout("", "");
    let (head, _) = canary.split_once("  strategy:\n").unwrap();
    format!("{head}  strategy:\n    {strategy}\n{more}")
}

fn broken(upstream: &Upstream) {
    upstream.set(Behaviour {
        status: StatusCode::SERVICE_UNAVAILABLE,
        ..Behaviour::default()
    });
}

fn ended(phase: Phase) -> impl Fn(&Status) -> bool {
    move |status| status.phase == phase
}

impl Bench {
    fn outcome(&self) -> Option<Outcome> {
        self.installation.state().unwrap().state.release?.outcome
    }

    fn weights(&self) -> Vec<f64> {
        let release = self.installation.state().unwrap().state.release.unwrap();
        release.records.iter().map(|record| record.weight).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn linear_goes_up_in_equal_steps() {
    let strategy =
        "linear: {stepWeight: 20, maxWeight: 40, gate: {ratio: 3, absolute: 8pp}, soak: 1s}";
    let bench = Bench::start("linear", &file(strategy, "")).await;
    let status = bench.until("the end", ended(Phase::Succeeded)).await;
    assert_eq!(status.live.version, "8");
    let mut weights = bench.weights();
    weights.dedup();
    assert_eq!(weights, [20.0, 40.0, 100.0]);
    assert_eq!(bench.stop().await.total().bad, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn blue_green_shows_itself_to_whom_a_rule_names_and_then_takes_all_or_none() {
    let strategy = "blueGreen: {soak: 5m}";
    let text = file(strategy, "").replace(
        "    salt: fraud-8\n",
        "    salt: fraud-8\n    rules: [{variant: canary, when: [{header: x-beta, exists: true}]}]\n",
    );
    let bench = Bench::start("blue-green", &text).await;
    let waiting = |status: &Status| status.phase == Phase::Paused;
    let status = bench.until("the approval to be wanted", waiting).await;
    assert_eq!(weight(&status), 0.0);
    let asked = bench.canary.requests();
    assert_eq!(asked, 0, "nobody meets a preview by chance");
    let answer = reqwest::Client::new()
        .get(format!(
            "http://{}/v2/models/fraud/infer",
            bench.installation.envoy.address()
        ))
        .header("host", "fraud.ml")
        .header("x-beta", "1")
        .send()
        .await
        .unwrap();
    assert_eq!(answer.headers()["x-serin-model-version"], "8");

    let (done, said, error) = bench
        .serin(&["promote", "fraud", "--why", "looks fine"])
        .await;
    assert!(done && said.contains("approved by"), "{said}{error}");
    let status = bench
        .until("everybody", |status| {
            weight(status) == 100.0 && canary_requests(status) > 500
        })
        .await;
    assert_eq!(
        (status.phase, status.live.version.as_str()),
        (Phase::Soaking, "7")
    );
    broken(&bench.canary);
    let status = bench.until("the way back", ended(Phase::RolledBack)).await;
    assert_eq!((status.live.version.as_str(), weight(&status)), ("7", 0.0));
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rolling_follows_the_ready_endpoints_up_and_down() {
    let strategy = "rolling: {maxWeight: 60, gate: {ratio: 3, absolute: 8pp}, soak: 1s}";
    let bench = Bench::start("rolling", &file(strategy, "")).await;
    let at = |weight_wanted: f64| move |status: &Status| weight(status) == weight_wanted;
    bench.until("half of two endpoints", at(50.0)).await;
    bench.installation.set_endpoints("fraud-v7", 3).unwrap();
    bench.until("a quarter of four", at(25.0)).await;
    bench.installation.set_endpoints("fraud-v7", 1).unwrap();
    bench.installation.set_endpoints("fraud-v8", 3).unwrap();
    bench
        .until("three quarters, once the gate has passed", at(75.0))
        .await;
    bench.installation.set_endpoints("fraud-v7", 0).unwrap();
    let status = bench.until("the end", ended(Phase::Succeeded)).await;
    assert_eq!(status.live.version, "8");
    bench.stop().await;
}

/// Three versions, each with a third.
fn test_of_three(difference: &str) -> String {
    let strategy = format!(
        "abTest: {{weights: {{canary: 33, other: 33}}, difference: {difference}, for: 1h}}"
    );
    file(&strategy, "").replace(
        "  assignment:",
        "    - {name: other, version: \"9\", route: {cluster: fraud-v9}}\n  assignment:",
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_that_are_alike_are_said_to_be_and_everybody_goes_home() {
    let bench = Bench::start("alike", &test_of_three("10pp")).await;
    let status = bench.until("the end", ended(Phase::Succeeded)).await;
    assert_eq!(bench.outcome(), Some(Outcome::Concluded));
    assert!(
        status
            .message
            .starts_with("no difference larger than 10 pp by errors"),
        "{}",
        status.message
    );
    assert_eq!((status.live.version.as_str(), weight(&status)), ("7", 0.0));
    assert!(bench.canary.requests() > 100 && bench.shadow.requests() > 100);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_breaks_leaves_the_test_and_the_others_go_on() {
    let bench = Bench::start("out", &test_of_three("10pp")).await;
    broken(&bench.canary);
    let status = bench.until("the end", ended(Phase::Succeeded)).await;
    assert_eq!(bench.outcome(), Some(Outcome::Concluded));
    let release = status.release.unwrap();
    let said: Vec<_> = release
        .records
        .iter()
        .map(|it| it.message.as_str())
        .collect();
    assert!(
        said.iter()
            .any(|it| it.ends_with("canary is out of the test")),
        "{said:#?}"
    );
    assert!(
        status.message.contains("no difference"),
        "{}",
        status.message
    );
    bench.stop().await;
}

const SHADOW: &str = "shadow: {sample: 100%, gate: {ratio: 3, absolute: 8pp}}";

#[tokio::test(flavor = "multi_thread")]
async fn a_shadow_is_judged_by_its_answers_to_copies_and_nobody_meets_it() {
    let bench = Bench::start("shadow-good", &file(SHADOW, "")).await;
    let status = bench.until("the end", ended(Phase::Succeeded)).await;
    assert_eq!(bench.outcome(), Some(Outcome::Concluded));
    assert!(
        status
            .message
            .starts_with("on copies, canary errors 0 % vs 0 %"),
        "{}",
        status.message
    );
    assert!(bench.canary.requests() > 100, "it got copies");
    let tally = bench.stop().await;
    assert_eq!(tally.version("8").requests, 0, "nobody met it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shadow_that_fails_gets_no_more_copies() {
    let bench = Bench::start("shadow-bad", &file(SHADOW, "")).await;
    broken(&bench.canary);
    bench.until("the end", ended(Phase::RolledBack)).await;
    let tally = bench.stop().await;
    assert_eq!(tally.total().bad, 0, "its errors hurt nobody");
}

#[tokio::test(flavor = "multi_thread")]
async fn manual_weights_are_peoples_and_the_judge_still_watches() {
    let bench = Bench::start("manual", &file("manual: {weight: 5, soak: 1s}", "")).await;
    bench
        .until("five per cent", |status| weight(status) == 5.0)
        .await;
    for (asked, expected) in [("30", 30.0), ("10", 10.0)] {
        let (done, said, error) = bench.serin(&["set-weight", "fraud", asked]).await;
        assert!(done && said.contains("weight set to"), "{said}{error}");
        bench
            .until(asked, |status| weight(status) == expected)
            .await;
    }
    let (done, _, error) = bench.serin(&["set-weight", "fraud", "100"]).await;
    assert!(
        !done && error.contains("promote --full gives it everybody"),
        "{error}"
    );
    let (done, said, error) = bench.serin(&["promote", "fraud", "--full"]).await;
    assert!(done && said.contains("on to 100 %"), "{said}{error}");
    let status = bench.until("the end", ended(Phase::Succeeded)).await;
    assert_eq!(status.live.version, "8");

    // The old version was live a moment ago, and the file lets it come back at once.
    let back = file("manual: {soak: 1s}", "  rollbackWindow: 1h\n")
        .replace("version: \"7\"", "version: \"x\"")
        .replace("version: \"8\"", "version: \"7\"")
        .replace("version: \"x\"", "version: \"8\"")
        .replace("cluster: fraud-v7", "cluster: x")
        .replace("cluster: fraud-v8", "cluster: fraud-v7")
        .replace("cluster: x", "cluster: fraud-v8")
        .replace("salt: fraud-8", "salt: fraud-7-again");
    bench.installation.write_rollout(FILE, &back).unwrap();
    let status = bench
        .until("version 7 again", |status| {
            status.live.version == "7" && status.phase == Phase::Succeeded
        })
        .await;
    let release = status.release.unwrap();
    assert!(
        release.records[0].message.contains("it comes back at once"),
        "{}",
        release.records[0].message
    );
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_that_was_rolled_back_is_tried_again_when_somebody_says_so() {
    let steps = "        - {weight: 20, gate: {ratio: 3, absolute: 8pp}}";
    // What an open fuse sends home counts against the second attempt, too.
    let text = format!("{}  fuse: {{cooldown: 1s}}\n", rollout(steps, "1s"));
    let bench = Bench::start("retry", &text).await;
    broken(&bench.canary);
    bench.until("the way back", ended(Phase::RolledBack)).await;
    bench.canary.set(Behaviour::default());
    let (done, said, error) = bench.serin(&["retry", "fraud"]).await;
    assert!(done && said.contains("tried again by"), "{said}{error}");
    let status = bench.until("the end", ended(Phase::Succeeded)).await;
    assert_eq!(status.live.version, "8");
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_requests_and_other_peoples_counters_are_judged_beside_errors() {
    let strategy = "canary: {steps: [{weight: 30, gate: {ratio: 3, absolute: 8pp}}], soak: 1s}";
    let metrics = "  analysis:
    metrics:
      - {name: errors, errorRate: {}, weight: 0.5}
      - {name: slow, latency: {above: 200ms}, weight: 0.3}
      - name: refused
        prometheus: {bad: 'serin_requests_total{serin_class=\"4xx\"}', total: serin_requests_total, versionLabel: serin_version}
        weight: 0.2
";
    let bench = Bench::start("metrics", &file(strategy, metrics)).await;
    bench.canary.set(Behaviour {
        delay: std::time::Duration::from_millis(400),
        ..Behaviour::default()
    });
    let status = bench.until("the way back", ended(Phase::RolledBack)).await;
    assert!(
        status.message.starts_with("canary slow 100 % vs "),
        "{}",
        status.message
    );
    let release = status.release.unwrap();
    let by_name = |name: &str| release.metrics.iter().find(|it| it.name == name).unwrap();
    assert_eq!(by_name("slow").verdict, Verdict::Fail);
    assert_ne!(by_name("errors").verdict, Verdict::Fail);
    let refused = by_name("refused");
    assert!(refused.canary.total > 0, "its counter was read");
    assert!(
        refused.caveat.is_some(),
        "nobody knows whose events these are"
    );
    bench.stop().await;
}
