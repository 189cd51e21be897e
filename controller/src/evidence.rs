//! What the counts of a release are worth: the error-rate e-processes of statistics 1.1-1.6 with the user-mix margin
//! of 7.9, fed cell by cell.
//!
//! Both error probabilities are split in halves: one for the margin, one for the e-process. The margin of a cell is
//! taken from the cells before it, so it is fixed before the cell is seen, and the first cell, which has no past, is
//! counted but not judged.

mod words;

pub use words::thousands;

use serde::{Deserialize, Serialize};

use crate::observation::{ArmCounts, Cell, Tally};
use crate::stats::poisson::{Counts, Direction, EProcess, Line};
use crate::stats::ratio::{RatioInterval, RatioSequence};
use crate::stats::user_mix::{GROUPS, GroupCount, GroupTotals, MarginLevel, UserMix};
use crate::validate::Plan;

/// Requests come one by one: the sticky part of their dependence is the margin's business, bursts are issue 5's.
const PHI: f64 = 1.0;
/// Half of an error probability pays for the margin, half is the level of the e-process (statistics 7.9).
const HALF: f64 = 0.5;

/// Cells with an opening fuse that make a failure: one trip can be an accident, and one more its first probe.
const REPEATED: usize = 3;
/// Where stable fails so often in the same cell, a fuse that opens says nothing about the new version: what both depend
/// on is broken. Below it luck does not open a fuse again and again (five failures in a row have a probability of
/// 3e-7 where every twentieth request fails), and an outage of both that lasts a twentieth of a cell is seen as one.
const STABLE_FAILS: f64 = 0.05;

/// Evidence of a release; a checkpoint that restores bit for bit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Evidence {
    /// Index of the next cell to consume.
    pub next_cell: i64,
    /// Cells that were judged.
    pub judged_cells: u64,
    /// Cells without a canary request since the last one with any.
    #[serde(default)]
    pub idle_cells: u64,
    /// Requests of the new version so far.
    pub canary: Tally,
    /// Requests of the stable version so far.
    pub stable: Tally,
    /// Requests of the split that a fuse sent home from the new version. For promotion each is a bad one.
    #[serde(default)]
    pub fused: u64,
    /// The last cells in which a fuse of the new version opened while stable was well, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trips: Vec<Trip>,
    /// From the soak on: the canary's absolute limit (statistics 1.8), frozen from the comparison.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<f64>,
    /// What was seen since then.
    #[serde(default)]
    pub soak: Soak,
    /// Against "within the tolerance".
    harm: EProcess,
    /// Against "at least as bad as the gate", one per step.
    gates: Vec<EProcess>,
    /// Both arms by hash group.
    user_mix: UserMix,
    /// The same for the gates, which count what the fuse sent home.
    gate_mix: UserMix,
    /// Ratio of the rates, for people.
    ratio: RatioSequence,
}

/// A cell in which fuses of the new version opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Trip {
    /// Index of the cell.
    pub cell: i64,
    /// Hash groups with a bad request in it or the next one, as bits.
    pub bad_groups: u32,
    /// Bad requests without a key.
    pub bad_ungrouped: u64,
}

impl Trip {
    fn add(&mut self, canary: &ArmCounts) {
        for (group, tally) in (0_u32..).zip(&canary.groups) {
            self.bad_groups |= u32::from(tally.bad > 0) << group;
        }
        self.bad_ungrouped = self.bad_ungrouped.saturating_add(canary.ungrouped.bad);
    }
}

/// The time without a comparison.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Soak {
    /// Requests meant for the new version; bad, too, is what a fuse sent home.
    pub meant: Tally,
    /// What a fuse sent home.
    pub fused: u64,
}

impl Evidence {
    /// No evidence; the first cell to consume is `first_cell`.
    #[must_use]
    pub fn new(plan: &Plan, first_cell: i64) -> Self {
        Self {
            next_cell: first_cell,
            judged_cells: 0,
            idle_cells: 0,
            canary: Tally::default(),
            stable: Tally::default(),
            limit: None,
            soak: Soak::default(),
            harm: EProcess::start(Direction::Harm),
            gates: plan
                .steps
                .iter()
                .map(|_| EProcess::start(Direction::Success))
                .collect(),
            fused: 0,
            trips: Vec::new(),
            user_mix: UserMix::default(),
            gate_mix: UserMix::default(),
            ratio: RatioSequence::default(),
        }
    }

