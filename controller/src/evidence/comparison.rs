//! One metric of one version against the stable one.

use serde::{Deserialize, Serialize};

use crate::observation::{Grouped, Tally};
use crate::stats::poisson::{Counts, Direction, EProcess, Line};
use crate::stats::ratio::{RatioInterval, RatioSequence};
use crate::stats::user_mix::{Fused, GROUPS, GroupCount, GroupTotals, Spread, UserMix};
use crate::validate::PlannedMetric;

/// What one metric of one version is worth so far.
///
/// Both error probabilities are split in halves: one for the margin, one for the e-process. The margin of a cell is
/// taken from the cells before it, so it is fixed before the cell is seen, and the first cell, which has no past, is
/// counted but not judged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Comparison {
    /// Events of the version so far.
    pub canary: Tally,
    /// Events of the stable version so far.
    pub stable: Tally,
    /// From the soak on: the version's absolute limit (statistics 1.8), frozen from the comparison.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<f64>,
    /// Events since then; bad, too, is what a fuse sent home.
    #[serde(default)]
    pub soak: Tally,
    /// Against "within the tolerance".
    harm: EProcess,
    /// Against "at least as bad as the gate", one per step with a gate.
    gates: Vec<Option<EProcess>>,
    /// Both versions by hash group, and what the fuse sent home, which the gates count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    user_mix: Option<Box<UserMix>>,
    /// Ratio of the rates, for people.
    ratio: RatioSequence,
}

/// The counts of one cell.
pub(super) struct Pair {
    /// The version.
    pub(super) canary: Grouped,
    /// The same as promotion counts it.
    pub(super) promoted: Grouped,
    /// The stable version.
    pub(super) stable: Grouped,
}

impl Comparison {
    pub(super) fn new(metric: &PlannedMetric) -> Self {
        let gate = |line: &Option<Line>| line.map(|_| EProcess::start(Direction::Success));
        Self {
            canary: Tally::default(),
            stable: Tally::default(),
            limit: None,
            soak: Tally::default(),
            harm: EProcess::start(Direction::Harm),
            gates: metric.gates.iter().map(gate).collect(),
            user_mix: None,
            ratio: RatioSequence::default(),
        }
    }

    /// Consumes a cell; returns whether it was judged. `frozen`: there is no comparison any more.
    pub(super) fn consume(&mut self, metric: &PlannedMetric, pair: &Pair, frozen: bool) -> bool {
        let Pair {
            canary,
            promoted,
            stable,
        } = pair;
        let judged = self.judge_harm(metric, pair, frozen);
        if !frozen {
            self.judge_gates(metric, counts(promoted.tally(), stable.tally()));
            let _ = self.ratio.update(counts(canary.tally(), stable.tally()));
        }
        // The counts are whole, and bad ones never exceed all (prometheus::counts), so nothing here can be refused.
        let user_mix = self.user_mix.get_or_insert_default();
        let _ = user_mix.add(&groups(canary), &groups(stable));
        let _ = user_mix.add_fused(&fused(canary, promoted));
        if frozen {
            self.soak.add(promoted.tally());
        }
        self.canary.add(canary.tally());
        self.stable.add(stable.tally());
        judged
    }

    fn judge_harm(&mut self, metric: &PlannedMetric, pair: &Pair, frozen: bool) -> bool {
        let counts = counts(pair.canary.tally(), pair.stable.tally());
        let line = match self.limit {
            Some(limit) => Line {
                theta: 0.0,
                delta: limit,
            },
            // Stable had shown no rate: only guards watch.
            None if frozen => {
                let _ = self.harm.carry(counts);
                return false;
            }
            None => metric.tolerance,
        };
        let spread = self.spread(Direction::Harm);
        let margin = spread.margin(metric.harm_margin, line.theta);
        let judged = bet(&mut self.harm, counts, line, margin, metric.dispersion);
        judged && counts.total_canary > 0.0
    }

    fn judge_gates(&mut self, metric: &PlannedMetric, counts: Counts) {
        let spread = self.spread(Direction::Success);
        let lines = metric.gates.iter();
        for (gate, line) in self.gates.iter_mut().zip(lines) {
            let (Some(gate), Some(line)) = (gate, line) else {
                continue;
            };
            let margin = spread.margin(metric.gate_margin, line.theta);
            bet(gate, counts, *line, margin, metric.dispersion);
        }
    }

