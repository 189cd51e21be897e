use super::*;

const EQUAL: Line = Line {
    theta: 1.0,
    delta: 0.0,
};

/// Requests above `0.1 * 1.3^k` when latencies are exponential around `mean`: counts without noise.
fn histogram(mean: f64, total: f64) -> Histogram {
    let boundaries: Vec<f64> = (0..20).map(|k| 0.1 * 1.3f64.powi(k)).collect();
    let below = |boundary: &f64| total * (1.0 - (-boundary / mean).exp());
    let cumulative: Vec<f64> = boundaries.iter().map(below).collect();
    Histogram::new(&boundaries, &cumulative, total).expect("sane")
}

fn shift(direction: Direction, margin: Margin) -> Shift {
    Shift::new(direction, margin, &histogram(1.0, 1e5)).expect("cuts")
}

fn run(mut shift: Shift, slower: f64, line: Line) -> Shift {
    for _ in 0..30 {
        let (canary, stable) = (histogram(slower, 200.0), histogram(1.0, 1800.0));
        assert_eq!(
            shift.update(&canary, &stable, line, 1.0),
            Ok(Consumed::Judged)
        );
    }
    shift
}

#[test]
fn cuts_have_a_usable_share_above_them_and_are_at_most_twelve() {
    let cuts: Vec<f64> = shift(Direction::Harm, Margin::Line).cuts().collect();
    assert_eq!(cuts.len(), CUTS);
    assert!(
        cuts.iter().all(|cut| USABLE.contains(&(-cut).exp())),
        "{cuts:?}"
    );
    assert!(cuts.is_sorted_by(|a, b| a < b));
    let never = Histogram::new(&[9.0], &[100.0], 100.0).expect("sane");
    assert_eq!(
        Shift::new(Direction::Harm, Margin::Line, &never),
        Err(ShiftError::NoCut)
    );
    let empty = Histogram::new(&[9.0], &[0.0], 0.0).expect("sane");
    assert_eq!(
        Shift::new(Direction::Harm, Margin::Line, &empty),
        Err(ShiftError::NoCut)
    );
    let lone = Histogram::new(&[9.0], &[50.0], 100.0).expect("sane");
    assert_eq!(
        Shift::new(Direction::Harm, Margin::NextBucket, &lone),
        Err(ShiftError::NoCut)
    );
}

#[test]
fn a_slower_canary_is_found_and_the_cut_is_named() {
    let found = run(shift(Direction::Harm, Margin::Line), 1.3, EQUAL);
    assert!(found.rejects(0.01), "{}", found.log_e());
    let (cut, log_e) = found.decisive_cut().expect("cuts");
    assert!(
        log_e >= found.log_e(),
        "the average is no larger than the largest"
    );
    assert!(found.cuts().any(|other| other == cut));
    assert!(!run(shift(Direction::Harm, Margin::Line), 1.0, EQUAL).rejects(0.5));
}

#[test]
fn a_slowdown_within_a_bucket_is_no_harm_one_bucket_higher() {
    assert!(!run(shift(Direction::Harm, Margin::NextBucket), 1.25, EQUAL).rejects(0.5));
    assert!(run(shift(Direction::Harm, Margin::NextBucket), 2.0, EQUAL).rejects(0.01));
}

#[test]
fn success_wants_every_cut() {
    let line = Line {
        theta: 1.0,
        delta: 0.05,
    };
    let fine = run(
        run(shift(Direction::Success, Margin::Line), 1.0, line),
        1.0,
        line,
    );
    assert!(fine.rejects(0.05), "{}", fine.log_e());
    let (_, weakest) = fine.decisive_cut().expect("cuts");
    assert_eq!(fine.log_e(), weakest);
    assert!(!run(shift(Direction::Success, Margin::Line), 1.5, line).rejects(0.5));
}

#[test]
fn histograms_without_the_cuts_are_refused_and_change_nothing() {
    let mut shift = shift(Direction::Harm, Margin::Line);
    let before = shift.clone();
    let other = Histogram::new(&[0.5, 50.0], &[1.0, 2.0], 2.0).expect("sane");
    let stable = histogram(1.0, 10.0);
    assert_eq!(
        shift.update(&other, &stable, EQUAL, 1.0),
        Err(ShiftError::Histogram(HistogramError::Layouts))
    );
    assert!(shift.update(&stable, &stable, EQUAL, 0.0).is_err());
    assert_eq!(shift, before);
    let none = histogram(1.0, 0.0);
    assert_eq!(
        shift.update(&none, &stable, EQUAL, 1.0),
        Ok(Consumed::Carried)
    );
}

#[test]
fn a_checkpoint_restores_and_one_changed_by_hand_is_refused() {
    let shift = run(shift(Direction::Harm, Margin::Line), 1.1, EQUAL);
    let written = serde_json::to_value(&shift).expect("serializes");
    assert_eq!(
        serde_json::from_value::<Shift>(written.clone()).expect("restores"),
        shift
    );
    for (field, value, reason) in [
        ("cuts", serde_json::json!([]), "it has no cut"),
        ("direction", "success".into(), "another direction"),
        ("logEMax", (-1.0).into(), "below the evidence"),
    ] {
        let mut changed = written.clone();
        changed[field] = value;
        let said = serde_json::from_value::<Shift>(changed).expect_err("refused");
        assert!(said.to_string().contains(reason), "{said}");
    }
}
