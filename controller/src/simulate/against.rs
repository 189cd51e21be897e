//! The same users and the same traffic under the rules of other systems, with the settings that their documentation
//! shows. The rules are [`crate::rivals`]'; here are the weights and the rhythm around them.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use rand::Rng;
use serde::Serialize;

use super::engine::{By, Design, Ending};
use super::traffic::Traffic;
use super::truth::Truth;
use super::world::{Course, World};
use crate::observation::Tally;
use crate::rivals::argo::{Argo, Condition, Metric};
use crate::rivals::flagger::{Flagger, ThresholdRange};
use crate::rivals::kayenta::{
    Direction, JudgedMetric, KayentaConfig, ScoreClassification, ScoreConfig, judge, score,
};
use crate::rivals::{Decision, Observation};

/// A system to compare with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Rival {
    /// Flagger's failed checks.
    Flagger,
    /// Argo Rollouts' analysis in the background.
    Argo,
    /// Kayenta's rank test.
    Kayenta,
}

/// Time between two looks at the world: as often as Argo asks again after an error.
pub const CELL: Duration = Duration::from_secs(10);
/// Cells of a minute.
const MINUTE: u64 = 6;

/// Flagger's tutorial for Istio.
const FLAGGER_WEIGHTS: [f64; 5] = [0.1, 0.2, 0.3, 0.4, 0.5];
const FLAGGER_THRESHOLD: u32 = 5;
const FLAGGER_MIN_SUCCESS: f64 = 99.0;
/// Argo's documentation of analysis in the background.
const ARGO_WEIGHTS: [f64; 4] = [0.2, 0.4, 0.6, 0.8];
const ARGO_STEP: u64 = 10 * MINUTE;
const ARGO_INTERVAL: u64 = 5 * MINUTE;
const ARGO_MIN_SUCCESS: f64 = 0.95;
const ARGO_FAILURE_LIMIT: u32 = 3;
/// Kayenta's advice: a baseline of the same size, at least 50 points.
const KAYENTA_WEIGHT: f64 = 0.1;
const KAYENTA_POINTS: u64 = 60;

impl Rival {
    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Flagger => "Flagger",
            Self::Argo => "Argo Rollouts",
            Self::Kayenta => "Kayenta",
        }
    }

    /// Its settings, in one sentence.
    #[must_use]
    pub fn settings(self) -> &'static str {
        match self {
            Self::Flagger => {
                "interval 1m, threshold 5, stepWeight 10, maxWeight 50, request-success-rate of at least 99 over 1m"
            }
            Self::Argo => {
                "weights 20, 40, 60, 80 for 10m each; from the second on a measurement each 5m of the last 5m, \
                 successCondition result[0] >= 0.95, failureLimit 3, consecutiveErrorLimit 4"
            }
            Self::Kayenta => {
                "canary and baseline of 10 % each, one judgement after 60 points of 1m, direction increase, \
                 allowedIncrease 1, pass 95, marginal 75"
            }
        }
    }

    /// The shares that its canary has before 100 %; a baseline is on stable.
    fn weights(self) -> &'static [f64] {
        match self {
            Self::Flagger => &FLAGGER_WEIGHTS,
            Self::Argo => &ARGO_WEIGHTS,
            Self::Kayenta => &[KAYENTA_WEIGHT, 2.0 * KAYENTA_WEIGHT],
        }
    }

    /// Runs one release under its rules, in cells of [`CELL`], of which at most `cells` pass. The truth is measured by
    /// our design: "at the tolerance" is at ours.
    #[must_use]
    pub fn trial<R: Rng>(
        self,
        traffic: Traffic,
        design: &Design,
        truth: Truth,
        cells: u64,
        rng: &mut R,
    ) -> Course {
        let canary = |rate| truth.user_rate(design, traffic.error_rate, rate);
        let mut world = World::new(traffic, design.sticky, self.weights(), canary, CELL, rng);
        let ending = match self {
            Self::Flagger => flagger(&mut world, cells, rng),
            Self::Argo => argo(&mut world, cells, rng),
            Self::Kayenta => kayenta(&mut world, cells, rng),
        };
        world.course(ending)
    }
}

