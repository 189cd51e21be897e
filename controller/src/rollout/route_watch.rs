//! What the proxies say of where requests went.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Whether requests go where they are meant to, in the present stage.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RouteWatch {
    /// When every expected proxy first reported the generation; `None` until then.
    pub confirmed: Option<Timestamp>,
    /// The canary's requests.
    pub canary: RouteSample,
    /// Stable's requests: also they may be sent astray.
    pub stable: RouteSample,
    /// Those of a test's other versions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<RouteSample>,
    /// Dropping the header is not tried again before this.
    pub retry_at: Option<Timestamp>,
}

/// Requests of one variant whose upstream cluster was looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RouteSample {
    /// Looked at in the cells consumed in this stage.
    pub sampled: u64,
    /// Looked at in cells that began after every proxy had the present config.
    pub sampled_confirmed: u64,
    /// Wrong ones in the last cell that looked at any of this variant.
    pub misrouted: u64,
}

impl RouteSample {
    /// Adds a cell of this variant.
    pub(super) fn add(&mut self, sampled: u64, misrouted: u64, confirmed: bool) {
        if sampled > 0 {
            self.misrouted = misrouted;
        }
        self.sampled = self.sampled.saturating_add(sampled);
        if confirmed {
            self.sampled_confirmed = self.sampled_confirmed.saturating_add(sampled);
        }
    }
}
