//! The filter's own cut-off, as people write it.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de};

use super::{is_yes, yes};
use crate::quantity::{Fraction, Span};

/// When each worker of each proxy cuts the canary off for itself: its users are on the live version at once, and a few
/// probes after the cooldown say when it is well again.
///
/// It is on when nothing is written: a dead canary should hurt nobody for longer than a second. `null` switches a single
/// rule off. No default bounds the time that a request may take, because a stream may well take minutes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Fuse {
    /// False: no fuse.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub enabled: bool,
    /// Trips after so many bad requests in a row.
    pub consecutive_errors: Option<u32>,
    /// Trips when this share of the requests in the window is bad.
    pub error_ratio: Option<Fraction>,
    /// Requests in the window below which the share says nothing.
    pub min_requests: u32,
    /// Length of the sliding window.
    pub window: Span,
    /// How long everybody is sent home before the first probe.
    pub cooldown: Span,
    /// A request that has not ended after this time is bad; longer than any request that is well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pending: Option<Span>,
    /// A request that took longer is bad for the fuse (for nothing else).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slow: Option<Span>,
}

impl Default for Fuse {
    fn default() -> Self {
        Self {
            enabled: true,
            consecutive_errors: Some(5),
            error_ratio: Some(Fraction(0.5)),
            min_requests: 20,
            window: Span(Duration::from_secs(1)),
            cooldown: Span(Duration::from_secs(30)),
            pending: None,
            slow: None,
        }
    }
}

/// `null` switches a rule of the fuse off, so that whoever writes it for the whole does not want the default.
pub(super) fn not_null<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Fuse, D::Error> {
    Option::deserialize(deserializer)?.ok_or_else(|| {
        de::Error::custom(
            "null is no fuse: say enabled: false to switch it off, or leave the field out for the default one",
        )
    })
}
