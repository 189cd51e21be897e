use super::*;

/// An arm whose group g has `bad(g)` of `total(g)`.
fn arm(bad: impl Fn(usize) -> f64, total: impl Fn(usize) -> f64) -> GroupTotals {
    GroupTotals {
        groups: std::array::from_fn(|g| GroupCount {
            bad: bad(g),
            total: total(g),
        }),
        ungrouped: GroupCount::default(),
    }
}

fn level(t: f64) -> MarginLevel {
    MarginLevel { t }
}

#[track_caller]
fn check(actual: f64, expected: f64) {
    assert!(
        (actual - expected).abs() <= 1e-6 * expected.abs(),
        "{actual} is not {expected}"
    );
}

#[test]
fn quantiles_are_those_of_the_tables() {
    for (tail, quantile) in [
        (0.1, 1.340606),
        (0.05, 1.753050),
        (0.025, 2.131450),
        (0.01, 2.602480),
        (0.005, 2.946713),
        (0.0005, 4.072765),
    ] {
        check(t_quantile(tail).expect("in range"), quantile);
    }
    assert_eq!(t_quantile(0.5), Some(0.0));
}

#[test]
fn a_tail_that_is_none_has_no_quantile() {
    for tail in [0.0, -0.1, 0.6, 1.0, f64::NAN] {
        assert_eq!(t_quantile(tail), None, "{tail}");
    }
    let tiny = t_quantile(1e-12).expect("in range");
    assert!(tiny > 10.0, "{tiny}");
}

#[test]
fn variance_is_the_jackknife_less_the_poisson_part() {
    // p = 160/16000; eight groups at +10 and eight at -10 around p n_g = 10.
    let uneven = arm(|g| if g % 2 == 0 { 20.0 } else { 0.0 }, |_| 1000.0);
    let expected = 16.0 / 15.0 * 16.0 * 100.0 / 16_000f64.powi(2) - 0.01 / 16_000.0;
    check(uneven.variance().expect("has requests"), expected);
}

#[test]
fn less_spread_than_poisson_noise_is_no_spread() {
    assert_eq!(arm(|_| 10.0, |_| 1000.0).variance(), Some(0.0));
}

#[test]
fn empty_groups_still_are_groups() {
    // All users of the arm fell into one group: d_g is 0 everywhere, since p is that group's own ratio.
    let one = arm(
        |g| if g == 3 { 50.0 } else { 0.0 },
        |g| if g == 3 { 1000.0 } else { 0.0 },
    );
    assert_eq!(one.variance(), Some(0.0));
    // Two groups with requests: the sum goes over 16, not over 2.
    let two = arm(
        |g| [100.0, 0.0].get(g).copied().unwrap_or(0.0),
        |g| if g < 2 { 1000.0 } else { 0.0 },
    );
    check(
        two.variance().expect("has requests"),
        16.0 / 15.0 * 2.0 * 2500.0 / 2000f64.powi(2) - 0.05 / 2000.0,
    );
}

#[test]
fn requests_without_a_key_dilute_the_spread_and_add_none() {
    let mut mixed = arm(|g| if g % 2 == 0 { 20.0 } else { 0.0 }, |_| 1000.0);
    let keyed = mixed.variance().expect("has requests");
    mixed.ungrouped = GroupCount {
        bad: 160.0,
        total: 16_000.0,
    };
    check(mixed.variance().expect("has requests"), keyed / 4.0);
    // They may fail at another rate: what all groups deviate by in common is no spread between users.
    mixed.ungrouped = GroupCount {
        bad: 0.0,
        total: 16_000.0,
    };
    check(mixed.variance().expect("has requests"), keyed / 4.0);
    let alone = GroupTotals {
        ungrouped: GroupCount {
            bad: 5.0,
            total: 10.0,
        },
        ..GroupTotals::default()
    };
    assert_eq!(alone.variance(), Some(0.0));
}

#[test]
fn no_margin_is_taken_without_a_past() {
    let some = arm(|_| 1.0, |_| 10.0);
    let mut mix = UserMix::default();
    assert_eq!(mix.margin(Direction::Harm, level(2.0), 1.1), None);
    mix.add(&GroupTotals::default(), &some).expect("counts");
    assert_eq!(
        mix.margin(Direction::Harm, level(2.0), 1.1),
        None,
        "the canary has had no requests"
    );
    let mut mix = UserMix::default();
    mix.add(&some, &GroupTotals::default()).expect("counts");
    assert_eq!(
        mix.margin(Direction::Harm, level(2.0), 1.1),
        None,
        "stable has had no requests"
    );
    assert_eq!(
        mix.margin(Direction::Harm, level(2.0), 0.0),
        Some(0.0),
        "an absolute limit does not need stable"
    );
}

