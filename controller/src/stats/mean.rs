//! Means of scores, revenue, tokens: a stratified difference with a normal mixture (section 4, formula 7).
//!
//! Differences are taken interval by interval, with weights that depend on the numbers of units only, so neither a mean
//! that drifts nor a split that changes can turn into a difference (Simpson). The guarantee is asymptotic: no decision
//! before [`MIN_CANARY`] units.

mod blocks;

pub use blocks::{Blocks, MIN_BLOCKS};

use serde::{Deserialize, Serialize};

use super::domain::{DomainError, finite, not_negative};
use super::normal_mixture::{Sides, bound, log_e};

/// Units of the canary before the first decision.
pub const MIN_CANARY: f64 = 100.0;
/// The same for one-sided gates on skewed values such as revenue.
pub const MIN_CANARY_SKEWED: f64 = 1000.0;

/// Count, sum and sum of squares of one arm over one interval.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Sums {
    /// Number of units (`n`).
    pub count: f64,
    /// Sum of their values (`s`).
    pub sum: f64,
    /// Sum of their squares (`q`).
    pub squares: f64,
}

impl Sums {
    fn plus(self, other: Self) -> Result<Self, DomainError> {
        not_negative("number of units", other.count)?;
        not_negative("sum of squares", other.squares)?;
        finite("sum", other.sum)?;
        Ok(Self {
            count: finite("number of units", self.count + other.count)?,
            sum: finite("sum", self.sum + other.sum)?,
            squares: finite("sum of squares", self.squares + other.squares)?,
        })
    }

    /// The sample variance `(Q - S^2/N) / (N - 1)`, at least 0; none up to one unit.
    #[must_use]
    pub fn variance(&self) -> Option<f64> {
        let above_mean = self.squares - self.sum * (self.sum / self.count);
        (self.count > 1.0).then(|| (above_mean / (self.count - 1.0)).max(0.0))
    }
}

/// The stratified difference of the means, canary less `theta` times stable, over all intervals so far. Serialized, it is
/// a checkpoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stratified {
    theta: f64,
    margin: f64,
    canary: Sums,
    stable: Sums,
    s: f64,
    v: f64,
    h: f64,
}

/// What is known of the difference (formula 7).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Difference {
    /// `margin + S/H`: the stratified difference of the means.
    pub value: f64,
    /// `sqrt(V)/H`: its standard error.
    pub standard_error: f64,
}

impl Stratified {
    /// Starts with nothing seen. The hypothesis is that the mean of the canary is `theta` times that of stable plus
    /// `margin`, in the units of the values; `theta` is 1 for a difference, and another for a ratio of means.
    ///
    /// # Errors
    /// `theta` is negative, or a number is not finite.
    pub fn new(theta: f64, margin: f64) -> Result<Self, DomainError> {
        Ok(Self {
            theta: not_negative("factor theta", theta)?,
            margin: finite("margin", margin)?,
            canary: Sums::default(),
            stable: Sums::default(),
            s: 0.0,
            v: 0.0,
            h: 0.0,
        })
    }

    /// Takes one interval. The totals grow in any case; the difference grows if both arms had units now and both have a
    /// variance by now, which depends on numbers of units only.
    ///
    /// The canary's variance is taken as the larger of both arms': a canary that missed the rare large values has a low
    /// mean *and* a low variance, and its own raised false alarms to 11 % (S20).
    ///
    /// # Errors
    /// A number is negative where it cannot be, not finite, or too large; nothing is changed then.
    pub fn update(&mut self, canary: Sums, stable: Sums) -> Result<(), DomainError> {
        let mut next = self.clone();
        next.canary = self.canary.plus(canary)?;
        next.stable = self.stable.plus(stable)?;
        if let (Some((var_c, var_s)), true) =
            (next.variances(), canary.count > 0.0 && stable.count > 0.0)
        {
            let h = weight(canary.count, stable.count);
            let d = canary.sum / canary.count - self.theta * (stable.sum / stable.count);
            let scaled = self.theta * self.theta * var_s;
            next.s = finite("sum S", self.s + h * (d - self.margin))?;
            let v = h * (h / canary.count) * var_c + h * (h / stable.count) * scaled;
            next.v = finite("variance V", self.v + v)?;
            next.h = finite("weight H", self.h + h)?;
        }
        *self = next;
        Ok(())
    }

    /// The variances in use, the canary's and stable's: per unit, from all intervals, the canary's at least stable's.
    #[must_use]
    pub fn variances(&self) -> Option<(f64, f64)> {
        let stable = self.stable.variance()?;
        Some((self.canary.variance()?.max(stable), stable))
    }

    /// Totals of the canary.
    #[must_use]
    pub fn canary(&self) -> Sums {
        self.canary
    }

    /// Totals of stable.
    #[must_use]
    pub fn stable(&self) -> Sums {
        self.stable
    }

    /// `S`, `V` and `H` of formula (7).
    #[must_use]
    pub fn sums(&self) -> (f64, f64, f64) {
        (self.s, self.v, self.h)
    }

    /// The difference and its standard error; none before anything was compared.
    #[must_use]
    pub fn difference(&self) -> Option<Difference> {
        (self.h > 0.0).then(|| Difference {
            value: self.margin + self.s / self.h,
            standard_error: self.v.sqrt() / self.h,
        })
    }

    /// The log of the e-value that the difference is above the margin ([`Sides::One`]; [`Self::log_e_below`] for
    /// success), or is not the margin ([`Sides::Two`]). None before the canary has `minimum` units ([`MIN_CANARY`],
    /// [`MIN_CANARY_SKEWED`]).
    ///
    /// # Errors
    /// As [`log_e`].
    pub fn log_e(&self, rho: f64, sides: Sides, minimum: f64) -> Result<Option<f64>, DomainError> {
        let found = log_e(self.s, self.v, rho, sides)?;
        Ok((self.canary.count >= minimum && self.h > 0.0).then_some(found))
    }

    /// The log of the e-value that the difference is below the margin: the one-sided form with `-S`.
    ///
    /// # Errors
    /// As [`log_e`].
    pub fn log_e_below(&self, rho: f64, minimum: f64) -> Result<Option<f64>, DomainError> {
        let found = log_e(-self.s, self.v, rho, Sides::One)?;
        Ok((self.canary.count >= minimum && self.h > 0.0).then_some(found))
    }

    /// Half the width of the `1 - alpha` confidence sequence of the difference, formula (8); none before anything was
    /// compared.
    ///
    /// # Errors
    /// As [`bound`].
    pub fn half_width(&self, rho: f64, alpha: f64) -> Result<Option<f64>, DomainError> {
        let bound = bound(self.v, rho, alpha, Sides::Two)?;
        Ok((self.h > 0.0).then(|| bound / self.h))
    }
}

/// `nc ns / (nc + ns)`, without overflow.
fn weight(canary: f64, stable: f64) -> f64 {
    1.0 / (1.0 / canary + 1.0 / stable)
}

#[cfg(test)]
#[path = "mean_tests.rs"]
mod tests;
