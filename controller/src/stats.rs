//! Anytime-valid statistics on counters: pure functions of numbers, with no clock, no I/O and no word of releases.
//!
//! Every formula is taken from the note that the modules cite by section. Logarithms are natural, counts are `f64`
//! because a source may deliver fractions, and nothing here panics: what cannot be used is a typed error.

pub mod bernoulli;
pub mod beta_mixture;
pub mod combine;
pub mod count;
pub mod counter;
pub mod dirichlet;
pub mod domain;
pub mod drift;
pub mod exposure;
pub mod fairness;
pub mod histogram;
pub mod mean;
pub mod multinomial;
pub mod normal_mixture;
pub mod overdispersion;
pub mod planning;
pub mod poisson;
pub mod proportion;
pub mod ratio;
pub mod shift;
pub mod srm;
pub mod user_mix;

/// `log(sum(exp(x)))` without overflow; negative infinity for an empty sum.
pub(crate) fn log_sum_exp(terms: impl Iterator<Item = f64> + Clone) -> f64 {
    let largest = terms.clone().fold(f64::NEG_INFINITY, f64::max);
    if largest == f64::NEG_INFINITY {
        return largest;
    }
    largest + terms.map(|term| (term - largest).exp()).sum::<f64>().ln()
}

/// `log(exp(a) + exp(b))` without overflow.
fn log_add_exp(a: f64, b: f64) -> f64 {
    log_sum_exp([a, b].into_iter())
}

/// Where `holds`, true on the left and false on the right, changes between the two ends.
fn bisect(mut left: f64, mut right: f64, holds: impl Fn(f64) -> bool) -> f64 {
    // 64 halvings of any range that is searched here end below the spacing of doubles around its solution.
    for _ in 0..64 {
        let middle = 0.5 * (left + right);
        if holds(middle) {
            left = middle;
        } else {
            right = middle;
        }
    }
    0.5 * (left + right)
}

/// Whether an evidence of `log_e` reaches `1 / alpha`; an `alpha` outside (0, 1) is never reached.
///
/// By Ville's inequality the chance that a true hypothesis ever gets there is at most `alpha`.
#[must_use]
pub fn reaches(log_e: f64, alpha: f64) -> bool {
    alpha > 0.0 && alpha < 1.0 && log_e >= -alpha.ln()
}

/// `exp(log_e)` for display only, capped at 1e300 so that it stays a JSON number (7.8).
#[must_use]
pub fn e_for_display(log_e: f64) -> f64 {
    log_e.exp().min(1e300)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_sums_survive_magnitudes_that_overflow_exp() {
        let sum = |terms: [f64; 2]| log_sum_exp(terms.into_iter());
        assert_eq!(sum([1000.0, 1000.0]), 1000.0 + 2f64.ln());
        assert_eq!(sum([-1e6, 3.0]), 3.0);
        assert_eq!(log_sum_exp(std::iter::empty()), f64::NEG_INFINITY);
    }

    #[test]
    fn an_alpha_that_is_no_probability_is_never_reached() {
        assert!(reaches(100f64.ln() + 1e-12, 0.01));
        assert!(!reaches(99f64.ln(), 0.01));
        for alpha in [0.0, -1.0, 1.0, 2.0, f64::NAN] {
            assert!(!reaches(1e9, alpha), "{alpha}");
        }
    }

    #[test]
    fn evidence_for_display_stays_finite() {
        assert_eq!(e_for_display(0.0), 1.0);
        assert_eq!(e_for_display(1e9), 1e300);
    }
}
