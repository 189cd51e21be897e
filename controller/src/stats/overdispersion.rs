//! How much errors come in bursts: the dispersion by which evidence is divided (7.4, formula 11).
//!
//! Estimated on pods of stable within the same interval, so that what moves all pods together cancels. Predictable:
//! take [`Overdispersion::phi`] *before* adding the interval that is judged with it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use statrs::distribution::{ChiSquared, ContinuousCDF, Normal};

use super::count::{CountError, check_arm};
use super::user_mix::GroupCount;

/// Degrees of freedom below which phi is at least [`PHI_UNKNOWN`].
pub const MIN_FREEDOM: u64 = 100;
/// The least phi that is used while little is known.
pub const PHI_UNKNOWN: f64 = 2.0;
/// Intervals that are merged into one, to see bursts longer than an interval (blocked aggregation).
pub const BLOCKS: [u32; 4] = [1, 2, 4, 8];

/// The sums of formula (11).
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Dispersion {
    /// `sum_ij (x_ij - p_i n_ij)^2`.
    pub numerator: f64,
    /// `sum_ij p_i (1-p_i) n_ij (1 - n_ij/N_i)`: the same without bursts.
    pub denominator: f64,
    /// `nu`: of each interval the number of its pods less one.
    pub freedom: u64,
}

impl Dispersion {
    /// Adds one interval: events and requests of each pod. Pods without requests count for nothing, and fewer than two
    /// others tell nothing.
    ///
    /// # Errors
    /// A number is no count; nothing is added then.
    pub fn add<'a>(
        &mut self,
        pods: impl IntoIterator<Item = &'a GroupCount>,
    ) -> Result<(), CountError> {
        let mut seen: Vec<GroupCount> = Vec::new();
        let mut all = GroupCount::default();
        for pod in pods {
            check_arm("a pod", pod.bad, pod.total)?;
            if pod.total > 0.0 {
                all.bad += pod.bad;
                all.total += pod.total;
                seen.push(*pod);
            }
        }
        check_arm("all pods", all.bad, all.total)?;
        if seen.len() < 2 {
            return Ok(());
        }
        let p = all.bad / all.total;
        let mut next = *self;
        for pod in &seen {
            next.numerator += (pod.bad - p * pod.total).powi(2);
            next.denominator += p * (1.0 - p) * pod.total * (1.0 - pod.total / all.total);
        }
        next.freedom = next.freedom.saturating_add(seen.len() as u64 - 1);
        for value in [next.numerator, next.denominator] {
            if !value.is_finite() {
                return Err(CountError::NotACount {
                    arm: "all pods",
                    what: "squared bad events",
                    value,
                });
            }
        }
        *self = next;
        Ok(())
    }

    /// `phi_hat`, a ratio of sums (a mean of ratios would be biased low for rare bursts); none before any event.
    #[must_use]
    pub fn phi_hat(&self) -> Option<f64> {
        let phi = self.numerator / self.denominator;
        (self.denominator > 0.0 && phi.is_finite()).then_some(phi)
    }

    /// The 90 % upper bound `phi_hat nu / chi2_{nu, 0.10}`; none before any event.
    #[must_use]
    pub fn upper(&self) -> Option<f64> {
        let bound = self.phi_hat()? * self.freedom as f64 / lower_chi2(self.freedom)?;
        bound.is_finite().then_some(bound)
    }

    /// The dispersion to use: the upper bound, at least 1, and at least [`PHI_UNKNOWN`] below [`MIN_FREEDOM`] degrees of
    /// freedom.
    #[must_use]
    pub fn phi(&self) -> f64 {
        let least = if self.freedom < MIN_FREEDOM {
            PHI_UNKNOWN
        } else {
            1.0
        };
        self.upper().unwrap_or(1.0).max(least)
    }
}

/// The 10 % quantile of chi-square; none without a degree of freedom.
fn lower_chi2(freedom: u64) -> Option<f64> {
    let nu = freedom as f64;
    if freedom > 100_000 {
        // Wilson and Hilferty; the error is far below 1e-6 here, where the exact form becomes slow.
        let spread = 2.0 / (9.0 * nu);
        let z = Normal::standard().inverse_cdf(0.10);
        return Some(nu * (1.0 - spread + z * spread.sqrt()).powi(3));
    }
    ChiSquared::new(nu).ok().map(|chi2| chi2.inverse_cdf(0.10))
}

/// The dispersion over all intervals, and over intervals merged by two, four and eight. Serialized, it is a checkpoint.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Overdispersion {
    blocks: [Block; BLOCKS.len()],
}

/// One length of blocks.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Block {
    done: Dispersion,
    /// What the block that is not yet full holds, by pod.
    open: BTreeMap<String, GroupCount>,
    filled: u32,
}

