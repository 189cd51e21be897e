//! `make bench-controller`: what the operator costs a cluster with thousands of rollouts, how fast it acts, and the same
//! of Flagger. It reports and does not judge: a machine that is busy changes the numbers.

use std::io::Write;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum};
use serin_tests::bench::controller::{FULL, Part, QUICK, run};
use serin_tests::bench::{program, report};

const NAME: &str = "bench-controller";

/// The operator in a real control plane: scale, reaction, and Flagger beside.
#[derive(Debug, Parser)]
struct Args {
    /// Measure a tenth of it: enough to see that it works
    #[arg(long, env = "QUICK", value_parser = clap::builder::FalseyValueParser::new())]
    quick: bool,
    /// Measure these parts alone (repeatable)
    #[arg(long, value_enum, value_name = "PART")]
    only: Vec<Part>,
}

fn main() -> ExitCode {
    program::end(NAME, bench(&Args::parse()))
}

fn bench(args: &Args) -> Result<()> {
    let runtime = program::runtime()?;
    let size = if args.quick { QUICK } else { FULL };
    let parts = match args.only.as_slice() {
        [] => Part::value_variants(),
        only => only,
    };
    let told = |line: &str| program::tell(NAME, line);
    let (results, all) = runtime.block_on(run(size, parts, told));
    let path = report::write("controller", &results.rows())?;
    writeln!(
        std::io::stdout(),
        "{}\n\n{} rollouts, {} of them in progress, in {} namespaces with a plugin object each; {} canaries of Flagger; \
         all of it is in {}",
        results.table(),
        size.rollouts,
        size.progressing,
        serin_tests::bench::controller::population::NAMESPACES,
        size.canaries,
        path.display()
    )
    .context("failed to print")?;
    all
}
