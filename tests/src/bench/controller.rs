//! What the operator costs a cluster, and how fast it acts: the time from a weight in the API server to the first
//! request on it, thousands of rollouts at once, and the same of Flagger.

pub mod flagger;
pub mod latency;
pub mod population;
pub mod prometheus;
pub mod scale;
pub mod seen;
pub mod usage;

use std::time::Duration;

use anyhow::Result;
use clap::ValueEnum;
use comfy_table::{CellAlignment, Table, presets};

use crate::bench::report::Row;
use crate::bench::rounds::Series;

/// How much to measure.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    /// How often the weight goes up in a mesh.
    pub changes: usize,
    /// Rollouts of the cluster.
    pub rollouts: usize,
    /// Those of them with a release in progress.
    pub progressing: usize,
    /// How long nothing happens but releases that go on.
    pub steady: Duration,
    /// Releases that turn bad one by one.
    pub faults: usize,
    /// Canaries of Flagger.
    pub canaries: usize,
    /// How long Flagger's canaries go on.
    pub steady_beside: Duration,
    /// How long Flagger has to take canaries back.
    pub window: Duration,
}

/// What is promised is promised for this.
pub const FULL: Size = Size {
    changes: 40,
    rollouts: 10_000,
    progressing: 1_000,
    steady: Duration::from_secs(120),
    faults: 50,
    canaries: 1_000,
    steady_beside: Duration::from_secs(40),
    window: Duration::from_secs(120),
};

/// A rough look.
pub const QUICK: Size = Size {
    changes: 8,
    rollouts: 1_000,
    progressing: 100,
    // Long enough for every release to write one checkpoint.
    steady: Duration::from_secs(75),
    faults: 10,
    canaries: 50,
    steady_beside: Duration::from_secs(20),
    window: Duration::from_secs(60),
};

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// A weight on its way through istiod to gateway and sidecar.
    Latency,
    /// Thousands of rollouts.
    Scale,
    /// Flagger beside.
    Flagger,
}

/// One number that was measured, and what it must not exceed where something was promised.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    name: String,
    value: f64,
    unit: &'static str,
    bound: Option<f64>,
    /// Of Flagger's: as a multiple of Serin's.
    ratio: Option<f64>,
}

/// What compares: the end of a name of Flagger's, and the number of Serin's.
const ALIKE: [(&str, &str); 3] = [
    (flagger::CPU, scale::CPU),
    (flagger::MEMORY, scale::MEMORY),
    (flagger::REVERTED, scale::REVERTED),
];

impl Finding {
    /// A number that is only told.
    #[must_use]
    pub fn told(name: &str, value: f64, unit: &'static str) -> Finding {
        Finding {
            name: name.to_owned(),
            value,
            unit,
            bound: None,
            ratio: None,
        }
    }

    /// A number with a promise.
    #[must_use]
    pub fn at_most(self, bound: f64) -> Finding {
        Finding {
            bound: Some(bound),
            ..self
        }
    }

    /// Median and 99th percentile of times; only the median is promised, or only the other, or none.
    #[must_use]
    pub fn quantiles(name: &str, times: &Series, bounds: [Option<f64>; 2]) -> [Finding; 2] {
        let of = |(label, quantile, bound)| Finding {
            bound,
            ..Finding::told(&format!("{name}, {label}"), times.quantile(quantile), "ms")
        };
        [("p50", 0.5, bounds[0]), ("p99", 0.99, bounds[1])].map(of)
    }

    /// Whether the promise is kept; none was made, or nothing was measured.
    #[must_use]
    pub fn holds(&self) -> Option<bool> {
        let bound = self.bound.filter(|_| !self.value.is_nan())?;
        Some(self.value <= bound)
    }
}

/// Milliseconds of a time, for a [`Series`].
#[must_use]
pub fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// What was measured.
#[derive(Debug, Default)]
pub struct Results(pub Vec<Finding>);

