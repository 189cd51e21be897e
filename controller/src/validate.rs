//! From a rollout file to a [`Plan`] that cannot be wrong: everything after this is infallible on its account.

mod checker;
mod choice;
mod course;
mod mesh;
mod metrics;
mod plan;
mod refusal;

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::api::{self, Margin, ModelRollout};
use crate::paths::Paths;
use crate::stats::poisson::Line;
use checker::Checker;
pub use choice::{Choice, slow_label};
pub(crate) use course::buckets;
pub(crate) use mesh::namespace_of;
pub use mesh::{Destination, Mesh};
pub use plan::{Contest, Course, Ends, HALF, Plan, PlannedMetric, PlannedStep, Source, VariantRef};

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
    let mesh = check.mesh(&rollout.metadata.namespace, spec);
    if !(0.0..=1.0).contains(&spec.quorum.0) || spec.quorum.0 == 0.0 {
        check.add(
            "spec.quorum",
            format!(
                "must be more than 0% and at most 100%, but is {}",
                spec.quorum
            ),
        );
    }
    let arms = check.variants(spec);
    check.assignment(&spec.assignment, &spec.variants);
    let way = course::way(
        &mut check,
        spec,
        arms.as_ref().map_or(&[], |(_, others)| others),
    );
    check.analysis(&spec.analysis);
    let number = arms.as_ref().map_or(1, |(_, others)| others.len());
    let metrics = metrics::metrics(&mut check, &spec.analysis, &way, number);
    check.shadow(spec.shadow.as_ref());
    if let Some(window) = spec.rollback_window {
        check.span("spec.rollbackWindow", window);
    }
    let Some((stable, others)) = arms else {
        return Err(check.problems);
    };
    let mut others = others.into_iter();
    let Some(canary) = others.next().filter(|_| !metrics.is_empty()) else {
        return Err(check.problems);
    };
    let others: Vec<_> = others.collect();
    let mut choice = Choice::new(spec, |name| {
        let mut names = [&stable, &canary].into_iter().chain(&others);
        u8::try_from(names.position(|arm| arm.name == name)?).ok()
    });
    if let api::Strategy::Shadow(shadow) = &spec.strategy {
        choice.copy_to(&canary.route, shadow.sample);
    }
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
        choice,
        stable,
        canary,
        others,
        key: spec.assignment.key.iter().map(choice::attribute).collect(),
        salt: spec.assignment.salt.clone(),
        course: way.course,
        steps: way.steps,
        soak: way.soak.0,
        deadline: way.deadline,
        interval: spec.analysis.interval.map(|interval| interval.0),
        false_rollback: spec.analysis.false_rollback,
        false_promotion: spec.analysis.false_promotion,
        metrics,
        guards: spec.analysis.guards.clone(),
        on_fail: spec.analysis.on_fail,
        rollback_window: spec.rollback_window.map(|window| window.0),
        quorum: spec.quorum.0,
        mesh,
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

fn line(margin: Margin) -> Line {
    Line {
        theta: margin.ratio,
        delta: margin.absolute.0,
    }
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
