use super::*;
use proptest::prelude::*;

const EQUAL: Line = Line {
    theta: 1.0,
    delta: 0.0,
};
const PRIOR: Prior = Prior {
    bad: 300.0,
    total: 1000.0,
};

fn counts(bad_canary: f64, total_canary: f64, bad_stable: f64, total_stable: f64) -> Counts {
    Counts {
        bad_canary,
        total_canary,
        bad_stable,
        total_stable,
    }
}

fn process(direction: Direction) -> EProcess {
    EProcess::new(direction, direction.default_share(), PRIOR).expect("sane")
}

#[test]
fn the_grid_is_a_prior() {
    let total: f64 = ODDS.iter().map(|odds| odds.weight).sum();
    assert!((total - 1.0).abs() < 1e-12, "{total}");
    assert_eq!(ODDS[0].ratio, 1.0, "the first is cash");
}

#[test]
fn the_closed_form_is_the_limit_of_the_root() {
    let closed = project(0.4, 0.28, EQUAL, 200.0, 1800.0).expect("inside");
    let line = Line {
        theta: 1.0,
        delta: 1e-12,
    };
    let root = project(0.4, 0.28, line, 200.0, 1800.0).expect("inside");
    assert!((closed.m - root.m).abs() < 1e-9);
    assert_eq!(closed.m, closed.m_prime);
}

#[test]
fn there_is_no_projection_from_outside_of_the_probabilities() {
    let at = |p_c, p_s, theta, delta| project(p_c, p_s, Line { theta, delta }, 9.0, 9.0);
    assert_eq!(at(0.0, 0.5, 1.0, 0.0), None);
    assert_eq!(at(0.5, 1.0, 1.0, 0.0), None);
    assert_eq!(at(0.5, 0.5, 2.0, 0.0), None, "the line is at 1");
    assert_eq!(at(0.5, 0.1, 1.0, -0.2), None, "the line is below 0");
    assert_eq!(at(0.5, 0.1, 0.0, 1.0), None);
    assert_eq!(project(0.5, 0.4, EQUAL, 0.0, 9.0), None);
}

proptest! {
    /// The proof of 1.7, in numbers: on the line the expected evidence of one request per arm is at most 1.
    #[test]
    fn the_expected_evidence_on_the_line_is_at_most_one(
        p_s in 0.01f64..0.6, anticipated in 0.01f64..0.6, odds in 0.05f64..20.0,
        theta in 0.5f64..1.5, delta in -0.005f64..0.08, split in 0.01f64..100.0,
    ) {
        let line = Line { theta, delta };
        let on_line = line.at(anticipated);
        prop_assume!(on_line > 0.0 && on_line < 1.0 && line.at(p_s) > 0.0 && line.at(p_s) < 1.0);
        let p_c = odds * on_line / (1.0 - on_line + odds * on_line);
        let projection = project(p_c, anticipated, line, split, 1.0).expect("inside");
        let Projection { m, m_prime } = projection;
        // E[e] per request of an arm: p (p1/m) + (1-p) (1-p1)/(1-m) = 1 + l (p - m), as in the proof.
        let canary = 1.0 + (p_c - m) / (m * (1.0 - m)) * (line.at(p_s) - m);
        let stable = 1.0 + (anticipated - m_prime) / (m_prime * (1.0 - m_prime)) * (p_s - m_prime);
        let log = split * canary.ln() + stable.ln();
        prop_assert!(log <= 1e-9, "{log}");
    }

    #[test]
    fn evidence_is_finite_for_any_counts(
        intervals in proptest::collection::vec(proptest::array::uniform4(0.0f64..9e15), 1..6),
        theta in 0.0f64..3.0, delta in -0.1f64..0.5, harm in any::<bool>(),
    ) {
        let mut process = process(if harm { Direction::Harm } else { Direction::Success });
        for [a, b, c, d] in intervals {
            let interval = counts(a.min(b), a.max(b), c.min(d), c.max(d));
            process.update(interval, Line { theta, delta }, 1.0).expect("usable");
            prop_assert!(process.log_e().is_finite() && process.log_e_max() >= process.log_e());
        }
    }

    #[test]
    fn a_checkpoint_between_any_two_intervals_does_not_show(
        intervals in proptest::collection::vec((0u32..50, 0u32..50, 0u32..900, 0u32..900), 1..8),
    ) {
        let line = Line { theta: 1.1, delta: 0.01 };
        let (mut whole, mut restarted) = (process(Direction::Harm), process(Direction::Harm));
        for (a, b, c, d) in intervals {
            let interval = counts(a.min(b).into(), a.max(b).into(), c.min(d).into(), c.max(d).into());
            prop_assert_eq!(whole.update(interval, line, 1.5), restarted.update(interval, line, 1.5));
            let written = serde_json::to_string(&restarted).expect("serializes");
            restarted = serde_json::from_str(&written).expect("restores");
        }
        prop_assert_eq!(whole, restarted);
    }
}