    /// Consumes one cell; the caller has checked that it is the next one.
    pub fn consume(&mut self, plan: &Plan, cell: &Cell) {
        let (canary, stable) = (cell.canary.tally(), cell.stable.tally());
        let promoted = cell.canary.for_promotion();
        self.judge_harm(plan, counts(canary, stable));
        self.judge_gates(plan, counts(promoted.tally(), stable));
        // The counts are whole, and bad ones never exceed all (prometheus::counts), so nothing here can be refused.
        let stable_groups = groups(&cell.stable);
        let _ = self.user_mix.add(&groups(&cell.canary), &stable_groups);
        let _ = self.gate_mix.add(&groups(&promoted), &stable_groups);
        let fused: u64 = cell.canary.fused.iter().sum();
        self.idle_cells = if canary.total + fused > 0 {
            0
        } else {
            self.idle_cells + 1
        };
        self.fused += fused;
        if self.limit.is_some() {
            self.soak.fused += fused;
            self.soak.meant.add(promoted.tally());
        }
        self.note_trips(cell, stable);
        self.canary.add(canary);
        self.stable.add(stable);
        self.next_cell = cell.index + 1;
    }

    fn note_trips(&mut self, cell: &Cell, stable: Tally) {
        // A request that hung makes the fuse open first and ends, bad, only later.
        let late = cell.index.saturating_sub(1);
        if let Some(trip) = self.trips.last_mut().filter(|trip| trip.cell == late) {
            trip.add(&cell.canary);
        }
        if cell.canary.fuse_trips > 0 && stable.rate() < STABLE_FAILS {
            if self.trips.len() >= REPEATED {
                self.trips.remove(0);
            }
            let mut trip = Trip {
                cell: cell.index,
                ..Trip::default()
            };
            trip.add(&cell.canary);
            self.trips.push(trip);
        }
    }

    fn judge_harm(&mut self, plan: &Plan, counts: Counts) {
        let harm_line = match self.limit {
            Some(limit) => Line {
                theta: 0.0,
                delta: limit,
            },
            None => plan.tolerance,
        };
        let margin = margin(
            &self.user_mix,
            Direction::Harm,
            plan.rollback_margin,
            harm_line.theta,
        );
        let judged = bet(&mut self.harm, counts, harm_line, margin);
        self.judged_cells += u64::from(judged && counts.total_canary > 0.0);
        if self.limit.is_none() {
            let _ = self.ratio.update(counts);
        }
    }

    fn judge_gates(&mut self, plan: &Plan, counts: Counts) {
        // After the switch there is no stable to be compared with: what the gates proved stays as it is.
        if self.limit.is_some() {
            return;
        }
        let margins: Vec<_> = plan
            .steps
            .iter()
            .map(|step| {
                let theta = step.gate.theta;
                margin(
                    &self.gate_mix,
                    Direction::Success,
                    plan.promotion_margin,
                    theta,
                )
            })
            .collect();
        for ((gate, step), margin) in self.gates.iter_mut().zip(&plan.steps).zip(margins) {
            bet(gate, counts, step.gate, margin);
        }
    }

    /// Whether fuses of the new version opened again and again of late, while stable was well: in so many of the last
    /// `cells` cells that it is no accident.
    #[must_use]
    pub fn trips_repeatedly(&self, cells: i64) -> bool {
        let recent = |first: &Trip| first.cell >= self.next_cell.saturating_sub(cells);
        self.trips.len() >= REPEATED && self.trips.first().is_some_and(recent)
    }

    /// Somebody has seen these trips and goes on: only new ones count.
    pub fn forget_trips(&mut self) {
        self.trips.clear();
    }

