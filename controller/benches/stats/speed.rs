//! What the evidence of a metric costs: time of a cell, and memory.

use std::fs;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::Duration;

use criterion::Criterion;
use rustix::time::{ClockId, clock_gettime};
use serde_json::Value;
use serin_controller::evidence::{Comparison, Evidence};
use serin_controller::observation::{ArmCounts, Cell};
use serin_controller::source::parse;
use serin_controller::stats::poisson::EProcess;
use serin_controller::stats::ratio::RatioInterval;
use serin_controller::validate::{Plan, PlannedMetric, slow_label};

use crate::report::Report;

const GROUP: &str = "stats";
const TICK: &str = "one tick of one metric: harm, four gates, margins, ratio";
const INTERVAL: &str = "the interval of the ratio, for people";
const ALL: &str = "10 000 rollouts x 3 metrics judged, one core";
const ROLLOUTS: usize = 10_000;
const GATES: usize = 4;

/// The steps of product.md, with these metrics.
fn plan(metrics: &str) -> Plan {
    let text = format!(
        "apiVersion: serin.dev/v1alpha1
kind: ModelRollout
metadata: {{name: fraud, namespace: ml}}
spec:
  match: {{hosts: [fraud.ml]}}
  variants:
    - {{name: stable, role: stable, version: '7', route: {{cluster: fraud-v7}}}}
    - {{name: canary, version: '8', route: {{cluster: fraud-v8}}}}
  assignment: {{key: [{{header: x-user-id}}], salt: fraud-8}}
  strategy:
    canary:
      steps:
        - {{weight: 1, gate: {{ratio: 3.0, absolute: 1pp}}}}
        - {{weight: 5, gate: {{ratio: 2.0, absolute: 0.5pp}}}}
        - {{weight: 25, gate: {{ratio: 1.5, absolute: 0.3pp}}}}
        - {{weight: 50, gate: {{ratio: 1.25, absolute: 0.2pp}}}}
  analysis: {{metrics: [{metrics}]}}
"
    );
    parse("bench.yaml", &text).unwrap().plan
}

const ERRORS: &str = "{name: errors, errorRate: {}}";
const SLOW: &str = "{name: slow, latency: {above: 100ms}}, {name: slower, latency: {above: 1s}}";

/// Requests of every group, `bad` of each 10 000 bad or slow.
fn arm(plan: &Plan, requests: f64, bad: f64) -> ArmCounts {
    let mut arm = ArmCounts::default();
    let mut slow = [0; 17];
    for (at, tally) in arm.requests.groups.iter_mut().enumerate() {
        let total = (requests * (0.8 + 0.025 * at as f64)).round();
        tally.total = total as u64;
        tally.bad = (total * bad / 10_000.0).round() as u64;
        slow[at] = tally.bad;
    }
    let label = |metric: &PlannedMetric| match metric.source {
        serin_controller::validate::Source::Latency { above } => {
            Some(slow_label(&metric.name, above))
        }
        _ => None,
    };
    arm.slow = plan
        .metrics
        .iter()
        .filter_map(label)
        .map(|it| (it, slow))
        .collect();
    arm
}

/// Cells that differ, so that no branch is always the same; the seventh of the canary's users met a fuse.
fn cells(plan: &Plan) -> Vec<Cell> {
    let sizes = [12.0, 40.0, 13.0, 160.0, 600.0, 13.0, 31.0];
    let rates = [100.0, 40.0, 150.0, 90.0, 110.0];
    (0_usize..35)
        .map(|at| {
            let (requests, bad) = (sizes[at % sizes.len()], rates[at % rates.len()]);
            let mut canary = arm(plan, requests, bad);
            canary.fused[6] = 1;
            Cell {
                index: 0,
                stable: arm(plan, 19.0 * requests, bad),
                arms: vec![canary],
            }
        })
        .collect()
}

/// What a tick does with a cell: count it, and see whether it ends the release or a step.
fn judge(evidence: &mut Evidence, plan: &Plan, cell: &Cell) -> bool {
    evidence.consume(plan, cell, true);
    evidence.failed(plan) | evidence.passed(plan, 0)
}

pub(crate) fn measure(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group(GROUP);
    let one = plan(ERRORS);
    let its_cells = cells(&one);
    let mut turn = its_cells.iter().cycle();
    let mut evidence = Evidence::new(&one, 0);
    group.bench_function(TICK, |bencher| {
        bencher.iter_custom(|times| {
            on_cpu(times, || {
                let cell = black_box(turn.next().unwrap_or(&its_cells[0]));
                black_box(judge(&mut evidence, &one, cell));
            })
        });
    });
    group.bench_function(INTERVAL, |bencher| {
        let interval = |it: &Comparison| -> Option<RatioInterval> { it.ratio(0.01) };
        bencher.iter_custom(|times| {
            on_cpu(times, || {
                black_box(interval(black_box(&evidence.canary.metrics[0]))).unwrap();
            })
        });
    });
    group.sample_size(20);
    let three = plan(&format!("{ERRORS}, {SLOW}"));
    let its_cells = cells(&three);
    let mut turn = its_cells.iter().cycle();
    let mut all = vec![Evidence::new(&three, 0); ROLLOUTS];
    group.bench_function(ALL, |bencher| {
        bencher.iter_custom(|times| {
            on_cpu(times, || {
                let cell = black_box(turn.next().unwrap_or(&its_cells[0]));
                let judged = all.iter_mut().map(|it| judge(it, &three, cell));
                black_box(judged.filter(|ended| *ended).count());
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
        (size_of::<Comparison>() + GATES * size_of::<Option<EProcess>>()) as f64,
        2048.0,
        "bytes",
    );
}
