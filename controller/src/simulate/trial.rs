//! One simulated release of ours, from its begin to its end.

use rand::Rng;

use super::engine::{Design, Engine};
use super::traffic::Traffic;
use super::truth::Truth;
use super::world::{Course, World};
use crate::cells::Grid;
use crate::rollout::Refusal;
use crate::source::Source;

/// What a release is tried under.
#[derive(Clone, Copy, Debug)]
pub struct Conditions<'s> {
    /// The rollout.
    pub source: &'s Source,
    /// Cells and lag of the installation.
    pub grid: Grid,
    /// What is sent.
    pub traffic: Traffic,
    /// Cells after which the release counts as undecided.
    pub cells: u64,
}

/// Runs one release. The same `rng` gives the same course.
///
/// # Errors
/// [`Refusal`], when the file does not fit the grid.
pub fn trial<R: Rng>(
    conditions: &Conditions<'_>,
    truth: Truth,
    rng: &mut R,
) -> Result<Course, Refusal> {
    let Conditions {
        source,
        grid,
        traffic,
        cells,
    } = *conditions;
    let design = Design::of(&source.plan);
    let weights: Vec<f64> = design.steps.iter().map(|(weight, _)| *weight).collect();
    let canary = |rate| truth.user_rate(&design, traffic.error_rate, rate);
    let mut world = World::new(traffic, design.sticky, &weights, canary, grid.cell(), rng);
    let mut engine = Engine::begin(source, grid, 0)?;
    while engine.ending().is_none() && world.cells() < cells {
        let interval = world.pass(engine.canary_share(), rng);
        engine.pass(&interval);
    }
    Ok(world.course(engine.ending()))
}
