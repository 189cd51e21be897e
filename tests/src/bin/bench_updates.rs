//! `make bench-updates`: how fast a change of the configuration is live, and what requests wait meanwhile. It reports
//! and does not judge: a machine that is busy changes the numbers.

use std::io::Write;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use serin_tests::bench::report;
use serin_tests::bench::updates::{FULL, QUICK, run};
use serin_tests::tools;

/// Time from a change of the filter's configuration to its use, in Envoy.
#[derive(Debug, Parser)]
struct Args {
    /// Measure for seconds instead of minutes: enough to see that it works
    #[arg(long, env = "QUICK", value_parser = clap::builder::FalseyValueParser::new())]
    quick: bool,
}

fn main() -> ExitCode {
    if let Err(error) = bench(&Args::parse()) {
        writeln!(std::io::stderr(), "bench-updates: {error:#}").ok();
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn bench(args: &Args) -> Result<()> {
    // Traffic has a thread of its own.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("failed to start a runtime")?;
    let wasm = tools::filter()?;
    let size = if args.quick { QUICK } else { FULL };
    // Who closed stderr does not want to know.
    let told = |line: &str| drop(writeln!(std::io::stderr(), "bench-updates: {line}"));
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
