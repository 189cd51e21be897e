//! Rules that watch a release look by look: ours, and those of others on the same streams.

use serin_controller::rivals::argo::{Argo, Condition, Metric};
use serin_controller::rivals::flagger::{Flagger, ThresholdRange};
use serin_controller::rivals::kayenta::{self, KayentaConfig, Label, judge};
use serin_controller::rivals::{Decision, Observation};
use serin_controller::stats::poisson::{Direction, EProcess, Line};

use crate::streams::{LOOKS, Look};

/// Something that may roll a release back, or promote it.
pub(crate) trait Rule {
    /// Whether it decides at this look.
    fn decides(&mut self, look: &Look) -> bool;
}

/// The e-process at this level, with its evidence divided by `phi`.
pub(crate) struct Evidence {
    pub(crate) process: EProcess,
    pub(crate) line: Line,
    pub(crate) phi: f64,
    pub(crate) level: f64,
}

impl Evidence {
    pub(crate) fn new(direction: Direction, line: Line, level: f64) -> Self {
        Self {
            process: EProcess::start(direction),
            line,
            phi: 1.0,
            level,
        }
    }
}

impl Rule for Evidence {
    fn decides(&mut self, look: &Look) -> bool {
        self.process
            .update(look.counts, self.line, self.phi)
            .unwrap();
        self.process.rejects(self.level)
    }
}

/// What a query for the canary's error ratio brings.
fn observed(look: &Look) -> Observation {
    Observation::Value(look.counts.bad_canary / look.counts.total_canary)
}

impl Rule for Flagger {
    fn decides(&mut self, look: &Look) -> bool {
        self.tick(&[observed(look)]) == Decision::RollBack
    }
}

/// Flagger with an error ratio of at most `limit` and a threshold of five checks.
pub(crate) fn flagger(limit: f64) -> Flagger {
    Flagger::new(vec![ThresholdRange::at_most(limit)], 5)
}

impl Rule for Argo {
    fn decides(&mut self, look: &Look) -> bool {
        self.tick(&[observed(look)]) == Decision::RollBack
    }
}

/// Argo with an error ratio of at most `limit`.
pub(crate) fn argo(limit: f64, failure_limit: u32) -> Argo {
    Argo::new(vec![Metric {
        success: Some(Condition::AtMost(limit)),
        failure_limit: Some(failure_limit),
        ..Metric::default()
    }])
}

/// Kayenta's judge on points of a minute.
pub(crate) struct Kayenta {
    against: Against,
    /// The first look at which it is asked; from then on at every one.
    first: u32,
    control: Vec<f64>,
    experiment: Vec<f64>,
}

/// What Kayenta compares the canary with.
#[derive(Clone, Copy)]
pub(crate) enum Against {
    /// A fresh baseline as large as the canary.
    Baseline,
    /// All of stable.
    Stable,
}

impl Kayenta {
    pub(crate) fn new(against: Against, first: u32) -> Self {
        Self {
            against,
            first,
            control: Vec::with_capacity(LOOKS as usize),
            experiment: Vec::with_capacity(LOOKS as usize),
        }
    }
}

impl Rule for Kayenta {
    fn decides(&mut self, look: &Look) -> bool {
        let counts = look.counts;
        self.experiment
            .push(counts.bad_canary / counts.total_canary);
        self.control.push(match self.against {
            Against::Baseline => look.bad_baseline / counts.total_canary,
            Against::Stable => counts.bad_stable / counts.total_stable,
        });
        let config = KayentaConfig {
            direction: kayenta::Direction::Increase,
            ..KayentaConfig::default()
        };
        self.control.len() >= self.first as usize
            && judge(&self.control, &self.experiment, &config).label == Label::High
    }
}
