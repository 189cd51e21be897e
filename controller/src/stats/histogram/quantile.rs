//! Quantiles of a histogram: what Prometheus shows, and what is known (2.3).

use super::Histogram;
use crate::stats::domain::{DomainError, probability};
use crate::stats::proportion::proportion_interval;

/// Between which boundaries a quantile lies, at all times at once.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct QuantileInterval {
    /// The quantile is above this boundary; none where no boundary is surely below it.
    pub above: Option<f64>,
    /// The quantile is at or below this boundary; none where no boundary surely reaches it (`+Inf`).
    pub at_most: Option<f64>,
}

/// The `1 - alpha` confidence sequence of the tau-quantile: above the largest boundary whose upper bound of `F` is below
/// `tau`, at most the smallest one whose lower bound reaches it. `F` is bounded by [`proportion_interval`]; no union over
/// boundaries is needed, because only `p = tau` is at stake and `F` is monotone.
///
/// # Errors
/// `tau` or `alpha` is not inside (0, 1).
pub fn quantile_interval(
    histogram: &Histogram,
    tau: f64,
    alpha: f64,
) -> Result<QuantileInterval, DomainError> {
    probability("quantile", tau)?;
    let mut found = QuantileInterval {
        above: None,
        at_most: None,
    };
    for (boundary, below) in histogram.boundaries().iter().zip(histogram.cumulative()) {
        let share = proportion_interval(*below, histogram.total(), alpha)?;
        if share.upper < tau {
            found.above = Some(*boundary);
        }
        if share.lower >= tau && found.at_most.is_none() {
            found.at_most = Some(*boundary);
        }
    }
    Ok(found)
}

/// `histogram_quantile` of Prometheus: linear inside the first bucket that reaches the rank `q n`. The first bucket starts
/// at 0 (a first boundary at or below 0 is returned itself), the one above the last boundary returns that boundary.
///
/// None without requests, or where `q` is outside [0, 1].
#[must_use]
pub fn quantile(histogram: &Histogram, q: f64) -> Option<f64> {
    if histogram.total() <= 0.0 || !(0.0..=1.0).contains(&q) {
        return None;
    }
    let rank = q * histogram.total();
    let (mut low, mut before) = (0.0, 0.0);
    for (boundary, cumulative) in histogram.boundaries().iter().zip(histogram.cumulative()) {
        if *cumulative >= rank {
            if low == 0.0 && *boundary <= 0.0 {
                return Some(*boundary);
            }
            let inside = cumulative - before;
            let share = if inside > 0.0 {
                (rank - before) / inside
            } else {
                0.0
            };
            return Some(low + (boundary - low) * share);
        }
        (low, before) = (*boundary, *cumulative);
    }
    Some(low)
}
