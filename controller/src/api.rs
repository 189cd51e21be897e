//! The `ModelRollout` resource as people write it: one schema for the cluster and for standalone files.
//!
//! An unknown field is an error, never ignored: a misspelt guard that is silently dropped is worse than a refusal.
//! What product.md names and this version does not do yet is unknown here, too, so it is refused by name.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::quantity::{Fraction, Span};

mod analysis;
mod assignment;
mod fuse;
pub mod status;
mod strategy;

pub use analysis::{
    Analysis, ErrorRate, Guard, Hold, Latency, Limit, Metric, OnFail, PrometheusCounters,
};
pub use assignment::{
    Assignment, ClaimName, Condition, Cookie, Key, Override, Range, Rule, Secret, Trusted,
};
pub use fuse::Fuse;
pub use strategy::{
    AbTest, BlueGreen, Canary, Deadline, DeadlinePolicy, Linear, Manual, Pause, Rolling,
    ShadowTest, Step, Strategy,
};

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
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
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
    /// Who owns the routes, and what they serve.
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
    /// Share of the expected proxies that must run a config before anything goes up; all of them when not written.
    #[serde(default = "everything", skip_serializing_if = "is_everything")]
    pub quorum: Fraction,
    /// How long after it was replaced a version may come back at once, without steps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollback_window: Option<Span>,
}

fn everything() -> Fraction {
    Fraction(1.0)
}

#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands over references"
)]
fn is_everything(value: &Fraction) -> bool {
    *value == everything()
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
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
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

/// Whether Serin writes the routes or only reads the user's own, and what it writes beside the versions (cluster only).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RouteOwnership {
    /// `true`: Serin owns the routes of the hosts whole. `false`: it only reads yours, and says what they lack.
    #[serde(default = "yes")]
    pub manage: bool,
    /// Service whose subsets the versions are, and which serves the hosts' other paths; the first of `match.hosts` when
    /// not written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Gateways (`namespace/name`) that carry the hosts; `mesh` are the sidecars, and what is meant when not written.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gateways: Vec<String>,
    /// Istio's `trafficPolicy` for the service, as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-preserve-unknown-fields" = true))]
    pub traffic_policy: Option<serde_json::Map<String, serde_json::Value>>,
}

impl Default for RouteOwnership {
    fn default() -> Self {
        Self {
            manage: true,
            host: None,
            gateways: Vec::new(),
            traffic_policy: None,
        }
    }
}

/// A version that can be chosen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Role {
    /// The version that is live when the release starts.
    Stable,
}

/// Where a version is served: an Envoy cluster (standalone), or in the mesh a subset of a service, or a service of its own.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Route {
    /// Envoy cluster (standalone).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// Subset of the service (cluster).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subset: Option<String>,
    /// Service; `spec.route.host` when not written (cluster).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Labels of the subset's pods; `version: SUBSET` when not written (cluster).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// Copies of requests, sent by the proxy and forgotten: what comes back is not waited for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Shadow {
    /// Envoy cluster that gets the copies (standalone).
    pub cluster: String,
    /// Share of the requests that are copied, such as `10%`; drawn for each request.
    pub sample: Fraction,
}

/// A tolerance line: canary rate = `ratio` x stable rate + `absolute` (statistics 1.1).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Margin {
    /// Factor on stable's rate; 0 compares with `absolute` alone.
    pub ratio: f64,
    /// Added to it.
    #[serde(default = "no_fraction")]
    pub absolute: Fraction,
}

fn no_fraction() -> Fraction {
    Fraction(0.0)
}
