//! The `ModelRollout` resource as people write it: one schema for the cluster and for standalone files.
//!
//! An unknown field is an error, never ignored: a misspelt guard that is silently dropped is worse than a refusal.
//! What product.md names and this version does not do yet is unknown here, too, so it is refused by name.

use serde::{Deserialize, Serialize};

use crate::quantity::{Fraction, Span};

mod assignment;
mod fuse;

pub use assignment::{
    Assignment, ClaimName, Condition, Cookie, Key, Override, Range, Rule, Secret, Trusted,
};
pub use fuse::Fuse;

/// `apiVersion` of every rollout file.
pub const API_VERSION: &str = "serin.dev/v1alpha1";
/// `kind` of every rollout file.
pub const KIND: &str = "ModelRollout";

/// One rollout file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ModelRollout {
    /// Always [`API_VERSION`].
    pub api_version: String,
    /// Always [`KIND`].
    pub kind: String,
    /// Name and namespace.
    pub metadata: Metadata,
    /// What is wanted.
    pub spec: Spec,
}

/// Name of a rollout; both parts together are unique.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Metadata {
    /// Name within the namespace.
    pub name: String,
    /// Namespace; `default` when not written.
    #[serde(default = "default_namespace")]
    pub namespace: String,
}

fn default_namespace() -> String {
    "default".to_owned()
}

/// The wanted release of a model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Spec {
    /// False: as if the rollout were not there. Everybody is on the live version, and a release stands still.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub enabled: bool,
    /// Which requests belong to this rollout.
    #[serde(rename = "match")]
    pub matches: Match,
    /// Namespaces of the callers whose proxies carry the rollout (cluster only).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scope: Vec<String>,
    /// Who owns the routes.
    #[serde(default)]
    pub route: RouteOwnership,
    /// Versions that can be chosen; exactly one is stable.
    pub variants: Vec<Variant>,
    /// How a request's variant is chosen.
    pub assignment: Assignment,
    /// How the weights go up.
    pub strategy: Strategy,
    /// What is judged, and with which error rates.
    #[serde(default)]
    pub analysis: Analysis,
    /// When the proxies themselves cut the canary off; the default when not written.
    #[serde(default, deserialize_with = "fuse::not_null")]
    pub fuse: Fuse,
    /// Copies of requests for a cluster whose answers nobody sees.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shadow: Option<Shadow>,
}

fn yes() -> bool {
    true
}

#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands over references"
)]
fn is_yes(value: &bool) -> bool {
    *value
}

/// Requests of one rollout: host and path must both match. At most one of the paths is given; none means every path.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Match {
    /// Host names without port, compared without case; or `*.suffix` for every host below it, or `*`. The most specific
    /// one of all rollouts decides.
    pub hosts: Vec<String>,
    /// Path prefix on a segment boundary: `/v2/models/fraud` does not match `/v2/models/fraud2`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_prefix: Option<String>,
    /// Exactly this path, whatever its query.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// A path in which `{name}` stands for any one segment, and `/**` at the end for any further ones:
    /// `/v2/models/{name}/infer`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_template: Option<String>,
}

/// Whether Serin writes the routes or only reads the user's own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RouteOwnership {
    /// `true`: Serin owns the routes of the hosts whole.
    pub manage: bool,
}

impl Default for RouteOwnership {
    fn default() -> Self {
        Self { manage: true }
    }
}

/// A version that can be chosen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Variant {
    /// Name in this release, e.g. `canary`.
    pub name: String,
    /// `stable` on exactly one variant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// Version of the model; a text, so that `1.10` stays what it is.
    pub version: String,
    /// Where the version is served; a route belongs to one version for ever.
    pub route: Route,
    /// False: as if the variant were not there. Its users are on the live version, and the release stands still.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub enabled: bool,
}

/// Role of a variant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Role {
    /// The version that is live when the release starts.
    Stable,
}

/// Where a version is served.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Route {
    /// Envoy cluster (standalone).
    pub cluster: String,
}

