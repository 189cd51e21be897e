//! Which of several versions is best: every pair of them, by the first metric.
//!
//! For each ordered pair two e-processes run: that the one is better than the other, and that it is at most
//! `difference` worse. Stable is one of the versions.

use serde::{Deserialize, Serialize};

use super::comparison::{bet, counts, groups};
use crate::observation::{Cell, Tally};
use crate::stats::poisson::{Direction, EProcess, Line};
use crate::stats::reaches;
use crate::stats::user_mix::{GroupTotals, UserMix};
use crate::validate::{Contest, Plan};

/// Evidence about the order of versions; position 0 is stable, the others follow in the order of the plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ranking {
    /// Counts so far, by version.
    totals: Vec<GroupTotals>,
    /// By the position of the better one, then of the worse one; none on the diagonal.
    pairs: Vec<Vec<Option<Duel>>>,
}

/// Two versions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Duel {
    /// Against "no better".
    better: EProcess,
    /// Against "worse by at least the difference".
    close: EProcess,
}

/// What a test has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conclusion {
    /// Not known yet.
    Open,
    /// This version (0 is stable) is better than every other one.
    Winner(usize),
    /// No two versions differ by as much as the difference.
    NoDifference,
}

impl Ranking {
    pub(super) fn new(versions: usize) -> Self {
        let duel = |a: usize, b: usize| {
            (a != b).then(|| Duel {
                better: EProcess::start(Direction::Success),
                close: EProcess::start(Direction::Success),
            })
        };
        Self {
            totals: vec![GroupTotals::default(); versions],
            pairs: (0..versions)
                .map(|a| (0..versions).map(|b| duel(a, b)).collect())
                .collect(),
        }
    }

    pub(super) fn consume(&mut self, plan: &Plan, contest: &Contest, cell: &Cell) {
        let Some(metric) = plan.metrics.first() else {
            return;
        };
        let versions = std::iter::once(&cell.stable).chain(&cell.arms);
        // The fuse sends users home, so what it sent home of a version counts against it, as for a promotion.
        let seen: Vec<_> = versions
            .map(|arm| arm.metric_for_promotion(&metric.name, &metric.source))
            .collect();
        let better = Line {
            theta: 1.0,
            delta: 0.0,
        };
        let close = Line {
            theta: 1.0,
            delta: contest.difference,
        };
        let rows = self.pairs.iter_mut().zip(&seen).zip(&self.totals);
        for ((row, mine), my_past) in rows {
            for ((duel, theirs), their_past) in row.iter_mut().zip(&seen).zip(&self.totals) {
                let Some(duel) = duel else { continue };
                let mut past = UserMix::default();
                let _ = past.add(my_past, their_past);
                let margin = past.margin(Direction::Success, metric.gate_margin, 1.0);
                let counts = counts(mine.tally(), theirs.tally());
                bet(&mut duel.better, counts, better, margin, metric.dispersion);
                bet(&mut duel.close, counts, close, margin, metric.dispersion);
            }
        }
        for (total, seen) in self.totals.iter_mut().zip(&seen) {
            let _ = total.add("arm", &groups(seen));
        }
    }

    /// What is proven of the versions that are not `out` of the test. A winner has to beat every other version, the best of them included, so that of the others any
    /// one may be named wrongly: they share `falsePromotion`. For "no difference" all pairs must be close, which needs
    /// no correction.
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "at most 16 versions")]
    pub fn conclusion(&self, plan: &Plan, out: &[u8]) -> Conclusion {
        let level = plan.gate_level();
        let rivals = self.totals.len().saturating_sub(1).max(1) as f64;
        let present = |version: usize| !out.iter().any(|out| usize::from(*out) == version);
        let all = |row: &[Option<Duel>], proven: &dyn Fn(&Duel) -> bool| {
            let mut duels = row.iter().enumerate().filter(|(other, _)| present(*other));
            duels.all(|(_, duel)| duel.as_ref().is_none_or(proven))
        };
        let rows = || {
            let rows = self.pairs.iter().enumerate();
            rows.filter(|(version, _)| present(*version))
        };
        let beats = |duel: &Duel| reaches(duel.better.log_e_max(), level / rivals);
        if let Some((winner, _)) = rows().find(|(_, row)| all(row, &beats)) {
            return Conclusion::Winner(winner);
        }
        let close = |duel: &Duel| reaches(duel.close.log_e_max(), level);
        if rows().all(|(_, row)| all(row, &close)) {
            Conclusion::NoDifference
        } else {
            Conclusion::Open
        }
    }

    /// Counts of a version so far.
    #[must_use]
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "sums of whole counts"
    )]
    pub fn tally(&self, version: usize) -> Tally {
        let Some(totals) = self.totals.get(version) else {
            return Tally::default();
        };
        let all = totals.groups.iter().chain([&totals.ungrouped]);
        all.fold(Tally::default(), |mut sum, group| {
            sum.add(Tally {
                total: group.total as u64,
                bad: group.bad as u64,
            });
            sum
        })
    }
}
