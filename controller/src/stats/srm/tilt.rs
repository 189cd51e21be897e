//! A systematic fault of the split, accumulated over phases: the canary's odds multiplied by `g` (formula 6).

use serde::{Deserialize, Serialize};

use super::SplitError;
use crate::stats::count::CountError;
use crate::stats::domain::{finite, probability};
use crate::stats::log_sum_exp;

/// The factors on the canary's odds; each has the same prior weight.
pub const TILTS: [f64; 12] = [
    0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 1.02, 1.05, 1.11, 1.25, 1.43, 2.0,
];

/// Evidence that the odds of the canary are off by a constant factor (formula 6). Serialized, it is a checkpoint.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(try_from = "Wealth", into = "Wealth")]
pub struct Tilt {
    wealth: Wealth,
}

impl Tilt {
    /// Takes one interval of the two arms while the canary's weight was `weight`; at 0 or 1 nothing is tested.
    ///
    /// # Errors
    /// The weight is outside [0, 1], or a count is no count; nothing is changed then.
    pub fn update(&mut self, canary: f64, stable: f64, weight: f64) -> Result<(), SplitError> {
        if weight == 0.0 || weight == 1.0 {
            return Ok(());
        }
        let weight = probability("weight", weight)?;
        self.wealth = self.wealth.bet(canary, stable, |_| Some(weight))?;
        Ok(())
    }

    /// Natural logarithm of the evidence now: the mean over the factors.
    #[must_use]
    pub fn log_e(&self) -> f64 {
        self.wealth.log_e
    }

    /// The largest `log_e` so far, at least 0; see [`super::is_alarm`].
    #[must_use]
    pub fn log_e_max(&self) -> f64 {
        self.wealth.log_e_max
    }
}

/// Evidence that the canary's share `q` is outside `weight * [1 - eps, 1 + eps]`: at high volume no router hits its
/// weight exactly, and any difference would be found (section 3). Serialized, it is a checkpoint.
///
/// `E = (E_up + E_dn) / 2`: tilts above 1 bet against the upper end of the tolerated range, those below 1 against the
/// lower end, each side with the same prior weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ToleratedTilt {
    tolerance: f64,
    wealth: Tilt,
}

impl ToleratedTilt {
    /// Starts with a relative tolerance: 0.1 for routing of requests.
    ///
    /// # Errors
    /// It is not inside (0, 1).
    pub fn new(tolerance: f64) -> Result<Self, SplitError> {
        Ok(Self {
            tolerance: probability("tolerance", tolerance)?,
            wealth: Tilt::default(),
        })
    }

    /// Takes one interval, as [`Tilt::update`]. Where the upper end reaches 1 only the lower one is tested.
    ///
    /// # Errors
    /// As [`Tilt::update`].
    pub fn update(&mut self, canary: f64, stable: f64, weight: f64) -> Result<(), SplitError> {
        if weight == 0.0 || weight == 1.0 {
            return Ok(());
        }
        let weight = probability("weight", weight)?;
        // A checkpoint changed by hand could carry another one.
        let tolerance = probability("tolerance", self.tolerance)?;
        let end = |tilt: f64| {
            let end = weight
                * if tilt > 1.0 {
                    1.0 + tolerance
                } else {
                    1.0 - tolerance
                };
            (end < 1.0).then_some(end)
        };
        self.wealth.wealth = self.wealth.wealth.bet(canary, stable, end)?;
        Ok(())
    }

    /// Natural logarithm of the evidence now.
    #[must_use]
    pub fn log_e(&self) -> f64 {
        self.wealth.log_e()
    }

    /// The largest `log_e` so far, at least 0; see [`super::is_alarm`].
    #[must_use]
    pub fn log_e_max(&self) -> f64 {
        self.wealth.log_e_max()
    }
}

/// The log wealth of each tilt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wealth {
    log_wealth: Vec<f64>,
    log_e: f64,
    log_e_max: f64,
}

impl Default for Wealth {
    fn default() -> Self {
        Self {
            log_wealth: vec![0.0; TILTS.len()],
            log_e: 0.0,
            log_e_max: 0.0,
        }
    }
}

impl Wealth {
    /// Bets with each tilt against the share that `null` gives for it, where it gives one.
    fn bet(
        &self,
        canary: f64,
        stable: f64,
        null: impl Fn(f64) -> Option<f64>,
    ) -> Result<Self, SplitError> {
        for (arm, value) in [("canary", canary), ("stable", stable)] {
            if !value.is_finite() || value < 0.0 {
                let what = "requests";
                return Err(CountError::NotACount { arm, what, value }.into());
            }
        }
        let mut next = self.clone();
        for (log_wealth, tilt) in next.log_wealth.iter_mut().zip(TILTS) {
            if let Some(q0) = null(tilt) {
                // ln(q/q0) = ln g - ln(1 + (g-1) q0) and ln((1-q)/(1-q0)) = -ln(1 + (g-1) q0).
                let norm = ((tilt - 1.0) * q0).ln_1p();
                *log_wealth += canary * (tilt.ln() - norm) - stable * norm;
                finite("evidence", *log_wealth)?;
            }
        }
        let sum = log_sum_exp(next.log_wealth.iter().copied());
        next.log_e = sum - (TILTS.len() as f64).ln();
        next.log_e_max = next.log_e_max.max(next.log_e);
        Ok(next)
    }
}

impl From<Tilt> for Wealth {
    fn from(tilt: Tilt) -> Self {
        tilt.wealth
    }
}

impl TryFrom<Wealth> for Tilt {
    type Error = SplitError;

    fn try_from(wealth: Wealth) -> Result<Self, SplitError> {
        if wealth.log_wealth.len() != TILTS.len() {
            return Err(SplitError::Checkpoint("its grid has another length"));
        }
        for number in wealth
            .log_wealth
            .iter()
            .chain([&wealth.log_e, &wealth.log_e_max])
        {
            finite("evidence", *number)?;
        }
        if wealth.log_e_max < wealth.log_e.max(0.0) {
            return Err(SplitError::Checkpoint(
                "the largest evidence is below the evidence",
            ));
        }
        Ok(Self { wealth })
    }
}
