//! What the filter costs: CPU time of one Envoy worker for a request, beside other ways to do the same and beside none.
//!
//! # What is compared with what
//!
//! A cost is compared with another one of the same round, and the median is taken of these ratios. The ratio of the two
//! medians is not the same: a shared machine has fast times and slow ones, which differ by more than the contenders do,
//! and where half of the rounds are slow, one contender's median may be of a fast round and the other's of a slow one.
//! Within a round both are fast or both slow.
//!
//! Rounds do not tell how sure a ratio is. Two Envoys of the same kind differ by 0.02 to 0.04 for as long as they live
//! (where their memory lies), which is more than what is left of the noise after dozens of rounds. So Envoys are started
//! anew in each of several waves. The ratio is the mean over the waves, and how much the waves differ gives its
//! standard error.

pub mod contender;
pub mod modules;

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use comfy_table::{CellAlignment, Table, presets};

use self::contender::{Contender, Way};
use self::modules::Modules;
use crate::bench::cpu::Cpus;
use crate::bench::report::Row;
use crate::bench::rounds::{Series, Waves, orders};
use crate::upstream::Upstream;
use crate::world::World;

/// How much to measure.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    /// How often all Envoys are started.
    pub waves: usize,
    /// How many Envoys each contender is in a wave.
    pub envoys: usize,
    /// Requests that each of them gets before any is measured.
    pub warm_up: u64,
    /// How often each of them has its turn.
    pub rounds: usize,
    /// Requests in a turn.
    pub requests: u64,
}

/// Enough to tell two contenders apart that differ by 1 us, as far as the machine allows it. Turns are short, so that
/// those of a round have the same machine: a shared one is faster in one second than in the next.
pub const FULL: Size = Size {
    waves: 5,
    envoys: 4,
    warm_up: 40_000,
    rounds: 12,
    requests: 800,
};

/// A rough look.
pub const QUICK: Size = Size {
    waves: 1,
    envoys: 1,
    warm_up: 800,
    rounds: 20,
    requests: 800,
};

/// Any: it makes the orders of two runs the same.
const SEED: u64 = 4;

const NONE: &str = "none";
const NOOP: &str = "Wasm no-op, all exports of the SDK";

/// Who is measured, in the order of the table. The first one comes twice, as itself and as somebody else: what these
/// two differ by is noise.
fn contenders_of(modules: &Modules) -> Vec<(String, Way)> {
    let serin = |wasm: &PathBuf, rollouts, host| Way::Serin {
        wasm: wasm.clone(),
        rollouts,
        host,
    };
    let known = [
        (NONE, Way::None),
        ("none, a second time", Way::None),
        ("weighted_clusters, native", Way::WeightedClusters),
        (NOOP, Way::Noop(modules.noop_full.clone())),
        (
            "Wasm no-op, the exports of Serin",
            Way::Noop(modules.noop_ours.clone()),
        ),
        ("Serin", serin(&modules.serin, 1, contender::HOST)),
        (
            "Serin, 10 000 rollouts",
            serin(&modules.serin, 10_000, contender::HOST),
        ),
        (
            "Serin, no rollout matches",
            serin(&modules.serin, 1, contender::OTHER_HOST),
        ),
        ("Lua, the same without statistics", Way::Lua),
    ];
    let known = known.map(|(name, way)| (name.to_owned(), way));
    let beside = modules.beside.iter();
    let beside = beside.map(|(name, wasm)| (name.clone(), serin(wasm, 1, contender::HOST)));
    known.into_iter().chain(beside).collect()
}

/// What was measured.
#[derive(Debug)]
pub struct Results {
    /// Names, and microseconds of CPU time per request in each round, the mean of the contender's Envoys.
    costs: Vec<(String, Waves)>,
    /// Names of modules, and their sizes in bytes.
    sizes: Vec<(String, u64)>,
}

/// Measures all contenders or, beside what they are compared with and other builds, `only` these; `told` hears of each
/// step.
///
/// # Errors
/// When something cannot be built or started, and when a contender does not do what it is measured for.
pub async fn run(
    size: Size,
    modules: &Modules,
    only: &[String],
    told: impl Fn(&str),
) -> Result<Results> {
    let world = World::new("bench-filter")?;
    let cpus = Cpus::split()?;
    if cpus.is_none() {
        told("there is one CPU only: the traffic disturbs what is measured");
    }
    let upstreams = (
        Upstream::start(contender::LIVE).await?,
        Upstream::start(contender::CANARY).await?,
    );
    let beside = |name: &String| modules.beside.iter().any(|(known, _)| known == name);
    let wanted = |name: &String| {
        let compared = [NONE, NOOP].contains(&name.as_str()) || beside(name);
        only.is_empty() || compared || only.contains(name)
    };
    let wanted: Vec<_> = contenders_of(modules)
        .into_iter()
        .filter(|(name, _)| wanted(name))
        .collect();
    let mut costs: Vec<(String, Waves)> = wanted
        .iter()
        .map(|(name, _)| (name.clone(), Waves::default()))
        .collect();
    for wave in 1..=size.waves {
        let mut envoys = Vec::new();
        for (contender, (name, way)) in wanted.iter().enumerate() {
            for _ in 0..size.envoys {
                if let Some(cpus) = &cpus {
                    cpus.measure()?;
                }
                let envoy = Contender::start(&world, envoys.len(), way.clone(), &upstreams)
                    .await
                    .with_context(|| format!("failed to start '{name}'"))?;
                envoys.push((contender, envoy));
            }
        }
        if let Some(cpus) = &cpus {
            cpus.drive()?;
        }
        told(&format!("wave {wave} of {}: all Envoys are up", size.waves));
        let measured = measure(size, SEED + wave as u64, &wanted, &mut envoys).await?;
        for ((_, waves), series) in costs.iter_mut().zip(measured) {
            waves.0.push(series);
        }
    }
    Ok(Results {
        costs,
        sizes: modules.sizes()?,
    })
}

