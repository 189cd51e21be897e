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

    /// What is proven of the versions that are still in the test. A winner has to beat every other one, the best of them
    /// included, so that of the others any one may be named wrongly: they share `falsePromotion`
    /// ([`PlannedMetric::gate_margin`](crate::validate::PlannedMetric::gate_margin) has the margin's part of it). For "no
    /// difference" all pairs must be close, which needs no correction.
    ///
    /// `stopped` are the versions that were shown to be worse than tolerated: without users nothing more is learnt of
    /// them, and to wait for that would keep the others from an answer.
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "at most 16 versions")]
    pub fn conclusion(&self, plan: &Plan, stopped: &[u8]) -> Conclusion {
        let level = plan.gate_level();
        let rivals = self.totals.len().saturating_sub(1).max(1) as f64;
        let runs = |version: usize| !stopped.iter().any(|it| usize::from(*it) == version);
        let duels_of = |version: usize| {
            let row = self.pairs.get(version).into_iter().flatten().enumerate();
            row.filter_map(move |(other, duel)| duel.as_ref().filter(|_| runs(other)))
        };
        let mut running = (0..self.pairs.len()).filter(|version| runs(*version));
        let winner = running.clone().find(|version| {
            duels_of(*version).all(|duel| reaches(duel.better.log_e_max(), level / rivals))
        });
        if let Some(winner) = winner {
            return Conclusion::Winner(winner);
        }
        if running
            .all(|version| duels_of(version).all(|duel| reaches(duel.close.log_e_max(), level)))
        {
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
