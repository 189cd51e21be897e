//! `serin replay`: what a rollout would have decided on counts that were recorded.

mod story;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::{ArgGroup, Args};
use indicatif::ProgressBar;
use jiff::Timestamp;

use super::access::AccessArgs;
use super::files::read_for_errors;
use crate::cells::Grid;
use crate::prometheus::{Client, RolloutCounts, Selectors, cell_query};
use crate::quantity::Span;
use crate::replay::{MAX_CELLS, Recording, read_csv, replay};
use crate::simulate::engine::{Interval, Names};

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("recording").required(true).args(["counts", "prometheus"])))]
pub(super) struct ReplayArgs {
    /// Rollout file
    #[arg(value_name = "ROLLOUT")]
    file: PathBuf,
    /// CSV with the columns time or cell, variant or version, total, bad, and if known group and fused
    #[arg(long, value_name = "FILE")]
    counts: Option<PathBuf>,
    /// Prometheus that scraped the proxies; it is only read
    #[arg(long, value_name = "URL", requires_all = ["from", "to"], value_parser = super::run::endpoint)]
    prometheus: Option<String>,
    /// When the release begins, such as 2026-11-21T10:00:00Z
    #[arg(long, value_name = "TIME", requires = "prometheus")]
    from: Option<Timestamp>,
    /// Up to when counts are read
    #[arg(long, value_name = "TIME", requires = "prometheus")]
    to: Option<Timestamp>,
    /// Label matchers of the proxies' scrape targets
    #[arg(long, env = "SERIN_PROXIES", value_name = "MATCHERS", default_value_t = Selectors::default().proxies)]
    proxies: String,
    /// Length of the cells in which counts are compared
    #[arg(long, env = "SERIN_CELL", default_value = "30s")]
    cell: Span,
    /// How long after its end a cell is read
    #[arg(long, env = "SERIN_LAG", default_value = "30s")]
    lag: Span,
    /// The verdict after every cell, too
    #[arg(long)]
    verbose: bool,
    /// JSON instead of lines
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    access: AccessArgs,
}

pub(super) async fn run(args: ReplayArgs) -> anyhow::Result<ExitCode> {
    let Some(source) = read_for_errors(&args.file)? else {
        return Ok(ExitCode::FAILURE);
    };
    let grid = Grid::new(args.cell.0, args.lag.0)?;
    let names = Names::of(&source.plan);
    let recording = match (&args.counts, &args.prometheus, args.from, args.to) {
        (Some(file), ..) => match from_file(file, &names, grid)? {
            Some(recording) => recording,
            None => return Ok(ExitCode::FAILURE),
        },
        (None, Some(endpoint), Some(from), Some(to)) => {
            let selectors = Selectors {
                proxies: args.proxies.clone(),
                ..Selectors::default()
            };
            let until = to.min(Timestamp::now());
            let client = Client::with_access(endpoint, args.access.access())?;
            let asked = Asked {
                endpoint,
                client,
                selectors,
            };
            from_prometheus(&asked, &names, grid, from, until).await?
        }
        // clap lets nothing else through.
        _ => bail!("give --counts FILE, or --prometheus URL with --from and --to"),
    };
    let found = replay(&source, grid, &recording, args.verbose)?;
    if args.json {
        say!("{}", serde_json::to_string_pretty(&found)?);
    } else {
        story::lines(&names.rollout, args.cell, &found)
            .iter()
            .for_each(|line| say!("{line}"));
    }
    Ok(ExitCode::SUCCESS)
}

fn from_file(path: &Path, names: &Names, grid: Grid) -> anyhow::Result<Option<Recording>> {
    let file = path.display().to_string();
    let text = std::fs::read_to_string(path).with_context(|| format!("failed to read '{file}'"))?;
    match read_csv(&file, &text, names, grid) {
        Ok(recording) => Ok(Some(recording)),
        Err(mistakes) => {
            mistakes.iter().for_each(|mistake| eprintln!("{mistake}"));
            Ok(None)
        }
    }
}

/// Which Prometheus, and which of its targets.
struct Asked<'a> {
    endpoint: &'a str,
    client: Client,
    selectors: Selectors,
}

/// Reads the cells between two times, each with the query that the controller asks.
async fn from_prometheus(
    asked: &Asked<'_>,
    names: &Names,
    grid: Grid,
    from: Timestamp,
    to: Timestamp,
) -> anyhow::Result<Recording> {
    let (first, end) = (grid.first_after(from), grid.readable_until(to));
    if first >= end {
        bail!(
            "between --from {from:.0} and --to {to:.0} lies no whole cell of {} whose lag is over",
            Span(grid.cell())
        );
    }
    if end - first > MAX_CELLS {
        bail!(
            "--from and --to are more than {MAX_CELLS} cells of {} apart",
            Span(grid.cell())
        );
    }
    let Asked {
        endpoint,
        client,
        selectors,
    } = asked;
    let query = cell_query(selectors, grid.cell());
    let bar = ProgressBar::new((end - first).unsigned_abs());
    let mut recording = Recording::new();
    let mut requests = 0;
    for index in first..end {
        let mut counts = RolloutCounts::default();
        client
            .stream_proxies(selectors, &query, grid.end(index), |row| counts.add(row))
            .await?;
        let interval = Interval {
            canary: counts.of(&names.rollout, &names.canary.1).into(),
            stable: counts.of(&names.rollout, &names.stable.1).into(),
        };
        requests += interval.canary.tally().total + interval.stable.tally().total;
        recording.insert(index, interval);
        bar.inc(1);
    }
    bar.finish_and_clear();
    if requests == 0 {
        bail!(
            "Prometheus at '{endpoint}' has no requests of rollout '{}' with the versions {} and {} between {from:.0} \
             and {to:.0}: check the times, the versions of the rollout file, and --proxies",
            names.rollout,
            names.stable.1,
            names.canary.1
        );
    }
    Ok(recording)
}
