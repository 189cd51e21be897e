//! Confidence sequence for the ratio `R = p_c / p_s`, for display (1.10).
//!
//! Up to a constant that cancels, `l(R) = X_c log R - sum_i m_i log(1 + R k_i)` with `k_i = nc_i / ns_i`,
//! `m_i = xc_i + xs_i`. So all that is to be kept of the intervals is `X_c` and how the mass `m` lies over `log k`.
//! [`ratio_interval`] keeps every interval, [`RatioSequence`] a bounded number of nodes; both solve the same way.

use serde::{Deserialize, Serialize};

use super::count::{CountError, Counts};
use super::log_sum_exp;

/// Distance of two nodes of the sketch in `log k`.
const STEP: f64 = 0.125;
/// The sketch ends at `log k = +-LIMIT`, a traffic split of 2e-9; what lies beyond tells nothing of the ratio.
const LIMIT: f64 = 20.0;
/// An interval's mass is spread over this many nodes with the weights of Lagrange interpolation.
const STENCIL: i16 = 6;

/// The prior knows the ratios `exp(GRID_STEP * j)` with `j` from `-GRID_HALF` to `GRID_HALF`.
pub const GRID_HALF: i16 = 46;
/// Distance of two ratios of the prior in `log R`.
pub const GRID_STEP: f64 = 0.1;
/// Spread of the prior in `log R`.
pub const PRIOR_TAU: f64 = 0.75;

/// No ratio beyond `exp(+-SEARCH)` is told from 0 or infinity.
const SEARCH: f64 = 600.0;

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
    likelihood.interval(alpha)
}

/// The same in bounded state: at most 326 nodes however many intervals, and as many as six per traffic split in
/// practice. Serialized, it is a checkpoint.
///
/// The mass of an interval is spread over the six nodes around its `log k` with Lagrange weights, so what is summed is
/// the interpolating polynomial of a smooth function: the relative error of either end and of the most likely ratio is
/// below 1e-6 at any number of events (tested), for it is a property of the spacing and not of the mass. (An end that
/// lies far outside of the prior, at 1e-160, is less exact.)
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", try_from = "Checkpoint")]
pub struct RatioSequence {
    bad_canary: f64,
    bad_stable: f64,
    /// Mass by node, sorted by the node's index (`log k / STEP`).
    mass: Vec<(i16, f64)>,
}

impl RatioSequence {
    /// Adds one interval. One in which an arm had no requests tells nothing and is skipped, and so is one whose split
    /// is beyond 2e-9.
    ///
    /// # Errors
    /// The counts cannot be used; nothing is added then.
    pub fn update(&mut self, counts: Counts) -> Result<(), RatioError> {
        counts.check()?;
        let mass = counts.bad_canary + counts.bad_stable;
        let Some(log_k) = log_split(counts).filter(|log_k| log_k.abs() <= LIMIT && mass > 0.0)
        else {
            return Ok(());
        };
        self.bad_canary += counts.bad_canary;
        self.bad_stable += counts.bad_stable;
        let position = log_k / STEP;
        let first = position.floor() as i16 - (STENCIL / 2 - 1);
        for node in first..first + STENCIL {
            let others = (first..first + STENCIL).filter(|other| *other != node);
            let weight: f64 = others
                .map(|other| (position - f64::from(other)) / f64::from(node - other))
                .product();
            self.put(node, mass * weight);
        }
        Ok(())
    }

    /// The `1 - alpha` confidence sequence and the most likely ratio.
    ///
    /// # Errors
    /// Alpha is not inside (0, 1).
    pub fn interval(&self, alpha: f64) -> Result<RatioInterval, RatioError> {
        let mass = self
            .mass
            .iter()
            .map(|(node, mass)| (f64::from(*node) * STEP, *mass))
            .collect();
        Likelihood {
            bad_canary: self.bad_canary,
            bad_stable: self.bad_stable,
            mass,
        }
        .interval(alpha)
    }

    fn put(&mut self, node: i16, mass: f64) {
        // On a node, five of the six weights are 0 and need no place.
        if mass != 0.0 {
            match self.mass.binary_search_by_key(&node, |(node, _)| *node) {
                Ok(at) => self.mass[at].1 += mass,
                Err(at) => self.mass.insert(at, (node, mass)),
            }
        }
    }
}

/// The wire form of [`RatioSequence`], not yet trusted.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Checkpoint {
    bad_canary: f64,
    bad_stable: f64,
    mass: Vec<(i16, f64)>,
}

