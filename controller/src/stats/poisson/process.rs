//! The e-process: evidence that grows interval by interval (1.4), and is its own checkpoint.

use serde::{Deserialize, Serialize};

use super::{Counts, Direction, HARM, Line, lambda_star, log_e_increment};
use crate::stats::count::{CountError, check_arm};
use crate::stats::reaches;

/// Why an interval, or a checkpoint, cannot be used. The evidence is left as it was.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum PoissonError {
    /// The counts are no counts.
    #[error(transparent)]
    Counts(#[from] CountError),
    /// `theta` is negative or not finite, or `delta` is not finite.
    #[error("failed to use the tolerance line: theta \"{theta}\", delta \"{delta}\"")]
    Line {
        /// Factor as given.
        theta: f64,
        /// Addend as given.
        delta: f64,
    },
    /// The dispersion factor is below 1 or not finite.
    #[error("failed to use the dispersion \"{0}\": it is at least 1")]
    Phi(f64),
    /// The share that returns to the prior is outside [0, 1).
    #[error("failed to use the fixed share \"{0}\": it is at least 0 and below 1")]
    Share(f64),
    /// The prior of stable holds no request.
    #[error("failed to use the prior of stable: it holds no request")]
    EmptyPrior,
    /// The numbers are too large to be added up.
    #[error("failed to add up the evidence: the counts are too large")]
    Overflow,
    /// A checkpoint was not written by this version of the grid, or was changed by hand.
    #[error("failed to restore the evidence: {0}")]
    Checkpoint(&'static str),
}

/// What is known of stable before the first interval: `(X0, N0)` of 1.2. A bad guess costs power, never validity.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Prior {
    /// Bad events.
    pub bad: f64,
    /// Requests, more than 0.
    pub total: f64,
}

impl Default for Prior {
    /// One bad event in 100 requests: the default where nothing is known.
    fn default() -> Self {
        Self {
            bad: 1.0,
            total: 100.0,
        }
    }
}

/// What an interval did to the evidence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consumed {
    /// It was bet on: the evidence has changed.
    Judged,
    /// It could tell nothing: the evidence carries over unchanged, which is neither success nor failure.
    Carried,
}

/// Alternatives of the longer grid.
const LONGEST: usize = HARM.len();

/// Evidence for one direction of one metric (1.4). Serialized, it is a checkpoint that restores bit for bit.
///
/// Each interval is to be given exactly once and in time order: the caller keeps the index of the last one next to
/// this state, for counting one twice breaks the guarantee. It is 144 bytes and owns no heap: a controller holds tens
/// of thousands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(into = "Checkpoint", try_from = "Checkpoint")]
pub struct EProcess {
    direction: Direction,
    share: f64,
    /// By alternative of the grid; places beyond a shorter grid stay 0.
    log_wealth: [f64; LONGEST],
    stable_bad: f64,
    stable_total: f64,
    log_e: f64,
    log_e_max: f64,
}

impl EProcess {
    /// Starts at an evidence of 1. `share` is the part of the wealth that returns to the prior after each interval
    /// (1.5; see [`Direction::default_share`]).
    ///
    /// # Errors
    /// The share is outside [0, 1), or the prior is no pair of counts with at least a part of a request.
    pub fn new(direction: Direction, share: f64, prior: Prior) -> Result<Self, PoissonError> {
        if !(0.0..1.0).contains(&share) {
            return Err(PoissonError::Share(share));
        }
        check_arm("stable", prior.bad, prior.total)?;
        if prior.total == 0.0 {
            return Err(PoissonError::EmptyPrior);
        }
        Ok(Self::fresh(direction, share, prior))
    }

    /// Starts with the default share and with nothing known of stable.
    #[must_use]
    pub fn start(direction: Direction) -> Self {
        Self::fresh(direction, direction.default_share(), Prior::default())
    }

    /// Takes one interval against `line`, which may differ from call to call as long as it depends on earlier intervals
    /// only. `phi` (at least 1) divides the evidence where bad events come in bursts (7.4).
    ///
    /// No bet is made where an arm has no requests (stable's are not needed where `theta` is 0), or where the line lies
    /// at or below 0 because a margin has narrowed it. Stable's totals, from which the next stakes are taken, grow in
    /// every case.
    ///
    /// # Errors
    /// The counts, the line or `phi` cannot be used; the state is untouched then.
    pub fn update(
        &mut self,
        counts: Counts,
        line: Line,
        phi: f64,
    ) -> Result<Consumed, PoissonError> {
        if !(line.theta.is_finite() && line.theta >= 0.0 && line.delta.is_finite()) {
            return Err(PoissonError::Line {
                theta: line.theta,
                delta: line.delta,
            });
        }
        if !(phi.is_finite() && phi >= 1.0) {
            return Err(PoissonError::Phi(phi));
        }
        let next = self.carried(counts)?;
        let arms = counts.total_canary > 0.0 && (counts.total_stable > 0.0 || line.theta == 0.0);
        let (true, Some(p_s)) = (arms, self.anticipated_p_s(line)) else {
            *self = next;
            return Ok(Consumed::Carried);
        };
        *self = next.bet(counts, line, phi, p_s)?;
        Ok(Consumed::Judged)
    }

    /// Takes one interval without a bet: the evidence carries over, stable's totals grow. For intervals that are not to
    /// be judged, such as the first one where margins come from past groups (7.9).
    ///
    /// # Errors
    /// The counts cannot be used; the state is untouched then.
    pub fn carry(&mut self, counts: Counts) -> Result<(), PoissonError> {
        *self = self.carried(counts)?;
        Ok(())
    }

    /// Natural logarithm of the evidence now.
    #[must_use]
    pub fn log_e(&self) -> f64 {
        self.log_e
    }

