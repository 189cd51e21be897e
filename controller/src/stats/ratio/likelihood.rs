//! The likelihood of a ratio, and the interval that follows from it.

use std::sync::LazyLock;

use super::{GRID_HALF, GRID_STEP, PRIOR_TAU, RatioError, RatioInterval};
use crate::stats::log_sum_exp;

/// No ratio beyond `exp(+-SEARCH)` is told from 0 or infinity.
const SEARCH: f64 = 600.0;
/// Ratios of the prior.
const GRID: usize = 2 * GRID_HALF as usize + 1;

/// `l` as a function of `rho = log R`, concave.
#[derive(Default)]
pub(super) struct Likelihood {
    pub(super) bad_canary: f64,
    pub(super) bad_stable: f64,
    /// `(log k, m)`.
    pub(super) mass: Vec<(f64, f64)>,
}

/// `log(1 + exp(x))` without overflow.
pub(super) fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

/// The log of the likelihood `log_at(j)` of the ratios `exp(GRID_STEP * j)`, averaged over the prior.
pub(super) fn average(log_at: impl Fn(i16) -> f64) -> f64 {
    static PRIOR: LazyLock<[f64; GRID]> = LazyLock::new(|| {
        let log_weight = |j: i16| -(f64::from(j) * GRID_STEP / PRIOR_TAU).powi(2) / 2.0;
        let norm = log_sum_exp((-GRID_HALF..=GRID_HALF).map(log_weight));
        std::array::from_fn(|at| log_weight(at as i16 - GRID_HALF) - norm)
    });
    let mut terms = *PRIOR;
    for (j, term) in (-GRID_HALF..).zip(&mut terms) {
        *term += log_at(j);
    }
    log_sum_exp(terms.into_iter())
}

impl Likelihood {
    /// `l` and its derivative, the bad events of the canary less those expected of it.
    fn at(&self, rho: f64) -> (f64, f64) {
        let (mut cost, mut expected) = (0.0, 0.0);
        for (log_k, mass) in &self.mass {
            let x = rho + log_k;
            let small = (-x.abs()).exp();
            cost += mass * (x.max(0.0) + small.ln_1p());
            expected += mass * if x < 0.0 { small } else { 1.0 } / (1.0 + small);
        }
        (self.bad_canary * rho - cost, self.bad_canary - expected)
    }

    /// The derivative of `l` and its own.
    fn score(&self, rho: f64) -> (f64, f64) {
        let (mut expected, mut slope) = (0.0, 0.0);
        for (log_k, mass) in &self.mass {
            let x = rho + log_k;
            let small = (-x.abs()).exp();
            let share = 1.0 / (1.0 + small);
            expected += mass * if x < 0.0 { small * share } else { share };
            slope -= mass * small * share * share;
        }
        (self.bad_canary - expected, slope)
    }

    /// The log of the likelihood averaged over the prior of ratios.
    pub(super) fn mixture(&self) -> f64 {
        average(|j| self.at(f64::from(j) * GRID_STEP).0)
    }

    /// The interval, where `mixture` is [`Self::mixture`] or a faster way to it.
    pub(super) fn interval(
        &self,
        alpha: f64,
        mixture: impl Fn(&Self) -> f64,
    ) -> Result<RatioInterval, RatioError> {
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
            (true, true) => falling(-SEARCH, SEARCH, self.guess(), |rho| self.score(rho)),
        };
        let threshold = mixture(self) + alpha.ln();
        let above = |rho: f64| {
            let (log, slope) = self.at(rho);
            (log - threshold, slope)
        };
        // Where a parabola with the curvature of the peak would meet the threshold.
        let reach = (2.0 * above(peak).0 / -self.score(peak).1).sqrt();
        let lower = if above(-SEARCH).0 >= 0.0 {
            0.0
        } else {
            // Mirrored, so that it falls.
            let mirrored = |at: f64| {
                let (value, slope) = above(-at);
                (value, -slope)
            };
            (-falling(-peak, SEARCH, reach - peak, mirrored)).exp()
        };
        let upper =
            (above(SEARCH).0 < 0.0).then(|| falling(peak, SEARCH, peak + reach, above).exp());
        let mle = match peak {
            peak if peak <= -SEARCH => Some(0.0),
            peak if peak >= SEARCH => None,
            peak => Some(peak.exp()),
        };
        Ok(RatioInterval { mle, lower, upper })
    }

    /// The most likely `log R` if every interval had the mean split.
    fn guess(&self) -> f64 {
        let (mut sum, mut whole) = (0.0, 0.0);
        for (log_k, mass) in &self.mass {
            sum += mass * log_k;
            whole += mass;
        }
        self.bad_canary.ln() - self.bad_stable.ln() - sum / whole
    }
}

/// Where a function that is positive at `left` and negative at `right` falls through 0, by Newton's steps from `start`
/// with halvings where a step would leave what is known to hold the root. `of` gives the value and the slope.
fn falling(mut left: f64, mut right: f64, start: f64, of: impl Fn(f64) -> (f64, f64)) -> f64 {
    let middle = |left: f64, right: f64| 0.5 * (left + right);
    let mut at = if start > left && start < right {
        start
    } else {
        middle(left, right)
    };
    // 64 halvings of 1200 end below the spacing of doubles around 1, and Newton's steps take fewer.
    for _ in 0..64 {
        let (value, slope) = of(at);
        if value >= 0.0 {
            left = at;
        } else {
            right = at;
        }
        let step = value / slope;
        let next = at - step;
        let newton = next > left && next < right;
        if step.abs() <= 1e-14 * (1.0 + at.abs()) || right - left <= 1e-14 * (1.0 + at.abs()) {
            break;
        }
        at = if newton { next } else { middle(left, right) };
    }
    at
}
