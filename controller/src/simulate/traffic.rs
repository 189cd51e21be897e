//! What both variants count in a cell: Poisson numbers around the rates of the users on them.

use std::time::Duration;

use rand::Rng;
use rand_distr::{Distribution, Gamma, Poisson};

use super::engine::{Arm, Interval, USER_GROUPS};
use super::population::{Cohort, FAILING, KINDS, Users};
use crate::observation::Tally;
use crate::quantity::Fraction;

/// What is known of the traffic to come.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Traffic {
    /// All requests of the rollout in a minute, more than 0.
    pub requests_per_minute: f64,
    /// Share of stable's requests that fail, more than 0.
    pub error_rate: f64,
    /// Users who stay with their version; `None`: so many that nobody's luck matters.
    pub users: Option<Users>,
    /// Errors in a row that one cause makes, on average; at least 1, which is no burst.
    pub burst: f64,
}

/// Traffic that cannot be.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum TrafficError {
    /// No requests, or more than a day of a mesh holds.
    #[error("--requests-per-minute must be more than 0 and at most 1e9, but is {0}")]
    Requests(f64),
    /// Nothing to compare with.
    #[error(
        "--error-rate must be more than 0% and at most 50%, but is {0}: where stable never fails, give a small one, \
         such as 0.001%"
    )]
    ErrorRate(Fraction),
    /// Not a mean of whole numbers from 1 on.
    #[error("--bursts must be 1 to 1000 errors in a row on average, but is {0}")]
    Burst(f64),
    /// Too many to draw, or none.
    #[error("--users must be 1 to 1 000 000, but is {0}: for more, leave it out")]
    Users(u32),
    /// A share outside of 0 to 1.
    #[error("--failing must be two shares of 0% to 100%, such as 1%:50%, but is {0}:{1}")]
    Failing(Fraction, Fraction),
    /// The failing users alone fail more often than all together.
    #[error(
        "--failing: {failing} of the users who fail {rate} of the time make {alone} errors alone, more than \
         --error-rate {error_rate}: lower one of the two, or raise the error rate"
    )]
    Alone {
        /// Their share.
        failing: Fraction,
        /// How often they fail.
        rate: Fraction,
        /// Both multiplied.
        alone: Fraction,
        /// What was asked for.
        error_rate: Fraction,
    },
    /// Not an exponent that could be.
    #[error("--zipf must be 0 to 3, but is {0}")]
    Zipf(f64),
}

impl Traffic {
    /// Checks the numbers.
    ///
    /// # Errors
    /// [`TrafficError`] names the flag, and what to do.
    pub fn check(&self) -> Result<(), TrafficError> {
        let within = |value: f64, from: f64, to: f64| (from..=to).contains(&value);
        let requests = self.requests_per_minute;
        if !(requests > 0.0 && requests <= 1e9) {
            return Err(TrafficError::Requests(requests));
        }
        if !(self.error_rate > 0.0 && self.error_rate <= 0.5) {
            return Err(TrafficError::ErrorRate(Fraction(self.error_rate)));
        }
        if !within(self.burst, 1.0, 1000.0) {
            return Err(TrafficError::Burst(self.burst));
        }
        let Some(users) = self.users else {
            return Ok(());
        };
        if !(1..=1_000_000).contains(&users.count) {
            return Err(TrafficError::Users(users.count));
        }
        let (failing, rate) = (Fraction(users.failing), Fraction(users.failing_rate));
        if !(within(failing.0, 0.0, 1.0) && within(rate.0, 0.0, 1.0)) {
            return Err(TrafficError::Failing(failing, rate));
        }
        let alone = failing.0 * rate.0;
        if alone > self.error_rate {
            return Err(TrafficError::Alone {
                failing,
                rate,
                alone: Fraction(alone),
                error_rate: Fraction(self.error_rate),
            });
        }
        if !within(users.zipf, 0.0, 3.0) {
            return Err(TrafficError::Zipf(users.zipf));
        }
        Ok(())
    }

