//! The margin for luck in the draw of users (7.9).
//!
//! With sticky assignment users are randomised, not requests: a canary that drew a few more of the users who fail looks
//! worse for as long as they stay, and the e-process of 1.4 takes that luck for proof. So each arm's counts are also
//! kept per *hash group* of the key, and the spread between the groups, less what Poisson noise explains, tells how
//! far luck reaches. The tolerance line is widened by that ([`super::poisson::Line::with_margin`]).
//!
//! The caller's part, in this order for each interval:
//! 1. **Past intervals only.** Take [`UserMix::spread`] *before* adding the interval, for a margin that has seen the
//!    outcomes it judges is not predictable, and the guarantee falls with it.
//! 2. **The first interval is not judged.** Where the margin is none, there is no past to take one from: give the
//!    interval to [`super::poisson::EProcess::carry`]. (Judging it gave false alarms up to 0.29 in large cells.)
//!    Otherwise judge against the widened line.
//! 3. Add the interval's groups with [`UserMix::add`].
//!
//! Half of alpha pays for the margin, `MarginLevel::new(alpha / 2)`, and the other half is the e-process's level.
//! Requests without a key are no one's luck: with none at all but such, the margin is 0.

use serde::{Deserialize, Serialize};
use statrs::distribution::{ContinuousCDF, StudentsT};

use super::count::{CountError, check_arm};
use super::poisson::Direction;

/// Number of hash groups (`G`): the groups of the key's second hash.
pub const GROUPS: usize = 16;

/// Bad events and requests of one group of users.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct GroupCount {
    /// Bad events (`x_g`).
    pub bad: f64,
    /// Requests (`n_g`).
    pub total: f64,
}

impl GroupCount {
    fn plus(self, other: Self) -> Self {
        Self {
            bad: self.bad + other.bad,
            total: self.total + other.total,
        }
    }
}

/// One arm's counts by group of users: of one interval, or added up.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupTotals {
    /// Counts of the requests with a key, by group. A group without requests still is one of the 16.
    pub groups: [GroupCount; GROUPS],
    /// Counts of the requests without a key, which are assigned one by one.
    pub ungrouped: GroupCount,
}

impl GroupTotals {
    /// Variance of the arm's bad-event ratio that the mix of users explains:
    /// `max(0, G/(G-1) * sum_g (d_g - mean d)^2 - sum_g x_g) / N^2` with `d_g = x_g - p n_g`.
    ///
    /// This is the linearised delete-a-group jackknife of 7.9 less the Poisson part. Where every request has a key the
    /// mean is 0 and the formula is the one of 7.9; requests without a key add to `p` and `N` but are in no group.
    ///
    /// None where the arm has no requests, or more than a float can hold.
    #[must_use]
    pub fn variance(&self) -> Option<f64> {
        Some(self.spread()?.variance)
    }

    fn spread(&self) -> Option<ArmSpread> {
        let keyed = self.keyed();
        let all = keyed.plus(self.ungrouped);
        if !(all.total > 0.0 && all.total.is_finite()) {
            return None;
        }
        let p = all.bad / all.total;
        let deviations = self
            .groups
            .map(|group| (group.bad - p * group.total) / all.total);
        let mean = deviations.iter().sum::<f64>() / GROUPS as f64;
        let squares: f64 = deviations
            .iter()
            .map(|deviation| (deviation - mean).powi(2))
            .sum();
        let jackknife = squares * GROUPS as f64 / (GROUPS - 1) as f64;
        let variance = (jackknife - keyed.bad / all.total / all.total).max(0.0);
        Some(ArmSpread {
            variance,
            requests: all.total,
        })
    }

    /// Requests of the arm, with and without a key.
    #[must_use]
    pub fn requests(&self) -> f64 {
        self.keyed().total + self.ungrouped.total
    }

    fn keyed(&self) -> GroupCount {
        self.groups
            .iter()
            .fold(GroupCount::default(), |sum, group| sum.plus(*group))
    }

