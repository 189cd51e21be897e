//! What the bench leaves: tables for people, `target/bench/stats.json` for programs, and at the end what held.

use std::path::{Path, PathBuf};

use comfy_table::{CellAlignment, Table, presets};
use serde_json::{Value, json};

use crate::monte_carlo::Keeps;

/// Everything that was measured.
#[derive(Default)]
pub(crate) struct Report {
    rows: Vec<Value>,
    promises: Vec<Promise>,
}

struct Promise {
    name: String,
    value: f64,
    bound: f64,
    unit: &'static str,
    keeps: Keeps,
}

impl Report {
    /// A number without a bound of its own.
    pub(crate) fn row(&mut self, name: &str, value: f64, unit: &str) {
        self.rows
            .push(json!({"name": name, "value": value, "unit": unit, "ratio": null}));
    }

    /// A number, and the number as a multiple of another one.
    pub(crate) fn row_of(&mut self, name: &str, value: f64, unit: &str, ratio: f64) {
        self.rows
            .push(json!({"name": name, "value": value, "unit": unit, "ratio": ratio}));
    }

    /// A time that must not exceed `bound` on a machine that has nothing else to do.
    pub(crate) fn time(&mut self, name: &str, value: f64, bound: f64, unit: &'static str) {
        let keeps = if value <= bound {
            Keeps::Yes
        } else {
            Keeps::Unclear
        };
        self.keep(name, value, (bound, unit), keeps);
    }

    /// A number that must not exceed `bound`.
    pub(crate) fn bound(&mut self, name: &str, value: f64, bound: f64, unit: &'static str) {
        let keeps = if value <= bound {
            Keeps::Yes
        } else {
            Keeps::No
        };
        self.keep(name, value, (bound, unit), keeps);
    }

    /// A share that must not exceed `bound`, and what the runs say of that.
    pub(crate) fn promise(&mut self, name: &str, value: f64, bound: f64, keeps: Keeps) {
        self.keep(name, value, (bound, "share"), keeps);
    }

    fn keep(&mut self, name: &str, value: f64, (bound, unit): (f64, &'static str), keeps: Keeps) {
        self.promises.push(Promise {
            name: name.to_owned(),
            value,
            bound,
            unit,
            keeps,
        });
    }

    /// Prints what held and writes the file; whether everything held.
    pub(crate) fn finish(mut self, folder: &Path) -> bool {
        let mut lines = Vec::new();
        for promise in std::mem::take(&mut self.promises) {
            let Promise {
                name,
                value,
                bound,
                unit,
                keeps,
            } = promise;
            let said = match keeps {
                Keeps::Yes => "holds",
                Keeps::Unclear => "ABOVE, which luck or a busy machine can do",
                Keeps::No => "DOES NOT HOLD",
            };
            let short = |value: f64| ((value * 1e4).round() / 1e4).to_string();
            let line = [
                name.clone(),
                short(value),
                short(bound),
                unit.to_owned(),
                said.to_owned(),
            ];
            lines.push((keeps, line.to_vec()));
            // The ratio says how much of what is allowed was used.
            self.row_of(&name, value, unit, value / bound);
        }
        let held = lines.iter().all(|(keeps, _)| *keeps != Keeps::No);
        let lines: Vec<_> = lines.into_iter().map(|(_, line)| line).collect();
        let heads = ["", "measured", "must not exceed", "", ""].map(str::to_owned);
        println!("\nWhat must hold\n\n{}", table(&heads, &lines));
        let path: PathBuf = folder.join("stats.json");
        std::fs::create_dir_all(folder).unwrap();
        let text = serde_json::to_vec_pretty(&json!({"rows": self.rows})).unwrap();
        std::fs::write(&path, text).unwrap();
        println!("\nAll of it is in {}", path.display());
        held
    }
}

/// A table without lines, numbers to the right.
pub(crate) fn table(heads: &[String], lines: &[Vec<String>]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(heads);
    table.add_rows(lines);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.trim_fmt()
}
