//! Latency histograms of Prometheus as counts of requests above a boundary (section 2).
//!
//! A quantile of a minute is a bad thing to compare with a limit: the interpolation inside a bucket and two requests of
//! the tail decide it (S11). How many requests were slower than a *boundary* is a count like any other, and section 1
//! applies to it unchanged.

mod native;
mod quantile;

pub use native::NativeHistogram;
pub use quantile::{QuantileInterval, quantile, quantile_interval};

use super::counter::counter_delta;

/// A bucket may fall below its predecessor by this share of all requests, because a scrape is not atomic; it is raised
/// then. Beyond that the interval is not usable.
pub const SLACK: f64 = 0.01;

/// Cumulative buckets of one series, or of one interval of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Histogram {
    boundaries: Vec<f64>,
    /// Requests at or below each boundary, never falling and never above the total.
    cumulative: Vec<f64>,
    total: f64,
}

/// Why buckets cannot be used.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum HistogramError {
    /// Boundaries are not finite and rising, or there is none.
    #[error("failed to read the buckets: their boundaries are not finite numbers that rise")]
    Boundaries,
    /// As many counts as boundaries are needed.
    #[error("failed to read the buckets: \"{counts}\" counts for \"{boundaries}\" boundaries")]
    Lengths {
        /// Number of boundaries.
        boundaries: usize,
        /// Number of counts.
        counts: usize,
    },
    /// A number is negative, infinite or not a number.
    #[error("failed to read the buckets: \"{0}\" is not a count")]
    NotACount(f64),
    /// A bucket holds fewer than its predecessor, or more than all, by more than [`SLACK`] of all.
    #[error(
        "failed to use the buckets: the one at \"{boundary}\" is out of order by \"{by}\" of \"{total}\" requests"
    )]
    OutOfOrder {
        /// Boundary of the bucket.
        boundary: f64,
        /// By how many requests.
        by: f64,
        /// All requests.
        total: f64,
    },
    /// Two histograms have other boundaries, so that they cannot be subtracted or compared.
    #[error("failed to compare histograms: their boundaries differ")]
    Layouts,
    /// A limit lies above every boundary.
    #[error(
        "failed to find a bucket for the limit \"{limit}\": the highest boundary is \"{highest}\""
    )]
    AboveAll {
        /// The limit as given.
        limit: f64,
        /// The highest boundary.
        highest: f64,
    },
    /// A native histogram cannot be brought to a finer resolution, or its schema is unknown.
    #[error(
        "failed to merge a native histogram from schema \"{from}\" to \"{to}\": from -4 to 8, never to a finer one"
    )]
    Schema {
        /// Its schema.
        from: i8,
        /// The schema asked for.
        to: i8,
    },
}

/// How many requests were above a boundary.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Exceedance {
    /// The boundary that was used.
    pub boundary: f64,
    /// Whether it is the limit that was asked for, and not the next boundary above it; the user is to be told.
    pub exact: bool,
    /// Requests above it (`x_j = n - b_j`).
    pub above: f64,
    /// All requests.
    pub total: f64,
}

impl Histogram {
    /// Reads finite boundaries (`le`, rising, without `+Inf`), the cumulative count at each, and the count of all.
    ///
    /// # Errors
    /// Boundaries do not rise, a number is no count, or the counts are out of order by more than [`SLACK`].
    pub fn new(boundaries: &[f64], cumulative: &[f64], total: f64) -> Result<Self, HistogramError> {
        for count in cumulative.iter().chain([&total]) {
            if !count.is_finite() || *count < 0.0 {
                return Err(HistogramError::NotACount(*count));
            }
        }
        Self::ordered(boundaries, cumulative.to_vec(), total)
    }

