//! Every rollout as it was last seen, shared with the read-only endpoint.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::report::{Sources, Status};
use crate::validate::RolloutName;

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

/// What a rollout has become.
#[derive(Clone, Debug)]
pub struct Change {
    /// Which.
    pub name: RolloutName,
    /// As it stands; `None`: there is none.
    pub sources: Option<Sources>,
    /// What is wrong with it, if there is none.
    pub problems: Vec<String>,
}

/// Every rollout as it was last seen.
#[derive(Clone, Debug, Default)]
struct Everything {
    rollouts: BTreeMap<RolloutName, Arc<Sources>>,
    /// Mistakes by where they are: a rollout, or nowhere that can be named.
    problems: BTreeMap<Option<RolloutName>, Vec<String>>,
    generation: u64,
}

/// Holds what was seen last; nothing before the first tick has ended.
#[derive(Clone, Debug, Default)]
pub struct Board {
    everything: Arc<RwLock<Option<Everything>>>,
    leader: Arc<RwLock<Option<String>>>,
    beat: Arc<RwLock<Option<Instant>>>,
}

impl Board {
    /// Replaces everything.
    pub fn post(
        &self,
        rollouts: impl IntoIterator<Item = Sources>,
        problems: Vec<String>,
        generation: u64,
    ) {
        let rollouts = rollouts.into_iter();
        *write(&self.everything) = Some(Everything {
            rollouts: rollouts
                .map(|it| (it.state.name.clone(), Arc::new(it)))
                .collect(),
            problems: BTreeMap::from([(None, problems)]),
            generation,
        });
    }

    /// Replaces what has changed: of thousands of rollouts most stand still.
    pub fn update(&self, changes: Vec<Change>, generation: u64) {
        let mut everything = write(&self.everything);
        let everything = everything.get_or_insert_default();
        everything.generation = generation;
        for Change {
            name,
            sources,
            problems,
        } in changes
        {
            let key = Some(name.clone());
            if problems.is_empty() {
                everything.problems.remove(&key);
            } else {
                everything.problems.insert(key, problems);
            }
            match sources {
                Some(sources) => everything.rollouts.insert(name, Arc::new(sources)),
                None => everything.rollouts.remove(&name),
            };
        }
    }

    /// Reads everything.
    #[must_use]
    pub fn read(&self) -> Option<Snapshot> {
        let Everything {
            rollouts,
            problems,
            generation,
        } = read(&self.everything)?;
        // Nobody who writes waits for this.
        Some(Snapshot {
            rollouts: rollouts.values().map(|it| it.status()).collect(),
            problems: problems.into_values().flatten().collect(),
            generation,
        })
    }

    /// What every rollout's status is made of.
    #[must_use]
    pub fn sources(&self) -> Vec<Arc<Sources>> {
        let everything = lock(&self.everything);
        let rollouts = everything.iter().flat_map(|it| it.rollouts.values());
        rollouts.cloned().collect()
    }

    /// Reads one rollout, if there is anything to be read at all.
    #[must_use]
    pub fn read_one(&self, name: &RolloutName) -> Option<Option<Status>> {
        let everything = lock(&self.everything);
        let found = everything.as_ref()?.rollouts.get(name).cloned();
        drop(everything);
        Some(found.map(|it| it.status()))
    }

    /// Whether there is anything to be read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        lock(&self.everything).is_none()
    }

    /// Whoever reads it is not the one that knows any more.
    pub fn clear(&self) {
        *write(&self.everything) = None;
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

// A writer that panicked cannot have left half a value: what is in there is changed by moves alone.
fn write<T>(lock: &RwLock<T>) -> std::sync::RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

fn lock<T>(lock: &RwLock<T>) -> std::sync::RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn read<T: Clone>(it: &RwLock<T>) -> T {
    lock(it).clone()
}
