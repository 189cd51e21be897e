//! Users who differ, are assigned once, and send requests: what two arms count by hash group.

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};
use serin_controller::stats::user_mix::{GROUPS, GroupTotals};
use statrs::function::gamma::ln_gamma;

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
        let rank = |user: u32| f64::from(user + 1).powf(-population.zipf);
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

/// A Poisson number: by multiplication for small means, else by Hörmann's transformed rejection (PTRS, 1993).
fn poisson(rng: &mut Xoshiro256PlusPlus, mean: f64) -> f64 {
    if mean < 10.0 {
        let limit = (-mean).exp();
        let (mut product, mut count) = (rng.random::<f64>(), 0.0);
        while product > limit {
            product *= rng.random::<f64>();
            count += 1.0;
        }
        return count;
    }
    let b = 0.931 + 2.53 * mean.sqrt();
    let a = -0.059 + 0.02483 * b;
    let inverse_alpha = 1.1239 + 1.1328 / (b - 3.4);
    let v_r = 0.9277 - 3.6224 / (b - 2.0);
    loop {
        let u = rng.random::<f64>() - 0.5;
        let v = rng.random::<f64>();
        let us = 0.5 - u.abs();
        let k = ((2.0 * a / us + b) * u + mean + 0.43).floor();
        if us >= 0.07 && v <= v_r {
            return k;
        }
        if k < 0.0 || (us < 0.013 && v > us) {
            continue;
        }
        let accept = (v * inverse_alpha / (a / (us * us) + b)).ln();
        if accept <= k * mean.ln() - mean - ln_gamma(k + 1.0) {
            return k;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn poisson_numbers_have_their_mean_and_variance() {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
        for mean in [0.3, 7.0, 12.0, 250.0, 20_000.0] {
            let draws: Vec<f64> = (0..20_000).map(|_| poisson(&mut rng, mean)).collect();
            let average = draws.iter().sum::<f64>() / 20_000.0;
            let variance = draws.iter().map(|x| (x - average).powi(2)).sum::<f64>() / 19_999.0;
            // Five standard errors each.
            assert!(
                (average - mean).abs() < 5.0 * (mean / 20_000.0).sqrt(),
                "{mean}: mean {average}"
            );
            let spread = ((2.0 * mean * mean + mean) / 20_000.0).sqrt();
            assert!(
                (variance - mean).abs() < 5.0 * spread,
                "{mean}: variance {variance}"
            );
        }
    }
}
