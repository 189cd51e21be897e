//! Drift of a distribution from binned counts: what is reported (5.1, 5.2).
//!
//! These numbers describe; they do not decide under repeated looks (the chi-square test at every look alarms falsely in
//! 37 % of 60 looks, S18). For that there is [`super::multinomial`], and [`log_e_against_frozen`] where the reference is a
//! fixed histogram.

use statrs::distribution::{ChiSquared, ContinuousCDF};

use super::bisect;
use super::dirichlet::log_dirichlet_ratio;
use super::domain::{DomainError, as_long, finite, not_negative, probability};

/// Added to every bin of both sides, so that an empty bin has a logarithm.
pub const SMOOTHING: f64 = 0.5;
/// A corrected PSI above this is drift, in a report.
pub const PSI_DRIFT: f64 = 0.1;
/// A corrected PSI above this makes proven drift relevant in practice (5.3).
pub const PSI_RELEVANT: f64 = 0.05;

/// Distances between two binned samples, with what no drift would give.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Drift {
    /// Number of bins (`J`).
    pub bins: usize,
    /// `1/N + 1/M` of the two totals.
    pub kappa: f64,
    /// Size of the smaller sample.
    pub smaller: f64,
    /// Population stability index, the symmetrised Kullback-Leibler divergence, in nats.
    pub psi: f64,
    /// Jensen-Shannon divergence in nats, at most `ln 2`.
    pub js_divergence: f64,
    /// Largest distance of the cumulative shares at bin edges (Kolmogorov-Smirnov), of counts without smoothing.
    pub ks: f64,
}

/// Compares current counts with a reference, bin by bin.
///
/// # Errors
/// There are fewer than two bins, the lists are not as long, a count is negative or not finite, or a side is empty.
pub fn drift(current: &[f64], reference: &[f64]) -> Result<Drift, DomainError> {
    let (n, m) = (total(current)?, total(reference)?);
    as_long(
        "bins of the reference",
        reference.len(),
        current.len(),
        "as many as current ones",
    )?;
    if current.len() < 2 {
        return Err(DomainError::Length {
            what: "bins",
            found: current.len(),
            must: "at least 2",
        });
    }
    let (p, q) = (smoothed(current, n), smoothed(reference, m));
    let (mut psi, mut js) = (0.0, 0.0);
    for (p, q) in p.iter().zip(&q) {
        psi += (p - q) * (p / q).ln();
        let middle = 0.5 * (p + q);
        js += 0.5 * (p * (p / middle).ln() + q * (q / middle).ln());
    }
    let (mut below, mut ks) = (0.0f64, 0.0f64);
    for (c, r) in current.iter().zip(reference) {
        below += c / n - r / m;
        ks = ks.max(below.abs());
    }
    Ok(Drift {
        bins: current.len(),
        kappa: 1.0 / n + 1.0 / m,
        smaller: n.min(m),
        psi: finite("PSI", psi.max(0.0))?,
        js_divergence: finite("Jensen-Shannon divergence", js.max(0.0))?,
        ks: ks.min(1.0),
    })
}

impl Drift {
    /// Mean of the PSI without drift: `(J-1) kappa`.
    #[must_use]
    pub fn psi_null_mean(&self) -> f64 {
        self.freedom() * self.kappa
    }

    /// The PSI less its mean without drift; may be negative.
    #[must_use]
    pub fn psi_corrected(&self) -> f64 {
        self.psi - self.psi_null_mean()
    }

    /// The PSI that is exceeded without drift with probability `1 - level`: `chi2_{J-1, level} kappa` (Yurdakul and
    /// Naranjo 2020).
    ///
    /// # Errors
    /// The level is not inside (0, 1).
    pub fn psi_critical(&self, level: f64) -> Result<f64, DomainError> {
        probability("level", level)?;
        let quantile = ChiSquared::new(self.freedom()).map(|chi2| chi2.inverse_cdf(level));
        finite("critical value", quantile.unwrap_or(f64::NAN) * self.kappa)
    }

    /// Mean of the Jensen-Shannon divergence without drift, in nats: `(J-1) kappa / 8`.
    #[must_use]
    pub fn js_null_mean(&self) -> f64 {
        self.psi_null_mean() / 8.0
    }

