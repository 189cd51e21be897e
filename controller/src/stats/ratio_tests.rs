use super::*;

fn counts(bad_canary: f64, total_canary: f64, bad_stable: f64, total_stable: f64) -> Counts {
    Counts {
        bad_canary,
        total_canary,
        bad_stable,
        total_stable,
    }
}

fn sketched(intervals: &[Counts]) -> RatioSequence {
    let mut sketch = RatioSequence::default();
    for counts in intervals {
        sketch.update(*counts).expect("usable");
    }
    sketch
}

#[track_caller]
fn check_close(actual: f64, expected: f64) {
    assert!(
        (actual - expected).abs() <= 1e-6 * expected,
        "{actual} is not {expected}"
    );
}

/// Checks that the sketch gives the interval of the whole list to 1e-6.
#[track_caller]
fn check_sketch(intervals: &[Counts]) {
    let exact = ratio_interval(intervals, 0.05).expect("usable");
    let sketch = sketched(intervals).interval(0.05).expect("usable");
    check_close(sketch.mle.expect("has one"), exact.mle.expect("has one"));
    check_close(sketch.lower, exact.lower);
    check_close(
        sketch.upper.expect("has one"),
        exact.upper.expect("has one"),
    );
}

/// Intervals whose weight ramps over many splits, with `scale` times the traffic.
fn ramp(scale: f64, ratio: f64) -> Vec<Counts> {
    let interval = |i: u32| {
        // A split between 1/1000 and 1000 to 1, off the nodes in every way.
        let split = (f64::from(i) * 0.1379 - 6.9).exp();
        let (total_canary, total_stable) = (
            scale * 1000.0 * split / (1.0 + split),
            scale * 1000.0 / (1.0 + split),
        );
        counts(
            0.01 * ratio * total_canary,
            total_canary,
            0.01 * total_stable,
            total_stable,
        )
    };
    (0..100).map(interval).collect()
}

#[test]
fn the_sketch_agrees_with_the_list_at_any_split_and_mass() {
    for ratio in [0.05, 0.8, 1.0, 1.7, 30.0] {
        for scale in [1.0, 1e3, 1e6] {
            check_sketch(&ramp(scale, ratio));
        }
    }
    for split in [1e-4, 0.0526, 0.3333, 1.0, 99.0] {
        check_sketch(&[counts(20.0, 1e6 * split, 9.0, 1e6)]);
        check_sketch(&[counts(6e4 * split, 1e6 * split, 2e4, 1e6)]);
    }
}

#[test]
fn a_checkpoint_is_bounded() {
    let mut sketch = RatioSequence::default();
    for i in 0..100_000_u32 {
        let split = ((f64::from(i) * 0.618_033_988_749).fract() * 60.0 - 30.0).exp();
        sketch
            .update(counts(0.5 * split.min(1.0), split, 0.5, 1.0))
            .expect("usable");
    }
    let nodes = |sketch: &RatioSequence| {
        serde_json::to_value(sketch).expect("serializes")["mass"]
            .as_array()
            .map(Vec::len)
    };
    assert_eq!(nodes(&sketch), Some(65));
    assert_eq!(size_of::<RatioSequence>(), 67 * 8);
    let steady = vec![counts(3.0, 507.0, 20.0, 9493.0); 1000];
    assert_eq!(nodes(&sketched(&steady)), Some(10));
}

#[test]
fn the_truth_lies_inside_and_more_traffic_narrows() {
    let few = ratio_interval(&ramp(1.0, 1.7), 0.05).expect("usable");
    let many = ratio_interval(&ramp(100.0, 1.7), 0.05).expect("usable");
    check_close(many.mle.expect("has one"), 1.7);
    for interval in [few, many] {
        assert!(
            interval.lower < 1.7 && interval.upper.expect("bounded") > 1.7,
            "{interval:?}"
        );
    }
    assert!(many.lower > few.lower && many.upper < few.upper);
}

#[test]
fn without_bad_events_nothing_is_known() {
    let nothing = RatioInterval {
        mle: None,
        lower: 0.0,
        upper: None,
    };
    assert_eq!(ratio_interval(&[], 0.05), Ok(nothing));
    assert_eq!(
        ratio_interval(&[counts(0.0, 100.0, 0.0, 1900.0)], 0.05),
        Ok(nothing)
    );
    assert_eq!(
        sketched(&[counts(0.0, 100.0, 0.0, 1900.0)]).interval(0.05),
        Ok(nothing)
    );
}

#[test]
fn an_arm_that_never_fails_leaves_one_side_open() {
    let clean_canary = [counts(0.0, 1000.0, 50.0, 1000.0)];
    let clean_stable = [counts(50.0, 1000.0, 0.0, 1000.0)];
    for interval in [
        ratio_interval(&clean_canary, 0.05),
        sketched(&clean_canary).interval(0.05),
    ] {
        let interval = interval.expect("usable");
        assert_eq!((interval.mle, interval.lower), (Some(0.0), 0.0));
        assert!(
            interval.upper.is_some_and(|upper| upper < 0.3),
            "{interval:?}"
        );
    }
    for interval in [
        ratio_interval(&clean_stable, 0.05),
        sketched(&clean_stable).interval(0.05),
    ] {
        let interval = interval.expect("usable");
        assert_eq!((interval.mle, interval.upper), (None, None));
        assert!(interval.lower > 3.0, "{interval:?}");
    }
}

#[test]
fn an_interval_without_an_arm_is_skipped() {
    let both = counts(9.0, 300.0, 37.0, 5700.0);
    let more = [
        both,
        counts(0.0, 0.0, 38.0, 6000.0),
        counts(9.0, 10.0, 0.0, 0.0),
    ];
    assert_eq!(ratio_interval(&more, 0.05), ratio_interval(&[both], 0.05));
    assert_eq!(sketched(&more), sketched(&[both]));
}

#[test]
fn what_cannot_be_used_is_refused() {
    for alpha in [0.0, 1.0, -0.5, f64::NAN] {
        let said = ratio_interval(&[], alpha).expect_err("refused").to_string();
        assert_eq!(
            said,
            format!("failed to give an interval at alpha \"{alpha}\": it is between 0 and 1")
        );
    }
    let bad = counts(2.0, 1.0, 0.0, 1.0);
    assert!(matches!(
        ratio_interval(&[bad], 0.05),
        Err(RatioError::Counts(_))
    ));
    let mut sketch = sketched(&[counts(1.0, 10.0, 1.0, 10.0)]);
    let before = sketch.clone();
    assert!(matches!(sketch.update(bad), Err(RatioError::Counts(_))));
    assert_eq!(sketch, before);
}

#[test]
fn a_checkpoint_restores_bit_for_bit_and_is_not_trusted() {
    let sketch = sketched(&ramp(1.0, 1.7));
    let written = serde_json::to_value(&sketch).expect("serializes");
    let text = serde_json::to_string(&sketch).expect("serializes");
    assert_eq!(
        serde_json::from_str::<RatioSequence>(&text).expect("restores"),
        sketch
    );
    for (field, value) in [
        ("mass", serde_json::json!([[3, 1.0], [2, 1.0]])),
        ("badCanary", (-1.0).into()),
    ] {
        let mut changed = written.clone();
        changed[field] = value;
        let said = serde_json::from_value::<RatioSequence>(changed)
            .expect_err("refused")
            .to_string();
        assert!(said.contains("failed to restore the ratio"), "{said}");
    }
}
