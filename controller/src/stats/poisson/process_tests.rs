use super::*;

const LINE: Line = Line {
    theta: 1.1,
    delta: 0.0005,
};

fn counts(bad_canary: f64, total_canary: f64, bad_stable: f64, total_stable: f64) -> Counts {
    Counts {
        bad_canary,
        total_canary,
        bad_stable,
        total_stable,
    }
}

fn harm() -> EProcess {
    EProcess::start(Direction::Harm)
}

/// A process that has seen something, so that an untouched state can be told from a fresh one.
fn running() -> EProcess {
    let mut process = harm();
    process
        .update(counts(5.0, 100.0, 20.0, 1900.0), LINE, 1.0)
        .expect("usable");
    process
}

#[test]
fn evidence_starts_at_one() {
    let process = harm();
    assert_eq!(
        (process.log_e(), process.log_e_max(), process.p_value()),
        (0.0, 0.0, 1.0)
    );
    assert!(!process.rejects(0.999));
    assert_eq!(process.direction(), Direction::Harm);
    assert_eq!(
        Ok(process),
        EProcess::new(
            Direction::Harm,
            1.0 / 240.0,
            Prior {
                bad: 1.0,
                total: 100.0
            }
        )
    );
}

#[test]
fn a_rejection_sticks_while_the_evidence_falls() {
    let mut process = harm();
    process
        .update(counts(60.0, 200.0, 18.0, 1800.0), LINE, 1.0)
        .expect("usable");
    assert!(process.rejects(0.01));
    let top = process.log_e();
    for _ in 0..200 {
        process
            .update(counts(0.0, 200.0, 18.0, 1800.0), LINE, 1.0)
            .expect("usable");
    }
    assert!(process.log_e() < top - 5.0 && process.log_e_max() == top && process.rejects(0.01));
}

/// Checks that the interval leaves the evidence as it was, while stable's totals grow.
#[track_caller]
fn check_carries(interval: Counts, line: Line) {
    let mut process = running();
    let before = process.clone();
    assert_eq!(process.update(interval, line, 1.0), Ok(Consumed::Carried));
    let mut carried = before.clone();
    carried.carry(interval).expect("usable");
    assert_eq!(process, carried, "update without a bet is a carry");
    assert_eq!(process.log_wealth, before.log_wealth);
    assert_eq!(
        (process.log_e, process.log_e_max),
        (before.log_e, before.log_e_max)
    );
    assert_eq!(process.stable_bad, before.stable_bad + interval.bad_stable);
    assert_eq!(
        process.stable_total,
        before.stable_total + interval.total_stable
    );
}

#[test]
fn an_interval_without_an_arm_carries_the_evidence_over() {
    check_carries(counts(0.0, 0.0, 4.0, 50.0), LINE);
    check_carries(counts(3.0, 10.0, 0.0, 0.0), LINE);
    check_carries(counts(0.0, 0.0, 0.0, 0.0), LINE);
    check_carries(
        counts(0.0, 0.0, 4.0, 50.0),
        Line {
            theta: 0.0,
            delta: 0.01,
        },
    );
}

#[test]
fn a_line_at_or_below_zero_is_not_bet_on() {
    let interval = counts(1.0, 100.0, 20.0, 1900.0);
    check_carries(
        interval,
        Line {
            theta: 1.0,
            delta: -0.5,
        },
    );
    check_carries(
        interval,
        Line {
            theta: 0.0,
            delta: 0.0,
        },
    );
    check_carries(
        interval,
        Line {
            theta: 0.0,
            delta: -0.1,
        },
    );
}

#[test]
fn a_negative_delta_above_the_line_of_zero_is_bet_on() {
    let mut process = EProcess::new(
        Direction::Success,
        0.0,
        Prior {
            bad: 100.0,
            total: 2000.0,
        },
    )
    .expect("sane");
    let line = Line {
        theta: 1.25,
        delta: -0.01,
    };
    for _ in 0..60 {
        assert_eq!(
            process.update(counts(2.0, 1000.0, 50.0, 1000.0), line, 1.0),
            Ok(Consumed::Judged)
        );
    }
    assert!(process.rejects(0.01), "{}", process.log_e());
}

