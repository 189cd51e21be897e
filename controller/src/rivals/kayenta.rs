//! Kayenta's judge, NetflixACAJudge-v1.0: a rank test on points of a time series (rivals 2.3, statistics 8.1).
//!
//! Each point, usually a minute, is one observation however many requests stand behind it, and repeated judgements are
//! not corrected for: that is the rule, not an omission here.
//!
//! Differences from the Java code, all below its own accuracy: the ends of the interval are the order statistics at
//! which Brent's method would end up within 1e-4, the Hodges-Lehmann estimate is the median of the pairwise differences
//! (Brent's method returns any point of the flat piece in which that median lies), where both sides are constant the
//! Gaussian noise of relative size 1e-5 is left out, and a point that is infinite is treated like NaN (the Java code
//! would look for a root between infinities).

mod mann_whitney;
mod score;

pub use mann_whitney::{CONFIDENCE, ShiftInterval, TOLERANCE, shift_interval, z_at_shift};
pub use score::{
    GroupScore, JudgedMetric, Score, ScoreClassification, ScoreConfig, ScoreReason, score,
};

/// What is done with points that are NaN.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NanStrategy {
    /// They are dropped.
    #[default]
    Remove,
    /// They become 0.
    Replace,
}

/// Which change of a metric is bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Direction {
    /// More is bad.
    Increase,
    /// Less is bad.
    Decrease,
    /// Both are bad.
    #[default]
    Either,
}

/// How the size of a change is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EffectSize {
    /// Mean of the experiment over mean of the control; where either is 0 the test of the size is ignored.
    #[default]
    MeanRatio,
    /// The probability that a point of the experiment is above one of the control, ties counting half (CLES).
    CommonLanguage,
}

impl EffectSize {
    /// The size that means "no change": the default of all four thresholds.
    #[must_use]
    pub fn neutral(self) -> f64 {
        match self {
            Self::MeanRatio => 1.0,
            Self::CommonLanguage => 0.5,
        }
    }

    /// The size of the change; none where it cannot be computed, for then it is ignored.
    fn of(self, control: &[f64], experiment: &[f64]) -> Option<f64> {
        match self {
            Self::MeanRatio => mean_ratio(control, experiment),
            Self::CommonLanguage => Some(mann_whitney::common_language(control, experiment)),
        }
    }
}

/// Mean of the experiment over mean of the control; none where either is 0, or a side is empty.
#[must_use]
pub fn mean_ratio(control: &[f64], experiment: &[f64]) -> Option<f64> {
    // Divided before they are added up, so that no sum overflows.
    let mean = |points: &[f64]| {
        let count = points.len() as f64;
        points.iter().map(|point| point / count).sum::<f64>()
    };
    let (control, experiment) = (mean(control), mean(experiment));
    let ratio = experiment / control;
    (control != 0.0 && experiment != 0.0 && ratio.is_finite()).then_some(ratio)
}

/// Thresholds of the effect size; none is [`EffectSize::neutral`].
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct EffectLimits {
    /// High needs an effect of at least this.
    pub increase: Option<f64>,
    /// Low needs an effect of at most this.
    pub decrease: Option<f64>,
}

/// How one metric is judged; the default is Kayenta's.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct KayentaConfig {
    /// `nanStrategy`
    pub nan: NanStrategy,
    /// `outliers.strategy: remove` with this `outlierFactor` (3.0 is usual); none keeps outliers.
    pub outlier_factor: Option<f64>,
    /// `direction`
    pub direction: Direction,
    /// `effectSize.measure`
    pub effect: EffectSize,
    /// `effectSize.allowedIncrease` and `allowedDecrease`.
    pub allowed: EffectLimits,
    /// `critical`: failing beyond these (`criticalIncrease`, `criticalDecrease`) makes the whole score 0.
    pub critical: Option<EffectLimits>,
    /// `mustHaveData`: without data the metric counts as a failed one in its group.
    pub must_have_data: bool,
}

