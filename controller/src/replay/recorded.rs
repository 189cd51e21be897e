//! Recorded counts as CSV: text to cells, and every mistake with file, line and column. Pure.
//!
//! The first row names the columns, in any order:
//!
//! | column | meaning |
//! |---|---|
//! | `time` or `cell` | when the counts begin (RFC 3339, or seconds since 1970), or the number of the cell |
//! | `variant` or `version` | as the rollout file names it |
//! | `total`, `bad` | requests, and bad ones among them |
//! | `group` | hash group of the users, 0 to 15, or `none` for requests without a key; `none` where it is left out |
//! | `fused` | requests that the fuse sent home, which are not among `total`; 0 where it is left out |
//!
//! Rows of the same cell, variant and group add up. Lines that begin with `#` are comments.

use csv::{ReaderBuilder, StringRecord, Trim};
use jiff::Timestamp;

use super::Recording;
use crate::cells::Grid;
use crate::locate::Place;
use crate::simulate::engine::{Arm, Names, USER_GROUPS};
use crate::source::Mistake;
use crate::validate::Problem;

/// Mistakes that are told; a file of another kind has one in every line.
const MISTAKES: usize = 20;
/// Whole numbers up to here are exact in a float (2^53).
const EXACT: u64 = 9_007_199_254_740_992;
/// The last moment of a recording, the year 9000: a rollout adds its spans of time to it, and the clock ends at 9999.
const LATEST_SECONDS: i64 = 221_845_392_000;
const COLUMNS: [&str; 8] = [
    "time", "cell", "variant", "version", "total", "bad", "group", "fused",
];

/// Reads a file's text.
///
/// # Errors
/// Every [`Mistake`], up to 20.
pub fn read_csv(
    file: &str,
    text: &str,
    names: &Names,
    grid: Grid,
) -> Result<Recording, Vec<Mistake>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut found = Reading {
        file,
        text,
        names,
        grid,
        mistakes: Vec::new(),
        recording: Recording::new(),
    };
    found.read();
    if found.mistakes.is_empty() && found.recording.is_empty() {
        found.add(None, "", "holds no rows with counts".to_owned());
    }
    if found.mistakes.is_empty() {
        Ok(found.recording)
    } else {
        Err(found.mistakes)
    }
}

struct Reading<'a> {
    file: &'a str,
    text: &'a str,
    names: &'a Names,
    grid: Grid,
    mistakes: Vec<Mistake>,
    recording: Recording,
}

/// Where each column is.
struct Columns {
    /// Position, and whether it holds times.
    when: (usize, bool),
    /// Position, and whether it holds versions.
    who: (usize, bool),
    total: usize,
    bad: usize,
    group: Option<usize>,
    fused: Option<usize>,
}

/// A field that cannot be used: its position and why.
type Wrong = (usize, String);

struct Row {
    cell: i64,
    canary: bool,
    group: usize,
    total: u64,
    bad: u64,
    fused: u64,
}

