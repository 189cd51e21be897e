//! Looks ahead: how a rollout would go under traffic that is expected, by running the state machine of production on
//! synthetic cells, many times. Pure: time is counted in cells, randomness comes from a seed.

mod against;
pub mod engine;
mod outlook;
mod population;
mod summary;
mod traffic;
mod trial;
mod truth;
mod world;

pub use against::{CELL as RIVAL_CELL, Rival};
pub use outlook::{Outlook, outlook};
pub use population::Users;
pub use summary::{Share, Spread, Summary, Way};
pub use traffic::{Traffic, TrafficError};
pub use trial::{Conditions, trial};
pub use truth::{TRUTHS, Truth, Wanted};
pub use world::Course;

use rand::SeedableRng;
use rand::rngs::Xoshiro256PlusPlus;
use rayon::prelude::*;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::rollout::Refusal;
use engine::Design;

/// The generator of one run. Run 7 of all truths draws the same users, so that they are compared on equal terms; runs of
/// neighbouring seeds have nothing in common.
#[must_use]
pub fn generator(seed: u64, run: u64) -> Xoshiro256PlusPlus {
    Xoshiro256PlusPlus::seed_from_u64(xxh3_64_with_seed(&run.to_le_bytes(), seed))
}

/// Runs a truth `runs` times, on the threads of the present pool, and sums up. The result depends on the seed and not on
/// the threads; `done` is called after each run.
///
/// # Errors
/// [`Refusal`], when the file does not fit the grid.
pub fn simulate(
    conditions: &Conditions<'_>,
    truth: Truth,
    runs: u64,
    seed: u64,
    done: impl Fn() + Sync,
) -> Result<Summary, Refusal> {
    let courses: Vec<Course> = (0..runs)
        .into_par_iter()
        .map(|run| {
            let course = trial(conditions, truth, &mut generator(seed, run));
            done();
            course
        })
        .collect::<Result<_, _>>()?;
    let cell_seconds = conditions.grid.cell().as_secs_f64();
    Ok(Summary::of(&courses, cell_seconds))
}

/// The same under the rules of another system, until the same time is over.
#[must_use]
pub fn simulate_rival(
    rival: Rival,
    conditions: &Conditions<'_>,
    truth: Truth,
    runs: u64,
    seed: u64,
    done: impl Fn() + Sync,
) -> Summary {
    let design = Design::of(&conditions.source.plan);
    let horizon = u128::from(conditions.cells) * conditions.grid.cell().as_millis();
    let cells = u64::try_from(horizon / RIVAL_CELL.as_millis()).unwrap_or(u64::MAX);
    let courses: Vec<Course> = (0..runs)
        .into_par_iter()
        .map(|run| {
            let mut rng = generator(seed, run);
            let course = rival.trial(conditions.traffic, &design, truth, cells, &mut rng);
            done();
            course
        })
        .collect();
    Summary::of(&courses, RIVAL_CELL.as_secs_f64())
}

#[cfg(test)]
mod tests;
