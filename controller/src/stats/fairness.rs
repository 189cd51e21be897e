//! Fairness between groups of people, from counts (section 6).
//!
//! The intervals are for display and for one look. A gate that looks again and again is [`FairnessGate`]. Group a is the
//! protected one, b the reference. For equal opportunity give the positives only: true positives among positives.

mod gate;
mod interval;

pub use gate::{FairnessGate, GateVerdict};
pub use interval::{
    Interval, difference_newcombe, ratio_mover, ratio_walter, walter_point, wilson,
};

use super::count::{CountError, check_arm};
use super::domain::{DomainError, probability};
use super::user_mix::GroupCount;
use statrs::distribution::{ContinuousCDF, Normal};

/// A ratio of selection below this is adverse impact (the four-fifths rule).
pub const ADVERSE: f64 = 0.8;
/// A difference of true-positive rates beyond this violates equal opportunity.
pub const OPPORTUNITY: f64 = 0.1;
/// Selected cases that each group needs.
pub const MIN_EVENTS: f64 = 5.0;
/// Cases that each group needs.
pub const MIN_CASES: f64 = 30.0;

/// Selected and all cases of two groups.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pair {
    /// The protected group: selected (`bad` of the counts is *selected* here) and all.
    pub a: GroupCount,
    /// The reference group.
    pub b: GroupCount,
}

