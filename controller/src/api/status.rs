//! `status` of a `ModelRollout` in a cluster. People and tools read it; the controller reads back `checkpoint` alone.
//!
//! Words such as phases and verdicts are plain texts in the schema: a controller that knows one more than the installed
//! CRD could write no status at all.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::report::Verdict;
use crate::rollout::{Do, Outcome, Phase};

/// Transitions of the present release that status shows; the last ones.
pub const TRANSITIONS: usize = 20;
/// Proxies behind the others that status names.
pub const LAGGARDS: usize = 10;

/// What is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RolloutStatus {
    /// `metadata.generation` of the `spec` that this is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Where the rollout stands: Pending, Progressing, Paused, Soaking, Succeeded or RolledBack.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub phase: Option<Phase>,
    /// The step in progress, from 1, and how many there are, such as `2/4`; none from the soak on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// Weight of the new version as configured, such as `5%`; of several versions each, in the order of `variants`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<String>,
    /// Its share of the requests that were seen last, such as `4.9%`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed: Option<String>,
    /// What all metrics of the new version say together: Pass, Fail, Undecided, NoData or Error. Only Fail rolls back.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub verdict: Option<Verdict>,
    /// Why it stands where it stands, in one sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// What the default route serves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub live: Option<LiveVariant>,
    /// Version that was live when the release began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stable: Option<String>,
    /// The new version; of several the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub canary: Option<String>,
    /// When the release began.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Time>")]
    pub started: Option<Timestamp>,
    /// Every version of the release, the stable one first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub variants: Vec<VariantStatus>,
    /// Generation of the config that the proxies are to run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generation: Option<i64>,
    /// Who runs it; none while Prometheus does not answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxies: Option<ProxiesStatus>,
    /// What is judged, version by version.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["variant", "name"]))]
    pub metrics: Vec<MetricStatus>,
    /// Story of the release, newest last.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "atomic"))]
    pub transitions: Vec<TransitionStatus>,
    /// What can be said with True, False or Unknown.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// The last ten releases before this one, newest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "atomic"))]
    pub history: Vec<PastRelease>,
    /// What somebody asked for last, and what came of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_action: Option<ActionStatus>,
    /// Everything that the controller remembers, as JSON in a text: one field, whose inside is nobody else's business,
    /// and which the API server keeps to the last bit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<String>,
}

/// What the default route serves: where everybody is when nothing else is said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LiveVariant {
    /// Name in the release that made it live.
    pub name: String,
    /// Version of the model.
    pub version: String,
    /// Value of the route header.
    pub route: String,
}

/// A version of the release.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VariantStatus {
    /// Name.
    pub name: String,
    /// Version of the model.
    pub version: String,
    /// Value of the route header.
    pub route: String,
    /// Weight as configured, such as `5%`.
    pub weight: String,
    /// Share of the requests that were seen last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed: Option<String>,
    /// Requests since the release began.
    pub requests: u64,
    /// Errors among them.
    pub errors: u64,
    /// Requests that the fuse sent home.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub fused: u64,
}

#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands over references"
)]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// Who runs the present config.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProxiesStatus {
    /// Proxies that report it.
    pub running: u64,
    /// Proxies that should.
    pub expected: u64,
    /// Names of those that do not; ten at the most.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "atomic"))]
    pub laggards: Vec<String>,
}

/// A metric of one version against the stable one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MetricStatus {
    /// Name of the variant.
    pub variant: String,
    /// Name.
    pub name: String,
    /// Pass, Fail, Undecided, NoData or Error.
    #[schemars(with = "String")]
    pub verdict: Verdict,
    /// Why, in one sentence.
    pub sentence: String,
    /// Events of the version.
    pub canary: Counts,
    /// Events of the stable version.
    pub stable: Counts,
    /// Ratio of the shares of bad events, and where it lies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ratio: Option<Ratio>,
    /// Evidence that the version is worse than tolerated.
    pub harm: Evidence,
    /// Chance of so much evidence of harm, at any time, from a version that is within all tolerances.
    pub p: f64,
    /// Evidence for the step's gate; none where there is no gate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate: Option<Evidence>,
    /// What the stated error rates do not cover.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caveat: Option<String>,
}

/// Events since the release began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Counts {
    /// All of them.
    pub n: u64,
    /// The bad ones.
    pub bad: u64,
}

/// A ratio with an interval that holds however often one looks.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Ratio {
    /// The most likely value; none without a bad event of the stable version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub estimate: Option<f64>,
    /// Lower end.
    pub lower: f64,
    /// Upper end; none while there is no bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upper: Option<f64>,
}

/// How far evidence has come.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Evidence {
    /// Its e-value.
    pub e: f64,
    /// The e-value that decides.
    pub needed: f64,
}

/// One line of a release's story.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TransitionStatus {
    /// When.
    #[schemars(with = "Time")]
    pub time: Timestamp,
    /// Phase afterwards.
    #[schemars(with = "String")]
    pub phase: Phase,
    /// Weight of the new version afterwards, such as `5%`.
    pub weight: String,
    /// What happened and why, in one sentence.
    pub message: String,
}

/// A named fact, in the shape that Kubernetes' tools know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// Name.
    #[serde(rename = "type")]
    pub kind: String,
    /// True, False or Unknown.
    #[schemars(with = "String")]
    pub status: Truth,
    /// Why, in one word for programs.
    pub reason: String,
    /// Why, in one sentence for people.
    pub message: String,
    /// Since when `status` is what it is.
    #[schemars(with = "Time")]
    pub last_transition_time: Timestamp,
    /// `metadata.generation` of the `spec` that this is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
}

/// What a condition can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Truth {
    /// Yes.
    True,
    /// No.
    False,
    /// Nobody knows.
    Unknown,
}

/// A release that ended or was replaced.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PastRelease {
    /// The new version it was about.
    pub version: String,
    /// The version it was compared with.
    pub stable: String,
    /// succeeded, rolledBack or concluded; none: replaced by another release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub outcome: Option<Outcome>,
    /// When it began.
    #[schemars(with = "Time")]
    pub started: Timestamp,
    /// When it ended.
    #[schemars(with = "Time")]
    pub ended: Timestamp,
    /// Its last word.
    pub message: String,
}

/// What somebody asked for, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ActionStatus {
    /// Id of the action.
    pub id: String,
    /// What was asked for.
    #[serde(rename = "do")]
    #[schemars(with = "String")]
    pub what: Do,
    /// Who asked.
    pub by: String,
    /// When it was answered.
    #[schemars(with = "Time")]
    pub at: Timestamp,
    /// What came of it, in one sentence.
    pub answer: String,
}

impl RolloutStatus {
    /// Reads a status that any version may have written: of one that is not understood only the checkpoint is kept, so
    /// that one resource does not hide the others.
    ///
    /// # Errors
    /// The input is no JSON.
    pub fn lenient<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Self>, D::Error> {
        let Some(value) = Option::<Value>::deserialize(deserializer)? else {
            return Ok(None);
        };
        let checkpoint = value.get("checkpoint").and_then(Value::as_str);
        let checkpoint = checkpoint.map(str::to_owned);
        Ok(Some(serde_json::from_value(value).unwrap_or_else(|_| {
            Self {
                checkpoint,
                ..Self::default()
            }
        })))
    }
}
