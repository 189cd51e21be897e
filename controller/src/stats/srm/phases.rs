//! A Dirichlet prior around the weights of each phase; phases multiply (formula 5).

use serde::{Deserialize, Serialize};

use super::{CONCENTRATION, SplitError};
use crate::stats::dirichlet::log_dirichlet_ratio;
use crate::stats::domain::{DomainError, finite, positive};

/// The log of the e-value of one phase with constant weights: formula (5) of section 3, with the prior
/// `Dirichlet(concentration * weights)`.
///
/// # Errors
/// Counts and weights are not as many, a count is negative, a weight is not inside (0, 1), they do not sum to 1, or the
/// concentration is not above 0.
pub fn log_e_phase(
    counts: &[f64],
    weights: &[f64],
    concentration: f64,
) -> Result<f64, DomainError> {
    positive("concentration", concentration)?;
    let prior: Vec<f64> = weights
        .iter()
        .map(|weight| concentration * weight)
        .collect();
    log_dirichlet_ratio(counts, &prior, weights)
}

/// Evidence over all phases of a rollout. Serialized, it is a checkpoint.
///
/// A change of the weights starts a new phase, and the evidence of phases multiplies: each is an e-value given the past.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", try_from = "Checkpoint")]
pub struct PhaseProduct {
    concentration: f64,
    /// Log evidence of the phases that have ended.
    ended: f64,
    weights: Vec<f64>,
    counts: Vec<f64>,
    log_e: f64,
    log_e_max: f64,
}

impl Default for PhaseProduct {
    fn default() -> Self {
        Self {
            concentration: CONCENTRATION,
            ended: 0.0,
            weights: Vec::new(),
            counts: Vec::new(),
            log_e: 0.0,
            log_e_max: 0.0,
        }
    }
}

impl PhaseProduct {
    /// Starts with another concentration than [`CONCENTRATION`]; large ones look for small errors.
    ///
    /// # Errors
    /// It is not above 0.
    pub fn new(concentration: f64) -> Result<Self, DomainError> {
        Ok(Self {
            concentration: positive("concentration", concentration)?,
            ..Self::default()
        })
    }

    /// Takes one interval: a count for each arm while these were the weights. An arm with a weight of 0 is to be left
    /// out, and where fewer than two are left there is nothing to test.
    ///
    /// # Errors
    /// As [`log_e_phase`]; nothing is changed then.
    pub fn update(&mut self, counts: &[f64], weights: &[f64]) -> Result<(), SplitError> {
        let mut next = self.clone();
        if next.weights != weights {
            next.ended = next.log_e;
            next.weights = weights.to_vec();
            next.counts = vec![0.0; weights.len()];
        }
        if counts.len() == next.counts.len() {
            for (sum, count) in next.counts.iter_mut().zip(counts) {
                // Checked one by one, for a negative count must not hide in a sum.
                *sum += crate::stats::domain::not_negative("count", *count)?;
            }
        } else {
            next.counts = counts.to_vec();
        }
        let phase = log_e_phase(&next.counts, &next.weights, next.concentration)?;
        next.log_e = finite("evidence", next.ended + phase)?;
        next.log_e_max = next.log_e_max.max(next.log_e);
        *self = next;
        Ok(())
    }

    /// Natural logarithm of the evidence now.
    #[must_use]
    pub fn log_e(&self) -> f64 {
        self.log_e
    }

    /// Natural logarithm of the evidence of the present phase alone.
    #[must_use]
    pub fn log_e_of_phase(&self) -> f64 {
        self.log_e - self.ended
    }

    /// The largest `log_e` so far, at least 0; see [`super::is_alarm`].
    #[must_use]
    pub fn log_e_max(&self) -> f64 {
        self.log_e_max
    }

    /// The anytime-valid p-value `min(1, exp(-log_e_max))`.
    #[must_use]
    pub fn p_value(&self) -> f64 {
        (-self.log_e_max).exp().min(1.0)
    }
}

/// The wire form of [`PhaseProduct`], not yet trusted.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Checkpoint {
    concentration: f64,
    ended: f64,
    weights: Vec<f64>,
    counts: Vec<f64>,
    log_e: f64,
    log_e_max: f64,
}

impl TryFrom<Checkpoint> for PhaseProduct {
    type Error = SplitError;

    fn try_from(from: Checkpoint) -> Result<Self, SplitError> {
        positive("concentration", from.concentration)?;
        finite("evidence", from.ended)?;
        finite("evidence", from.log_e)?;
        finite("evidence", from.log_e_max)?;
        if !from.weights.is_empty() {
            log_e_phase(&from.counts, &from.weights, from.concentration)?;
        }
        if from.log_e_max < from.log_e.max(0.0) {
            return Err(SplitError::Checkpoint(
                "the largest evidence is below the evidence",
            ));
        }
        Ok(Self {
            concentration: from.concentration,
            ended: from.ended,
            weights: from.weights,
            counts: from.counts,
            log_e: from.log_e,
            log_e_max: from.log_e_max,
        })
    }
}
