//! The strategies.

use super::check;
use crate::fixtures::{source, three_versions, with_strategy};
use crate::source::parse;
use crate::validate::Plan;

fn plan(strategy: &str) -> Plan {
    source(&with_strategy(strategy)).plan
}

/// A mistake at a path whose reason holds a text, and a line.
#[track_caller]
fn refused(strategy: &str, path: &str, reason: &str) {
    refused_text(&with_strategy(strategy), path, reason);
}

#[track_caller]
fn refused_text(text: &str, path: &str, reason: &str) {
    let mistakes = parse("fraud.yaml", text).expect_err("must be refused");
    let found = mistakes.iter().find(|it| it.problem.path == path);
    let found = found.unwrap_or_else(|| panic!("no mistake at {path}: {mistakes:?}"));
    assert!(
        found.problem.reason.contains(reason),
        "{}",
        found.problem.reason
    );
    assert!(found.place.is_some(), "the mistake has no line");
}

fn weights(plan: &Plan) -> Vec<u16> {
    plan.steps
        .iter()
        .map(super::super::PlannedStep::weight)
        .collect()
}

const GATE: &str = "gate: {ratio: 1.5, absolute: 0.3pp}";

#[test]
fn a_canary_rises_and_stays_below_everybody() {
    let base = "spec.strategy.canary.steps";
    check(
        "weight: 25,",
        "weight: 5,",
        &format!("{base}[1].weight"),
        "larger than the step before (10)",
    );
    check(
        "weight: 50,",
        "weight: 100,",
        &format!("{base}[2].weight"),
        "100 % comes after the last step",
    );
    check(
        "weight: 10,",
        "weight: 0,",
        &format!("{base}[0].weight"),
        "more than 0",
    );
    refused("canary: {steps: []}", base, "at least one step");
}

#[test]
fn linear_steps_are_counted_without_a_rest() {
    assert_eq!(
        weights(&plan(&format!("linear: {{stepWeight: 20, {GATE}}}"))),
        [2000, 4000, 5000]
    );
    assert_eq!(
        weights(&plan(&format!(
            "linear: {{stepWeight: 0.1, maxWeight: 0.8, {GATE}}}"
        ))),
        [10, 20, 30, 40, 50, 60, 70, 80],
        "a sum of decimals would make the last step twice"
    );
    assert_eq!(
        weights(&plan(&format!("linear: {{stepWeight: 50, {GATE}}}"))),
        [5000]
    );
}

#[test]
fn linear_steps_are_few_and_lead_up() {
    let base = "spec.strategy.linear";
    refused(
        &format!("linear: {{stepWeight: 60, {GATE}}}"),
        &format!("{base}.stepWeight"),
        "there would be no step",
    );
    refused(
        &format!("linear: {{stepWeight: 0.1, {GATE}}}"),
        &format!("{base}.stepWeight"),
        "more than 100 steps",
    );
    refused(
        &format!("linear: {{stepWeight: 10, maxWeight: 100, {GATE}}}"),
        &format!("{base}.maxWeight"),
        "less than 100",
    );
    refused(
        "linear: {stepWeight: 10, gate: {ratio: 0.5}}",
        &format!("{base}.gate.ratio"),
        "1 to 100",
    );
    refused(
        &format!("linear: {{stepWeight: 10, {GATE}, every: 400d}}"),
        &format!("{base}.every"),
        "at most a year",
    );
}

#[test]
fn a_preview_ends_by_somebody_or_in_time() {
    let base = "spec.strategy.blueGreen";
    refused(
        "blueGreen: {soak: 1m, preview: {}}",
        &format!("{base}.preview"),
        "ends at once",
    );
    refused(
        "blueGreen: {soak: 1m, limit: {ratio: 0.5}}",
        &format!("{base}.limit.ratio"),
        "1 to 100",
    );
    refused(
        "blueGreen: {soak: 400d}",
        &format!("{base}.soak"),
        "at most a year",
    );
    let plan = plan("blueGreen: {soak: 1m}");
    assert_eq!(weights(&plan), [0]);
    assert!(
        plan.steps[0].pause.approval,
        "nobody switches everybody by forgetting a field"
    );
    assert!(!plan.steps[0].gated);
}