/// Counts of a minute's cells; `None` when the time is over.
fn minute<R: Rng>(world: &mut World, share: f64, cells: u64, rng: &mut R) -> Option<Tally> {
    let mut sum = Tally::default();
    for _ in 0..MINUTE {
        if world.cells() >= cells {
            return None;
        }
        sum.add(world.pass(share, rng).canary.tally());
    }
    Some(sum)
}

/// The share of good requests, as a query of counters gives it: no series, no value.
fn success(tally: Tally, scale: f64) -> Observation {
    if tally.total == 0 {
        Observation::NoData
    } else {
        Observation::Value(scale * (1.0 - tally.rate()))
    }
}

fn flagger<R: Rng>(world: &mut World, cells: u64, rng: &mut R) -> Option<Ending> {
    let ranges = vec![ThresholdRange::at_least(FLAGGER_MIN_SUCCESS)];
    let mut flagger = Flagger::new(ranges, FLAGGER_THRESHOLD);
    let mut weights = FLAGGER_WEIGHTS.iter();
    let mut weight = *weights.next()?;
    loop {
        let seen = minute(world, weight, cells, rng)?;
        match flagger.tick(&[success(seen, 100.0)]) {
            Decision::Advance | Decision::Succeed => match weights.next() {
                Some(next) => weight = *next,
                None => return Some(Ending::Promoted),
            },
            Decision::Hold => {}
            Decision::Pause => return Some(Ending::Held),
            Decision::RollBack => return Some(Ending::Stopped(By::Judge)),
        }
    }
}

fn argo<R: Rng>(world: &mut World, cells: u64, rng: &mut R) -> Option<Ending> {
    let mut analysis = Argo::new(vec![Metric {
        success: Some(Condition::AtLeast(ARGO_MIN_SUCCESS)),
        failure_limit: Some(ARGO_FAILURE_LIMIT),
        ..Metric::default()
    }]);
    let mut window: VecDeque<Tally> = VecDeque::new();
    // The analysis begins with the second weight.
    let mut next_measurement = ARGO_STEP;
    for (cell, weight) in ARGO_WEIGHTS
        .iter()
        .flat_map(|weight| (0..ARGO_STEP).map(move |_| weight))
        .enumerate()
    {
        if world.cells() >= cells {
            return None;
        }
        let now = cell as u64;
        if now == next_measurement {
            let mut sum = Tally::default();
            window.iter().for_each(|tally| sum.add(*tally));
            let observation = success(sum, 1.0);
            match analysis.tick(&[observation]) {
                Decision::RollBack => return Some(Ending::Stopped(By::Judge)),
                Decision::Pause => return Some(Ending::Held),
                Decision::Advance | Decision::Hold | Decision::Succeed => {}
            }
            // An error is measured again after 10 s, which is a cell.
            let again = observation == Observation::NoData;
            next_measurement += if again { 1 } else { ARGO_INTERVAL };
        }
        if window.len() as u64 >= ARGO_INTERVAL {
            window.pop_front();
        }
        window.push_back(world.pass(*weight, rng).canary.tally());
    }
    match analysis.terminate() {
        Decision::RollBack => Some(Ending::Stopped(By::Judge)),
        Decision::Pause => Some(Ending::Held),
        Decision::Succeed | Decision::Advance | Decision::Hold => Some(Ending::Promoted),
    }
}

