//! The e-process of the Bernoulli form: evidence that grows interval by interval (1.4, 1.7), and is its own checkpoint.

use serde::{Deserialize, Serialize};

use super::{
    BernoulliError, Consumed, Counts, Direction, Line, ODDS, Prior, log_e_increment, project,
};
use crate::stats::count::check_arm;
use crate::stats::{log_add_exp, log_sum_exp, reaches};

/// A line nearer than this to 0 or 1 is not bet on: the odds there have no digits left.
const EDGE: f64 = 1e-9;

/// Evidence for one direction of one metric. Serialized, it is a checkpoint that restores bit for bit.
///
/// Each interval is to be given exactly once and in time order, as for the Poisson form
/// ([`crate::stats::poisson::EProcess`]).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", try_from = "Checkpoint")]
pub struct EProcess {
    direction: Direction,
    share: f64,
    log_wealth: Vec<f64>,
    stable_bad: f64,
    stable_total: f64,
    log_e: f64,
    log_e_max: f64,
}

impl EProcess {
    /// Starts at an evidence of 1. `share` is the part of the wealth that returns to the prior after each interval
    /// (1.5; see [`Direction::default_share`]), `prior` what is known of stable.
    ///
    /// # Errors
    /// The share is outside [0, 1), or the prior is no pair of counts with at least a part of a request.
    pub fn new(direction: Direction, share: f64, prior: Prior) -> Result<Self, BernoulliError> {
        if !(0.0..1.0).contains(&share) {
            return Err(BernoulliError::Share(share));
        }
        check_arm("stable", prior.bad, prior.total)?;
        if prior.total == 0.0 {
            return Err(BernoulliError::EmptyPrior);
        }
        Ok(Self {
            direction,
            share,
            log_wealth: ODDS.iter().map(|odds| odds.weight.ln()).collect(),
            stable_bad: prior.bad,
            stable_total: prior.total,
            log_e: 0.0,
            log_e_max: 0.0,
        })
    }

    /// Takes one interval against `line`, which may differ from call to call as long as it depends on earlier intervals
    /// only. `phi` (at least 1) divides the evidence where events come in bursts (7.4).
    ///
    /// No bet is made where an arm has no requests (stable's are not needed where `theta` is 0), or where the line is
    /// not inside (0, 1) at stable's past ratio. Stable's totals grow in every case.
    ///
    /// # Errors
    /// The counts, the line or `phi` cannot be used; the state is untouched then.
    pub fn update(
        &mut self,
        counts: Counts,
        line: Line,
        phi: f64,
    ) -> Result<Consumed, BernoulliError> {
        let Line { theta, delta } = line;
        if !(theta.is_finite() && theta >= 0.0 && delta.is_finite()) {
            return Err(BernoulliError::Line { theta, delta });
        }
        if !(phi.is_finite() && phi >= 1.0) {
            return Err(BernoulliError::Phi(phi));
        }
        let next = self.carried(counts)?;
        let arms = counts.total_canary > 0.0 && (counts.total_stable > 0.0 || theta == 0.0);
        let p_s = self.anticipated_p_s();
        if !(arms && (EDGE..=1.0 - EDGE).contains(&line.at(p_s))) {
            *self = next;
            return Ok(Consumed::Carried);
        }
        *self = next.bet(counts, line, phi, p_s)?;
        Ok(Consumed::Judged)
    }

    /// Takes one interval without a bet: the evidence carries over, stable's totals grow.
    ///
    /// # Errors
    /// The counts cannot be used; the state is untouched then.
    pub fn carry(&mut self, counts: Counts) -> Result<(), BernoulliError> {
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

    /// Whether the evidence has ever reached `1 / alpha`; once it has, it stays so.
    #[must_use]
    pub fn rejects(&self, alpha: f64) -> bool {
        reaches(self.log_e_max, alpha)
    }

    /// The side of the line that is to be proven.
    #[must_use]
    pub fn direction(&self) -> Direction {
        self.direction
    }

    fn carried(&self, counts: Counts) -> Result<Self, BernoulliError> {
        counts.check()?;
        let mut next = self.clone();
        next.stable_bad += counts.bad_stable;
        next.stable_total += counts.total_stable;
        if next.stable_total.is_finite() {
            Ok(next)
        } else {
            Err(BernoulliError::Overflow)
        }
    }

    /// Stable's past ratio, at least half an event away from 0 and 1: an anticipation of never would lose everything at
    /// the first event. Any anticipation from the past is valid.
    fn anticipated_p_s(&self) -> f64 {
        let half = (0.5 / self.stable_total).clamp(EDGE, 0.5);
        (self.stable_bad / self.stable_total).clamp(half, 1.0 - half)
    }

    fn bet(
        mut self,
        counts: Counts,
        line: Line,
        phi: f64,
        p_s: f64,
    ) -> Result<Self, BernoulliError> {
        let on_line = line.at(p_s);
        for (log_wealth, odds) in self.log_wealth.iter_mut().zip(ODDS) {
            if odds.ratio == 1.0 {
                continue;
            }
            let ratio = match self.direction {
                Direction::Harm => odds.ratio,
                Direction::Success => 1.0 / odds.ratio,
            };
            let p_c = ratio * on_line / (1.0 - on_line + ratio * on_line);
            let arms = (counts.total_canary, counts.total_stable);
            // Without a projection this alternative does not bet.
            if let Some(projection) = project(p_c, p_s, line, arms.0, arms.1) {
                *log_wealth += log_e_increment(p_c, p_s, projection, counts, line) / phi;
            }
        }
        self.log_e = log_sum_exp(self.log_wealth.iter().copied());
        self.log_e_max = self.log_e_max.max(self.log_e);
        if self.share > 0.0 {
            for (log_wealth, odds) in self.log_wealth.iter_mut().zip(ODDS) {
                let kept = (-self.share).ln_1p() + *log_wealth;
                *log_wealth = log_add_exp(kept, self.share.ln() + odds.weight.ln() + self.log_e);
            }
        }
        if self.log_e.is_finite() && self.log_wealth.iter().all(|wealth| wealth.is_finite()) {
            Ok(self)
        } else {
            Err(BernoulliError::Overflow)
        }
    }
}

/// The wire form of [`EProcess`], not yet trusted.
#[derive(Deserialize)]
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

impl TryFrom<Checkpoint> for EProcess {
    type Error = BernoulliError;

    fn try_from(from: Checkpoint) -> Result<Self, BernoulliError> {
        let prior = Prior {
            bad: from.stable_bad,
            total: from.stable_total,
        };
        let start = Self::new(from.direction, from.share, prior)?;
        let refused = |why| Err(BernoulliError::Checkpoint(why));
        if from.log_wealth.len() != start.log_wealth.len() {
            return refused("its grid has another length");
        }
        let numbers = from.log_wealth.iter().chain([&from.log_e, &from.log_e_max]);
        if !numbers.into_iter().all(|number| number.is_finite()) {
            return refused("a number is not finite");
        }
        if from.log_e_max < from.log_e.max(0.0) {
            return refused("the largest evidence is below the evidence");
        }
        Ok(Self {
            log_wealth: from.log_wealth,
            log_e: from.log_e,
            log_e_max: from.log_e_max,
            ..start
        })
    }
}
