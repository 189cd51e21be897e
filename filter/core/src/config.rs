//! The wire format: what the controller writes and the filter reads. See the crate documentation for an example.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::split::BucketTable;

/// The major version of the wire format that this crate reads and writes.
pub const VERSION: u32 = 1;

/// The request header that carries the route of a variant which is not live, unless the configuration names another.
pub const DEFAULT_ROUTE_HEADER: &str = "x-serin-route";

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
    /// An error about one field.
    pub fn new(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            reason: reason.into(),
        }
    }
}

/// The whole configuration of one filter: every rollout of the proxies that receive it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FilterConfig {
    /// Major version of the format, [`VERSION`].
    pub version: u32,
    /// Number of this rendering; the proxies report it back as a gauge. 0 only where there are no rollouts.
    pub generation: u64,
    /// Name of the request header that carries the route of a variant which is not live.
    #[serde(default = "default_route_header")]
    pub route_header: String,
    /// The rollouts, in any order.
    pub rollouts: Vec<RolloutConfig>,
}

/// One rollout: which requests are its own, and how they are shared among its variants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RolloutConfig {
    /// `namespace/name`, the value of the metric label `rollout`.
    pub name: String,
    /// Host names without port, compared without regard to case.
    pub hosts: Vec<String>,
    /// Path prefix on a segment boundary: `/a/b` means `/a/b`, `/a/b/c` and `/a/b?x`, but not `/a/bc`.
    #[serde(default = "default_path_prefix")]
    pub path_prefix: String,
    /// The variants; the bucket table names them by their position here. Exactly one is live.
    pub variants: Vec<VariantConfig>,
    /// Where the key of a user is read; the first source that is present and not empty wins. None: random per request.
    #[serde(default)]
    pub key: Vec<KeySource>,
    /// Salt of the hash, so that rollouts do not share their unlucky users.
    pub salt: String,
    /// Who owns which buckets.
    pub table: BucketTable,
    /// Whether a release is in progress; only then are the counters per group kept.
    #[serde(default)]
    pub progressing: bool,
}

/// One version that can be chosen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VariantConfig {
    /// Name, the value of the metric label `variant`.
    pub name: String,
    /// Version, the value of the metric label `version`.
    pub version: String,
    /// Whether this is what the default route serves: it is reached without any header.
    #[serde(default)]
    pub live: bool,
    /// Value of the route header that leads here.
    pub route: String,
    /// Upstream cluster that must serve this variant; none: where its requests really went is not checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
}

/// Where the key of a user is read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum KeySource {
    /// The first value of a request header, `{"header": "x-user-id"}`.
    Header(String),
}

impl FilterConfig {
    /// Reads a configuration from JSON. What it says is checked by [`crate::table::RoutingTable::new`].
    ///
    /// # Errors
    /// The JSON is broken, a field is missing or of the wrong type, or the version is newer than [`VERSION`].
    pub fn parse(json: &[u8]) -> Result<Self, ConfigError> {
        // The version is read first and alone: the rest of a newer format may not fit these types, and "unknown
        // version" is the message that helps.
        let Envelope { version } = read(json)?;
        check_version(version)?;
        read(json)
    }
}

/// Refuses what another major version of the format would mean.
pub(crate) fn check_version(version: u32) -> Result<(), ConfigError> {
    if version == VERSION {
        return Ok(());
    }
    let advice = if version > VERSION {
        "is newer than this filter reads: upgrade the filter before the controller"
    } else {
        "was never published"
    };
    Err(ConfigError::new(
        "version",
        format!("version {version} {advice} (this filter reads version {VERSION})"),
    ))
}

#[derive(Deserialize)]
struct Envelope {
    version: u32,
}

fn read<'de, T: Deserialize<'de>>(json: &'de [u8]) -> Result<T, ConfigError> {
    let mut json = serde_json::Deserializer::from_slice(json);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        let field = if path == "." { "config" } else { &path };
        ConfigError::new(field, error.inner().to_string())
    })?;
    json.end()
        .map_err(|error| ConfigError::new("config", error.to_string()))?;
    Ok(value)
}

fn default_route_header() -> String {
    DEFAULT_ROUTE_HEADER.to_owned()
}

fn default_path_prefix() -> String {
    "/".to_owned()
}

#[cfg(test)]
mod tests;
