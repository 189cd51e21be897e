//! Normal mixtures: evidence of a sum with a variance (section 4, formulas 8 and 9).
//!
//! `S` is a sum of deviations, `V` its variance so far, `rho > 0` is fixed in advance: the evidence grows fastest where
//! `V` is about what `rho` was made for. Robbins; Howard, Ramdas, McAuliffe and Sekhon 2021; as in confseq.

use super::bisect;
use super::domain::{DomainError, finite, not_negative, positive, probability};
use statrs::function::erf::erfc;

/// One or both directions of a deviation count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sides {
    /// Only sums above 0 are evidence.
    One,
    /// Sums on both sides of 0 are.
    Two,
}

/// `rho = v_opt / (2 log(1/a) + log(1 + 2 log(1/a)))` with `a = alpha` for two sides and `2 alpha` for one: the parameter
/// for which the boundary is lowest where `V = v_opt`, which is to be about half of the planned data.
///
/// # Errors
/// `v_opt` is not above 0, or `a` is not inside (0, 1).
pub fn rho(v_opt: f64, alpha: f64, sides: Sides) -> Result<f64, DomainError> {
    let a = match sides {
        Sides::One => 2.0 * alpha,
        Sides::Two => alpha,
    };
    let bits = -2.0 * probability("alpha", a)?.ln();
    Ok(positive("variance v_opt", v_opt)? / (bits + bits.ln_1p()))
}

/// The log of the e-value of `S` with variance `V`: formula (8) for two sides,
/// `0.5 log(rho/(V+rho)) + S^2/(2(V+rho))`, and (9) for one, `log 2 + log Phi(S/sqrt(V+rho))` more.
///
/// # Errors
/// `S` is not finite, `V` is negative, `rho` is not above 0, or `S^2` is too large for a float.
pub fn log_e(s: f64, v: f64, rho: f64, sides: Sides) -> Result<f64, DomainError> {
    let s = finite("sum S", s)?;
    let spread = not_negative("variance V", v)? + positive("rho", rho)?;
    // By the root, for a square can overflow though the quotient does not.
    let z = s / finite("variance V + rho", spread)?.sqrt();
    let two = 0.5 * (rho / spread).ln() + 0.5 * z * z;
    let log_e = match sides {
        Sides::Two => two,
        // With S far below 0 the square and the log of the tail cancel; taken together they do not.
        Sides::One if z < 0.0 => 0.5 * (rho / spread).ln() + 2f64.ln() + log_scaled_tail(-z),
        Sides::One => two + (2.0 - erfc(z / std::f64::consts::SQRT_2)).ln(),
    };
    finite("evidence", log_e)
}

/// How large `|S|` (two sides) or `S` (one) has to be for an evidence of `1/alpha` at the variance `V`. In closed form for
/// two sides, `sqrt((V+rho)(log(1+V/rho) + 2 log(1/alpha)))`, by bisection for one.
///
/// # Errors
/// As [`log_e`], or alpha is not inside (0, 1).
pub fn bound(v: f64, rho: f64, alpha: f64, sides: Sides) -> Result<f64, DomainError> {
    let needed = -probability("alpha", alpha)?.ln();
    let spread = not_negative("variance V", v)? + positive("rho", rho)?;
    let two = (spread * ((v / rho).ln_1p() + 2.0 * needed)).sqrt();
    match sides {
        Sides::Two => finite("bound", two),
        Sides::One => {
            // One side has at most twice the evidence of two, and at S = 0 none at all.
            let reached = |s: f64| log_e(s, v, rho, Sides::One).is_ok_and(|found| found >= needed);
            finite("bound", bisect(0.0, two, |s| !reached(s)))
        }
    }
}

/// Half the width of the asymptotic confidence sequence of a mean with variance `s2` after `n` units, in the i.i.d. form
/// of Waudby-Smith et al. and GrowthBook: `sqrt(s2) sqrt(2 (n rho^2 + 1)/(n rho)^2 log(sqrt(n rho^2 + 1)/alpha))`, and
/// with `log(1 + sqrt(n rho^2 + 1)/(2 alpha))` for one side. Its `rho` is [`asymptotic_rho`], not [`rho`].
///
/// # Errors
/// `s2` is negative, `n` or `rho` is not above 0, or alpha is not inside (0, 1).
pub fn asymptotic_half_width(
    s2: f64,
    n: f64,
    rho: f64,
    alpha: f64,
    sides: Sides,
) -> Result<f64, DomainError> {
    not_negative("variance", s2)?;
    let (n, rho) = (positive("number of units", n)?, positive("rho", rho)?);
    probability("alpha", alpha)?;
    let grown = n * rho * rho + 1.0;
    let log = match sides {
        Sides::Two => (grown.sqrt() / alpha).ln(),
        Sides::One => (grown.sqrt() / (2.0 * alpha)).ln_1p(),
    };
    finite("half width", (s2 * 2.0 * grown * log).sqrt() / (n * rho))
}

