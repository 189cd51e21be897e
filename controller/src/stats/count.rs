//! What two arms counted over one interval, and which of it can be used.

/// Bad events and all requests of the two arms over one interval, as differences of counters.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Counts {
    /// Bad events of the canary (`xc`).
    pub bad_canary: f64,
    /// Requests of the canary (`nc`).
    pub total_canary: f64,
    /// Bad events of stable (`xs`).
    pub bad_stable: f64,
    /// Requests of stable (`ns`).
    pub total_stable: f64,
}

impl Counts {
    /// Checks that the four numbers are counts: finite, not negative, and no more bad events than requests (7.8).
    ///
    /// # Errors
    /// [`CountError`] names the arm and the value.
    pub fn check(&self) -> Result<(), CountError> {
        check_arm("canary", self.bad_canary, self.total_canary)?;
        check_arm("stable", self.bad_stable, self.total_stable)
    }
}

/// Why a pair of counts cannot be used.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum CountError {
    /// A number is negative, infinite or not a number.
    #[error("failed to read the {what} of {arm}: \"{value}\" is not a count")]
    NotACount {
        /// The arm it belongs to.
        arm: &'static str,
        /// `bad events` or `requests`.
        what: &'static str,
        /// The value as given.
        value: f64,
    },
    /// More bad events than requests, which mis-joined labels produce.
    #[error("failed to read the counts of {arm}: \"{bad}\" bad events among \"{total}\" requests")]
    BadExceedsTotal {
        /// The arm it belongs to.
        arm: &'static str,
        /// Bad events as given.
        bad: f64,
        /// Requests as given.
        total: f64,
    },
}

/// Checks one arm's pair of counts.
pub(super) fn check_arm(arm: &'static str, bad: f64, total: f64) -> Result<(), CountError> {
    for (what, value) in [("bad events", bad), ("requests", total)] {
        if !value.is_finite() || value < 0.0 {
            return Err(CountError::NotACount { arm, what, value });
        }
    }
    if bad > total {
        return Err(CountError::BadExceedsTotal { arm, bad, total });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_names_the_arm_and_quotes_the_value() {
        let counts = Counts {
            bad_stable: -2.0,
            total_stable: 5.0,
            ..Counts::default()
        };
        let said = counts.check().map_err(|error| error.to_string());
        assert_eq!(
            said,
            Err("failed to read the bad events of stable: \"-2\" is not a count".into())
        );
        let counts = Counts {
            bad_canary: 7.0,
            total_canary: 5.0,
            ..Counts::default()
        };
        let said = counts.check().map_err(|error| error.to_string());
        assert_eq!(
            said,
            Err(
                "failed to read the counts of canary: \"7\" bad events among \"5\" requests".into()
            )
        );
    }
}
