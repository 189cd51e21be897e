//! What is judged.

use super::check;
use crate::fixtures::{edited, source, three_versions};
use crate::validate::{HALF, Plan, Source};

const BASE: &str = "spec.analysis.metrics";

/// The fixture with these metrics.
#[track_caller]
fn refused(metrics: &str, path: &str, reason: &str) {
    check(
        "falseRollback: 0.01",
        &format!("metrics: [{metrics}]"),
        path,
        reason,
    );
}

fn plan(metrics: &str) -> Plan {
    source(&edited(
        "falseRollback: 0.01",
        &format!("metrics: [{metrics}]"),
    ))
    .plan
}

const ERRORS: &str = "{name: errors, errorRate: {}}";

#[test]
fn a_metric_has_one_source() {
    let one = "exactly one of errorRate, latency and prometheus";
    refused("{name: x}", &format!("{BASE}[0]"), one);
    refused(
        "{name: x, errorRate: {}, latency: {above: 1s}}",
        &format!("{BASE}[0]"),
        one,
    );
}

#[test]
fn names_are_labels_and_are_there_once() {
    refused(
        &format!("{ERRORS}, {ERRORS}"),
        &format!("{BASE}[1].name"),
        "there twice",
    );
    refused(
        "{name: 'a b', errorRate: {}}",
        &format!("{BASE}[0].name"),
        "characters",
    );
}

#[test]
fn a_latency_has_a_limit() {
    refused(
        "{name: slow, latency: {above: 0s}}",
        &format!("{BASE}[0].latency.above"),
        "longer than 0s",
    );
    refused(
        "{name: slow, latency: {above: 400d}}",
        &format!("{BASE}[0].latency.above"),
        "at most a year",
    );
}

#[test]
fn weights_are_written_for_all_metrics_or_for_none() {
    let two = "{name: a, errorRate: {}, weight: 3}, {name: b, latency: {above: 1s}, weight: 1}";
    assert_eq!(
        plan(two)
            .metrics
            .iter()
            .map(|it| it.share)
            .collect::<Vec<_>>(),
        [0.75, 0.25]
    );
    assert_eq!(
        plan(&two.replace(", weight: 3", "").replace(", weight: 1", ""))
            .metrics
            .iter()
            .map(|it| it.share)
            .collect::<Vec<_>>(),
        [0.5, 0.5]
    );
    refused(
        &two.replace(", weight: 3", ""),
        &format!("{BASE}[0].weight"),
        "all or none",
    );
    refused(
        &two.replace("weight: 1", "weight: 0"),
        &format!("{BASE}[1].weight"),
        "more than 0",
    );
    refused(
        &two.replace("weight: 1", "weight: -1"),
        &format!("{BASE}[1].weight"),
        "more than 0",
    );
}

#[test]
fn gates_of_its_own_are_one_for_each_step() {
    let gate = "{ratio: 3, absolute: 1pp}";
    refused(
        &format!("{{name: a, errorRate: {{}}, gates: [{gate}]}}"),
        &format!("{BASE}[0].gates"),
        "are 1, but the strategy has 3 steps with a gate",
    );
    refused(
        "{name: a, errorRate: {}, gates: [{ratio: 0.5}, {ratio: 2}, {ratio: 2}]}",
        &format!("{BASE}[0].gates[0].ratio"),
        "1 to 100",
    );
    let own = plan(&format!(
        "{{name: a, errorRate: {{}}, gates: [{gate}, {gate}, {gate}]}}"
    ));
    assert_eq!(own.metrics[0].last_gate().theta, 3.0);
}

#[test]
fn the_other_numbers_are_bounded() {
    refused(
        "{name: a, errorRate: {}, tolerance: {ratio: 0.5}}",
        &format!("{BASE}[0].tolerance.ratio"),
        "1 to 100",
    );
    refused(
        "{name: a, errorRate: {}, dispersion: 0.5}",
        &format!("{BASE}[0].dispersion"),
        "1 to 1000",
    );
}

#[test]
fn counters_of_others_are_selectors_and_nothing_else() {
    let custom = |bad: &str, total: &str| {
        format!("{{name: a, prometheus: {{bad: '{bad}', total: '{total}'}}}}")
    };
    for bad in ["rate(x[1m])", "x + y", "x[5m]", "x offset 1m", "x @ 0", "1"] {
        refused(
            &custom(bad, "y"),
            &format!("{BASE}[0].prometheus.bad"),
            "must be a selector of counters",
        );
    }
    refused(
        &custom("x", "y{"),
        &format!("{BASE}[0].prometheus.total"),
        "is no selector",
    );
    let labelled = "{name: a, prometheus: {bad: x, total: y, versionLabel: 'a-b'}}";
    refused(
        labelled,
        &format!("{BASE}[0].prometheus.versionLabel"),
        "not the name of a label",
    );
    let plan = plan(&custom("x{a=\"b\"}", "y"));
    assert!(matches!(&plan.metrics[0].source, Source::Custom(it) if it.version_label == "version"));
}

#[test]
fn the_margins_have_their_part_of_both_error_rates() {
    let quantile = |alpha: f64| crate::stats::user_mix::MarginLevel::new(alpha).unwrap();
    let metrics =
        plan("{name: a, errorRate: {}, weight: 3}, {name: b, latency: {above: 1s}, weight: 1}")
            .metrics;
    assert_eq!(metrics[1].harm_margin, quantile(0.01 * HALF * 0.25));
    assert_eq!(metrics[1].gate_margin, quantile(0.05 * HALF));
}

#[test]
fn in_a_test_the_versions_share_both_error_rates() {
    let test = "abTest: {weights: {canary: 30, other: 30}, difference: 1pp, for: 1h}";
    let plan = source(&three_versions(test)).plan;
    let quantile = |alpha: f64| crate::stats::user_mix::MarginLevel::new(alpha).unwrap();
    assert_eq!(plan.harm_level(), 0.01 * HALF / 2.0);
    assert_eq!(plan.metrics[0].harm_margin, quantile(0.01 * HALF / 2.0));
    assert_eq!(plan.metrics[0].gate_margin, quantile(0.05 * HALF / 2.0));
}
