//! What the evidence of a metric costs: time of a cell, and memory.

use std::fs;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::Duration;

use criterion::Criterion;
use rustix::time::{ClockId, clock_gettime};
use serde_json::Value;
use serin_controller::stats::poisson::{Counts, Direction, EProcess, Line};
use serin_controller::stats::ratio::RatioSequence;
use serin_controller::stats::user_mix::{Fused, GroupCount, GroupTotals, MarginLevel, UserMix};

use crate::report::Report;

const GROUP: &str = "stats";
const TICK: &str = "one tick of one metric: harm, four gates, margins, ratio";
const INTERVAL: &str = "the interval of the ratio, for people";
const ALL: &str = "10 000 rollouts x 3 metrics judged, one core";
const ROLLOUTS: usize = 10_000;
const METRICS: usize = 3;

const TOLERANCE: Line = line(1.1, 0.0005);
/// The gates of the README's four steps.
const GATES: [Line; 4] = [
    line(3.0, 0.01),
    line(2.0, 0.005),
    line(1.5, 0.003),
    line(1.25, 0.002),
];

const fn line(theta: f64, delta: f64) -> Line {
    Line { theta, delta }
}

/// The evidence of one metric, put together as a controller does it.
#[derive(Clone)]
struct Metric {
    harm: EProcess,
    gates: [EProcess; GATES.len()],
    mix: UserMix,
    ratio: RatioSequence,
}

/// What one cell brings.
struct Cell {
    canary: GroupTotals,
    stable: GroupTotals,
    fused: Fused,
    harm: Counts,
    success: Counts,
}

impl Cell {
    /// Requests of every group, `bad` of each 10 000 bad; the seventh of the canary's users met a fuse.
    fn new(requests: f64, bad: f64) -> Self {
        let arm = |requests: f64| {
            let mut arm = GroupTotals::default();
            for (at, group) in arm.groups.iter_mut().enumerate() {
                let total = (requests * (0.8 + 0.025 * at as f64)).round();
                *group = GroupCount {
                    bad: (total * bad / 10_000.0).round(),
                    total,
                };
            }
            arm
        };
        let (canary, stable) = (arm(requests), arm(19.0 * requests));
        let mut fused = Fused::default();
        fused[6] = 1.0;
        let sum = |arm: &GroupTotals| {
            let groups = arm.groups.iter();
            groups.fold((0.0, 0.0), |(x, n), group| (x + group.bad, n + group.total))
        };
        let ((bad_canary, total_canary), (bad_stable, total_stable)) = (sum(&canary), sum(&stable));
        let harm = Counts {
            bad_canary,
            total_canary,
            bad_stable,
            total_stable,
        };
        let success = Counts {
            bad_canary: bad_canary + 1.0,
            total_canary: total_canary + 1.0,
            ..harm
        };
        Self {
            canary,
            stable,
            fused,
            harm,
            success,
        }
    }

    /// Cells that differ, so that no branch is always the same.
    fn several() -> Vec<Self> {
        let sizes = [12.0, 40.0, 13.0, 160.0, 600.0, 13.0, 31.0];
        let rates = [100.0, 40.0, 150.0, 90.0, 110.0];
        (0..35)
            .map(|at| Self::new(sizes[at % sizes.len()], rates[at % rates.len()]))
            .collect()
    }
}

/// The levels that a plan holds.
#[derive(Clone, Copy)]
struct Levels {
    rollback: MarginLevel,
    promotion: MarginLevel,
}

impl Levels {
    fn new() -> Self {
        let level = |tail| MarginLevel::new(tail).unwrap();
        Self {
            rollback: level(0.005),
            promotion: level(0.025),
        }
    }
}

impl Metric {
    fn new() -> Self {
        Self {
            harm: EProcess::start(Direction::Harm),
            gates: std::array::from_fn(|_| EProcess::start(Direction::Success)),
            mix: UserMix::default(),
            ratio: RatioSequence::default(),
        }
    }

