//! What was seen: counts per variant over one cell, short windows for guards, and what the proxies report.

use serde::{Deserialize, Serialize};
use serin_filter_core::split::GROUPS;

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

/// Counts of one variant over one interval, cohort `split`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ArmCounts {
    /// Requests of users, by hash group.
    pub groups: [Tally; GROUPS as usize],
    /// Requests without a key, drawn anew each time.
    pub ungrouped: Tally,
    /// Requests that a fuse sent home although they were meant for this variant, by hash group; the last entry are those
    /// without a key. They are not among the others.
    pub fused: [u64; GROUPS as usize + 1],
    /// How often a fuse of this variant opened, summed over workers.
    pub fuse_trips: u64,
    /// Requests whose upstream cluster was looked at.
    pub sampled: u64,
    /// Those that another cluster served than the one meant.
    pub misrouted: u64,
}

impl ArmCounts {
    /// Sum over groups and ungrouped requests.
    #[must_use]
    pub fn tally(&self) -> Tally {
        let mut sum = self.ungrouped;
        self.groups.iter().for_each(|group| sum.add(*group));
        sum
    }

    /// The counts that a promotion is judged by: what the fuse had to send home is bad, or a canary that is dead for ten
    /// seconds a minute would pass.
    #[must_use]
    pub fn for_promotion(&self) -> Self {
        let mut arm = self.clone();
        let tallies = arm.groups.iter_mut().chain([&mut arm.ungrouped]);
        for (tally, fused) in tallies.zip(self.fused) {
            tally.add(Tally {
                total: fused,
                bad: fused,
            });
        }
        arm
    }

    /// How many sources of bad requests there are: groups with one, or every bad request without a key on its own.
    #[must_use]
    pub fn bad_sources(&self) -> u64 {
        self.groups.iter().filter(|group| group.bad > 0).count() as u64 + self.ungrouped.bad
    }
}

/// Counts of one rollout over one cell of the grid.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cell {
    /// Index in the grid.
    pub index: i64,
    /// The new version.
    pub canary: ArmCounts,
    /// The stable version.
    pub stable: ArmCounts,
}

/// A proxy as Prometheus sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proxy {
    /// Scrape target.
    pub target: String,
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
