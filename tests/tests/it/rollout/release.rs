//! Releases from their first request to their end.

use hyper::StatusCode;
use serin_controller::rollout::{Outcome, Phase, Stage};
use serin_tests::upstream::Behaviour;

use super::{Bench, FILE, held, rollout, weight};

const STEPS: &str = "        - {weight: 10, gate: {ratio: 3, absolute: 10pp}}
        - {weight: 50, gate: {ratio: 3, absolute: 8pp}}";

#[tokio::test(flavor = "multi_thread")]
async fn a_good_version_becomes_live_and_its_users_never_go_back() {
    let bench = Bench::start("good", &rollout(STEPS, "2s")).await;
    let status = bench
        .until("the end", |status| status.phase == Phase::Succeeded)
        .await;
    assert_eq!(
        (status.live.version.as_str(), weight(&status)),
        ("8", 100.0)
    );
    let state = bench.installation.state().unwrap().state;
    assert_eq!(state.default_route().route, "fraud-v8");
    let release = state.release.unwrap();
    assert!(
        release.routes.canary.sampled > 0,
        "the release ended without a look at where requests went"
    );
    let weights: Vec<_> = release.records.iter().map(|record| record.weight).collect();
    assert!(weights.is_sorted(), "{weights:?}");

    // Live is served without the filter's header: the last thing that the release did was to drop it.
    let before = bench.traffic.snapshot().version("7").requests;
    let answer = reqwest::Client::new()
        .get(format!(
            "http://{}/v2/models/fraud/infer",
            bench.installation.envoy.address()
        ))
        .header("host", "fraud.ml")
        .header("x-user-id", "anyone")
        .send()
        .await
        .unwrap();
    assert_eq!(answer.headers()["x-serin-model-version"], "8");
    let seen: serde_json::Value = answer.json().await.unwrap();
    assert_eq!(seen.get("x-serin-route"), None);
    let tally = bench.stop().await;
    assert_eq!(
        tally.version("7").requests,
        before,
        "somebody still met the old version after the end"
    );
    assert_eq!(tally.total().bad, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_breaks_at_a_step_is_rolled_back_for_everybody() {
    let bench = Bench::start("bad", &rollout(STEPS, "2s")).await;
    bench
        .until("the second step", |status| {
            status
                .release
                .as_ref()
                .is_some_and(|release| release.stage == Stage::Step(1))
        })
        .await;
    bench.canary.set(Behaviour {
        status: StatusCode::SERVICE_UNAVAILABLE,
        ..Behaviour::default()
    });
    let status = bench
        .until("the rollback", |status| status.phase == Phase::RolledBack)
        .await;
    assert_eq!((status.live.version.as_str(), weight(&status)), ("7", 0.0));
    assert!(
        status
            .message
            .contains("healthy releases would look like this"),
        "{}",
        status.message
    );

    let reached = bench.canary.requests();
    let since = bench.traffic.snapshot().total().requests;
    bench
        .until("further traffic", |_| {
            bench.traffic.snapshot().total().requests > since + 500
        })
        .await;
    // A request in flight at the switch may still arrive; nobody new is sent there.
    assert!(
        bench.canary.requests() <= reached + 5,
        "{} requests after the rollback",
        bench.canary.requests() - reached
    );
    assert_eq!(
        bench
            .installation
            .state()
            .unwrap()
            .state
            .release
            .unwrap()
            .outcome,
        Some(Outcome::RolledBack)
    );
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_file_is_named_and_the_running_rollout_is_untouched() {
    let bench = Bench::start("broken", &held()).await;
    let before = bench
        .until("a start", |status| weight(status) == 20.0)
        .await;
    for (from, to, expected) in [
        (
            "soak: 1s",
            "soack: 1s",
            "fraud.yaml:18:7: spec.strategy.canary.soack: unknown field `soack`",
        ),
        (
            "weight: 20",
            "weight: 120",
            "fraud.yaml:17:12: spec.strategy.canary.steps[0].weight: must be more than 0 and less than 100 per cent, but is 120",
        ),
    ] {
        bench
            .installation
            .write_rollout(FILE, &held().replace(from, to))
            .unwrap();
        let status = bench
            .until("the mistake to be named", |status| {
                status.conditions.iter().any(|condition| {
                    condition.status == Some(false) && condition.message.contains(expected)
                })
            })
            .await;
        assert_eq!((status.phase, weight(&status)), (before.phase, 20.0));
    }
    let get = bench.installation.serin(&["get"]).await.unwrap();
    let said = String::from_utf8_lossy(&get.stderr).into_owned();
    assert!(
        said.contains("spec.strategy.canary.steps[0].weight"),
        "{said}"
    );

    bench.installation.write_rollout(FILE, &held()).unwrap();
    let ready = |status: &serin_controller::report::Status| {
        status
            .conditions
            .iter()
            .any(|condition| condition.kind == "Ready" && condition.status == Some(true))
    };
    let after = bench.until("the file to be in force again", ready).await;
    assert_eq!(
        after.release.unwrap().started,
        before.release.unwrap().started,
        "the release began anew"
    );
    bench.stop().await;
}