/// What a metric is found to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Label {
    /// No change that counts.
    Pass,
    /// The experiment is above the control.
    High,
    /// The experiment is below the control.
    Low,
    /// A side has no points.
    Nodata,
    /// A side has no points, but must have.
    NodataFailMetric,
    /// The test cannot be computed, because all points tie at some shift.
    Error,
}

/// How a metric is classified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Classification {
    /// What it is found to be.
    pub label: Label,
    /// Whether this finding alone makes the score 0.
    pub critical: bool,
}

/// Judges one metric by its points of the control (baseline) and of the experiment (canary).
///
/// High if the lower end of the 98 % interval of the shift is above a quarter of the estimated shift, the direction
/// counts increases, and the effect is large enough; Low likewise. Identical points, in any order, pass.
#[must_use]
pub fn judge(control: &[f64], experiment: &[f64], config: &KayentaConfig) -> Classification {
    let [control, experiment] = [control, experiment].map(|points| prepare(points, config));
    let found = |label, critical| Classification { label, critical };
    if control.is_empty() || experiment.is_empty() {
        let critical = config.critical.is_some();
        return match (config.nan, config.must_have_data && !critical) {
            (NanStrategy::Replace, _) => found(Label::Pass, false),
            (NanStrategy::Remove, true) => found(Label::NodataFailMetric, false),
            (NanStrategy::Remove, false) => found(Label::Nodata, critical),
        };
    }
    // Both are sorted.
    if control == experiment
        || constant(&control) && constant(&experiment) && control.first() == experiment.first()
    {
        return found(Label::Pass, false);
    }
    let Some(shift) = shift_interval(&control, &experiment) else {
        return found(Label::Error, false);
    };
    let effect = config.effect.of(&control, &experiment);
    let neutral = config.effect.neutral();
    let rises = |limits: EffectLimits| {
        effect.is_none_or(|effect| effect >= limits.increase.unwrap_or(neutral))
    };
    let falls = |limits: EffectLimits| {
        effect.is_none_or(|effect| effect <= limits.decrease.unwrap_or(neutral))
    };
    let bound = TOLERANCE * shift.estimate.abs();
    if config.direction != Direction::Decrease && shift.lower > bound && rises(config.allowed) {
        found(Label::High, config.critical.is_some_and(rises))
    } else if config.direction != Direction::Increase
        && shift.upper < -bound
        && falls(config.allowed)
    {
        found(Label::Low, config.critical.is_some_and(falls))
    } else {
        found(Label::Pass, false)
    }
}

/// The points without NaN and outliers, sorted.
fn prepare(points: &[f64], config: &KayentaConfig) -> Vec<f64> {
    let mut points: Vec<f64> = match config.nan {
        NanStrategy::Remove => points.iter().copied().filter(|p| p.is_finite()).collect(),
        NanStrategy::Replace => points
            .iter()
            .map(|point| if point.is_finite() { *point } else { 0.0 })
            .collect(),
    };
    // Negative zero would sort below zero though they are equal.
    points.iter_mut().for_each(|point| *point += 0.0);
    points.sort_by(f64::total_cmp);
    if let Some(factor) = config.outlier_factor {
        let [p1, q1, q3, p99] = [0.01, 0.25, 0.75, 0.99].map(|p| percentile(&points, p));
        let reach = factor * (q3 - q1);
        let (lower, upper) = (p1.min(q1 - reach), p99.max(q3 + reach));
        points.retain(|point| *point >= lower && *point <= upper);
    }
    points
}

/// The percentile of Apache Commons Math's default: linear between the order statistics around `p (n + 1)`.
fn percentile(sorted: &[f64], p: f64) -> f64 {
    let position = p * (sorted.len() as f64 + 1.0);
    let at = |index: usize| sorted.get(index).or(sorted.last()).copied();
    let below = position.floor().max(1.0);
    let low = at(below as usize - 1).unwrap_or(0.0);
    let high = at(below as usize).unwrap_or(low);
    if position < 1.0 {
        low
    } else {
        low + (position - below) * (high - low)
    }
}

fn constant(sorted: &[f64]) -> bool {
    sorted.first() == sorted.last()
}

#[cfg(test)]
#[path = "kayenta_tests.rs"]
mod tests;
