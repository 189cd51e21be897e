//! Independent requests: what a minute brings of the canary, of stable, and of a baseline as large as the canary.

use rand::SeedableRng;
use rand::rngs::Xoshiro256PlusPlus;
use rand_distr::{Binomial, Distribution, Geometric, Poisson};
use serin_controller::stats::poisson::{Counts, Line};

/// One-minute looks of a release.
pub(crate) const LOOKS: u32 = 60;

/// The traffic of one release.
#[derive(Clone, Copy)]
pub(crate) struct Traffic {
    /// Canary requests a look at a weight of 10 %.
    pub(crate) rpm: f64,
    /// Bad-event probability of stable.
    pub(crate) base: f64,
    /// The canary's is `theta * p_s + delta`.
    pub(crate) truth: Line,
    pub(crate) shape: Shape,
}

/// How traffic changes over the looks.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Shape {
    /// 10 % of constant traffic.
    Steady,
    /// The base rate rises from half to twice its size while the weight goes from 1 to 5, 25 and 50 %.
    Drift,
    /// Bad events come in bursts of geometric length with this mean, at this weight.
    Bursts { mean: f64, weight: f64 },
}

/// What a look shows.
pub(crate) struct Look {
    pub(crate) counts: Counts,
    /// Bad events of a baseline with as many requests as the canary.
    pub(crate) bad_baseline: f64,
}

/// The looks of run `seed`.
pub(crate) struct Stream {
    traffic: Traffic,
    rng: Xoshiro256PlusPlus,
    look: u32,
}

impl Traffic {
    pub(crate) fn stream(self, seed: u64) -> Stream {
        Stream {
            traffic: self,
            rng: Xoshiro256PlusPlus::seed_from_u64(seed),
            look: 0,
        }
    }

    /// Requests that the canary has had after so many looks.
    pub(crate) fn canary_requests(&self, looks: u32) -> f64 {
        (0..looks).map(|look| self.arms(look).0).sum()
    }

    /// Requests of the canary and of stable in a look.
    fn arms(&self, look: u32) -> (f64, f64) {
        let all = 10.0 * self.rpm;
        let weight = match self.shape {
            Shape::Steady => 0.1,
            Shape::Drift => [0.01, 0.05, 0.25, 0.5][(look * 4 / LOOKS) as usize],
            Shape::Bursts { weight, .. } => weight,
        };
        let canary = (all * weight).round();
        (canary, all - canary)
    }

    fn p_s(&self, look: u32) -> f64 {
        match self.shape {
            Shape::Drift => self.base * (0.5 + 1.5 * f64::from(look) / f64::from(LOOKS - 1)),
            Shape::Steady | Shape::Bursts { .. } => self.base,
        }
    }
}

impl Stream {
    pub(crate) fn next(&mut self) -> Look {
        let traffic = self.traffic;
        let (total_canary, total_stable) = traffic.arms(self.look);
        let p_s = traffic.p_s(self.look);
        let p_c = traffic.truth.at(p_s).min(1.0);
        self.look += 1;
        Look {
            counts: Counts {
                bad_canary: self.bad(total_canary, p_c),
                total_canary,
                bad_stable: self.bad(total_stable, p_s),
                total_stable,
            },
            bad_baseline: self.bad(total_canary, p_s),
        }
    }

    fn bad(&mut self, total: f64, p: f64) -> f64 {
        let rng = &mut self.rng;
        let Shape::Bursts { mean, .. } = self.traffic.shape else {
            return Binomial::new(total as u64, p).unwrap().sample(rng) as f64;
        };
        let bursts: f64 = Poisson::new(total * p / mean).unwrap().sample(rng);
        // Failures before the first success, so one less than the length.
        let length = Geometric::new(1.0 / mean).unwrap();
        let bad: u64 = (0..bursts as u64).map(|_| 1 + length.sample(rng)).sum();
        (bad as f64).min(total)
    }
}
