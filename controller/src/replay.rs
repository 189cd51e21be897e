//! Looks back: what a rollout would have decided, and when, on counts that were recorded. Pure.
//!
//! The counts are taken as they are, also where the rollout would have had other weights than those under which they
//! were recorded. What counts do not tell is taken as honoured ([`crate::simulate::engine`]).

mod recorded;

pub use recorded::read_csv;

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;

use crate::cells::Grid;
use crate::report::Verdict;
use crate::rollout::Refusal;
use crate::simulate::engine::{Ending, Engine, Interval, Record};
use crate::source::Source;

/// A year of cells of half a minute: a longer recording is a mistake in its times.
pub const MAX_CELLS: i64 = 1_100_000;

/// What was recorded, by the index of its cell; a cell that is missing had no requests.
pub type Recording = BTreeMap<i64, Interval>;

/// What would have been decided.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Replay {
    /// Begin of the first cell, with which the release begins.
    pub begin: Timestamp,
    /// When the last cell that mattered was read.
    pub end: Timestamp,
    /// Cells from the first one to the end of the release, or of the recording.
    pub cells: u64,
    /// Those without a row: taken as without requests.
    pub empty_cells: u64,
    /// Recorded cells after the end of the release, which nobody looked at.
    pub cells_after: u64,
    /// How it ended; `None`: it had not when the recording ended.
    pub ending: Option<Ending>,
    /// The story, oldest first.
    pub records: Vec<Record>,
    /// What the judge said last.
    pub verdict: Option<Spoken>,
    /// What the judge said after each cell, where that was asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub verdicts: Vec<Spoken>,
}

/// What was said at a time.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Spoken {
    /// When.
    pub at: Timestamp,
    /// The canary's weight in per cent.
    pub weight: f64,
    /// The verdict.
    pub verdict: Verdict,
    /// The verdict in one sentence.
    pub sentence: String,
    /// Why the release does not go up, where something else than evidence holds it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiting_for: Option<String>,
}

/// A recording that cannot be replayed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplayError {
    /// Nothing in it.
    #[error("the recording holds no counts")]
    Empty,
    /// Its cells lie too far apart.
    #[error(
        "the recording reaches from {from:.0} to {to:.0}, which are more than 1 100 000 cells: check its times"
    )]
    Long {
        /// Begin of the first cell.
        from: Timestamp,
        /// Begin of the last one.
        to: Timestamp,
    },
    /// The file does not fit the grid.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

/// Feeds the recording to the release, which begins with its first cell.
///
/// # Errors
/// [`ReplayError`].
pub fn replay(
    source: &Source,
    grid: Grid,
    recording: &Recording,
    every_verdict: bool,
) -> Result<Replay, ReplayError> {
    let (Some((first, _)), Some((last, _))) =
        (recording.first_key_value(), recording.last_key_value())
    else {
        return Err(ReplayError::Empty);
    };
    if last.saturating_sub(*first) >= MAX_CELLS {
        let (from, to) = (grid.begin(*first), grid.begin(*last));
        return Err(ReplayError::Long { from, to });
    }
    let mut engine = Engine::begin(source, grid, *first)?;
    let none = Interval::default();
    let (mut cells, mut empty_cells) = (0, 0);
    let mut verdicts = Vec::new();
    let mut index = *first;
    // The last cells are read when their lag is over: until then time passes, and nothing else is recorded.
    while engine.ending().is_none() && grid.readable_until(engine.now()) <= *last {
        let recorded = recording.get(&index);
        engine.pass(recorded.unwrap_or(&none));
        if index <= *last {
            cells += 1;
            empty_cells += u64::from(recorded.is_none());
        }
        index += 1;
        if every_verdict {
            verdicts.extend(spoken(&engine));
        }
    }
    Ok(Replay {
        begin: grid.begin(*first),
        end: engine.now(),
        cells,
        empty_cells,
        cells_after: recording.range(index..).count() as u64,
        ending: engine.ending(),
        records: engine.records().to_vec(),
        verdict: spoken(&engine),
        verdicts,
    })
}

fn spoken(engine: &Engine<'_>) -> Option<Spoken> {
    let (verdict, sentence) = engine.verdict()?;
    let waiting_for = engine.waiting_for().filter(|reason| *reason != sentence);
    Some(Spoken {
        at: engine.now(),
        weight: engine.canary_share() * 100.0,
        verdict,
        waiting_for: waiting_for.map(str::to_owned),
        sentence,
    })
}

#[cfg(test)]
mod tests;
