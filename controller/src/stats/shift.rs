//! Shift of a whole latency distribution: stochastic dominance with tolerance (2.2).
//!
//! One Bernoulli test per cut, a boundary of the histogram. Harm is the plain *average* of their evidence, valid though
//! the cuts share requests; success is the *minimum*, for every cut must pass. The cut with the largest evidence says
//! where the canary is slower. Cuts are chosen from before the rollout, else the choice would be a look at the data.

use serde::{Deserialize, Serialize};

use super::bernoulli::{BernoulliError, Consumed, Counts, Direction, EProcess, Line, Prior};
use super::histogram::{Histogram, HistogramError};
use super::{log_sum_exp, reaches};

/// Most cuts that are chosen.
pub const CUTS: usize = 12;
/// Stable's share of requests above a cut, before the rollout.
pub const USABLE: std::ops::RangeInclusive<f64> = 0.002..=0.95;

/// What a cut compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Margin {
    /// Both arms at the same boundary, against the tolerance line of the cut.
    Line,
    /// The canary one boundary higher than stable, so that only a slowdown by more than a bucket counts.
    NextBucket,
}

/// Why histograms cannot be compared.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ShiftError {
    /// The buckets cannot be used.
    #[error(transparent)]
    Histogram(#[from] HistogramError),
    /// The counts, the line or phi cannot be used.
    #[error(transparent)]
    Process(#[from] BernoulliError),
    /// No boundary has a usable share of stable's requests above it.
    #[error("failed to choose cuts: no boundary has 0.2 % to 95 % of stable's requests above it")]
    NoCut,
    /// A checkpoint was changed by hand.
    #[error("failed to restore the shift: {0}")]
    Checkpoint(&'static str),
}

/// One boundary at which the arms are compared.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Cut {
    /// Stable's boundary.
    boundary: f64,
    /// The canary's: the same, or the next.
    canary_boundary: f64,
    process: EProcess,
}

/// Evidence on a shift of the distribution. Serialized, it is a checkpoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", try_from = "Checkpoint")]
pub struct Shift {
    direction: Direction,
    cuts: Vec<Cut>,
    log_e: f64,
    log_e_max: f64,
}

impl Shift {
    /// Chooses up to [`CUTS`] boundaries at which stable's exceedance, in `before` the rollout, lies in [`USABLE`]; more
    /// are thinned out evenly. `before` is also what is known of stable at each cut.
    ///
    /// # Errors
    /// There is no such boundary (with [`Margin::NextBucket`], none that has a next).
    pub fn new(
        direction: Direction,
        margin: Margin,
        before: &Histogram,
    ) -> Result<Self, ShiftError> {
        let boundaries = before.boundaries();
        let step = usize::from(margin == Margin::NextBucket);
        let pairs = boundaries.iter().zip(boundaries.iter().skip(step));
        let usable: Vec<(f64, f64, f64)> = pairs
            .enumerate()
            .filter_map(|(at, (stable, canary))| {
                let (_, above) = before.above(at)?;
                let share = above / before.total();
                USABLE.contains(&share).then_some((*stable, *canary, above))
            })
            .collect();
        let kept = usable.len().min(CUTS);
        let cuts: Result<Vec<Cut>, BernoulliError> = (0..kept)
            .filter_map(|nth| usable.get(nth * usable.len() / kept))
            .map(|(boundary, canary_boundary, above)| {
                let prior = Prior {
                    bad: *above,
                    total: before.total(),
                };
                Ok(Cut {
                    boundary: *boundary,
                    canary_boundary: *canary_boundary,
                    process: EProcess::new(direction, direction.default_share(), prior)?,
                })
            })
            .collect();
        match cuts? {
            cuts if cuts.is_empty() => Err(ShiftError::NoCut),
            cuts => Ok(Self {
                direction,
                cuts,
                log_e: 0.0,
                log_e_max: 0.0,
            }),
        }
    }

    /// Takes one interval of both arms. `line` is the tolerance at every cut (`theta` 1 with a `delta` of 0.02 in the
    /// body, or nothing with [`Margin::NextBucket`]); `phi` tempers where slow requests come in bursts (7.4).
    ///
    /// # Errors
    /// A cut is no boundary of a histogram, or the counts, the line or phi cannot be used; nothing is changed then.
    pub fn update(
        &mut self,
        canary: &Histogram,
        stable: &Histogram,
        line: Line,
        phi: f64,
    ) -> Result<Consumed, ShiftError> {
        let mut next = self.clone();
        let mut consumed = Consumed::Carried;
        for cut in &mut next.cuts {
            let counts = Counts {
                bad_canary: above(canary, cut.canary_boundary)?,
                total_canary: canary.total(),
                bad_stable: above(stable, cut.boundary)?,
                total_stable: stable.total(),
            };
            if cut.process.update(counts, line, phi)? == Consumed::Judged {
                consumed = Consumed::Judged;
            }
        }
        next.log_e = next.combined();
        next.log_e_max = next.log_e_max.max(next.log_e);
        *self = next;
        Ok(consumed)
    }

    /// Natural logarithm of the combined evidence now.
    #[must_use]
    pub fn log_e(&self) -> f64 {
        self.log_e
    }

    /// The largest `log_e` so far, at least 0: the maximum of the average, not the average of maxima.
    #[must_use]
    pub fn log_e_max(&self) -> f64 {
        self.log_e_max
    }

    /// Whether the combined evidence has ever reached `1 / alpha`.
    #[must_use]
    pub fn rejects(&self, alpha: f64) -> bool {
        reaches(self.log_e_max, alpha)
    }

    /// Where the evidence is largest (harm: where the canary is slower) or smallest (success: what holds it up): stable's
    /// boundary and the log evidence of that cut.
    #[must_use]
    pub fn decisive_cut(&self) -> Option<(f64, f64)> {
        let cuts = self
            .cuts
            .iter()
            .map(|cut| (cut.boundary, cut.process.log_e()));
        match self.direction {
            Direction::Harm => cuts.max_by(|a, b| a.1.total_cmp(&b.1)),
            Direction::Success => cuts.min_by(|a, b| a.1.total_cmp(&b.1)),
        }
    }

    /// Stable's boundaries at which the arms are compared.
    pub fn cuts(&self) -> impl Iterator<Item = f64> + '_ {
        self.cuts.iter().map(|cut| cut.boundary)
    }

    fn combined(&self) -> f64 {
        let log_e = self.cuts.iter().map(|cut| cut.process.log_e());
        match self.direction {
            Direction::Harm => log_sum_exp(log_e) - (self.cuts.len() as f64).ln(),
            Direction::Success => log_e.fold(f64::INFINITY, f64::min),
        }
    }
}

