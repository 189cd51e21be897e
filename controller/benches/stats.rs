//! What the decision engine promises, measured: `make bench-stats` runs it and leaves `target/bench/stats.json`.
//!
//! Error rates are simulated with fixed seeds, so they are the same on every machine; it fails where one does not keep
//! its promise. Times are of the CPU; they are reported and not judged, for a machine that is busy changes them.
//! With the name of a row of the times as argument, only that is measured.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench fails by a panic and prints tables"
)]

#[path = "stats/independent.rs"]
mod independent;
#[path = "stats/monte_carlo.rs"]
mod monte_carlo;
#[path = "../tests/error_rates/population.rs"]
mod population;
#[path = "stats/published.rs"]
mod published;
#[path = "stats/report.rs"]
mod report;
#[path = "stats/rules.rs"]
mod rules;
#[path = "stats/speed.rs"]
mod speed;
#[path = "stats/sticky.rs"]
mod sticky;
#[path = "stats/streams.rs"]
mod streams;

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use criterion::Criterion;
use independent::Size;
use report::Report;

/// Runs a cell.
struct Runs {
    independent: Size,
    sticky: u64,
}

const FULL: Runs = Runs {
    independent: Size {
        runs: 4000,
        kayenta: 400,
    },
    sticky: 1000,
};

/// A rough look.
const QUICK: Runs = Runs {
    independent: Size {
        runs: 400,
        kayenta: 20,
    },
    sticky: 100,
};

fn main() -> ExitCode {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("bench");
    let folder = target.join("criterion");
    let mut criterion = Criterion::default()
        .without_plots()
        .output_directory(&folder)
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(3))
        .configure_from_args();
    speed::measure(&mut criterion);
    criterion.final_summary();
    // As a test each row of the times runs once and measures nothing; whoever names one wants no other.
    let mut arguments = std::env::args().skip(1);
    if !(arguments.next().is_some_and(|it| it == "--bench") && arguments.next().is_none()) {
        return ExitCode::SUCCESS;
    }
    let quick = std::env::var("QUICK").is_ok_and(|quick| !matches!(&*quick, "" | "0" | "false"));
    let runs = if quick { QUICK } else { FULL };
    let mut report = Report::default();
    speed::tell(&folder, &mut report);
    independent::published_table(runs.independent, &mut report);
    independent::drift(runs.independent, &mut report);
    independent::bursts(runs.independent, &mut report);
    independent::on_the_lines(runs.independent, &mut report);
    sticky::promises(runs.sticky, &mut report);
    sticky::price(runs.sticky, &mut report);
    if report.finish(&target) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
