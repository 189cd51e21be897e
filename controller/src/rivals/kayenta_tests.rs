use super::*;
use proptest::prelude::*;

const CONTROL: [f64; 10] = [10.0, 11.0, 9.0, 12.0, 10.0, 11.0, 10.0, 9.0, 12.0, 11.0];
const WORSE: [f64; 10] = [12.0, 15.0, 11.0, 14.0, 18.0, 13.0, 16.0, 15.0, 17.0, 14.0];

fn label(control: &[f64], experiment: &[f64], config: KayentaConfig) -> Label {
    judge(control, experiment, &config).label
}

fn default(control: &[f64], experiment: &[f64]) -> Label {
    label(control, experiment, KayentaConfig::default())
}

#[test]
fn a_shift_is_found_in_the_direction_that_counts() {
    let with = |direction| KayentaConfig {
        direction,
        ..KayentaConfig::default()
    };
    for (direction, high, low) in [
        (Direction::Either, Label::High, Label::Low),
        (Direction::Increase, Label::High, Label::Pass),
        (Direction::Decrease, Label::Pass, Label::Low),
    ] {
        assert_eq!(label(&CONTROL, &WORSE, with(direction)), high);
        assert_eq!(label(&WORSE, &CONTROL, with(direction)), low);
    }
}

#[test]
fn seven_of_ten_points_a_hundredfold_worse_pass_and_eight_do_not() {
    // spinnaker/spinnaker#6278
    let control = [1.0; 10];
    let with = |worse: usize| {
        let mut points = control;
        points[..worse].fill(100.0);
        points
    };
    assert_eq!(default(&control, &with(7)), Label::Pass);
    assert_eq!(default(&control, &with(8)), Label::High);
}

#[test]
fn sparse_errors_against_zeros_pass() {
    // spinnaker/kayenta#426
    assert_eq!(
        default(&[0.0; 6], &[0.0, 1.0, 2.0, 1.0, 0.0, 0.0]),
        Label::Pass
    );
}

#[test]
fn identical_points_pass_in_any_order() {
    let mut reversed = CONTROL;
    reversed.reverse();
    assert_eq!(default(&CONTROL, &reversed), Label::Pass);
    assert_eq!(default(&[3.0; 4], &[3.0; 9]), Label::Pass);
    assert_eq!(default(&[0.0; 4], &[-0.0; 4]), Label::Pass);
}

#[test]
fn two_constants_differ_by_their_difference() {
    assert_eq!(default(&[1.0; 10], &[1.5; 10]), Label::High);
    assert_eq!(default(&[1.5; 10], &[1.0; 10]), Label::Low);
    assert_eq!(default(&[0.0; 10], &[1.0; 10]), Label::High, "no ratio");
}

#[test]
fn points_that_all_tie_are_an_error() {
    assert_eq!(default(&[1.0], &[2.0]), Label::Error);
    assert_eq!(default(&[0.0, 0.0], &[2.0]), Label::Error);
    assert_eq!(default(&[2.0], &[0.0, 0.0]), Label::Error);
    assert_eq!(
        default(&[1.0, 1.0], &[2.0]),
        Label::High,
        "noise unties them"
    );
}

#[test]
fn points_that_are_not_numbers_are_removed_or_replaced() {
    let nan = [f64::NAN; 10];
    let with = |nan, must_have_data, critical| KayentaConfig {
        nan,
        must_have_data,
        critical,
        ..KayentaConfig::default()
    };
    let judged = |config: KayentaConfig| {
        let found = judge(&CONTROL, &nan, &config);
        (found.label, found.critical)
    };
    let critical = Some(EffectLimits::default());
    let removed = |data, critical| judged(with(NanStrategy::Remove, data, critical));
    assert_eq!(removed(false, None), (Label::Nodata, false));
    assert_eq!(removed(true, None), (Label::NodataFailMetric, false));
    assert_eq!(removed(true, critical), (Label::Nodata, true));
    let replaced = with(NanStrategy::Replace, true, None);
    assert_eq!(judged(replaced), (Label::Low, false), "ten zeros");
    assert_eq!(judge(&[], &[], &replaced).label, Label::Pass);
    let mut holed = WORSE.to_vec();
    holed.extend([f64::NAN, f64::INFINITY]);
    assert_eq!(default(&CONTROL, &holed), Label::High);
}

