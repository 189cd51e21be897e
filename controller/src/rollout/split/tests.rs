mod chance;

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::fixtures::{cell, text};
use crate::observation::Tally;
use crate::rollout::tests::Bench;
use crate::rollout::{Do, Phase, Stage, Writes};

const VERSIONS: [&str; 3] = ["7", "8", "9"];

fn since() -> Timestamp {
    Timestamp::UNIX_EPOCH
}

/// Requests without a key, by version.
fn keyless(totals: &[u64]) -> Cell {
    let arm = |total: &u64| {
        let mut arm = ArmCounts::default();
        arm.requests.ungrouped = Tally {
            total: *total,
            bad: 0,
        };
        arm
    };
    let mut arms: Vec<_> = totals.iter().map(arm).collect();
    let stable = arms.remove(0);
    Cell {
        index: 0,
        stable,
        arms,
    }
}

/// Requests in all until the alarm, in cells that are all alike.
fn found_after(weights: &[u16], cell: &Cell) -> Option<u64> {
    let mut watch = SplitWatch::default();
    let arms = std::iter::once(&cell.stable).chain(&cell.arms);
    let all: u64 = sum(&arms.map(requests).collect::<Vec<_>>()).iter().sum();
    (1..=2000).find_map(|cells| {
        watch.consume(since(), weights, cell);
        watch.is_alarmed().then_some(cells * all)
    })
}

#[test]
fn half_of_the_weight_is_found_within_1_000_requests_without_a_key() {
    let found = found_after(&[9000, 1000], &keyless(&[95, 5])).unwrap();
    assert!(found <= 1_000, "{found}");
    let twice = found_after(&[9000, 1000], &keyless(&[80, 20])).unwrap();
    assert!(twice <= 500, "{twice}");
}

#[test]
fn a_share_within_a_tenth_of_the_weight_is_none() {
    for canary in [91, 100, 109] {
        let cell = keyless(&[1000 - canary, canary]);
        assert_eq!(found_after(&[9000, 1000], &cell), None, "{canary}");
    }
    let cell = cell(0, (91, 0), (909, 0));
    assert_eq!(found_after(&[9000, 1000], &cell), None);
}

#[test]
fn a_version_without_any_request_is_found_after_three_cells() {
    for nothing in [keyless(&[150, 0]), cell(0, (0, 0), (150, 0))] {
        let mut watch = SplitWatch::default();
        // As it should be, for a long time.
        for _ in 0..1000 {
            watch.consume(since(), &[9000, 1000], &keyless(&[90, 10]));
        }
        let mut cells = 0;
        while !watch.is_alarmed() {
            watch.consume(since(), &[9000, 1000], &nothing);
            cells += 1;
        }
        assert_eq!(cells, IDLE_CELLS);
        let said = watch.objection(&VERSIONS).unwrap();
        assert!(
            said.starts_with("version 8 got 0.00 % of 450 requests"),
            "{said}"
        );
    }
}

#[test]
fn cells_without_any_request_say_nothing_of_the_split() {
    let mut watch = SplitWatch::default();
    for _ in 0..1000 {
        watch.consume(since(), &[9000, 1000], &keyless(&[0, 0]));
    }
    let (status, said) = watch.verdict(&VERSIONS, Some(since()));
    assert_eq!(status, None, "{said}");
}

#[test]
fn requests_that_a_fuse_sent_home_were_split_as_well() {
    let mut cell = keyless(&[90, 4]);
    cell.arms[0].fused[GROUP_COUNT] = 6;
    assert_eq!(found_after(&[9000, 1000], &cell), None);
    cell.arms[0].fused[GROUP_COUNT] = 0;
    assert!(found_after(&[9000, 1000], &cell).is_some());
}

#[test]
fn of_several_versions_each_is_tested() {
    let thirds = [3334, 3333, 3333];
    assert_eq!(found_after(&thirds, &keyless(&[34, 33, 33])), None);
    // Two versions that take each other's users leave the others as they were.
    let found = found_after(&thirds, &keyless(&[34, 20, 46])).unwrap();
    assert!(found <= 500, "{found}");
    // A version that has been taken out of the test has no share to be tested.
    assert_eq!(found_after(&[5000, 0, 5000], &keyless(&[50, 0, 50])), None);
}

#[test]
fn an_alarm_ends_by_itself_once_the_split_is_right_and_not_before() {
    let mut watch = SplitWatch::default();
    let weights = [9000, 1000];
    while !watch.is_alarmed() {
        watch.consume(since(), &weights, &keyless(&[95, 5]));
    }
    for _ in 0..500 {
        watch.consume(since(), &weights, &keyless(&[95, 5]));
        assert!(watch.is_alarmed());
    }
    let mut requests = 0;
    while watch.is_alarmed() {
        watch.consume(since(), &weights, &keyless(&[90, 10]));
        requests += 100;
    }
    assert!(requests <= 1_000, "{requests}");
    let (status, said) = watch.verdict(&VERSIONS, Some(since()));
    assert_eq!(status, None, "counted afresh: {said}");
    for _ in 0..10 {
        watch.consume(since(), &weights, &keyless(&[90, 10]));
    }
    let (status, said) = watch.verdict(&VERSIONS, Some(since()));
    assert_eq!(status, Some(true));
    assert_eq!(
        said,
        "version 8 got 10.00 % at 10 % of 1 000 requests at these weights"
    );
}

