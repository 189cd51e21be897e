//! Sample-ratio mismatch: whether traffic was split as configured (section 3).
//!
//! An alarm says that the evidence is not trustworthy: *pause*, do not roll back. Weights are those that the routers were
//! told, and an interval in which they changed is left out until the routers report the new ones. Count units that are
//! independent (newly issued ids, random assignments): users send unequal numbers of requests, and with sticky users
//! requests fail the test though every user is where they belong (7.9). Where several requests share a connection, divide
//! the counts by `phi = E[K^2] / E[K]`, with `K` the requests of a connection.

mod groups;
mod phases;
mod tilt;

pub use groups::{ENOUGH_USERS, GroupSplit, effective_users};
pub use phases::{PhaseProduct, log_e_phase};
pub use tilt::{TILTS, Tilt, ToleratedTilt};

use super::count::CountError;
use super::domain::DomainError;

/// The evidence at which the split is said to be wrong, whatever the alpha of the metrics.
pub const ALARM: f64 = 1000.0;
/// The usual concentration `c` of the prior: relative errors of 5 to 10 % are found quickly.
pub const CONCENTRATION: f64 = 100.0;

/// Whether evidence of a wrong split, its logarithm at its largest, is an alarm.
#[must_use]
pub fn is_alarm(log_e_max: f64) -> bool {
    log_e_max >= ALARM.ln()
}

/// Why counts of a split cannot be used.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum SplitError {
    /// A weight or a parameter is out of range, or the lists are not as long.
    #[error(transparent)]
    Domain(#[from] DomainError),
    /// A number is no count.
    #[error(transparent)]
    Counts(#[from] CountError),
    /// A checkpoint was changed by hand.
    #[error("failed to restore the split: {0}")]
    Checkpoint(&'static str),
}

#[cfg(test)]
#[path = "srm_tests.rs"]
mod tests;
