//! What the filter is told of a rollout beside its versions, its key and its weights.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serin_filter_core::config::{
    Attribute, ConditionConfig, CookieConfig, FuseConfig, OverrideConfig, RangeConfig, RuleConfig,
    SecretConfig, ShadowConfig, SlowConfig,
};
use serin_filter_core::split::BUCKETS;

use crate::api::{self, Condition, Key, Spec};
use crate::quantity::Fraction;

/// The part of a rollout file that is handed on to the filter as it is. All of it can be edited while a release runs,
/// except for the cookie's name (see [`crate::rollout::accept`]).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Choice {
    /// Whether the rollout is there at all.
    pub enabled: bool,
    /// Whether each version beside the stable one is there at all.
    pub arms_enabled: Vec<bool>,
    /// Issued to clients without a key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cookie: Option<CookieConfig>,
    /// Before the weights; 0 is the stable variant, 1 and more are the others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<RuleConfig>,
    /// By which header trusted callers choose.
    #[serde(default, rename = "override", skip_serializing_if = "Option::is_none")]
    pub overriding: Option<OverrideConfig>,
    /// When the canary is cut off; `None`: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fuse: Option<FuseConfig>,
    /// Which cluster gets copies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shadow: Option<ShadowConfig>,
    /// Latency limits whose excesses are counted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub slow: Vec<SlowConfig>,
}

impl Choice {
    /// From a file. `position` is where a variant of a name stands; the checker has seen to it that there is one.
    pub(super) fn new(spec: &Spec, position: impl Fn(&str) -> Option<u8>) -> Self {
        let assignment = &spec.assignment;
        let rules = assignment.rules.iter().filter_map(|rule| {
            Some(RuleConfig {
                variant: position(&rule.variant)?,
                when: rule.when.iter().map(condition).collect(),
            })
        });
        let overriding = assignment.overriding.as_ref();
        Self {
            enabled: spec.enabled,
            arms_enabled: spec
                .variants
                .iter()
                .filter(|variant| variant.role.is_none())
                .map(|variant| variant.enabled)
                .collect(),
            cookie: assignment.cookie.as_ref().map(cookie),
            rules: rules.collect(),
            overriding: overriding.map(|it| OverrideConfig {
                header: it.header.clone(),
                principals: it.trusted.principals.clone(),
                secret: it.trusted.secret.as_ref().map(|it| SecretConfig {
                    header: it.header.clone(),
                    sha256: it.sha256.clone(),
                }),
            }),
            fuse: spec.fuse.enabled.then(|| fuse(&spec.fuse)),
            shadow: spec.shadow.as_ref().map(|it| ShadowConfig {
                cluster: it.cluster.clone(),
                sample: sample(it.sample),
            }),
            slow: spec.analysis.metrics.iter().filter_map(slow).collect(),
        }
    }

    /// Sends copies to a version.
    pub(super) fn copy_to(&mut self, cluster: &str, share: Fraction) {
        self.shadow = Some(ShadowConfig {
            cluster: cluster.to_owned(),
            sample: sample(share),
        });
    }

    /// Whether the file's switches let every version have users.
    #[must_use]
    pub fn all_on(&self) -> bool {
        self.enabled && self.arms_enabled.iter().all(|enabled| *enabled)
    }

    /// Name of the cookie that makes a user of a client without a key.
    #[must_use]
    pub fn cookie_name(&self) -> Option<&str> {
        self.cookie.as_ref().map(|cookie| cookie.name.as_str())
    }
}

/// An attribute in the filter's words; header names as the proxy has them.
pub(super) fn attribute(key: &Key) -> Attribute {
    match key {
        Key::Header(name) => Attribute::Header(name.to_ascii_lowercase()),
        Key::Cookie(name) => Attribute::Cookie(name.clone()),
        Key::Query(name) => Attribute::Query(name.clone()),
        Key::JwtClaim(name) => Attribute::JwtClaim(name.0.clone()),
        Key::UnverifiedJwtClaim(name) => Attribute::UnverifiedJwtClaim(name.0.clone()),
        Key::GrpcMetadata(name) => Attribute::GrpcMetadata(name.to_ascii_lowercase()),
        Key::Source(part) => Attribute::Source(*part),
    }
}

fn condition(it: &Condition) -> ConditionConfig {
    let nested = |conditions: &Vec<Condition>| conditions.iter().map(condition).collect();
    ConditionConfig {
        header: it.header.clone(),
        cookie: it.cookie.clone(),
        query: it.query.clone(),
        jwt_claim: it.jwt_claim.clone().map(|name| name.0),
        unverified_jwt_claim: it.unverified_jwt_claim.clone().map(|name| name.0),
        grpc_metadata: it.grpc_metadata.clone(),
        source: it.source,
        request: it.request,
        equals: it.equals.clone(),
        within: it.within.clone(),
        not_in: it.not_in.clone(),
        prefix: it.prefix.clone(),
        suffix: it.suffix.clone(),
        regex: it.regex.clone(),
        exists: it.exists,
        range: it
            .range
            .map(|api::Range { min, max }| RangeConfig { min, max }),
        any: it.any.as_ref().map(nested),
        all: it.all.as_ref().map(nested),
    }
}

fn cookie(it: &api::Cookie) -> CookieConfig {
    CookieConfig {
        name: it.name.clone(),
        max_age: Some(it.max_age.0.as_secs()),
        same_site: it.same_site,
        secure: it.secure,
    }
}

fn fuse(it: &api::Fuse) -> FuseConfig {
    FuseConfig {
        consecutive_errors: it.consecutive_errors,
        error_ratio: it.error_ratio.map(|ratio| ratio.0),
        min_requests: it.min_requests,
        window_ms: millis(it.window.0),
        cooldown_ms: millis(it.cooldown.0),
        pending_ms: it.pending.map(|span| millis(span.0)),
        slow_ms: it.slow.map(|span| millis(span.0)),
    }
}

/// Value of the label `serin_metric` of a latency metric.
#[must_use]
pub fn slow_label(name: &str, above: Duration) -> String {
    format!("{name}-above-{}us", above.as_micros())
}

fn slow(metric: &api::Metric) -> Option<SlowConfig> {
    let above = metric.latency?.above.0;
    Some(SlowConfig {
        // Counts under another limit are another counter's.
        name: slow_label(&metric.name, above),
        above_micros: u64::try_from(above.as_micros()).unwrap_or(u64::MAX),
    })
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// A share in 1/10 000; the checker has seen to it that it is within 0 to 1.
fn sample(share: Fraction) -> u16 {
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "0..=1 is 0..=10 000"
    )]
    let sample = (share.0 * f64::from(BUCKETS)).round() as u16;
    sample.min(BUCKETS)
}
