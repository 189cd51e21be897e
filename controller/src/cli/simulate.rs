//! `serin simulate`: plan before you ship.

mod tables;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use super::files::read_for_errors;
use crate::cells::Grid;
use crate::quantity::{Fraction, Span};
use crate::simulate::engine::Design;
use crate::simulate::{
    Conditions, Rival, Summary, TRUTHS, Traffic, Truth, Users, Wanted, simulate, simulate_rival,
};

#[derive(Debug, Args)]
pub(super) struct SimulateArgs {
    /// Rollout file
    #[arg(value_name = "ROLLOUT")]
    file: PathBuf,
    /// All requests of the rollout in a minute
    #[arg(long, value_name = "NUMBER", default_value_t = 6000.0)]
    requests_per_minute: f64,
    /// Share of stable's requests that fail
    #[arg(long, value_name = "SHARE", default_value = "1%")]
    error_rate: Fraction,
    /// Users who stay with their version; without it so many that nobody's luck matters
    #[arg(long, value_name = "NUMBER")]
    users: Option<u32>,
    /// Share of the users who fail more often than the others, and how often, such as 1%:50%
    #[arg(long, value_name = "SHARE:SHARE", requires = "users", value_parser = failing)]
    failing: Option<(Fraction, Fraction)>,
    /// How unequal users are: activity falls with the rank to this power; 0: all alike
    #[arg(long, value_name = "POWER", requires = "users", default_value_t = 0.0)]
    zipf: f64,
    /// Errors in a row that one cause makes, on average
    #[arg(long, value_name = "NUMBER", default_value_t = 1.0)]
    bursts: f64,
    /// Releases tried of each kind
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    runs: u64,
    /// Where the random numbers begin: the same seed gives the same figures
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Time after which a release counts as undecided
    #[arg(long, default_value = "24h")]
    horizon: Span,
    /// Length of the installation's cells
    #[arg(long, env = "SERIN_CELL", default_value = "30s")]
    cell: Span,
    /// How long after its end a cell is read
    #[arg(long, env = "SERIN_LAG", default_value = "30s")]
    lag: Span,
    /// Other systems to try on the same traffic, with the settings that their documentation shows
    #[arg(long, value_enum, value_delimiter = ',', value_name = "SYSTEM")]
    against: Vec<Against>,
    /// Threads; 0: as many as there are cores
    #[arg(long, default_value_t = 0)]
    threads: usize,
    /// JSON instead of tables
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Against {
    Flagger,
    Argo,
    Kayenta,
}

impl From<Against> for Rival {
    fn from(against: Against) -> Self {
        match against {
            Against::Flagger => Self::Flagger,
            Against::Argo => Self::Argo,
            Against::Kayenta => Self::Kayenta,
        }
    }
}

fn failing(text: &str) -> Result<(Fraction, Fraction), String> {
    let (share, rate) = text
        .split_once(':')
        .ok_or("write two shares, such as 1%:50%: who fails, and how often")?;
    let fraction = |text: &str| text.parse::<Fraction>().map_err(|error| error.to_string());
    Ok((fraction(share)?, fraction(rate)?))
}

/// What was simulated, and how it went.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    rollout: String,
    requests_per_minute: f64,
    error_rate: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    users: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failing: Option<(f64, f64)>,
    zipf: f64,
    bursts: f64,
    runs: u64,
    seed: u64,
    horizon_seconds: f64,
    cell_seconds: f64,
    lag_seconds: f64,
    false_rollback: f64,
    false_promotion: f64,
    releases: Vec<Kind>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    against: Vec<Other>,
}

/// Another system under the same traffic.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Other {
    system: &'static str,
    settings: &'static str,
    releases: Vec<Kind>,
}

/// The releases of one truth.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Kind {
    name: String,
    canary_error_rate: f64,
    wanted: Wanted,
    #[serde(flatten)]
    summary: Summary,
}