    /// Adds the counts of one interval.
    ///
    /// # Errors
    /// A number of `arm`, the name to blame, is no count; nothing is added then.
    pub fn add(&mut self, arm: &'static str, interval: &Self) -> Result<(), CountError> {
        *self = self.plus(arm, interval)?;
        Ok(())
    }

    fn check(&self, arm: &'static str) -> Result<(), CountError> {
        self.groups
            .iter()
            .chain([&self.ungrouped])
            .try_for_each(|group| check_arm(arm, group.bad, group.total))
    }

    fn plus(&self, arm: &'static str, other: &Self) -> Result<Self, CountError> {
        other.check(arm)?;
        let mut sum = self.clone();
        for (group, more) in sum.groups.iter_mut().zip(&other.groups) {
            *group = group.plus(*more);
        }
        sum.ungrouped = sum.ungrouped.plus(other.ungrouped);
        // Counts add up to counts unless they overflow.
        if !sum.requests().is_finite() {
            sum.check(arm)?;
        }
        Ok(sum)
    }
}

/// Both arms' counts by group of users over all past intervals. Serialized, it is a checkpoint.
///
/// What a fuse sent home from the canary is kept beside them, so that one state serves both directions: harm does not
/// count those requests, and for success each is a bad one of the canary. Stable's are the same for both.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", try_from = "Totals")]
pub struct UserMix {
    canary: GroupTotals,
    stable: GroupTotals,
    fused: Fused,
}

/// Requests that a fuse sent home from the canary, by group; the last place is of those without a key.
pub type Fused = [f64; GROUPS + 1];

impl UserMix {
    /// Adds one interval of both arms.
    ///
    /// # Errors
    /// A number is no count; nothing is added then.
    pub fn add(&mut self, canary: &GroupTotals, stable: &GroupTotals) -> Result<(), CountError> {
        *self = Self {
            canary: self.canary.plus("canary", canary)?,
            stable: self.stable.plus("stable", stable)?,
            fused: self.fused,
        };
        Ok(())
    }

    /// Adds what a fuse sent home in one interval.
    ///
    /// # Errors
    /// A number is no count, or the sum is none; nothing is added then.
    pub fn add_fused(&mut self, fused: &Fused) -> Result<(), CountError> {
        let mut sum = self.fused;
        for (sum, more) in sum.iter_mut().zip(fused) {
            check_arm("canary", *more, *more)?;
            *sum += more;
            check_arm("canary", *sum, *sum)?;
        }
        self.fused = sum;
        Ok(())
    }

    /// How far the users of both arms differ: once an interval, for the margins of every line for `direction`.
    #[must_use]
    pub fn spread(&self, direction: Direction) -> Spread {
        let fused = match direction {
            Direction::Harm => false,
            Direction::Success => self.fused.iter().any(|fused| *fused > 0.0),
        };
        let canary = if fused {
            self.canary_for_promotion().spread()
        } else {
            self.canary.spread()
        };
        Spread {
            direction,
            canary,
            stable: self.stable.spread(),
        }
    }

    /// [`Spread::margin`] of a single line.
    #[must_use]
    pub fn margin(&self, direction: Direction, level: MarginLevel, theta: f64) -> Option<f64> {
        self.spread(direction).margin(level, theta)
    }

    /// The canary's counts so far.
    #[must_use]
    pub fn canary(&self) -> &GroupTotals {
        &self.canary
    }

    /// The canary's counts so far with each request that a fuse sent home as a bad one.
    #[must_use]
    pub fn canary_for_promotion(&self) -> GroupTotals {
        let mut canary = self.canary.clone();
        let places = canary.groups.iter_mut().chain([&mut canary.ungrouped]);
        for (place, fused) in places.zip(self.fused) {
            place.bad += fused;
            place.total += fused;
        }
        canary
    }

