//! Failing: the comparison, guards and `onFail`.

use super::*;

#[test]
fn a_bad_release_is_rolled_back_weight_first() {
    let mut bench = Bench::new(&text());
    for _ in 0..20 {
        bench.tick((200, 20), (1800, 2));
        if bench.phase() == Phase::RolledBack {
            break;
        }
    }
    assert_eq!(bench.phase(), Phase::RolledBack);
    assert_eq!(bench.writes, Writes::Down);
    assert_eq!(bench.weight(), 0.0);
    assert_eq!(bench.state.live.version, "7");
    assert!(
        bench
            .last()
            .contains("at most 1 in 100 healthy releases would look like this"),
        "{}",
        bench.last()
    );
}

#[test]
fn failure_is_decided_before_promotion_in_the_same_tick() {
    let mut bench = Bench::new(&text());
    bench.reported = 0;
    while !bench.release().evidence.passed(&bench.source.plan, 0) {
        bench.tick((200, 0), (1800, 1));
    }
    assert_eq!(
        bench.release().stage,
        Stage::Step(0),
        "only the proxy holds it back"
    );
    bench.reported = 1;
    bench.tick((2000, 1500), (2000, 1));
    assert_eq!(
        bench.phase(),
        Phase::RolledBack,
        "the gate has passed, and the canary has failed"
    );
}

#[test]
fn no_traffic_is_neither_success_nor_failure() {
    let mut bench = Bench::new(&text());
    bench.ticks(100, (0, 0), (0, 0));
    assert_eq!((bench.phase(), bench.weight()), (Phase::Progressing, 10.0));
    assert_eq!(
        bench.waiting_for.as_deref(),
        Some("the canary has had no request in the cells read so far")
    );
}

#[test]
fn a_canary_that_breaks_in_the_soak_is_rolled_back() {
    let mut bench = Bench::new(&edited("soak: 10s", "soak: 1h"));
    bench.healthy_until(at(Stage::Soak));
    for _ in 0..30 {
        bench.tick((2000, 60), (0, 0));
        if bench.phase() == Phase::RolledBack {
            break;
        }
    }
    assert_eq!(bench.phase(), Phase::RolledBack);
    assert_eq!(bench.state.default_route().route, "fraud-v7");
}

#[test]
fn a_guard_ends_the_release_if_several_groups_fail() {
    let guarded = edited(
        "falseRollback: 0.01",
        "falseRollback: 0.01\n    guards: [{name: outage, errorRate: {above: 50%}}]",
    );
    let mut bench = Bench::new(&guarded);
    bench.guard = GuardWindow {
        canary: Tally { total: 30, bad: 30 },
        bad_sources: 2,
    };
    bench.run(&[], &[]);
    assert_eq!(
        bench.phase(),
        Phase::Progressing,
        "one broken client does not end a release"
    );
    bench.guard.bad_sources = 3;
    bench.guard.canary.total = 19;
    bench.run(&[], &[]);
    assert_eq!(bench.phase(), Phase::Progressing, "too few requests");
    bench.guard.canary.total = 30;
    bench.run(&[], &[]);
    assert_eq!(bench.phase(), Phase::RolledBack);
    assert_eq!(
        bench.last(),
        "guard outage: 30 of 30 canary requests in the last 15s were bad, more than 50%"
    );
}

#[test]
fn on_fail_hold_lets_a_human_decide() {
    let mut bench = Bench::new(&edited(
        "falseRollback: 0.01",
        "falseRollback: 0.01\n    onFail: hold",
    ));
    bench.ticks(20, (200, 40), (1800, 1));
    assert_eq!((bench.phase(), bench.weight()), (Phase::Paused, 10.0));
    bench.act(Do::Resume);
    assert_eq!(bench.phase(), Phase::Progressing);
    bench.act(Do::Abort);
    assert_eq!(bench.phase(), Phase::RolledBack);
}

#[test]
fn on_fail_alert_says_it_once_and_goes_on() {
    let mut bench = Bench::new(&edited(
        "falseRollback: 0.01",
        "falseRollback: 0.01\n    onFail: alert",
    ));
    bench.ticks(20, (200, 40), (1800, 1));
    assert_eq!((bench.phase(), bench.weight()), (Phase::Progressing, 10.0));
    let alerts = bench
        .release()
        .records
        .iter()
        .filter(|record| record.message.contains("onFail: alert"))
        .count();
    assert_eq!(alerts, 1);
}

