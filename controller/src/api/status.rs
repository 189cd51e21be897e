//! `status` of a `ModelRollout` in a cluster. People and tools read it; the controller reads back `checkpoint` alone.

use serde::{Deserialize, Serialize};

/// What is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RolloutStatus {
    /// `metadata.generation` of the `spec` that this is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Everything that the controller remembers, as JSON in a text: one field, whose inside is nobody else's business,
    /// and which the API server keeps to the last bit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<String>,
}
