//! What the filter itself would say of a rollout, in the words of the rollout file.

use serin_filter_core::config::ConfigError;
use serin_filter_core::split::BucketTable;
use serin_filter_core::table::RoutingTable;

use super::{Plan, Problem};
use crate::api::Spec;
use crate::render::{self, Arms};

/// The filter has the last word: it refuses a config whole, so one rollout that it does not take would freeze all.
pub(super) fn filter_refusal(plan: &Plan, spec: &Spec) -> Option<Problem> {
    let section = render::in_progress(&Arms::of_plan(plan), &BucketTable::whole(0));
    let ConfigError { field, reason } =
        RoutingTable::new(render::filter_config(vec![section], 1)).err()?;
    Some(Problem {
        path: path(field.trim_start_matches("rollouts[0]."), plan, spec),
        // The file has spans of time where the plugin config has milliseconds.
        reason: format!(
            "the filter refuses it: {}",
            reason.trim_end_matches(", in milliseconds")
        ),
    })
}

/// The field of the rollout file that became this field of the plugin config.
fn path(field: &str, plan: &Plan, spec: &Spec) -> String {
    let end = field.find(['.', '[']).unwrap_or(field.len());
    let (first, rest) = field.split_at(end);
    match first {
        "hosts" | "path" | "pathPrefix" | "pathTemplate" => format!("spec.match.{field}"),
        "key" | "salt" | "rules" | "cookie" => format!("spec.assignment.{field}"),
        "override" if rest == ".header" => "spec.assignment.override.header".to_owned(),
        "override" => format!("spec.assignment.override.trusted{rest}"),
        "fuse" => format!("spec.fuse{}", rest.trim_end_matches("Ms")),
        "shadow" => format!("spec.shadow{rest}"),
        "variants" => variant(rest, plan, spec),
        _ => format!("spec.{field}"),
    }
}

/// The file may have the variants in another order than the plan.
fn variant(rest: &str, plan: &Plan, spec: &Spec) -> String {
    let number = rest
        .strip_prefix('[')
        .and_then(|rest| rest.split_once(']')?.0.parse::<usize>().ok());
    let mut names = std::iter::once(&plan.stable).chain(plan.arms());
    let arm = number.and_then(|number| names.nth(number));
    let position = arm.and_then(|arm| spec.variants.iter().position(|it| it.name == arm.name));
    let (Some(position), Some((_, field))) = (position, rest.split_once('.')) else {
        return "spec.variants".to_owned();
    };
    let field = match field {
        "route" | "cluster" if plan.mesh.is_none() => "route.cluster",
        "cluster" => "route",
        other => other,
    };
    format!("spec.variants[{position}].{field}")
}