/// Copies of requests, sent by the proxy and forgotten: what comes back is not waited for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Shadow {
    /// Envoy cluster that gets the copies (standalone).
    pub cluster: String,
    /// Share of the requests that are copied, such as `10%`; drawn for each request.
    pub sample: Fraction,
}

/// How the weights go up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Strategy {
    /// Steps of weight, each left when its gate has its evidence.
    Canary(Canary),
}

/// A canary release.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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

fn no_span() -> Span {
    Span(std::time::Duration::ZERO)
}

/// One weight and the evidence that lets it go on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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

/// A tolerance line: canary rate = `ratio` x stable rate + `absolute` (statistics 1.1).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Margin {
    /// Factor on stable's rate.
    pub ratio: f64,
    /// Added to it.
    #[serde(default = "no_fraction")]
    pub absolute: Fraction,
}

fn no_fraction() -> Fraction {
    Fraction(0.0)
}

/// A wait at the end of a step; what is not written is not waited for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
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
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Deadline {
    /// Counted from the start of the release.
    pub after: Span,
    /// What happens then.
    #[serde(default)]
    pub then: DeadlinePolicy,
}

/// What a deadline does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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

/// What is judged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Analysis {
    /// How often a verdict is given, a multiple of the installation's cell; not written: with every cell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<Span>,
    /// Bound on P(rolling back a release that is within `tolerance`).
    pub false_rollback: f64,
    /// Bound on P(finishing the promotion of one beyond the last step's gate).
    pub false_promotion: f64,
    /// What is compared.
    pub metrics: Vec<Metric>,
    /// Hard limits.
    pub guards: Vec<Guard>,
    /// What a failed comparison or a guard does.
    pub on_fail: OnFail,
    /// What missing counts do; there is one choice, for no data is neither success nor failure.
    pub on_no_data: Hold,
    /// What an unreadable Prometheus does; likewise.
    pub on_error: Hold,
}

/// The only answer to evidence that is not there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Hold {
    /// The weight stays, and status says so.
    #[default]
    Hold,
}

impl Default for Analysis {
    fn default() -> Self {
        Self {
            interval: None,
            false_rollback: 0.01,
            false_promotion: 0.05,
            metrics: vec![Metric {
                name: "errors".to_owned(),
                error_rate: ErrorRate {},
                tolerance: Metric::default_tolerance(),
            }],
            guards: Vec::new(),
            on_fail: OnFail::Rollback,
            on_no_data: Hold::Hold,
            on_error: Hold::Hold,
        }
    }
}

/// One comparison of canary and stable.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Metric {
    /// Name in status and messages.
    pub name: String,
    /// The share of bad requests, as `serin_filter_core::outcome::is_bad` says.
    pub error_rate: ErrorRate,
    /// A canary within this line is healthy.
    #[serde(default = "Metric::default_tolerance")]
    pub tolerance: Margin,
}

impl Metric {
    /// statistics.md, section 0: theta 1.1, delta 0.05 percentage points.
    fn default_tolerance() -> Margin {
        Margin {
            ratio: 1.1,
            absolute: Fraction(0.0005),
        }
    }
}

/// Errors as the proxies see them; nothing to set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ErrorRate {}

/// A hard limit on the canary in a short sliding window; outside the stated error rates.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Guard {
    /// Name in status and messages.
    pub name: String,
    /// The limit.
    pub error_rate: Limit,
    /// Requests below which the guard says nothing.
    #[serde(default = "default_min_requests")]
    pub min_requests: u64,
    /// Length of the window.
    #[serde(default = "default_window")]
    pub over: Span,
}

fn default_min_requests() -> u64 {
    20
}

fn default_window() -> Span {
    Span(std::time::Duration::from_secs(15))
}

/// An upper limit.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Limit {
    /// The guard acts above this share.
    pub above: Fraction,
}

/// What a failure does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum OnFail {
    /// Back to live.
    #[default]
    Rollback,
    /// A human decides.
    Hold,
    /// Say it and go on.
    Alert,
}