pub(super) fn run(args: &SimulateArgs) -> anyhow::Result<ExitCode> {
    let Some(source) = read_for_errors(&args.file)? else {
        return Ok(ExitCode::FAILURE);
    };
    let traffic = Traffic {
        requests_per_minute: args.requests_per_minute,
        error_rate: args.error_rate.0,
        users: args.users.map(|count| {
            let (share, rate) = args.failing.unwrap_or((Fraction(0.0), Fraction(0.0)));
            Users {
                count,
                failing: share.0,
                failing_rate: rate.0,
                zipf: args.zipf,
            }
        }),
        burst: args.bursts,
    };
    traffic.check()?;
    let grid = Grid::new(args.cell.0, args.lag.0)?;
    let cells = cells(args.horizon.0, args.cell.0)?;
    let conditions = Conditions {
        source: &source,
        grid,
        traffic,
        cells,
    };
    let design = Design::of(&source.plan);
    if traffic.users.is_some() && !design.sticky {
        bail!(
            "--users: the rollout has neither a key nor a cookie, so that nobody stays with a version: leave it out"
        );
    }
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(args.threads)
        .build()
        .context("failed to start the threads")?;
    let rivals: Vec<Rival> = args.against.iter().map(|rival| (*rival).into()).collect();
    let bar = progress(args.runs * TRUTHS.len() as u64 * (1 + rivals.len() as u64));
    let kind = |truth: Truth, summary: Summary| Kind {
        name: truth.name(),
        canary_error_rate: truth.canary_rate(&design, traffic.error_rate),
        wanted: truth.wanted(&design, traffic.error_rate),
        summary,
    };
    let done = || bar.inc(1);
    let mut releases = Vec::new();
    for truth in TRUTHS {
        bar.set_message(truth.name());
        let summary = pool
            .install(|| simulate(&conditions, truth, args.runs, args.seed, done))
            .with_context(|| format!("'{}' cannot be simulated", args.file.display()))?;
        releases.push(kind(truth, summary));
    }
    let mut against = Vec::new();
    for rival in rivals {
        bar.set_message(rival.name());
        let run = |truth| simulate_rival(rival, &conditions, truth, args.runs, args.seed, done);
        against.push(Other {
            system: rival.name(),
            settings: rival.settings(),
            releases: pool.install(|| {
                TRUTHS
                    .iter()
                    .map(|truth| kind(*truth, run(*truth)))
                    .collect()
            }),
        });
    }
    bar.finish_and_clear();
    let report = Report {
        rollout: source.plan.name.to_string(),
        requests_per_minute: args.requests_per_minute,
        error_rate: traffic.error_rate,
        users: args.users,
        failing: args.failing.map(|(share, rate)| (share.0, rate.0)),
        zipf: args.zipf,
        bursts: args.bursts,
        runs: args.runs,
        seed: args.seed,
        horizon_seconds: args.horizon.0.as_secs_f64(),
        cell_seconds: args.cell.0.as_secs_f64(),
        lag_seconds: args.lag.0.as_secs_f64(),
        false_rollback: design.false_rollback,
        false_promotion: design.false_promotion,
        releases,
        against,
    };
    if args.json {
        say!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        say!("{}", tables::text(&report));
    }
    Ok(ExitCode::SUCCESS)
}

/// Whole cells in the horizon.
fn cells(horizon: Duration, cell: Duration) -> anyhow::Result<u64> {
    let cells = horizon.as_millis() / cell.as_millis().max(1);
    match u64::try_from(cells) {
        Ok(0) => bail!(
            "--horizon: {} is shorter than a cell of {}",
            Span(horizon),
            Span(cell)
        ),
        // A year of cells of half a minute.
        Ok(cells) if cells <= 1_100_000 => Ok(cells),
        _ => bail!(
            "--horizon: {} are more than 1 100 000 cells of {}",
            Span(horizon),
            Span(cell)
        ),
    }
}

/// A bar on stderr; indicatif draws none where that is no terminal.
fn progress(runs: u64) -> ProgressBar {
    let bar = ProgressBar::new(runs);
    let style = "{bar:30} {pos}/{len} releases, {eta} left: {msg}";
    if let Ok(style) = ProgressStyle::with_template(style) {
        bar.set_style(style);
    }
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_who_fail_are_written_as_two_shares() {
        assert_eq!(failing("1%:50%").unwrap(), (Fraction(0.01), Fraction(0.5)));
        assert!(failing("1%").unwrap_err().contains("1%:50%"));
        assert!(failing("x:50%").unwrap_err().contains("'x' is not a share"));
    }

    #[test]
    fn a_horizon_is_a_number_of_cells_that_can_be_run() {
        let seconds = Duration::from_secs;
        assert_eq!(cells(seconds(95), seconds(30)).unwrap(), 3);
        let short = cells(seconds(10), seconds(30)).unwrap_err().to_string();
        assert!(short.contains("shorter than a cell"), "{short}");
        assert!(cells(seconds(10_000_000), Duration::from_millis(100)).is_err());
    }
}
