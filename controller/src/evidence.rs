//! What the counts of a release are worth: the e-processes of statistics 1.1-1.9 with the user-mix margin of 7.9, fed
//! cell by cell. For each version beside the stable one and each metric there is a [`Comparison`]; a test of several
//! versions has a [`Ranking`] as well.

mod arm;
mod comparison;
mod ranking;
mod words;

pub use arm::{ArmEvidence, Trip};
pub use comparison::Comparison;
pub use ranking::{Conclusion, Ranking};
pub use words::thousands;

use serde::{Deserialize, Serialize};

use crate::observation::{Cell, Tally};
use crate::validate::{Course, Plan};

/// Evidence of a release; a checkpoint that restores bit for bit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Evidence {
    /// Index of the next cell to consume.
    pub next_cell: i64,
    /// Requests of the stable version so far.
    pub stable: Tally,
    /// The new version; of several the first.
    pub canary: ArmEvidence,
    /// The others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<ArmEvidence>,
    /// Which version is best.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ranking: Option<Ranking>,
}

impl Evidence {
    /// No evidence; the first cell to consume is `first_cell`.
    #[must_use]
    pub fn new(plan: &Plan, first_cell: i64) -> Self {
        let contest = matches!(plan.course, Course::Contest(_));
        Self {
            next_cell: first_cell,
            stable: Tally::default(),
            canary: ArmEvidence::new(plan),
            others: plan.others.iter().map(|_| ArmEvidence::new(plan)).collect(),
            ranking: contest.then(|| Ranking::new(plan.others.len() + 2)),
        }
    }

    /// Consumes one cell; the caller has checked that it is the next one.
    ///
    /// `slow_counted`: every proxy counted slow requests by the plan's limits in all of the cell; if not, latency metrics
    /// learn nothing from it.
    pub fn consume(&mut self, plan: &Plan, cell: &Cell, slow_counted: bool) {
        let arms = std::iter::once(&mut self.canary).chain(&mut self.others);
        for (arm, counts) in arms.zip(&cell.arms) {
            arm.consume(plan, cell.index, counts, &cell.stable, slow_counted);
        }
        if let (Some(ranking), Course::Contest(contest)) = (&mut self.ranking, &plan.course) {
            ranking.consume(plan, contest, cell);
        }
        self.stable.add(cell.stable.tally());
        self.next_cell = cell.index + 1;
    }

    /// Every version beside the stable one, in the order of the plan.
    pub fn arms(&self) -> impl Iterator<Item = &ArmEvidence> {
        std::iter::once(&self.canary).chain(&self.others)
    }

    /// The same, to be changed.
    pub fn arms_mut(&mut self) -> impl Iterator<Item = &mut ArmEvidence> {
        std::iter::once(&mut self.canary).chain(&mut self.others)
    }

    /// One of them by its position.
    #[must_use]
    pub fn arm(&self, position: usize) -> Option<&ArmEvidence> {
        self.arms().nth(position)
    }

    /// Whether the comparison ends the release of the new version.
    #[must_use]
    pub fn failed(&self, plan: &Plan) -> bool {
        self.canary.failed(plan)
    }

    /// Whether the gate of a step is proven, for every metric that has one there.
    #[must_use]
    pub fn passed(&self, plan: &Plan, step: usize) -> bool {
        self.canary.passed(plan, step)
    }

    /// Whether the switch has taken the comparison away.
    #[must_use]
    pub fn is_frozen(&self) -> bool {
        self.canary.frozen
    }

    /// Freezes the absolute limits for the time without a comparison: what the last gate would accept at the rate that
    /// stable has shown. The wealth goes on multiplying, so the whole release shares one `falseRollback`.
    pub fn freeze_limits(&mut self, plan: &Plan) {
        self.canary.freeze_limits(plan);
    }

    /// Drops what only further cells would need: most rollouts rest most of the time.
    pub fn close(&mut self) {
        self.arms_mut().for_each(ArmEvidence::close);
    }

    /// What a test of several versions has come to; `stopped` are those that are out of it, by their position among the
    /// variants.
    #[must_use]
    pub fn conclusion(&self, plan: &Plan, stopped: &[u8]) -> Conclusion {
        match &self.ranking {
            Some(ranking) => ranking.conclusion(plan, stopped),
            None => Conclusion::Open,
        }
    }
}

#[cfg(test)]
mod tests;
