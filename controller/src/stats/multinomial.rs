//! Whether two arms have the same distribution over bins, at all times (5.3, formula 10).
//!
//! The k-sample e-variable of Turner, Ly and Grunwald in its multinomial version. The common distribution may drift; only
//! the equality of the arms is tested, on both sides, so faster is found as well as slower: for scores, not for latency.

use serde::{Deserialize, Serialize};

use super::domain::{DomainError, as_long, finite, not_negative, positive};

/// Rows that the pre-rollout reference counts for (`n0`).
pub const REFERENCE_ROWS: f64 = 1000.0;
/// Rows by which each arm's anticipation is drawn to the pooled one (`a`).
pub const SHRINKAGE: f64 = 100.0;

/// The point between two anticipated distributions, weighted by requests: `m_j = (nc p_j + ns s_j)/(nc + ns)`.
///
/// # Errors
/// The lists are not as long, a number is negative, or there are no requests.
pub fn mixture(
    canary: &[f64],
    stable: &[f64],
    total_canary: f64,
    total_stable: f64,
) -> Result<Vec<f64>, DomainError> {
    as_long(
        "bins of stable",
        stable.len(),
        canary.len(),
        "as many as the canary's",
    )?;
    not_negative("number of requests", total_canary)?;
    not_negative("number of requests", total_stable)?;
    let all = positive("number of requests", total_canary + total_stable)?;
    let pairs = canary.iter().zip(stable);
    Ok(pairs
        .map(|(p, s)| total_canary / all * p + total_stable / all * s)
        .collect())
}

/// The log of the e-variable of one interval for anticipated distributions `(p, s)`: formula (10). A bin in which neither
/// expects anything counts for nothing, which keeps the e-variable valid.
///
/// # Errors
/// The lists are not as long, a number is negative or not finite, there are no requests, or requests fall into a bin in
/// which their arm expects none.
pub fn log_e_increment(
    counts_canary: &[f64],
    counts_stable: &[f64],
    canary: &[f64],
    stable: &[f64],
) -> Result<f64, DomainError> {
    as_long(
        "counts",
        counts_canary.len(),
        canary.len(),
        "one for each bin",
    )?;
    as_long(
        "counts",
        counts_stable.len(),
        canary.len(),
        "one for each bin",
    )?;
    for number in [counts_canary, counts_stable, canary, stable].concat() {
        not_negative("count or probability", number)?;
    }
    let totals = [counts_canary, counts_stable].map(|counts| counts.iter().sum());
    let mixture = mixture(canary, stable, totals[0], totals[1])?;
    let arm = |counts: &[f64], anticipated: &[f64]| -> f64 {
        let bins = counts.iter().zip(anticipated).zip(&mixture);
        bins.filter(|((count, _), m)| **count > 0.0 && **m > 0.0)
            .map(|((count, p), m)| count * (p / m).ln())
            .sum()
    };
    finite(
        "evidence",
        arm(counts_canary, canary) + arm(counts_stable, stable),
    )
}

/// Evidence that the arms differ. Serialized, it is a checkpoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", try_from = "Checkpoint")]
pub struct Multinomial {
    reference: Vec<f64>,
    reference_rows: f64,
    shrinkage: f64,
    canary: Vec<f64>,
    stable: Vec<f64>,
    log_e: f64,
    log_e_max: f64,
}

impl Multinomial {
    /// Starts with the shares of the bins before the rollout (`g0`, any scale), which count for [`REFERENCE_ROWS`], and
    /// with [`SHRINKAGE`].
    ///
    /// # Errors
    /// A share is negative, or all are 0.
    pub fn new(reference: &[f64]) -> Result<Self, DomainError> {
        Self::with(reference, REFERENCE_ROWS, SHRINKAGE)
    }

    /// The same with other weights for the reference (`n0`) and for the shrinkage (`a`), both above 0.
    ///
    /// # Errors
    /// As [`Self::new`], or a weight is not above 0.
    pub fn with(
        reference: &[f64],
        reference_rows: f64,
        shrinkage: f64,
    ) -> Result<Self, DomainError> {
        for share in reference {
            not_negative("share of a bin", *share)?;
        }
        let total = positive("sum of the shares", reference.iter().sum())?;
        Ok(Self {
            reference: reference.iter().map(|share| share / total).collect(),
            reference_rows: positive("weight of the reference", reference_rows)?,
            shrinkage: positive("shrinkage", shrinkage)?,
            canary: vec![0.0; reference.len()],
            stable: vec![0.0; reference.len()],
            log_e: 0.0,
            log_e_max: 0.0,
        })
    }