    /// Stable's counts so far.
    #[must_use]
    pub fn stable(&self) -> &GroupTotals {
        &self.stable
    }
}

/// How far the users of both arms differ after the intervals so far, for one direction.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    direction: Direction,
    canary: Option<ArmSpread>,
    stable: Option<ArmSpread>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct ArmSpread {
    variance: f64,
    requests: f64,
}

impl Spread {
    /// How far luck in the draw of users reaches: `t * sqrt(V_c + theta^2 V_s)` in units of a probability.
    ///
    /// For success `V_c` is at least `theta^2 V_s N_s / N_c`, the spread that users like stable's would have among as
    /// few as the canary's. A canary that drew few of the users who fail shows little spread *because* it was lucky,
    /// and its own spread alone passed a release that lies on a gate of 1.25 and 0.2 pp with probability 0.36 at weight
    /// 1 % and 0.89 with 1 000 users (promised: 0.05); with the floor it was 0.02 at most (`tests/error_rates.rs`).
    /// Harm needs no floor: there luck against the canary raises its spread.
    ///
    /// None while there is no past to take it from, which is when an arm has had no requests; where `theta` is 0 only
    /// the canary's count.
    #[must_use]
    pub fn margin(&self, level: MarginLevel, theta: f64) -> Option<f64> {
        let canary = self.canary?;
        let stable = if theta == 0.0 {
            0.0
        } else {
            self.stable?.variance
        };
        let floor = match (self.direction, self.stable) {
            (Direction::Success, Some(of)) => {
                theta * theta * stable * of.requests / canary.requests
            }
            _ => 0.0,
        };
        Some(margin(level.t, theta, canary.variance.max(floor), stable))
    }
}

/// What half of an error probability buys: the quantile of [`t_quantile`], which is found by iteration and so is to be
/// computed once for a plan and not for each interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MarginLevel {
    t: f64,
}

impl MarginLevel {
    /// The level at which luck exceeds the margin with probability `tail`: `alpha / 2` for a whole error probability of
    /// `alpha`, or a metric's share of that.
    ///
    /// None where `tail` is outside (0, 0.5].
    #[must_use]
    pub fn new(tail: f64) -> Option<Self> {
        Some(Self {
            t: t_quantile(tail)?,
        })
    }
}

/// The wire form of [`UserMix`], not yet trusted.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Totals {
    canary: GroupTotals,
    stable: GroupTotals,
    // Checkpoints of before know nothing of fuses.
    #[serde(default)]
    fused: Fused,
}

impl TryFrom<Totals> for UserMix {
    type Error = CountError;

    fn try_from(from: Totals) -> Result<Self, CountError> {
        from.canary.check("canary")?;
        from.stable.check("stable")?;
        let mut mix = Self {
            canary: from.canary,
            stable: from.stable,
            fused: Fused::default(),
        };
        mix.add_fused(&from.fused)?;
        Ok(mix)
    }
}

/// `t * sqrt(V_c + theta^2 V_s)` (7.9).
#[must_use]
pub fn margin(t: f64, theta: f64, variance_canary: f64, variance_stable: f64) -> f64 {
    t * (variance_canary + theta * theta * variance_stable).sqrt()
}

/// The upper quantile of Student's t with `GROUPS - 1` degrees of freedom: exceeded with probability `tail`.
///
/// None where `tail` is outside (0, 0.5], where no margin would come of it.
#[must_use]
pub fn t_quantile(tail: f64) -> Option<f64> {
    if !(tail > 0.0 && tail <= 0.5) {
        return None;
    }
    let student = StudentsT::new(0.0, 1.0, (GROUPS - 1) as f64).ok()?;
    // By symmetry; asking for 1 - tail would lose the digits of a small one.
    let quantile = -student.inverse_cdf(tail);
    quantile.is_finite().then_some(quantile.max(0.0))
}

#[cfg(test)]
#[path = "user_mix_tests.rs"]
mod tests;
