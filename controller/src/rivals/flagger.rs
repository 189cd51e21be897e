//! Flagger: fixed ranges and a counter of failed checks (rivals 2.1).
//!
//! The counter is cumulative for the whole run and no success resets it. The roll back is done by the tick *after* the
//! one that fills the counter, because a tick looks at the counter before it looks at the metrics. No data, NaN and a
//! metric source that is down are failed checks.

use super::{Decision, Observation};

/// The values of a metric that pass; both ends pass, an end that is none does not limit.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct ThresholdRange {
    /// Smallest value that passes.
    pub min: Option<f64>,
    /// Largest value that passes.
    pub max: Option<f64>,
}

impl ThresholdRange {
    /// At least `min`, as the legacy `threshold` of `request-success-rate` means.
    #[must_use]
    pub fn at_least(min: f64) -> Self {
        Self {
            min: Some(min),
            max: None,
        }
    }

    /// At most `max`, as the legacy `threshold` of every other metric means.
    #[must_use]
    pub fn at_most(max: f64) -> Self {
        Self {
            min: None,
            max: Some(max),
        }
    }

    /// Whether a check with this result passes. Infinity is compared like any number, NaN is "no values found".
    #[must_use]
    pub fn passes(self, observation: Observation) -> bool {
        match observation {
            Observation::Value(value) if !value.is_nan() => {
                self.min.is_none_or(|min| value >= min) && self.max.is_none_or(|max| value <= max)
            }
            _ => false,
        }
    }
}

/// What Flagger makes of an instant vector: one NaN spoils it, of several values it keeps the last.
#[must_use]
pub fn observe(vector: &[f64]) -> Observation {
    match vector.last() {
        None => Observation::NoData,
        Some(_) if vector.iter().any(|value| value.is_nan()) => Observation::NoData,
        Some(last) => Observation::Value(*last),
    }
}

/// The analysis of one canary, from the first tick that measures.
///
/// The tick before it, at weight 0, only shifts the first traffic and measures nothing, so the first check is one
/// interval after the first weight.
#[derive(Debug, Clone, PartialEq)]
pub struct Flagger {
    ranges: Vec<ThresholdRange>,
    threshold: u32,
    failed_checks: u32,
}

impl Flagger {
    /// One range per metric, in the order in which they are checked, and the failed checks that end the run
    /// (`analysis.threshold`; 0 is taken as the default, 1).
    #[must_use]
    pub fn new(ranges: Vec<ThresholdRange>, threshold: u32) -> Self {
        Self {
            ranges,
            threshold: threshold.max(1),
            failed_checks: 0,
        }
    }

    /// One tick with one observation per metric; a metric without one has no data.
    ///
    /// [`Decision::RollBack`] if the counter was full before this tick, whatever the metrics say now, and in every tick
    /// after it; [`Decision::Hold`] with one more failed check if a metric fails (the first failure ends the tick, so
    /// two count as one); else [`Decision::Advance`].
    pub fn tick(&mut self, observations: &[Observation]) -> Decision {
        if self.failed_checks >= self.threshold {
            return Decision::RollBack;
        }
        let none = std::iter::repeat(&Observation::NoData);
        let mut checks = self.ranges.iter().zip(observations.iter().chain(none));
        if checks.all(|(range, observation)| range.passes(*observation)) {
            Decision::Advance
        } else {
            self.failed_checks = self.failed_checks.saturating_add(1);
            Decision::Hold
        }
    }

    /// Failed checks so far (`status.failedChecks`).
    #[must_use]
    pub fn failed_checks(&self) -> u32 {
        self.failed_checks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: Observation = Observation::Value(0.005);
    const BAD: Observation = Observation::Value(0.02);

    fn flagger(threshold: u32) -> Flagger {
        Flagger::new(vec![ThresholdRange::at_most(0.01)], threshold)
    }

    #[test]
    fn the_roll_back_comes_one_tick_after_the_counter_is_full() {
        let mut flagger = flagger(2);
        let decisions = [BAD, BAD, GOOD].map(|observation| flagger.tick(&[observation]));
        assert_eq!(
            decisions,
            [Decision::Hold, Decision::Hold, Decision::RollBack]
        );
        assert_eq!(flagger.tick(&[GOOD]), Decision::RollBack);
        assert_eq!(flagger.failed_checks(), 2);
    }

    #[test]
    fn successes_never_reset_the_counter() {
        let mut flagger = flagger(2);
        assert_eq!(flagger.tick(&[BAD]), Decision::Hold);
        for _ in 0..100 {
            assert_eq!(flagger.tick(&[GOOD]), Decision::Advance);
        }
        assert_eq!(flagger.tick(&[BAD]), Decision::Hold);
        assert_eq!(flagger.tick(&[GOOD]), Decision::RollBack);
    }

    #[test]
    fn no_data_nan_and_errors_are_failed_checks() {
        for observation in [
            Observation::NoData,
            Observation::Error,
            Observation::Value(f64::NAN),
        ] {
            let mut flagger = flagger(1);
            assert_eq!(flagger.tick(&[observation]), Decision::Hold);
            assert_eq!(flagger.tick(&[GOOD]), Decision::RollBack);
        }
        assert_eq!(flagger(1).tick(&[]), Decision::Hold);
    }

    #[test]
    fn both_ends_of_a_range_pass_and_infinity_is_a_number() {
        let range = ThresholdRange {
            min: Some(1.0),
            max: Some(2.0),
        };
        let passes = |value| range.passes(Observation::Value(value));
        assert!(passes(1.0) && passes(2.0));
        assert!(!passes(0.999) && !passes(2.001) && !passes(f64::INFINITY));
        let open = ThresholdRange::at_least(99.0);
        assert!(open.passes(Observation::Value(f64::INFINITY)));
        assert!(!open.passes(Observation::Value(98.69)));
    }

    #[test]
    fn two_failing_metrics_are_one_failed_check() {
        let mut flagger = Flagger::new(vec![ThresholdRange::at_most(0.01); 2], 2);
        assert_eq!(flagger.tick(&[BAD, BAD]), Decision::Hold);
        assert_eq!(flagger.failed_checks(), 1);
        assert_eq!(flagger.tick(&[GOOD, BAD]), Decision::Hold);
        assert_eq!(flagger.failed_checks(), 2);
    }

    #[test]
    fn a_threshold_that_is_not_set_is_one() {
        assert_eq!(flagger(0), flagger(1));
    }

    #[test]
    fn of_several_series_the_last_is_kept_and_one_nan_spoils_all() {
        assert_eq!(observe(&[0.5, 0.1]), Observation::Value(0.1));
        assert_eq!(observe(&[f64::NAN, 0.1]), Observation::NoData);
        assert_eq!(observe(&[]), Observation::NoData);
    }
}
