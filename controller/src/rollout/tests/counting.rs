//! Evidence and the data plane: what is counted, and what holds a rollout.

use super::*;

#[test]
fn a_step_is_not_left_before_every_proxy_reports_the_generation() {
    let mut bench = Bench::new(&text());
    bench.generation = 5;
    bench.reported = 4;
    bench.ticks(60, (200, 0), (1800, 1));
    assert_eq!(bench.release().stage, Stage::Step(0));
    assert_eq!(
        bench.waiting_for.as_deref(),
        Some("0 of 1 proxies run generation 5; waiting for a")
    );
    bench.reported = 5;
    // One cell ends the doubt about the proxies, the next one is all about the new weight.
    bench.tick((200, 0), (1800, 1)).tick((200, 0), (1800, 1));
    assert_eq!(
        bench.release().stage,
        Stage::Step(1),
        "evidence was counted all the while"
    );
}

#[test]
fn nothing_goes_up_while_cells_are_unread() {
    let mut bench = Bench::new(&text());
    let healthy: Vec<_> = (FIRST..FIRST + 60)
        .map(|index| cell(index, (200, 0), (1800, 1)))
        .collect();
    bench.now = grid().end(FIRST + 65);
    bench.run(&healthy, &[]);
    assert_eq!(
        bench.release().stage,
        Stage::Step(0),
        "the five cells to come may be bad news"
    );
    assert_eq!(
        bench.waiting_for.as_deref(),
        Some("catching up: 5 cells are still to be counted")
    );
    let bad: Vec<_> = (FIRST + 60..FIRST + 65)
        .map(|index| cell(index, (200, 100), (1800, 1)))
        .collect();
    bench.run(&bad, &[]);
    assert_eq!(bench.phase(), Phase::RolledBack);
}

#[test]
fn a_cell_is_consumed_exactly_once() {
    let mut bench = Bench::new(&text());
    let cells: Vec<_> = (FIRST..FIRST + 5)
        .map(|index| cell(index, (200, 0), (1800, 1)))
        .collect();
    bench.run(&cells, &[]);
    let once = bench.release().evidence.clone();
    assert_eq!(once.canary.requests.total, 1000);
    bench.run(&cells, &[]);
    assert_eq!(
        bench.release().evidence,
        once,
        "the same cells again change nothing"
    );
    let gap = cell(FIRST + 6, (200, 0), (1800, 1));
    bench.run(&[gap], &[]);
    assert_eq!(
        bench.release().evidence,
        once,
        "a cell out of order waits for the one before"
    );
}

#[test]
fn without_prometheus_the_weight_holds_and_nothing_is_rolled_back() {
    let mut bench = Bench::new(&text());
    bench.tick((200, 0), (1800, 1)).down = Some("connection refused");
    for _ in 0..100 {
        bench.now += CELL;
        bench.run(&[], &[]);
        assert_eq!((bench.phase(), bench.weight()), (Phase::Progressing, 10.0));
        assert_eq!(bench.writes, Writes::Nothing);
    }
    assert_eq!(
        bench.waiting_for.as_deref(),
        Some("Prometheus does not answer: connection refused")
    );
    bench.down = None;
    // What Prometheus says of an outage in which it scraped nothing.
    let missed: Vec<_> = (0..100)
        .map(|ahead| cell(bench.next_cell + ahead, (0, 0), (0, 0)))
        .collect();
    bench.next_cell += 100;
    bench.run(&missed, &[]);
    bench.healthy_until(at(Stage::Step(1)));
}

#[test]
fn verdicts_come_at_the_interval() {
    let mut bench = Bench::new(&edited(
        "falseRollback: 0.01",
        "falseRollback: 0.01\n    interval: 20s",
    ));
    let mut ended = Vec::new();
    for _ in 0..20 {
        bench.tick((200, 100), (1800, 1));
        if bench.phase() == Phase::RolledBack {
            ended.push(bench.next_cell);
            break;
        }
    }
    assert_eq!(
        ended,
        [110],
        "every tenth cell, although the evidence was there before"
    );
}

#[test]
fn a_restart_from_a_checkpoint_reaches_the_same_evidence() {
    let mut steady = Bench::new(&text());
    let cells: Vec<_> = (0..8)
        .map(|i| cell(FIRST + i, (200, u64::from(i == 5)), (1800, 1)))
        .collect();
    steady.run(&cells[..3], &[]);
    let checkpoint = serde_json::to_string(&steady.state).unwrap();
    steady.run(&cells[3..], &[]);
    let mut restarted = Bench::new(&text());
    restarted.state = serde_json::from_str(&checkpoint).unwrap();
    restarted.run(&cells, &[]);
    assert_eq!(restarted.release().evidence, steady.release().evidence);
}
