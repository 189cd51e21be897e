//! Whether users are split as configured, by the totals of their 16 hash groups (7.9).
//!
//! Requests of a user go where the user is, so requests are no independent units, users are; and how many there are
//! nobody counts. But the second hash places users in groups as if by lot, whatever their version, so the spread of the
//! groups' totals tells what users are worth together: with `r_u` requests of user `u`, `sum_g (n_g - N/16)^2` is on
//! average `15/16 sum_u r_u^2`. If each user is on a version with probability `w`, the version's requests have the mean
//! `w N` and the variance `w (1 - w) sum_u r_u^2`, exactly, whatever the law of `r_u`. So
//!
//! `t = (|n - w N| - eps w N) / sqrt(w (1 - w) S)`, `S = max(N, 16/15 sum_g (n_g - N/16)^2)`
//!
//! is held against Student's t with 15 degrees of freedom. (`S >= N`, for requests are whole numbers.)
//!
//! Why not the t interval of the 16 shares themselves: at small weights a version with few or light users has a low
//! share *and* a low spread of shares, so luck looks like proof. Tried on users split perfectly (lognormal activity, 60
//! looks, nominal 0.001, 1 000 to 3 000 runs a cell): false alarms up to .83 where fewer than 25 users are expected on the
//! version, against .024 of the formula above; and of that at most .002 from [`ENOUGH_USERS`] on, with 10 % tolerated.

use super::SplitError;
use crate::stats::count::CountError;
use crate::stats::domain::probability;
use crate::stats::user_mix::GROUPS;

/// Equally active users whom the smaller side is to have on average before its share means anything: below it the
/// number is far from a normal one, and a single user may be half of it.
pub const ENOUGH_USERS: f64 = 25.0;

/// What the groups' totals say of one version's share.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GroupSplit {
    /// How many equally active users would spread as much: `N^2 / S`, at most one for each request.
    pub users: f64,
    /// Equally active users expected on the smaller side: `users * min(w, 1 - w)`.
    pub expected: f64,
    /// How far the share is outside of the tolerance, in standard deviations; negative inside of it.
    pub t: f64,
}

impl GroupSplit {
    /// A version's requests by group, and those of all versions, while the version's weight was `weight`; shares within
    /// `weight * (1 +- tolerance)` are tolerated. None where nobody has sent anything.
    ///
    /// # Errors
    /// The weight or the tolerance is not inside (0, 1), or a count is no count.
    pub fn of(
        version: &[f64; GROUPS],
        all: &[f64; GROUPS],
        weight: f64,
        tolerance: f64,
    ) -> Result<Option<Self>, SplitError> {
        let weight = probability("weight", weight)?;
        let tolerance = probability("tolerance", tolerance)?;
        for value in version.iter().chain(all).copied() {
            if !value.is_finite() || value < 0.0 {
                let (arm, what) = ("version's", "requests");
                return Err(CountError::NotACount { arm, what, value }.into());
            }
        }
        let requests: f64 = all.iter().sum();
        if requests <= 0.0 {
            return Ok(None);
        }
        let users = effective_users(all);
        let share = version.iter().sum::<f64>() / requests;
        let beyond = (share - weight).abs() - tolerance * weight;
        Ok(Some(Self {
            users,
            expected: users * weight.min(1.0 - weight),
            t: beyond / (weight * (1.0 - weight) / users).sqrt(),
        }))
    }

    /// Whether there are users enough for the share to mean anything.
    #[must_use]
    pub fn is_enough(&self) -> bool {
        self.expected >= ENOUGH_USERS
    }
}

/// How many equally active users would spread over the groups as much as these totals: `N^2 / S`.
#[must_use]
pub fn effective_users(totals: &[f64; GROUPS]) -> f64 {
    let requests: f64 = totals.iter().sum();
    if requests <= 0.0 {
        return 0.0;
    }
    let groups = GROUPS as f64;
    let mean = requests / groups;
    let squares: f64 = totals.iter().map(|total| (total - mean).powi(2)).sum();
    let spread = squares * groups / (groups - 1.0);
    requests * requests / spread.max(requests)
}
