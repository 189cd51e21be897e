//! Several metrics, and several versions.

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};

use super::super::*;
use crate::fixtures::{cell, source, text, three_versions};
use crate::stats::reaches;

const METRICS: &str = "    metrics:
      - {name: errors, errorRate: {}, weight: 0.9}
      - {name: refunds, prometheus: {bad: refunds_total, total: orders_total}, weight: 0.1}
";

fn plan(analysis: &str) -> Plan {
    source(&format!("{}{analysis}", text())).plan
}

/// A cell whose custom counts are these.
fn with_refunds(index: i64, canary: (u64, u64), stable: (u64, u64)) -> Cell {
    let mut it = cell(index, (200, 0), (1800, 2));
    let tally = |(total, bad)| Tally { total, bad };
    it.arms[0]
        .custom
        .insert("refunds".to_owned(), tally(canary));
    it.stable.custom.insert("refunds".to_owned(), tally(stable));
    it
}

fn consume(plan: &Plan, cells: impl Iterator<Item = Cell>) -> Evidence {
    let mut evidence = Evidence::new(plan, 0);
    cells.for_each(|cell| evidence.consume(plan, &cell, true));
    evidence
}

#[test]
fn one_metric_alone_needs_its_share_of_the_evidence_more() {
    let plan = plan(METRICS);
    let mut evidence = Evidence::new(&plan, 0);
    let level = plan.harm_level();
    for index in 0..200 {
        evidence.consume(&plan, &with_refunds(index, (200, 6), (1800, 18)), true);
        let refunds = evidence.canary.metrics[1].harm();
        // With a tenth of the weight, and the errors' wealth near 1, ten times as much is wanted.
        if reaches(refunds, level * 0.1) {
            assert!(evidence.failed(&plan));
        }
        if !reaches(refunds, level) {
            assert!(!evidence.failed(&plan), "not before it could alone");
        }
    }
    assert!(evidence.failed(&plan));
    assert_eq!(
        evidence.canary.blamed(&plan),
        [1],
        "e-BH blames the refunds alone"
    );
}

#[test]
fn a_gate_is_passed_by_every_metric_or_by_none() {
    let plan = plan(METRICS);
    let errors_alone = consume(
        &plan,
        (0..60).map(|index| with_refunds(index, (0, 0), (0, 0))),
    );
    assert!(errors_alone.canary.metrics[0].gate(0).unwrap() > 5.0);
    assert!(
        !errors_alone.passed(&plan, 0),
        "nobody has seen a refund's rate"
    );
    let both = consume(
        &plan,
        (0..60).map(|index| with_refunds(index, (200, 2), (1800, 18))),
    );
    assert!(both.passed(&plan, 0));
}

#[test]
fn custom_metrics_stand_outside_the_promise_and_say_so() {
    let plan = plan(METRICS);
    assert_eq!(plan.metrics[0].caveat(), None);
    assert!(
        plan.metrics[1]
            .caveat()
            .unwrap()
            .contains("without groups of users")
    );
}

#[test]
fn slow_requests_that_not_every_proxy_counts_are_no_evidence() {
    let plan = plan("    metrics: [{name: slow, latency: {above: 100ms}}]\n");
    let mut evidence = Evidence::new(&plan, 0);
    for index in 0..50 {
        evidence.consume(&plan, &cell(index, (200, 0), (1800, 0)), false);
    }
    assert_eq!(evidence.canary.requests.total, 10_000);
    assert_eq!(evidence.canary.metrics[0].canary, Tally::default());
    assert!(!evidence.passed(&plan, 0));
}

fn contest() -> Plan {
    let test = "abTest: {weights: {canary: 30, other: 30}, difference: 1pp, for: 1h}";
    source(&three_versions(test)).plan
}

/// A cell of 1000 requests for each of three versions.
fn round(index: i64, bad: [u64; 3]) -> Cell {
    let [stable, canary, other] = bad.map(|bad| (1000, bad));
    let mut it = cell(index, canary, stable);
    it.arms.push(cell(index, other, stable).arms.remove(0));
    it
}

#[test]
fn a_winner_beats_every_other_version() {
    let plan = contest();
    let of = |bad| consume(&plan, (0..60).map(|index| round(index, bad))).conclusion(&plan, &[]);
    assert_eq!(of([30, 10, 30]), Conclusion::Winner(1));
    assert_eq!(
        of([5, 30, 30]),
        Conclusion::Winner(0),
        "stable may be the best"
    );
    assert_eq!(of([10, 10, 10]), Conclusion::NoDifference);
    // Two are alike, and much better than the third: nobody is the best, and not all are alike.
    assert_eq!(of([60, 10, 10]), Conclusion::Open);
}

#[test]
fn who_is_out_of_the_test_neither_wins_nor_stands_in_the_way() {
    let plan = contest();
    let evidence = consume(&plan, (0..60).map(|index| round(index, [60, 10, 10])));
    assert_eq!(evidence.conclusion(&plan, &[2]), Conclusion::Winner(1));
    let evidence = consume(&plan, (0..60).map(|index| round(index, [10, 60, 10])));
    assert_eq!(evidence.conclusion(&plan, &[1]), Conclusion::NoDifference);
}

/// Equal versions have no best one. All three may be named, so this is more than the promise, which is about any single
/// best version; a simulation of it is all the sharper.
#[test]
fn among_equals_a_winner_is_named_as_seldom_as_promised() {
    let plan = contest();
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(5);
    let mut wrong = 0;
    for _ in 0..200 {
        let mut evidence = Evidence::new(&plan, 0);
        for index in 0..100 {
            let mut it = round(index, [0, 0, 0]);
            for arm in std::iter::once(&mut it.stable).chain(&mut it.arms) {
                for group in &mut arm.requests.groups {
                    group.bad = (0..group.total)
                        .map(|_| u64::from(rng.random_bool(0.02)))
                        .sum();
                }
            }
            evidence.consume(&plan, &it, true);
            if let Conclusion::Winner(_) = evidence.conclusion(&plan, &[]) {
                wrong += 1;
                break;
            }
        }
    }
    assert!(wrong <= 10, "{wrong} of 200, promised are 5 %");
}
