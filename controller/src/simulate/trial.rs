//! One simulated release from its begin to its end.

use rand::Rng;

use super::engine::{Design, Ending, Engine};
use super::population::{Cohort, KINDS, draw};
use super::traffic::{Expected, Traffic, on_canary};
use super::truth::Truth;
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
    /// Users with at least one of them, on average over which; where no users are counted, the bad requests.
    pub exposed: f64,
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
    let cohorts = draw(traffic.users, &weights, rng);
    let stable = traffic.rates();
    let canary = canary_rates(&design, traffic, truth);
    let requests = traffic.requests_in(grid.cell());
    let mut engine = Engine::begin(source, grid, 0)?;
    let mut share = f64::NAN;
    let mut expected = Expected::default();
    let mut course = Course {
        ending: None,
        cells: 0,
        compared: 0,
        bad: 0,
        exposed: 0.0,
    };
    let mut exposure = Exposure::new(&cohorts);
    while course.ending.is_none() && course.cells < cells {
        if engine.canary_share() != share {
            share = engine.canary_share();
            expected = Expected::new(&cohorts, share, requests, canary, stable);
        }
        let interval = expected.draw(traffic.burst, design.sticky, rng);
        let seen = interval.canary.tally();
        if share < 1.0 {
            course.compared += seen.total;
        }
        course.bad += seen.bad;
        exposure.add(&cohorts, share, requests / traffic.burst, canary);
        engine.pass(&interval);
        course.cells += 1;
        course.ending = engine.ending();
    }
    course.exposed = match traffic.users {
        Some(_) => exposure.users(&cohorts),
        #[allow(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
        None => course.bad as f64,
    };
    Ok(course)
}

fn canary_rates(design: &Design, traffic: Traffic, truth: Truth) -> [f64; KINDS] {
    let factor = truth.factor(design, traffic.error_rate);
    traffic.rates().map(|rate| match truth {
        Truth::Outage => 1.0,
        _ => (rate * factor).min(1.0),
    })
}

/// How many bad answers a user of each cohort and kind has had on average.
struct Exposure(Vec<[f64; KINDS]>);

impl Exposure {
    fn new(cohorts: &[Cohort]) -> Self {
        Self(vec![[0.0; KINDS]; cohorts.len()])
    }

    fn add(&mut self, cohorts: &[Cohort], share: f64, causes: f64, rates: [f64; KINDS]) {
        for (met, cohort) in self.0.iter_mut().zip(cohorts) {
            if !on_canary(cohort, share) {
                continue;
            }
            for ((met, portions), rate) in met.iter_mut().zip(&cohort.portions).zip(rates) {
                let users: f64 = portions.iter().map(|portion| portion.users).sum();
                let requests: f64 = portions.iter().map(|portion| portion.requests).sum();
                if users > 0.0 {
                    *met += causes * requests * rate / users;
                }
            }
        }
    }

    /// Users who met at least one bad answer, were all of a cohort and kind equally active: at most so many.
    fn users(&self, cohorts: &[Cohort]) -> f64 {
        let cohorts = self.0.iter().zip(cohorts);
        let kinds = cohorts.flat_map(|(met, cohort)| met.iter().zip(&cohort.portions));
        kinds
            .map(|(met, portions)| {
                let users: f64 = portions.iter().map(|portion| portion.users).sum();
                users * -(-met).exp_m1()
            })
            .sum()
    }
}
