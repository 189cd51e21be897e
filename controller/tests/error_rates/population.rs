//! Users who differ, are assigned once, and send requests: what two arms count by hash group.

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};
use rand_distr::{Distribution, Poisson};
use serin_controller::stats::user_mix::{GROUPS, GroupTotals};

/// Who the users are.
#[derive(Clone, Copy)]
pub(crate) struct Population {
    pub(crate) users: u32,
    /// Share of the users who fail often.
    pub(crate) bad_users: f64,
    /// How often those fail.
    pub(crate) p_bad: f64,
    /// How often the others fail.
    pub(crate) p_good: f64,
    /// Activity falls with the user's rank to this power (Zipf); 0 where all send as many requests.
    pub(crate) zipf: f64,
}

/// One release: who is on which arm has been drawn and stays.
pub(crate) struct Release {
    rng: Xoshiro256PlusPlus,
    canary: Arm,
    stable: Arm,
}

/// Expected bad and good requests a look, by group.
type Arm = [(f64, f64); GROUPS];

impl Release {
    /// Draws who fails often, the arm and the group of each user. `canary_requests` is the expected number a look;
    /// `ratio` says by what the canary multiplies everyone's probability, given the rate of the whole population.
    pub(crate) fn new(
        population: Population,
        weight: f64,
        canary_requests: f64,
        ratio: impl Fn(f64) -> f64,
        seed: u64,
    ) -> Self {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
        let rank = |user: u32| match population.zipf {
            0.0 => 1.0,
            power => f64::from(user + 1).powf(-power),
        };
        let activity = canary_requests / weight / (0..population.users).map(rank).sum::<f64>();
        let mut user = |user: u32| {
            let bad = rng.random::<f64>() < population.bad_users;
            (
                activity * rank(user),
                if bad {
                    population.p_bad
                } else {
                    population.p_good
                },
            )
        };
        let users: Vec<(f64, f64)> = (0..population.users).map(&mut user).collect();
        let rate =
            users.iter().map(|(requests, p)| requests * p).sum::<f64>() * weight / canary_requests;
        let ratio = ratio(rate);
        let (mut canary, mut stable) = (Arm::default(), Arm::default());
        for (requests, p) in users {
            let on_canary = rng.random::<f64>() < weight;
            let group = rng.random_range(0..GROUPS);
            let (arm, p) = if on_canary {
                (&mut canary, (p * ratio).min(1.0))
            } else {
                (&mut stable, p)
            };
            arm[group].0 += requests * p;
            arm[group].1 += requests * (1.0 - p);
        }
        Self {
            rng,
            canary,
            stable,
        }
    }

    /// What both arms count in the next look. Bad and good requests of users with fixed rates are independent Poisson
    /// numbers, and so are their sums, so one draw serves a whole group.
    pub(crate) fn look(&mut self) -> (GroupTotals, GroupTotals) {
        let rng = &mut self.rng;
        let mut count = |arm: &Arm| {
            let mut totals = GroupTotals::default();
            for (group, (bad, good)) in totals.groups.iter_mut().zip(arm) {
                group.bad = poisson(rng, *bad);
                group.total = group.bad + poisson(rng, *good);
            }
            totals
        };
        (count(&self.canary), count(&self.stable))
    }
}

fn poisson(rng: &mut Xoshiro256PlusPlus, mean: f64) -> f64 {
    // A group that nobody is in has a mean of 0, which is no distribution.
    Poisson::new(mean).map_or(0.0, |poisson| poisson.sample(rng))
}