/// Measures these parts, one after the other; `told` hears of each step. What was measured before an error stays.
///
/// # Errors
/// When something cannot be started, or does not come to what is to be measured.
pub async fn run(size: Size, parts: &[Part], told: impl Fn(&str)) -> (Results, Result<()>) {
    let mut results = Results::default();
    let mut all = Ok(());
    for part in parts {
        let measured = match part {
            Part::Latency => latency::measure(size, &told).await,
            Part::Scale => scale::measure(size, &told).await,
            Part::Flagger => flagger::measure(size, &told).await,
        };
        match measured {
            Ok(findings) => results.0.extend(findings),
            Err(error) => {
                all = Err(error);
                break;
            }
        }
    }
    results.compare();
    (results, all)
}

impl Results {
    fn compare(&mut self) {
        for (theirs, ours) in ALIKE {
            let Some(ours) = self.0.iter().find(|it| it.name == ours) else {
                continue;
            };
            let ours = ours.value;
            let theirs = |it: &&mut Finding| it.name.ends_with(&format!(": {theirs}"));
            for theirs in self.0.iter_mut().filter(theirs) {
                theirs.ratio = Some(theirs.value / ours).filter(|ratio| ratio.is_finite());
            }
        }
    }

    /// The rows of the bench's file.
    #[must_use]
    pub fn rows(&self) -> Vec<Row> {
        let rows = self.0.iter();
        rows.map(|it| Row::new(&it.name, it.value, it.unit, it.ratio))
            .collect()
    }

    /// The table for people.
    #[must_use]
    pub fn table(&self) -> String {
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_header([
            "",
            "measured",
            "unit",
            "at most",
            "holds",
            "of Serin's",
        ]);
        for it in &self.0 {
            let holds = it.holds().map(|holds| if holds { "yes" } else { "NO" });
            table.add_row([
                it.name.clone(),
                number(it.value),
                it.unit.to_owned(),
                it.bound.map(number).unwrap_or_default(),
                holds.unwrap_or_default().to_owned(),
                it.ratio
                    .map(|ratio| format!("{}x", number(ratio)))
                    .unwrap_or_default(),
            ]);
        }
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        table.trim_fmt()
    }
}

/// As exact as it is worth reading.
fn number(value: f64) -> String {
    match value.abs() {
        _ if value.is_nan() => "-".to_owned(),
        large if large >= 100.0 => format!("{value:.0}"),
        middle if middle >= 1.0 => format!("{value:.1}"),
        small if small > 0.0 => format!("{value:.3}"),
        _ => "0".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_promise_that_is_not_kept_stands_in_the_table() {
        let times = Series((1..=100).map(f64::from).collect());
        let found = Finding::quantiles("late", &times, [Some(60.0), Some(60.0)]);
        assert_eq!(found[0].holds(), Some(true));
        assert_eq!(found[1].holds(), Some(false));
        let table = Results(found.into()).table();
        let words = |name: &str| -> Vec<String> {
            let line = table.lines().find(|line| line.contains(name)).unwrap();
            line.split_whitespace().map(str::to_owned).collect()
        };
        assert_eq!(words("p50"), ["late,", "p50", "51.0", "ms", "60.0", "yes"]);
        assert_eq!(words("p99"), ["late,", "p99", "99.0", "ms", "60.0", "NO"]);
    }

    #[test]
    fn numbers_of_flagger_are_compared_with_those_of_serin() {
        let theirs = |value| Finding::told(&format!("Flagger: {}", flagger::CPU), value, "%");
        let ours = Finding::told(scale::CPU, 2.0, "%");
        let mut results = Results(vec![ours, theirs(50.0), theirs(f64::NAN)]);
        results.compare();
        let ratios: Vec<_> = results.rows().iter().map(|row| row.ratio).collect();
        assert_eq!(ratios, [None, Some(25.0), None]);
    }

    #[test]
    fn what_was_not_measured_holds_and_breaks_nothing() {
        let finding = Finding::told("Flagger", f64::NAN, "MiB").at_most(1.0);
        assert_eq!(finding.holds(), None);
        let rows = serde_json::to_value(Results(vec![finding]).rows()).unwrap();
        assert!(rows[0]["value"].is_null());
    }
}
