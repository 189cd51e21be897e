//! What a change of the configuration takes: until it decides requests, and what requests wait meanwhile.

pub mod delays;
pub mod proxy;
pub mod trace;

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use comfy_table::{CellAlignment, Table, presets};

use self::proxy::Proxy;
use crate::bench::report::Row;
use crate::bench::rounds::Series;

/// How much to measure.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    /// How many Envoys are started for each kind of change.
    pub envoys: usize,
    /// How often each of them changes.
    pub changes: usize,
}

/// Enough for a median and a worst case.
pub const FULL: Size = Size {
    envoys: 5,
    changes: 5,
};

/// A rough look.
pub const QUICK: Size = Size {
    envoys: 1,
    changes: 3,
};

/// Rollouts of a sidecar's usual configuration, and of the longest.
const FEW: u32 = 10;
const MANY: u32 = 10_000;

/// One thing that was measured, in milliseconds.
#[derive(Debug)]
struct Measured {
    name: &'static str,
    /// What it must not exceed, where something was promised.
    bound: Option<f64>,
    series: Series,
}

impl Measured {
    fn new(name: &'static str, bound: Option<f64>) -> Measured {
        Measured {
            name,
            bound,
            series: Series::default(),
        }
    }

    fn add(&mut self, duration: Duration) {
        self.series.0.push(duration.as_secs_f64() * 1e3);
    }
}

/// What was measured.
#[derive(Debug)]
pub struct Results(Vec<Measured>);

/// Measures; `told` hears of each step.
///
/// # Errors
/// When something cannot be started, a request fails, or a change does not come.
pub async fn run(size: Size, wasm: &Path, told: impl Fn(&str)) -> Result<Results> {
    let mut weights = Weights::new();
    let mut first = Many::new([
        "first 10 000 rollouts: a worker's work until live",
        "first 10 000 rollouts: CPU time of it",
        "first 10 000 rollouts: longest piece of it",
        "first 10 000 rollouts: file to first request on them",
        "first 10 000 rollouts: worst request meanwhile",
        "first 10 000 rollouts: worst request just before",
    ]);
    let mut next = Many::new([
        "next 10 000 rollouts: a worker's work until live",
        "next 10 000 rollouts: CPU time of it",
        "next 10 000 rollouts: longest piece of it",
        "next 10 000 rollouts: file to first request on them",
        "next 10 000 rollouts: worst request meanwhile",
        "next 10 000 rollouts: worst request just before",
    ]);
    for number in 1..=size.envoys {
        weights.measure(wasm, size.changes).await?;
        let mut traced = Proxy::start(wasm.to_owned(), 1, FEW).await?;
        first.trace(&mut traced).await?;
        for _ in 1..size.changes {
            next.trace(&mut traced).await?;
        }
        drop(traced);
        let mut visited = Proxy::start(wasm.to_owned(), 1, FEW).await?;
        first.change(&mut visited).await?;
        for _ in 1..size.changes {
            next.change(&mut visited).await?;
        }
        told(&format!("{number} of {} rounds", size.envoys));
    }
    let all = weights.0.into_iter().chain(first.0).chain(next.0);
    Ok(Results(all.collect()))
}

/// A change of weights in a usual configuration.
struct Weights([Measured; 4]);

impl Weights {
    fn new() -> Weights {
        Weights([
            Measured::new("weights: file to first request on new ones", Some(250.0)),
            Measured::new("weights: file to last request on old ones", None),
            Measured::new("weights: worst request meanwhile", None),
            Measured::new("weights: worst request just before", None),
        ])
    }

    async fn measure(&mut self, wasm: &Path, changes: usize) -> Result<()> {
        let mut proxy = Proxy::start(wasm.to_owned(), 2, FEW).await?;
        let [first_new, last_old, worst, calm] = &mut self.0;
        for _ in 0..changes {
            let seen = proxy.change(FEW).await?;
            first_new.add(seen.first_new);
            last_old.add(seen.last_old);
            worst.add(seen.worst);
            calm.add(seen.calm);
        }
        Ok(())
    }
}

/// A long configuration.
struct Many([Measured; 6]);

impl Many {
    fn new(names: [&'static str; 6]) -> Many {
        let bounds = [Some(150.0), None, None, None, Some(50.0), None];
        let mut bounds = bounds.into_iter();
        Many(names.map(|name| Measured::new(name, bounds.next().flatten())))
    }

    async fn trace(&mut self, proxy: &mut Proxy) -> Result<()> {
        let [whole, cpu, longest, ..] = &mut self.0;
        for (work, used) in proxy.trace(MANY).await? {
            whole.add(work.whole);
            cpu.add(used);
            longest.add(work.longest);
        }
        Ok(())
    }

    async fn change(&mut self, proxy: &mut Proxy) -> Result<()> {
        let [_, _, _, first_new, worst, calm] = &mut self.0;
        let seen = proxy.change(MANY).await?;
        first_new.add(seen.first_new);
        worst.add(seen.worst);
        calm.add(seen.calm);
        Ok(())
    }
}

impl Results {
    /// The rows of the bench's file: the median and the worst of each.
    #[must_use]
    pub fn rows(&self) -> Vec<Row> {
        let of =
            |name: &str, kind: &str, value| Row::new(&format!("{name}, {kind}"), value, "ms", None);
        let rows = self.0.iter().flat_map(|it| {
            [
                of(it.name, "median", it.series.median()),
                of(it.name, "worst", it.series.quantile(1.0)),
            ]
        });
        rows.collect()
    }

    /// The table for people.
    #[must_use]
    pub fn table(&self) -> String {
        let mut table = Table::new();
        table
            .load_style(presets::NOTHING)
            .set_header(["ms", "median", "worst", "must hold"]);
        for Measured {
            name,
            bound,
            series,
        } in &self.0
        {
            let bound = bound.map(|bound| format!("{bound:.0}"));
            table.add_row([
                (*name).to_owned(),
                format!("{:.1}", series.median()),
                format!("{:.1}", series.quantile(1.0)),
                bound.unwrap_or_default(),
            ]);
        }
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        table.trim_fmt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_measurement_has_its_median_and_its_worst() {
        let mut measured = Measured::new("swap", Some(150.0));
        for ms in [3, 900, 4] {
            measured.add(Duration::from_millis(ms));
        }
        let results = Results(vec![measured]);
        let rows = results.rows();
        let rows: Vec<_> = rows
            .iter()
            .map(|row| (row.name.as_str(), row.value))
            .collect();
        assert_eq!(rows, [("swap, median", 4.0), ("swap, worst", 900.0)]);
        let table = results.table();
        let line = table.lines().find(|line| line.contains("swap")).unwrap();
        let words: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(words, ["swap", "4.0", "900.0", "150"]);
    }
}
