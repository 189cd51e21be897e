//! Evidence of several metrics (1.9), all in logarithms.
//!
//! For a decision that sticks, the caller keeps the running maximum of the *combined* evidence: an average of running
//! maxima would not be covered by Ville's inequality. Nothing here multiplies across metrics, for they share requests.

use super::{log_sum_exp, reaches};

/// Why evidence cannot be combined.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum CombineError {
    /// There is no metric.
    #[error("failed to combine evidence: there is none")]
    Empty,
    /// Evidence and weights are not as many.
    #[error("failed to combine evidence: \"{evidence}\" metrics and \"{weights}\" weights")]
    Lengths {
        /// Number of metrics.
        evidence: usize,
        /// Number of weights.
        weights: usize,
    },
    /// A weight is negative or not finite, or they do not sum to 1.
    #[error("failed to combine evidence: the weights sum to \"{0}\", or one of them is negative")]
    Weights(f64),
    /// A log evidence is not a number or positive infinity.
    #[error("failed to combine evidence: \"{0}\" is not the logarithm of an e-value")]
    Evidence(f64),
}

/// The log of `sum_j a_j E_j`: the evidence that any metric is beyond its tolerance, valid under any dependence.
///
/// # Errors
/// There is no evidence, or the weights are not as many, negative, or do not sum to 1 within 1e-9.
pub fn log_weighted_average(log_e: &[f64], weights: &[f64]) -> Result<f64, CombineError> {
    check(log_e, weights)?;
    Ok(log_sum_exp(
        log_e
            .iter()
            .zip(weights)
            .filter(|(_, weight)| **weight > 0.0)
            .map(|(e, weight)| e + weight.ln()),
    ))
}

/// The log of `min_j E_j`: the evidence that every metric is fine (intersection-union test, no correction).
///
/// # Errors
/// There is no evidence, or one is not a number.
pub fn log_minimum(log_e: &[f64]) -> Result<f64, CombineError> {
    check_evidence(log_e)?;
    Ok(log_e.iter().copied().fold(f64::INFINITY, f64::min))
}

/// For each metric whether it alone reaches its share of alpha: `E_j >= 1 / (alpha a_j)`.
///
/// # Errors
/// As [`log_weighted_average`].
pub fn weighted_bonferroni(
    log_e: &[f64],
    weights: &[f64],
    alpha: f64,
) -> Result<Vec<bool>, CombineError> {
    check(log_e, weights)?;
    Ok(log_e
        .iter()
        .zip(weights)
        .map(|(e, weight)| reaches(*e, alpha * weight))
        .collect())
}

/// The metrics to blame: e-BH (Wang and Ramdas) takes the largest k with `E_(k) >= J / (k alpha)` and returns the
/// indices of the k largest, the largest first. The false discovery rate is at most alpha under any dependence.
///
/// # Errors
/// There is no evidence, or one is not a number.
pub fn e_bh(log_e: &[f64], alpha: f64) -> Result<Vec<usize>, CombineError> {
    check_evidence(log_e)?;
    let mut order: Vec<(usize, f64)> = log_e.iter().copied().enumerate().collect();
    order.sort_by(|(_, a), (_, b)| b.total_cmp(a));
    let share = alpha / log_e.len() as f64;
    let hits = order
        .iter()
        .enumerate()
        .rev()
        .find(|(at, (_, e))| reaches(*e, share * (at + 1) as f64));
    let count = hits.map_or(0, |(at, _)| at + 1);
    Ok(order
        .into_iter()
        .take(count)
        .map(|(index, _)| index)
        .collect())
}

fn check(log_e: &[f64], weights: &[f64]) -> Result<(), CombineError> {
    check_evidence(log_e)?;
    if log_e.len() != weights.len() {
        return Err(CombineError::Lengths {
            evidence: log_e.len(),
            weights: weights.len(),
        });
    }
    let total: f64 = weights.iter().sum();
    let negative = weights.iter().any(|weight| *weight < 0.0);
    if negative || !total.is_finite() || (total - 1.0).abs() > 1e-9 {
        return Err(CombineError::Weights(total));
    }
    Ok(())
}

fn check_evidence(log_e: &[f64]) -> Result<(), CombineError> {
    if log_e.is_empty() {
        return Err(CombineError::Empty);
    }
    match log_e.iter().find(|e| e.is_nan() || **e == f64::INFINITY) {
        Some(e) => Err(CombineError::Evidence(*e)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_average_dominates_weighted_bonferroni() {
        let (log_e, weights) = ([5.0, 1.0, -3.0], [0.5, 0.3, 0.2]);
        let average = log_weighted_average(&log_e, &weights).expect("sane");
        for (e, weight) in log_e.iter().zip(weights) {
            assert!(average >= e + weight.ln());
        }
    }

    #[test]
    fn the_average_survives_evidence_that_overflows() {
        let average =
            log_weighted_average(&[2000.0, f64::NEG_INFINITY], &[0.25, 0.75]).expect("sane");
        assert!(
            (average - (2000.0 + 0.25f64.ln())).abs() < 1e-9,
            "{average}"
        );
        assert_eq!(
            log_weighted_average(&[5.0, 1.0], &[0.0, 1.0]),
            Ok(1.0),
            "a weight of 0 adds nothing"
        );
    }

    #[test]
    fn the_weakest_metric_decides_promotion() {
        assert_eq!(log_minimum(&[3.0, -1.0, 7.0]), Ok(-1.0));
    }

    #[test]
    fn bonferroni_asks_more_of_a_small_weight() {
        let log_e = [110f64.ln(), 110f64.ln(), 1e6];
        assert_eq!(
            weighted_bonferroni(&log_e, &[0.95, 0.05, 0.0], 0.01),
            Ok(vec![true, false, false])
        );
    }

    #[test]
    fn blame_steps_up_and_names_the_largest_first() {
        // J / (k alpha) is 60, 30, 20: the second misses its bar alone, but the third lifts it.
        let log_e = [25f64.ln(), 100f64.ln(), 29f64.ln()];
        assert_eq!(e_bh(&log_e, 0.05), Ok(vec![1, 2, 0]));
        assert_eq!(
            e_bh(&[19f64.ln(), 100f64.ln(), 29f64.ln()], 0.05),
            Ok(vec![1])
        );
        assert_eq!(e_bh(&[0.0, 0.0], 0.05), Ok(vec![]));
    }

    #[test]
    fn what_cannot_be_combined_is_refused() {
        let average = log_weighted_average;
        assert_eq!(average(&[], &[]), Err(CombineError::Empty));
        assert_eq!(log_minimum(&[]), Err(CombineError::Empty));
        assert_eq!(e_bh(&[], 0.05), Err(CombineError::Empty));
        assert_eq!(
            average(&[1.0], &[0.5, 0.5]),
            Err(CombineError::Lengths {
                evidence: 1,
                weights: 2
            })
        );
        assert_eq!(
            average(&[1.0, 1.0], &[0.5, 0.4]),
            Err(CombineError::Weights(0.9))
        );
        assert_eq!(
            average(&[1.0, 1.0], &[1.5, -0.5]),
            Err(CombineError::Weights(1.0))
        );
        assert!(matches!(
            average(&[1.0], &[f64::NAN]),
            Err(CombineError::Weights(_))
        ));
        assert!(matches!(
            log_minimum(&[f64::NAN]),
            Err(CombineError::Evidence(_))
        ));
        assert!(matches!(
            weighted_bonferroni(&[f64::INFINITY], &[1.0], 0.1),
            Err(CombineError::Evidence(_))
        ));
    }
}
