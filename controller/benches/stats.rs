//! What the decision engine promises, measured: `make bench-stats` runs it and leaves `target/bench/stats.json`.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench fails by a panic and prints tables"
)]

#[path = "stats/speed.rs"]
mod speed;

use std::path::Path;
use std::time::Duration;

use criterion::Criterion;

fn main() {
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
    println!("{} bytes of evidence a metric", speed::bytes());
}
