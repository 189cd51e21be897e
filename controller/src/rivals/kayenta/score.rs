//! From classified metrics to a verdict: group scores, their weighted sum, two thresholds.

use std::collections::BTreeMap;

use super::{Classification, Label};

/// A metric that has been judged, with the groups it belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JudgedMetric {
    /// How it was classified.
    pub classification: Classification,
    /// Names of its groups.
    pub groups: Vec<String>,
}

/// Weights and thresholds of the score.
#[derive(Debug, Clone, PartialEq)]
pub struct ScoreConfig {
    /// Weight of each group in percent; groups without one share what is left of 100.
    pub group_weights: BTreeMap<String, f64>,
    /// From this score on the canary passes.
    pub pass: f64,
    /// From this score on it is marginal, and goes on.
    pub marginal: f64,
}

/// The score of one group, 0 to 100.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupScore {
    /// Name of the group.
    pub name: String,
    /// `100 * Pass / (Pass + High + Low + NodataFailMetric)`; none where nothing of that was found, which counts as
    /// 100 in the sum.
    pub score: Option<f64>,
}

/// What a score means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScoreClassification {
    /// At least the pass threshold.
    Pass,
    /// Below it, but at least the marginal threshold.
    Marginal,
    /// Below both.
    Fail,
}

/// Why a score is 0 whatever the groups say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScoreReason {
    /// A critical metric failed.
    CriticalMetric,
    /// At least half of the metrics have no data.
    TooManyNodata,
}

/// The score of a canary.
#[derive(Debug, Clone, PartialEq)]
pub struct Score {
    /// 0 to 100, rounded to two decimals.
    pub summary: f64,
    /// What it means.
    pub classification: ScoreClassification,
    /// Why it is 0, if not for the groups.
    pub reason: Option<ScoreReason>,
    /// Scores of the groups, by name.
    pub groups: Vec<GroupScore>,
}

/// Scores the metrics that are not muted.
///
/// A critical failure gives 0, and so do missing data on half of the metrics or more; else it is the sum of group
/// scores by weight. No metric at all gives 0.
#[must_use]
pub fn score(metrics: &[JudgedMetric], config: &ScoreConfig) -> Score {
    let groups = group_scores(metrics);
    let count = |label: Label| {
        let labels = metrics.iter().map(|metric| metric.classification.label);
        labels.filter(|other| *other == label).count()
    };
    let critical = |metric: &JudgedMetric| {
        metric.classification.critical && metric.classification.label != Label::Pass
    };
    let reason = if metrics.iter().any(critical) {
        Some(ScoreReason::CriticalMetric)
    } else if 2 * count(Label::Nodata) >= metrics.len() && count(Label::Nodata) > 0 {
        Some(ScoreReason::TooManyNodata)
    } else {
        None
    };
    let summary = match reason {
        Some(_) => 0.0,
        None => (100.0 * weighted_sum(&groups, &config.group_weights)).round() / 100.0,
    };
    let classification = if summary >= config.pass {
        ScoreClassification::Pass
    } else if summary >= config.marginal {
        ScoreClassification::Marginal
    } else {
        ScoreClassification::Fail
    };
    Score {
        summary,
        classification,
        reason,
        groups,
    }
}

fn group_scores(metrics: &[JudgedMetric]) -> Vec<GroupScore> {
    let mut counts: BTreeMap<&str, (u32, u32)> = BTreeMap::new();
    for metric in metrics {
        for group in &metric.groups {
            let (passed, all) = counts.entry(group).or_default();
            match metric.classification.label {
                Label::Pass => {
                    *passed += 1;
                    *all += 1;
                }
                Label::High | Label::Low | Label::NodataFailMetric => *all += 1,
                Label::Nodata | Label::Error => {}
            }
        }
    }
    let score = |(name, (passed, all)): (&str, (u32, u32))| GroupScore {
        name: name.to_owned(),
        score: (all > 0).then(|| 100.0 * f64::from(passed) / f64::from(all)),
    };
    counts.into_iter().map(score).collect()
}

fn weighted_sum(groups: &[GroupScore], weights: &BTreeMap<String, f64>) -> f64 {
    let unweighted = groups
        .iter()
        .filter(|group| !weights.contains_key(&group.name))
        .count();
    let left = 100.0 - weights.values().sum::<f64>();
    let share = left / unweighted.max(1) as f64;
    let weighted = |group: &GroupScore| {
        let weight = weights.get(&group.name).copied().unwrap_or(share);
        group.score.unwrap_or(100.0) * weight / 100.0
    };
    groups.iter().map(weighted).sum()
}