    /// What one series gained between two scrapes, by the birth and reset rules of 7.1
    /// ([`counter_delta`], applied to all buckets alike: they are of one scrape). None where that cannot be known.
    ///
    /// # Errors
    /// The boundaries differ, or the gains are out of order by more than [`SLACK`].
    pub fn gained(
        previous: Option<&Self>,
        current: &Self,
        born_inside: bool,
    ) -> Result<Option<Self>, HistogramError> {
        let total_before = previous.map(|previous| previous.total);
        let Some(total) = counter_delta(total_before, Some(current.total), born_inside) else {
            return Ok(None);
        };
        let Some(previous) = previous.filter(|previous| current.total >= previous.total) else {
            return Ok(Some(current.clone()));
        };
        if previous.boundaries != current.boundaries {
            return Err(HistogramError::Layouts);
        }
        let pairs = current.cumulative.iter().zip(&previous.cumulative);
        let gains = pairs.map(|(now, before)| now - before).collect();
        Self::ordered(&current.boundaries, gains, total).map(Some)
    }

    /// Both together, for the series of one arm.
    ///
    /// # Errors
    /// The boundaries differ, or the sum is too large.
    pub fn plus(&self, other: &Self) -> Result<Self, HistogramError> {
        if self.boundaries != other.boundaries {
            return Err(HistogramError::Layouts);
        }
        let pairs = self.cumulative.iter().zip(&other.cumulative);
        let sums: Vec<f64> = pairs.map(|(a, b)| a + b).collect();
        Self::new(&self.boundaries, &sums, self.total + other.total)
    }

    /// Requests above the boundary that is `limit`, or the next above it (2.1). Labels are decimal, so a boundary within
    /// 1e-9 of the limit is the limit.
    ///
    /// # Errors
    /// Every boundary lies below the limit.
    pub fn exceedance(&self, limit: f64) -> Result<Exceedance, HistogramError> {
        let slack = 1e-9 * limit.abs();
        let at = self.boundaries.iter().position(|b| *b >= limit - slack);
        at.and_then(|at| self.above(at))
            .map(|(boundary, above)| Exceedance {
                boundary,
                exact: boundary <= limit + slack,
                above,
                total: self.total,
            })
            .ok_or(HistogramError::AboveAll {
                limit,
                highest: self.boundaries.last().copied().unwrap_or(0.0),
            })
    }

    /// The boundary at an index and the requests above it.
    #[must_use]
    pub fn above(&self, index: usize) -> Option<(f64, f64)> {
        let (boundary, below) = (self.boundaries.get(index)?, self.cumulative.get(index)?);
        Some((*boundary, self.total - below))
    }

    /// The finite boundaries, rising.
    #[must_use]
    pub fn boundaries(&self) -> &[f64] {
        &self.boundaries
    }

    /// Requests at or below each boundary.
    #[must_use]
    pub fn cumulative(&self) -> &[f64] {
        &self.cumulative
    }

    /// All requests.
    #[must_use]
    pub fn total(&self) -> f64 {
        self.total
    }

    /// The counts raised to their predecessors and cut at the total, if that takes no more than [`SLACK`].
    fn ordered(
        boundaries: &[f64],
        mut cumulative: Vec<f64>,
        total: f64,
    ) -> Result<Self, HistogramError> {
        let rising = boundaries.is_sorted_by(|a, b| a < b);
        if boundaries.is_empty() || !rising || !boundaries.iter().all(|b| b.is_finite()) {
            return Err(HistogramError::Boundaries);
        }
        if boundaries.len() != cumulative.len() {
            return Err(HistogramError::Lengths {
                boundaries: boundaries.len(),
                counts: cumulative.len(),
            });
        }
        let mut before = 0.0f64;
        for (count, boundary) in cumulative.iter_mut().zip(boundaries) {
            let put = count.max(before).min(total);
            let by = (put - *count).abs();
            if by > SLACK * total {
                return Err(HistogramError::OutOfOrder {
                    boundary: *boundary,
                    by,
                    total,
                });
            }
            before = put;
            *count = put;
        }
        Ok(Self {
            boundaries: boundaries.to_vec(),
            cumulative,
            total,
        })
    }
}

#[cfg(test)]
#[path = "histogram_tests.rs"]
mod tests;