/// The rounds of one wave, after a warm-up: the costs of each contender.
async fn measure(
    size: Size,
    seed: u64,
    contenders: &[(String, Way)],
    envoys: &mut [(usize, Contender)],
) -> Result<Vec<Series>> {
    let mut users = 0..size.warm_up;
    for (contender, envoy) in &mut *envoys {
        turn(&contenders[*contender].0, envoy, users.clone()).await?;
    }
    let mut costs = vec![Series::default(); contenders.len()];
    for order in orders(envoys.len(), size.rounds, seed) {
        // The same users for all contenders of a round: they have the same work.
        users = users.end..users.end + size.requests;
        let mut sums = vec![0.0; costs.len()];
        for subject in order {
            let (contender, envoy) = &mut envoys[subject];
            sums[*contender] += turn(&contenders[*contender].0, envoy, users.clone()).await?;
        }
        for (series, sum) in costs.iter_mut().zip(sums) {
            series.0.push(sum / size.envoys as f64);
        }
    }
    Ok(costs)
}

async fn turn(name: &str, contender: &mut Contender, users: std::ops::Range<u64>) -> Result<f64> {
    contender
        .turn(users)
        .await
        .with_context(|| format!("failed to measure '{name}'"))
}

impl Results {
    fn costs_of(&self, name: &str) -> Result<&Waves> {
        let found = self.costs.iter().find(|(found, _)| *found == name);
        match found {
            Some((_, waves)) => Ok(waves),
            None => bail!("'{name}' was not measured"),
        }
    }

    /// The rows of the bench's file: costs with their ratio to none, then costs as a ratio to the no-op, then sizes.
    ///
    /// # Errors
    /// When what the others are compared with was not measured.
    pub fn rows(&self) -> Result<Vec<Row>> {
        let (none, noop) = (self.costs_of(NONE)?, self.costs_of(NOOP)?);
        let costs = self.costs.iter().map(|(name, waves)| {
            let ratio = waves.of(none).mean().0;
            Row::new(name, waves.all().median(), "us/request", Some(ratio))
        });
        let of_noop = self.costs.iter().flat_map(|(name, waves)| {
            let (mean, error) = waves.of(noop).mean();
            let name = format!("{name} / {NOOP}");
            let sure = format!("{name}, standard error");
            [
                Row::new(&name, mean, "ratio", None),
                Row::new(&sure, error, "ratio", None),
            ]
        });
        // Sizes are far below the 2^53 up to which they are exact.
        let sizes = self.sizes.iter().map(|(name, size)| {
            let name = format!("size of module: {name}");
            Row::new(&name, *size as f64, "bytes", None)
        });
        Ok(costs.chain(of_noop).chain(sizes).collect())
    }

    /// The table for people.
    ///
    /// # Errors
    /// As [`Results::rows`].
    pub fn table(&self) -> Result<String> {
        let (none, noop) = (self.costs_of(NONE)?, self.costs_of(NOOP)?);
        let mut costs = Table::new();
        costs.load_style(presets::NOTHING).set_header([
            "CPU time of a request",
            "us (median)",
            "us (p10 to p90)",
            "x none",
            "x no-op, all exports",
            "+-",
        ]);
        for (name, waves) in &self.costs {
            let series = waves.all();
            let (of_noop, error) = waves.of(noop).mean();
            costs.add_row([
                name.clone(),
                format!("{:.1}", series.median()),
                format!("{:.1} to {:.1}", series.quantile(0.1), series.quantile(0.9)),
                format!("{:.3}", waves.of(none).mean().0),
                format!("{of_noop:.3}"),
                format!("{error:.3}"),
            ]);
        }
        let mut sizes = Table::new();
        sizes
            .load_style(presets::NOTHING)
            .set_header(["module", "KiB"]);
        for (name, size) in &self.sizes {
            sizes.add_row([name.clone(), format!("{:.0}", *size as f64 / 1024.0)]);
        }
        for table in [&mut costs, &mut sizes] {
            for column in table.column_iter_mut().skip(1) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        Ok(format!("{}\n\n{}", costs.trim_fmt(), sizes.trim_fmt()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn results() -> Results {
        let series = |values: &[f64]| Waves(vec![Series(values.to_vec()), Series(values.to_vec())]);
        Results {
            costs: vec![
                (NONE.to_owned(), series(&[40.0, 50.0, 45.0])),
                (NOOP.to_owned(), series(&[50.0, 62.5, 56.25])),
                ("Serin".to_owned(), series(&[55.0, 68.75, 61.875])),
            ],
            sizes: vec![("Serin".to_owned(), 2048)],
        }
    }

    #[test]
    fn each_cost_has_its_ratio_to_none_and_to_the_noop() {
        let rows = results().rows().unwrap();
        let named = |name: &str| rows.iter().find(|row| row.name == name).unwrap();
        let serin = named("Serin");
        assert_eq!((serin.value, serin.unit.as_str()), (61.875, "us/request"));
        assert!((serin.ratio.unwrap() - 1.375).abs() < 1e-9);
        let of_noop = named("Serin / Wasm no-op, all exports of the SDK");
        assert!((of_noop.value - 1.1).abs() < 1e-9);
        assert_eq!(named("size of module: Serin").value, 2048.0);
    }

    #[test]
    fn the_table_says_the_same() {
        let table = results().table().unwrap();
        let line = table.lines().find(|line| line.contains("Serin")).unwrap();
        let words: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(
            words,
            [
                "Serin", "61.9", "55.0", "to", "68.8", "1.375", "1.100", "0.000"
            ]
        );
    }
}