impl Reading<'_> {
    fn add(&mut self, place: Option<Place>, column: &str, reason: String) {
        self.mistakes.push(Mistake {
            file: self.file.to_owned(),
            place,
            problem: Problem {
                path: column.to_owned(),
                reason,
            },
        });
    }

    fn read(&mut self) {
        let mut reader = ReaderBuilder::new()
            .flexible(true)
            .trim(Trim::All)
            .comment(Some(b'#'))
            .has_headers(false)
            .from_reader(self.text.as_bytes());
        let mut header: Option<(StringRecord, Columns)> = None;
        for record in reader.records() {
            if self.mistakes.len() >= MISTAKES {
                return;
            }
            let record = match record {
                Ok(record) => record,
                Err(error) => {
                    let line = error.position().map(|at| at.line());
                    let place = line.map(|line| self.place(line, 0));
                    self.add(place, "", format!("cannot be read as CSV: {error}"));
                    return;
                }
            };
            let line = record.position().map_or(1, csv::Position::line);
            match &header {
                None => match columns(&record) {
                    Ok(columns) => header = Some((record, columns)),
                    Err((position, reason)) => {
                        let place = self.place(line, position);
                        let name = record.get(position).unwrap_or_default().to_owned();
                        self.add(Some(place), &name, reason);
                        return;
                    }
                },
                Some((names, columns)) => {
                    let counted = self
                        .row(&record, names.len(), columns)
                        .and_then(|row| self.count(&row).map_err(|reason| (columns.total, reason)));
                    if let Err((position, reason)) = counted {
                        let place = self.place(line, position);
                        let name = names.get(position).unwrap_or_default().to_owned();
                        self.add(Some(place), &name, reason);
                    }
                }
            }
        }
    }

    /// The character at which a field begins.
    fn place(&self, line: u64, field: usize) -> Place {
        let line = usize::try_from(line).unwrap_or(usize::MAX);
        let text = self.text.lines().nth(line.saturating_sub(1));
        let (mut quoted, mut commas, mut column) = (false, 0, 1);
        for c in text.unwrap_or_default().chars() {
            if commas >= field {
                break;
            }
            quoted ^= c == '"';
            commas += usize::from(c == ',' && !quoted);
            column += 1;
        }
        Place { line, column }
    }

    fn row(&self, record: &StringRecord, width: usize, columns: &Columns) -> Result<Row, Wrong> {
        if record.len() != width {
            let reason = format!(
                "the row has {} fields, but the first row names {width} columns",
                record.len()
            );
            return Err((record.len().min(width) - 1, reason));
        }
        let field = |position: usize| record.get(position).unwrap_or_default();
        let wrong = |position: usize, reason: String| Err((position, reason));
        let (when, is_time) = columns.when;
        let cell = if is_time {
            self.cell_at(field(when))
        } else {
            self.cell_number(field(when))
        };
        let cell = cell.map_err(|reason| (when, reason))?;
        let canary = self.is_canary(columns, field(columns.who.0))?;
        let total = count(field(columns.total)).map_err(|reason| (columns.total, reason))?;
        let bad = count(field(columns.bad)).map_err(|reason| (columns.bad, reason))?;
        if bad > total {
            return wrong(
                columns.bad,
                format!("{bad} bad requests among {total}: there cannot be more than all"),
            );
        }
        let group = match columns.group {
            None => USER_GROUPS,
            Some(position) => match field(position) {
                "" | "none" => USER_GROUPS,
                text => match text.parse::<usize>() {
                    Ok(group) if group < USER_GROUPS => group,
                    _ => {
                        return wrong(
                            position,
                            format!("'{text}' is not a hash group: 0 to 15, or none"),
                        );
                    }
                },
            },
        };
        let fused = match columns.fused {
            None => 0,
            Some(position) if field(position).is_empty() => 0,
            Some(position) => count(field(position)).map_err(|reason| (position, reason))?,
        };
        Ok(Row {
            cell,
            canary,
            group,
            total,
            bad,
            fused,
        })
    }

    fn cell_at(&self, text: &str) -> Result<i64, String> {
        let at = time(text).ok_or_else(|| {
            format!(
                "'{text}' is neither a time such as 2026-11-21T10:00:30Z nor seconds since 1970"
            )
        })?;
        if !(0..LATEST_SECONDS).contains(&at.as_second()) {
            return Err(format!("'{text}' is not between the years 1970 and 9000"));
        }
        let cell = i64::try_from(self.grid.cell().as_millis()).unwrap_or(i64::MAX);
        Ok(at.as_millisecond().div_euclid(cell))
    }

    fn cell_number(&self, text: &str) -> Result<i64, String> {
        let number = text.parse::<i64>().ok().filter(|cell| *cell >= 0);
        number
            .filter(|cell| self.grid.begin(*cell).as_second() < LATEST_SECONDS)
            .ok_or_else(|| format!("'{text}' is not the number of a cell, from 0 to the year 9000"))
    }

    fn is_canary(&self, columns: &Columns, text: &str) -> Result<bool, Wrong> {
        let (position, is_version) = columns.who;
        let of = |(name, version): &(String, String)| {
            if is_version {
                version.clone()
            } else {
                name.clone()
            }
        };
        let (canary, stable) = (of(&self.names.canary), of(&self.names.stable));
        if text == canary {
            Ok(true)
        } else if text == stable {
            Ok(false)
        } else {
            let what = if is_version { "version" } else { "variant" };
            let reason = format!(
                "'{text}' is no {what} of the rollout: the {what}s are {canary} and {stable}"
            );
            Err((position, reason))
        }
    }

    /// Adds a row to its cell.
    fn count(&mut self, row: &Row) -> Result<(), String> {
        let interval = self.recording.entry(row.cell).or_default();
        let arm: &mut Arm = if row.canary {
            &mut interval.canary
        } else {
            &mut interval.stable
        };
        let tally = arm.groups.get_mut(row.group).unwrap_or(&mut arm.ungrouped);
        tally.total = tally.total.saturating_add(row.total);
        tally.bad = tally.bad.saturating_add(row.bad);
        let total = tally.total;
        let mut fused = 0;
        if let Some(sum) = arm.fused.get_mut(row.group) {
            *sum = sum.saturating_add(row.fused);
            fused = *sum;
        }
        if total.max(fused) > EXACT {
            return Err("adds up to more than 2^53 requests with the rows before".to_owned());
        }
        Ok(())
    }
}

