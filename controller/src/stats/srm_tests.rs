use super::*;
use proptest::prelude::*;

#[test]
fn a_split_as_configured_raises_no_alarm_and_a_wrong_one_does() {
    let mut fine = PhaseProduct::default();
    let mut wrong = PhaseProduct::default();
    for weight in [0.01, 0.05, 0.25] {
        for _ in 0..20 {
            let at = |share: f64| [6000.0 * share, 6000.0 * (1.0 - share)];
            fine.update(&at(weight), &[weight, 1.0 - weight])
                .expect("usable");
            wrong
                .update(&at(0.7 * weight), &[weight, 1.0 - weight])
                .expect("usable");
        }
    }
    assert!(!is_alarm(fine.log_e_max()), "{}", fine.log_e_max());
    assert!(is_alarm(wrong.log_e_max()) && wrong.p_value() <= 1e-3);
}

#[test]
fn a_phase_is_one_however_it_is_cut_into_intervals() {
    let weights = [0.2, 0.3, 0.5];
    let mut cut = PhaseProduct::new(50.0).expect("sane");
    cut.update(&[20.0, 31.0, 49.0], &weights).expect("usable");
    cut.update(&[5.0, 2.0, 9.0], &weights).expect("usable");
    let whole = log_e_phase(&[25.0, 33.0, 58.0], &weights, 50.0).expect("sane");
    assert!((cut.log_e() - whole).abs() < 1e-12);
    assert_eq!(cut.log_e_of_phase(), cut.log_e());
    let before = cut.log_e();
    cut.update(&[40.0, 60.0], &[0.4, 0.6]).expect("usable");
    let second = log_e_phase(&[40.0, 60.0], &[0.4, 0.6], 50.0).expect("sane");
    assert!((cut.log_e() - before - second).abs() < 1e-12);
}

#[test]
fn a_systematic_tilt_adds_up_over_weights() {
    let mut tilt = Tilt::default();
    let mut product = PhaseProduct::default();
    for weight in [0.01, 0.05, 0.1, 0.25, 0.5] {
        let q = 0.9 * weight / (0.9 * weight + 1.0 - weight);
        let (canary, stable) = (20_000.0 * q, 20_000.0 * (1.0 - q));
        tilt.update(canary, stable, weight).expect("usable");
        product
            .update(&[canary, stable], &[weight, 1.0 - weight])
            .expect("usable");
    }
    assert!(is_alarm(tilt.log_e_max()));
    assert!(tilt.log_e() > product.log_e());
}

#[test]
fn a_difference_within_the_tolerance_is_none() {
    let mut tolerated = ToleratedTilt::new(0.1).expect("sane");
    let mut strict = Tilt::default();
    for _ in 0..50 {
        tolerated.update(10_500.0, 89_500.0, 0.1).expect("usable");
        strict.update(10_500.0, 89_500.0, 0.1).expect("usable");
    }
    assert!(tolerated.log_e() < 0.0 && is_alarm(strict.log_e_max()));
    for beyond in [0.115, 0.085] {
        let mut tolerated = ToleratedTilt::new(0.1).expect("sane");
        for _ in 0..50 {
            let arms = [beyond, 1.0 - beyond].map(|share| 100_000.0 * share);
            tolerated.update(arms[0], arms[1], 0.1).expect("usable");
        }
        assert!(is_alarm(tolerated.log_e_max()), "{beyond}");
    }
    let mut nearly_all = ToleratedTilt::new(0.1).expect("sane");
    nearly_all
        .update(50.0, 1.0, 0.95)
        .expect("only the lower end is tested");
    assert!(ToleratedTilt::new(0.0).is_err());
}

proptest! {
    /// By summing over what one request can do: under any share inside the tolerance no evidence is expected to grow.
    #[test]
    fn the_expected_evidence_of_a_request_is_at_most_one(
        weight in 0.01f64..0.8, inside in -1.0f64..1.0, tolerance in 0.01f64..0.3,
    ) {
        let q = weight * (1.0 + inside * tolerance);
        prop_assume!(q < 1.0);
        let after = |canary: f64| {
            let mut tilt = ToleratedTilt::new(tolerance).expect("sane");
            tilt.update(canary, 1.0 - canary, weight).expect("usable");
            tilt.log_e().exp()
        };
        let expected = q * after(1.0) + (1.0 - q) * after(0.0);
        prop_assert!(expected <= 1.0 + 1e-12, "{expected}");
    }

    #[test]
    fn evidence_is_finite_for_any_counts(
        canary in 0.0f64..9_007_199_254_740_992.0, stable in 0.0f64..9_007_199_254_740_992.0, weight in 0.0001f64..0.9999,
    ) {
        let mut product = PhaseProduct::default();
        let mut tilt = Tilt::default();
        let mut tolerated = ToleratedTilt::new(0.1).expect("sane");
        product.update(&[canary, stable], &[weight, 1.0 - weight]).expect("usable");
        tilt.update(canary, stable, weight).expect("usable");
        tolerated.update(canary, stable, weight).expect("usable");
        for log_e in [product.log_e(), tilt.log_e(), tolerated.log_e()] {
            prop_assert!(log_e.is_finite());
        }
    }
}