#[test]
fn a_change_that_is_small_enough_passes() {
    let with = |effect, increase| KayentaConfig {
        effect,
        allowed: EffectLimits {
            increase: Some(increase),
            decrease: None,
        },
        ..KayentaConfig::default()
    };
    let (ratio, language) = (EffectSize::MeanRatio, EffectSize::CommonLanguage);
    assert_eq!(mean_ratio(&CONTROL, &WORSE), Some(14.5 / 10.5));
    assert_eq!(label(&CONTROL, &WORSE, with(ratio, 1.38)), Label::High);
    assert_eq!(label(&CONTROL, &WORSE, with(ratio, 1.39)), Label::Pass);
    // 95.5 of 100 pairs: 11 ties with three and loses to two, 12 ties with two.
    let cles = EffectSize::CommonLanguage
        .of(&CONTROL, &WORSE)
        .expect("always");
    assert!((cles - 0.955).abs() < 1e-12, "{cles}");
    assert_eq!(label(&CONTROL, &WORSE, with(language, 0.95)), Label::High);
    assert_eq!(label(&CONTROL, &WORSE, with(language, 0.96)), Label::Pass);
}

#[test]
fn a_critical_metric_fails_beyond_its_own_limits() {
    let with = |increase| KayentaConfig {
        critical: Some(EffectLimits {
            increase,
            decrease: None,
        }),
        ..KayentaConfig::default()
    };
    let critical = |increase| judge(&CONTROL, &WORSE, &with(increase));
    assert_eq!(critical(None).label, Label::High);
    assert!(critical(None).critical);
    assert_eq!(critical(Some(1.5)).label, Label::High);
    assert!(!critical(Some(1.5)).critical);
}

#[test]
fn outliers_are_removed_beyond_the_fences_only() {
    let config = |outlier_factor| KayentaConfig {
        outlier_factor,
        ..KayentaConfig::default()
    };
    let mut points: Vec<f64> = (0..200).map(f64::from).collect();
    points.push(1e6);
    assert_eq!(prepare(&points, &config(None)).len(), 201);
    assert_eq!(prepare(&points, &config(Some(3.0))).len(), 200);
    // Few points: the fence is at the largest itself.
    assert_eq!(
        prepare(&[1.0, 2.0, 3.0, 900.0], &config(Some(3.0))).len(),
        4
    );
    assert_eq!(prepare(&[], &config(Some(3.0))), Vec::<f64>::new());
}

#[test]
fn percentiles_are_those_of_commons_math() {
    let points = [1.0, 2.0, 4.0, 8.0];
    let found = [0.01, 0.25, 0.5, 0.75, 0.99].map(|p| percentile(&points, p));
    assert_eq!(found, [1.0, 1.25, 3.0, 7.0, 8.0]);
}

/// The root of `z` at a level, by bisection of the step function with full ranking: what Brent's method converges to.
fn bisected(control: &[f64], experiment: &[f64], level: f64) -> f64 {
    let z = |mu: f64| z_at_shift(control, experiment, mu).expect("not all tie");
    let mut ends = [f64::INFINITY, f64::NEG_INFINITY];
    for difference in experiment
        .iter()
        .flat_map(|x| control.iter().map(move |y| x - y))
    {
        ends = [ends[0].min(difference), ends[1].max(difference)];
    }
    let [mut left, mut right] = ends;
    if z(left) <= level {
        return left;
    }
    if z(right) >= level {
        return right;
    }
    for _ in 0..80 {
        let middle = 0.5 * (left + right);
        if z(middle) > level {
            left = middle;
        } else {
            right = middle;
        }
    }
    0.5 * (left + right)
}

