//! The last tick's statuses, shared with the read-only endpoint.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

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
pub struct Board {
    snapshot: Arc<RwLock<Option<Arc<Snapshot>>>>,
    leader: Arc<RwLock<Option<String>>>,
    beat: Arc<RwLock<Option<Instant>>>,
}

impl Board {
    /// Replaces it.
    pub fn post(&self, snapshot: Snapshot) {
        *write(&self.snapshot) = Some(Arc::new(snapshot));
    }

    /// Reads it.
    pub fn read(&self) -> Option<Arc<Snapshot>> {
        read(&self.snapshot)
    }

    /// Whoever reads it is not the one that knows any more.
    pub fn clear(&self) {
        *write(&self.snapshot) = None;
        *write(&self.beat) = None;
    }

    /// The loop that decides goes round.
    pub fn beat(&self) {
        *write(&self.beat) = Some(Instant::now());
    }

    /// For how long it has not; nothing where none is meant to.
    #[must_use]
    pub fn silence(&self) -> Duration {
        read(&self.beat).map_or(Duration::ZERO, |beat| beat.elapsed())
    }

    /// Somebody else leads, there.
    pub fn follow(&self, leader: Option<String>) {
        *write(&self.leader) = leader;
    }

    /// Who leads, if it is somebody else.
    #[must_use]
    pub fn leader(&self) -> Option<String> {
        read(&self.leader)
    }
}

// A writer that panicked cannot have left half a value: each is replaced whole.
fn write<T>(lock: &RwLock<T>) -> std::sync::RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

fn read<T: Clone>(lock: &RwLock<T>) -> T {
    lock.read().unwrap_or_else(PoisonError::into_inner).clone()
}