impl Overdispersion {
    /// Adds one interval: events and requests by pod.
    ///
    /// # Errors
    /// A number is no count; nothing is added then.
    pub fn add(&mut self, pods: &BTreeMap<String, GroupCount>) -> Result<(), CountError> {
        let mut next = self.clone();
        for (block, length) in next.blocks.iter_mut().zip(BLOCKS) {
            for (pod, count) in pods {
                check_arm("a pod", count.bad, count.total)?;
                let sum = block.open.entry(pod.clone()).or_default();
                sum.bad += count.bad;
                sum.total += count.total;
            }
            block.filled = block.filled.saturating_add(1);
            if block.filled >= length {
                block.done.add(block.open.values())?;
                block.open.clear();
                block.filled = 0;
            }
        }
        *self = next;
        Ok(())
    }

    /// The dispersion to use: the largest over the lengths of blocks. A longer block has fewer degrees of freedom, so it
    /// is heard only from [`MIN_FREEDOM`] on; single intervals always are.
    #[must_use]
    pub fn phi(&self) -> f64 {
        let single = self.blocks.iter().take(1);
        let longer = self.blocks.iter().skip(1);
        single
            .chain(longer.filter(|block| block.done.freedom >= MIN_FREEDOM))
            .map(|block| block.done.phi())
            .fold(1.0, f64::max)
    }

    /// The sums over single intervals.
    #[must_use]
    pub fn single(&self) -> Dispersion {
        let [single, ..] = &self.blocks;
        single.done
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pods(counts: &[(f64, f64)]) -> BTreeMap<String, GroupCount> {
        let pod = |(at, (bad, total)): (usize, &(f64, f64))| {
            let count = GroupCount {
                bad: *bad,
                total: *total,
            };
            (format!("pod-{at}"), count)
        };
        counts.iter().enumerate().map(pod).collect()
    }

    #[test]
    fn little_knowledge_is_at_least_two() {
        assert_eq!(Overdispersion::default().phi(), PHI_UNKNOWN);
        assert_eq!(Dispersion::default().phi_hat(), None);
        assert_eq!(Dispersion::default().upper(), None);
    }

    #[test]
    fn alike_pods_need_no_tempering_once_known() {
        let mut found = Overdispersion::default();
        for _ in 0..101 {
            found
                .add(&pods(&[(5.0, 500.0), (5.0, 500.0)]))
                .expect("usable");
        }
        assert_eq!(found.phi(), 1.0);
        assert_eq!(found.single().freedom, 101);
    }

    #[test]
    fn a_burst_longer_than_an_interval_is_seen_by_longer_blocks() {
        // One pod fails for eight intervals, then the other: within each block of eight the whole burst is of one pod.
        let mut found = Overdispersion::default();
        for at in 0..1600 {
            let bad = if at / 8 % 2 == 0 {
                (3.0, 1.0)
            } else {
                (1.0, 3.0)
            };
            found
                .add(&pods(&[(bad.0, 500.0), (bad.1, 500.0)]))
                .expect("usable");
        }
        let single = found.single().phi();
        assert!(found.phi() > 4.0 * single, "{} {single}", found.phi());
    }

    #[test]
    fn pods_without_requests_and_lone_pods_tell_nothing() {
        let mut found = Dispersion::default();
        let lone = pods(&[(1.0, 9.0), (0.0, 0.0)]);
        found.add(lone.values()).expect("usable");
        assert_eq!(found, Dispersion::default());
    }

    #[test]
    fn the_approximation_meets_the_exact_quantile() {
        let (exact, approximate) = (lower_chi2(100_000), lower_chi2(100_001));
        let step = approximate.expect("some") - exact.expect("some");
        assert!((step - 1.0).abs() < 0.02, "{step}");
    }

    #[test]
    fn what_is_no_count_is_refused_and_changes_nothing() {
        let mut found = Overdispersion::default();
        found.add(&pods(&[(1.0, 9.0), (0.0, 9.0)])).expect("usable");
        let before = found.clone();
        assert!(found.add(&pods(&[(1.0, 9.0), (10.0, 9.0)])).is_err());
        assert!(found.add(&pods(&[(1.0, 9.0), (f64::NAN, 9.0)])).is_err());
        assert_eq!(found, before);
    }

    proptest! {
        #[test]
        fn phi_is_finite_and_at_least_one_for_any_counts(
            intervals in proptest::collection::vec(proptest::collection::vec((0u64..1 << 53, 0.0f64..=1.0), 0..6), 1..20),
        ) {
            let mut found = Overdispersion::default();
            for interval in intervals {
                let counts: Vec<(f64, f64)> =
                    interval.iter().map(|(n, share)| ((*n as f64 * share).floor(), *n as f64)).collect();
                found.add(&pods(&counts)).expect("usable");
                prop_assert!(found.phi().is_finite() && found.phi() >= 1.0);
            }
            let written = serde_json::to_string(&found).expect("serializes");
            prop_assert_eq!(serde_json::from_str::<Overdispersion>(&written).expect("restores"), found);
        }
    }
}
