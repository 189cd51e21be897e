//! Events without a denominator: fewer logins, orders or plays from the canary (1.12).
//!
//! Where only events are counted and not the occasions for them, the configured weight stands in for the requests:
//! `nc = w D`, `ns = (1-w) D`. It is the Poisson form of [`super::poisson`] with the sides exchanged, for here *less*
//! is bad. Valid only while the split is what was configured, so while the test of section 3 is quiet;
//! events of one user come together, so temper with phi (7.4).

use serde::{Deserialize, Serialize};

use super::domain::{DomainError, probability};
use super::poisson::{Consumed, Counts, Direction, EProcess, Line, PoissonError, Prior};

/// A rate of the canary below 0.9 of stable's is harm.
pub const DROP: Line = Line {
    theta: 0.9,
    delta: 0.0,
};
/// A rate of the canary above 0.8 of stable's is success.
pub const KEPT: Line = Line {
    theta: 0.8,
    delta: 0.0,
};

/// The common exposure `D`. With a delta of 0 only `nc / ns` enters, so any number will do; this one is above any count
/// of events, which are therefore never more than the requests they stand for.
const EXPOSURE: f64 = 1.8e19;

/// Why an interval of events cannot be used.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ExposureError {
    /// The weight is not inside (0, 1).
    #[error(transparent)]
    Weight(#[from] DomainError),
    /// The counts or phi cannot be used.
    #[error(transparent)]
    Process(#[from] PoissonError),
}

/// Evidence on the rate of an event where less is bad. Serialized, it is a checkpoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EventRate {
    dropped: EProcess,
    kept: EProcess,
}

impl EventRate {
    /// Starts at an evidence of 1 on both sides; the harmful side looks for late onsets (1.5).
    ///
    /// # Errors
    /// Never with the shares and the prior given here; the type is that of the process.
    pub fn new() -> Result<Self, ExposureError> {
        let start = |direction, share| EProcess::new(direction, share, Prior::default());
        Ok(Self {
            dropped: start(Direction::Success, Direction::Harm.default_share())?,
            kept: start(Direction::Harm, 0.0)?,
        })
    }

    /// Takes one interval: events of both arms while the canary's configured weight was `weight` (0 to 1). At a weight
    /// of 0 or 1 there is nothing to compare and the evidence carries over.
    ///
    /// # Errors
    /// The weight is outside [0, 1], a count is no count, or `phi` is below 1; nothing is changed then.
    pub fn update(
        &mut self,
        canary: f64,
        stable: f64,
        weight: f64,
        phi: f64,
    ) -> Result<Consumed, ExposureError> {
        if weight == 0.0 || weight == 1.0 {
            return Ok(Consumed::Carried);
        }
        let counts = exposed(canary, stable, weight)?;
        let mut next = self.clone();
        next.dropped.update(counts, DROP, phi)?;
        let consumed = next.kept.update(counts, KEPT, phi)?;
        *self = next;
        Ok(consumed)
    }

    /// Evidence that the rate fell below [`DROP`]: roll back.
    #[must_use]
    pub fn dropped(&self) -> &EProcess {
        &self.dropped
    }

    /// Evidence that the rate is above [`KEPT`]: promote.
    #[must_use]
    pub fn kept(&self) -> &EProcess {
        &self.kept
    }
}

/// Events as counts with the exposure in place of requests, for a line with a delta of 0.
///
/// # Errors
/// The weight is not inside (0, 1).
pub fn exposed(canary: f64, stable: f64, weight: f64) -> Result<Counts, DomainError> {
    let weight = probability("weight", weight)?;
    Ok(Counts {
        bad_canary: canary,
        total_canary: weight * EXPOSURE,
        bad_stable: stable,
        total_stable: (1.0 - weight) * EXPOSURE,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::poisson::log_e_increment;

    #[test]
    fn only_the_split_enters() {
        let plain = Counts {
            total_canary: 0.1,
            total_stable: 0.9,
            ..exposed(40.0, 500.0, 0.1).expect("sane")
        };
        let scaled = exposed(40.0, 500.0, 0.1).expect("sane");
        let log_e = |counts| log_e_increment(-0.4, counts, DROP);
        assert!((log_e(plain) - log_e(scaled)).abs() < 1e-9);
    }

    #[test]
    fn fewer_events_than_the_weight_promises_are_a_drop() {
        let mut rate = EventRate::new().expect("sane");
        for _ in 0..20 {
            assert_eq!(rate.update(50.0, 900.0, 0.1, 1.0), Ok(Consumed::Judged));
        }
        assert!(rate.dropped().rejects(0.01) && !rate.kept().rejects(0.05));
    }

    #[test]
    fn as_many_events_as_the_weight_promises_are_kept() {
        let mut rate = EventRate::new().expect("sane");
        for (weight, canary, stable) in [(0.1, 100.0, 900.0), (0.5, 500.0, 500.0)].repeat(10) {
            rate.update(canary, stable, weight, 1.0).expect("usable");
        }
        assert!(!rate.dropped().rejects(0.5) && rate.kept().rejects(0.05));
    }

    #[test]
    fn a_weight_without_two_arms_tells_nothing() {
        let mut rate = EventRate::new().expect("sane");
        assert_eq!(rate.update(5.0, 0.0, 1.0, 1.0), Ok(Consumed::Carried));
        assert_eq!(rate.update(0.0, 5.0, 0.0, 1.0), Ok(Consumed::Carried));
        assert!(rate.update(0.0, 5.0, 1.5, 1.0).is_err());
        assert!(rate.update(-1.0, 5.0, 0.5, 1.0).is_err());
        assert!(rate.update(1.0, 5.0, 0.5, 0.0).is_err());
        assert_eq!(rate, EventRate::new().expect("sane"));
    }

    #[test]
    fn the_largest_counts_are_events() {
        let mut rate = EventRate::new().expect("sane");
        let most = 9_007_199_254_740_992.0;
        for _ in 0..3 {
            rate.update(most, most, 0.01, 1.0).expect("usable");
            assert!(rate.dropped().log_e().is_finite() && rate.kept().log_e().is_finite());
        }
    }
}