fn columns(header: &StringRecord) -> Result<Columns, Wrong> {
    for (position, name) in header.iter().enumerate() {
        if !COLUMNS.contains(&name) {
            let hint = if name.contains([';', '\t']) {
                "columns are separated by ','"
            } else {
                "the first row must name them"
            };
            let reason = format!(
                "'{name}' is no column: {hint}; known are {}",
                COLUMNS.join(", ")
            );
            return Err((position, reason));
        }
        if header.iter().take(position).any(|other| other == name) {
            return Err((position, "is there twice".to_owned()));
        }
    }
    let at = |name: &str| header.iter().position(|column| column == name);
    let wanted = |name: &str| at(name).ok_or_else(|| (0, format!("there is no column '{name}'")));
    let one_of = |first: &str, second: &str| match (at(first), at(second)) {
        (Some(_), Some(position)) => Err((
            position,
            format!("'{first}' is given as well: keep one of them"),
        )),
        (Some(position), None) => Ok((position, true)),
        (None, Some(position)) => Ok((position, false)),
        (None, None) => Err((
            0,
            format!("there is neither a column '{first}' nor '{second}'"),
        )),
    };
    Ok(Columns {
        when: one_of("time", "cell")?,
        who: one_of("version", "variant")?,
        total: wanted("total")?,
        bad: wanted("bad")?,
        group: at("group"),
        fused: at("fused"),
    })
}

fn time(text: &str) -> Option<Timestamp> {
    if let Ok(at) = text.parse() {
        return Some(at);
    }
    let seconds: f64 = text.parse().ok()?;
    // Up to the year 9999, which a clock holds and a float tells to the millisecond.
    #[allow(
        clippy::cast_possible_truncation,
        reason = "checked to be within a clock's range"
    )]
    (0.0..2.5e11)
        .contains(&seconds)
        .then(|| Timestamp::from_millisecond((seconds * 1000.0).round() as i64).ok())?
}

/// Counts are whole: a rate, or what `increase()` has extrapolated, is none.
fn count(text: &str) -> Result<u64, String> {
    match text.parse::<u64>() {
        Ok(count) if count <= EXACT => Ok(count),
        Ok(_) => Err(format!("'{text}' is more than 2^53 requests")),
        Err(_) if text.is_empty() => Err("is empty: write 0 where nothing was counted".to_owned()),
        Err(_) => Err(format!("'{text}' is not a count: a whole number from 0 on")),
    }
}

#[cfg(test)]
mod tests;
