//! `make bench-updates`: how fast a change of the configuration is live, and what requests wait meanwhile. It reports
//! and does not judge: a machine that is busy changes the numbers.

use std::io::Write;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use serin_tests::bench::updates::{FULL, QUICK, run};
use serin_tests::bench::{program, report};
use serin_tests::tools;

const NAME: &str = "bench-updates";

/// Time from a change of the filter's configuration to its use, in Envoy.
#[derive(Debug, Parser)]
struct Args {
    /// Measure for seconds instead of minutes: enough to see that it works
    #[arg(long, env = "QUICK", value_parser = clap::builder::FalseyValueParser::new())]
    quick: bool,
}

fn main() -> ExitCode {
    program::end(NAME, bench(&Args::parse()))
}

fn bench(args: &Args) -> Result<()> {
    let runtime = program::runtime()?;
    let wasm = tools::filter()?;
    let size = if args.quick { QUICK } else { FULL };
    let told = |line: &str| program::tell(NAME, line);
    let results = runtime.block_on(run(size, &wasm, told))?;
    let path = report::write("updates", &results.rows())?;
    writeln!(
        std::io::stdout(),
        "{}\n\n{} Envoys of each kind with {} changes each; all of it is in {}",
        results.table(),
        size.envoys,
        size.changes,
        path.display()
    )
    .context("failed to print")?;
    Ok(())
}
