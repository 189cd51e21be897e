//! The gate that may look as often as it likes: the Bernoulli e-process on the ratio of selection (section 6).

use serde::{Deserialize, Serialize};

use super::ADVERSE;
use crate::stats::bernoulli::{BernoulliError, Consumed, Counts, Direction, EProcess, Line, Prior};
use crate::stats::user_mix::GroupCount;

/// What the evidence says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GateVerdict {
    /// Proven adverse impact: stop.
    Violation,
    /// Proven compliance.
    Compliant,
    /// Neither yet.
    Undecided,
}

/// Evidence on `p_a = 0.8 p_b` in both directions. Serialized, it is a checkpoint.
///
/// Labels arrive late: feed intervals of *label arrival*, and never mix windows of different maturity.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FairnessGate {
    violation: EProcess,
    compliance: EProcess,
}

impl FairnessGate {
    /// Starts at an evidence of 1, with what is known of group b before.
    ///
    /// # Errors
    /// The prior is no pair of counts with at least a part of a case.
    pub fn new(prior: Prior) -> Result<Self, BernoulliError> {
        Ok(Self {
            violation: EProcess::new(Direction::Success, 0.0, prior)?,
            compliance: EProcess::new(Direction::Harm, 0.0, prior)?,
        })
    }

    /// Takes one interval: selected and all cases of the protected group a and of the reference b.
    ///
    /// # Errors
    /// The counts cannot be used; nothing is changed then.
    pub fn update(&mut self, a: GroupCount, b: GroupCount) -> Result<Consumed, BernoulliError> {
        let counts = Counts {
            bad_canary: a.bad,
            total_canary: a.total,
            bad_stable: b.bad,
            total_stable: b.total,
        };
        let line = Line {
            theta: ADVERSE,
            delta: 0.0,
        };
        let mut next = self.clone();
        // A stake on fewer selections than the line proves that they are fewer.
        next.violation.update(counts, line, 1.0)?;
        let consumed = next.compliance.update(counts, line, 1.0)?;
        *self = next;
        Ok(consumed)
    }

    /// The verdict at level alpha for either side; a violation goes first.
    #[must_use]
    pub fn verdict(&self, alpha: f64) -> GateVerdict {
        if self.violation.rejects(alpha) {
            GateVerdict::Violation
        } else if self.compliance.rejects(alpha) {
            GateVerdict::Compliant
        } else {
            GateVerdict::Undecided
        }
    }

    /// Evidence of adverse impact.
    #[must_use]
    pub fn violation(&self) -> &EProcess {
        &self.violation
    }

    /// Evidence of compliance.
    #[must_use]
    pub fn compliance(&self) -> &EProcess {
        &self.compliance
    }
}
