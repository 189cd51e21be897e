//! Cells that are counted for some releases at a time.

use super::*;

fn two_releases() -> Bench {
    let mut bench = Bench::new();
    bench.apply(&in_mesh());
    bench.apply(&spam());
    bench.perform();
    bench.tick(1);
    bench.perform();
    assert_eq!(bench.fleet.in_progress().len(), 2);
    bench
}

/// With three cells more than were counted.
fn world(bench: &Bench) -> World {
    let next = bench.fleet.asks()[0].next_cell;
    let cells = (next..next + 3).map(|cell| (cell, RolloutCounts::default()));
    World::of(cells, Some(Ok(Arc::new(Vec::new()))))
}

fn next_cells(bench: &Bench) -> Vec<i64> {
    let asks = bench.fleet.asks();
    asks.iter().map(|ask| ask.next_cell).collect()
}

#[test]
fn one_after_the_other_comes_to_the_same_as_all_at_once() {
    let (mut whole, mut parts) = (two_releases(), two_releases());
    let (before, seen) = (next_cells(&whole), world(&whole));
    whole.fleet.tick(&seen, whole.now);
    let seen = world(&parts);
    for name in parts.fleet.in_progress() {
        parts.fleet.tick_some(&[name], &seen, parts.now);
    }
    let counted: Vec<_> = before.iter().map(|cell| cell + 3).collect();
    assert_eq!(next_cells(&whole), counted);
    assert_eq!(next_cells(&parts), counted);
    assert_eq!(format!("{:?}", whole.fleet), format!("{:?}", parts.fleet));
}

#[test]
fn a_release_that_ends_before_its_turn_is_left_alone() {
    let mut bench = two_releases();
    let (names, seen) = (bench.fleet.in_progress(), world(&bench));
    bench.ask("1", Do::Abort);
    let ended = bench.state().clone();
    assert!(ended.in_progress().is_none());
    bench.fleet.tick_some(&names, &seen, bench.now);
    assert_eq!(*bench.state(), ended);
    bench.perform();
    assert_eq!(bench.weight(), 0);
}

#[test]
fn checkpoints_of_many_releases_are_spread_over_ticks() {
    let mut bench = Bench::new();
    for number in 0..20 {
        let name = format!("r{number}");
        let text = in_mesh().replace("name: fraud,", &format!("name: {name},"));
        bench.apply(&text.replace("[fraud.ml", &format!("[{name}.ml")));
    }
    for _ in 0..20 {
        bench.perform();
    }
    bench.tick(1);
    for _ in 0..20 {
        bench.perform();
    }
    let seen = world(&bench);
    bench.now += Duration::from_secs(90);
    let mut written = Vec::new();
    for _ in 0..2 {
        bench.fleet.tick(&seen, bench.now);
        let rounds = (0..20).map(|_| bench.perform().len());
        written.push(rounds.sum::<usize>());
    }
    assert_eq!(written, [16, 4]);
}
