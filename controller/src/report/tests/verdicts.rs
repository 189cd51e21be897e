//! What is said of each metric and version.

use super::*;
use crate::fixtures::{cell, edited, started_with, text, three_versions};
use crate::rollout::Outcome;

const THREE: &str = "metrics:
      - {name: errors, errorRate: {}}
      - {name: slow, latency: {above: 100ms}}
      - {name: refunds, prometheus: {bad: refunds_total, total: orders_total}}";

/// A release of which so many cells were counted, with these bad ones of 200 and of 1800.
fn counted(text: &str, cells: i64, canary: u64, stable: u64) -> (Plan, RolloutState) {
    let (plan, mut state) = started_with(text);
    let evidence = &mut state.release.as_mut().unwrap().evidence;
    for index in 0..cells {
        let mut it = cell(index, (200, canary), (1800, stable));
        let tally = |total| Tally { total, bad: 0 };
        it.arms[0].custom.insert("refunds".to_owned(), tally(20));
        it.stable.custom.insert("refunds".to_owned(), tally(180));
        evidence.consume(&plan, &it, false);
    }
    (plan, state)
}

fn metrics(plan: &Plan, state: &RolloutState, view: &View) -> Vec<MetricStatus> {
    report(Some(plan), state, view).release.unwrap().metrics
}

#[test]
fn every_metric_has_its_own_verdict_and_the_worst_is_the_releases() {
    let (plan, state) = counted(&edited("falseRollback: 0.01", THREE), 10, 0, 2);
    let status = report(Some(&plan), &state, &View::default())
        .release
        .unwrap();
    let said: Vec<_> = status
        .metrics
        .iter()
        .map(|it| (it.name.as_str(), it.verdict))
        .collect();
    let wanted = [
        ("errors", Verdict::Pass),
        ("slow", Verdict::NoData),
        ("refunds", Verdict::Undecided),
    ];
    assert_eq!(said, wanted);
    assert_eq!(status.verdict, Verdict::NoData);
    let slow = &status.metrics[1].sentence;
    assert!(
        slow.starts_with("not every proxy counted slow requests"),
        "{slow}"
    );
    let caveats: Vec<_> = status
        .metrics
        .iter()
        .map(|it| it.caveat.is_some())
        .collect();
    assert_eq!(
        caveats,
        [false, false, true],
        "only the custom one stands outside the promise"
    );
}

#[test]
fn a_selector_that_prometheus_refuses_is_an_error_of_that_metric_alone() {
    let (plan, state) = counted(&edited("falseRollback: 0.01", THREE), 3, 0, 2);
    let view = View {
        refusal: Some("Prometheus refuses 'refunds_total'".to_owned()),
        ..View::default()
    };
    let said = metrics(&plan, &state, &view);
    assert_eq!(
        (said[0].verdict, said[2].verdict),
        (Verdict::Undecided, Verdict::Error)
    );
    assert!(
        said[2].sentence.contains("the weight holds"),
        "{}",
        said[2].sentence
    );
}

#[test]
fn a_release_that_a_guard_or_a_person_ended_shows_no_clean_bill() {
    let (plan, mut state) = counted(&text(), 3, 1, 2);
    state.release.as_mut().unwrap().outcome = Some(Outcome::RolledBack);
    let said = &metrics(&plan, &state, &View::default())[0];
    assert_eq!(said.verdict, Verdict::Undecided, "{}", said.sentence);
    let release = state.release.as_mut().unwrap();
    release.stage = Stage::Soak;
    release.evidence.freeze_limits(&plan);
    let said = &metrics(&plan, &state, &View::default())[0];
    assert_eq!(said.verdict, Verdict::Undecided, "{}", said.sentence);
    assert!(
        said.sentence
            .ends_with("nothing was proven when the release ended"),
        "{}",
        said.sentence
    );
}

#[test]
fn in_the_soak_the_rate_is_the_soaks() {
    let (plan, mut state) = counted(&text(), 50, 0, 9);
    let release = state.release.as_mut().unwrap();
    release.stage = Stage::Soak;
    release.evidence.freeze_limits(&plan);
    for index in 50..53 {
        release
            .evidence
            .consume(&plan, &cell(index, (2000, 200), (0, 0)), true);
    }
    let said = &metrics(&plan, &state, &View::default())[0];
    assert_eq!(said.verdict, Verdict::Fail);
    assert!(
        said.sentence
            .starts_with("canary errors 10 % at 100 % (limit 0.83 %); at most 1 in 100"),
        "{}",
        said.sentence
    );
}

#[test]
fn a_soak_without_a_comparison_says_that_only_guards_watch() {
    let (plan, mut state) = started_with(&text());
    let release = state.release.as_mut().unwrap();
    release.stage = Stage::Soak;
    release.evidence.freeze_limits(&plan);
    release
        .evidence
        .consume(&plan, &cell(0, (2000, 3), (0, 0)), true);
    let said = &metrics(&plan, &state, &View::default())[0];
    assert_eq!(
        (said.verdict, said.sentence.as_str()),
        (
            Verdict::Undecided,
            "canary errors 0.15 %: nothing to compare with, only guards watch"
        )
    );
}

#[test]
fn a_canary_that_has_become_worse_is_not_near_its_gate() {
    let (plan, mut state) = counted(&text(), 3, 0, 9);
    let share = |state: &RolloutState| metrics(&plan, state, &View::default())[0].sentence.clone();
    assert!(!share(&state).contains(": 0 %"), "{}", share(&state));
    let evidence = &mut state.release.as_mut().unwrap().evidence;
    for index in 3..6 {
        evidence.consume(&plan, &cell(index, (200, 6), (1800, 9)), true);
    }
    assert!(
        share(&state).contains(": 0 % of the evidence"),
        "{}",
        share(&state)
    );
}

#[test]
fn each_version_of_a_test_is_reported() {
    let test = "abTest: {weights: {canary: 30, other: 20}, difference: 1pp, for: 1h}";
    let (plan, mut state) = started_with(&three_versions(test));
    let release = state.release.as_mut().unwrap();
    for index in 0..3 {
        let mut it = cell(index, (300, 3), (500, 5));
        it.arms.push(cell(index, (200, 2), (500, 5)).arms.remove(0));
        release.evidence.consume(&plan, &it, true);
    }
    // A guard took it out: the comparison has nothing against it.
    release.stopped.push(2);
    let view = View {
        last_cell: vec![500, 300, 200],
        ..View::default()
    };
    let status = report(Some(&plan), &state, &view).release.unwrap();
    let arms: Vec<_> = status
        .arms
        .iter()
        .map(|it| (it.variant.name.as_str(), it.weight, it.observed_weight))
        .collect();
    assert_eq!(
        arms,
        [("canary", 30.0, Some(30.0)), ("other", 20.0, Some(20.0))]
    );
    assert_eq!(status.arms[1].requests, Tally { total: 600, bad: 6 });
    let said: Vec<_> = status
        .metrics
        .iter()
        .map(|it| (it.variant.as_str(), it.verdict))
        .collect();
    assert_eq!(
        said,
        [("canary", Verdict::Undecided), ("other", Verdict::Fail)]
    );
    assert!(
        status.metrics[1].sentence.ends_with(": out of the test"),
        "{}",
        status.metrics[1].sentence
    );
}