    /// Takes one interval: a count for each bin of both arms. Where an arm had none the evidence carries over; what the
    /// other counted is kept for the anticipations to come.
    ///
    /// # Errors
    /// Counts are not one for each bin, negative, not finite, or too large; nothing is changed then.
    pub fn update(&mut self, canary: &[f64], stable: &[f64]) -> Result<(), DomainError> {
        let mut next = self.clone();
        for (sums, counts) in [(&mut next.canary, canary), (&mut next.stable, stable)] {
            as_long("counts", counts.len(), sums.len(), "one for each bin")?;
            for (sum, count) in sums.iter_mut().zip(counts) {
                *sum += not_negative("count", *count)?;
            }
            finite("number of requests", sums.iter().sum())?;
        }
        if canary.iter().sum::<f64>() > 0.0 && stable.iter().sum::<f64>() > 0.0 {
            let (p, s) = self.anticipated();
            let more = log_e_increment(canary, stable, &p, &s)?;
            next.log_e = finite("evidence", self.log_e + more)?;
            next.log_e_max = self.log_e_max.max(next.log_e);
        }
        *self = next;
        Ok(())
    }

    /// The distributions that the past lets expect, the canary's and stable's: each arm's counts, drawn to the pooled
    /// ones, which are drawn to the reference.
    #[must_use]
    pub fn anticipated(&self) -> (Vec<f64>, Vec<f64>) {
        let sum = |counts: &[f64]| counts.iter().sum::<f64>();
        let (total_c, total_s) = (sum(&self.canary), sum(&self.stable));
        let all = self.reference_rows + total_c + total_s;
        let bins = self.reference.iter().zip(&self.canary).zip(&self.stable);
        bins.map(|((g0, c), s)| {
            let pooled = (self.reference_rows * g0 + c + s) / all;
            let drawn = |count: f64, total: f64| {
                (count + self.shrinkage * pooled) / (total + self.shrinkage)
            };
            (drawn(*c, total_c), drawn(*s, total_s))
        })
        .unzip()
    }

    /// The bins in which the arms differ most, by index, the largest difference first: for the message.
    #[must_use]
    pub fn largest_differences(&self, bins: usize) -> Vec<usize> {
        let (p, s) = self.anticipated();
        let mut order: Vec<(usize, f64)> = p
            .iter()
            .zip(&s)
            .map(|(p, s)| (p - s).abs())
            .enumerate()
            .collect();
        order.sort_by(|(_, a), (_, b)| b.total_cmp(a));
        order
            .into_iter()
            .take(bins)
            .map(|(index, _)| index)
            .collect()
    }

    /// Natural logarithm of the evidence now.
    #[must_use]
    pub fn log_e(&self) -> f64 {
        self.log_e
    }

    /// The largest `log_e` so far, at least 0.
    #[must_use]
    pub fn log_e_max(&self) -> f64 {
        self.log_e_max
    }
}

/// The wire form of [`Multinomial`], not yet trusted.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Checkpoint {
    reference: Vec<f64>,
    reference_rows: f64,
    shrinkage: f64,
    canary: Vec<f64>,
    stable: Vec<f64>,
    log_e: f64,
    log_e_max: f64,
}

impl TryFrom<Checkpoint> for Multinomial {
    type Error = DomainError;

