//! Confidence sequence of one proportion (2.3): the beta mixture with a prior of Beta(1/2, 1/2).

use super::bisect;
use super::dirichlet::log_dirichlet_ratio;
use super::domain::{DomainError, finite, not_negative, probability};

/// An interval of probabilities that holds at all times at once.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ProportionInterval {
    /// Lower end, at least 0.
    pub lower: f64,
    /// Upper end, at most 1.
    pub upper: f64,
}

/// The `1 - alpha` confidence sequence of a probability of which `hits` of `total` trials were hits:
/// `{p : lnB(k+1/2, n-k+1/2) - lnB(1/2, 1/2) - k ln p - (n-k) ln(1-p) < ln(1/alpha)}` (2.3).
///
/// With no trial it is everything. Both counts are at most 2^53 and need not be whole.
///
/// # Errors
/// The counts are no counts, there are more hits than trials, or alpha is not inside (0, 1).
pub fn proportion_interval(
    hits: f64,
    total: f64,
    alpha: f64,
) -> Result<ProportionInterval, DomainError> {
    not_negative("number of trials", total)?;
    not_negative("number of hits", hits)?;
    probability("alpha", alpha)?;
    let misses = total - hits;
    if misses < 0.0 {
        return Err(DomainError::Number {
            what: "number of hits",
            value: hits,
            must: "at most the number of trials",
        });
    }
    let counts = [hits, misses];
    // In log odds the ends of a small proportion are as exact as those of a large one.
    let inside = |log_odds: f64| {
        let odds = log_odds.exp();
        let expected = [odds / (1.0 + odds), 1.0 / (1.0 + odds)];
        log_dirichlet_ratio(&counts, &[0.5, 0.5], &expected).is_ok_and(|log_e| log_e < -alpha.ln())
    };
    let share = |log_odds: f64| 1.0 / (1.0 + (-log_odds).exp());
    // Anything inside will do to start from; at the estimate the evidence against it is smallest.
    let peak = ((hits + 0.5) / (misses + 0.5)).ln();
    let lower = if hits == 0.0 || inside(-SEARCH) {
        0.0
    } else {
        share(bisect(-SEARCH, peak, |at| !inside(at)))
    };
    let upper = if misses == 0.0 || inside(SEARCH) {
        1.0
    } else {
        share(bisect(peak, SEARCH, inside))
    };
    Ok(ProportionInterval {
        lower: finite("lower end", lower)?,
        upper: finite("upper end", upper)?,
    })
}

/// No probability beyond these log odds is told from 0 or 1; `1/(1+odds)` must not round to 1.
const SEARCH: f64 = 36.0;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn interval(hits: f64, total: f64) -> ProportionInterval {
        proportion_interval(hits, total, 0.05).expect("sane")
    }

    #[test]
    fn nothing_seen_is_nothing_known() {
        let found = interval(0.0, 0.0);
        assert_eq!((found.lower, found.upper), (0.0, 1.0));
    }

    #[test]
    fn more_trials_narrow_the_interval() {
        let widths = [10.0, 1e3, 1e6, 9e15].map(|n| {
            let found = interval(0.3 * n, n);
            found.upper - found.lower
        });
        assert!(widths.is_sorted_by(|a, b| a > b), "{widths:?}");
    }

    #[test]
    fn what_is_no_count_is_refused() {
        for (hits, total, alpha) in [
            (2.0, 1.0, 0.05),
            (-1.0, 1.0, 0.05),
            (0.0, f64::NAN, 0.05),
            (0.0, 1.0, 0.0),
            (0.0, 1.0, 1.0),
        ] {
            assert!(proportion_interval(hits, total, alpha).is_err());
        }
    }

    proptest! {
        #[test]
        fn the_interval_holds_the_estimate_and_mirrors(hits in 0u64..1 << 53, misses in 0u64..1 << 53) {
            let (hits, misses) = (hits as f64, misses as f64);
            prop_assume!(hits + misses > 0.0);
            let (found, mirrored) = (interval(hits, hits + misses), interval(misses, hits + misses));
            let estimate = hits / (hits + misses);
            prop_assert!(found.lower <= estimate && estimate <= found.upper, "{found:?} {estimate}");
            prop_assert!((found.lower + mirrored.upper - 1.0).abs() < 1e-9);
        }
    }
}
