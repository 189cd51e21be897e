use super::*;

const SUCCESS: Option<Condition> = Some(Condition::AtMost(0.01));
const FAILURE: Option<Condition> = Some(Condition::Above(0.05));
const GOOD: Observation = Observation::Value(0.005);
const MIDDLE: Observation = Observation::Value(0.03);
const BAD: Observation = Observation::Value(0.1);
const NAN: Observation = Observation::Value(f64::NAN);

fn metric(success: Option<Condition>, failure: Option<Condition>) -> Metric {
    Metric {
        success,
        failure,
        ..Metric::default()
    }
}

/// Checks the outcomes of a good, a middling and a bad value, NaN, no data and an error.
#[track_caller]
fn check(success: Option<Condition>, failure: Option<Condition>, outcomes: [Outcome; 6]) {
    let metric = metric(success, failure);
    let all = [
        GOOD,
        MIDDLE,
        BAD,
        NAN,
        Observation::NoData,
        Observation::Error,
    ];
    assert_eq!(all.map(|seen| metric.measure(seen)), outcomes);
}

#[test]
fn the_outcome_table_holds() {
    use Outcome::{Error as E, Failed as F, Inconclusive as I, Successful as S};
    check(None, None, [S, S, S, S, S, E]);
    check(SUCCESS, None, [S, F, F, F, E, E]);
    check(None, FAILURE, [S, S, F, S, E, E]);
    check(SUCCESS, FAILURE, [S, I, F, I, E, E]);
    // Where both hold, the failure wins.
    check(Some(Condition::AtLeast(0.0)), FAILURE, [S, S, F, I, E, E]);
}

#[test]
fn conditions_compare_as_they_are_written() {
    let holds = |condition: Condition| [0.9, 1.0, 1.1].map(|value| condition.holds(value));
    assert_eq!(holds(Condition::Below(1.0)), [true, false, false]);
    assert_eq!(holds(Condition::AtMost(1.0)), [true, true, false]);
    assert_eq!(holds(Condition::Above(1.0)), [false, false, true]);
    assert_eq!(holds(Condition::AtLeast(1.0)), [false, true, true]);
}

fn ticks<const N: usize>(metric: Metric, observations: [Observation; N]) -> [Decision; N] {
    let mut argo = Argo::new(vec![metric]);
    observations.map(|observation| argo.tick(&[observation]))
}

#[test]
fn by_default_the_first_failure_rolls_back_in_its_own_tick() {
    assert_eq!(
        ticks(metric(SUCCESS, None), [GOOD, BAD, GOOD]),
        [Decision::Advance, Decision::RollBack, Decision::RollBack]
    );
}

#[test]
fn failures_add_up_over_successes() {
    let lenient = Metric {
        failure_limit: Some(1),
        ..metric(SUCCESS, None)
    };
    assert_eq!(
        ticks(lenient, [BAD, GOOD, GOOD, BAD])[3],
        Decision::RollBack
    );
    let never = Metric {
        failure_limit: None,
        ..lenient
    };
    assert_eq!(ticks(never, [BAD; 50]), [Decision::Advance; 50]);
}

#[test]
fn an_inconclusive_measurement_pauses() {
    assert_eq!(
        ticks(metric(SUCCESS, FAILURE), [GOOD, MIDDLE]),
        [Decision::Advance, Decision::Pause]
    );
}

#[test]
fn five_errors_in_a_row_abort_and_one_answer_starts_again() {
    let down = [Observation::Error; 5];
    let decisions = ticks(metric(SUCCESS, None), down);
    assert_eq!(decisions[3], Decision::Advance);
    assert_eq!(decisions[4], Decision::RollBack);
    let mut argo = Argo::new(vec![metric(SUCCESS, None)]);
    for observation in [&down[..4], &[GOOD], &down[..4]].concat() {
        assert_eq!(argo.tick(&[observation]), Decision::Advance);
    }
    assert_eq!(
        argo.tick(&[Observation::NoData]),
        Decision::RollBack,
        "an empty vector is an error as well"
    );
}

#[test]
fn errors_do_not_count_as_measurements() {
    let counted = Metric {
        count: Some(2),
        ..metric(SUCCESS, None)
    };
    assert_eq!(
        ticks(counted, [GOOD, Observation::Error, GOOD]),
        [Decision::Advance, Decision::Advance, Decision::Succeed]
    );
}

#[test]
fn a_run_of_successes_ends_well_and_its_absence_is_inconclusive() {
    let asked = Metric {
        consecutive_success_limit: 2,
        count: Some(3),
        failure_limit: None,
        ..metric(SUCCESS, None)
    };
    assert_eq!(ticks(asked, [BAD, GOOD, GOOD])[2], Decision::Succeed);
    assert_eq!(ticks(asked, [GOOD, BAD, GOOD])[2], Decision::Pause);
}

#[test]
fn the_worst_metric_decides() {
    let mut argo = Argo::new(vec![metric(SUCCESS, None), metric(SUCCESS, FAILURE)]);
    assert_eq!(argo.tick(&[GOOD, GOOD]), Decision::Advance);
    assert_eq!(argo.clone().tick(&[GOOD, MIDDLE]), Decision::Pause);
    assert_eq!(argo.clone().tick(&[BAD, MIDDLE]), Decision::RollBack);
    let counted = Metric {
        count: Some(1),
        ..metric(SUCCESS, None)
    };
    let mut argo = Argo::new(vec![counted, metric(SUCCESS, None)]);
    assert_eq!(argo.tick(&[GOOD, GOOD]), Decision::Advance);
    assert_eq!(
        argo.tick(&[BAD, GOOD]),
        Decision::Advance,
        "a metric that has ended is not measured again"
    );
}

#[test]
fn a_run_that_never_measured_succeeds_when_it_is_ended() {
    let argo = Argo::new(vec![metric(SUCCESS, None)]);
    assert_eq!(argo.terminate(), Decision::Succeed);
    let mut failed = argo;
    failed.tick(&[BAD]);
    assert_eq!(failed.terminate(), Decision::RollBack);
}