    /// The Jensen-Shannon divergence less its mean without drift, in nats.
    #[must_use]
    pub fn js_corrected(&self) -> f64 {
        self.js_divergence - self.js_null_mean()
    }

    /// The Jensen-Shannon distance in nats, scipy's default.
    #[must_use]
    pub fn js_distance(&self) -> f64 {
        self.js_divergence.sqrt()
    }

    /// The Jensen-Shannon distance to base 2, from 0 to 1.
    #[must_use]
    pub fn js_distance_base2(&self) -> f64 {
        (self.js_divergence / std::f64::consts::LN_2)
            .sqrt()
            .min(1.0)
    }

    /// The asymptotic p-value of the Kolmogorov-Smirnov distance, conservative for bins.
    #[must_use]
    pub fn ks_p_value(&self) -> f64 {
        kolmogorov_tail(self.ks / self.kappa.sqrt())
    }

    /// The Kolmogorov-Smirnov distance that is exceeded without drift with probability `level`.
    ///
    /// # Errors
    /// The level is not inside (0, 1).
    pub fn ks_critical(&self, level: f64) -> Result<f64, DomainError> {
        probability("level", level)?;
        Ok(bisect(0.0, 30.0, |x| kolmogorov_tail(x) > level) * self.kappa.sqrt())
    }

    /// Whether the samples are large enough for the PSI to be shown: `N, M >= 50 (J-1)` (5.2).
    #[must_use]
    pub fn is_shown(&self) -> bool {
        self.smaller >= 50.0 * self.freedom()
    }

    /// Drift, in a report: relevant (`PSI_corr > 0.1`) and significant (above the 99 % critical value) (5.2).
    ///
    /// # Errors
    /// As [`Self::psi_critical`].
    pub fn is_drift(&self) -> Result<bool, DomainError> {
        Ok(self.psi_corrected() > PSI_DRIFT && self.psi > self.psi_critical(0.99)?)
    }

    fn freedom(&self) -> f64 {
        self.bins as f64 - 1.0
    }
}

/// The log of the e-value that the counts do not come from a *frozen* reference (5.3): formula (5) with the smoothed
/// reference as weights and a concentration of `10 J`. Current counts are cumulative. None once they are more than a tenth
/// of the reference's, for then its own noise matters and the test no longer holds.
///
/// # Errors
/// As [`drift`].
pub fn log_e_against_frozen(
    current: &[f64],
    reference: &[f64],
) -> Result<Option<f64>, DomainError> {
    let m = total(reference)?;
    let weights = smoothed(reference, m);
    let concentration = 10.0 * reference.len() as f64;
    let prior: Vec<f64> = weights
        .iter()
        .map(|weight| concentration * weight)
        .collect();
    let log_e = log_dirichlet_ratio(current, &prior, &weights)?;
    Ok((current.iter().sum::<f64>() <= 0.1 * m).then_some(log_e))
}

/// The total of counts, above 0.
fn total(counts: &[f64]) -> Result<f64, DomainError> {
    for count in counts {
        not_negative("count", *count)?;
    }
    super::domain::positive("number of rows", counts.iter().sum())
}

fn smoothed(counts: &[f64], total: f64) -> Vec<f64> {
    let all = total + SMOOTHING * counts.len() as f64;
    counts
        .iter()
        .map(|count| (count + SMOOTHING) / all)
        .collect()
}

