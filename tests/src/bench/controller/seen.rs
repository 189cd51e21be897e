//! What the API server shows of the controller's work, and when: weights in the plugin objects, and statuses.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use kube::Client;
use serin_controller::api::status::RolloutStatus;
use serin_controller::cluster::object::Kind;
use serin_controller::cluster::plugin;
use serin_controller::cluster::resource::ModelRollout;
use serin_controller::cluster::watch::{self, Change};
use serin_controller::rollout::Phase;
use tokio::sync::mpsc::{self, Receiver};
use tokio::task::JoinSet;

/// Position of the new version among the variants of a plugin's rollout.
const CANARY: u8 = 1;
/// What may lie between a write and its event: two writes that are 60 s apart are seen a little closer.
const JITTER: Duration = Duration::from_secs(1);
/// How often the status of a release may be written where nothing happens.
const CHECKPOINT: Duration = Duration::from_secs(60);

/// What is there, as a watch tells it; it ends when dropped.
#[derive(Debug)]
pub struct Watching {
    seen: Seen,
    _tasks: JoinSet<()>,
}

/// What was seen so far.
#[derive(Debug, Clone, Default)]
pub struct Seen(Arc<Mutex<Record>>);

#[derive(Debug, Default)]
struct Record {
    /// The new version's share of 10 000 buckets, by rollout, and since when.
    shares: HashMap<String, (u16, Instant)>,
    /// By namespace of the plugin object.
    generations: HashMap<String, u64>,
    statuses: HashMap<String, Status>,
    writes: Writes,
}

#[derive(Debug)]
struct Status {
    phase: Option<Phase>,
    /// Of all of it.
    mark: u64,
    /// Of what only a transition changes.
    transition: u64,
    at: Instant,
}

/// Writes of statuses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Writes {
    /// With something that happened.
    pub transitions: u64,
    /// With new evidence alone.
    pub checkpoints: u64,
    /// Checkpoints that came too soon after the write before.
    pub early: u64,
}

impl Watching {
    /// Watches rollouts and plugin objects of all namespaces.
    #[must_use]
    pub fn start(client: &Client) -> Watching {
        let (sender, changes) = mpsc::channel(64);
        let (mut tasks, _) = watch::start(client, &[Kind::TrafficExtension], &[], &sender);
        let seen = Seen::default();
        tasks.spawn(follow(seen.clone(), changes));
        Watching {
            seen,
            _tasks: tasks,
        }
    }

    /// What was seen so far; it goes on being brought up to date.
    #[must_use]
    pub fn seen(&self) -> &Seen {
        &self.seen
    }
}

async fn follow(seen: Seen, mut changes: Receiver<Change>) {
    while let Some(change) = changes.recv().await {
        let now = Instant::now();
        match change {
            Change::Resource(resource) => seen.lock().resource(&resource, now),
            Change::Object(id, object) => {
                if let Some(config) = plugin::config_in(&object) {
                    let shares = config.rollouts.into_iter();
                    let shares = shares.map(|it| (it.name, it.table.share(CANARY)));
                    let mut record = seen.lock();
                    record.generations.insert(id.namespace, config.generation);
                    shares.for_each(|(name, share)| record.share(name, share, now));
                }
            }
            Change::ResourceGone(_) | Change::ObjectGone(_) | Change::Complete(..) => {}
        }
    }
}

impl Seen {
    fn lock(&self) -> MutexGuard<'_, Record> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The new version's share of a rollout in 1/10 000, and since when that is known.
    #[must_use]
    pub fn share(&self, rollout: &str) -> Option<(u16, Instant)> {
        self.lock().shares.get(rollout).copied()
    }

    /// How many rollouts are in the plugin objects.
    #[must_use]
    pub fn sections(&self) -> usize {
        self.lock().shares.len()
    }

    /// The generation of a namespace's plugin object.
    #[must_use]
    pub fn generation(&self, namespace: &str) -> Option<u64> {
        self.lock().generations.get(namespace).copied()
    }

    /// How many rollouts say that they are in a phase.
    #[must_use]
    pub fn in_phase(&self, phase: Phase) -> usize {
        let record = self.lock();
        let phases = record.statuses.values().map(|it| it.phase);
        phases.filter(|it| *it == Some(phase)).count()
    }

    /// Writes of statuses from the last call on.
    #[must_use]
    pub fn take_writes(&self) -> Writes {
        std::mem::take(&mut self.lock().writes)
    }
}

impl Record {
    fn share(&mut self, rollout: String, share: u16, now: Instant) {
        let known = self.shares.entry(rollout).or_insert((share, now));
        if known.0 != share {
            *known = (share, now);
        }
    }

    fn resource(&mut self, resource: &ModelRollout, now: Instant) {
        let (Some(namespace), Some(name)) = (&resource.metadata.namespace, &resource.metadata.name)
        else {
            return;
        };
        let status = resource.status.as_ref();
        let next = Status {
            phase: status.and_then(|it| it.phase),
            mark: hash(&serde_json::to_string(&status).unwrap_or_default()),
            transition: hash(&status.map(of_transitions)),
            at: now,
        };
        let name = format!("{namespace}/{name}");
        let Some(before) = self.statuses.get(&name) else {
            self.statuses.insert(name, next);
            return;
        };
        if before.mark == next.mark {
            return;
        }
        if before.transition != next.transition {
            self.writes.transitions += 1;
        } else {
            self.writes.checkpoints += 1;
            let gap = now.duration_since(before.at);
            self.writes.early += u64::from(gap + JITTER < CHECKPOINT);
        }
        self.statuses.insert(name, next);
    }
}

/// What stays the same while a release only counts.
fn of_transitions(status: &RolloutStatus) -> String {
    let last = status.transitions.last();
    format!(
        "{:?} {:?} {:?} {:?} {last:?}",
        status.phase, status.weight, status.step, status.last_action
    )
}

fn hash(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn written(status: &serde_json::Value) -> ModelRollout {
        serde_json::from_value(json!({
            "metadata": {"namespace": "ml", "name": "fraud"}, "spec": {}, "status": status
        }))
        .unwrap()
    }

    #[test]
    fn a_checkpoint_that_comes_too_soon_is_counted_and_a_transition_is_not_one() {
        let mut record = Record::default();
        let begin = Instant::now();
        let mut at = |seconds, status: serde_json::Value| {
            record.resource(&written(&status), begin + Duration::from_secs(seconds));
            record.writes
        };
        at(0, json!({"phase": "Progressing", "checkpoint": "a"}));
        // The same again, such as after a change of the finalizers.
        at(1, json!({"phase": "Progressing", "checkpoint": "a"}));
        let first = at(60, json!({"phase": "Progressing", "checkpoint": "b"}));
        assert_eq!((first.checkpoints, first.early), (1, 0));
        let soon = at(90, json!({"phase": "Progressing", "checkpoint": "c"}));
        assert_eq!((soon.checkpoints, soon.early), (2, 1));
        let ended = at(91, json!({"phase": "RolledBack", "checkpoint": "d"}));
        assert_eq!((ended.transitions, ended.early), (1, 1));
    }

    #[test]
    fn a_share_is_as_old_as_its_value() {
        let mut record = Record::default();
        let begin = Instant::now();
        let later = begin + Duration::from_secs(1);
        record.share("ml/fraud".to_owned(), 500, begin);
        record.share("ml/fraud".to_owned(), 500, later);
        assert_eq!(record.shares["ml/fraud"], (500, begin));
        record.share("ml/fraud".to_owned(), 0, later);
        assert_eq!(record.shares["ml/fraud"], (0, later));
    }
}
