mod several;

use super::*;
use crate::fixtures::{cell, source, text};

fn plan() -> Plan {
    source(&text()).plan
}

fn after(cells: u32, canary: (u64, u64), stable: (u64, u64)) -> Evidence {
    let plan = plan();
    let mut evidence = Evidence::new(&plan, 0);
    for index in 0..cells {
        evidence.consume(&plan, &cell(i64::from(index), canary, stable), true);
    }
    evidence
}

#[test]
fn the_first_cell_is_counted_but_not_judged() {
    let evidence = after(1, (200, 200), (1800, 0));
    assert_eq!(
        evidence.canary.requests,
        Tally {
            total: 200,
            bad: 200
        }
    );
    assert_eq!(evidence.canary.judged_cells, 0);
    assert_eq!(evidence.canary.harm(&plan()), 0.0);
    assert!(
        after(2, (200, 200), (1800, 0)).canary.harm(&plan()) > 100.0,
        "the second cell is judged"
    );
}

#[test]
fn a_canary_within_the_tolerance_is_not_harmed() {
    let evidence = after(100, (200, 1), (1800, 9));
    assert!(
        !evidence.failed(&plan()),
        "{:?}",
        evidence.canary.harm(&plan())
    );
}

#[test]
fn one_bad_hash_group_widens_the_margin_and_slows_the_verdict() {
    let plan = plan();
    let run = |one_group: bool| {
        let mut evidence = Evidence::new(&plan, 0);
        for index in 0..60 {
            let mut cell = cell(index, (160, 0), (1600, 16));
            if one_group {
                cell.arms[0].requests.groups[3].bad = 5;
            } else {
                cell.arms[0]
                    .requests
                    .groups
                    .iter_mut()
                    .take(5)
                    .for_each(|group| group.bad = 1);
                cell.arms[0]
                    .requests
                    .groups
                    .rotate_right(usize::try_from(index).unwrap() % 16);
            }
            evidence.consume(&plan, &cell, true);
        }
        evidence
    };
    assert!(
        run(false).failed(&plan),
        "the same errors spread over users are proof"
    );
    assert!(
        !run(true).failed(&plan),
        "errors of one group may be one unlucky draw of users"
    );
}

#[test]
fn the_limit_of_the_soak_is_what_the_last_gate_accepts() {
    let mut evidence = after(50, (200, 0), (1800, 9));
    evidence.freeze_limits(&plan());
    let limit = evidence.canary.metrics[0].limit.unwrap();
    assert!((limit - (1.25 * 0.005 + 0.002)).abs() < 1e-12, "{limit}");
}

#[test]
fn the_soak_is_judged_without_stable() {
    let plan = plan();
    let mut evidence = after(20, (200, 0), (1800, 1));
    evidence.freeze_limits(&plan);
    for index in 20..40 {
        evidence.consume(&plan, &cell(index, (2000, 100), (0, 0)), true);
    }
    assert!(evidence.failed(&plan));
    let gates = evidence.canary.metrics[0].gate(2);
    assert_eq!(
        gates,
        after(20, (200, 0), (1800, 1)).canary.metrics[0].gate(2),
        "gates say nothing about the soak"
    );
}

#[test]
fn sentences_say_what_was_seen() {
    let plan = plan();
    assert_eq!(
        Evidence::new(&plan, 0).undecided_sentence(&plan, 0),
        "the canary has had no request in the cells read so far"
    );
    let undecided = after(3, (200, 0), (1800, 2)).undecided_sentence(&plan, 2);
    assert!(
        undecided.starts_with("canary errors 0 % vs 0.11 %: ")
            && undecided.ends_with(" % of the evidence that the gate wants"),
        "{undecided}"
    );
    let failed = after(10, (200, 20), (1800, 2)).failure_sentence(&plan);
    assert_eq!(
        failed,
        "canary errors 10 % vs 0.11 %; at most 1 in 100 healthy releases would look like this; after 2 000 canary requests"
    );
}
