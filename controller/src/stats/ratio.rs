//! Confidence sequence for the ratio `R = p_c / p_s`, for display (1.10).
//!
//! Up to a constant that cancels, `l(R) = X_c log R - sum_i m_i log(1 + R k_i)` with `k_i = nc_i / ns_i`,
//! `m_i = xc_i + xs_i`. So all that is to be kept of the intervals is `X_c` and how the mass `m` lies over `log k`.
//! [`ratio_interval`] keeps every interval, [`RatioSequence`] a bounded number of nodes; both solve the same way.

mod likelihood;
mod sketch;

use serde::{Deserialize, Serialize};

use super::count::{CountError, Counts};
use likelihood::Likelihood;
pub use sketch::RatioSequence;

/// The prior knows the ratios `exp(GRID_STEP * j)` with `j` from `-GRID_HALF` to `GRID_HALF`.
pub const GRID_HALF: i16 = 46;
/// Distance of two ratios of the prior in `log R`.
pub const GRID_STEP: f64 = 0.1;
/// Spread of the prior in `log R`.
pub const PRIOR_TAU: f64 = 0.75;

/// A ratio with an interval that holds at all times at once.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RatioInterval {
    /// The most likely ratio; none where stable has had no bad event (it is infinite) or neither arm had one.
    pub mle: Option<f64>,
    /// Lower end, 0 at the least.
    pub lower: f64,
    /// Upper end; none where there is no bound yet.
    pub upper: Option<f64>,
}

/// Why no interval can be given.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum RatioError {
    /// The counts are no counts.
    #[error(transparent)]
    Counts(#[from] CountError),
    /// Alpha is no probability.
    #[error("failed to give an interval at alpha \"{0}\": it is between 0 and 1")]
    Alpha(f64),
    /// A sketch was changed by hand.
    #[error("failed to restore the ratio: {0}")]
    Checkpoint(&'static str),
}

/// The `1 - alpha` confidence sequence and the most likely ratio, from every interval.
///
/// The prior reaches from 0.01 to 100; beyond that the interval still holds, but is wide.
/// Intervals in which an arm had no requests tell nothing and are skipped.
///
/// # Errors
/// Counts cannot be used, or alpha is not inside (0, 1).
pub fn ratio_interval(intervals: &[Counts], alpha: f64) -> Result<RatioInterval, RatioError> {
    let mut likelihood = Likelihood::default();
    for counts in intervals {
        counts.check()?;
        if let Some(log_k) = log_split(*counts) {
            likelihood.bad_canary += counts.bad_canary;
            likelihood.bad_stable += counts.bad_stable;
            likelihood
                .mass
                .push((log_k, counts.bad_canary + counts.bad_stable));
        }
    }
    likelihood.interval(alpha, Likelihood::mixture)
}

/// `log(nc / ns)`, none where an arm had no requests.
fn log_split(counts: Counts) -> Option<f64> {
    let both = counts.total_canary > 0.0 && counts.total_stable > 0.0;
    both.then(|| counts.total_canary.ln() - counts.total_stable.ln())
}

#[cfg(test)]
#[path = "ratio_tests.rs"]
mod tests;
