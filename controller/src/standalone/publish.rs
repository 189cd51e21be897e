//! The last tick's statuses, shared with the read-only endpoint.

use std::sync::{Arc, PoisonError, RwLock};

use serde::{Deserialize, Serialize};

use crate::report::Status;

/// Everything that can be seen from outside.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Snapshot {
    /// Every rollout, by name.
    pub rollouts: Vec<Status>,
    /// Mistakes in files that belong to no known rollout.
    pub problems: Vec<String>,
    /// Generation of the plugin config.
    pub generation: u64,
}

/// Holds the last [`Snapshot`]; none before the first tick has ended.
#[derive(Clone, Debug, Default)]
pub struct Board(Arc<RwLock<Option<Arc<Snapshot>>>>);

impl Board {
    /// Replaces it.
    pub fn post(&self, snapshot: Snapshot) {
        // A writer that panicked cannot have left half a snapshot: the value is one pointer.
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(snapshot));
    }

    /// Reads it.
    pub fn read(&self) -> Option<Arc<Snapshot>> {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}