impl TryFrom<Checkpoint> for RatioSequence {
    type Error = RatioError;

    fn try_from(from: Checkpoint) -> Result<Self, RatioError> {
        if !from.mass.is_sorted_by(|(a, _), (b, _)| a < b) {
            return Err(RatioError::Checkpoint("its nodes are out of order"));
        }
        let numbers = from
            .mass
            .iter()
            .map(|(_, mass)| *mass)
            .chain([from.bad_canary, from.bad_stable]);
        if !numbers.into_iter().all(f64::is_finite)
            || from.bad_canary < 0.0
            || from.bad_stable < 0.0
        {
            return Err(RatioError::Checkpoint(
                "a number is not finite, or is negative",
            ));
        }
        Ok(Self {
            bad_canary: from.bad_canary,
            bad_stable: from.bad_stable,
            mass: from.mass,
        })
    }
}

/// `log(nc / ns)`, none where an arm had no requests.
fn log_split(counts: Counts) -> Option<f64> {
    let both = counts.total_canary > 0.0 && counts.total_stable > 0.0;
    both.then(|| counts.total_canary.ln() - counts.total_stable.ln())
}

/// `l` as a function of `rho = log R`, concave.
#[derive(Default)]
struct Likelihood {
    bad_canary: f64,
    bad_stable: f64,
    /// `(log k, m)`.
    mass: Vec<(f64, f64)>,
}

impl Likelihood {
    fn log(&self, rho: f64) -> f64 {
        // log(1 + exp(x)) without overflow.
        let softplus = |x: f64| x.max(0.0) + (-x.abs()).exp().ln_1p();
        let cost: f64 = self
            .mass
            .iter()
            .map(|(log_k, mass)| mass * softplus(rho + log_k))
            .sum();
        self.bad_canary * rho - cost
    }

    /// The derivative of `log`: the bad events of the canary less those expected of it.
    fn score(&self, rho: f64) -> f64 {
        let expected: f64 = self
            .mass
            .iter()
            .map(|(log_k, mass)| mass / (1.0 + (-rho - log_k).exp()))
            .sum();
        self.bad_canary - expected
    }

    fn interval(&self, alpha: f64) -> Result<RatioInterval, RatioError> {
        if !(alpha > 0.0 && alpha < 1.0) {
            return Err(RatioError::Alpha(alpha));
        }
        let peak = match (self.bad_canary > 0.0, self.bad_stable > 0.0) {
            (false, false) => {
                return Ok(RatioInterval {
                    mle: None,
                    lower: 0.0,
                    upper: None,
                });
            }
            (false, true) => -SEARCH,
            (true, false) => SEARCH,
            (true, true) => bisect(-SEARCH, SEARCH, |rho| self.score(rho) > 0.0),
        };
        let threshold = self.mixture() + alpha.ln();
        let inside = |rho: f64| self.log(rho) >= threshold;
        let lower = if inside(-SEARCH) {
            0.0
        } else {
            bisect(-SEARCH, peak, |rho| !inside(rho)).exp()
        };
        let upper = (!inside(SEARCH)).then(|| bisect(peak, SEARCH, inside).exp());
        let mle = match peak {
            peak if peak <= -SEARCH => Some(0.0),
            peak if peak >= SEARCH => None,
            peak => Some(peak.exp()),
        };
        Ok(RatioInterval { mle, lower, upper })
    }

    /// The log of the likelihood averaged over the prior of ratios.
    fn mixture(&self) -> f64 {
        let ratios = (-GRID_HALF..=GRID_HALF).map(|j| f64::from(j) * GRID_STEP);
        let prior = ratios.map(|rho| (rho, -rho * rho / (2.0 * PRIOR_TAU * PRIOR_TAU)));
        let norm = log_sum_exp(prior.clone().map(|(_, log_weight)| log_weight));
        log_sum_exp(prior.map(|(rho, log_weight)| log_weight - norm + self.log(rho)))
    }
}

/// Where `holds`, true on the left and false on the right, changes between the two ends.
fn bisect(mut left: f64, mut right: f64, holds: impl Fn(f64) -> bool) -> f64 {
    // 64 halvings of 1200 end below the spacing of doubles around 1.
    for _ in 0..64 {
        let middle = 0.5 * (left + right);
        if holds(middle) {
            left = middle;
        } else {
            right = middle;
        }
    }
    0.5 * (left + right)
}

#[cfg(test)]
#[path = "ratio_tests.rs"]
mod tests;