#[test]
fn an_absolute_limit_is_judged_without_stable() {
    let mut process = harm();
    let line = Line {
        theta: 0.0,
        delta: 0.01,
    };
    assert_eq!(
        process.update(counts(50.0, 100.0, 0.0, 0.0), line, 1.0),
        Ok(Consumed::Judged)
    );
    assert!(process.rejects(0.01));
}

#[test]
fn a_stable_that_never_failed_does_not_blind_a_relative_line() {
    let mut process = EProcess::new(
        Direction::Harm,
        0.0,
        Prior {
            bad: 0.0,
            total: 100.0,
        },
    )
    .expect("sane");
    let line = Line {
        theta: 1.1,
        delta: 0.0,
    };
    assert_eq!(
        process.update(counts(50.0, 100.0, 0.0, 1900.0), line, 1.0),
        Ok(Consumed::Judged)
    );
    assert!(process.rejects(0.01));
}

#[test]
fn dispersion_tempers_the_evidence() {
    let (mut plain, mut tempered) = (harm(), harm());
    let interval = counts(20.0, 100.0, 20.0, 1900.0);
    plain.update(interval, LINE, 1.0).expect("usable");
    tempered.update(interval, LINE, 3.0).expect("usable");
    assert!(tempered.log_e() > 0.0 && tempered.log_e() < plain.log_e() / 2.0);
}

/// Checks that the interval is refused with this message and changes nothing.
#[track_caller]
fn check_refused(interval: Counts, line: Line, phi: f64, message: &str) {
    let mut process = running();
    let said = process
        .update(interval, line, phi)
        .map_err(|error| error.to_string());
    assert_eq!(said, Err(message.to_owned()));
    assert_eq!(process, running(), "the state is untouched");
}

#[test]
fn bad_counts_are_refused_and_change_nothing() {
    let not = |what, arm, value| {
        format!("failed to read the {what} of {arm}: \"{value}\" is not a count")
    };
    check_refused(
        counts(-1.0, 9.0, 0.0, 9.0),
        LINE,
        1.0,
        &not("bad events", "canary", "-1"),
    );
    check_refused(
        counts(0.0, f64::NAN, 0.0, 9.0),
        LINE,
        1.0,
        &not("requests", "canary", "NaN"),
    );
    check_refused(
        counts(0.0, 9.0, f64::NAN, 9.0),
        LINE,
        1.0,
        &not("bad events", "stable", "NaN"),
    );
    check_refused(
        counts(0.0, 9.0, 0.0, f64::INFINITY),
        LINE,
        1.0,
        &not("requests", "stable", "inf"),
    );
    let exceeds = "failed to read the counts of canary: \"8\" bad events among \"5\" requests";
    check_refused(counts(8.0, 5.0, 0.0, 9.0), LINE, 1.0, exceeds);
    let exceeds = "failed to read the counts of stable: \"1\" bad events among \"0\" requests";
    check_refused(counts(0.0, 5.0, 1.0, 0.0), LINE, 1.0, exceeds);
    let mut process = running();
    assert!(process.carry(counts(8.0, 5.0, 0.0, 9.0)).is_err());
    assert_eq!(process, running());
}

#[test]
fn a_bad_line_or_dispersion_is_refused_and_changes_nothing() {
    let good = counts(1.0, 9.0, 0.0, 9.0);
    let line = |theta, delta| Line { theta, delta };
    let said = |theta, delta| {
        format!("failed to use the tolerance line: theta \"{theta}\", delta \"{delta}\"")
    };
    check_refused(good, line(-1.0, 0.0), 1.0, &said("-1", "0"));
    check_refused(good, line(f64::NAN, 0.0), 1.0, &said("NaN", "0"));
    check_refused(good, line(1.0, f64::INFINITY), 1.0, &said("1", "inf"));
    for (phi, text) in [(0.5, "0.5"), (f64::NAN, "NaN"), (f64::INFINITY, "inf")] {
        check_refused(
            good,
            LINE,
            phi,
            &format!("failed to use the dispersion \"{text}\": it is at least 1"),
        );
    }
}

