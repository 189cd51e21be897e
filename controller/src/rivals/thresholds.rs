//! How often counters of failed checks roll back by chance alone, exactly (statistics 8.2).

use statrs::distribution::{Binomial, DiscreteCDF};

/// A rule of the kind "the error ratio of a window is above a threshold, so many times".
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ThresholdCounter {
    /// Requests in each window (`n`).
    pub requests: u64,
    /// A window fails when its error ratio, as a floating-point quotient, is above this; 0 to 1.
    pub threshold: f64,
    /// Failed windows that roll back (`k`), at least 1: `threshold` of Flagger, `failureLimit` + 1 of Argo.
    pub failed_checks: u64,
}

/// Why no probability can be given.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ThresholdError {
    /// A ratio is outside [0, 1].
    #[error("failed to use the {what} \"{value}\": it is a probability")]
    NoProbability {
        /// `error ratio` or `threshold`.
        what: &'static str,
        /// The value as given.
        value: f64,
    },
    /// A rule that rolls back after 0 failed checks, or windows without requests.
    #[error("failed to use the rule: its {0} is 0, and must be at least 1")]
    Zero(&'static str),
}

impl ThresholdCounter {
    /// The probability that one window fails: `q = P(Bin(n, p) > threshold * n)` for the true error ratio `p`.
    ///
    /// # Errors
    /// `p` or the threshold is no probability, or there are no requests.
    pub fn window_fails(&self, p: f64) -> Result<f64, ThresholdError> {
        for (what, value) in [("error ratio", p), ("threshold", self.threshold)] {
            if !(0.0..=1.0).contains(&value) {
                return Err(ThresholdError::NoProbability { what, value });
            }
        }
        if self.requests == 0 {
            return Err(ThresholdError::Zero("number of requests"));
        }
        Ok(exceeds(self.requests, p, self.allowed()))
    }

    /// The probability of a roll back within so many looks: `P(Bin(looks, q) >= k)` with `q` of
    /// [`Self::window_fails`], windows being independent.
    ///
    /// # Errors
    /// As [`Self::window_fails`], or no failed check is needed at all.
    pub fn rolls_back(&self, p: f64, looks: u64) -> Result<f64, ThresholdError> {
        let Some(below) = self.failed_checks.checked_sub(1) else {
            return Err(ThresholdError::Zero("number of failed checks"));
        };
        Ok(exceeds(looks, self.window_fails(p)?, below))
    }

    /// The most errors of a window that still pass. The product can round across a whole number, and the rivals
    /// compare the quotient.
    fn allowed(&self) -> u64 {
        let n = self.requests as f64;
        let about = (self.threshold * n).floor();
        let passes = |errors: f64| errors / n <= self.threshold;
        let most = [about + 1.0, about]
            .into_iter()
            .find(|errors| passes(*errors));
        most.unwrap_or(about - 1.0).max(0.0) as u64
    }
}

/// `P(Bin(n, p) > k)`.
fn exceeds(n: u64, p: f64, k: u64) -> f64 {
    if k >= n || p <= 0.0 {
        return 0.0;
    }
    if p >= 1.0 {
        return 1.0;
    }
    Binomial::new(p, n).map_or(0.0, |binomial| binomial.sf(k))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(threshold: f64, requests: u64, failed_checks: u64) -> ThresholdCounter {
        ThresholdCounter {
            requests,
            threshold,
            failed_checks,
        }
    }

    #[test]
    fn the_published_table_is_reproduced() {
        let published = [
            (10, [0.9125, 0.1512, 0.0447, 0.0000]),
            (20, [0.9923, 0.6563, 0.4415, 0.0047]),
            (30, [0.9993, 0.9146, 0.8083, 0.0947]),
            (60, [1.0000, 0.9996, 0.9983, 0.8637]),
        ];
        for (looks, row) in published {
            for (failed_checks, expected) in [1, 4, 5, 10].into_iter().zip(row) {
                let found = rule(0.01, 200, failed_checks)
                    .rolls_back(0.008, looks)
                    .expect("sane");
                assert!(
                    (found - expected).abs() <= 0.5e-4,
                    "{looks} looks, {failed_checks} checks: {found}"
                );
            }
        }
    }

    #[test]
    fn a_ratio_on_the_threshold_passes_however_the_product_rounds() {
        // 0.29 * 100 is 28.999999999999996 and 0.07 * 100 is 7.000000000000001.
        for (threshold, requests, allowed) in [(0.29, 100, 29), (0.07, 100, 7), (0.01, 200, 2)] {
            assert_eq!(rule(threshold, requests, 1).allowed(), allowed);
        }
    }

    #[test]
    fn certainties_are_certain() {
        assert_eq!(rule(0.01, 200, 1).window_fails(0.0), Ok(0.0));
        assert_eq!(rule(0.01, 200, 1).window_fails(1.0), Ok(1.0));
        assert_eq!(rule(1.0, 200, 1).window_fails(0.5), Ok(0.0));
        assert_eq!(rule(0.01, 200, 5).rolls_back(0.5, 4), Ok(0.0));
        assert_eq!(rule(0.01, 200, 5).rolls_back(0.5, 0), Ok(0.0));
    }

    #[test]
    fn what_is_no_rule_is_refused() {
        assert!(rule(0.01, 0, 1).window_fails(0.1).is_err());
        assert!(rule(0.01, 10, 0).rolls_back(0.1, 5).is_err());
        for value in [-0.1, 1.1, f64::NAN] {
            assert!(rule(value, 10, 1).window_fails(0.1).is_err());
            assert!(rule(0.1, 10, 1).window_fails(value).is_err());
        }
    }
}