#[test]
fn a_deadline_does_not_overrule_a_person_or_a_failure() {
    let mut paused = Bench::new(&edited(
        "soak: 10s",
        "soak: 10s\n      deadline: {after: 1m, then: promote}",
    ));
    paused.act(Do::Pause);
    paused.ticks(60, (0, 0), (0, 0));
    assert_eq!(
        (paused.phase(), paused.release().stage),
        (Phase::Paused, Stage::Step(0))
    );
    let failing = edited("soak: 10s", "soak: 10s\n      deadline: {after: 1m}");
    let mut held = Bench::new(&failing.replace(
        "falseRollback: 0.01",
        "falseRollback: 0.01\n    onFail: hold",
    ));
    held.ticks(60, (200, 40), (1800, 1));
    assert_eq!(
        held.release().hold.as_ref().map(|hold| hold.reason),
        Some(HoldReason::Failure)
    );
}

#[test]
fn a_waived_comparison_does_not_disable_the_guards() {
    let guards = "falseRollback: 0.01\n    onFail: alert\n    guards: [{name: outage, errorRate: {above: 50%}}]";
    let mut bench = Bench::new(&edited("falseRollback: 0.01", guards));
    bench.ticks(20, (200, 40), (1800, 1));
    assert!(bench.release().comparison_waived);
    bench.source = source(&edited(
        "falseRollback: 0.01",
        &guards.replace("alert", "rollback"),
    ));
    bench.accept().unwrap();
    bench.guard = GuardWindow {
        canary: Tally { total: 30, bad: 30 },
        bad_sources: 3,
    };
    bench.run(&[], &[]);
    assert_eq!(bench.phase(), Phase::RolledBack);
}

#[test]
fn a_guard_does_not_reach_back_into_an_earlier_attempt() {
    let guarded = edited(
        "falseRollback: 0.01",
        "falseRollback: 0.01\n    guards: [{name: outage, errorRate: {above: 50%}}]",
    );
    let mut bench = Bench::new(&guarded);
    bench.guard = GuardWindow {
        canary: Tally { total: 30, bad: 30 },
        bad_sources: 3,
    };
    bench.run(&[], &[]);
    assert_eq!(bench.phase(), Phase::RolledBack);
    bench.source = source(&guarded.replace("salt: fraud-8", "salt: fraud-8-again"));
    bench.accept().unwrap();
    bench.run(&[], &[]);
    assert_eq!(
        bench.phase(),
        Phase::Progressing,
        "those were the requests of the attempt before"
    );
    bench.now += Duration::from_secs(16);
    bench.run(&[], &[]);
    assert_eq!(bench.phase(), Phase::RolledBack, "these are its own");
}

#[test]
fn going_on_after_a_guard_does_not_waive_the_comparison() {
    let guards = "falseRollback: 0.01\n    onFail: hold\n    guards: [{name: outage, errorRate: {above: 50%}}]";
    let mut bench = Bench::new(&edited("falseRollback: 0.01", guards));
    bench.guard = GuardWindow {
        canary: Tally { total: 30, bad: 30 },
        bad_sources: 3,
    };
    bench.run(&[], &[]);
    assert_eq!(bench.phase(), Phase::Paused);
    bench.guard = GuardWindow::default();
    bench.act(Do::Resume);
    assert_eq!(bench.phase(), Phase::Progressing);
    bench.ticks(20, (200, 40), (1800, 1));
    assert_eq!(
        bench.phase(),
        Phase::Paused,
        "the comparison has its own say"
    );
}

#[test]
fn an_alert_that_becomes_a_rollback_rolls_back() {
    let mut bench = Bench::new(&edited(
        "falseRollback: 0.01",
        "falseRollback: 0.01\n    onFail: alert",
    ));
    bench.ticks(20, (200, 40), (1800, 1));
    assert_eq!(bench.phase(), Phase::Progressing);
    bench.source = source(&text());
    bench.accept().unwrap();
    bench.tick((200, 40), (1800, 1));
    assert_eq!(bench.phase(), Phase::RolledBack);
}

#[test]
fn the_limit_of_the_soak_waits_for_cells_that_are_still_unread() {
    let mut bench = Bench::new(&text());
    for _ in 0..3 {
        bench.act(Do::Promote);
    }
    assert_eq!(
        (
            bench.release().stage,
            bench.release().evidence.canary.metrics[0].limit
        ),
        (Stage::Soak, None)
    );
    // The last cells of the comparison come late.
    bench.tick((200, 0), (1800, 9)).tick((200, 0), (1800, 9));
    let limit = bench.release().evidence.canary.metrics[0].limit.unwrap();
    assert!((limit - (1.25 * 0.005 + 0.002)).abs() < 1e-12, "{limit}");
}
