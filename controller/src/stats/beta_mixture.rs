//! The truncated beta mixture: the conjugate form of 1.3 where the traffic split never changes, for reference.

use super::dirichlet::log_dirichlet_ratio;
use super::domain::{DomainError, finite, positive, probability};
use super::poisson::Direction;
use statrs::function::beta::ln_beta;

/// More terms of the continued fraction than these are not worth waiting for: about 1e9 events.
const TERMS: u32 = 200_000;

/// The prior on the share `q` of bad events that are the canary's: Beta(a, b), cut off at `q0`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TruncatedBeta {
    /// The share where both arms fail alike, `nc / (nc + ns)`, inside (0, 1).
    pub q0: f64,
    /// First parameter, above 0.
    pub a: f64,
    /// Second parameter, above 0.
    pub b: f64,
}

impl TruncatedBeta {
    /// The log of the e-value after `bad_canary` (`X`) and `bad_stable` (`Y`) bad events (1.3):
    /// `lnB(a+X,b+Y) + ln(1-I_q0(a+X,b+Y)) - lnB(a,b) - ln(1-I_q0(a,b)) - X ln q0 - Y ln(1-q0)` for harm, and with `I`
    /// in place of `1-I` for success.
    ///
    /// # Errors
    /// A parameter or a count is out of range, or the counts are too large (beyond about 1e9) for the tail of the beta
    /// distribution to be computed.
    pub fn log_e(
        &self,
        bad_canary: f64,
        bad_stable: f64,
        direction: Direction,
    ) -> Result<f64, DomainError> {
        let Self { q0, a, b } = *self;
        probability("share q0", q0)?;
        positive("parameter a", a)?;
        positive("parameter b", b)?;
        let whole = log_dirichlet_ratio(&[bad_canary, bad_stable], &[a, b], &[q0, 1.0 - q0])?;
        let tail = |a: f64, b: f64| match direction {
            Direction::Harm => log_beta_tail(b, a, 1.0 - q0),
            Direction::Success => log_beta_tail(a, b, q0),
        };
        finite(
            "evidence",
            whole + tail(a + bad_canary, b + bad_stable)? - tail(a, b)?,
        )
    }
}

/// `ln I_x(a, b)`, finite also where `I` itself is 0 as a float.
fn log_beta_tail(a: f64, b: f64, x: f64) -> Result<f64, DomainError> {
    if x <= (a + 1.0) / (a + b + 2.0) {
        return log_fraction(a, b, x);
    }
    let complement = log_fraction(b, a, 1.0 - x)?;
    finite("tail of the beta distribution", (-complement.exp()).ln_1p())
}

/// `ln [x^a (1-x)^b / (a B(a,b))] - ln(fraction)` by the continued fraction 26.5.8 of Abramowitz and Stegun, evaluated by
/// Lentz's method.
fn log_fraction(a: f64, b: f64, x: f64) -> Result<f64, DomainError> {
    let tiny = 1e-300;
    let away_from_zero = |value: f64| if value.abs() < tiny { tiny } else { value };
    let mut c = 1.0;
    let mut d = 1.0 / away_from_zero(1.0 - (a + b) * x / (a + 1.0));
    let mut fraction = d;
    for term in 1..=TERMS {
        let m = f64::from(term);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        let mut change = 1.0;
        for coefficient in [even, odd] {
            d = 1.0 / away_from_zero(1.0 + coefficient * d);
            c = away_from_zero(1.0 + coefficient / c);
            change = c * d;
            fraction *= change;
        }
        if (change - 1.0).abs() < 1e-15 {
            let leading = a * x.ln() + b * (-x).ln_1p() - ln_beta(a, b) - a.ln();
            return finite("tail of the beta distribution", leading + fraction.ln());
        }
    }
    Err(DomainError::Number {
        what: "number of bad events",
        value: a + b,
        must: "small enough for the tail of a beta distribution (1e9)",
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PRIOR: TruncatedBeta = TruncatedBeta {
        q0: 0.1,
        a: 1.0,
        b: 9.0,
    };

    #[test]
    fn no_event_is_no_evidence() {
        for direction in [Direction::Harm, Direction::Success] {
            let found = PRIOR.log_e(0.0, 0.0, direction).expect("sane");
            assert!(found.abs() < 1e-12, "{found}");
        }
    }

    #[test]
    fn evidence_against_the_anticipated_side_stays_finite() {
        // The tail beyond 0.1 of Beta(1, 10009) is 0 as a float: 0.9^10009.
        let found = PRIOR.log_e(0.0, 10_000.0, Direction::Harm).expect("sane");
        // 0.9^10009 B(1, 10009) over 0.9^9 B(1, 9) and over 0.9^10000, by hand.
        let expected = (9.0f64 / 10_009.0).ln();
        assert!((found - expected).abs() < 1e-8, "{found} {expected}");
    }

    #[test]
    fn what_is_no_prior_is_refused() {
        for (q0, a, b) in [
            (0.0, 1.0, 1.0),
            (1.0, 1.0, 1.0),
            (0.5, 0.0, 1.0),
            (0.5, 1.0, f64::NAN),
        ] {
            let prior = TruncatedBeta { q0, a, b };
            assert!(prior.log_e(1.0, 1.0, Direction::Harm).is_err());
        }
        assert!(PRIOR.log_e(-1.0, 0.0, Direction::Harm).is_err());
    }

    proptest! {
        // Under q0 itself the next event leaves the expected evidence where it is, or lower: it is a supermartingale.
        #[test]
        fn the_next_event_does_not_raise_the_expected_evidence_on_the_line(
            bad_canary in 0u32..300, bad_stable in 0u32..3000, harm in any::<bool>(),
        ) {
            let direction = if harm { Direction::Harm } else { Direction::Success };
            let (x, y) = (f64::from(bad_canary), f64::from(bad_stable));
            let log_e = |x: f64, y: f64| PRIOR.log_e(x, y, direction).expect("sane");
            let now = log_e(x, y);
            let next = 0.1 * (log_e(x + 1.0, y) - now).exp() + 0.9 * (log_e(x, y + 1.0) - now).exp();
            prop_assert!((next - 1.0).abs() < 1e-6, "{next}");
        }
    }
}
