use std::fmt::Write as _;

use super::*;
use crate::api::OnFail;
use crate::fixtures::{before, cell, edited, grid, source, text};
use crate::observation::{Cell, Proxy};
use crate::rollout::{ForeignRoutes, Input, RolloutState, SplitWatch, accept, step};
use crate::simulate::engine::{By, Names};

const FIRST: i64 = 100;

/// (requests, bad) of canary and stable, cell by cell, of a release that is healthy for a while.
fn course(cells: i64, breaks_at: i64) -> impl Iterator<Item = Cell> {
    (0..cells).map(move |i| {
        let bad = if i < breaks_at { 1 } else { 60 };
        cell(FIRST + i, (1000, bad), (1000, 1))
    })
}

fn csv(cells: impl Iterator<Item = Cell>) -> String {
    let mut csv = "cell,variant,group,total,bad\n".to_owned();
    for cell in cells {
        for (variant, arm) in [("canary", &cell.arms[0]), ("stable", &cell.stable)] {
            for (group, tally) in arm.requests.groups.iter().enumerate() {
                let (index, total, bad) = (cell.index, tally.total, tally.bad);
                let _ = writeln!(csv, "{index},{variant},{group},{total},{bad}");
            }
        }
    }
    csv
}

/// The state machine as its driver feeds it: a cell is read when its lag is over.
fn live(source: &Source, cells: impl Iterator<Item = Cell>) -> RolloutState {
    let plan = &source.plan;
    let begin = grid().begin(FIRST);
    let (mut state, _) = accept(plan, &source.rollout, &before(plan), begin, grid()).unwrap();
    // A recording does not say which weights its counts were drawn by.
    state.release.as_mut().unwrap().split = SplitWatch::off();
    let proxies = [Proxy {
        target: "a".to_owned(),
        namespace: None,
        up: true,
        generation: Some(1),
        invalid: false,
    }];
    // One cell passes before the first can be read.
    let mut now = grid().begin(FIRST + 1);
    let mut tick = |state: &RolloutState, cells: &[Cell]| {
        let input = Input {
            now,
            grid: grid(),
            cells,
            proxies: Ok(&proxies),
            generation: Some(1),
            guards: &[],
            ready: None,
            actions: &[],
            routes: ForeignRoutes::default(),
        };
        now += grid().cell();
        step(Some(plan), state, &input).next
    };
    state = tick(&state, &[]);
    for mut cell in cells {
        (cell.arms[0].sampled, cell.stable.sampled) = (1, 1);
        state = tick(&state, &[cell]);
    }
    state
}

#[track_caller]
fn check(source: &Source, breaks_at: i64) -> Replay {
    let names = Names::of(&source.plan);
    let recording = read_csv("x.csv", &csv(course(60, breaks_at)), &names, grid()).unwrap();
    let replay = replay(source, grid(), &recording, false).unwrap();
    let live = live(source, course(60, breaks_at)).release.unwrap();
    assert_eq!(replay.records, live.records);
    assert!(replay.records.len() > 1, "{:?}", replay.records);
    replay
}

#[test]
fn a_csv_gives_the_records_of_a_live_state_machine_that_reads_the_same_cells() {
    let source = source(&text());
    let healthy = check(&source, 60);
    assert_eq!(healthy.ending, Some(Ending::Promoted));
    assert!(healthy.cells_after > 0);
    let broken = check(&source, 6);
    assert_eq!(broken.ending, Some(Ending::Stopped(By::Judge)));
    let last = broken.records.last().unwrap();
    assert!(last.message.contains("canary errors"), "{}", last.message);
    assert_eq!(broken.end, last.at);
}

#[test]
fn a_release_that_is_held_for_a_failure_ends_as_it_does_live() {
    let source = source(&edited(
        "    falseRollback",
        "    onFail: hold\n    falseRollback",
    ));
    assert_eq!(source.plan.on_fail, OnFail::Hold);
    assert_eq!(check(&source, 6).ending, Some(Ending::Stopped(By::Judge)));
}

#[test]
fn a_recording_that_ends_early_says_how_far_the_evidence_is() {
    let source = source(&text());
    let names = Names::of(&source.plan);
    let recording = read_csv("x.csv", &csv(course(3, 60)), &names, grid()).unwrap();
    let replay = replay(&source, grid(), &recording, true).unwrap();
    assert_eq!(replay.ending, None);
    let spoken = replay.verdict.unwrap();
    assert!(
        spoken
            .sentence
            .contains("of the evidence that the gate wants"),
        "{}",
        spoken.sentence
    );
    // The last cell is read one cell after its end, and every cell has had its verdict.
    assert_eq!(replay.verdicts.len(), 4);
    assert_eq!(replay.end, grid().begin(FIRST + 4));
}

#[test]
fn a_gap_is_no_requests_and_is_said() {
    let source = source(&text());
    let names = Names::of(&source.plan);
    let with_gap = course(8, 60).filter(|cell| ![103, 104].contains(&cell.index));
    let recording = read_csv("x.csv", &csv(with_gap), &names, grid()).unwrap();
    let gap = replay(&source, grid(), &recording, false).unwrap();
    assert_eq!((gap.cells, gap.empty_cells), (8, 2));
}

#[test]
fn a_recording_that_cannot_be_replayed_is_refused() {
    let source = source(&text());
    let none = Recording::new();
    assert_eq!(
        replay(&source, grid(), &none, false),
        Err(ReplayError::Empty)
    );
    let far = [(0, Interval::default()), (MAX_CELLS, Interval::default())];
    let far = replay(&source, grid(), &far.into_iter().collect(), false);
    let said = far.unwrap_err().to_string();
    assert!(said.contains("check its times"), "{said}");
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_was_counted_a_replay_ends_with_finite_numbers(
        cells in proptest::collection::vec(
            [(0..=1u64 << 53, 0.0..=1.0f64), (0..=1u64 << 53, 0.0..=1.0f64)],
            1..12,
        ),
    ) {
        let source = source(&text());
        let arm = |(total, share): (u64, f64)| {
            let bad = ((total as f64 * share) as u64).min(total);
            let mut arm = crate::simulate::engine::Arm::default();
            arm.groups[3] = crate::observation::Tally { total, bad };
            arm.ungrouped = arm.groups[3];
            arm.fused[16] = total;
            arm
        };
        let recording: Recording = (0..)
            .zip(&cells)
            .map(|(index, [canary, stable])| {
                let (canary, stable) = (arm(*canary), arm(*stable));
                (index, Interval { canary, stable })
            })
            .collect();
        let found = replay(&source, grid(), &recording, true).unwrap();
        // JSON has no NaN and no infinity: they would be null.
        let json = serde_json::to_value(&found).unwrap();
        for spoken in json["verdicts"].as_array().unwrap() {
            proptest::prop_assert!(spoken["weight"].is_number(), "{spoken}");
        }
        let sentences: Vec<_> = found.verdicts.iter().map(|spoken| &spoken.sentence).collect();
        let finite = sentences.iter().all(|said| !said.contains("NaN") && !said.contains("inf"));
        proptest::prop_assert!(finite, "{sentences:?}");
    }
}