#[test]
fn what_cannot_be_used_is_refused_and_changes_nothing() {
    let mut product = PhaseProduct::default();
    product.update(&[5.0, 5.0], &[0.5, 0.5]).expect("usable");
    let before = product.clone();
    assert!(product.update(&[-1.0, 5.0], &[0.5, 0.5]).is_err());
    assert!(product.update(&[1.0], &[0.5, 0.5]).is_err());
    assert!(product.update(&[1.0, 1.0], &[0.5, 0.6]).is_err());
    assert!(product.update(&[1.0, 1.0], &[1.0, 0.0]).is_err());
    assert_eq!(product, before);
    assert!(PhaseProduct::new(0.0).is_err());
    let mut tilt = Tilt::default();
    assert!(tilt.update(-1.0, 5.0, 0.5).is_err());
    assert!(tilt.update(1.0, f64::NAN, 0.5).is_err());
    assert!(tilt.update(1.0, 5.0, 1.5).is_err());
    tilt.update(9.0, 0.0, 1.0).expect("nothing to test");
    assert_eq!(tilt, Tilt::default());
}

#[test]
fn a_checkpoint_restores_and_one_changed_by_hand_is_refused() {
    let mut product = PhaseProduct::default();
    let mut tilt = Tilt::default();
    product
        .update(&[70.0, 930.0], &[0.05, 0.95])
        .expect("usable");
    tilt.update(70.0, 930.0, 0.05).expect("usable");
    let written = serde_json::to_value(&product).expect("serializes");
    assert_eq!(
        serde_json::from_value::<PhaseProduct>(written.clone()).expect("restores"),
        product
    );
    for (field, value) in [
        ("logEMax", (-1.0).into()),
        ("concentration", 0.0.into()),
        ("counts", serde_json::json!([1.0])),
    ] {
        let mut changed = written.clone();
        changed[field] = value;
        assert!(
            serde_json::from_value::<PhaseProduct>(changed).is_err(),
            "{field}"
        );
    }
    let written = serde_json::to_value(&tilt).expect("serializes");
    assert_eq!(
        serde_json::from_value::<Tilt>(written.clone()).expect("restores"),
        tilt
    );
    for (field, value) in [
        ("logWealth", serde_json::json!([0.0])),
        ("logEMax", (-1.0).into()),
    ] {
        let mut changed = written.clone();
        changed[field] = value;
        assert!(serde_json::from_value::<Tilt>(changed).is_err(), "{field}");
    }
}

/// Two users alone in their groups, the others' groups empty.
fn groups(pairs: &[(usize, f64)]) -> [f64; 16] {
    let mut totals = [0.0; 16];
    for (group, total) in pairs {
        totals[*group] += total;
    }
    totals
}

#[test]
fn users_are_worth_what_the_spread_of_their_groups_says() {
    // One user is one, however many requests; sixteen alike in a group each could be as many as there are requests.
    assert!((effective_users(&groups(&[(3, 1e6)])) - 1.0).abs() < 1e-12);
    assert!((effective_users(&[10.0; 16]) - 160.0).abs() < 1e-12);
    assert_eq!(effective_users(&[0.0; 16]), 0.0);
    // By hand: 16/15 * (2 * (500 - 62.5)^2 + 14 * 62.5^2) = 466 666.67, and 1000^2 over that.
    let two = effective_users(&groups(&[(0, 500.0), (1, 500.0)]));
    assert!((two - 1e6 / 466_666.666_666_666_7).abs() < 1e-9, "{two}");
}

#[test]
fn a_share_is_held_against_what_its_users_can_do_by_luck() {
    // 1 600 requests that could all be different users, 10 % meant, 20 % there.
    let split = GroupSplit::of(&[20.0; 16], &[100.0; 16], 0.1, 0.1);
    let split = split.expect("counts").expect("requests");
    assert!((split.expected - 160.0).abs() < 1e-9);
    // (0.2 - 0.1 - 0.01) / sqrt(0.09 / 1600).
    assert!((split.t - 12.0).abs() < 1e-9, "{}", split.t);
    // The same requests of one user say nothing.
    let one = GroupSplit::of(&groups(&[(0, 320.0)]), &groups(&[(0, 1600.0)]), 0.1, 0.1);
    let one = one.expect("counts").expect("requests");
    assert!(!one.is_enough() && one.t < 0.5, "{one:?}");
    let none = GroupSplit::of(&[0.0; 16], &[0.0; 16], 0.1, 0.1).expect("counts");
    assert_eq!(none, None);
    assert!(GroupSplit::of(&[f64::NAN; 16], &[1.0; 16], 0.1, 0.1).is_err());
    assert!(GroupSplit::of(&[1.0; 16], &[1.0; 16], 1.0, 0.1).is_err());
}
