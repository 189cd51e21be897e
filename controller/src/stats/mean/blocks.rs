//! The block self-normalised form (4c), for means without a sum of squares.

use serde::{Deserialize, Serialize};

use crate::stats::domain::{DomainError, finite, not_negative, positive};
use crate::stats::normal_mixture::{Sides, log_e};

/// Intervals before the first decision.
pub const MIN_BLOCKS: u64 = 20;

/// Each interval is one observation `D_i = nc_i (d_i - margin)` and its own variance: `S = sum D_i`, `V = sum D_i^2`. The
/// weight is the canary's number of units, as in the published vectors; the note prints `h_i`, which differs where the
/// canary is no small part of the traffic. Both are valid, as is any weight that depends on numbers of units only.
///
/// Exact where `D_i` is symmetric given the past (de la Pena), untouched by correlation inside an interval, at the price
/// of power (S17). Serialized, it is a checkpoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Blocks {
    theta: f64,
    margin: f64,
    s: f64,
    v: f64,
    count: u64,
}

impl Blocks {
    /// Starts with nothing seen; `theta` and `margin` as in [`super::Stratified::new`].
    ///
    /// # Errors
    /// `theta` is negative, or a number is not finite.
    pub fn new(theta: f64, margin: f64) -> Result<Self, DomainError> {
        Ok(Self {
            theta: not_negative("factor theta", theta)?,
            margin: finite("margin", margin)?,
            s: 0.0,
            v: 0.0,
            count: 0,
        })
    }

    /// Takes one interval: number of units and sum of values of the canary, then of stable. One in which an arm had no
    /// units tells nothing.
    ///
    /// # Errors
    /// A number of units is negative, or a number is not finite or too large; nothing is changed then.
    pub fn update(&mut self, canary: (f64, f64), stable: (f64, f64)) -> Result<(), DomainError> {
        for (count, sum) in [canary, stable] {
            not_negative("number of units", count)?;
            finite("sum", sum)?;
        }
        if canary.0 == 0.0 || stable.0 == 0.0 {
            return Ok(());
        }
        let d = canary.1 / canary.0 - self.theta * (stable.1 / stable.0) - self.margin;
        let block = canary.0 * d;
        let s = finite("sum S", self.s + block)?;
        let v = finite("variance V", self.v + block * block)?;
        (self.s, self.v, self.count) = (s, v, self.count.saturating_add(1));
        Ok(())
    }

    /// `S` and `V`.
    #[must_use]
    pub fn sums(&self) -> (f64, f64) {
        (self.s, self.v)
    }

    /// The log of the one-sided e-value (9) that the difference is above the margin; none before [`MIN_BLOCKS`] intervals.
    ///
    /// # Errors
    /// `rho` is not above 0, or the sums are too large.
    pub fn log_e(&self, rho: f64) -> Result<Option<f64>, DomainError> {
        let found = log_e(self.s, self.v, positive("rho", rho)?, Sides::One)?;
        Ok((self.count >= MIN_BLOCKS).then_some(found))
    }
}
