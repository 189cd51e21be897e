use super::*;
use crate::stats::bernoulli::Prior;
use proptest::prelude::*;

const Z95: f64 = 1.959_963_984_540_054;

fn group(bad: f64, total: f64) -> GroupCount {
    GroupCount { bad, total }
}

fn pair(x_a: f64, n_a: f64, x_b: f64, n_b: f64) -> Pair {
    Pair {
        a: group(x_a, n_a),
        b: group(x_b, n_b),
    }
}

#[test]
fn newcombes_own_example_is_reproduced() {
    let (lower, upper) = difference_newcombe(&pair(56.0, 70.0, 48.0, 80.0), Z95);
    assert!(
        (lower - 0.0524).abs() < 5e-5 && (upper - 0.3339).abs() < 5e-5,
        "{lower} {upper}"
    );
    assert!((z_of(0.95).expect("sane") - Z95).abs() < 1e-9);
}

#[test]
fn the_lower_end_is_the_printed_formula() {
    let found = pair(45.0, 180.0, 120.0, 300.0);
    let (a, b) = found.rates();
    let ((l_a, _), (_, u_b)) = (wilson(found.a, Z95), wilson(found.b, Z95));
    let root = ((a * b).powi(2) - l_a * u_b * (2.0 * a - l_a) * (2.0 * b - u_b)).sqrt();
    let printed = (a * b - root) / (u_b * (2.0 * b - u_b));
    assert!((ratio_mover(&found, Z95).lower - printed).abs() < 1e-12);
}

#[test]
fn verdicts_need_the_whole_interval() {
    let verdict = |x_a, n_a, x_b, n_b| pair(x_a, n_a, x_b, n_b).verdict(0.95).expect("sane");
    assert_eq!(
        verdict(100.0, 1000.0, 200.0, 1000.0),
        FairnessVerdict::Violation
    );
    assert_eq!(verdict(200.0, 1000.0, 200.0, 1000.0), FairnessVerdict::Pass);
    assert_eq!(verdict(4.0, 1000.0, 200.0, 1000.0), FairnessVerdict::TooFew);
    assert_eq!(verdict(9.0, 29.0, 200.0, 1000.0), FairnessVerdict::TooFew);
    let FairnessVerdict::Inconclusive(Some(more)) = verdict(30.0, 100.0, 30.0, 100.0) else {
        panic!("30 of 100 twice decides nothing");
    };
    // With so many times the cases, and some reserve for the approximation, it is decided.
    let n = 100.0 * more * 1.3;
    assert_eq!(verdict(0.3 * n, n, 0.3 * n, n), FairnessVerdict::Pass);
    let n = 100.0 * more * 0.5;
    assert!(matches!(
        verdict(0.3 * n, n, 0.3 * n, n),
        FairnessVerdict::Inconclusive(_)
    ));
}

#[test]
fn equal_opportunity_is_judged_on_both_sides() {
    let verdict = |x_a, x_b| {
        pair(x_a, 1000.0, x_b, 1000.0)
            .opportunity(0.95)
            .expect("sane")
    };
    assert_eq!(verdict(600.0, 800.0), FairnessVerdict::Violation);
    assert_eq!(verdict(800.0, 600.0), FairnessVerdict::Violation);
    assert_eq!(verdict(790.0, 800.0), FairnessVerdict::Pass);
    assert!(
        matches!(verdict(720.0, 800.0), FairnessVerdict::Inconclusive(Some(more)) if more > 1.0)
    );
    assert!(matches!(verdict(4.0, 800.0), FairnessVerdict::TooFew));
}

#[test]
fn groups_are_compared_with_the_chosen_reference() {
    let groups = [
        group(100.0, 1000.0),
        group(400.0, 2000.0),
        group(300.0, 1000.0),
    ];
    let largest = compare(&groups, Reference::Largest, 0.95).expect("sane");
    assert_eq!(
        largest,
        [(0, FairnessVerdict::Violation), (2, FairnessVerdict::Pass)]
    );
    let highest = compare(&groups, Reference::HighestRate, 0.95).expect("sane");
    let names: Vec<usize> = highest.iter().map(|(index, _)| *index).collect();
    assert_eq!(names, [0, 1]);
    assert_eq!(
        compare(&groups[..1], Reference::Largest, 0.95),
        Err(FairnessError::Groups(1))
    );
}

#[test]
fn a_gate_proves_violation_and_compliance_and_waits_in_between() {
    let prior = Prior {
        bad: 300.0,
        total: 1000.0,
    };
    let run = |selected: f64| {
        let mut gate = FairnessGate::new(prior).expect("sane");
        for _ in 0..20 {
            gate.update(group(selected, 100.0), group(90.0, 300.0))
                .expect("usable");
        }
        gate.verdict(0.01)
    };
    assert_eq!(run(12.0), GateVerdict::Violation);
    assert_eq!(run(24.0), GateVerdict::Undecided, "on the line");
    assert_eq!(run(36.0), GateVerdict::Compliant);
    let mut gate = FairnessGate::new(prior).expect("sane");
    let fresh = gate.clone();
    assert!(gate.update(group(5.0, 1.0), group(1.0, 2.0)).is_err());
    assert_eq!(gate, fresh);
}

#[test]
fn what_cannot_be_compared_is_refused() {
    assert_eq!(
        pair(0.0, 0.0, 1.0, 2.0).check(),
        Err(FairnessError::NoCases("a"))
    );
    assert!(pair(3.0, 2.0, 1.0, 2.0).verdict(0.95).is_err());
    assert!(pair(1.0, 2.0, 1.0, f64::NAN).opportunity(0.95).is_err());
    assert!(pair(1.0, 2.0, 1.0, 2.0).verdict(1.0).is_err());
    assert_eq!(pair(1.0, 2.0, 0.0, 2.0).impact(), None);
    assert_eq!(ratio_mover(&pair(1.0, 2.0, 0.0, 2.0), Z95).upper, None);
}

proptest! {
    #[test]
    fn intervals_hold_their_estimates_and_are_finite(
        n_a in 1u64..1 << 53, n_b in 1u64..1 << 53, share_a in 0.0f64..=1.0, share_b in 0.0f64..=1.0,
    ) {
        let selected = |n: u64, share: f64| (n as f64 * share).floor();
        let found = pair(selected(n_a, share_a), n_a as f64, selected(n_b, share_b), n_b as f64);
        let (a, b) = found.rates();
        let (lower, upper) = difference_newcombe(&found, Z95);
        prop_assert!(lower <= a - b && a - b <= upper && lower >= -1.0 - 1e-9 && upper <= 1.0 + 1e-9);
        let mover = ratio_mover(&found, Z95);
        prop_assert!(mover.lower.is_finite() && mover.lower >= 0.0);
        if let Some(ratio) = found.impact() {
            prop_assert!(mover.lower <= ratio * (1.0 + 1e-9), "{mover:?} {ratio}");
            prop_assert!(mover.upper.is_none_or(|upper| upper >= ratio * (1.0 - 1e-9)), "{mover:?} {ratio}");
        }
        let walter = ratio_walter(&found, Z95);
        prop_assert!(walter.lower <= walter_point(&found) && walter.upper.is_some_and(f64::is_finite));
        prop_assert!(found.verdict(0.95).is_ok() && found.opportunity(0.95).is_ok());
    }
}
