//! The common grid of cells on the wall clock (statistics 7.1): cell `k` covers `(kD, (k+1)D]`.
//!
//! All rollouts share the grid, so the number of queries does not grow with them, and the state of a rollout holds
//! just the index of the next cell. A cell is read only `lag` after its end, when every scrape that belongs to it has
//! arrived; read again later it gives the same counts.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Cell length and lag of an installation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Grid {
    cell_ms: i64,
    lag_ms: i64,
}

/// A grid that would not work.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum GridError {
    /// The cell is shorter than the finest step of Prometheus' clock.
    #[error("a cell must be at least 100ms long, but is {0:?}")]
    ShortCell(Duration),
    /// Not representable.
    #[error("a cell and its lag must each be shorter than a day, but are {0:?} and {1:?}")]
    Long(Duration, Duration),
}

impl Grid {
    /// # Errors
    /// [`GridError`] when cell or lag make no sense.
    pub fn new(cell: Duration, lag: Duration) -> Result<Self, GridError> {
        if cell < Duration::from_millis(100) {
            return Err(GridError::ShortCell(cell));
        }
        let day = Duration::from_secs(86_400);
        match (
            i64::try_from(cell.as_millis()),
            i64::try_from(lag.as_millis()),
        ) {
            (Ok(cell_ms), Ok(lag_ms)) if cell < day && lag < day => Ok(Self { cell_ms, lag_ms }),
            _ => Err(GridError::Long(cell, lag)),
        }
    }

    /// Length of a cell.
    #[must_use]
    pub fn cell(self) -> Duration {
        Duration::from_millis(self.cell_ms.unsigned_abs())
    }

    /// How many cells make a span; `None` unless it is a whole number of them.
    #[must_use]
    pub fn cells_in(self, span: Duration) -> Option<i64> {
        let ms = i64::try_from(span.as_millis()).ok()?;
        (ms > 0 && ms % self.cell_ms == 0).then_some(ms / self.cell_ms)
    }

    /// Time from a change in the data plane until a cell that began after it can be read.
    #[must_use]
    pub fn settle(self) -> Duration {
        Duration::from_millis((2 * self.cell_ms + self.lag_ms).unsigned_abs())
    }

    /// The first cell that begins at or after `now`.
    #[must_use]
    pub fn first_after(self, now: Timestamp) -> i64 {
        (now.as_millisecond() + self.cell_ms - 1).div_euclid(self.cell_ms)
    }

    /// One past the last cell that can be read at `now`.
    #[must_use]
    pub fn readable_until(self, now: Timestamp) -> i64 {
        (now.as_millisecond() - self.lag_ms).div_euclid(self.cell_ms)
    }

    /// When a cell begins; saturates at the ends of time.
    #[must_use]
    pub fn begin(self, cell: i64) -> Timestamp {
        Timestamp::from_millisecond(cell.saturating_mul(self.cell_ms)).unwrap_or(Timestamp::MAX)
    }

    /// When a cell ends: the instant of its query.
    #[must_use]
    pub fn end(self, cell: i64) -> Timestamp {
        self.begin(cell.saturating_add(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid() -> Grid {
        Grid::new(Duration::from_secs(2), Duration::from_secs(2)).unwrap()
    }

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millisecond(ms).unwrap()
    }

    #[test]
    fn a_cell_is_readable_only_after_its_lag() {
        // Cell 5 covers (10 s, 12 s] and may be read from 14 s on.
        assert_eq!(grid().readable_until(at(13_999)), 5);
        assert_eq!(grid().readable_until(at(14_000)), 6);
    }

    #[test]
    fn the_first_cell_begins_no_earlier_than_now() {
        assert_eq!(grid().first_after(at(10_000)), 5);
        assert_eq!(grid().first_after(at(10_001)), 6);
        assert_eq!(grid().begin(5), at(10_000));
        assert_eq!(grid().end(5), at(12_000));
    }

    #[test]
    fn a_grid_that_cannot_work_is_refused() {
        let second = Duration::from_secs(1);
        assert_eq!(
            Grid::new(Duration::ZERO, second),
            Err(GridError::ShortCell(Duration::ZERO))
        );
        let days = Duration::from_secs(86_401);
        assert_eq!(Grid::new(days, second), Err(GridError::Long(days, second)));
    }
}
