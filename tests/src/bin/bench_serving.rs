//! `make bench-serving`: how fast models are served, beside a loop that only runs them and beside other servers. It
//! reports and does not judge: a machine that is busy changes the numbers.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use serin_tests::bench::serving::{FULL, QUICK, chosen, run};
use serin_tests::bench::{program, report};
use serin_tests::tools;

const NAME: &str = "bench-serving";

/// Throughput and latency of the model server, beside others.
#[derive(Debug, Parser)]
struct Args {
    /// One round instead of five: enough to see that it works
    #[arg(long, env = "QUICK", value_parser = clap::builder::FalseyValueParser::new())]
    quick: bool,

    /// Another serin-serve than the one that is built here
    #[arg(long, value_name = "PROGRAM")]
    serve: Option<PathBuf>,

    /// Measure these alone beside the loop, such as 'large: serin-serve, binary, batches of 32' (repeatable)
    #[arg(long, value_name = "MODEL: NAME")]
    only: Vec<String>,
}

fn main() -> ExitCode {
    program::end(NAME, bench(&Args::parse()))
}

fn bench(args: &Args) -> Result<()> {
    let subjects = chosen(&args.only)?;
    let runtime = program::runtime()?;
    let serve = match &args.serve {
        Some(serve) => serve.clone(),
        None => tools::programs()?.serve,
    };
    let size = if args.quick { QUICK } else { FULL };
    let told = |line: &str| program::tell(NAME, line);
    let results = runtime.block_on(run(size, &serve, &subjects, told))?;
    let path = report::write("serving", &results.rows())?;
    writeln!(
        std::io::stdout(),
        "{}\n\n{} rounds of {:?} each; all of it is in {}",
        results.table(),
        size.rounds,
        size.turn,
        path.display()
    )
    .context("failed to print")?;
    Ok(())
}
