//! What people ask for, and deadlines.

use super::*;

#[test]
fn an_abort_while_the_default_route_moves_brings_it_back() {
    let mut bench = Bench::new(&text());
    bench.healthy_until(at(Stage::DropHeader));
    assert_eq!(bench.state.default_route().route, "fraud-v8");
    bench.act(Do::Abort);
    assert_eq!((bench.phase(), bench.weight()), (Phase::RolledBack, 0.0));
    assert_eq!(bench.state.default_route().route, "fraud-v7");
    assert_eq!(bench.writes, Writes::Down);
    assert!(!bench.release().canary_is_live());
}

#[test]
fn a_pause_holds_the_weight_but_not_the_rollback() {
    let mut bench = Bench::new(&text());
    bench.act(Do::Pause);
    bench.ticks(60, (200, 0), (1800, 1));
    assert_eq!((bench.phase(), bench.weight()), (Phase::Paused, 10.0));
    assert_eq!(bench.waiting_for.as_deref(), Some("paused by ann: test"));
    let mut failing = Bench::new(&text());
    failing.act(Do::Pause);
    failing.ticks(20, (200, 40), (1800, 1));
    assert_eq!(failing.phase(), Phase::RolledBack);
    bench.act(Do::Resume);
    assert_eq!(
        bench.release().stage,
        Stage::Step(1),
        "evidence was counted all the while"
    );
}

#[test]
fn approval_is_waited_for_and_given_by_promote_alone() {
    let mut bench = Bench::new(&edited(
        "absolute: 0.5pp}}",
        "absolute: 0.5pp}, pause: {approval: true}}",
    ));
    bench.healthy_until(|bench| bench.phase() == Phase::Paused);
    bench.act(Do::Resume);
    assert_eq!(bench.phase(), Phase::Paused, "resume does not approve");
    bench.act(Do::Promote);
    bench.tick((200, 0), (1800, 1));
    assert_eq!(bench.release().stage, Stage::Step(1));
}

#[test]
fn a_timed_pause_is_waited_for() {
    let mut bench = Bench::new(&edited(
        "absolute: 0.5pp}}",
        "absolute: 0.5pp}, pause: {for: 5m}}",
    ));
    bench.ticks(140, (200, 0), (1800, 1));
    assert_eq!(
        bench.waiting_for.as_deref(),
        Some("the gate has passed; the step lasts at least 5m")
    );
    bench.healthy_until(at(Stage::Step(1)));
}

#[test]
fn promote_goes_one_step_on_without_evidence() {
    let mut bench = Bench::new(&text());
    bench.act(Do::Promote);
    assert_eq!(bench.release().stage, Stage::Step(1));
    assert!(
        bench.last().starts_with("promoted by ann: test"),
        "{}",
        bench.last()
    );
}

#[test]
fn an_action_is_consumed_once() {
    let mut bench = Bench::new(&text());
    let action = action("x", Do::Promote);
    bench.run(&[], &[action.clone(), action.clone()]);
    bench.run(&[], &[action]);
    assert_eq!(bench.release().stage, Stage::Step(1));
}

#[test]
fn a_deadline_does_what_it_says() {
    let with = |then: &str| {
        edited(
            "soak: 10s",
            &format!("soak: 10s\n      deadline: {{after: 1m, then: {then}}}"),
        )
    };
    let expire = |then: &str| {
        let mut bench = Bench::new(&with(then));
        bench.ticks(40, (0, 0), (0, 0));
        (bench.phase(), bench.release().stage)
    };
    assert_eq!(expire("hold"), (Phase::Paused, Stage::Step(0)));
    assert_eq!(expire("rollback").0, Phase::RolledBack);
    assert_eq!(expire("promote"), (Phase::Progressing, Stage::Step(1)));
}

#[test]
fn what_follows_an_abort_in_the_same_tick_does_not_undo_it() {
    let mut bench = Bench::new(&text());
    bench.run(
        &[],
        &[
            action("1", Do::Abort),
            action("2", Do::Promote),
            action("3", Do::Resume),
        ],
    );
    assert_eq!((bench.phase(), bench.weight()), (Phase::RolledBack, 0.0));
    assert_eq!(bench.writes, Writes::Down);
    bench.act(Do::Promote);
    assert_eq!((bench.phase(), bench.weight()), (Phase::RolledBack, 0.0));
    assert_eq!(
        bench.last(),
        "aborted by ann: test",
        "the last word on a release is how it ended"
    );
}

#[test]
fn one_promote_goes_one_step_even_if_more_gates_are_proven() {
    let mut bench = Bench::new(&text());
    bench.act(Do::Pause);
    bench.ticks(60, (200, 0), (1800, 1));
    assert!(bench.release().evidence.passed(&bench.source.plan, 2));
    bench.act(Do::Promote);
    assert_eq!(bench.release().stage, Stage::Step(1));
}

#[test]
fn a_promote_of_a_step_that_has_passed_is_no_second_one() {
    let mut bench = Bench::new(&text());
    let seen = Some(Stage::Step(0));
    let ann = Action {
        seen,
        ..action("ann", Do::Promote)
    };
    let bob = Action {
        seen,
        ..action("bob", Do::Promote)
    };
    bench.run(&[], &[ann, bob]);
    assert_eq!(bench.release().stage, Stage::Step(1));
    assert!(
        bench.last().contains("has passed already"),
        "{}",
        bench.last()
    );
}

#[test]
fn without_a_plan_people_are_answered_and_an_abort_aborts() {
    let mut bench = Bench::new(&text());
    let asked = [action("1", Do::Promote), action("2", Do::Abort)];
    let input = Input {
        now: bench.now,
        grid: grid(),
        cells: &[],
        proxies: Err("not asked"),
        generation: None,
        guards: &[],
        ready: None,
        actions: &asked,
        routes: ForeignRoutes::default(),
    };
    let transition = step(None, &bench.state, &input);
    bench.state = transition.next;
    assert_eq!(
        (bench.phase(), transition.writes),
        (Phase::RolledBack, Writes::Down)
    );
    assert_eq!(bench.state.consumed_actions, ["1", "2"]);
}

#[test]
fn the_last_action_is_answered_with_what_came_of_it() {
    let mut bench = Bench::new(&text());
    let answer = |bench: &Bench| bench.state.last_action.as_ref().unwrap().answer.clone();
    bench.act(Do::Pause);
    assert_eq!(answer(&bench), "paused by ann: test");
    bench.act(Do::Pause);
    assert_eq!(answer(&bench), "nothing to do: the release is Paused");
    assert_eq!(bench.state.last_action.as_ref().unwrap().what, Do::Pause);
}