#[test]
fn counts_too_large_to_add_up_are_refused_and_change_nothing() {
    let said = "failed to add up the evidence: the counts are too large";
    check_refused(counts(f64::MAX, f64::MAX, 0.0, 9.0), LINE, 1.0, said);
    let mut process = running();
    process
        .carry(counts(0.0, 0.0, 0.0, f64::MAX))
        .expect("finite");
    let before = process.clone();
    assert_eq!(
        process.carry(counts(0.0, 0.0, 0.0, f64::MAX)),
        Err(PoissonError::Overflow)
    );
    assert_eq!(process, before);
}

#[test]
fn a_process_wants_a_share_and_a_prior() {
    let new = |share, bad, total| EProcess::new(Direction::Harm, share, Prior { bad, total });
    for share in [-0.1, 1.0, 2.0] {
        assert_eq!(new(share, 1.0, 100.0), Err(PoissonError::Share(share)));
    }
    assert!(matches!(
        new(f64::NAN, 1.0, 100.0),
        Err(PoissonError::Share(_))
    ));
    assert_eq!(new(0.0, 0.0, 0.0), Err(PoissonError::EmptyPrior));
    assert!(matches!(
        new(0.0, 2.0, 1.0),
        Err(PoissonError::Counts(CountError::BadExceedsTotal { .. }))
    ));
    assert!(matches!(
        new(0.0, f64::NAN, 1.0),
        Err(PoissonError::Counts(CountError::NotACount { .. }))
    ));
}

#[test]
fn a_checkpoint_restores_bit_for_bit() {
    let intervals = [
        counts(3.0, 57.0, 31.0, 1900.0),
        counts(0.1, 0.3, 1.0 / 3.0, 7.7),
        counts(9.0, 301.0, 44.0, 999.0),
    ];
    let mut process = running();
    let mut restored = process.clone();
    for interval in intervals {
        process.update(interval, LINE, 1.3).expect("usable");
        restored.update(interval, LINE, 1.3).expect("usable");
        let written = serde_json::to_string(&restored).expect("serializes");
        restored = serde_json::from_str(&written).expect("restores");
        assert_eq!(restored, process);
        let bits = |process: &EProcess| {
            process
                .log_wealth
                .iter()
                .map(|v| v.to_bits())
                .collect::<Vec<_>>()
        };
        assert_eq!(bits(&restored), bits(&process));
    }
}

#[test]
fn a_checkpoint_is_written_in_camel_case() {
    let written = serde_json::to_value(harm()).expect("serializes");
    let mut names: Vec<&str> = written
        .as_object()
        .expect("an object")
        .keys()
        .map(String::as_str)
        .collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "direction",
            "logE",
            "logEMax",
            "logWealth",
            "share",
            "stableBad",
            "stableTotal"
        ]
    );
    assert_eq!(written["direction"], "harm");
}

/// Checks that a checkpoint with one field replaced is refused with this reason.
#[track_caller]
fn check_checkpoint(field: &str, value: serde_json::Value, reason: &str) {
    let mut written = serde_json::to_value(running()).expect("serializes");
    written[field] = value;
    let said = serde_json::from_value::<EProcess>(written)
        .expect_err("refused")
        .to_string();
    assert!(said.contains(reason), "{said}");
}

#[test]
fn a_checkpoint_changed_by_hand_is_refused() {
    check_checkpoint(
        "logWealth",
        serde_json::json!([0.0, 0.0]),
        "its grid has another length",
    );
    check_checkpoint("direction", "success".into(), "its grid has another length");
    check_checkpoint(
        "logEMax",
        (-1.0).into(),
        "the largest evidence is below the evidence",
    );
    check_checkpoint("share", 1.0.into(), "failed to use the fixed share");
    check_checkpoint("stableTotal", 0.0.into(), "bad events among");
    check_checkpoint("stableBad", serde_json::Value::Null, "invalid type");
}
