//! The world of one simulated release: its users, what they send, and whom the canary harms.

use std::time::Duration;

use rand::Rng;

use super::engine::{Ending, Interval};
use super::population::{Cohort, KINDS, draw};
use super::traffic::{Expected, Traffic, on_canary};

/// How one release went.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Course {
    /// How it ended; `None`: it had not when the time was over.
    pub ending: Option<Ending>,
    /// Cells that it took.
    pub cells: u64,
    /// Requests to the canary while it was compared with stable, so before 100 %.
    pub compared: u64,
    /// Bad requests of the canary, also at 100 %.
    pub bad: u64,
    /// Users with at least one of them, in the mean over whose they are; where no users are counted, the bad requests.
    pub exposed: f64,
}

/// Users who have been drawn, and what has come of them so far.
pub(super) struct World {
    traffic: Traffic,
    /// Whether users stay with their version.
    sticky: bool,
    /// Requests of a cell, on average.
    requests: f64,
    cohorts: Vec<Cohort>,
    stable: [f64; KINDS],
    canary: [f64; KINDS],
    share: f64,
    expected: Expected,
    /// Bad answers that a user of each cohort and kind has had, on average.
    met: Vec<[f64; KINDS]>,
    cells: u64,
    compared: u64,
    bad: u64,
}

impl World {
    /// Draws the users. `weights` are the shares that the canary will have before 100 %; `canary_rate` says how often a
    /// user's request fails there who fails so often on stable.
    pub(super) fn new<R: Rng>(
        traffic: Traffic,
        sticky: bool,
        weights: &[f64],
        canary_rate: impl Fn(f64) -> f64,
        cell: Duration,
        rng: &mut R,
    ) -> Self {
        let cohorts = draw(traffic.users, weights, rng);
        let stable = traffic.rates();
        Self {
            traffic,
            sticky,
            requests: traffic.requests_in(cell),
            met: vec![[0.0; KINDS]; cohorts.len()],
            cohorts,
            stable,
            canary: stable.map(canary_rate),
            share: f64::NAN,
            expected: Expected::default(),
            cells: 0,
            compared: 0,
            bad: 0,
        }
    }

    /// What both variants count in the next cell, while the canary has `share` of the users.
    pub(super) fn pass<R: Rng>(&mut self, share: f64, rng: &mut R) -> Interval {
        if share != self.share {
            self.share = share;
            self.expected = Expected::new(
                &self.cohorts,
                share,
                self.requests,
                self.canary,
                self.stable,
            );
        }
        let interval = self.expected.draw(self.traffic.burst, self.sticky, rng);
        let seen = interval.canary.tally();
        self.cells += 1;
        self.bad += seen.bad;
        if share < 1.0 {
            self.compared += seen.total;
        }
        self.expose();
        interval
    }

    /// What users count who are on stable, those of one cohort alone.
    pub(super) fn stable_cohort<R: Rng>(&self, index: usize, rng: &mut R) -> Interval {
        let alone = self.cohorts.get(index..=index).unwrap_or_default();
        Expected::new(alone, 0.0, self.requests, self.canary, self.stable).draw(
            self.traffic.burst,
            self.sticky,
            rng,
        )
    }

    fn expose(&mut self) {
        let causes = self.requests / self.traffic.burst;
        for (met, cohort) in self.met.iter_mut().zip(&self.cohorts) {
            if !on_canary(cohort, self.share) {
                continue;
            }
            for ((met, portions), rate) in met.iter_mut().zip(&cohort.portions).zip(self.canary) {
                let users: f64 = portions.iter().map(|portion| portion.users).sum();
                let requests: f64 = portions.iter().map(|portion| portion.requests).sum();
                if users > 0.0 {
                    *met += causes * requests * rate / users;
                }
            }
        }
    }

    pub(super) fn cells(&self) -> u64 {
        self.cells
    }

    pub(super) fn course(&self, ending: Option<Ending>) -> Course {
        Course {
            ending,
            cells: self.cells,
            compared: self.compared,
            bad: self.bad,
            exposed: match self.traffic.users {
                Some(_) => self.exposed(),
                #[allow(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
                None => self.bad as f64,
            },
        }
    }

    /// Users with at least one bad answer, as if those of a cohort and kind were equally active, which makes it at most
    /// so many.
    fn exposed(&self) -> f64 {
        let cohorts = self.met.iter().zip(&self.cohorts);
        let kinds = cohorts.flat_map(|(met, cohort)| met.iter().zip(&cohort.portions));
        kinds
            .map(|(met, portions)| {
                let users: f64 = portions.iter().map(|portion| portion.users).sum();
                users * -(-met).exp_m1()
            })
            .sum()
    }
}