    fn try_from(from: Checkpoint) -> Result<Self, DomainError> {
        let mut restored = Self::with(&from.reference, from.reference_rows, from.shrinkage)?;
        // The shares were normalised when they were written; again would change their last bit.
        restored.reference = from.reference;
        for counts in [&from.canary, &from.stable] {
            as_long(
                "counts",
                counts.len(),
                restored.reference.len(),
                "one for each bin",
            )?;
            for count in counts {
                not_negative("count", *count)?;
            }
        }
        not_negative("largest evidence", from.log_e_max)?;
        not_negative(
            "largest evidence less the evidence",
            from.log_e_max - finite("evidence", from.log_e)?,
        )?;
        restored.canary = from.canary;
        restored.stable = from.stable;
        restored.log_e = from.log_e;
        restored.log_e_max = from.log_e_max;
        Ok(restored)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SHARES: [f64; 4] = [0.1, 0.2, 0.3, 0.4];

    fn run(canary: [f64; 4], stable: [f64; 4]) -> Multinomial {
        let mut found = Multinomial::new(&SHARES).expect("sane");
        for _ in 0..30 {
            found.update(&canary, &stable).expect("usable");
        }
        found
    }

    #[test]
    fn a_difference_is_found_on_either_side_and_a_common_drift_is_none() {
        let stable = [100.0, 200.0, 300.0, 400.0];
        assert!(run([20.0, 20.0, 20.0, 40.0], stable).log_e_max() > 1000f64.ln());
        assert!(run([0.0, 20.0, 30.0, 50.0], stable).log_e_max() > 1000f64.ln());
        let drifted = run([40.0, 30.0, 20.0, 10.0], [400.0, 300.0, 200.0, 100.0]);
        assert!(drifted.log_e_max() < 1e-9, "{}", drifted.log_e_max());
    }

    #[test]
    fn the_bins_that_differ_most_come_first() {
        let found = run([25.0, 20.0, 30.0, 25.0], [100.0, 200.0, 330.0, 370.0]);
        assert_eq!(found.largest_differences(3), [0, 3, 2]);
    }

    #[test]
    fn a_bin_that_nobody_expected_is_no_evidence() {
        let mut found = Multinomial::new(&[0.5, 0.5, 0.0]).expect("sane");
        found
            .update(&[4.0, 4.0, 9.0], &[40.0, 40.0, 0.0])
            .expect("usable");
        assert_eq!(found.log_e(), 0.0);
        found
            .update(&[4.0, 4.0, 9.0], &[40.0, 40.0, 0.0])
            .expect("usable");
        assert!(found.log_e() > 1.0, "by now it is expected");
    }

    #[test]
    fn an_arm_without_requests_carries_the_evidence_over() {
        let mut found = run([20.0, 20.0, 20.0, 40.0], [100.0, 200.0, 300.0, 400.0]);
        let before = found.log_e();
        found.update(&[0.0; 4], &[9.0; 4]).expect("usable");
        assert_eq!(found.log_e(), before);
    }

    #[test]
    fn what_cannot_be_used_is_refused_and_changes_nothing() {
        let mut found = Multinomial::new(&SHARES).expect("sane");
        let fresh = found.clone();
        assert!(found.update(&[1.0; 3], &[1.0; 4]).is_err());
        assert!(found.update(&[1.0, 1.0, 1.0, -1.0], &[1.0; 4]).is_err());
        assert!(found.update(&[f64::NAN; 4], &[1.0; 4]).is_err());
        assert!(found.update(&[f64::MAX; 4], &[1.0; 4]).is_err());
        assert_eq!(found, fresh);
        assert!(Multinomial::new(&[0.0, 0.0]).is_err());
        assert!(Multinomial::with(&SHARES, 0.0, 1.0).is_err());
        assert!(log_e_increment(&[1.0, 0.0], &[0.0, 1.0], &[0.0, 1.0], &[1.0, 0.0]).is_err());
        let written = serde_json::to_value(&fresh).expect("serializes");
        for (field, value) in [
            ("canary", serde_json::json!([1.0])),
            ("logEMax", (-1.0).into()),
            ("logE", 1.0.into()),
            ("shrinkage", 0.0.into()),
        ] {
            let mut changed = written.clone();
            changed[field] = value;
            assert!(
                serde_json::from_value::<Multinomial>(changed).is_err(),
                "{field}"
            );
        }
    }

    proptest! {
        /// By weighted arithmetic and geometric means: under any common distribution the expected evidence is at most 1.
        #[test]
        fn the_expected_evidence_under_a_common_distribution_is_at_most_one(
            cells in proptest::collection::vec((0.01f64..1.0, 0.01f64..1.0, 0.01f64..1.0), 2..7), split in 0.01f64..100.0,
        ) {
            let shares = |pick: fn(&(f64, f64, f64)) -> f64| {
                let total: f64 = cells.iter().map(pick).sum();
                cells.iter().map(|cell| pick(cell) / total).collect::<Vec<f64>>()
            };
            let (f, p, s) = (shares(|c| c.0), shares(|c| c.1), shares(|c| c.2));
            let m = mixture(&p, &s, split, 1.0).expect("sane");
            let expected = |p: &[f64]| f.iter().zip(p).zip(&m).map(|((f, p), m)| f * p / m).sum::<f64>();
            let log = split * expected(&p).ln() + expected(&s).ln();
            prop_assert!(log <= 1e-9, "{log}");
        }

        #[test]
        fn evidence_is_finite_for_any_counts_and_survives_a_checkpoint(
            intervals in proptest::collection::vec(proptest::array::uniform8(0u64..1 << 53), 1..5),
        ) {
            let mut found = Multinomial::new(&SHARES).expect("sane");
            for interval in intervals {
                let counts = interval.map(|count| count as f64);
                found.update(&counts[..4], &counts[4..]).expect("usable");
                prop_assert!(found.log_e().is_finite());
                let written = serde_json::to_string(&found).expect("serializes");
                prop_assert_eq!(&serde_json::from_str::<Multinomial>(&written).expect("restores"), &found);
            }
        }
    }
}
