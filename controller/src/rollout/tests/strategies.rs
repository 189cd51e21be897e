//! What people do to the other strategies, and what an edit from one to another does.

use super::*;
use crate::fixtures::with_strategy;

fn with(strategy: &str) -> String {
    with_strategy(strategy).replace("  strategy:\n", "  rollbackWindow: 1h\n  strategy:\n")
}

const MANUAL: &str = "manual: {weight: 5, soak: 10s}";
const SHADOW: &str = "shadow: {sample: 10%, gate: {ratio: 1.5, absolute: 0.3pp}}";
const BLUE_GREEN: &str = "blueGreen: {soak: 10s}";
const TEST: &str = "abTest: {weights: {canary: 30}, difference: 1pp, for: 1h}";

impl Bench {
    fn set(&mut self, weight: f64) -> &mut Self {
        self.actions += 1;
        let action = Action {
            weight: Some(weight),
            ..action(&self.actions.to_string(), Do::SetWeight)
        };
        self.run(&[], &[action])
    }
}

#[test]
fn a_weight_set_by_hand_stands_until_the_release_is_resumed() {
    let mut bench = Bench::new(&text());
    bench.set(40.0);
    assert_eq!(
        (bench.phase(), bench.weight(), bench.writes),
        (Phase::Paused, 40.0, Writes::Up)
    );
    bench.ticks(60, (800, 0), (1200, 1));
    assert_eq!(
        (bench.release().stage, bench.weight()),
        (Stage::Step(0), 40.0)
    );
    // An edit of the steps does not move what a person has set.
    bench.source = source(&edited("weight: 10,", "weight: 12,"));
    bench.accept().unwrap();
    assert_eq!(bench.weight(), 40.0);
    bench.act(Do::Resume);
    assert_eq!((bench.weight(), bench.writes), (12.0, Writes::Down));
}

#[test]
fn no_weight_set_by_hand_is_everybody() {
    let mut bench = Bench::new(&text());
    for weight in [100.0, 99.999, -0.5, f64::NAN, f64::INFINITY] {
        bench.set(weight);
        assert_eq!(
            (bench.weight(), bench.phase()),
            (10.0, Phase::Progressing),
            "{weight}"
        );
        assert!(bench.last().contains("promote --full"), "{}", bench.last());
    }
    bench.set(99.99);
    assert_eq!(bench.weight(), 99.99);
}

#[test]
fn after_the_switch_no_weight_can_be_set() {
    let mut bench = Bench::new(&text());
    bench.act(Do::PromoteFull);
    bench.set(50.0);
    assert_eq!(
        (bench.release().stage, bench.weight()),
        (Stage::Soak, 100.0)
    );
    assert!(
        bench.last().contains("abort takes it back"),
        "{}",
        bench.last()
    );
}

#[test]
fn a_skip_ends_a_pause_but_wants_the_evidence() {
    let mut bench = Bench::new(&edited(
        "absolute: 0.5pp}}",
        "absolute: 0.5pp}, pause: {for: 1h, approval: true}}",
    ));
    bench.act(Do::Skip);
    bench.tick((200, 0), (1800, 1));
    assert_eq!(
        bench.release().stage,
        Stage::Step(0),
        "the gate is not skipped"
    );
    bench.healthy_until(at(Stage::Step(1)));
    assert!(!bench.release().skipped, "the next stage waits again");
}

#[test]
fn promote_full_gives_everybody_at_once_and_the_handover_follows() {
    let mut bench = Bench::new(&text());
    bench.act(Do::PromoteFull);
    assert_eq!(
        (bench.release().stage, bench.weight()),
        (Stage::Soak, 100.0)
    );
    assert_eq!(bench.state.default_route().route, "fraud-v7");
    bench.healthy_until(|bench| bench.phase() == Phase::Succeeded);
}

#[test]
fn a_retry_begins_at_the_first_step_with_evidence_of_its_own() {
    let mut bench = Bench::new(&text());
    bench.act(Do::Retry);
    assert_eq!(bench.state.history.len(), 0, "nothing to try again yet");
    bench.ticks(20, (200, 40), (1800, 1));
    assert_eq!(bench.phase(), Phase::RolledBack);
    bench.act(Do::Retry);
    assert_eq!(
        (bench.phase(), bench.weight(), bench.writes),
        (Phase::Progressing, 10.0, Writes::Up)
    );
    assert_eq!(bench.release().evidence.canary.requests.total, 0);
    assert_eq!(bench.last(), "tried again by ann: test");
    assert_eq!(bench.state.history[0].outcome, Some(Outcome::RolledBack));
}

#[test]
fn the_weight_that_people_set_in_a_manual_release_outlives_a_pause() {
    let mut bench = Bench::new(&with(MANUAL));
    assert_eq!(bench.weight(), 5.0);
    bench.set(30.0);
    assert_eq!((bench.phase(), bench.weight()), (Phase::Progressing, 30.0));
    bench.act(Do::Pause).act(Do::Resume);
    assert_eq!((bench.phase(), bench.weight()), (Phase::Progressing, 30.0));
    bench.ticks(60, (600, 0), (1400, 1));
    assert_eq!(
        (bench.release().stage, bench.weight()),
        (Stage::Step(0), 30.0)
    );
    bench.act(Do::Promote);
    assert_eq!(bench.release().stage, Stage::Soak);
}