#[test]
fn both_directions_are_proven_from_their_side() {
    for (direction, bad) in [(Direction::Harm, 450.0), (Direction::Success, 150.0)] {
        let mut process = process(direction);
        for _ in 0..5 {
            let interval = counts(bad, 1000.0, 3000.0, 10_000.0);
            assert_eq!(process.update(interval, EQUAL, 1.0), Ok(Consumed::Judged));
        }
        assert!(process.rejects(0.001), "{direction:?} {}", process.log_e());
        assert_eq!(process.p_value(), (-process.log_e_max()).exp());
        assert_eq!(process.direction(), direction);
    }
}

#[test]
fn common_events_are_decided_sooner_than_by_the_poisson_form() {
    let mut bernoulli = process(Direction::Harm);
    let mut poisson =
        crate::stats::poisson::EProcess::new(Direction::Harm, 1.0 / 240.0, PRIOR).expect("sane");
    let interval = counts(800.0, 1000.0, 7000.0, 10_000.0);
    for _ in 0..2 {
        bernoulli.update(interval, EQUAL, 1.0).expect("usable");
        poisson.update(interval, EQUAL, 1.0).expect("usable");
    }
    assert!(bernoulli.log_e() > poisson.log_e() + 3.0);
}

#[test]
fn an_absolute_limit_is_judged_without_stable() {
    let line = Line {
        theta: 0.0,
        delta: 0.2,
    };
    let mut process = process(Direction::Harm);
    let interval = counts(60.0, 200.0, 0.0, 0.0);
    assert_eq!(process.update(interval, line, 1.0), Ok(Consumed::Judged));
    assert!(process.log_e() > 1.0, "{}", process.log_e());
}

#[test]
fn dispersion_tempers_the_evidence() {
    let interval = counts(450.0, 1000.0, 3000.0, 10_000.0);
    let log_e = |phi| {
        let mut process = process(Direction::Harm);
        process.update(interval, EQUAL, phi).expect("usable");
        process.log_e()
    };
    assert!(log_e(3.0) > 0.0 && log_e(3.0) < log_e(1.0) / 2.0);
}

#[test]
fn what_cannot_be_bet_on_carries_over() {
    for (interval, line) in [
        (counts(0.0, 0.0, 3.0, 9.0), EQUAL),
        (counts(1.0, 5.0, 0.0, 0.0), EQUAL),
        (
            counts(1.0, 5.0, 3.0, 9.0),
            Line {
                theta: 4.0,
                delta: 0.0,
            },
        ),
        (
            counts(1.0, 5.0, 3.0, 9.0),
            Line {
                theta: 1.0,
                delta: -0.5,
            },
        ),
    ] {
        let mut updated = process(Direction::Harm);
        let mut carried = updated.clone();
        assert_eq!(updated.update(interval, line, 1.0), Ok(Consumed::Carried));
        carried.carry(interval).expect("usable");
        assert_eq!(updated, carried);
        assert_eq!(updated.log_e(), 0.0);
    }
}

#[test]
fn a_stable_that_never_failed_blinds_no_one() {
    let prior = Prior {
        bad: 0.0,
        total: 100.0,
    };
    let mut process = EProcess::new(Direction::Harm, 0.0, prior).expect("sane");
    let interval = counts(50.0, 100.0, 0.0, 1900.0);
    assert_eq!(process.update(interval, EQUAL, 1.0), Ok(Consumed::Judged));
    assert!(process.rejects(0.01));
}

#[test]
fn what_cannot_be_used_is_refused_and_changes_nothing() {
    let good = counts(1.0, 9.0, 1.0, 9.0);
    let line = |theta, delta| Line { theta, delta };
    for (interval, line, phi) in [
        (counts(9.0, 1.0, 0.0, 1.0), EQUAL, 1.0),
        (counts(f64::NAN, 1.0, 0.0, 1.0), EQUAL, 1.0),
        (counts(0.0, 1.0, 0.0, f64::INFINITY), EQUAL, 1.0),
        (good, line(-1.0, 0.0), 1.0),
        (good, line(1.0, f64::NAN), 1.0),
        (good, EQUAL, 0.5),
    ] {
        let mut updated = process(Direction::Harm);
        assert!(updated.update(interval, line, phi).is_err());
        assert_eq!(updated, process(Direction::Harm));
    }
    let new = |share, bad, total| EProcess::new(Direction::Harm, share, Prior { bad, total });
    assert_eq!(new(1.0, 1.0, 9.0), Err(BernoulliError::Share(1.0)));
    assert_eq!(new(0.0, 0.0, 0.0), Err(BernoulliError::EmptyPrior));
    assert!(new(0.0, 3.0, 2.0).is_err());
}

#[test]
fn a_checkpoint_changed_by_hand_is_refused() {
    for (field, value, reason) in [
        ("logWealth", serde_json::json!([0.0]), "another length"),
        ("logEMax", (-1.0).into(), "largest evidence"),
        ("share", 1.0.into(), "fixed share"),
        ("stableTotal", 0.0.into(), "bad events among"),
        ("stableBad", serde_json::Value::Null, "invalid type"),
    ] {
        let mut written = serde_json::to_value(process(Direction::Harm)).expect("serializes");
        written[field] = value;
        let said = serde_json::from_value::<EProcess>(written).expect_err("refused");
        assert!(said.to_string().contains(reason), "{said}");
    }
}