#[test]
fn a_rolling_release_has_a_limit_below_everybody() {
    refused(
        &format!("rolling: {{maxWeight: 100, {GATE}}}"),
        "spec.strategy.rolling.maxWeight",
        "less than 100",
    );
    refused(
        "rolling: {gate: {ratio: 200}}",
        "spec.strategy.rolling.gate.ratio",
        "1 to 100",
    );
    assert_eq!(weights(&plan(&format!("rolling: {{{GATE}}}"))), [5000]);
}

#[test]
fn a_manual_release_may_begin_with_nobody() {
    assert_eq!(weights(&plan("manual: {}")), [0]);
    refused(
        "manual: {weight: 100}",
        "spec.strategy.manual.weight",
        "less than 100",
    );
    refused(
        "manual: {weight: 0.001}",
        "spec.strategy.manual.weight",
        "finest weight is 0.01",
    );
}

#[test]
fn a_shadow_promotes_nobody_and_knows_no_time() {
    let base = "spec.strategy.shadow";
    refused(
        &format!("shadow: {{sample: 10%, {GATE}, deadline: {{after: 1h, then: promote}}}}"),
        &format!("{base}.deadline.then"),
        "promotes nobody",
    );
    refused(
        &format!("shadow: {{sample: 0.001%, {GATE}}}"),
        &format!("{base}.sample"),
        "0.01% to 100%",
    );
    let slow = with_strategy(&format!("shadow: {{sample: 10%, {GATE}}}"))
        + "    metrics: [{name: slow, latency: {above: 1s}}]\n";
    refused_text(
        &slow,
        "spec.analysis.metrics[0].latency",
        "nobody waits for the answer to a copy",
    );
    let twice = with_strategy(&format!("shadow: {{sample: 10%, {GATE}}}")).replace(
        "  strategy:\n",
        "  shadow: {cluster: x, sample: 1%}\n  strategy:\n",
    );
    refused_text(&twice, "spec.shadow", "leave this out");
}

#[test]
fn a_test_has_a_weight_for_each_version_and_an_end() {
    let base = "spec.strategy.abTest";
    let test = |weights: &str, more: &str| format!("abTest: {{weights: {{{weights}}}, {more}}}");
    let well = "difference: 1pp, for: 14d";
    refused(
        &test("canary: 30, nobody: 5", well),
        &format!("{base}.weights"),
        "'nobody' is no variant",
    );
    refused(
        &test("", well),
        &format!("{base}.weights"),
        "says nothing of variant 'canary'",
    );
    refused(
        &test("canary: 0", well),
        &format!("{base}.weights.canary"),
        "more than 0",
    );
    refused(
        &test("canary: 30", "difference: 0pp, for: 1d"),
        &format!("{base}.difference"),
        "more than 0",
    );
    refused(
        &test("canary: 30", "difference: 1pp"),
        base,
        "must say how long it lasts",
    );
    refused(
        &test(
            "canary: 30",
            "difference: 1pp, for: 1d, until: 2027-01-31T00:00:00Z",
        ),
        base,
        "either",
    );
    refused(
        &test("canary: 30", "difference: 1pp, for: 400d"),
        &format!("{base}.for"),
        "at most a year",
    );
}

#[test]
fn the_weights_of_a_test_leave_something_for_stable() {
    let strategy = "abTest: {weights: {canary: 50, other: 50}, difference: 1pp, for: 14d}";
    let text = three_versions(strategy);
    refused_text(
        &text,
        "spec.strategy.abTest.weights",
        "leave nothing for the stable variant",
    );
    let plan = source(&text.replace("other: 50", "other: 20")).plan;
    assert_eq!(plan.steps[0].weights, [5000, 2000]);
    assert_eq!(plan.others[0].version, "9");
}
