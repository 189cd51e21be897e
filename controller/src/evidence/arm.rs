//! One version beside the stable one: its metrics together, and what the fuses did.

use serde::{Deserialize, Serialize};

use super::comparison::{Comparison, Pair};
use crate::observation::{ArmCounts, Tally};
use crate::stats::combine::e_bh;
use crate::stats::{log_sum_exp, reaches};
use crate::validate::{Plan, Source};

/// Cells with an opening fuse that make a failure: one trip can be an accident, and one more its first probe.
const REPEATED: usize = 3;
/// Where stable fails so often in the same cell, a fuse that opens says nothing about the new version: what both depend
/// on is broken. Below it luck does not open a fuse again and again (five failures in a row have a probability of
/// 3e-7 where every twentieth request fails), and an outage of both that lasts a twentieth of a cell is seen as one.
const STABLE_FAILS: f64 = 0.05;

/// What the counts of one version are worth so far.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ArmEvidence {
    /// Cells that were judged, by any metric.
    pub judged_cells: u64,
    /// Cells without a request since the last one with any.
    #[serde(default)]
    pub idle_cells: u64,
    /// Requests so far, and errors among them.
    pub requests: Tally,
    /// Requests of the split that a fuse sent home. For promotion each is a bad one.
    #[serde(default)]
    pub fused: u64,
    /// Of these, after the comparison had ended.
    #[serde(default)]
    pub fused_in_soak: u64,
    /// The last cells in which a fuse of the version opened while stable was well, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trips: Vec<Trip>,
    /// The comparison has ended: the version has everybody.
    #[serde(default)]
    pub frozen: bool,
    /// By metric, in the order of the plan.
    pub metrics: Vec<Comparison>,
    /// Evidence that any metric is harmed, `log(sum a_j E_j)` (statistics 1.9), at its best so far.
    harm_max: f64,
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
    fn add(&mut self, arm: &ArmCounts) {
        for (group, tally) in (0_u32..).zip(&arm.requests.groups) {
            self.bad_groups |= u32::from(tally.bad > 0) << group;
        }
        let bad = arm.requests.ungrouped.bad;
        self.bad_ungrouped = self.bad_ungrouped.saturating_add(bad);
    }
}

impl ArmEvidence {
    pub(super) fn new(plan: &Plan) -> Self {
        Self {
            judged_cells: 0,
            idle_cells: 0,
            requests: Tally::default(),
            fused: 0,
            fused_in_soak: 0,
            trips: Vec::new(),
            frozen: false,
            metrics: plan.metrics.iter().map(Comparison::new).collect(),
            harm_max: 0.0,
        }
    }

    pub(super) fn consume(
        &mut self,
        plan: &Plan,
        cell: i64,
        arm: &ArmCounts,
        stable: &ArmCounts,
        slow_counted: bool,
    ) {
        let mut judged = false;
        for (comparison, metric) in self.metrics.iter_mut().zip(&plan.metrics) {
            if !slow_counted && matches!(metric.source, Source::Latency { .. }) {
                continue;
            }
            let (name, source) = (&metric.name, &metric.source);
            let pair = Pair {
                canary: arm.metric(name, source),
                promoted: arm.metric_for_promotion(name, source),
                stable: stable.metric(name, source),
            };
            judged |= comparison.consume(metric, &pair, self.frozen);
        }
        self.judged_cells += u64::from(judged);
        self.harm_max = self.harm_max.max(self.harm(plan));
        let fused = arm.fused.iter().copied().fold(0, u64::saturating_add);
        let idle = arm.tally().total == 0 && fused == 0;
        self.idle_cells = if idle { self.idle_cells + 1 } else { 0 };
        self.fused = self.fused.saturating_add(fused);
        if self.frozen {
            self.fused_in_soak = self.fused_in_soak.saturating_add(fused);
        }
        self.note_trips(cell, arm, stable.tally());
        self.requests.add(arm.tally());
    }

    fn note_trips(&mut self, cell: i64, arm: &ArmCounts, stable: Tally) {
        // A request that hung makes the fuse open first and ends, bad, only later.
        let late = cell.saturating_sub(1);
        if let Some(trip) = self.trips.last_mut().filter(|trip| trip.cell == late) {
            trip.add(arm);
        }
        if arm.fuse_trips > 0 && stable.rate() < STABLE_FAILS {
            if self.trips.len() >= REPEATED {
                self.trips.remove(0);
            }
            let mut trip = Trip {
                cell,
                ..Trip::default()
            };
            trip.add(arm);
            self.trips.push(trip);
        }
    }

    /// Whether fuses opened again and again of late, while stable was well: in so many of the last `cells` cells before
    /// `next_cell` that it is no accident.
    #[must_use]
    pub fn trips_repeatedly(&self, next_cell: i64, cells: i64) -> bool {
        let recent = |first: &Trip| first.cell >= next_cell.saturating_sub(cells);
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

    /// Evidence that any metric is harmed now (natural logarithm): the average of the metrics' evidence by weight.
    #[must_use]
    pub fn harm(&self, plan: &Plan) -> f64 {
        let metrics = self.metrics.iter().zip(&plan.metrics);
        log_sum_exp(metrics.map(|(comparison, metric)| comparison.harm() + metric.share.ln()))
    }

    /// Whether the comparison ends the version's release. Once it does, it stays so: Ville's inequality covers the
    /// running maximum of the average.
    #[must_use]
    pub fn failed(&self, plan: &Plan) -> bool {
        reaches(self.harm_max, plan.harm_level())
    }

    /// Whether the gate of a step is proven, for every metric that has one there. Nothing is proven by a step without
    /// any gate.
    #[must_use]
    pub fn passed(&self, plan: &Plan, step: usize) -> bool {
        self.weakest_gate(step)
            .is_some_and(|(_, log_e)| reaches(log_e, plan.gate_level()))
    }

    /// The metric that is furthest from a step's gate, and its evidence (statistics 1.9: the minimum decides).
    #[must_use]
    pub fn weakest_gate(&self, step: usize) -> Option<(usize, f64)> {
        let gates = self.metrics.iter().enumerate();
        gates
            .filter_map(|(at, comparison)| Some((at, comparison.gate(step)?)))
            .min_by(|(_, a), (_, b)| a.total_cmp(b))
    }

    /// The metrics to blame, the clearest first: those of e-BH, and at least the one with the most evidence.
    #[must_use]
    pub fn blamed(&self, plan: &Plan) -> Vec<usize> {
        let log_e: Vec<_> = self.metrics.iter().map(Comparison::harm).collect();
        let blamed = e_bh(&log_e, plan.harm_level()).unwrap_or_default();
        if !blamed.is_empty() {
            return blamed;
        }
        let by_evidence = |a: &(usize, &f64), b: &(usize, &f64)| a.1.total_cmp(b.1);
        let most = log_e.iter().enumerate().max_by(by_evidence);
        most.map(|(at, _)| at).into_iter().collect()
    }

    pub(super) fn close(&mut self) {
        self.metrics.iter_mut().for_each(Comparison::close);
    }

    pub(super) fn freeze_limits(&mut self, plan: &Plan) {
        self.frozen = true;
        for (comparison, metric) in self.metrics.iter_mut().zip(&plan.metrics) {
            comparison.freeze_limit(metric);
        }
    }
}
