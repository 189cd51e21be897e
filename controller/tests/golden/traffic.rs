//! Requests without chance: shares of them are bad, carried over from cell to cell, so that no count is rounded away.

use std::collections::BTreeMap;

use serin_controller::observation::{ArmCounts, Cell, Grouped, Tally};

/// What the users of one version meet.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Quality {
    /// Share of errors.
    pub(crate) errors: f64,
    /// Share of slow requests.
    pub(crate) slow: f64,
    /// Share of bad events of the custom metric.
    pub(crate) custom: f64,
    /// Share of requests that the fuse sends home.
    pub(crate) fused: f64,
    /// The fuse opens once in each cell.
    pub(crate) trips: bool,
    /// Requests reach another cluster.
    pub(crate) misrouted: bool,
}

/// Quality with so many errors.
pub(crate) fn errors(share: f64) -> Quality {
    Quality {
        errors: share,
        ..Quality::default()
    }
}

/// Requests of a rollout.
#[derive(Clone, Debug)]
pub(crate) struct Traffic {
    /// Requests in a cell.
    pub(crate) requests: u64,
    /// By version, stable first.
    pub(crate) quality: Vec<Quality>,
    /// Label of the slow counter.
    pub(crate) slow_label: String,
    /// Share of the requests of which a copy goes to the first version beside stable; none: no strategy of copies.
    pub(crate) copies: Option<f64>,
    /// What was left over by kind and version.
    rest: BTreeMap<(&'static str, usize), f64>,
}

impl Traffic {
    pub(crate) fn new(requests: u64, quality: &[Quality]) -> Self {
        Self {
            requests,
            quality: quality.to_vec(),
            slow_label: "slow-above-100000us".to_owned(),
            copies: None,
            rest: BTreeMap::new(),
        }
    }

    /// The cell at these weights (per cent, stable first).
    pub(crate) fn cell(&mut self, index: i64, weights: &[f64]) -> Cell {
        let mut arms: Vec<_> = weights
            .iter()
            .enumerate()
            .map(|(version, weight)| {
                let share = match (self.copies, version) {
                    (Some(_), 0) => 1.0,
                    (Some(copied), _) => copied,
                    (None, _) => weight / 100.0,
                };
                self.arm(index, version, share)
            })
            .collect();
        let stable = arms.remove(0);
        Cell {
            index,
            stable,
            arms,
        }
    }

    fn arm(&mut self, index: i64, version: usize, share: f64) -> ArmCounts {
        let quality = self.quality.get(version).copied().unwrap_or_default();
        let meant = self.take("requests", version, self.requests as f64 * share);
        let fused = self.take("fused", version, meant as f64 * quality.fused);
        let total = meant - fused;
        let errors = self.take("errors", version, total as f64 * quality.errors);
        let slow = self.take("slow", version, total as f64 * quality.slow);
        let custom = self.take("custom", version, total as f64 * quality.custom);
        let sampled = total.div_ceil(64);
        let mut arm = ArmCounts {
            requests: grouped(index, total, errors),
            custom: BTreeMap::from([("refunds".to_owned(), Tally { total, bad: custom })]),
            fuse_trips: u64::from(quality.trips && meant > 0),
            sampled,
            misrouted: if quality.misrouted { sampled } else { 0 },
            ..ArmCounts::default()
        };
        if self.copies.is_some() {
            arm.requests = Grouped {
                ungrouped: arm.requests.tally(),
                ..Grouped::default()
            };
        }
        let slow = grouped(index, total, slow);
        let mut by_group = [0; 17];
        for (into, tally) in by_group.iter_mut().zip(&slow.groups) {
            *into = tally.bad;
        }
        arm.slow.insert(self.slow_label.clone(), by_group);
        for (into, tally) in arm
            .fused
            .iter_mut()
            .zip(&grouped(index, fused, fused).groups)
        {
            *into = tally.total;
        }
        arm
    }

    /// The whole part; the rest is kept for the next cell.
    fn take(&mut self, what: &'static str, version: usize, amount: f64) -> u64 {
        let rest = self.rest.entry((what, version)).or_default();
        *rest += amount;
        // A sum of shares that should be whole may fall short of it by rounding.
        let whole = (*rest + 1e-9).floor();
        *rest -= whole;
        whole as u64
    }
}

/// Spread evenly over the groups of users; the odd ones move on from cell to cell, as they do when no user is special.
fn grouped(index: i64, total: u64, bad: u64) -> Grouped {
    let share = |count: u64, group: u64| count / 16 + u64::from(group < count % 16);
    let mut found = Grouped::default();
    for (group, tally) in (0..).zip(found.groups.iter_mut()) {
        *tally = Tally {
            total: share(total, group),
            bad: share(bad, group),
        };
    }
    let turn = usize::try_from((index * 5).rem_euclid(16)).unwrap_or(0);
    found.groups.rotate_right(turn);
    found
}
