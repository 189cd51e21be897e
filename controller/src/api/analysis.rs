//! What is judged: `spec.analysis`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Margin;
use crate::quantity::{Fraction, Span};

/// What is judged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
            metrics: vec![Metric::errors()],
            guards: Vec::new(),
            on_fail: OnFail::Rollback,
            on_no_data: Hold::Hold,
            on_error: Hold::Hold,
        }
    }
}

/// One comparison of canary and stable: a share of bad events, from exactly one of the sources.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Metric {
    /// Name in status and messages.
    pub name: String,
    /// The share of bad requests, as `serin_filter_core::outcome::is_bad` says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_rate: Option<ErrorRate>,
    /// The share of slow requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency: Option<Latency>,
    /// The share of any bad events that Prometheus knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prometheus: Option<PrometheusCounters>,
    /// A canary within this line is healthy; not written: 1.1 and 0.05 pp, of latency 0.1 pp (statistics, section 0).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tolerance: Option<Margin>,
    /// Its part of `falseRollback`, beside the other metrics' weights; where none has one they share alike.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<f64>,
    /// Gates of its own, one for each step that has one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gates: Vec<Margin>,
    /// How many bad events come at once (statistics 7.4): the evidence is divided by it.
    #[serde(default = "one_by_one", skip_serializing_if = "is_one_by_one")]
    pub dispersion: f64,
}

fn one_by_one() -> f64 {
    1.0
}

#[allow(
    clippy::trivially_copy_pass_by_ref,
    clippy::float_cmp,
    reason = "serde hands over references; the default is exact"
)]
fn is_one_by_one(value: &f64) -> bool {
    *value == 1.0
}

impl Metric {
    /// What is judged where nothing is written.
    fn errors() -> Self {
        Self {
            name: "errors".to_owned(),
            error_rate: Some(ErrorRate {}),
            latency: None,
            prometheus: None,
            tolerance: None,
            weight: None,
            gates: Vec::new(),
            dispersion: 1.0,
        }
    }

    /// The line below which a canary is healthy.
    #[must_use]
    pub fn tolerated(&self) -> Margin {
        self.tolerance.unwrap_or(Margin {
            ratio: 1.1,
            absolute: Fraction(if self.latency.is_some() {
                0.001
            } else {
                0.0005
            }),
        })
    }
}

/// Errors as the proxies see them; nothing to set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ErrorRate {}

/// Slow requests, as the proxies see them.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Latency {
    /// A request that takes longer is slow.
    pub above: Span,
}

/// Two counters in Prometheus, by selectors.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PrometheusCounters {
    /// Selects the counters of bad events.
    pub bad: String,
    /// Selects the counters of all events, bad ones included.
    pub total: String,
    /// The label whose value is the variant's version.
    #[serde(default = "version_label")]
    pub version_label: String,
}

fn version_label() -> String {
    "version".to_owned()
}

/// A hard limit on the canary in a short sliding window; outside the stated error rates.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
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
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Limit {
    /// The guard acts above this share.
    pub above: Fraction,
}

/// What a failure does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
