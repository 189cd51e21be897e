//! What trips a fuse, and for how long.

use std::time::Duration;

use thiserror::Error;

/// The settings of a fuse. Without `consecutive_errors` and `error_ratio` it never trips.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct FuseSettings {
    /// Trips after so many bad results in a row, at least 1.
    pub consecutive_errors: Option<u32>,
    /// Trips when this share of the results in the window, 0 to 1, or more are bad; 0: any bad one.
    pub error_ratio: Option<f64>,
    /// For `error_ratio`: so many results must be in the window.
    pub min_requests: u32,
    /// For `error_ratio`: how far back results count. A result is forgotten after 90 to 100 % of this time.
    pub window: Duration,
    /// A call that no answer began to come to for so long counts as one bad result at that moment, and not again when it
    /// ends. How long the rest of the answer takes, as with streams and tunnels, is for `slow_limit` alone.
    pub pending_limit: Option<Duration>,
    /// A call that took longer counts as bad for the fuse.
    pub slow_limit: Option<Duration>,
    /// How long a tripped fuse sends everybody home; also how long a probe may be pending where `pending_limit` is none.
    pub cooldown: Duration,
}

/// Why settings cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{field}: {reason}")]
pub struct SettingsError {
    /// The field, in the spelling of the configuration (camelCase).
    pub field: &'static str,
    /// What is wrong with it, and what to do.
    pub reason: &'static str,
}

impl FuseSettings {
    /// Whether there is a rule that can trip the fuse.
    pub fn can_trip(&self) -> bool {
        self.consecutive_errors.is_some() || self.error_ratio.is_some()
    }

    /// Checks that the settings mean something.
    ///
    /// # Errors
    /// The first field that does not.
    pub fn check(&self) -> Result<(), SettingsError> {
        let zero = Some(Duration::ZERO);
        let fail = |field, reason| Err(SettingsError { field, reason });
        if self.consecutive_errors == Some(0) {
            return fail(
                "consecutiveErrors",
                "0 errors in a row are no reason to trip: say 1 or more, or leave it out",
            );
        }
        if let Some(ratio) = self.error_ratio {
            if !(0.0..=1.0).contains(&ratio) {
                return fail("errorRatio", "it is not from 0 to 1: 0.5 means one half");
            }
            if self.min_requests == 0 {
                return fail(
                    "minRequests",
                    "0 results have no ratio of errors: say 1 or more",
                );
            }
            if self.window.is_zero() {
                return fail("window", "nothing ends within no time: say 1s, for example");
            }
        }
        if self.pending_limit == zero {
            return fail(
                "pendingLimit",
                "every call would be overdue at once: say 10s, for example, or leave it out",
            );
        }
        if self.slow_limit == zero {
            return fail(
                "slowLimit",
                "every call would be too slow: say 1s, for example, or leave it out",
            );
        }
        if self.cooldown.is_zero() && self.can_trip() {
            return fail(
                "cooldown",
                "the fuse would never send anybody home: say 30s, for example",
            );
        }
        Ok(())
    }
}
