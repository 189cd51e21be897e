//! Designs that cannot decide, or not in time: what the numbers of a file come to (statistics 1.11). Pure.

use std::time::Duration;

use crate::quantity::{Fraction, Span};
use crate::simulate::engine::Design;
use crate::simulate::{Outlook, outlook};
use crate::stats::poisson::Line;
use crate::validate::Problem;

/// What is known of the traffic.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Expected {
    /// Requests of the rollout in a minute, more than 0.
    pub(super) requests_per_minute: f64,
    /// Share of stable's that fail, more than 0.
    pub(super) error_rate: f64,
}

const TOLERANCE: &str = "spec.analysis.metrics[0].tolerance";
/// A margin so wide that a unit was forgotten.
const WIDE: f64 = 0.05;
/// A step that takes longer deserves a word even where no deadline ends it.
const LONG: Duration = Duration::from_secs(86_400);

/// What is wrong whatever the traffic.
pub(super) fn structural(design: &Design) -> Vec<Problem> {
    let mut found = Vec::new();
    for (i, (_, gate)) in design.steps.iter().enumerate() {
        let path = gate_path(i);
        found.extend(wide(&path, *gate));
        if inside(*gate, design.tolerance) {
            let reason = format!(
                "the gate lies inside the tolerance ({}): a release in between is good enough to stay and never good \
                 enough to go on, so it stands here for ever; make ratio or absolute larger than the tolerance's",
                line(design.tolerance)
            );
            found.push(Problem { path, reason });
        }
    }
    found.extend(wide(TOLERANCE, design.tolerance));
    if design.shadow_sample.is_some_and(|sample| sample >= 1.0) {
        found.push(Problem {
            path: "spec.shadow.sample".to_owned(),
            reason:
                "every request is copied, for 1 is the whole: write 1% if one in a hundred is meant"
                    .to_owned(),
        });
    }
    found
}

fn gate_path(step: usize) -> String {
    format!("spec.strategy.canary.steps[{step}].gate")
}

/// Whether a gate lies inside the tolerance at every error rate.
fn inside(gate: Line, tolerance: Line) -> bool {
    gate.theta <= tolerance.theta && gate.delta <= tolerance.delta
}

fn wide(path: &str, margin: Line) -> Option<Problem> {
    let points = points(margin.delta);
    (margin.delta >= WIDE).then(|| Problem {
        path: format!("{path}.absolute"),
        reason: format!(
            "{points} percentage points more errors than stable's are allowed: write {points}pp if that is meant, or \
             {}pp if it is a hundredth of that",
            points / 100.0
        ),
    })
}

/// What takes too long, or never comes, under this traffic.
pub(super) fn planned(design: &Design, expected: Expected) -> Vec<Problem> {
    let Expected {
        requests_per_minute,
        error_rate,
    } = expected;
    let outlook = outlook(design, requests_per_minute, error_rate);
    let rate = Fraction(error_rate);
    let traffic = format!("at {requests_per_minute} requests/min with {rate} errors");
    let mut found = Vec::new();
    let mut add = |path: String, reason: String| found.push(Problem { path, reason });
    for (i, ((weight, gate), time)) in design.steps.iter().zip(&outlook.steps).enumerate() {
        let path = gate_path(i);
        match time {
            None => {
                let reason = format!(
                    "{traffic} a healthy release never leaves this step, for the gate ({}) leaves no room above it: \
                     widen ratio or absolute",
                    line(*gate)
                );
                add(path, reason);
                break;
            }
            Some(time) if *time > LONG => add(
                path,
                format!(
                    "{traffic} a healthy release needs about {} to leave this step of {} %: widen absolute, or raise \
                     the weight",
                    about(*time),
                    weight * 100.0
                ),
            ),
            Some(_) => {}
        }
        let (passes, tolerated) = (gate.at(error_rate), design.tolerance.at(error_rate));
        if passes <= tolerated && !inside(*gate, design.tolerance) {
            let reason = format!(
                "where {rate} of the requests fail the gate lies at {} and the tolerance at {}: a release in between \
                 stands here for ever; widen the gate's absolute",
                percent(passes),
                percent(tolerated)
            );
            add(gate_path(i), reason);
        }
    }
    late(design, &outlook, &traffic)
        .into_iter()
        .for_each(|(path, reason)| add(path, reason));
    let tolerance = TOLERANCE.to_owned();
    let (twice, tolerated) = (2.0 * error_rate, design.tolerance.at(error_rate));
    let (before, after) = (percent(error_rate), percent(twice));
    match outlook.twice {
        _ if twice <= tolerated => add(
            tolerance,
            format!(
                "twice the errors ({after} instead of {before}) are within the tolerance, which reaches to {}: such a \
                 release is never rolled back; lower absolute if that matters",
                percent(tolerated)
            ),
        ),
        Some(time) if time > LONG => add(
            tolerance,
            format!(
                "{traffic} twice the errors ({after} instead of {before}) take about {} to be found, even at the last \
                 weight: raise the weights, or widen absolute and take such a release for good enough",
                about(time)
            ),
        ),
        _ => {}
    }
    found
}