#[test]
fn a_manual_release_that_fails_is_rolled_back() {
    let mut bench = Bench::new(&with(MANUAL));
    bench.ticks(20, (100, 30), (1900, 1));
    assert_eq!(bench.phase(), Phase::RolledBack);
}

#[test]
fn a_preview_sends_nobody_until_it_is_approved() {
    let mut bench = Bench::new(&with(BLUE_GREEN));
    bench.ticks(100, (0, 0), (2000, 1));
    assert_eq!((bench.phase(), bench.weight()), (Phase::Paused, 0.0));
    bench.act(Do::Resume);
    bench.ticks(3, (0, 0), (2000, 1));
    assert_eq!(bench.weight(), 0.0, "resume does not approve");
    bench.act(Do::Promote);
    assert_eq!(
        (bench.release().stage, bench.weight()),
        (Stage::Soak, 100.0)
    );
    bench.ticks(20, (2000, 100), (0, 0));
    assert_eq!(
        (bench.phase(), bench.state.default_route().route.as_str()),
        (Phase::RolledBack, "fraud-v7")
    );
}

#[test]
fn copies_are_judged_and_nobody_is_moved() {
    let mut bench = Bench::new(&with(SHADOW));
    bench.act(Do::PromoteFull);
    assert!(bench.last().contains("promotes nobody"), "{}", bench.last());
    for _ in 0..100 {
        assert_eq!(bench.weight(), 0.0);
        bench.tick((200, 0), (2000, 2));
    }
    assert_eq!(bench.release().outcome, Some(Outcome::Concluded));
    assert_eq!(bench.state.live.version, "7");
    assert!(
        bench
            .last()
            .starts_with("on copies, canary errors 0 % vs 0.1 %: shown to be below"),
        "{}",
        bench.last()
    );
}

#[test]
fn a_soak_that_becomes_a_test_has_the_weights_of_the_test() {
    for (strategy, weight) in [(TEST, 30.0), (SHADOW, 0.0)] {
        let mut bench = Bench::new(&with(MANUAL));
        bench.act(Do::PromoteFull);
        bench.source = source(&with(strategy));
        bench.accept().unwrap();
        assert_eq!(
            (bench.release().stage, bench.weight()),
            (Stage::Step(0), weight)
        );
        assert_eq!(bench.writes, Writes::Down);
    }
}

#[test]
fn what_users_met_says_nothing_of_copies() {
    let mut bench = Bench::new(&with(MANUAL));
    bench.ticks(20, (200, 0), (1800, 1));
    bench.source = source(&with(SHADOW));
    bench.accept().unwrap();
    assert_eq!(bench.release().evidence.canary.requests.total, 0);
    assert_eq!(bench.release().first_cell, grid().first_after(bench.now));
    assert!(
        bench.last().ends_with("its evidence begins anew"),
        "{}",
        bench.last()
    );
}

#[test]
fn a_version_that_came_back_and_failed_does_not_come_back_at_once_again() {
    let mut bench = Bench::new(&with(MANUAL));
    bench.act(Do::PromoteFull);
    bench.healthy_until(|bench| bench.phase() == Phase::Succeeded);
    // The two versions change places.
    let [seven, eight] =
        ["7", "8"].map(|it| format!("version: \"{it}\", route: {{cluster: fraud-v{it}}}"));
    let back = with(MANUAL)
        .replace(&seven, "?")
        .replace(&eight, &seven)
        .replace('?', &eight);
    bench.source = source(&back);
    bench.accept().unwrap();
    assert_eq!(
        (bench.release().stage, bench.weight()),
        (Stage::Soak, 100.0)
    );
    assert!(
        bench.last().contains("as rollbackWindow says"),
        "{}",
        bench.last()
    );
    bench.act(Do::Abort).act(Do::Retry);
    assert_eq!(
        (bench.release().stage, bench.weight()),
        (Stage::Step(0), 5.0)
    );
}

#[test]
fn windows_that_nobody_has_read_do_not_hide_the_comparison() {
    let bench = Bench::new(&text());
    let cells: Vec<_> = (FIRST..FIRST + 20)
        .map(|index| cell(index, (200, 40), (1800, 1)))
        .collect();
    let input = Input {
        now: grid().end(FIRST + 20),
        grid: grid(),
        cells: &cells,
        proxies: Err("not asked"),
        generation: None,
        guards: &[],
        ready: None,
        actions: &[],
        routes: ForeignRoutes::default(),
    };
    let transition = step(Some(&bench.source.plan), &bench.state, &input);
    assert_eq!(transition.next.release.unwrap().phase(), Phase::RolledBack);
}
