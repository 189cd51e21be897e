use super::*;
use proptest::prelude::*;

/// `count` units that are `mean` on average with this variance.
fn sums(count: f64, mean: f64, variance: f64) -> Sums {
    Sums {
        count,
        sum: count * mean,
        squares: (count - 1.0).max(0.0) * variance + count * mean * mean,
    }
}

fn stratified(margin: f64) -> Stratified {
    Stratified::new(1.0, margin).expect("sane")
}

#[test]
fn a_mean_that_drifts_while_the_split_ramps_is_no_difference() {
    let mut found = stratified(0.0);
    for step in 0..20 {
        let (drift, canary) = (1.0 + 0.2 * f64::from(step), 50.0 * f64::from(step + 1));
        let arms = [canary, 2000.0 - canary].map(|count| sums(count, drift, 1.0));
        found.update(arms[0], arms[1]).expect("usable");
    }
    let difference = found.difference().expect("compared");
    assert!(difference.value.abs() < 1e-12, "{difference:?}");
    let pooled =
        found.canary().sum / found.canary().count - found.stable().sum / found.stable().count;
    assert!(pooled > 0.5, "the pooled difference is {pooled}");
}

#[test]
fn a_difference_above_the_margin_is_proven_and_one_below_is_not() {
    let run = |lift: f64| {
        let mut found = stratified(0.05);
        for _ in 0..30 {
            found
                .update(sums(500.0, 1.0 + lift, 1.0), sums(4500.0, 1.0, 1.0))
                .expect("usable");
        }
        let (_, v, _) = found.sums();
        let above = found
            .log_e(v, Sides::One, MIN_CANARY)
            .expect("sane")
            .expect("enough");
        let below = found
            .log_e_below(v, MIN_CANARY)
            .expect("sane")
            .expect("enough");
        let half = found.half_width(v, 0.05).expect("sane").expect("compared");
        (above, below, half)
    };
    let (above, below, half) = run(0.15);
    assert!(
        above > 20f64.ln() && below < 0.0 && half < 0.1,
        "{above} {below} {half}"
    );
    let (above, below, _) = run(-0.05);
    assert!(above < 0.0 && below > 20f64.ln());
}

#[test]
fn nothing_is_decided_before_the_smallest_sample() {
    let mut found = stratified(0.0);
    found
        .update(sums(99.0, 9.0, 1.0), sums(900.0, 1.0, 1.0))
        .expect("usable");
    assert_eq!(found.log_e(10.0, Sides::Two, MIN_CANARY), Ok(None));
    found
        .update(sums(1.0, 9.0, 0.0), sums(1.0, 1.0, 0.0))
        .expect("usable");
    assert!(
        found
            .log_e(10.0, Sides::Two, MIN_CANARY)
            .expect("sane")
            .is_some()
    );
    assert_eq!(found.log_e(10.0, Sides::Two, MIN_CANARY_SKEWED), Ok(None));
}

#[test]
fn the_canary_is_given_at_least_the_variance_of_stable() {
    let mut found = stratified(0.0);
    found
        .update(sums(100.0, 1.0, 0.25), sums(100.0, 1.0, 4.0))
        .expect("usable");
    let (canary, stable) = found.variances().expect("two units");
    assert!((canary - 4.0).abs() < 1e-9 && (stable - 4.0).abs() < 1e-9);
    assert!((found.canary().variance().expect("two units") - 0.25).abs() < 1e-9);
}

#[test]
fn a_ratio_of_means_is_a_line_through_zero() {
    let mut found = Stratified::new(1.2, 0.0).expect("sane");
    found
        .update(sums(200.0, 6.0, 1.0), sums(800.0, 5.0, 1.0))
        .expect("usable");
    let difference = found.difference().expect("compared");
    assert!(difference.value.abs() < 1e-12);
    let (_, v, h) = found.sums();
    assert!((v - h * h * (1.0 / 200.0 + 1.44 / 800.0)).abs() < 1e-9);
}

#[test]
fn intervals_that_tell_nothing_leave_the_difference() {
    let mut found = stratified(0.0);
    found
        .update(sums(1.0, 5.0, 0.0), sums(50.0, 1.0, 1.0))
        .expect("usable");
    assert_eq!(found.difference(), None, "one unit has no variance");
    found
        .update(sums(9.0, 5.0, 1.0), sums(0.0, 0.0, 0.0))
        .expect("usable");
    assert_eq!(found.difference(), None);
    assert_eq!(found.half_width(1.0, 0.05), Ok(None));
    assert_eq!(found.canary().count, 10.0);
}

#[test]
fn blocks_are_judged_after_twenty() {
    let mut blocks = Blocks::new(1.0, 0.0).expect("sane");
    for nth in 1..=40 {
        let noise = if nth % 2 == 0 { 0.001 } else { -0.001 };
        blocks
            .update((100.0, 100.0 * (0.03 + noise)), (900.0, 9.0))
            .expect("usable");
        blocks
            .update((0.0, 0.0), (900.0, 9.0))
            .expect("tells nothing");
        let (_, v) = blocks.sums();
        assert_eq!(blocks.log_e(v).expect("sane").is_some(), nth >= 20);
    }
    let (_, v) = blocks.sums();
    assert!(blocks.log_e(v).expect("sane").expect("enough") > 100f64.ln());
}

#[test]
fn what_cannot_be_used_is_refused_and_changes_nothing() {
    let good = sums(10.0, 1.0, 1.0);
    for bad in [
        Sums {
            count: -1.0,
            ..good
        },
        Sums {
            sum: f64::NAN,
            ..good
        },
        Sums {
            squares: -1.0,
            ..good
        },
        Sums {
            squares: f64::INFINITY,
            ..good
        },
    ] {
        let mut found = stratified(0.0);
        assert!(found.update(bad, good).is_err() && found.update(good, bad).is_err());
        assert_eq!(found, stratified(0.0));
    }
    assert!(Stratified::new(-1.0, 0.0).is_err());
    assert!(Stratified::new(1.0, f64::NAN).is_err());
    assert!(stratified(0.0).log_e(0.0, Sides::Two, 0.0).is_err());
    let mut blocks = Blocks::new(1.0, 0.0).expect("sane");
    assert!(blocks.update((-1.0, 0.0), (1.0, 1.0)).is_err());
    assert!(
        blocks.update((1.0, f64::MAX), (1.0, 1.0)).is_err(),
        "its square overflows"
    );
    assert_eq!(blocks.sums(), (0.0, 0.0));
    assert!(blocks.log_e(0.0).is_err());
}

proptest! {
    #[test]
    fn evidence_is_finite_for_any_counts(
        counts in proptest::collection::vec((0u64..1 << 53, 0u64..1 << 53), 1..5), mean in -10.0f64..10.0,
    ) {
        let mut found = stratified(0.1);
        for (canary, stable) in counts {
            found.update(sums(canary as f64, mean, 2.0), sums(stable as f64, 1.0, 3.0)).expect("usable");
        }
        for sides in [Sides::One, Sides::Two] {
            if let Some(log_e) = found.log_e(1e3, sides, 0.0).expect("sane") {
                prop_assert!(log_e.is_finite());
            }
        }
        let restored: Stratified =
            serde_json::from_str(&serde_json::to_string(&found).expect("serializes")).expect("restores");
        prop_assert_eq!(restored, found);
    }
}