proptest! {
    #[test]
    fn the_ends_are_the_roots_of_the_step_function(
        control in proptest::collection::vec(0i32..12, 2..14),
        experiment in proptest::collection::vec(0i32..16, 2..14),
    ) {
        let sorted = |points: &[i32]| {
            let mut points: Vec<f64> = points.iter().copied().map(f64::from).collect();
            points.sort_by(f64::total_cmp);
            points
        };
        let (control, experiment) = (sorted(&control), sorted(&experiment));
        prop_assume!(!(constant(&control) && constant(&experiment)));
        let shift = shift_interval(&control, &experiment).expect("not all tie");
        let level = 2.326_347_874_040_841;
        let ends = [bisected(&control, &experiment, level), bisected(&control, &experiment, -level)];
        prop_assert!((shift.lower - ends[0]).abs() < 1e-9, "{shift:?} {ends:?}");
        prop_assert!((shift.upper - ends[1]).abs() < 1e-9, "{shift:?} {ends:?}");
        prop_assert!(shift.lower <= shift.estimate && shift.estimate <= shift.upper);
    }

    #[test]
    fn swapping_the_sides_swaps_high_and_low(
        control in proptest::collection::vec(-1e3f64..1e3, 1..20),
        experiment in proptest::collection::vec(-1e3f64..1e3, 1..20),
    ) {
        // Without the size of the effect, which is no longer symmetric where means are negative.
        let config = KayentaConfig {
            allowed: EffectLimits { increase: Some(f64::NEG_INFINITY), decrease: Some(f64::INFINITY) },
            ..KayentaConfig::default()
        };
        let swapped = match judge(&experiment, &control, &config).label {
            Label::High => Label::Low,
            Label::Low => Label::High,
            other => other,
        };
        prop_assert_eq!(judge(&control, &experiment, &config).label, swapped);
    }
}

fn metric(label: Label, groups: &[&str]) -> JudgedMetric {
    JudgedMetric {
        classification: Classification {
            label,
            critical: false,
        },
        groups: groups.iter().map(|group| (*group).to_owned()).collect(),
    }
}

fn config(weights: &[(&str, f64)]) -> ScoreConfig {
    let weight = |(name, weight): &(&str, f64)| ((*name).to_owned(), *weight);
    ScoreConfig {
        group_weights: weights.iter().map(weight).collect(),
        pass: 95.0,
        marginal: 75.0,
    }
}

#[test]
fn groups_share_what_the_weights_leave() {
    let metrics = [
        metric(Label::Pass, &["a", "b"]),
        metric(Label::High, &["a"]),
        metric(Label::Pass, &["c"]),
    ];
    let found = score(&metrics, &config(&[("a", 50.0)]));
    assert_eq!(
        found.summary, 75.0,
        "50 of 100 at 50 %, and 25 % each of two"
    );
    assert_eq!(found.classification, ScoreClassification::Marginal);
    assert_eq!(found.reason, None);
    let names: Vec<_> = found
        .groups
        .iter()
        .map(|group| group.name.as_str())
        .collect();
    assert_eq!(names, ["a", "b", "c"]);
}

#[test]
fn a_group_without_data_counts_as_a_hundred() {
    let metrics = [
        metric(Label::Nodata, &["a"]),
        metric(Label::Pass, &["b"]),
        metric(Label::Low, &["b"]),
    ];
    let found = score(&metrics, &config(&[]));
    assert_eq!(found.groups[0].score, None);
    assert_eq!(found.summary, 75.0);
    let missing = [
        metric(Label::NodataFailMetric, &["a"]),
        metric(Label::Pass, &["b"]),
    ];
    assert_eq!(score(&missing, &config(&[])).summary, 50.0);
}

#[test]
fn half_of_the_metrics_without_data_score_nothing() {
    let metrics = [metric(Label::Nodata, &["a"]), metric(Label::Pass, &["b"])];
    let found = score(&metrics, &config(&[]));
    assert_eq!(
        (found.summary, found.reason),
        (0.0, Some(ScoreReason::TooManyNodata))
    );
    assert_eq!(found.classification, ScoreClassification::Fail);
}

#[test]
fn a_critical_failure_scores_nothing() {
    let mut metrics = [metric(Label::High, &["a"]), metric(Label::Pass, &["b"])];
    metrics[0].classification.critical = true;
    let found = score(&metrics, &config(&[("b", 99.0)]));
    assert_eq!(
        (found.summary, found.reason),
        (0.0, Some(ScoreReason::CriticalMetric))
    );
}

#[test]
fn a_score_is_rounded_to_two_decimals_and_compared_with_both_thresholds() {
    let all = |passed: usize, of: usize| {
        let label = |at: usize| {
            if at < passed {
                Label::Pass
            } else {
                Label::High
            }
        };
        let metrics: Vec<_> = (0..of).map(|at| metric(label(at), &["a"])).collect();
        let found = score(&metrics, &config(&[]));
        (found.summary, found.classification)
    };
    assert_eq!(all(2, 3), (66.67, ScoreClassification::Fail));
    assert_eq!(all(19, 20), (95.0, ScoreClassification::Pass));
    assert_eq!(all(3, 4), (75.0, ScoreClassification::Marginal));
    assert_eq!(all(0, 0).0, 0.0);
}
