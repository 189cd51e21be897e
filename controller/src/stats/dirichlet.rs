//! The likelihood of categories under a Dirichlet prior, over their likelihood under fixed probabilities.
//!
//! One formula serves the sample-ratio test (3, formula 5), the truncated beta mixture (1.3), the confidence sequence of
//! a proportion (2.3) and drift from a frozen reference (5.3). It is written as a divergence plus Stirling's remainders,
//! because the plain sum of log-gammas loses all digits where counts are large: at 1e15 it is wrong by more than the
//! evidence that raises an alarm.

use statrs::function::gamma::ln_gamma;

use super::domain::{DomainError, as_long, finite, not_negative, positive, probability};

/// `lnG(a) - lnG(a+N) + sum_j [lnG(a_j + n_j) - lnG(a_j)] - sum_j n_j ln w_j` with `a = sum a_j`, `N = sum n_j`: the log
/// of the Bayes factor of a Dirichlet prior `a_j` against the probabilities `w_j`, without the multinomial coefficient,
/// which cancels. It is the log of an e-value for the hypothesis that the probabilities are `w_j`.
///
/// # Errors
/// The three lists are not as long, a prior is not above 0, an expected probability is not inside (0, 1) or they do not
/// sum to 1 within 1e-9, or a count is negative or not finite.
pub fn log_dirichlet_ratio(
    counts: &[f64],
    prior: &[f64],
    expected: &[f64],
) -> Result<f64, DomainError> {
    as_long("prior", prior.len(), counts.len(), "as many as counts")?;
    as_long(
        "expected probabilities",
        expected.len(),
        counts.len(),
        "as many as counts",
    )?;
    for count in counts {
        not_negative("count", *count)?;
    }
    for alpha in prior {
        positive("prior", *alpha)?;
    }
    for share in expected {
        probability("expected probability", *share)?;
    }
    let total: f64 = expected.iter().sum();
    if (total - 1.0).abs() > 1e-9 {
        return Err(DomainError::Number {
            what: "sum of the expected probabilities",
            value: total,
            must: "1",
        });
    }
    let posterior: Vec<f64> = counts.iter().zip(prior).map(|(n, a)| n + a).collect();
    finite(
        "evidence",
        log_form(&posterior, expected) - log_form(prior, expected),
    )
}

/// `sum_j lnG(z_j) - lnG(Z) - sum_j z_j ln w_j`, up to a constant that depends on the number of terms only.
fn log_form(z: &[f64], w: &[f64]) -> f64 {
    let total: f64 = z.iter().sum();
    let terms = z.iter().zip(w).map(|(z, w)| {
        let excess = (z - total * w) / (total * w);
        total * w * divergence(excess) - 0.5 * z.ln() + stirling_remainder(*z)
    });
    terms.sum::<f64>() + 0.5 * total.ln() - stirling_remainder(total)
}

/// `(1+d) log(1+d) - d`, not negative, exact to rounding around 0 where the plain form cancels.
fn divergence(d: f64) -> f64 {
    if d.abs() < 0.01 {
        let mut power = d;
        let term = |k: i32| {
            power *= -d;
            -power / f64::from(k * (k - 1))
        };
        (2..10).map(term).sum()
    } else if d <= -1.0 {
        1.0
    } else {
        (1.0 + d) * d.ln_1p() - d
    }
}

/// `lnG(z) - [(z - 1/2) ln z - z + ln(2 pi)/2]`.
fn stirling_remainder(z: f64) -> f64 {
    if z < 10.0 {
        let leading = (z - 0.5) * z.ln() - z + 0.5 * (2.0 * std::f64::consts::PI).ln();
        return ln_gamma(z) - leading;
    }
    let square = 1.0 / (z * z);
    (1.0 / 12.0 - square * (1.0 / 360.0 - square * (1.0 / 1260.0 - square / 1680.0))) / z
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The formula as it is printed.
    fn printed(counts: &[f64], prior: &[f64], expected: &[f64]) -> f64 {
        let (n, a): (f64, f64) = (counts.iter().sum(), prior.iter().sum());
        let terms = counts.iter().zip(prior).zip(expected);
        let sum: f64 = terms
            .map(|((n, a), w)| ln_gamma(a + n) - ln_gamma(*a) - n * w.ln())
            .sum();
        ln_gamma(a) - ln_gamma(a + n) + sum
    }

    proptest! {
        #[test]
        fn it_is_the_printed_formula_where_that_has_digits(
            cells in proptest::collection::vec((0u32..2000, 0.01f64..50.0, 0.05f64..1.0), 2..6),
        ) {
            let total: f64 = cells.iter().map(|(_, _, w)| w).sum();
            let counts: Vec<f64> = cells.iter().map(|(n, _, _)| f64::from(*n)).collect();
            let prior: Vec<f64> = cells.iter().map(|(_, a, _)| *a).collect();
            let expected: Vec<f64> = cells.iter().map(|(_, _, w)| w / total).collect();
            let found = log_dirichlet_ratio(&counts, &prior, &expected).expect("sane");
            let printed = printed(&counts, &prior, &expected);
            prop_assert!((found - printed).abs() < 1e-8, "{found} {printed}");
        }

        #[test]
        fn it_is_finite_for_any_counts(
            counts in proptest::array::uniform3(0.0f64..9_007_199_254_740_992.0),
            split in 1e-9f64..0.5,
        ) {
            let expected = [split, 0.5, 0.5 - split];
            prop_assume!(expected[2] > 0.0);
            let prior = expected.map(|w| 100.0 * w);
            prop_assert!(log_dirichlet_ratio(&counts, &prior, &expected).expect("sane").is_finite());
        }
    }

    #[test]
    fn exact_agreement_of_huge_counts_is_no_evidence() {
        // 1/2 ln of the prior's spread over the posterior's: -(ln N)/2 and a constant, not the -40 of lost digits.
        let counts = [0.25, 0.75].map(|w| w * 9_007_199_254_740_992.0);
        let found = log_dirichlet_ratio(&counts, &[25.0, 75.0], &[0.25, 0.75]).expect("sane");
        let expected = -0.5 * (9_007_199_254_740_992.0f64 / 100.0).ln();
        assert!((found - expected).abs() < 0.02, "{found} {expected}");
    }

    #[test]
    fn what_is_no_prior_or_count_is_refused() {
        let ratio = log_dirichlet_ratio;
        assert!(ratio(&[1.0], &[1.0, 1.0], &[0.5, 0.5]).is_err());
        assert!(ratio(&[1.0, 1.0], &[1.0, 1.0], &[1.0]).is_err());
        assert!(ratio(&[1.0, -1.0], &[1.0, 1.0], &[0.5, 0.5]).is_err());
        assert!(ratio(&[1.0, f64::NAN], &[1.0, 1.0], &[0.5, 0.5]).is_err());
        assert!(ratio(&[1.0, 1.0], &[0.0, 1.0], &[0.5, 0.5]).is_err());
        assert!(ratio(&[1.0, 1.0], &[1.0, 1.0], &[0.0, 1.0]).is_err());
        assert!(ratio(&[1.0, 1.0], &[1.0, 1.0], &[0.5, 0.4]).is_err());
    }
}
