//! `make bench-filter`: what the filter costs a request, beside other ways to do the same. It reports and does not
//! judge: a machine that is busy changes the numbers.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use serin_tests::bench::filter::modules::Modules;
use serin_tests::bench::filter::{FULL, QUICK, run};
use serin_tests::bench::{program, report};
use serin_tests::world::World;

const NAME: &str = "bench-filter";

/// CPU time of a request in Envoy: with the filter, with others, and with none.
#[derive(Debug, Parser)]
struct Args {
    /// Measure for seconds instead of minutes: enough to see that it works
    #[arg(long, env = "QUICK", value_parser = clap::builder::FalseyValueParser::new())]
    quick: bool,
    /// Measure another build of the filter as well (repeatable)
    #[arg(long, value_name = "NAME=FILE", value_parser = named)]
    beside: Vec<(String, PathBuf)>,
    /// Measure these alone, by their names in the table, beside none and the no-op (repeatable)
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
}

fn named(text: &str) -> Result<(String, PathBuf), String> {
    let (name, file) = text.split_once('=').ok_or("it is not NAME=FILE")?;
    Ok((name.to_owned(), file.into()))
}

fn main() -> ExitCode {
    program::end(NAME, bench(&Args::parse()))
}

fn bench(args: &Args) -> Result<()> {
    let runtime = program::runtime()?;
    let world = World::new("bench-modules")?;
    let modules = Modules::build(world.path(), args.beside.clone())?;
    let size = if args.quick { QUICK } else { FULL };
    let told = |line: &str| program::tell(NAME, line);
    let results = runtime.block_on(run(size, &modules, &args.only, told))?;
    let path = report::write("filter", &results.rows()?)?;
    writeln!(
        std::io::stdout(),
        "{}\n\n{} waves of {} rounds of {} requests for each of {} Envoys; +- is the standard error over the waves; the two \
         rows of none differ by noise alone; all of it is in {}",
        results.table()?,
        size.waves,
        size.rounds,
        size.requests,
        size.envoys,
        path.display()
    )
    .context("failed to print")?;
    Ok(())
}