    /// How often each kind of users fails on stable, so that all together fail at the error rate.
    pub(super) fn rates(&self) -> [f64; KINDS] {
        match self.users {
            None => [self.error_rate; KINDS],
            Some(users) if users.failing >= 1.0 => [users.failing_rate; KINDS],
            Some(users) => {
                let others =
                    (self.error_rate - users.failing * users.failing_rate) / (1.0 - users.failing);
                let mut rates = [others.clamp(0.0, 1.0); KINDS];
                if let Some(failing) = rates.get_mut(FAILING)
                    && users.failing > 0.0
                {
                    *failing = users.failing_rate;
                }
                rates
            }
        }
    }

    /// Requests in a span of time, on average.
    pub(super) fn requests_in(&self, span: Duration) -> f64 {
        self.requests_per_minute * span.as_secs_f64() / 60.0
    }
}

/// Expected bad and good requests of a cell, by group.
#[derive(Clone, Debug, Default)]
pub(super) struct Expected {
    canary: [(f64, f64); USER_GROUPS],
    stable: [(f64, f64); USER_GROUPS],
}

impl Expected {
    /// Of `requests` in all, while the canary has `canary_share` of the users, and how often each kind fails where.
    pub(super) fn new(
        cohorts: &[Cohort],
        canary_share: f64,
        requests: f64,
        canary: [f64; KINDS],
        stable: [f64; KINDS],
    ) -> Self {
        let mut expected = Self::default();
        for cohort in cohorts {
            let (arm, rates) = if on_canary(cohort, canary_share) {
                (&mut expected.canary, canary)
            } else {
                (&mut expected.stable, stable)
            };
            for (groups, rate) in cohort.portions.iter().zip(rates) {
                for (sum, portion) in arm.iter_mut().zip(groups) {
                    sum.0 += requests * portion.requests * rate;
                    sum.1 += requests * portion.requests * (1.0 - rate);
                }
            }
        }
        expected
    }

    /// Draws a cell. Bad and good requests of users with fixed rates are independent Poisson numbers, and so are their
    /// sums, so one draw serves a whole group. Without sticky users nobody has a group.
    pub(super) fn draw<R: Rng>(&self, burst: f64, sticky: bool, rng: &mut R) -> Interval {
        let mut arm = |expected: &[(f64, f64); USER_GROUPS]| {
            let mut arm = Arm::default();
            if sticky {
                for (group, mean) in arm.groups.iter_mut().zip(expected) {
                    *group = tally(*mean, burst, rng);
                }
            } else {
                let sum = |all: (f64, f64), one: &(f64, f64)| (all.0 + one.0, all.1 + one.1);
                arm.ungrouped = tally(expected.iter().fold((0.0, 0.0), sum), burst, rng);
            }
            arm
        };
        Interval {
            canary: arm(&self.canary),
            stable: arm(&self.stable),
        }
    }
}

/// Whether a cohort is on the canary; a share is a whole number of 10 000 buckets, so a hair decides nothing.
pub(super) fn on_canary(cohort: &Cohort, canary_share: f64) -> bool {
    cohort.joins_at <= canary_share + 1e-9
}

fn tally<R: Rng>((bad, good): (f64, f64), burst: f64, rng: &mut R) -> Tally {
    let bad = if burst > 1.0 {
        bursts(bad, burst, rng)
    } else {
        poisson(bad, rng)
    };
    Tally {
        total: bad + poisson(good, rng),
        bad,
    }
}

/// Errors in geometric bursts of mean `burst`: `K` causes make `K` errors and a negative binomial number more, which is
/// a Poisson number around a Gamma one.
fn bursts<R: Rng>(mean: f64, burst: f64, rng: &mut R) -> u64 {
    let causes = poisson(mean / burst, rng);
    #[allow(clippy::cast_precision_loss, reason = "far below 2^53")]
    let shape = causes as f64;
    let more = Gamma::new(shape, burst - 1.0).map_or(0.0, |gamma| gamma.sample(rng));
    causes + if causes > 0 { poisson(more, rng) } else { 0 }
}

/// A Poisson number; 0 where the mean is none.
fn poisson<R: Rng>(mean: f64, rng: &mut R) -> u64 {
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a whole number, far below 2^53"
    )]
    let whole = |number: f64| number as u64;
    Poisson::new(mean).map_or(0, |law| whole(law.sample(rng)))
}

#[cfg(test)]
mod tests;