    /// How many sources the bad requests had that opened those fuses; see [`ArmCounts::bad_sources`].
    #[must_use]
    pub fn trip_sources(&self) -> u64 {
        let groups = self.trips.iter().fold(0, |all, trip| all | trip.bad_groups);
        let ungrouped = self.trips.iter().map(|trip| trip.bad_ungrouped);
        ungrouped.fold(u64::from(groups.count_ones()), u64::saturating_add)
    }

    /// Why the soak may not end yet: with what the fuse sent home it was worse than its limit. Nobody was harmed by that,
    /// so it is no failure; but the default route has no fuse.
    #[must_use]
    pub fn soak_objection(&self) -> Option<String> {
        let limit = self.limit?;
        let Soak { meant, fused } = self.soak;
        (fused > 0 && meant.rate() > limit).then(|| self.soak_sentence(limit))
    }

    /// Whether the comparison ends the release.
    #[must_use]
    pub fn failed(&self, plan: &Plan) -> bool {
        self.harm.rejects(plan.false_rollback * HALF)
    }

    /// Whether the gate of a step is proven.
    #[must_use]
    pub fn passed(&self, plan: &Plan, step: usize) -> bool {
        self.gates
            .get(step)
            .is_some_and(|gate| gate.rejects(plan.false_promotion * HALF))
    }

    /// Freezes the absolute limit for the time without a comparison: what the last gate would accept at the rate that
    /// stable has shown. The wealth goes on multiplying, so the whole release shares one `falseRollback`.
    ///
    /// Stable without any request has shown no rate: then there is no limit, and only guards watch.
    pub fn freeze_limit(&mut self, plan: &Plan) {
        if self.stable.total == 0 {
            return;
        }
        let gate = plan.steps.last().map_or(plan.tolerance, |step| step.gate);
        // A tolerance wider than the gate must not become a harsher limit after the switch.
        let rate = self.stable.rate();
        self.limit = Some(gate.at(rate).max(plan.tolerance.at(rate)).min(1.0));
    }

    /// Evidence of harm: natural logarithm now, and what ends the release.
    #[must_use]
    pub fn harm(&self, plan: &Plan) -> (f64, f64) {
        (self.harm.log_e(), -(plan.false_rollback * HALF).ln())
    }

    /// Evidence for a step's gate: natural logarithm at its best so far, and what passes it.
    #[must_use]
    pub fn gate(&self, plan: &Plan, step: usize) -> Option<(f64, f64)> {
        Some((
            self.gates.get(step)?.log_e_max(),
            -(plan.false_promotion * HALF).ln(),
        ))
    }

    /// Ratio of the rates with the interval that holds at all times at once with probability `1 - falseRollback`.
    #[must_use]
    pub fn ratio(&self, plan: &Plan) -> Option<RatioInterval> {
        self.ratio.interval(plan.false_rollback).ok()
    }
}

/// How far luck in the draw of users reaches, from the cells so far; `None` before both arms have a past.
fn margin(
    mix: &UserMix,
    direction: Direction,
    level: Option<MarginLevel>,
    theta: f64,
) -> Option<f64> {
    mix.margin(direction, level?, theta)
}

/// Bets against the line after luck has been allowed for; without a margin the cell is carried, not judged.
fn bet(process: &mut EProcess, counts: Counts, line: Line, margin: Option<f64>) -> bool {
    match margin {
        Some(margin) => process
            .update(counts, line.with_margin(process.direction(), margin), PHI)
            .is_ok(),
        None => {
            let _ = process.carry(counts);
            false
        }
    }
}

#[allow(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
fn counts(canary: Tally, stable: Tally) -> Counts {
    Counts {
        bad_canary: canary.bad as f64,
        total_canary: canary.total as f64,
        bad_stable: stable.bad as f64,
        total_stable: stable.total as f64,
    }
}

#[allow(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
fn groups(arm: &ArmCounts) -> GroupTotals {
    let count = |tally: &Tally| GroupCount {
        bad: tally.bad as f64,
        total: tally.total as f64,
    };
    let mut groups = [GroupCount::default(); GROUPS];
    groups
        .iter_mut()
        .zip(&arm.groups)
        .for_each(|(group, tally)| *group = count(tally));
    GroupTotals {
        groups,
        ungrouped: count(&arm.ungrouped),
    }
}

#[cfg(test)]
mod tests;
