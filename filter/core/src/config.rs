//! The wire format: what the controller writes and the filter reads. See the crate documentation for an example.

use std::fmt::Display;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::split::BucketTable;
use crate::stat::Encoding;

mod assignment;
mod decode;
pub(crate) mod json;
mod read;

pub use assignment::{
    Attribute, Claim, ConditionConfig, CookieConfig, OverrideConfig, RangeConfig, RequestPart,
    RuleConfig, SecretConfig, SourcePart,
};
pub(crate) use read::check_version;
pub use read::{Head, Parts};

/// The major version of the wire format that this crate reads and writes.
pub const VERSION: u32 = 1;

/// The request header that carries the route of a variant which is not live, unless the configuration names another.
pub const DEFAULT_ROUTE_HEADER: &str = "x-serin-route";

/// The request header that names the cluster which gets a copy of the request, unless the configuration names another.
pub const DEFAULT_SHADOW_HEADER: &str = "x-serin-shadow";

/// Why a configuration cannot be used: which field, and what is wrong with it and to be done about it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("invalid filter configuration: {field}: {reason}")]
pub struct ConfigError {
    /// Path of the field in the JSON, such as `rollouts[0].table`; `config` where it is the document itself.
    pub field: String,
    /// What is wrong and what to do, a sentence without its full stop.
    pub reason: String,
}

impl ConfigError {
    /// An error about one field, whose path is put into words only here: `format_args!` costs nothing where all is well.
    pub fn new(field: impl Display, reason: impl Into<String>) -> Self {
        Self {
            field: field.to_string(),
            reason: reason.into(),
        }
    }
}

/// The whole configuration of one filter: every rollout of the proxies that receive it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FilterConfig {
    /// Major version of the format, [`VERSION`].
    pub version: u32,
    /// Number of this rendering; the proxies report it back as a gauge. 0 only where there are no rollouts.
    pub generation: u64,
    /// Name of the request header that carries the route of a variant which is not live.
    #[serde(default = "default_route_header")]
    pub route_header: String,
    /// Name of the request header that carries the cluster which is to get a copy of the request.
    #[serde(default = "default_shadow_header")]
    pub shadow_header: String,
    /// How the labels of the metrics travel in their names.
    #[serde(default, skip_serializing_if = "is_default")]
    pub stats: Encoding,
    /// The rollouts, in any order.
    pub rollouts: Vec<RolloutConfig>,
}

/// One rollout: which requests are its own, and how they are shared among its variants.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RolloutConfig {
    /// `namespace/name`, the value of the metric label `serin_rollout`.
    pub name: String,
    /// False: as if the rollout were not there.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub enabled: bool,
    /// Host names without port, compared without regard to case: exact, or `*.suffix` for every host below it, or `*`.
    pub hosts: Vec<String>,
    /// Path prefix on a segment boundary: `/a/b` means `/a/b`, `/a/b/c` and `/a/b?x`, but not `/a/bc`. At most one of
    /// the three path fields is given; none means every path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_prefix: Option<String>,
    /// Exactly this path, whatever its query.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// A path in which `{name}` stands for any one segment, and `/**` at the end for any further ones:
    /// `/v2/models/{name}/infer`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_template: Option<String>,
    /// The variants; bucket table and rules name them by their position here. Exactly one is live.
    pub variants: Vec<VariantConfig>,
    /// Where the key of a user is read; the first source that is present and not empty wins.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub key: Vec<Attribute>,
    /// The cookie that makes a user of a client which shows no key; none: each of its requests is drawn anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cookie: Option<CookieConfig>,
    /// Rules, before the weights; the first that matches wins.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<RuleConfig>,
    /// The header by which trusted callers choose a variant, before the rules.
    #[serde(default, rename = "override", skip_serializing_if = "Option::is_none")]
    pub overriding: Option<OverrideConfig>,
    /// Salt of the hash, so that rollouts do not share their unlucky users.
    pub salt: String,
    /// Who owns which buckets.
    pub table: BucketTable,
    /// Whether a release is in progress; only then are the counters per group kept.
    #[serde(default)]
    pub progressing: bool,
    /// Latency limits whose excess is counted per group while a release is in progress.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub slow: Vec<SlowConfig>,
    /// When a variant that is not live is cut off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fuse: Option<FuseConfig>,
    /// Which cluster gets copies of requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shadow: Option<ShadowConfig>,
}

/// One version that can be chosen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VariantConfig {
    /// Name, the value of the metric label `serin_variant`.
    pub name: String,
    /// Version, the value of the metric label `serin_version`.
    pub version: String,
    /// False: as if the variant were not there. Its users are on the live one, and rules that lead to it do not match.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub enabled: bool,
    /// Whether this is what the default route serves: it is reached without any header.
    #[serde(default, skip_serializing_if = "is_default")]
    pub live: bool,
    /// Value of the route header that leads here.
    pub route: String,
    /// Upstream cluster that must serve this variant; none: where its requests really went is not checked. What begins
    /// with `|` is the end of the cluster's name: Istio's are `outbound|<port>|<subset>|<host>`, and `|v8|fraud.ml` is
    /// any port of that subset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
}

/// A latency limit. What is slower is counted by the filter itself, because Envoy's histograms keep two digits only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SlowConfig {
    /// Name of the metric, the value of the label `serin_metric`.
    pub name: String,
    /// Requests that took longer are slow; from the request's headers to its end, in microseconds.
    pub above_micros: u64,
}

/// When a variant that is not live is cut off, by each worker for itself. See [`crate::fuse::FuseSettings`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FuseConfig {
    /// Trips after so many bad requests in a row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consecutive_errors: Option<u32>,
    /// Trips when this share of the requests in the window is bad.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_ratio: Option<f64>,
    /// Requests in the window below which the share says nothing.
    #[serde(default = "default_min_requests")]
    pub min_requests: u32,
    /// Length of the sliding window, in milliseconds.
    #[serde(default = "default_window_ms")]
    pub window_ms: u64,
    /// How long everybody is sent home before the first probe, in milliseconds.
    #[serde(default = "default_cooldown_ms")]
    pub cooldown_ms: u64,
    /// A request whose response has not begun after so many milliseconds is bad at that moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending_ms: Option<u64>,
    /// A request that took longer than so many milliseconds is bad for the fuse (for nothing else).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slow_ms: Option<u64>,
}

/// Copies of requests for a cluster whose answers nobody sees. The proxy sends them, by a route whose
/// `request_mirror_policies` reads the shadow header with `cluster_header`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ShadowConfig {
    /// The cluster that gets the copies.
    pub cluster: String,
    /// How many requests of 10 000 are copied, drawn for each request.
    pub sample: u16,
}

fn default_route_header() -> String {
    DEFAULT_ROUTE_HEADER.to_owned()
}

fn default_shadow_header() -> String {
    DEFAULT_SHADOW_HEADER.to_owned()
}

fn default_min_requests() -> u32 {
    20
}

fn default_window_ms() -> u64 {
    1_000
}

fn default_cooldown_ms() -> u64 {
    30_000
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

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

#[cfg(test)]
mod tests;
