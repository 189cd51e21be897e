use super::*;
use crate::fixtures::{cell, edited, grid, source, text};
use crate::rollout::Phase;

fn interval(canary: (u64, u64), stable: (u64, u64), index: i64) -> Interval {
    let cell = cell(index, canary, stable);
    Interval {
        canary: cell.arms[0].clone().into(),
        stable: cell.stable.into(),
    }
}

#[test]
fn a_cell_is_judged_when_its_lag_is_over() {
    let source = source(&text());
    let mut engine = Engine::begin(&source, grid(), 100).unwrap();
    let requests = |engine: &Engine<'_>| {
        engine
            .state
            .release
            .as_ref()
            .unwrap()
            .evidence
            .canary
            .requests
            .total
    };
    engine.pass(&interval((10, 0), (90, 0), 100));
    assert_eq!(requests(&engine), 0);
    engine.pass(&interval((20, 0), (80, 0), 101));
    assert_eq!(requests(&engine), 10);
    assert_eq!(engine.now(), grid().begin(102));
}

#[test]
fn a_guard_looks_at_the_cells_that_cover_its_window_and_at_no_others() {
    let guarded = edited(
        "    falseRollback",
        "    guards: [{name: outage, errorRate: {above: 50%}, over: 3s}]\n    falseRollback",
    );
    let source = source(&guarded);
    let mut engine = Engine::begin(&source, grid(), 100).unwrap();
    // Three seconds are covered by two cells of two seconds.
    engine.pass(&interval((40, 40), (90, 0), 100));
    assert_eq!(engine.ending(), Some(Ending::Stopped(By::Guard)));
    let mut engine = Engine::begin(&source, grid(), 100).unwrap();
    engine.pass(&interval((10, 10), (90, 0), 100));
    engine.pass(&interval((0, 0), (90, 0), 101));
    engine.pass(&interval((10, 10), (90, 0), 102));
    assert_eq!(engine.ending(), None);
}

#[test]
fn a_release_goes_through_every_step_and_ends_live() {
    let source = source(&text());
    let mut engine = Engine::begin(&source, grid(), 100).unwrap();
    let mut weights = vec![];
    for index in 100..400 {
        let share = engine.canary_share();
        if weights.last() != Some(&share) {
            weights.push(share);
        }
        let canary = (20_000.0 * share) as u64;
        engine.pass(&interval(
            (canary, canary / 1000),
            (20_000 - canary, 20),
            index,
        ));
        if engine.ending().is_some() {
            break;
        }
    }
    assert_eq!(engine.ending(), Some(Ending::Promoted));
    assert_eq!(weights, [0.1, 0.25, 0.5, 1.0]);
    assert_eq!(engine.records().last().unwrap().phase, Phase::Succeeded);
}

#[test]
fn a_grid_that_does_not_fit_is_refused() {
    let source = source(&edited(
        "    falseRollback",
        "    interval: 3s\n    falseRollback",
    ));
    assert!(matches!(
        Engine::begin(&source, grid(), 0),
        Err(Refusal::Interval { .. })
    ));
}
