//! Tests of several versions.

use super::*;
use crate::fixtures::{three_versions, with_strategy};

/// A test of two versions beside stable.
fn three(ending: &str) -> String {
    three_versions(&format!(
        "abTest: {{weights: {{canary: 30, other: 30}}, difference: 1pp, {ending}}}"
    ))
}

impl Bench {
    /// One tick with bad ones in 1000 requests of stable, canary and other, a request for each bucket.
    fn round(&mut self, bad: [u64; 3]) -> &mut Self {
        let share = |arm: u8, bad: u64| match self.release().table.share(arm) {
            0 => (0, 0),
            share => (u64::from(share), bad * u64::from(share) / 1000),
        };
        let [stable, canary, other] = [0, 1, 2].map(|arm| share(arm, bad[usize::from(arm)]));
        let mut it = cell(self.next_cell, canary, stable);
        it.arms
            .push(cell(self.next_cell, other, stable).arms.remove(0));
        it.arms.iter_mut().for_each(|arm| arm.sampled = 10);
        self.next_cell += 1;
        self.now += CELL;
        self.run(&[it], &[])
    }

    fn rounds(&mut self, count: u32, bad: [u64; 3]) -> &mut Self {
        for _ in 0..count {
            if self.release().outcome.is_none() {
                self.round(bad);
            }
        }
        self
    }
}

fn shares(bench: &Bench) -> [u16; 3] {
    [0, 1, 2].map(|arm| bench.release().table.share(arm))
}

#[test]
fn the_best_version_is_named_and_nobody_is_promoted() {
    let mut bench = Bench::new(&three("for: 14d"));
    assert_eq!(shares(&bench), [4000, 3000, 3000]);
    bench.rounds(100, [20, 20, 5]);
    assert_eq!(bench.release().outcome, Some(Outcome::Concluded));
    assert_eq!(bench.writes, Writes::Down);
    assert_eq!(bench.state.live.version, "7");
    assert_eq!(shares(&bench), [10_000, 0, 0]);
    assert_eq!(
        bench.last(),
        "other (version 9) is shown to be the best by errors (stable 2 %; canary 2 %; other 0.5 %)"
    );
}

#[test]
fn a_version_that_fails_is_out_and_the_others_go_on_to_an_answer() {
    let mut bench = Bench::new(&three("for: 14d"));
    while bench.release().stopped.is_empty() {
        bench.round([10, 100, 10]);
    }
    assert_eq!(bench.release().stopped, [1]);
    assert_eq!(shares(&bench), [7000, 0, 3000]);
    assert_eq!(
        (bench.writes, bench.phase()),
        (Writes::Down, Phase::Progressing)
    );
    assert!(
        bench.last().ends_with("; canary is out of the test"),
        "{}",
        bench.last()
    );
    // Stable and the other are alike, whatever the canary did.
    bench.rounds(200, [10, 0, 10]);
    assert_eq!(bench.release().outcome, Some(Outcome::Concluded));
    assert!(
        bench
            .last()
            .starts_with("no difference larger than 1 pp by errors")
            && bench.last().contains(", out of the test"),
        "{}",
        bench.last()
    );
}

#[test]
fn if_all_versions_fail_the_release_is_rolled_back() {
    let mut bench = Bench::new(&three("for: 14d"));
    bench.rounds(10, [10, 100, 100]);
    assert_eq!(bench.phase(), Phase::RolledBack);
    assert_eq!(shares(&bench), [10_000, 0, 0]);
}

#[test]
fn requests_that_went_astray_of_a_version_that_is_out_hold_nobody() {
    let mut bench = Bench::new(&three("for: 14d"));
    for _ in 0..3 {
        let mut it = cell(bench.next_cell, (1000, 100), (1000, 10));
        it.arms
            .push(cell(bench.next_cell, (1000, 10), (1000, 10)).arms.remove(0));
        (it.arms[0].sampled, it.arms[0].misrouted) = (10, 10);
        bench.next_cell += 1;
        bench.now += CELL;
        bench.run(&[it], &[]);
    }
    assert_eq!(bench.release().stopped, [1]);
    bench.rounds(200, [10, 0, 10]);
    assert_eq!(
        bench.release().outcome,
        Some(Outcome::Concluded),
        "{:?}",
        bench.waiting_for
    );
}

#[test]
fn a_test_ends_in_time_even_if_prometheus_does_not_answer() {
    let mut bench = Bench::new(&three("for: 1m"));
    bench.down = Some("connection refused");
    for _ in 0..40 {
        bench.now += CELL;
        bench.run(&[], &[]);
    }
    assert_eq!(bench.release().outcome, Some(Outcome::Concluded));
    assert!(
        bench
            .last()
            .starts_with("the test's time is over: no version is shown to be the best by errors"),
        "{}",
        bench.last()
    );
}

#[test]
fn a_test_that_somebody_paused_does_not_end_meanwhile() {
    let mut bench = Bench::new(&three("for: 1m"));
    bench.act(Do::Pause);
    bench.rounds(100, [10, 10, 10]);
    assert_eq!(bench.phase(), Phase::Paused);
}

#[test]
fn nobody_is_promoted_and_no_weight_is_set_in_a_test() {
    let mut bench = Bench::new(&three("for: 14d"));
    bench.act(Do::Skip);
    assert!(
        bench.last().contains("by its evidence or its date"),
        "{}",
        bench.last()
    );
    for what in [Do::Promote, Do::PromoteFull] {
        bench.act(what);
        assert!(bench.last().contains("promotes nobody"), "{}", bench.last());
    }
    let set = Action {
        weight: Some(50.0),
        ..action("w", Do::SetWeight)
    };
    bench.run(&[], &[set]);
    assert!(
        bench.last().contains("weights are fixed"),
        "{}",
        bench.last()
    );
    assert_eq!(shares(&bench), [4000, 3000, 3000]);
}

#[test]
fn the_winner_of_a_test_is_released_by_the_same_versions_with_another_strategy() {
    let mut bench = Bench::new(&with_strategy(
        "abTest: {weights: {canary: 30}, difference: 1pp, for: 1m}",
    ));
    assert_eq!(bench.last(), "version 8 is tested beside version 7");
    bench.ticks(100, (600, 0), (1400, 50));
    assert_eq!(bench.release().outcome, Some(Outcome::Concluded));
    bench.source = source(&text());
    bench.accept().unwrap();
    assert_eq!((bench.phase(), bench.weight()), (Phase::Progressing, 10.0));
    assert_eq!(bench.state.history[0].outcome, Some(Outcome::Concluded));
}