/// Why groups cannot be compared.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum FairnessError {
    /// The counts are no counts.
    #[error(transparent)]
    Counts(#[from] CountError),
    /// A level is no probability.
    #[error(transparent)]
    Domain(#[from] DomainError),
    /// A group has no cases.
    #[error("failed to compare groups: group {0} has no cases")]
    NoCases(&'static str),
    /// There is nothing to compare with.
    #[error("failed to compare groups: there are \"{0}\", and it takes two")]
    Groups(usize),
}

/// What the counts say.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum FairnessVerdict {
    /// The whole interval is on the wrong side.
    Violation,
    /// The whole interval is on the right side.
    Pass,
    /// The interval holds both. With about this many times the cases it would not, if the rates stay as they are; none
    /// where the estimate is on the limit itself.
    Inconclusive(Option<f64>),
    /// A group has fewer than [`MIN_EVENTS`] selected or [`MIN_CASES`] cases.
    TooFew,
}

/// The upper quantile of the standard normal for a two-sided level such as 0.95 (z = 1.959964).
///
/// # Errors
/// The level is not inside (0, 1).
pub fn z_of(level: f64) -> Result<f64, DomainError> {
    probability("level", level)?;
    Ok(-Normal::standard().inverse_cdf(0.5 * (1.0 - level)))
}

impl Pair {
    /// Checks that all four are counts and that both groups have cases.
    ///
    /// # Errors
    /// [`FairnessError`] names the group.
    pub fn check(&self) -> Result<(), FairnessError> {
        for (name, group) in [("group a", self.a), ("group b", self.b)] {
            check_arm(name, group.bad, group.total)?;
        }
        for (name, group) in [("a", self.a), ("b", self.b)] {
            if group.total == 0.0 {
                return Err(FairnessError::NoCases(name));
            }
        }
        Ok(())
    }

    /// The rates of both groups.
    #[must_use]
    pub fn rates(&self) -> (f64, f64) {
        (self.a.bad / self.a.total, self.b.bad / self.b.total)
    }

    /// The disparate impact `p_a / p_b`; none where nobody of b is selected.
    #[must_use]
    pub fn impact(&self) -> Option<f64> {
        let (a, b) = self.rates();
        (b > 0.0).then(|| a / b)
    }

    /// The verdict on the ratio by its MOVER-R interval: a violation where all of it is below [`ADVERSE`], a pass where
    /// all of it is at least that. (The raw rule "ratio below 0.8" flags a fair model 55 % of the time at 30 a group.)
    ///
    /// # Errors
    /// The counts cannot be used, or the level is no probability.
    pub fn verdict(&self, level: f64) -> Result<FairnessVerdict, FairnessError> {
        self.check()?;
        let z = z_of(level)?;
        if self.too_few() {
            return Ok(FairnessVerdict::TooFew);
        }
        let ratio = ratio_mover(self, z);
        if ratio.upper.is_some_and(|upper| upper < ADVERSE) {
            return Ok(FairnessVerdict::Violation);
        }
        if ratio.lower >= ADVERSE {
            return Ok(FairnessVerdict::Pass);
        }
        // The width falls with the root of the cases; on the log scale it does not depend on the rates' ratio.
        let walter = ratio_walter(self, z);
        let half = 0.5 * (walter.upper.unwrap_or(f64::INFINITY).ln() - walter.lower.ln());
        let away = (self.impact().unwrap_or(0.0).ln() - ADVERSE.ln()).abs();
        Ok(FairnessVerdict::Inconclusive(more_cases(half, away)))
    }

    /// The verdict on equal opportunity, for counts of positives: a violation where the difference of the rates is beyond
    /// [`OPPORTUNITY`] with its whole Newcombe interval, a pass where the whole interval is within it.
    ///
    /// # Errors
    /// As [`Self::verdict`].
    pub fn opportunity(&self, level: f64) -> Result<FairnessVerdict, FairnessError> {
        self.check()?;
        let z = z_of(level)?;
        if self.too_few() {
            return Ok(FairnessVerdict::TooFew);
        }
        let (lower, upper) = difference_newcombe(self, z);
        if lower > OPPORTUNITY || upper < -OPPORTUNITY {
            return Ok(FairnessVerdict::Violation);
        }
        if lower > -OPPORTUNITY && upper < OPPORTUNITY {
            return Ok(FairnessVerdict::Pass);
        }
        let (a, b) = self.rates();
        let away = ((a - b).abs() - OPPORTUNITY).abs();
        Ok(FairnessVerdict::Inconclusive(more_cases(
            0.5 * (upper - lower),
            away,
        )))
    }

    fn too_few(&self) -> bool {
        [self.a, self.b]
            .iter()
            .any(|group| group.bad < MIN_EVENTS || group.total < MIN_CASES)
    }
}

/// By how much the cases have to grow for half a width to shrink to a distance.
fn more_cases(half: f64, away: f64) -> Option<f64> {
    let factor = (half / away).powi(2);
    factor.is_finite().then_some(factor.max(1.0))
}

/// Which group the others are compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reference {
    /// The one with the most cases.
    Largest,
    /// The one with the highest rate; as the data choose it, the level is corrected for the number of comparisons
    /// (Bonferroni).
    HighestRate,
}

/// Compares every group with the reference: index of the group and its verdict on the ratio, the reference left out.
///
/// # Errors
/// There are fewer than two groups, or a pair cannot be compared.
pub fn compare(
    groups: &[GroupCount],
    reference: Reference,
    level: f64,
) -> Result<Vec<(usize, FairnessVerdict)>, FairnessError> {
    let size = |group: &GroupCount| match reference {
        Reference::Largest => group.total,
        Reference::HighestRate if group.total > 0.0 => group.bad / group.total,
        Reference::HighestRate => 0.0,
    };
    let chosen = groups
        .iter()
        .enumerate()
        .max_by(|(_, x), (_, y)| size(x).total_cmp(&size(y)));
    let (Some((at, b)), true) = (chosen, groups.len() > 1) else {
        return Err(FairnessError::Groups(groups.len()));
    };
    let level = match reference {
        Reference::Largest => level,
        Reference::HighestRate => 1.0 - (1.0 - level) / (groups.len() - 1) as f64,
    };
    let others = groups.iter().enumerate().filter(|(index, _)| *index != at);
    others
        .map(|(index, a)| Ok((index, Pair { a: *a, b: *b }.verdict(level)?)))
        .collect()
}

#[cfg(test)]
#[path = "fairness_tests.rs"]
mod tests;