/// A deadline that a healthy release misses.
fn late(design: &Design, outlook: &Outlook, traffic: &str) -> Option<(String, String)> {
    let deadline = design.deadline?;
    let needed = outlook.to_promote()?.saturating_add(design.soak);
    (needed > deadline).then(|| {
        let reason = format!(
            "{traffic} a healthy release needs about {}, longer than the deadline of {}: allow more time, widen \
             the gates' absolute, or raise the weights",
            about(needed),
            Span(deadline)
        );
        ("spec.strategy.canary.deadline.after".to_owned(), reason)
    })
}

fn line(line: Line) -> String {
    format!("{} x stable + {}pp", line.theta, points(line.delta))
}

fn points(delta: f64) -> f64 {
    (delta * 1e8).round() / 1e6
}

/// A rate with three digits that count.
fn percent(rate: f64) -> String {
    let digits = 2 - (rate.max(1e-12).log10().floor() as i32);
    let scale = 10f64.powi(digits.clamp(2, 14));
    Fraction((rate * scale).round() / scale).to_string()
}

/// Two digits of a plan that is no more exact.
fn about(time: Duration) -> String {
    let hours = time.as_secs_f64() / 3600.0;
    if hours >= 48.0 {
        format!("{} days", thousands_or_more(hours / 24.0))
    } else if hours >= 2.0 {
        format!("{hours:.0} hours")
    } else {
        let minutes = (time.as_secs_f64() / 60.0).ceil() as u64;
        Span(Duration::from_secs(minutes * 60)).to_string()
    }
}