/// `Q_KS(x) = 2 sum_k (-1)^(k-1) exp(-2 k^2 x^2)`, and its other form where that converges slowly.
fn kolmogorov_tail(x: f64) -> f64 {
    if x < 0.5 {
        if x <= 0.05 {
            return 1.0;
        }
        let pi = std::f64::consts::PI;
        let term = |k: i32| {
            let odd = f64::from(2 * k - 1) * pi / x;
            (-odd * odd / 8.0).exp()
        };
        return 1.0 - (2.0 * pi).sqrt() / x * (1..=4).map(term).sum::<f64>();
    }
    let term = |k: i32| {
        let sign = if k % 2 == 0 { -2.0 } else { 2.0 };
        let k = f64::from(k);
        sign * (-2.0 * k * k * x * x).exp()
    };
    (1..=12).map(term).sum::<f64>().clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_same_shares_are_no_drift() {
        let found = drift(&[100.0, 200.0, 700.0], &[1000.0, 2000.0, 7000.0]).expect("sane");
        assert!(found.psi < 1e-5 && found.ks < 1e-12 && found.ks_p_value() == 1.0);
        assert!(found.psi_corrected() < 0.0 && found.is_shown());
        assert_eq!(found.is_drift(), Ok(false));
    }

    #[test]
    fn a_large_move_is_drift_and_a_small_sample_does_not_show_it() {
        let found = drift(&[700.0, 200.0, 100.0], &[1000.0, 2000.0, 7000.0]).expect("sane");
        assert_eq!(found.is_drift(), Ok(true));
        assert!(found.ks_p_value() < 1e-9);
        assert!(
            !drift(&[7.0, 2.0, 1.0], &[1e3, 2e3, 7e3])
                .expect("sane")
                .is_shown()
        );
    }

    #[test]
    fn disjoint_samples_have_the_largest_distance() {
        let found = drift(&[9e15, 0.0], &[0.0, 9e15]).expect("sane");
        assert!((found.js_distance_base2() - 1.0).abs() < 1e-6 && found.ks == 1.0);
        assert!((found.js_distance() - 2f64.ln().sqrt()).abs() < 1e-6);
    }

    #[test]
    fn both_forms_of_the_tail_agree_and_give_the_known_critical_value() {
        assert!((kolmogorov_tail(0.499_999_9) - kolmogorov_tail(0.500_000_1)).abs() < 1e-6);
        assert!((kolmogorov_tail(1.358_098_6) - 0.05).abs() < 1e-7);
        assert_eq!(kolmogorov_tail(0.0), 1.0);
    }

    #[test]
    fn a_frozen_reference_is_tested_up_to_a_tenth_of_its_rows() {
        let reference = [1e5, 2e5, 7e5];
        let log_e = |current: [f64; 3]| log_e_against_frozen(&current, &reference).expect("sane");
        assert!(log_e([100.0, 200.0, 700.0]).expect("few rows") < 0.0);
        assert!(log_e([200.0, 200.0, 600.0]).expect("few rows") > 1000f64.ln());
        assert_eq!(log_e([2e4, 2e4, 7e4]), None);
    }

    #[test]
    fn what_are_no_counts_is_refused() {
        assert!(drift(&[1.0], &[1.0]).is_err());
        assert!(drift(&[1.0, 2.0], &[1.0]).is_err());
        assert!(drift(&[1.0, -2.0], &[1.0, 1.0]).is_err());
        assert!(drift(&[0.0, 0.0], &[1.0, 1.0]).is_err());
        assert!(drift(&[1.0, 2.0], &[f64::NAN, 1.0]).is_err());
        let found = drift(&[1.0, 2.0], &[1.0, 1.0]).expect("sane");
        assert!(found.psi_critical(1.0).is_err() && found.ks_critical(0.0).is_err());
    }

    proptest! {
        #[test]
        fn distances_are_symmetric_and_not_negative(
            bins in proptest::collection::vec((0u64..1 << 53, 0u64..1 << 53), 2..9),
        ) {
            let (a, b): (Vec<f64>, Vec<f64>) = bins.iter().map(|(a, b)| (*a as f64, *b as f64)).unzip();
            prop_assume!(a.iter().sum::<f64>() > 0.0 && b.iter().sum::<f64>() > 0.0);
            let (ab, ba) = (drift(&a, &b).expect("sane"), drift(&b, &a).expect("sane"));
            prop_assert!((ab.psi - ba.psi).abs() <= 1e-9 * ab.psi.abs() + 1e-12);
            prop_assert!((ab.js_divergence - ba.js_divergence).abs() < 1e-9);
            prop_assert!(ab.psi >= 0.0 && (0.0..=1.0).contains(&ab.ks) && (0.0..=1.0).contains(&ab.ks_p_value()));
            prop_assert!(ab.js_divergence <= 2f64.ln() + 1e-9);
        }
    }
}
