//! From a rollout file to a [`Plan`] that cannot be wrong: everything after this is infallible on its account.

mod checker;
mod choice;
mod refusal;

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serin_filter_core::config::Attribute;
use serin_filter_core::split::BUCKETS;

use crate::api::{self, Deadline, Guard, Margin, ModelRollout, OnFail, Pause, Strategy};
use crate::paths::Paths;
use crate::stats::poisson::Line;
use crate::stats::user_mix::MarginLevel;
use checker::Checker;
pub use choice::Choice;

/// Namespace and name of a rollout; written `namespace/name`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RolloutName {
    /// Namespace.
    pub namespace: String,
    /// Name within it.
    pub name: String,
}

impl fmt::Display for RolloutName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// A version and where it is served.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VariantRef {
    /// Name in the release.
    pub name: String,
    /// Version of the model.
    pub version: String,
    /// Value of the route header, and in standalone the Envoy cluster.
    pub route: String,
}

/// A weight and what lets it go on.
#[derive(Clone, Debug, PartialEq)]
pub struct PlannedStep {
    /// The canary's share in 1/10 000.
    pub weight: u16,
    /// The gate's line.
    pub gate: Line,
    /// Wait after the gate.
    pub pause: Pause,
}

/// A validated rollout.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Which rollout.
    pub name: RolloutName,
    /// Hosts of its requests.
    pub hosts: Vec<String>,
    /// Paths of its requests.
    pub paths: Paths,
    /// The version that is live when the release starts.
    pub stable: VariantRef,
    /// The new version.
    pub canary: VariantRef,
    /// Attributes that make a user.
    pub key: Vec<Attribute>,
    /// Salt of the buckets.
    pub salt: String,
    /// What else the filter is told.
    pub choice: Choice,
    /// Rising weights; at least one.
    pub steps: Vec<PlannedStep>,
    /// Time at 100 % by header.
    pub soak: Duration,
    /// Limit on the whole release.
    pub deadline: Option<Deadline>,
    /// Rhythm of the verdicts; `None`: with every cell.
    pub interval: Option<Duration>,
    /// Bound on false rollbacks.
    pub false_rollback: f64,
    /// Bound on false promotions.
    pub false_promotion: f64,
    /// What half of `false_rollback` buys of the margin for the user mix (statistics 7.9).
    pub rollback_margin: Option<MarginLevel>,
    /// The same of `false_promotion`.
    pub promotion_margin: Option<MarginLevel>,
    /// Name of the error metric.
    pub metric: String,
    /// A canary within this line is healthy.
    pub tolerance: Line,
    /// Hard limits.
    pub guards: Vec<Guard>,
    /// What a failure does.
    pub on_fail: OnFail,
}

/// One mistake in a rollout file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Field, e.g. `spec.strategy.canary.steps[2].weight`.
    pub path: String,
    /// What is wrong and what to do.
    pub reason: String,
}

/// Checks everything and reports all mistakes at once.
///
/// # Errors
/// Every [`Problem`] found, in the order of the schema.
pub fn validate(rollout: &ModelRollout) -> Result<Plan, Vec<Problem>> {
    let mut check = Checker::default();
    check.head(rollout);
    let spec = &rollout.spec;
    check.matches(&spec.matches);
    if !spec.scope.is_empty() {
        check.add(
            "spec.scope",
            "is for the cluster, which this version does not have: leave it out, every caller of these proxies is meant",
        );
    }
    if !spec.route.manage {
        check.add(
            "spec.route.manage",
            "standalone owns the routes of its hosts: leave it out or set it to true",
        );
    }
    let arms = check.variants(&spec.variants);
    check.assignment(&spec.assignment, &spec.variants);
    let Strategy::Canary(canary) = &spec.strategy;
    check.canary(canary);
    check.analysis(&spec.analysis);
    check.shadow(spec.shadow.as_ref());
    let (Some((stable, canary_arm)), Some(metric)) = (arms, spec.analysis.metrics.first()) else {
        return Err(check.problems);
    };
    let plan = Plan {
        name: RolloutName {
            namespace: rollout.metadata.namespace.clone(),
            name: rollout.metadata.name.clone(),
        },
        hosts: spec
            .matches
            .hosts
            .iter()
            .map(|host| host.to_ascii_lowercase())
            .collect(),
        paths: paths(&spec.matches),
        choice: Choice::new(spec, |name| {
            let arms = [&stable.name, &canary_arm.name];
            u8::try_from(arms.iter().position(|arm| *arm == name)?).ok()
        }),
        stable,
        canary: canary_arm,
        key: spec.assignment.key.iter().map(choice::attribute).collect(),
        salt: spec.assignment.salt.clone(),
        steps: canary.steps.iter().map(planned).collect(),
        soak: canary.soak.0,
        deadline: canary.deadline.clone(),
        interval: spec.analysis.interval.map(|interval| interval.0),
        false_rollback: spec.analysis.false_rollback,
        false_promotion: spec.analysis.false_promotion,
        rollback_margin: MarginLevel::new(spec.analysis.false_rollback / 2.0),
        promotion_margin: MarginLevel::new(spec.analysis.false_promotion / 2.0),
        metric: metric.name.clone(),
        tolerance: line(metric.tolerance),
        guards: spec.analysis.guards.clone(),
        on_fail: spec.analysis.on_fail,
    };
    if check.problems.is_empty() {
        check.problems.extend(refusal::filter_refusal(&plan, spec));
    }
    if check.problems.is_empty() {
        Ok(plan)
    } else {
        Err(check.problems)
    }
}

fn planned(step: &api::Step) -> PlannedStep {
    PlannedStep {
        weight: buckets(step.weight),
        gate: line(step.gate),
        pause: step.pause.clone().unwrap_or_default(),
    }
}

fn line(margin: Margin) -> Line {
    Line {
        theta: margin.ratio,
        delta: margin.absolute.0,
    }
}

/// Per cent to 1/10 000; the caller has checked that the weight is within 0..=100.
fn buckets(weight: f64) -> u16 {
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "0..=100 per cent is 0..=10 000"
    )]
    let buckets = (weight * 100.0).round() as u16;
    buckets.min(BUCKETS)
}

/// The checker has seen to it that at most one is given.
fn paths(matches: &api::Match) -> Paths {
    let api::Match {
        path,
        path_template,
        path_prefix,
        ..
    } = matches.clone();
    path.map(Paths::Exact)
        .or(path_template.map(Paths::Template))
        .or(path_prefix.map(Paths::Prefix))
        .unwrap_or_else(Paths::all)
}

#[cfg(test)]
mod tests;
