//! What the filter counts: where requests really went, how they came to their variant, and the labels.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serin_filter_core::stat;
use serin_tests::discovery::{self, Route};
use serin_tests::traffic::{Call, Plan, Traffic};
use serin_tests::wait;

use super::{HOST, ROLLOUT, Rig, STABLE, call, config};

#[tokio::test]
async fn a_route_that_ignores_the_header_shows_as_misrouted() {
    let rig = Rig::start(&config(1, 5000)).await;
    rig.visit(0..1000).await;
    for variant in ["stable", "canary"] {
        let labels = [(stat::ROLLOUT, ROLLOUT), (stat::VARIANT, variant)];
        // One in 64 of about 500, and the first on each worker.
        let sampled = |value| (7.0..20.0).contains(&value);
        rig.envoy
            .metric(stat::SAMPLED_TOTAL, &labels, sampled)
            .await
            .unwrap();
        rig.counts(stat::MISROUTED_TOTAL, variant, &[], 0).await;
    }

    discovery::write_routes(&rig.world.file("rds.json"), &[Route::default(STABLE)]).unwrap();
    let canary = [(stat::ROLLOUT, ROLLOUT), (stat::VARIANT, "canary")];
    wait::until_true(
        Duration::from_secs(30),
        "requests on the wrong way",
        async || rig.visit(0..1000).await.version("8").requests == 0,
    )
    .await
    .unwrap();
    rig.visit(0..1000).await;
    rig.envoy
        .metric(stat::MISROUTED_TOTAL, &canary, |value| value >= 7.0)
        .await
        .unwrap();
    rig.none_misrouted("stable").await;
}

#[tokio::test]
async fn the_first_request_of_a_variant_after_a_change_is_among_the_sampled() {
    let rig = Rig::start(&config(1, 10_000)).await;
    for generation in 1..=3 {
        rig.ask(HOST, b"user", &[]).await;
        rig.counts(stat::SAMPLED_TOTAL, "canary", &[], generation)
            .await;
        rig.configure(&config(generation + 1, 10_000)).await;
    }
}

#[tokio::test]
async fn requests_without_a_key_are_split_at_random_and_have_no_group() {
    let rig = Rig::start(&config(1, 5000)).await;
    let calls = (0..2000).map(|user| Call {
        headers: Vec::new(),
        ..call(user)
    });
    let plan = Plan::closed(rig.envoy.address(), 32);
    let tally = Traffic::start(plan, calls).unwrap().finish().await.unwrap();
    let canary = tally.version("8").requests;
    // Five standard deviations: once in two million runs.
    assert!(
        canary.abs_diff(1000) < 112,
        "{canary} of 2000 on the canary"
    );
    rig.counts(
        stat::ASSIGNMENTS_TOTAL,
        "canary",
        &[(stat::REASON, "random")],
        canary,
    )
    .await;
    rig.counts(
        stat::SPLIT_TOTAL,
        "canary",
        &[(stat::GROUP, "none")],
        canary,
    )
    .await;
    rig.counts(stat::SPLIT_TOTAL, "canary", &[], canary).await;
}

#[tokio::test]
async fn series_carry_the_labels_that_were_agreed_and_no_others() {
    let rig = Rig::start(&config(1, 5000)).await;
    rig.visit(0..2000).await;
    let variant = [stat::ROLLOUT, stat::VARIANT, stat::VERSION];
    let with =
        |more: &[&'static str]| -> BTreeSet<&str> { variant.iter().chain(more).copied().collect() };
    let agreed = BTreeMap::from([
        ("serin_requests_total", with(&[stat::COHORT, stat::CLASS])),
        ("serin_assignments_total", with(&[stat::REASON])),
        (
            "serin_request_duration_ms_bucket",
            with(&[stat::COHORT, stat::CLASS, "le"]),
        ),
        (
            "serin_request_duration_ms_count",
            with(&[stat::COHORT, stat::CLASS]),
        ),
        (
            "serin_request_duration_ms_sum",
            with(&[stat::COHORT, stat::CLASS]),
        ),
        ("serin_split_total", with(&[stat::GROUP])),
        ("serin_split_bad_total", with(&[stat::GROUP])),
        ("serin_sampled_total", with(&[])),
        ("serin_misrouted_total", with(&[])),
        ("serin_config_generation", BTreeSet::new()),
        ("serin_config_invalid", BTreeSet::new()),
    ]);
    // The histogram comes with a flush.
    let duration = "serin_request_duration_ms_count";
    rig.envoy
        .metric(duration, &[], |value| value == 2000.0)
        .await
        .unwrap();
    let metrics = rig.envoy.metrics().await.unwrap();
    let mut found: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut values: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    // Envoy's own statistics about the plugin have a prefix; a label that no tag recognised would stay in a name.
    let ours = |name: &str| name.contains("serin_") && !name.starts_with("envoy_");
    for sample in metrics.iter().filter(|sample| ours(&sample.name)) {
        let labels = sample.labels.keys().map(String::as_str).collect();
        let first = found
            .entry(&sample.name)
            .or_insert_with(|| Clone::clone(&labels));
        assert_eq!(*first, labels, "{sample:?}");
        for (label, value) in &sample.labels {
            values.entry(label).or_default().insert(value);
        }
    }
    assert_eq!(found, agreed);
    assert_eq!(values[stat::ROLLOUT], BTreeSet::from([ROLLOUT]));
    assert_eq!(values[stat::VARIANT], BTreeSet::from(["canary", "stable"]));
    assert_eq!(values[stat::VERSION], BTreeSet::from(["7", "8"]));
    assert_eq!(values[stat::COHORT], BTreeSet::from(["split"]));
    assert_eq!(values[stat::CLASS], BTreeSet::from(["2xx"]));
    assert_eq!(values[stat::REASON], BTreeSet::from(["weight"]));
    let groups: Vec<String> = (0..16).map(|group| group.to_string()).collect();
    assert_eq!(
        values[stat::GROUP],
        groups.iter().map(String::as_str).collect()
    );
}
