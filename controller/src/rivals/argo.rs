//! Argo Rollouts: conditions on a result, and limits on how often they may fail (rivals 2.2).

use super::{Decision, Observation};

/// After an error a measurement is taken again after so many seconds, whatever the interval of the metric.
pub const ERROR_RETRY_SECONDS: f64 = 10.0;

/// A condition on `result[0]`. Every comparison with NaN is false.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Condition {
    /// `result[0] < x`
    Below(f64),
    /// `result[0] <= x`
    AtMost(f64),
    /// `result[0] > x`
    Above(f64),
    /// `result[0] >= x`
    AtLeast(f64),
}

impl Condition {
    fn holds(self, value: f64) -> bool {
        match self {
            Self::Below(limit) => value < limit,
            Self::AtMost(limit) => value <= limit,
            Self::Above(limit) => value > limit,
            Self::AtLeast(limit) => value >= limit,
        }
    }
}

/// One metric of an analysis; the default has no condition and the limits of Argo.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Metric {
    /// `successCondition`
    pub success: Option<Condition>,
    /// `failureCondition`
    pub failure: Option<Condition>,
    /// More failed measurements than these fail the metric; none means that none ever does (-1 in Argo).
    pub failure_limit: Option<u32>,
    /// More inconclusive measurements than these make the metric inconclusive; none means never.
    pub inconclusive_limit: Option<u32>,
    /// More errors in a row than these fail the metric as an error.
    pub consecutive_error_limit: u32,
    /// So many successes in a row end the metric well; 0 does not ask for it.
    pub consecutive_success_limit: u32,
    /// So many measurements without error end the metric; none measures for ever.
    pub count: Option<u32>,
}

impl Default for Metric {
    fn default() -> Self {
        Self {
            success: None,
            failure: None,
            failure_limit: Some(0),
            inconclusive_limit: Some(0),
            consecutive_error_limit: 4,
            consecutive_success_limit: 0,
            count: None,
        }
    }
}

/// What one measurement came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The success condition held, or the failure condition, the only one, did not.
    Successful,
    /// The failure condition held, or the success condition, the only one, did not.
    Failed,
    /// Both conditions are given and neither held.
    Inconclusive,
    /// The query failed, or the condition could not be evaluated.
    Error,
}

impl Metric {
    /// What Argo makes of one observation.
    ///
    /// An empty vector makes `result[0]` panic, which is an error, unless there is no condition to evaluate. NaN fails
    /// a success condition, and passes where there is but a failure condition.
    #[must_use]
    pub fn measure(&self, observation: Observation) -> Outcome {
        let value = match observation {
            Observation::Value(value) => value,
            Observation::NoData if self.success.is_none() && self.failure.is_none() => {
                return Outcome::Successful;
            }
            Observation::NoData | Observation::Error => return Outcome::Error,
        };
        let failed = self.failure.is_some_and(|failure| failure.holds(value));
        match self.success {
            _ if failed => Outcome::Failed,
            None => Outcome::Successful,
            Some(success) if success.holds(value) => Outcome::Successful,
            Some(_) if self.failure.is_none() => Outcome::Failed,
            Some(_) => Outcome::Inconclusive,
        }
    }
}

/// Where a metric, or a whole run, stands. The order is from good to bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Successful,
    Running,
    Inconclusive,
    Error,
    Failed,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Progress {
    metric: Metric,
    phase: Phase,
    count: u32,
    failed: u32,
    inconclusive: u32,
    errors_in_row: u32,
    successes_in_row: u32,
}

impl Progress {
    fn new(metric: Metric) -> Self {
        Self {
            metric,
            phase: Phase::Running,
            count: 0,
            failed: 0,
            inconclusive: 0,
            errors_in_row: 0,
            successes_in_row: 0,
        }
    }

    fn take(&mut self, outcome: Outcome) {
        let add = |count: u32, when: bool| count.saturating_add(u32::from(when));
        let (successful, error) = (outcome == Outcome::Successful, outcome == Outcome::Error);
        self.count = add(self.count, !error);
        self.failed = add(self.failed, outcome == Outcome::Failed);
        self.inconclusive = add(self.inconclusive, outcome == Outcome::Inconclusive);
        self.errors_in_row = if error {
            add(self.errors_in_row, true)
        } else {
            0
        };
        self.successes_in_row = if successful {
            add(self.successes_in_row, true)
        } else {
            0
        };
        self.phase = self.assess();
    }

    fn assess(&self) -> Phase {
        let over = |count: u32, limit: Option<u32>| limit.is_some_and(|limit| count > limit);
        let asked = self.metric.consecutive_success_limit;
        // In this order a later finding replaces an earlier one.
        let mut limited = None;
        if over(self.failed, self.metric.failure_limit) {
            limited = Some(Phase::Failed);
        }
        if over(self.inconclusive, self.metric.inconclusive_limit) {
            limited = Some(Phase::Inconclusive);
        }
        if self.errors_in_row > self.metric.consecutive_error_limit {
            limited = Some(Phase::Error);
        }
        if let Some(phase) = limited {
            return phase;
        }
        if asked > 0 && self.successes_in_row >= asked {
            return Phase::Successful;
        }
        if self.metric.count.is_some_and(|count| self.count >= count) {
            return if asked > 0 {
                Phase::Inconclusive
            } else {
                Phase::Successful
            };
        }
        Phase::Running
    }
}

/// One analysis run.
#[derive(Debug, Clone, PartialEq)]
pub struct Argo {
    metrics: Vec<Progress>,
}

impl Argo {
    /// Starts an analysis of these metrics.
    #[must_use]
    pub fn new(metrics: Vec<Metric>) -> Self {
        Self {
            metrics: metrics.into_iter().map(Progress::new).collect(),
        }
    }

    /// One measurement of each metric that still measures, with one observation per metric (one that is missing is no
    /// data); a metric that has ended is not measured again.
    ///
    /// [`Decision::RollBack`] as soon as a metric has failed *or errs*, [`Decision::Pause`] when one is inconclusive
    /// and none worse, [`Decision::Succeed`] when all have ended well, else [`Decision::Advance`]: Argo's steps go by
    /// their own time and the analysis does not hold them. What was decided stays.
    pub fn tick(&mut self, observations: &[Observation]) -> Decision {
        let ended = self.decision();
        if ended != Decision::Advance {
            return ended;
        }
        let none = std::iter::repeat(&Observation::NoData);
        let pairs = self.metrics.iter_mut().zip(observations.iter().chain(none));
        for (progress, observation) in pairs {
            if progress.phase == Phase::Running {
                progress.take(progress.metric.measure(*observation));
            }
        }
        self.decision()
    }

    /// What the run comes to when the rollout's steps end before it: success, also where nothing was ever measured,
    /// unless a limit was reached.
    #[must_use]
    pub fn terminate(&self) -> Decision {
        match self.decision() {
            Decision::Advance => Decision::Succeed,
            decided => decided,
        }
    }

    fn decision(&self) -> Decision {
        match self.metrics.iter().map(|progress| progress.phase).max() {
            // Argo refuses an analysis without metrics; here it never ends.
            None | Some(Phase::Running) => Decision::Advance,
            Some(Phase::Successful) => Decision::Succeed,
            Some(Phase::Inconclusive) => Decision::Pause,
            Some(Phase::Error | Phase::Failed) => Decision::RollBack,
        }
    }
}

#[cfg(test)]
#[path = "argo_tests.rs"]
mod tests;