#[test]
fn without_a_split_there_is_nothing_wrong_with_it() {
    let mut watch = SplitWatch::default();
    while !watch.is_alarmed() {
        watch.consume(since(), &[9000, 1000], &keyless(&[95, 5]));
    }
    let later = since() + Duration::from_secs(60);
    watch.consume(later, &[0, 10_000], &keyless(&[0, 100]));
    let (status, said) = watch.verdict(&VERSIONS, Some(later));
    assert_eq!((watch.is_alarmed(), status), (false, None), "{said}");
}

#[test]
fn new_weights_are_tested_on_new_counts() {
    let mut watch = SplitWatch::default();
    for _ in 0..1000 {
        watch.consume(since(), &[9000, 1000], &keyless(&[90, 10]));
    }
    let later = since() + Duration::from_secs(60);
    for _ in 0..1000 {
        watch.consume(later, &[5000, 5000], &keyless(&[50, 50]));
    }
    assert!(!watch.is_alarmed());
    assert_eq!(
        watch.verdict(&VERSIONS, Some(since())).0,
        None,
        "not of these"
    );
    assert_eq!(watch.verdict(&VERSIONS, Some(later)).0, Some(true));
}

#[test]
fn a_wrong_split_holds_the_release_where_it_is_and_rolls_nothing_back() {
    let mut bench = Bench::new(&text());
    // All is well with the versions, but the new one gets half of what is meant.
    let mut raised = Vec::new();
    for _ in 0..60 {
        bench.tick((100, 0), (1900, 1));
        if bench.writes >= Writes::State {
            raised.push(bench.last().to_owned());
        }
    }
    assert_eq!(
        (bench.release().stage, bench.phase()),
        (Stage::Step(0), Phase::Progressing)
    );
    assert_eq!(raised.len(), 1, "told and written once: {raised:?}");
    let waiting = bench.waiting_for.clone().unwrap();
    assert!(waiting.starts_with("version 8 got 5.00 % of "), "{waiting}");
    assert!(waiting.contains("10 % was meant"), "{waiting}");
    bench.healthy_until(|bench| bench.release().stage == Stage::Step(1));
    let records = &bench.release().records;
    let cleared = |record: &crate::rollout::Record| record.message.contains("no sign");
    assert!(records.iter().any(cleared), "{records:?}");
}

#[test]
fn people_may_go_on_in_spite_of_it() {
    let mut bench = Bench::new(&text());
    bench.ticks(20, (100, 0), (1900, 1));
    assert!(bench.release().split.is_alarmed());
    bench.act(Do::PromoteFull);
    assert_eq!(bench.release().stage, Stage::Soak);
    bench.ticks(2, (2000, 0), (0, 0));
    assert!(!bench.release().split.is_alarmed(), "there is none now");
}

#[test]
fn cells_from_before_every_proxy_had_the_weights_are_left_out() {
    let mut bench = Bench::new(&text());
    (bench.generation, bench.reported) = (5, 4);
    bench.ticks(60, (0, 0), (2000, 1));
    assert!(!bench.release().split.is_alarmed());
    bench.reported = 5;
    bench.healthy_until(|bench| bench.release().stage == Stage::Step(1));
}

#[test]
fn a_restart_goes_on_with_the_same_counts() {
    let mut watch = SplitWatch::default();
    for _ in 0..7 {
        watch.consume(since(), &[9000, 1000], &keyless(&[95, 5]));
    }
    let text = serde_json::to_string(&watch).unwrap();
    let mut restored: SplitWatch = serde_json::from_str(&text).unwrap();
    assert_eq!(restored, watch);
    for watch in [&mut watch, &mut restored] {
        watch.consume(since(), &[9000, 1000], &keyless(&[380, 20]));
    }
    assert_eq!(restored, watch);
    assert!(watch.is_alarmed());
}

#[test]
fn cells_that_are_read_again_are_counted_once() {
    let mut watch = SplitWatch::default();
    let weights = [9000, 1000];
    for _ in 0..5 {
        watch.consume(since(), &weights, &keyless(&[95, 5]));
    }
    watch.forget_counts();
    watch.consume(since(), &weights, &keyless(&[95, 5]));
    let all: u64 = sum(&watch.requests).iter().sum();
    assert_eq!(all, 100);
}

proptest! {
    #[test]
    fn no_counts_break_it_and_it_stays_small(
        counts in proptest::collection::vec((0u64..1 << 50, 0u64..1 << 50, 0usize..17), 1..40),
        weight in 0u16..=10_000,
    ) {
        let mut watch = SplitWatch::default();
        for (stable, canary, group) in counts {
            let mut cell = keyless(&[stable, canary]);
            cell.arms[0].fused[group] = canary;
            watch.consume(since(), &[10_000 - weight, weight], &cell);
            let _ = watch.verdict(&VERSIONS, Some(since()));
        }
        let text = serde_json::to_string(&watch).unwrap();
        prop_assert!(text.len() < 4096, "{}", text.len());
        prop_assert_eq!(serde_json::from_str::<SplitWatch>(&text).unwrap(), watch);
    }

    #[test]
    fn a_split_to_the_letter_is_never_wrong(
        weight in 1u16..10_000, scale in 1u64..50, cells in 1usize..50,
    ) {
        let stable = 10_000 - weight;
        let exact = keyless(&[scale * u64::from(stable), scale * u64::from(weight)]);
        let mut watch = SplitWatch::default();
        for _ in 0..cells {
            watch.consume(since(), &[stable, weight], &exact);
        }
        prop_assert!(!watch.is_alarmed());
    }
}
