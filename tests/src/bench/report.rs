//! What a bench leaves: a table for people and `target/bench/<name>.json` for programs.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Serialize;

use crate::{discovery, tools};

/// One number that was measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// What was measured.
    pub name: String,
    /// The number.
    pub value: f64,
    /// The unit of the number, such as `us/request`.
    pub unit: String,
    /// The number as a multiple of that of the bench's first row, or of another one that the bench names; none where
    /// they do not compare.
    pub ratio: Option<f64>,
}

impl Row {
    /// A row.
    #[must_use]
    pub fn new(name: &str, value: f64, unit: &str, ratio: Option<f64>) -> Row {
        Row {
            name: name.to_owned(),
            value,
            unit: unit.to_owned(),
            ratio,
        }
    }
}

#[derive(Serialize)]
struct Report<'a> {
    rows: &'a [Row],
}

/// Writes the rows of the bench `name` where all benches leave theirs, and returns the path.
///
/// # Errors
/// When the file cannot be written.
pub fn write(name: &str, rows: &[Row]) -> Result<PathBuf> {
    write_in(&tools::repository().join("target/bench"), name, rows)
}

fn write_in(folder: &Path, name: &str, rows: &[Row]) -> Result<PathBuf> {
    fs::create_dir_all(folder).with_context(|| format!("failed to make {}", folder.display()))?;
    let path = folder.join(format!("{name}.json"));
    let text = serde_json::to_string_pretty(&Report { rows })?;
    discovery::replace(&path, text.as_bytes())?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn the_file_has_the_rows_and_a_new_run_replaces_them() {
        let folder = tempfile::tempdir().unwrap();
        write_in(folder.path(), "x", &[Row::new("old", 1.0, "ms", None)]).unwrap();
        let rows = [
            Row::new("none", 2.0, "us/request", Some(1.0)),
            Row::new("size", 3.0, "bytes", None),
        ];
        let path = write_in(folder.path(), "x", &rows).unwrap();
        assert!(path.ends_with("x.json"));
        let read: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        let wanted = json!({"rows": [
            {"name": "none", "value": 2.0, "unit": "us/request", "ratio": 1.0},
            {"name": "size", "value": 3.0, "unit": "bytes", "ratio": null},
        ]});
        assert_eq!(read, wanted);
    }
}
