//! Going up, to the end.

use super::*;

#[test]
fn a_healthy_release_goes_through_every_stage_and_becomes_live() {
    let mut bench = Bench::new(&text());
    let mut seen = vec![];
    for _ in 0..300 {
        let stage = bench.release().stage;
        if seen.last() != Some(&stage) {
            seen.push(stage);
        }
        if bench.phase() == Phase::Succeeded {
            break;
        }
        let canary = (20.0 * bench.weight()) as u64;
        bench.tick((canary, 0), (2000 - canary, 1));
    }
    assert_eq!(bench.phase(), Phase::Succeeded, "{:?}", bench.waiting_for);
    assert_eq!(
        seen,
        [
            Stage::Step(0),
            Stage::Step(1),
            Stage::Step(2),
            Stage::Soak,
            Stage::MoveDefault,
            Stage::DropHeader
        ]
    );
    assert_eq!(bench.state.live.version, "8");
    assert_eq!(bench.state.default_route().route, "fraud-v8");
}

#[test]
fn going_up_writes_the_state_before_the_weight() {
    let mut bench = Bench::new(&text());
    assert_eq!(
        bench.writes,
        Writes::Up,
        "the first weight is written after the state"
    );
    bench.healthy_until(at(Stage::Step(1)));
    assert_eq!(bench.writes, Writes::Up);
}

#[test]
fn requests_that_miss_their_cluster_block_going_up() {
    let mut bench = Bench::new(&text());
    bench.sampled = (10, 3);
    bench.ticks(60, (200, 0), (1800, 1));
    assert_eq!(bench.release().stage, Stage::Step(0));
    let reason = bench.waiting_for.clone().unwrap();
    assert!(reason.contains("'fraud-v8'"), "{reason}");
    bench.sampled = (10, 0);
    bench.tick((200, 0), (1800, 1));
    assert_eq!(bench.release().stage, Stage::Step(1));
}

#[test]
fn a_default_route_that_leads_elsewhere_brings_the_header_back() {
    let mut bench = Bench::new(&text());
    bench.healthy_until(at(Stage::DropHeader));
    bench.sampled = (10, 10);
    bench.tick((2000, 0), (0, 0));
    assert_eq!(bench.release().stage, Stage::MoveDefault);
    assert_eq!(
        bench.state.live.version, "7",
        "live does not change before the clusters agree"
    );
    bench.sampled = (10, 0);
    bench.tick((2000, 0), (0, 0));
    assert_eq!(
        bench.release().stage,
        Stage::MoveDefault,
        "it is not tried again at once"
    );
    bench.healthy_until(|bench| bench.phase() == Phase::Succeeded);
}

#[test]
fn the_release_is_not_over_before_the_default_route_was_sampled() {
    let mut bench = Bench::new(&text());
    bench.healthy_until(at(Stage::DropHeader));
    bench.sampled = (0, 0);
    bench.ticks(50, (2000, 0), (0, 0));
    assert_eq!(bench.phase(), Phase::Soaking);
    assert_eq!(
        bench.waiting_for.as_deref(),
        Some("waiting for a sampled request on the default route")
    );
}

#[test]
fn the_misrouting_of_a_small_canary_is_not_forgotten_for_stables_sake() {
    let mut bench = Bench::new(&text());
    let mut wrong = cell(FIRST, (20, 0), (1980, 1));
    (
        wrong.arms[0].sampled,
        wrong.arms[0].misrouted,
        wrong.stable.sampled,
    ) = (1, 1, 30);
    bench.next_cell += 1;
    bench.now += CELL;
    bench.run(&[wrong], &[]);
    bench.sampled = (0, 0);
    for _ in 0..100 {
        let mut unseen = cell(bench.next_cell, (200, 0), (1800, 1));
        unseen.stable.sampled = 30;
        bench.next_cell += 1;
        bench.now += CELL;
        bench.run(&[unseen], &[]);
    }
    assert_eq!(bench.release().stage, Stage::Step(0));
    let reason = bench.waiting_for.clone().unwrap();
    assert!(
        reason.starts_with("1 sampled requests of version 8 did not reach 'fraud-v8'"),
        "{reason}"
    );
}

#[test]
fn a_step_is_not_left_before_a_canary_request_was_looked_at() {
    let mut bench = Bench::new(&text());
    bench.sampled = (0, 0);
    bench.ticks(60, (200, 0), (1800, 1));
    assert_eq!(bench.release().stage, Stage::Step(0));
    assert!(
        bench
            .waiting_for
            .as_ref()
            .is_some_and(|reason| reason.contains("whose route was looked at"))
    );
}

#[test]
fn without_any_stable_request_there_is_no_limit_for_the_soak() {
    let mut bench = Bench::new(&text());
    for _ in 0..3 {
        bench.act(Do::Promote);
    }
    assert_eq!(bench.release().stage, Stage::Soak);
    assert_eq!(bench.release().evidence.canary.metrics[0].limit, None);
}

#[test]
fn what_was_last_seen_of_stable_does_not_block_the_soak() {
    let mut bench = Bench::new(&text());
    bench.healthy_until(at(Stage::Soak));
    let mut late = cell(bench.next_cell, (1000, 0), (1000, 1));
    (late.stable.sampled, late.stable.misrouted) = (5, 1);
    bench.next_cell += 1;
    bench.now += CELL;
    bench.run(&[late], &[]);
    bench.healthy_until(|bench| bench.phase() == Phase::Succeeded);
}
