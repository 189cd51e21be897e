//! What a valid rollout file comes to.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serin_filter_core::config::Attribute;

use super::{Choice, Destination, Mesh, RolloutName};
use crate::api::{Deadline, Guard, OnFail, Pause, PrometheusCounters};
use crate::paths::Paths;
use crate::stats::poisson::Line;
use crate::stats::user_mix::MarginLevel;

/// Half of an error probability pays for the margin, half is the level of the e-process (statistics 7.9).
pub const HALF: f64 = 0.5;

/// A version and where it is served.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VariantRef {
    /// Name in the release.
    pub name: String,
    /// Version of the model.
    pub version: String,
    /// Value of the route header, and in standalone the Envoy cluster.
    pub route: String,
    /// Where that is in the mesh.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination: Option<Destination>,
}

impl VariantRef {
    /// The Envoy cluster, or in the mesh the end of its name (see
    /// [`VariantConfig`](serin_filter_core::config::VariantConfig)).
    #[must_use]
    pub fn cluster(&self) -> String {
        let destination = self.destination.as_ref();
        destination.map_or_else(|| self.route.clone(), Destination::cluster)
    }
}

/// Weights and what lets them go on.
#[derive(Clone, Debug, PartialEq)]
pub struct PlannedStep {
    /// Share of each arm in 1/10 000.
    pub weights: Vec<u16>,
    /// Whether evidence is wanted; the lines are the metrics' ([`PlannedMetric::gates`]).
    pub gated: bool,
    /// Wait after the gate.
    pub pause: Pause,
}

impl PlannedStep {
    /// Share of the first arm in 1/10 000.
    #[must_use]
    pub fn weight(&self) -> u16 {
        self.weights.first().copied().unwrap_or(0)
    }
}

/// Where a metric's events are counted.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// By the proxies: bad requests.
    Errors,
    /// By the proxies: requests that take longer.
    Latency {
        /// The limit.
        above: Duration,
    },
    /// By somebody else, who knows nothing of users: judged, but outside the stated error rates where users differ and
    /// stay put (statistics 7.9).
    Custom(PrometheusCounters),
}

/// A metric and its part in the verdict.
#[derive(Clone, Debug, PartialEq)]
pub struct PlannedMetric {
    /// Name in status and messages.
    pub name: String,
    /// What it counts.
    pub source: Source,
    /// A canary within this line is healthy.
    pub tolerance: Line,
    /// Its part of `falseRollback`; all parts of an arm sum to 1.
    pub share: f64,
    /// The gate's line of each step; `None` where the step has no gate.
    pub gates: Vec<Option<Line>>,
    /// The limit after the switch where no step has a gate.
    pub limit: Option<Line>,
    /// How many bad events come at once (statistics 7.4).
    pub dispersion: f64,
    /// What luck in the draw of users is allowed against rollback (statistics 7.9).
    pub harm_margin: MarginLevel,
    /// The same against promotion, and in a test against each of the versions that may be named the best.
    pub gate_margin: MarginLevel,
}

impl PlannedMetric {
    /// What lies below this line may be promoted: the last gate, or else the tolerance.
    #[must_use]
    pub fn last_gate(&self) -> Line {
        let gates = self.gates.iter().rev().flatten().next();
        gates.copied().or(self.limit).unwrap_or(self.tolerance)
    }
}

/// What moves the weights.
#[derive(Clone, Debug, PartialEq)]
pub enum Course {
    /// The steps, and then the default route.
    Steps,
    /// The share of the ready endpoints, up to the step's weight until its gate has passed; then the default route.
    Capacity,
    /// People, and then the default route.
    Hand,
    /// Nothing: the versions are compared.
    Contest(Contest),
    /// Nothing: copies are compared.
    Copies,
}

/// An A/B test.
#[derive(Clone, Debug, PartialEq)]
pub struct Contest {
    /// Two versions that are closer than this are the same.
    pub difference: f64,
    /// When it ends at the latest.
    pub ends: Ends,
}

/// The end of a test.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Ends {
    /// So long after its start.
    After(Duration),
    /// At this time.
    At(Timestamp),
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
    /// The new version; of several the first.
    pub canary: VariantRef,
    /// The others.
    pub others: Vec<VariantRef>,
    /// Attributes that make a user.
    pub key: Vec<Attribute>,
    /// Salt of the buckets.
    pub salt: String,
    /// What else the filter is told.
    pub choice: Choice,
    /// What moves the weights.
    pub course: Course,
    /// Weights; at least one.
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
    /// What is compared; at least one.
    pub metrics: Vec<PlannedMetric>,
    /// Hard limits.
    pub guards: Vec<Guard>,
    /// What a failure does.
    pub on_fail: OnFail,
    /// How long after it was replaced a version may come back at once.
    pub rollback_window: Option<Duration>,
    /// Share of the expected proxies that must run a config before anything goes up.
    pub quorum: f64,
    /// Its place in the mesh; `None`: standalone.
    pub mesh: Option<Mesh>,
}

impl Plan {
    /// Every version beside the stable one.
    pub fn arms(&self) -> impl Iterator<Item = &VariantRef> + Clone {
        std::iter::once(&self.canary).chain(&self.others)
    }

    /// The e-value's probability that ends an arm: half of `falseRollback`, shared by the arms.
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "at most 15 arms")]
    pub fn harm_level(&self) -> f64 {
        self.false_rollback * HALF / (1 + self.others.len()) as f64
    }

    /// The e-value's probability that passes a gate.
    #[must_use]
    pub fn gate_level(&self) -> f64 {
        self.false_promotion * HALF
    }
}
