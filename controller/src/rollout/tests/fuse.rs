//! What the fuses of the proxies mean for the release.

use super::*;

impl Bench {
    /// One tick in which fuses opened so often, and sent so many requests home.
    fn fused(&mut self, trips: u64, fused: u64, stable: (u64, u64)) -> &mut Self {
        let mut cell = cell(self.next_cell, (trips, trips), stable);
        cell.arms[0].fuse_trips = trips;
        cell.arms[0].fused[5] = fused;
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
fn one_broken_client_opens_fuses_and_ends_no_release() {
    let mut bench = Bench::new(&text());
    bench.ticks(5, (200, 0), (1800, 1));
    for _ in 0..10 {
        let mut broken = cell(bench.next_cell, (200, 0), (1800, 1));
        broken.arms[0].requests.groups[7].bad = 5;
        broken.arms[0].fuse_trips = 1;
        bench.next_cell += 1;
        bench.now += CELL;
        bench.run(&[broken], &[]);
    }
    assert_eq!(bench.release().evidence.canary.trip_sources(), 1);
    assert_ne!(bench.phase(), Phase::RolledBack, "{}", bench.last());
}

/// The fixture with a comparison that finds everything healthy, so that fuses have the word alone.
fn fuses_alone() -> String {
    edited(
        "    falseRollback: 0.01\n",
        "    metrics: [{name: errors, errorRate: {}, tolerance: {ratio: 1, absolute: 100pp}}]\n",
    )
}

#[test]
fn requests_that_hang_end_in_the_cell_after_the_trip_and_count_with_it() {
    let mut bench = Bench::new(&fuses_alone());
    bench.ticks(5, (200, 0), (1800, 1));
    for _ in 0..3 {
        let mut tripped = cell(bench.next_cell, (0, 0), (1800, 1));
        tripped.arms[0].fuse_trips = 1;
        tripped.arms[0].fused[5] = 100;
        let ended = cell(bench.next_cell + 1, (2, 2), (1800, 1));
        bench.next_cell += 2;
        bench.now += 2 * CELL;
        bench.run(&[tripped, ended], &[]);
    }
    assert_eq!(bench.phase(), Phase::RolledBack);
    assert!(bench.last().contains("guard fuse"), "{}", bench.last());
}

#[test]
fn trips_are_counted_once_whatever_happens_to_the_controller() {
    let mut bench = Bench::new(&text());
    bench.ticks(5, (200, 0), (1800, 1));
    bench.fused(1, 100, (1800, 1)).fused(1, 100, (1800, 1));
    // What was on disk is taken up again, and the cells since then are read a second time.
    let kept = serde_json::to_string(&bench.state).unwrap();
    bench.state = serde_json::from_str(&kept).unwrap();
    bench.next_cell -= 2;
    bench.fused(1, 100, (1800, 1)).fused(1, 100, (1800, 1));
    assert_eq!(bench.phase(), Phase::Progressing, "{}", bench.last());
    assert_eq!(bench.release().evidence.canary.fused, 200);
    bench.fused(1, 100, (1800, 1));
    assert_eq!(bench.phase(), Phase::RolledBack);
    assert!(
        bench.last().ends_with("they have sent 300 requests home"),
        "{}",
        bench.last()
    );
}

#[test]
fn whoever_resumes_after_trips_is_held_again_by_new_ones_only() {
    let mut bench = Bench::new(&fuses_alone().replace("metrics:", "onFail: hold\n    metrics:"));
    bench.ticks(2, (200, 0), (1800, 1));
    for _ in 0..3 {
        bench.fused(5, 100, (1800, 1));
    }
    assert_eq!(bench.phase(), Phase::Paused, "{}", bench.last());
    bench.act(Do::Resume);
    bench.fused(5, 100, (1800, 1)).fused(5, 100, (1800, 1));
    assert_eq!(bench.phase(), Phase::Progressing);
    bench.fused(5, 100, (1800, 1));
    assert_eq!(bench.phase(), Phase::Paused);
}

#[test]
fn a_soak_that_the_fuse_interrupts_does_not_end() {
    let mut bench = Bench::new(&text());
    bench.healthy_until(at(Stage::Soak));
    let soak = |bench: &mut Bench, fused: u64| {
        let mut cell = cell(bench.next_cell, (2000 - fused, 0), (fused, 0));
        cell.arms[0].fused[3] = fused;
        (cell.arms[0].sampled, cell.arms[0].misrouted) = bench.sampled;
        bench.next_cell += 1;
        bench.now += CELL;
        bench.run(&[cell], &[]);
    };
    for _ in 0..20 {
        soak(&mut bench, 100);
    }
    assert_eq!(bench.release().stage, Stage::Soak, "{}", bench.last());
    let waiting = bench.waiting_for.clone().unwrap();
    assert!(
        waiting.starts_with("the soak goes on: 5 % of its requests were bad or sent home"),
        "{waiting}"
    );
    // Nobody was harmed, so it is no failure; well again, it goes on.
    for _ in 0..2000 {
        soak(&mut bench, 0);
    }
    assert_ne!(
        bench.release().stage,
        Stage::Soak,
        "{:?}",
        bench.waiting_for
    );
}

#[test]
fn trips_while_stable_fails_as_well_say_nothing_about_the_canary() {
    let mut bench = Bench::new(&fuses_alone());
    for _ in 0..10 {
        bench.fused(5, 100, (1800, 90));
    }
    assert_eq!(bench.phase(), Phase::Progressing);
    // The same where stable is well.
    let mut bench = Bench::new(&fuses_alone());
    for _ in 0..10 {
        bench.fused(5, 100, (1800, 1));
    }
    assert_eq!(bench.phase(), Phase::RolledBack);
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
    assert_eq!(bench.release().evidence.canary.trips.len(), 3);
    assert_eq!(bench.phase(), Phase::Progressing);
}

#[test]
fn what_the_fuse_sent_home_counts_against_the_promotion_and_not_for_the_rollback() {
    let mut bench = Bench::new(&text());
    // A tenth of the canary's requests: far beyond every gate, and nothing that its users saw.
    let dead_at_times = |bench: &mut Bench| {
        let mut cell = cell(bench.next_cell, (180, 0), (1800, 1));
        let turn = usize::try_from(bench.next_cell).unwrap() % 16;
        cell.arms[0].fused[turn] = 20;
        (cell.arms[0].sampled, cell.arms[0].misrouted) = bench.sampled;
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
    assert_eq!(bench.release().evidence.canary.requests.bad, 0);
    assert_eq!(bench.release().evidence.canary.fused, 4_000);
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