fn thousands_or_more(days: f64) -> String {
    if days >= 36_525.0 {
        "more than 36 500".to_owned()
    } else {
        format!("{days:.0}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{edited, source, text};

    const USUAL: Expected = Expected {
        requests_per_minute: 6000.0,
        error_rate: 0.01,
    };

    #[track_caller]
    fn check(found: &[Problem], expected: &[(&str, &str)]) {
        assert_eq!(found.len(), expected.len(), "{found:?}");
        for (problem, (path, words)) in found.iter().zip(expected) {
            assert_eq!(problem.path, *path);
            assert!(problem.reason.contains(words), "{}", problem.reason);
        }
    }

    #[track_caller]
    fn check_structural(text: &str, expected: &[(&str, &str)]) {
        let source = source(text);
        let found = structural(&Design::of(&source.plan));
        check(&found, expected);
    }

    #[track_caller]
    fn check_planned(text: &str, traffic: Expected, expected: &[(&str, &str)]) {
        let source = source(text);
        check(&planned(&Design::of(&source.plan), traffic), expected);
    }

    #[test]
    fn a_usual_design_under_usual_traffic_has_no_warning() {
        check_structural(&text(), &[]);
        check_planned(&text(), USUAL, &[]);
    }

    #[test]
    fn a_gate_inside_the_tolerance() {
        let from = "gate: {ratio: 1.25, absolute: 0.2pp}";
        let inside = edited(from, "gate: {ratio: 1.05, absolute: 0.05pp}");
        check_structural(
            &inside,
            &[(
                "spec.strategy.canary.steps[2].gate",
                "inside the tolerance (1.1 x stable + 0.05pp)",
            )],
        );
        let none = edited(from, "gate: {ratio: 1.25}");
        check_structural(&none, &[]);
        // Where errors are rare, the tolerance's absolute part is wider than the gate's ratio.
        let rare = Expected {
            error_rate: 0.001,
            ..USUAL
        };
        check_planned(
            &none,
            rare,
            &[(
                "spec.strategy.canary.steps[2].gate",
                "the gate lies at 0.125% and the tolerance at 0.16%",
            )],
        );
    }

    #[test]
    fn a_share_whose_unit_was_forgotten() {
        check_structural(
            &edited("absolute: 0.5pp", "absolute: 0.5"),
            &[(
                "spec.strategy.canary.steps[0].gate.absolute",
                "50 percentage points more errors than stable's are allowed: write 50pp if that is meant, or 0.5pp",
            )],
        );
        check_structural(
            &edited(
                "    falseRollback",
                "    metrics: [{name: errors, errorRate: {}, tolerance: {ratio: 1.1, absolute: 0.06}}]\n    falseRollback",
            ),
            &[("spec.analysis.metrics[0].tolerance.absolute", "0.06pp")],
        );
        let shadow = |sample: &str| {
            edited(
                "  strategy:\n",
                &format!("  shadow: {{cluster: fraud-v9, sample: {sample}}}\n  strategy:\n"),
            )
        };
        check_structural(&shadow("1"), &[("spec.shadow.sample", "write 1%")]);
        check_structural(&shadow("10%"), &[]);
    }

    #[test]
    fn steps_and_regressions_that_take_days() {
        let slow = Expected {
            requests_per_minute: 10.0,
            error_rate: 0.001,
        };
        let source = source(&text());
        let found = planned(&Design::of(&source.plan), slow);
        let paths: Vec<_> = found.iter().map(|problem| problem.path.as_str()).collect();
        assert!(
            paths.contains(&"spec.strategy.canary.steps[0].gate"),
            "{paths:?}"
        );
        let twice = found.last().unwrap();
        assert_eq!(twice.path, "spec.analysis.metrics[0].tolerance");
        assert!(
            twice.reason.contains("at 10 requests/min with 0.1% errors twice the errors (0.2% instead of 0.1%) take about")
                && twice.reason.contains("days to be found"),
            "{}",
            twice.reason
        );
    }

    #[test]
    fn a_deadline_shorter_than_a_healthy_release_takes() {
        let short = edited(
            "      soak: 10s\n",
            "      soak: 10s\n      deadline: {after: 1m}\n",
        );
        check_planned(
            &short,
            USUAL,
            &[(
                "spec.strategy.canary.deadline.after",
                "longer than the deadline of 1m",
            )],
        );
    }

    #[test]
    fn twice_the_errors_that_the_tolerance_hides() {
        let rare = Expected {
            error_rate: 0.0002,
            ..USUAL
        };
        check_planned(
            &text(),
            rare,
            &[(
                "spec.analysis.metrics[0].tolerance",
                "twice the errors (0.04% instead of 0.02%) are within the tolerance, which reaches to 0.072%",
            )],
        );
    }

    #[test]
    fn plans_are_told_with_two_digits() {
        let hours = |hours: u64| about(Duration::from_secs(3600 * hours));
        assert_eq!(hours(960), "40 days");
        assert_eq!(hours(30), "30 hours");
        assert_eq!(about(Duration::from_secs(3601)), "1h 1m");
        assert_eq!(hours(10_000_000), "more than 36 500 days");
        assert_eq!(percent(0.001_234_5), "0.123%");
        assert_eq!(percent(0.000_72), "0.072%");
    }
}
