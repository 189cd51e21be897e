use std::time::Duration;

use super::engine::{Design, Ending};
use super::*;
use crate::cells::Grid;
use crate::fixtures::{edited, source, text};
use crate::source::Source;

/// Two hours of 6 000 requests a minute, 1 % of which fail.
fn conditions(source: &Source) -> Conditions<'_> {
    let cell = Duration::from_secs(30);
    Conditions {
        source,
        grid: Grid::new(cell, cell).unwrap(),
        traffic: Traffic {
            requests_per_minute: 6000.0,
            error_rate: 0.01,
            users: None,
            burst: 1.0,
        },
        cells: 240,
    }
}

fn run(conditions: &Conditions<'_>, truth: Truth, runs: u64) -> Summary {
    simulate(conditions, truth, runs, 1, || {}).unwrap()
}

fn pool(threads: usize) -> rayon::ThreadPool {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
    pool.build().unwrap()
}

#[test]
fn the_same_seed_gives_the_same_summary_on_any_number_of_threads() {
    let source = source(&text());
    let conditions = conditions(&source);
    let on = |threads, seed| {
        pool(threads).install(|| simulate(&conditions, Truth::Ratio(2.0), 40, seed, || {}).unwrap())
    };
    assert_eq!(on(1, 7), on(4, 7));
    assert_ne!(on(1, 7), on(1, 8));
}

#[test]
fn a_healthy_release_is_promoted_and_its_false_rollback_is_within_the_bound() {
    let source = source(&text());
    let summary = run(&conditions(&source), Truth::Ratio(1.0), 200);
    // 200 runs cannot show less than 1 %, but they show that it is not much more.
    assert!(summary.by_judge.share <= 0.01, "{summary:?}");
    assert!(summary.promoted.share.share > 0.8, "{summary:?}");
}

#[test]
fn a_release_on_the_last_gate_is_promoted_no_more_often_than_stated() {
    let source = source(&text());
    let summary = run(&conditions(&source), Truth::LastGate, 200);
    assert!(summary.promoted.share.share <= 0.05, "{summary:?}");
}

#[test]
fn an_outage_is_rolled_back_with_the_first_judged_cell() {
    let source = source(&text());
    let summary = run(&conditions(&source), Truth::Outage, 50);
    assert_eq!(summary.by_judge.count, 50);
    // The first cell is counted and the second judged; it is read one lag after its end.
    let seconds = summary.rolled_back.seconds.unwrap();
    assert_eq!((seconds.median, seconds.p90), (90.0, 90.0));
}

#[test]
fn a_guard_is_faster_than_the_judge() {
    let guarded = edited(
        "    falseRollback",
        "    guards: [{name: outage, errorRate: {above: 50%}}]\n    falseRollback",
    );
    let source = source(&guarded);
    let summary = run(&conditions(&source), Truth::Outage, 50);
    assert_eq!(summary.by_guard.count, 50);
    assert_eq!(summary.rolled_back.seconds.unwrap().p90, 30.0);
}

#[test]
fn more_errors_are_found_sooner_and_by_fewer_requests() {
    let source = source(&text());
    let conditions = conditions(&source);
    let requests = |ratio| {
        let summary = run(&conditions, Truth::Ratio(ratio), 60);
        assert!(
            summary.rolled_back.share.share > 0.9,
            "{ratio}: {summary:?}"
        );
        summary.rolled_back.canary_requests.unwrap().median
    };
    let (twice, five) = (requests(2.0), requests(5.0));
    assert!(five < twice, "{five} {twice}");
}

#[test]
fn a_deadline_that_rolls_back_is_not_put_down_to_the_judge() {
    let late = edited(
        "      soak: 10s\n",
        "      soak: 10s\n      deadline: {after: 2m, then: rollback}\n",
    );
    let source = source(&late);
    let summary = run(&conditions(&source), Truth::Ratio(1.0), 20);
    assert_eq!(summary.by_deadline.count, 20, "{summary:?}");
    let held = edited("      soak: 10s\n", "      deadline: {after: 2m}\n");
    let source = crate::fixtures::source(&held);
    assert_eq!(
        run(&conditions(&source), Truth::Ratio(1.0), 20).held.count,
        20
    );
}

#[test]
fn an_approval_holds_nothing_up() {
    let asked = edited(
        "gate: {ratio: 1.25, absolute: 0.2pp}",
        "gate: {ratio: 1.25, absolute: 0.2pp}, pause: {approval: true}",
    );
    let source = source(&asked);
    let course = trial(
        &conditions(&source),
        Truth::Ratio(0.5),
        &mut generator(1, 1),
    )
    .unwrap();
    assert_eq!(course.ending, Some(Ending::Promoted));
}

#[test]
fn bursts_cost_the_stated_error_rate_and_the_simulation_says_so() {
    let source = source(&text());
    let mut conditions = conditions(&source);
    let plain = run(&conditions, Truth::Tolerance, 60).by_judge;
    conditions.traffic.burst = 10.0;
    let burst = run(&conditions, Truth::Tolerance, 60).by_judge;
    assert!(burst.low > plain.high, "{plain:?} {burst:?}");
}

#[test]
fn users_exposed_are_at_most_the_bad_answers_and_the_users() {
    let source = source(&text());
    let mut conditions = conditions(&source);
    conditions.traffic.users = Some(Users {
        count: 1000,
        failing: 0.01,
        failing_rate: 0.5,
        zipf: 0.0,
    });
    for truth in [Truth::Ratio(1.0), Truth::Ratio(2.0), Truth::Outage] {
        let course = trial(&conditions, truth, &mut generator(1, 3)).unwrap();
        assert!(course.exposed > 0.0, "{course:?}");
        // On average over which users a request is of; five standard deviations of the bad ones.
        let bad = course.bad as f64;
        assert!(course.exposed <= bad + 5.0 * bad.sqrt(), "{course:?}");
        assert!(course.exposed <= 1000.0, "{course:?}");
    }
}

#[test]
fn a_design_has_the_levels_that_the_judge_uses() {
    let design = Design::of(&source(&text()).plan);
    let (harm, gate) = design.levels;
    assert!((harm - 0.005).abs() < 1e-12 && (gate - 0.025).abs() < 1e-12);
    assert_eq!(design.steps[1].0, 0.25);
    assert!(design.sticky);
}

#[test]
fn the_plan_by_formula_is_right_within_a_factor_of_two() {
    let source = source(&text().replace("      soak: 10s\n", ""));
    let mut conditions = conditions(&source);
    conditions.traffic.requests_per_minute = 600.0;
    conditions.cells = 2880;
    let design = Design::of(&source.plan);
    let planned = outlook(&design, 600.0, 0.01).to_promote().unwrap();
    let simulated = run(&conditions, Truth::Ratio(1.0), 40)
        .promoted
        .seconds
        .unwrap();
    let factor = planned.as_secs_f64() / simulated.median;
    assert!((0.5..2.0).contains(&factor), "{planned:?} {simulated:?}");
}