    /// Without a cell nothing is known of the users.
    fn spread(&self, direction: Direction) -> Spread {
        let user_mix = self.user_mix.as_deref();
        user_mix.map_or_else(
            || UserMix::default().spread(direction),
            |it| it.spread(direction),
        )
    }

    /// No more cells will come.
    pub(super) fn close(&mut self) {
        self.user_mix = None;
    }

    /// Freezes the absolute limit. Stable without any event has shown no rate: then there is no limit.
    pub(super) fn freeze_limit(&mut self, metric: &PlannedMetric) {
        // An absolute tolerance does not depend on what stable has shown.
        if self.stable.total == 0 && metric.tolerance.theta > 0.0 {
            return;
        }
        // A tolerance wider than the gate must not become a harsher limit after the switch.
        let rate = self.stable.rate();
        let (gate, tolerance) = (metric.last_gate().at(rate), metric.tolerance.at(rate));
        self.limit = Some(gate.max(tolerance).min(1.0));
    }

    /// Evidence of harm now (natural logarithm).
    #[must_use]
    pub fn harm(&self) -> f64 {
        self.harm.log_e()
    }

    /// The same at its best so far.
    #[must_use]
    pub fn harm_max(&self) -> f64 {
        self.harm.log_e_max()
    }

    /// Evidence for a step's gate at its best so far (natural logarithm); none where the step has no gate.
    #[must_use]
    pub fn gate(&self, step: usize) -> Option<f64> {
        Some(self.gates.get(step)?.as_ref()?.log_e_max())
    }

    /// The same now. Where a version has become worse since, its best says nothing of how far the gate is.
    #[must_use]
    pub fn gate_now(&self, step: usize) -> Option<f64> {
        Some(self.gates.get(step)?.as_ref()?.log_e())
    }

    /// Ratio of the rates with the interval that holds at all times at once with probability `1 - alpha`.
    #[must_use]
    pub fn ratio(&self, alpha: f64) -> Option<RatioInterval> {
        self.ratio.interval(alpha).ok()
    }

    /// Whether what a fuse sent home takes the soak beyond its limit.
    #[must_use]
    pub fn soak_exceeds(&self) -> Option<f64> {
        self.limit.filter(|limit| self.soak.rate() > *limit)
    }
}

/// Bets against the line after luck has been allowed for; without a margin the cell is carried, not judged.
pub(super) fn bet(
    process: &mut EProcess,
    counts: Counts,
    line: Line,
    margin: Option<f64>,
    dispersion: f64,
) -> bool {
    match margin {
        Some(margin) => process
            .update(
                counts,
                line.with_margin(process.direction(), margin),
                dispersion,
            )
            .is_ok(),
        None => {
            let _ = process.carry(counts);
            false
        }
    }
}

#[allow(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
pub(super) fn counts(canary: Tally, stable: Tally) -> Counts {
    Counts {
        bad_canary: canary.bad as f64,
        total_canary: canary.total as f64,
        bad_stable: stable.bad as f64,
        total_stable: stable.total as f64,
    }
}

#[allow(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
pub(super) fn groups(counts: &Grouped) -> GroupTotals {
    let count = |tally: &Tally| GroupCount {
        bad: tally.bad as f64,
        total: tally.total as f64,
    };
    let mut groups = [GroupCount::default(); GROUPS];
    groups
        .iter_mut()
        .zip(&counts.groups)
        .for_each(|(group, tally)| *group = count(tally));
    GroupTotals {
        groups,
        ungrouped: count(&counts.ungrouped),
    }
}

/// What promotion counts beyond the requests themselves.
#[allow(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
fn fused(canary: &Grouped, promoted: &Grouped) -> Fused {
    let tallies = |counts: &Grouped| {
        let groups = counts.groups.into_iter();
        groups.chain([counts.ungrouped]).map(|tally| tally.total)
    };
    let mut fused = Fused::default();
    let both = tallies(canary).zip(tallies(promoted));
    for (place, (canary, promoted)) in fused.iter_mut().zip(both) {
        *place = promoted.saturating_sub(canary) as f64;
    }
    fused
}
