//! What the fuses of the proxies mean for the release.

use super::*;

impl Bench {
    /// One tick in which fuses opened so often, and sent so many requests home.
    fn fused(&mut self, trips: u64, fused: u64, stable: (u64, u64)) -> &mut Self {
        let mut cell = cell(self.next_cell, (trips, trips), stable);
        cell.canary.fuse_trips = trips;
        cell.canary.fused[5] = fused;
        self.next_cell += 1;
        self.now += CELL;
        self.run(&[cell], &[])
    }
}

#[test]
fn a_canary_that_fails_every_probe_is_rolled_back_although_hardly_anybody_sees_it() {
    let mut bench = Bench::new(&text());
    bench.ticks(5, (200, 0), (1800, 1));
    for _ in 0..2 {
        bench.fused(1, 100, (1800, 1));
        // The cooldown of 30 s are 15 cells.
        for _ in 0..14 {
            bench.fused(0, 200, (1800, 1));
        }
    }
    assert_eq!(
        bench.phase(),
        Phase::Progressing,
        "two trips may be an accident"
    );
    bench.fused(1, 100, (1800, 1));
    assert_eq!(bench.phase(), Phase::RolledBack);
    assert_eq!(bench.writes, Writes::Down);
    assert!(bench.last().contains("guard fuse"), "{}", bench.last());
}

#[test]
fn trips_while_stable_fails_as_well_say_nothing_about_the_canary() {
    let mut bench = Bench::new(&text());
    for _ in 0..10 {
        bench.fused(2, 100, (1800, 1700));
    }
    assert_eq!(bench.phase(), Phase::Progressing);
}

#[test]
fn trips_that_are_far_apart_are_accidents() {
    let mut bench = Bench::new(&text());
    // The proxy keeps it where it is.
    bench.reported = 0;
    for _ in 0..5 {
        bench.ticks(60, (200, 0), (1800, 1));
        bench.fused(1, 0, (1800, 1));
    }
    assert_eq!(bench.release().evidence.trips.len(), 3);
    assert_eq!(bench.phase(), Phase::Progressing);
}

#[test]
fn what_the_fuse_sent_home_counts_against_the_promotion_and_not_for_the_rollback() {
    let mut bench = Bench::new(&text());
    // A tenth of the canary's requests: far beyond every gate, and nothing that its users saw.
    let dead_at_times = |bench: &mut Bench| {
        let mut cell = cell(bench.next_cell, (180, 0), (1800, 1));
        let turn = usize::try_from(bench.next_cell).unwrap() % 16;
        cell.canary.fused[turn] = 20;
        (cell.canary.sampled, cell.canary.misrouted) = bench.sampled;
        bench.next_cell += 1;
        bench.now += CELL;
        bench.run(&[cell], &[]);
    };
    for _ in 0..200 {
        dead_at_times(&mut bench);
    }
    assert_eq!(
        (bench.phase(), bench.release().stage),
        (Phase::Progressing, Stage::Step(0))
    );
    assert_eq!(bench.release().evidence.canary.bad, 0);
    assert_eq!(bench.release().evidence.fused, 4_000);
    let waiting = bench.waiting_for.clone().unwrap();
    assert!(
        waiting.contains("4 000 requests that the fuse sent home count as bad"),
        "{waiting}"
    );
    // The same without the fuse goes on.
    let mut bench = Bench::new(&text());
    bench.ticks(200, (180, 0), (1800, 1));
    assert_ne!(bench.release().stage, Stage::Step(0));
}