fn kayenta<R: Rng>(world: &mut World, cells: u64, rng: &mut R) -> Option<Ending> {
    let (mut control, mut experiment) = (Vec::new(), Vec::new());
    // No requests, no point: 0/0 is NaN, and removed.
    let point = |tally: Tally| {
        if tally.total == 0 {
            f64::NAN
        } else {
            tally.rate()
        }
    };
    for _ in 0..KAYENTA_POINTS {
        let canary = minute(world, KAYENTA_WEIGHT, cells, rng)?;
        let mut baseline = Tally::default();
        for _ in 0..MINUTE {
            baseline.add(world.stable_cohort(1, rng).stable.tally());
        }
        experiment.push(point(canary));
        control.push(point(baseline));
    }
    let config = KayentaConfig {
        direction: Direction::Increase,
        ..KayentaConfig::default()
    };
    let errors = JudgedMetric {
        classification: judge(&control, &experiment, &config),
        groups: vec!["errors".to_owned()],
    };
    let thresholds = ScoreConfig {
        group_weights: BTreeMap::new(),
        pass: 95.0,
        marginal: 75.0,
    };
    Some(match score(&[errors], &thresholds).classification {
        ScoreClassification::Fail => Ending::Stopped(By::Judge),
        ScoreClassification::Pass | ScoreClassification::Marginal => Ending::Promoted,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{source, text};
    use crate::simulate::{Summary, generator};

    fn run(rival: Rival, requests_per_minute: f64, error_rate: f64, truth: Truth) -> Summary {
        let design = Design::of(&source(&text()).plan);
        let traffic = Traffic {
            requests_per_minute,
            error_rate,
            users: None,
            burst: 1.0,
        };
        let courses: Vec<_> = (0..100)
            .map(|run| rival.trial(traffic, &design, truth, 8640, &mut generator(1, run)))
            .collect();
        Summary::of(&courses, CELL.as_secs_f64())
    }

    #[test]
    fn flagger_without_traffic_rolls_back_one_tick_after_the_fifth_failed_check() {
        let summary = run(Rival::Flagger, 1e-6, 0.001, Truth::Ratio(1.0));
        assert_eq!(summary.by_judge.count, 100);
        assert_eq!(summary.rolled_back.seconds.unwrap().p90, 360.0);
    }

    #[test]
    fn flagger_on_its_limit_rolls_back_what_is_healthy() {
        let summary = run(Rival::Flagger, 600.0, 0.01, Truth::Ratio(1.0));
        assert!(summary.by_judge.share > 0.1, "{summary:?}");
        // And where errors are rare it lets five times as many through in five checks.
        let summary = run(Rival::Flagger, 6000.0, 0.001, Truth::Ratio(5.0));
        assert_eq!(summary.promoted.share.count, 100, "{summary:?}");
        assert_eq!(summary.promoted.seconds.unwrap().median, 300.0);
    }

    #[test]
    fn argo_without_traffic_aborts_after_five_errors_in_40_seconds() {
        let summary = run(Rival::Argo, 1e-6, 0.001, Truth::Ratio(1.0));
        assert_eq!(summary.by_judge.count, 100);
        assert_eq!(summary.rolled_back.seconds.unwrap().p90, 640.0);
    }

    #[test]
    fn argo_with_its_usual_condition_promotes_whatever_fails_less_than_a_twentieth() {
        let summary = run(Rival::Argo, 6000.0, 0.01, Truth::Ratio(2.0));
        assert_eq!(summary.promoted.share.count, 100);
        let summary = run(Rival::Argo, 6000.0, 0.01, Truth::Outage);
        assert_eq!(summary.by_judge.count, 100);
        // Four failures: at 10, 15, 20 and 25 minutes.
        assert_eq!(summary.rolled_back.seconds.unwrap().median, 1500.0);
    }

    #[test]
    fn kayenta_needs_its_hour() {
        let summary = run(Rival::Kayenta, 20_000.0, 0.01, Truth::Ratio(2.0));
        assert!(summary.by_judge.share > 0.95, "{summary:?}");
        assert_eq!(summary.rolled_back.seconds.unwrap().median, 3600.0);
        let summary = run(Rival::Kayenta, 20_000.0, 0.01, Truth::Ratio(1.0));
        assert!(summary.by_judge.share < 0.1, "{summary:?}");
    }
}
