//! How the weights go up: `spec.strategy`.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Margin;
use crate::quantity::{Fraction, Span};

/// How the weights go up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Strategy {
    /// Steps of weight, each left when its gate has its evidence.
    Canary(Canary),
    /// Steps of one size with one gate.
    Linear(Linear),
    /// At 0 %, where only rules and overrides lead to it, then everybody at once.
    BlueGreen(BlueGreen),
    /// The weight follows the new version's share of the ready endpoints.
    Rolling(Rolling),
    /// Fixed weights of several versions, until one is proven better, or a date.
    AbTest(AbTest),
    /// Copies of requests, whose answers nobody sees.
    Shadow(ShadowTest),
    /// Weights that people set.
    Manual(Manual),
}

/// A canary release.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Canary {
    /// Weights, rising.
    pub steps: Vec<Step>,
    /// How long the canary carries all traffic by header before the default route moves.
    #[serde(default = "no_span")]
    pub soak: Span,
    /// What happens when the release takes too long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Deadline>,
}

/// A release in steps of one size.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Linear {
    /// Per cent that each step adds.
    pub step_weight: f64,
    /// Per cent of the last step; after it comes 100 %.
    #[serde(default = "half")]
    pub max_weight: f64,
    /// Evidence needed to leave each step.
    pub gate: Margin,
    /// Each step lasts at least so long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every: Option<Span>,
    /// How long the new version carries all traffic by header before the default route moves.
    #[serde(default = "no_span")]
    pub soak: Span,
    /// What happens when the release takes too long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Deadline>,
}

/// One switch from the old version to the new one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BlueGreen {
    /// The time at 0 %.
    #[serde(default = "until_approved")]
    pub preview: Pause,
    /// What the new version must stay below once it has everybody, by what the old one showed before.
    #[serde(default = "switch_limit")]
    pub limit: Margin,
    /// How long the new version carries all traffic by header, the old one a moment away, before the default route
    /// moves.
    pub soak: Span,
    /// What happens when the release takes too long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Deadline>,
}

/// A release that follows the capacity of the new version.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rolling {
    /// Per cent that the weight stays at or below until the gate has passed.
    #[serde(default = "half")]
    pub max_weight: f64,
    /// Evidence needed to go beyond.
    pub gate: Margin,
    /// How long the new version carries all traffic by header before the default route moves.
    #[serde(default = "no_span")]
    pub soak: Span,
    /// What happens when the release takes too long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Deadline>,
}

/// A comparison of versions at fixed weights. It moves no default route: its result is a name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AbTest {
    /// Per cent by the name of the variant; the stable one has the rest.
    pub weights: BTreeMap<String, f64>,
    /// Two versions whose shares of bad requests (of the first metric) are proven to be closer than this are the same.
    pub difference: Fraction,
    /// Ends so long after the start, whatever is known by then.
    #[serde(default, rename = "for", skip_serializing_if = "Option::is_none")]
    pub duration: Option<Span>,
    /// Ends at this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Time>")]
    pub until: Option<Timestamp>,
}

/// A comparison on copies of requests. It moves nobody.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ShadowTest {
    /// Share of the requests that are copied, such as `10%`; drawn for each.
    pub sample: Fraction,
    /// What is to be shown.
    pub gate: Margin,
    /// It lasts at least so long.
    #[serde(default, rename = "for", skip_serializing_if = "Option::is_none")]
    pub duration: Option<Span>,
    /// What happens when the release takes too long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Deadline>,
}

/// A release whose weights people set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Manual {
    /// Per cent at the start.
    #[serde(default)]
    pub weight: f64,
    /// How long the new version carries all traffic by header before the default route moves.
    #[serde(default = "no_span")]
    pub soak: Span,
    /// What happens when the release takes too long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Deadline>,
}

fn no_span() -> Span {
    Span(Duration::ZERO)
}

fn half() -> f64 {
    50.0
}

fn switch_limit() -> Margin {
    Margin {
        ratio: 1.25,
        absolute: Fraction(0.002),
    }
}

fn until_approved() -> Pause {
    Pause {
        approval: true,
        duration: None,
    }
}

/// One weight and the evidence that lets it go on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Step {
    /// Per cent of the users, at most two decimals.
    pub weight: f64,
    /// Evidence needed to leave the step.
    pub gate: Margin,
    /// Wait after the gate has passed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause: Option<Pause>,
}

/// A wait at the end of a step; what is not written is not waited for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Pause {
    /// Until somebody promotes.
    #[serde(default)]
    pub approval: bool,
    /// For a time after the step began.
    #[serde(default, rename = "for", skip_serializing_if = "Option::is_none")]
    pub duration: Option<Span>,
}

/// A limit on the time of a whole release.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Deadline {
    /// Counted from the start of the release.
    pub after: Span,
    /// What happens then.
    #[serde(default)]
    pub then: DeadlinePolicy,
}

/// What a deadline does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum DeadlinePolicy {
    /// Wait for a human, and say so.
    #[default]
    Hold,
    /// Back to live.
    Rollback,
    /// On to the next step without the gate's evidence.
    Promote,
}
