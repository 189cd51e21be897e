//! How long a design takes, by formula: the planning of statistics 1.11, for each gate and for a doubled error rate.
//!
//! The formula is pessimistic by about 30 %, because neighbouring effect sizes help, and leaves out the margin for the
//! luck of sticky users, which costs about as much where they are alike: with product.md's gates it says about 6, 5, 8
//! and 1.8 h where the medians of 40 simulated releases were 6.3, 5.8, 8.1 and 1.7 h (300 requests/min with 0.1 % and with
//! 1 % errors, 60 with 5 %, 1 000 with 0.1 %). Where few users carry the errors it is far too hopeful: there only
//! [`super::simulate`] tells.

use std::time::Duration;

use super::engine::Design;
use crate::stats::planning::{Expectation, Plan, log_e_to_reach};
use crate::stats::poisson::{Direction, Line};

/// When a design decides.
#[derive(Clone, Debug, PartialEq)]
pub struct Outlook {
    /// Time that a healthy release spends on each step, on average; from the first that it never leaves on there is none.
    pub steps: Vec<Option<Duration>>,
    /// Time from the begin, at the weight of the last step, until a release with twice the errors is rolled back; `None`
    /// where it never is.
    pub twice: Option<Duration>,
}

impl Outlook {
    /// Time until a healthy release is at 100 %; `None`: never.
    #[must_use]
    pub fn to_promote(&self) -> Option<Duration> {
        self.steps
            .iter()
            .copied()
            .try_fold(Duration::ZERO, |sum, step| Some(sum.saturating_add(step?)))
    }
}

/// Plans a design under `requests_per_minute` of all traffic, `error_rate` of which fail on stable. Both must be more
/// than 0.
#[must_use]
pub fn outlook(design: &Design, requests_per_minute: f64, error_rate: f64) -> Outlook {
    let time = |canary_requests: f64, weight: f64| {
        let minutes = canary_requests / (requests_per_minute * weight);
        // More than a clock holds is never.
        Duration::try_from_secs_f64(minutes * 60.0).ok()
    };
    let plan = |truth: f64, line: Line, weight: f64| {
        let expectation = Expectation {
            p_s: error_rate,
            true_ratio: truth,
            line,
            canary_per_stable: weight / (1.0 - weight),
        };
        expectation.plan()
    };
    let (harm, gate_level) = design.levels;
    // Evidence goes on multiplying: what the earlier steps have earned for a gate is kept.
    let mut spent: Vec<(f64, f64)> = Vec::new();
    let mut steps = Vec::new();
    for (weight, gate) in &design.steps {
        let prior = nearest(Direction::Success, error_rate / gate.at(error_rate));
        let better = error_rate < gate.at(error_rate);
        let growth = |plan: Option<Plan>| plan.map_or(0.0, |plan| plan.growth_per_canary_request);
        let earned: f64 = spent
            .iter()
            .map(|(weight, requests)| requests * growth(plan(1.0, *gate, *weight)))
            .sum();
        let requests = prior
            .filter(|_| better)
            .zip(plan(1.0, *gate, *weight))
            .and_then(|(prior, plan)| {
                plan.canary_requests(log_e_to_reach(gate_level, prior) - earned)
            });
        steps.push(requests.and_then(|requests| time(requests, *weight)));
        let Some(requests) = requests else { break };
        spent.push((*weight, requests));
    }
    let twice = design.steps.last().and_then(|(weight, _)| {
        let line = design.tolerance;
        let ratio = 2.0 * error_rate / line.at(error_rate);
        let prior = nearest(Direction::Harm, ratio).filter(|_| ratio > 1.0)?;
        let requests = plan(2.0, line, *weight)?.canary_requests(log_e_to_reach(harm, prior))?;
        time(requests, *weight)
    });
    // The steps after one that is never left are never reached.
    steps.resize(design.steps.len(), None);
    Outlook { steps, twice }
}

/// The prior weight of the effect size that lies nearest, cash left out.
fn nearest(direction: Direction, ratio: f64) -> Option<f64> {
    let far = |other: f64| (other.ln() - ratio.ln()).abs();
    let bets = direction.grid().iter().filter(|bet| bet.ratio != 1.0);
    bets.min_by(|a, b| far(a.ratio).total_cmp(&far(b.ratio)))
        .map(|bet| bet.weight)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{source, text};

    fn design() -> Design {
        Design::of(&source(&text()).plan)
    }

    #[test]
    fn less_traffic_takes_as_much_longer() {
        let fast = outlook(&design(), 6000.0, 0.01).to_promote().unwrap();
        let slow = outlook(&design(), 60.0, 0.01).to_promote().unwrap();
        assert!((slow.as_secs_f64() / fast.as_secs_f64() - 100.0).abs() < 1e-6);
    }

    #[test]
    fn ten_requests_a_minute_at_a_thousandth_need_weeks_for_a_doubled_rate() {
        let twice = outlook(&design(), 10.0, 0.001).twice.unwrap();
        assert!(twice > Duration::from_secs(7 * 86_400), "{twice:?}");
    }

    #[test]
    fn a_gate_inside_the_truth_is_never_left_and_nothing_after_it_reached() {
        let mut design = design();
        design.steps[1].1 = Line {
            theta: 1.0,
            delta: 0.0,
        };
        let outlook = outlook(&design, 6000.0, 0.01);
        assert!(outlook.steps[0].is_some());
        assert_eq!(outlook.steps[1..], [None, None]);
        assert_eq!(outlook.to_promote(), None);
    }

    #[test]
    fn twice_the_errors_within_the_tolerance_are_never_found() {
        assert_eq!(outlook(&design(), 1e6, 0.0001).twice, None);
    }
}