#[test]
fn the_margin_adds_both_arms_in_quadrature() {
    let uneven = arm(|g| if g % 2 == 0 { 20.0 } else { 0.0 }, |_| 1000.0);
    let variance = uneven.variance().expect("has requests");
    let mut mix = UserMix::default();
    mix.add(&uneven, &uneven).expect("counts");
    check(
        mix.margin(Direction::Harm, level(3.0), 2.0)
            .expect("has a past"),
        3.0 * (5.0 * variance).sqrt(),
    );
    check(
        mix.margin(Direction::Harm, level(3.0), 0.0)
            .expect("has a past"),
        3.0 * variance.sqrt(),
    );
}

#[test]
fn for_success_the_canary_is_not_thought_more_even_than_stable() {
    let uneven = arm(|g| if g % 2 == 0 { 200.0 } else { 0.0 }, |_| 10_000.0);
    let even = arm(|_| 1.0, |_| 100.0);
    let variance = uneven.variance().expect("has requests");
    let mut mix = UserMix::default();
    mix.add(&even, &uneven).expect("counts");
    let margin =
        |mix: &UserMix, direction| mix.margin(direction, level(3.0), 2.0).expect("has a past");
    check(margin(&mix, Direction::Harm), 3.0 * (4.0 * variance).sqrt());
    check(
        margin(&mix, Direction::Success),
        3.0 * (4.0 * variance * 100.0 + 4.0 * variance).sqrt(),
    );
    assert_eq!(
        mix.margin(Direction::Success, level(3.0), 0.0),
        Some(0.0),
        "an absolute limit does not look at stable"
    );
    let mut mix = UserMix::default();
    mix.add(&uneven, &even).expect("counts");
    check(margin(&mix, Direction::Success), 3.0 * variance.sqrt());
}

#[test]
fn what_a_fuse_sent_home_counts_for_success_alone_and_as_bad() {
    let (some, fused) = (arm(|_| 1.0, |_| 100.0), {
        let mut fused = Fused::default();
        (fused[3], fused[16]) = (40.0, 7.0);
        fused
    });
    let (mut mix, mut without) = (UserMix::default(), UserMix::default());
    mix.add(&some, &some).expect("counts");
    without.add(&some, &some).expect("counts");
    mix.add_fused(&fused).expect("counts");
    assert_eq!(
        mix.spread(Direction::Harm),
        without.spread(Direction::Harm),
        "nobody was harmed by them"
    );
    let mut promoted = some.clone();
    promoted.groups[3] = GroupCount {
        bad: 41.0,
        total: 140.0,
    };
    promoted.ungrouped = GroupCount {
        bad: 7.0,
        total: 7.0,
    };
    assert_eq!(mix.canary_for_promotion(), promoted);
    let mut whole = UserMix::default();
    whole.add(&promoted, &some).expect("counts");
    assert_eq!(
        mix.spread(Direction::Success),
        whole.spread(Direction::Success)
    );
    let before = mix.clone();
    for bad in [-1.0, f64::NAN, f64::INFINITY] {
        let mut fused = fused;
        fused[5] = bad;
        assert!(mix.add_fused(&fused).is_err());
        assert_eq!(mix, before);
    }
}

#[test]
fn intervals_add_up_and_a_bad_one_adds_nothing() {
    let mut mix = UserMix::default();
    mix.add(&arm(|_| 1.0, |_| 10.0), &arm(|_| 2.0, |_| 20.0))
        .expect("counts");
    mix.add(&arm(|g| g as f64, |_| 100.0), &arm(|_| 0.0, |_| 0.0))
        .expect("counts");
    assert_eq!(mix.canary, arm(|g| g as f64 + 1.0, |_| 110.0));
    assert_eq!(mix.stable, arm(|_| 2.0, |_| 20.0));
    let before = mix.clone();
    let good = arm(|_| 1.0, |_| 10.0);
    for bad in [
        arm(|_| -1.0, |_| 10.0),
        arm(|_| 11.0, |_| 10.0),
        arm(|_| 0.0, |_| f64::NAN),
    ] {
        assert!(mix.add(&bad, &good).is_err());
        assert!(mix.add(&good, &bad).is_err());
    }
    let huge = arm(|_| 0.0, |_| f64::MAX);
    mix.add(&huge, &good).expect("finite by itself");
    assert!(mix.add(&huge, &good).is_err(), "the sum is not");
    assert_eq!(
        mix.margin(Direction::Harm, level(2.0), 1.0),
        None,
        "and no variance comes of it"
    );
    assert_ne!(mix, before);
}

#[test]
fn a_checkpoint_restores_bit_for_bit() {
    let mut mix = UserMix::default();
    mix.add(&arm(|_| 0.1, |_| 0.3), &arm(|g| g as f64 / 3.0, |_| 7.0))
        .expect("counts");
    mix.add_fused(&[1.0 / 3.0; GROUPS + 1]).expect("counts");
    let written = serde_json::to_string(&mix).expect("serializes");
    assert_eq!(
        serde_json::from_str::<UserMix>(&written).expect("restores"),
        mix
    );
    assert!(serde_json::from_str::<UserMix>(&written.replacen("0.1", "-0.1", 1)).is_err());
}