/// `sqrt((-2 log a + log(1 - 2 log a)) / t_opt)`: the `rho` for which [`asymptotic_half_width`] is smallest after `t_opt`
/// units.
///
/// # Errors
/// Alpha is not inside (0, 1), or `t_opt` is not above 0.
pub fn asymptotic_rho(alpha: f64, t_opt: f64) -> Result<f64, DomainError> {
    let bits = -2.0 * probability("alpha", alpha)?.ln();
    Ok(((bits + bits.ln_1p()) / positive("number of units", t_opt)?).sqrt())
}

/// `log[exp(z^2/2) Phi(-z)]` for `z >= 0`: Mills' ratio, which does not underflow.
fn log_scaled_tail(z: f64) -> f64 {
    if z < 20.0 {
        return 0.5 * z * z + (0.5 * erfc(z / std::f64::consts::SQRT_2)).ln();
    }
    let square = 1.0 / (z * z);
    let series = 1.0 - square * (1.0 - 3.0 * square * (1.0 - 5.0 * square * (1.0 - 7.0 * square)));
    series.ln() - z.ln() - 0.5 * (2.0 * std::f64::consts::PI).ln()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn no_data_is_no_evidence() {
        for sides in [Sides::One, Sides::Two] {
            assert!(log_e(0.0, 0.0, 5.0, sides).expect("sane").abs() < 1e-12);
        }
    }

    #[test]
    fn the_tail_is_continuous_where_the_series_takes_over() {
        let (below, above) = (log_scaled_tail(19.999_999), log_scaled_tail(20.000_001));
        assert!((below - above).abs() < 1e-6, "{below} {above}");
        assert!((log_scaled_tail(0.0) - 0.5f64.ln()).abs() < 1e-12);
    }

    #[test]
    fn a_sum_far_on_the_wrong_side_is_finite() {
        let found = log_e(-1e9, 100.0, 12.0, Sides::One).expect("finite");
        assert!(found < -10.0 && found > -30.0, "{found}");
    }

    #[test]
    fn the_msprt_of_section_4_is_the_same_evidence() {
        // sigma2 = V/H, tau: rho = sigma2^2 / tau^2, se = sqrt(V)/H, z = (S/H)/se.
        let (s, v, h, tau): (f64, f64, f64, f64) = (35.0, 120.0, 400.0, 0.05);
        let (rho, se) = ((v / h).powi(2) / (tau * tau), v.sqrt() / h);
        let (z, share) = (s / h / se, tau * tau / (tau * tau + se * se));
        let msprt = 0.5 * (1.0 - share).ln() + 0.5 * z * z * share;
        let found = log_e(s, v, rho, Sides::Two).expect("sane");
        // The note writes rho = sigma2^2/tau^2 with sigma2 per unit of H, so V/rho = tau^2/se^2.
        assert!((found - msprt).abs() < 1e-9, "{found} {msprt}");
    }

    #[test]
    fn what_is_out_of_range_is_refused() {
        assert!(rho(0.0, 0.05, Sides::Two).is_err());
        assert!(rho(1.0, 0.5, Sides::One).is_err());
        assert!(log_e(f64::NAN, 1.0, 1.0, Sides::Two).is_err());
        assert!(log_e(1.0, -1.0, 1.0, Sides::Two).is_err());
        assert!(log_e(1.0, 1.0, 0.0, Sides::Two).is_err());
        assert!(log_e(1e200, 1.0, 1.0, Sides::Two).is_err());
        assert!(bound(1.0, 1.0, 1.0, Sides::Two).is_err());
        assert!(asymptotic_half_width(1.0, 0.0, 1.0, 0.05, Sides::Two).is_err());
        assert!(asymptotic_rho(0.05, 0.0).is_err());
    }

    proptest! {
        #[test]
        fn the_bound_is_where_the_evidence_reaches_one_over_alpha(
            v in 0.0f64..1e6, rho in 1e-3f64..1e6, alpha in 0.001f64..0.4,
        ) {
            for sides in [Sides::One, Sides::Two] {
                let at = bound(v, rho, alpha, sides).expect("sane");
                let found = log_e(at, v, rho, sides).expect("sane");
                prop_assert!((found + alpha.ln()).abs() < 1e-6, "{sides:?} {found}");
            }
        }

        /// The mixture over a normal truth: with S normal of mean 0 and variance V the expected evidence is 1.
        #[test]
        fn the_expected_evidence_of_a_normal_sum_is_one(v in 0.1f64..100.0, ratio in 0.6f64..20.0) {
            let rho = ratio * v;
            for sides in [Sides::One, Sides::Two] {
                let step = v.sqrt() / 200.0;
                let density = |s: f64| {
                    let evidence = log_e(s, v, rho, sides).expect("sane");
                    (evidence - s * s / (2.0 * v)).exp() / (2.0 * std::f64::consts::PI * v).sqrt()
                };
                let total: f64 = (-6000..=6000).map(|k| density(f64::from(k) * step) * step).sum();
                prop_assert!((total - 1.0).abs() < 1e-6, "{sides:?} {total}");
            }
        }
    }
}