    /// Margins from the past, then both directions, then the cell joins the past.
    fn tick(&mut self, levels: Levels, cell: &Cell) -> bool {
        let harm = self.mix.spread(Direction::Harm);
        let success = self.mix.spread(Direction::Success);
        bet(
            &mut self.harm,
            TOLERANCE,
            cell.harm,
            harm.margin(levels.rollback, TOLERANCE.theta),
        );
        for (gate, line) in self.gates.iter_mut().zip(GATES) {
            let margin = success.margin(levels.promotion, line.theta);
            bet(gate, line, cell.success, margin);
        }
        self.ratio.update(cell.harm).unwrap();
        self.mix.add(&cell.canary, &cell.stable).unwrap();
        self.mix.add_fused(&cell.fused).unwrap();
        self.harm.rejects(0.005)
    }
}

fn bet(process: &mut EProcess, line: Line, counts: Counts, margin: Option<f64>) {
    match margin {
        Some(margin) => {
            let line = line.with_margin(process.direction(), margin);
            process.update(counts, line, 1.0).unwrap();
        }
        None => process.carry(counts).unwrap(),
    }
}

pub(crate) fn measure(criterion: &mut Criterion) {
    let (levels, cells) = (Levels::new(), Cell::several());
    let mut group = criterion.benchmark_group(GROUP);
    let mut metric = Metric::new();
    let mut turn = cells.iter().cycle();
    group.bench_function(TICK, |bencher| {
        bencher.iter_custom(|times| {
            on_cpu(times, || {
                metric.tick(levels, black_box(turn.next().unwrap_or(&cells[0])));
            })
        });
    });
    group.bench_function(INTERVAL, |bencher| {
        bencher.iter_custom(|times| {
            on_cpu(times, || {
                black_box(black_box(&metric.ratio).interval(0.01)).unwrap();
            })
        });
    });
    group.sample_size(20);
    let mut all = vec![Metric::new(); ROLLOUTS * METRICS];
    group.bench_function(ALL, |bencher| {
        bencher.iter_custom(|times| {
            on_cpu(times, || {
                let cell = black_box(turn.next().unwrap_or(&cells[0]));
                let judged = all.iter_mut().map(|metric| metric.tick(levels, cell));
                black_box(judged.filter(|failed| *failed).count());
            })
        });
    });
}

/// CPU time of this thread: others that keep the machine busy change it least.
fn on_cpu(times: u64, mut work: impl FnMut()) -> Duration {
    let now = || {
        let now = clock_gettime(ClockId::ThreadCPUTime);
        Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
    };
    let start = now();
    for _ in 0..times {
        work();
    }
    now() - start
}

/// Reads what criterion found, in nanoseconds: it names folders after the row.
fn median(folder: &Path, row: &str) -> Option<f64> {
    let rows = fs::read_dir(folder.join(GROUP)).ok()?;
    let read =
        |path: PathBuf| -> Option<Value> { serde_json::from_slice(&fs::read(path).ok()?).ok() };
    let mut news = rows
        .filter_map(Result::ok)
        .map(|entry| entry.path().join("new"));
    let new = news
        .find(|new| read(new.join("benchmark.json")).is_some_and(|it| it["function_id"] == row))?;
    read(new.join("estimates.json"))?["median"]["point_estimate"].as_f64()
}

/// What was measured, beside what was promised.
pub(crate) fn tell(folder: &Path, report: &mut Report) {
    if let Some(tick) = median(folder, TICK) {
        report.time(TICK, tick / 1e3, 4.0, "us");
    }
    if let Some(all) = median(folder, ALL) {
        report.time(ALL, all / 1e6, 150.0, "ms");
    }
    if let Some(interval) = median(folder, INTERVAL) {
        report.row(INTERVAL, interval / 1e3, "us");
    }
    report.bound(
        "evidence of one metric",
        size_of::<Metric>() as f64,
        2048.0,
        "bytes",
    );
}