    /// The largest `log_e` so far, at least 0.
    #[must_use]
    pub fn log_e_max(&self) -> f64 {
        self.log_e_max
    }

    /// The anytime-valid p-value `min(1, exp(-log_e_max))`.
    #[must_use]
    pub fn p_value(&self) -> f64 {
        (-self.log_e_max).exp().min(1.0)
    }

    /// Whether the evidence has ever reached `1 / alpha`. Once it has, it stays so: Ville's inequality covers the
    /// running maximum. An `alpha` outside (0, 1) rejects nothing.
    #[must_use]
    pub fn rejects(&self, alpha: f64) -> bool {
        reaches(self.log_e_max, alpha)
    }

    /// The side of the line that is to be proven.
    #[must_use]
    pub fn direction(&self) -> Direction {
        self.direction
    }

    fn fresh(direction: Direction, share: f64, prior: Prior) -> Self {
        let mut log_wealth = [0.0; LONGEST];
        for (log_wealth, alternative) in log_wealth.iter_mut().zip(direction.grid()) {
            *log_wealth = alternative.weight.ln();
        }
        Self {
            direction,
            share,
            log_wealth,
            stable_bad: prior.bad,
            stable_total: prior.total,
            log_e: 0.0,
            log_e_max: 0.0,
        }
    }

    fn carried(&self, counts: Counts) -> Result<Self, PoissonError> {
        counts.check()?;
        let mut next = self.clone();
        next.stable_bad += counts.bad_stable;
        next.stable_total += counts.total_stable;
        if next.stable_total.is_finite() {
            Ok(next)
        } else {
            Err(PoissonError::Overflow)
        }
    }

    /// Stable's probability from the past, by which the stakes are chosen; none where the line lies at or below 0.
    fn anticipated_p_s(&self, line: Line) -> Option<f64> {
        let p_s = self.stable_bad / self.stable_total;
        if line.at(p_s) > 0.0 {
            Some(p_s)
        } else {
            // Without an absolute part p_s cancels from the stake (1.2), so a stable that has never failed must not
            // blind the test to a canary that fails.
            (line.delta == 0.0 && line.theta > 0.0).then_some(1.0)
        }
    }

    fn bet(mut self, counts: Counts, line: Line, phi: f64, p_s: f64) -> Result<Self, PoissonError> {
        let kappa = line.kappa(counts);
        let grid = self.direction.grid();
        for (log_wealth, alternative) in self.log_wealth.iter_mut().zip(grid) {
            if alternative.ratio != 1.0 {
                let lambda = lambda_star(alternative.ratio * line.at(p_s), p_s, line, kappa);
                *log_wealth += log_e_increment(lambda, counts, line) / phi;
            }
        }
        let wealth = self.log_wealth.iter().take(grid.len());
        let largest = wealth.clone().copied().fold(f64::NEG_INFINITY, f64::max);
        let mut parts = [0.0; LONGEST];
        for (part, log_wealth) in parts.iter_mut().zip(wealth) {
            *part = (log_wealth - largest).exp();
        }
        let whole: f64 = parts.iter().sum();
        self.log_e = largest + whole.ln();
        self.log_e_max = self.log_e_max.max(self.log_e);
        if self.share > 0.0 {
            let wealth = self.log_wealth.iter_mut().zip(grid).zip(parts);
            for ((log_wealth, alternative), part) in wealth {
                // In units of the whole nothing overflows, and what is below the smallest float was nothing.
                let kept = (1.0 - self.share) * part / whole;
                *log_wealth = self.log_e + (kept + self.share * alternative.weight).ln();
            }
        }
        let finite = self.log_e.is_finite()
            && self
                .log_wealth
                .iter()
                .all(|log_wealth| log_wealth.is_finite());
        if finite {
            Ok(self)
        } else {
            Err(PoissonError::Overflow)
        }
    }
}

/// The wire form of [`EProcess`]; read, it is not yet trusted.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Checkpoint {
    direction: Direction,
    share: f64,
    log_wealth: Vec<f64>,
    stable_bad: f64,
    stable_total: f64,
    log_e: f64,
    log_e_max: f64,
}

impl From<EProcess> for Checkpoint {
    fn from(process: EProcess) -> Self {
        let grid = process.direction.grid().len();
        Self {
            direction: process.direction,
            share: process.share,
            log_wealth: process.log_wealth.into_iter().take(grid).collect(),
            stable_bad: process.stable_bad,
            stable_total: process.stable_total,
            log_e: process.log_e,
            log_e_max: process.log_e_max,
        }
    }
}

impl TryFrom<Checkpoint> for EProcess {
    type Error = PoissonError;

    fn try_from(from: Checkpoint) -> Result<Self, PoissonError> {
        let prior = Prior {
            bad: from.stable_bad,
            total: from.stable_total,
        };
        let mut start = Self::new(from.direction, from.share, prior)?;
        if from.log_wealth.len() != from.direction.grid().len() {
            return Err(PoissonError::Checkpoint("its grid has another length"));
        }
        let numbers = from.log_wealth.iter().chain([&from.log_e, &from.log_e_max]);
        if !numbers.into_iter().all(|number| number.is_finite()) {
            return Err(PoissonError::Checkpoint("a number is not finite"));
        }
        if from.log_e_max < from.log_e.max(0.0) {
            return Err(PoissonError::Checkpoint(
                "the largest evidence is below the evidence",
            ));
        }
        for (log_wealth, kept) in start.log_wealth.iter_mut().zip(&from.log_wealth) {
            *log_wealth = *kept;
        }
        Ok(Self {
            log_e: from.log_e,
            log_e_max: from.log_e_max,
            ..start
        })
    }
}

#[cfg(test)]
#[path = "process_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "game_tests.rs"]
mod game;
