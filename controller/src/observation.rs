//! What was seen: counts per variant over one cell, short windows for guards, and what the proxies report.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serin_filter_core::split::GROUPS;

use crate::validate::{Source, slow_label};

/// Number of hash groups of users.
pub(crate) const GROUP_COUNT: usize = GROUPS as usize;

/// Requests and bad ones among them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Requests.
    pub total: u64,
    /// Bad ones.
    pub bad: u64,
}

impl Tally {
    /// Share of bad requests; 0 without any request.
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
    pub fn rate(self) -> f64 {
        if self.total == 0 {
            0.0
        } else {
            self.bad as f64 / self.total as f64
        }
    }

    /// Adds another tally.
    pub fn add(&mut self, other: Self) {
        self.total = self.total.saturating_add(other.total);
        self.bad = self.bad.saturating_add(other.bad);
    }
}

/// Counts of one metric by hash group of the users.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Grouped {
    /// Requests of users, by hash group.
    pub groups: [Tally; GROUP_COUNT],
    /// Requests without a key, drawn anew each time, and events of which nobody knows whose they are.
    pub ungrouped: Tally,
}

impl Grouped {
    /// Sum over groups and ungrouped requests.
    #[must_use]
    pub fn tally(&self) -> Tally {
        let mut sum = self.ungrouped;
        self.groups.iter().for_each(|group| sum.add(*group));
        sum
    }

    /// Each group, and the ungrouped requests last.
    pub(crate) fn tallies(&mut self) -> impl Iterator<Item = &mut Tally> {
        self.groups.iter_mut().chain([&mut self.ungrouped])
    }
}

/// Counts of one variant over one interval, cohort `split`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ArmCounts {
    /// Requests and bad ones (errors).
    pub requests: Grouped,
    /// Requests that took longer than a limit, by [`slow_label`] and hash group; the last entry are those
    /// without a key.
    pub slow: BTreeMap<String, [u64; GROUP_COUNT + 1]>,
    /// Counts of other sources, by the name of the metric.
    pub custom: BTreeMap<String, Tally>,
    /// Requests that a fuse sent home although they were meant for this variant, by hash group; the last entry are those
    /// without a key. They are not among the others.
    pub fused: [u64; GROUP_COUNT + 1],
    /// How often a fuse of this variant opened, summed over workers.
    pub fuse_trips: u64,
    /// Requests whose upstream cluster was looked at.
    pub sampled: u64,
    /// Those that another cluster served than the one meant.
    pub misrouted: u64,
}

impl ArmCounts {
    /// Requests and errors.
    #[must_use]
    pub fn tally(&self) -> Tally {
        self.requests.tally()
    }

    /// What a metric counts. What was not counted at all is no event.
    #[must_use]
    pub fn metric(&self, name: &str, source: &Source) -> Grouped {
        match source {
            Source::Errors => self.requests,
            Source::Latency { above } => {
                let mut counts = self.requests;
                let slow = self
                    .slow
                    .get(&slow_label(name, *above))
                    .copied()
                    .unwrap_or_default();
                for (tally, slow) in counts.tallies().zip(slow) {
                    tally.bad = slow;
                    tally.total = tally.total.max(slow);
                }
                counts
            }
            Source::Custom(_) => Grouped {
                ungrouped: self.custom.get(name).copied().unwrap_or_default(),
                ..Grouped::default()
            },
        }
    }

    /// The counts that a promotion is judged by: what the fuse had to send home is bad, or a canary that is dead for ten
    /// seconds a minute would pass. Other sources do not know of the fuse.
    #[must_use]
    pub fn metric_for_promotion(&self, name: &str, source: &Source) -> Grouped {
        let mut counts = self.metric(name, source);
        if !matches!(source, Source::Custom(_)) {
            for (tally, fused) in counts.tallies().zip(self.fused) {
                tally.add(Tally {
                    total: fused,
                    bad: fused,
                });
            }
        }
        counts
    }

    /// How many sources of bad requests there are: groups with one, or every bad request without a key on its own.
    #[must_use]
    pub fn bad_sources(&self) -> u64 {
        let Grouped { groups, ungrouped } = &self.requests;
        groups.iter().filter(|group| group.bad > 0).count() as u64 + ungrouped.bad
    }
}

/// Counts of one rollout over one cell of the grid.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cell {
    /// Index in the grid.
    pub index: i64,
    /// The stable version.
    pub stable: ArmCounts,
    /// The other versions, in the order of the plan.
    pub arms: Vec<ArmCounts>,
}

/// A proxy as Prometheus sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proxy {
    /// Scrape target.
    pub target: String,
    /// Namespace of its pod, where the target has such a label.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Whether the last scrape worked.
    pub up: bool,
    /// Generation of the config that it runs; `None` before its first one.
    pub generation: Option<u64>,
    /// It was given a config that it could not use.
    pub invalid: bool,
}

impl Proxy {
    /// Whether the proxy is known to run a config of at least this generation.
    #[must_use]
    pub fn runs(&self, generation: u64) -> bool {
        self.up
            && !self.invalid
            && self
                .generation
                .is_some_and(|reported| reported >= generation)
    }
}
