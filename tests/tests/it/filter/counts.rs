//! What the filter counts: how requests came to their variant, how long they took, and the labels.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serin_filter_core::config::SlowConfig;
use serin_filter_core::stat;
use serin_tests::traffic::{Call, Plan, Traffic};
use serin_tests::upstream::Behaviour;

use super::{ROLLOUT, Rig, call, config};

#[tokio::test]
async fn how_long_requests_took_is_in_the_histogram_and_slow_ones_are_counted_by_group() {
    let mut config = config(1, 10_000);
    let limit = |name: &str, limit: Duration| SlowConfig {
        name: name.to_owned(),
        above_micros: limit.as_micros().try_into().unwrap(),
    };
    config.rollouts[0].slow = vec![
        limit("prompt", Duration::from_millis(60)),
        limit("patient", Duration::from_secs(3600)),
    ];
    let rig = Rig::start(&config).await;
    rig.canary.set(Behaviour {
        delay: Duration::from_millis(120),
        ..Behaviour::default()
    });
    rig.visit(0..40).await;
    let metric = |name| [(stat::METRIC, name)];
    rig.counts(stat::SPLIT_SLOW_TOTAL, "canary", &metric("prompt"), 40)
        .await;
    // Those that nobody exceeds are zero, and not missing: the judge wants to know that somebody looked.
    rig.counts(stat::SPLIT_SLOW_TOTAL, "canary", &metric("patient"), 0)
        .await;
    rig.counts(stat::SPLIT_TOTAL, "canary", &[], 40).await;
    rig.counts(stat::SPLIT_BAD_TOTAL, "canary", &[], 0).await;

    let duration = |part: &str| format!("{}_{part}", stat::REQUEST_DURATION_MS);
    rig.counts(&duration("count"), "canary", &[(stat::CLASS, "2xx")], 40)
        .await;
    for (limit, expected) in [("100", 0), ("3600000", 40)] {
        rig.counts(&duration("bucket"), "canary", &[("le", limit)], expected)
            .await;
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