/// Requests above a boundary, which has to exist.
fn above(histogram: &Histogram, boundary: f64) -> Result<f64, HistogramError> {
    let found = histogram.exceedance(boundary)?;
    if found.exact {
        Ok(found.above)
    } else {
        Err(HistogramError::Layouts)
    }
}

/// The wire form of [`Shift`], not yet trusted.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Checkpoint {
    direction: Direction,
    cuts: Vec<Cut>,
    log_e: f64,
    log_e_max: f64,
}

impl TryFrom<Checkpoint> for Shift {
    type Error = ShiftError;

    fn try_from(from: Checkpoint) -> Result<Self, ShiftError> {
        let refused = |why| Err(ShiftError::Checkpoint(why));
        if from.cuts.is_empty() {
            return refused("it has no cut");
        }
        if from
            .cuts
            .iter()
            .any(|cut| cut.process.direction() != from.direction)
        {
            return refused("a cut has another direction");
        }
        if !from.log_e.is_finite() || from.log_e_max < from.log_e.max(0.0) {
            return refused("the largest evidence is below the evidence");
        }
        if !from.log_e_max.is_finite() {
            return refused("a number is not finite");
        }
        Ok(Self {
            direction: from.direction,
            cuts: from.cuts,
            log_e: from.log_e,
            log_e_max: from.log_e_max,
        })
    }
}

#[cfg(test)]
#[path = "shift_tests.rs"]
mod tests;
