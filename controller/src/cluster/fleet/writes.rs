//! What has to be written, and what became of it.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;

use super::entry::{Entry, Retry};
use super::plugins::Section;
use super::{Fleet, Mode};
use crate::api::status::RolloutStatus;
use crate::cluster::object::{Kind, ObjectId, Owned};
use crate::cluster::plugin;
use crate::cluster::status::{self, Written};
use crate::driver::Managed;
use crate::render;
use crate::rollout::{RolloutState, Writes};
use crate::validate::RolloutName;

/// Routes that are handed out at a time: whatever is still to be written after them waits for the next round, so that
/// thousands of writes stand in nobody's way who goes down meanwhile.
pub(super) const AT_A_TIME: usize = 1_000;
/// Statuses that something waits for, likewise.
const STATUSES: usize = 32;
/// Statuses that nothing waits for: a way home may come up while they are written.
const LATER_STATUSES: usize = 8;
/// Checkpoints between two ticks: of thousands that are due at once, each in its turn, so that the API server has time for
/// what is urgent. At least so many, and this part of all whose state is not written whole.
const CHECKPOINTS: usize = 16;
const CHECKPOINTS_PART: usize = 30;
/// Plugin objects, likewise.
const PLUGINS: usize = 8;

/// A status to be written.
#[derive(Clone, Debug)]
pub struct StatusWrite {
    /// Whose.
    pub name: RolloutName,
    /// What it was computed from.
    pub resource_version: String,
    /// Next status.
    pub status: RolloutStatus,
}

/// An object to be applied.
#[derive(Clone, Debug)]
pub struct ObjectWrite {
    /// As it is to be.
    pub object: Owned,
    /// What it was computed from; none: it is not there.
    pub resource_version: Option<String>,
}

/// Why a write did not happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Somebody else wrote in between: the watch will bring it.
    Conflict,
    /// The API server does not want it, for this reason.
    Refused(String),
    /// Anything else.
    Other,
}

impl Fleet {
    /// Statuses that must be written before the proxies hear of anything: going up, and what only changes the memory.
    pub fn statuses_first(&mut self, now: Timestamp) -> Vec<StatusWrite> {
        let busy = self.rollouts.busy().clone();
        self.statuses_to_write(&busy, STATUSES, now, |entry| {
            let managed = entry.managed.as_ref();
            managed.is_some_and(|it| matches!(it.pending, Writes::State | Writes::Up))
        })
    }

    /// Statuses that follow: going down, checkpoints, and what only people read.
    pub fn statuses_after(&mut self, now: Timestamp) -> Vec<StatusWrite> {
        let mut names = self.rollouts.busy().clone();
        names.extend(self.rollouts.unsaved().iter().cloned());
        let settings = self.settings.clone();
        let missing = self.plugins.missing(&self.settings, &self.present);
        let missing: BTreeSet<_> = missing.cloned().collect();
        // A write before this one may still be under way: until ours is there, nobody knows that the weight is down.
        let is_shown = |it: &Managed| {
            let mut namespaces = settings.namespaces_of(&it.shown).into_iter();
            !namespaces.any(|it| missing.contains(&it))
        };
        self.statuses_to_write(&names, LATER_STATUSES, now, |entry| {
            let managed = entry.managed.as_ref();
            let due = managed.is_some_and(|it| {
                (it.pending == Writes::Down && is_shown(it))
                    || (it.pending == Writes::Nothing && it.checkpoint_due(now))
            });
            due || (entry.status_due && managed.is_none_or(|it| it.pending == Writes::Nothing))
        })
    }

    fn statuses_to_write(
        &mut self,
        names: &BTreeSet<RolloutName>,
        at_most: usize,
        now: Timestamp,
        wanted: impl Fn(&Entry) -> bool,
    ) -> Vec<StatusWrite> {
        let mut found = Vec::new();
        // Whoever goes down first, then other news, and what is only a checkpoint last.
        let haste = |name: &&RolloutName| {
            let entry = self.rollouts.get(name);
            let pending = entry
                .and_then(|it| it.managed.as_ref())
                .map(|it| it.pending);
            let checkpoint = entry.is_some_and(Entry::needs_only_a_checkpoint);
            (pending != Some(Writes::Down), checkpoint)
        };
        let due = |name: &&RolloutName| {
            let entry = self.rollouts.get(name);
            entry.is_some_and(|it| !it.deleting && it.retry.is_due(now) && wanted(it))
        };
        let mut names: Vec<_> = names.iter().filter(due).collect();
        names.sort_by_cached_key(haste);
        for name in names {
            let Some(entry) = self.rollouts.get(name) else {
                continue;
            };
            let checkpoint = entry.needs_only_a_checkpoint();
            if checkpoint && self.checkpoints == 0 {
                // The next tick is in time.
                break;
            }
            let goes_down = entry.goes_down();
            if found.len() >= if goes_down { STATUSES } else { at_most } {
                self.left_over = true;
                break;
            }
            let next = status::next(entry.for_status(), now);
            let written = entry.written.as_ref().is_some_and(|it| it.is(&next));
            if written && !entry.is_pending() {
                self.rollouts.change(name, |entry| entry.is_written(now));
                continue;
            }
            self.checkpoints -= usize::from(checkpoint);
            found.push(StatusWrite {
                name: name.clone(),
                resource_version: entry.resource_version.clone(),
                status: next,
            });
        }
        for write in &found {
            let known = |entry: &mut Entry| entry.knows(Some(&write.status));
            self.rollouts.change(&write.name, known);
        }
        found
    }

    /// A tick has begun.
    pub(super) fn allow_checkpoints(&mut self) {
        let part = self.rollouts.unsaved().len() / CHECKPOINTS_PART;
        self.checkpoints = part.max(CHECKPOINTS);
    }

    /// Whether more statuses are due than were handed out since the last call.
    pub fn take_left_over(&mut self) -> bool {
        std::mem::take(&mut self.left_over)
    }

    /// What became of a status.
    pub fn status_written(
        &mut self,
        write: &StatusWrite,
        became: Result<String, Failure>,
        now: Timestamp,
    ) {
        self.rollouts.change(&write.name, |entry| match became {
            Ok(resource_version) => {
                entry.is_at(resource_version);
                entry.written = Some(Written::of(&write.status, entry.managed.is_none()));
                entry.retry = Retry::default();
                entry.is_written(now);
            }
            // A conflict resets itself when the watch brings the object; until then there is nothing to hurry for.
            Err(_) => entry.retry.failed(now),
        });
    }

    /// Lets the proxies' config follow those states that go down, before anything of them is written. Whether there are
    /// any.
    pub fn show_descents(&mut self) -> bool {
        let mut any = false;
        for name in self.rollouts.busy().clone() {
            if self.rollouts.get(&name).is_some_and(Entry::goes_down) {
                any = true;
                self.rollouts.change(&name, |entry| {
                    if let Some(managed) = &mut entry.managed {
                        managed.show();
                    }
                });
            }
        }
        any
    }

    /// Routes that are not as they should be, in the order in which they may be written. Routes of a host that somebody
    /// else routes as well are left alone.
    pub fn route_writes(&mut self, now: Timestamp) -> Vec<ObjectWrite> {
        self.settle();
        let writes = self
            .routing
            .writes(&self.present, |id| self.is_due(id, now));
        writes.into_iter().map(|it| self.object_write(it)).collect()
    }

    fn object_write(&self, object: Owned) -> ObjectWrite {
        let present = self.present.get(&object.id);
        let resource_version = present.and_then(|it| it.resource_version.clone());
        ObjectWrite {
            object,
            resource_version,
        }
    }

    fn is_due(&self, id: &ObjectId, now: Timestamp) -> bool {
        self.stuck
            .get(id)
            .is_none_or(|stuck| stuck.retry.is_due(now))
    }

    /// What became of an object.
    pub fn object_written(
        &mut self,
        id: &ObjectId,
        became: Result<Value, Failure>,
        now: Timestamp,
    ) {
        match became {
            Ok(object) => {
                let before = self.present.get(id);
                if let Some(version) = before.and_then(|it| it.resource_version.clone()) {
                    let echoes = self.echoes.entry(id.clone()).or_default();
                    echoes.written_over(version);
                }
                self.keep(id, Some(&object));
                // Somebody's webhook may have another opinion: to write again at once would not change it.
                let as_sent = id.kind != self.settings.kind || self.is_written(&id.namespace);
                if as_sent {
                    self.stuck.remove(id);
                } else {
                    let reason = "something on its way in changes it, such as a webhook";
                    self.gets_stuck(id, &Failure::Refused(reason.to_owned()), now);
                }
            }
            Err(failure) => self.gets_stuck(id, &failure, now),
        }
    }

    fn gets_stuck(&mut self, id: &ObjectId, failure: &Failure, now: Timestamp) {
        let stuck = self.stuck.entry(id.clone()).or_default();
        stuck.retry.failed(now);
        stuck.reason = match failure {
            Failure::Refused(reason) => Some(reason.clone()),
            Failure::Conflict | Failure::Other => None,
        };
    }

    /// Why something of a rollout cannot be written.
    pub(super) fn refusal(&self, state: &RolloutState) -> Option<String> {
        if self.stuck.is_empty() {
            return None;
        }
        let namespaces = self.settings.namespaces_of(state).into_iter();
        let plugins = namespaces.map(|it| plugin::id(self.settings.kind, &it));
        let routes = self.routing.wrong_of(state).cloned();
        routes.chain(plugins).find_map(|id| {
            let reason = self.stuck.get(&id)?.reason.as_ref()?;
            Some(format!("{id} cannot be written: {reason}"))
        })
    }

    /// Plugin objects of ours of the other kind, and in namespaces that no rollout names any more.
    #[must_use]
    pub fn plugins_to_delete(&self, now: Timestamp) -> Vec<(ObjectId, String)> {
        let plugins = self.present.range(ObjectId::first(Kind::WasmPlugin)..);
        let left = plugins.filter(|(id, _)| {
            (id.kind != self.settings.kind || self.is_left(&id.namespace)) && self.is_due(id, now)
        });
        left.filter_map(|(id, there)| Some((id.clone(), there.resource_version.clone()?)))
            .collect()
    }

    /// Whether a plugin object has nothing in it, and never will: the installation was told of another mode, or no scope
    /// names the namespace any more. Even an empty one would take the route header away from those who set it.
    fn is_left(&self, namespace: &str) -> bool {
        // First, for it says no of nearly all, and the other looks through every rollout.
        if !self.plugins.is_empty(namespace) {
            return false;
        }
        let meant = match self.settings.mode {
            Mode::Mesh => namespace == self.settings.root_namespace,
            Mode::Namespaces => self.rollouts.iter().any(|(_, entry)| {
                let managed = entry.managed.as_ref();
                managed.is_some_and(|it| {
                    let namespaces = self.settings.namespaces_of(&it.state);
                    namespaces.iter().any(|it| it == namespace)
                })
            }),
        };
        !meant
    }

    /// What became of a deletion.
    pub fn object_deleted(&mut self, id: &ObjectId, became: Result<(), Failure>, now: Timestamp) {
        match became {
            Ok(()) => {
                self.stuck.remove(id);
                self.keep(id, None);
            }
            Err(failure) => self.gets_stuck(id, &failure, now),
        }
    }

    /// Plugin objects that are not as they should be, some of them: the next call tells of others, when these are
    /// written or have failed. A rollout whose routes are not written keeps what it has, unless
    /// it goes down.
    pub fn plugin_writes(&mut self, now: Timestamp) -> Vec<ObjectWrite> {
        self.settle();
        self.render();
        let missing = self.plugins.missing(&self.settings, &self.present);
        let due = missing.filter(|it| self.is_due(&plugin::id(self.settings.kind, it), now));
        due.filter_map(|namespace| self.plugins.object(&self.settings, namespace))
            .take(PLUGINS)
            .map(|owned| self.object_write(owned))
            .collect()
    }

    /// Whether the plugin object of a namespace is as it should be.
    pub(super) fn is_written(&self, namespace: &str) -> bool {
        self.plugins
            .is_written(&self.settings, namespace, &self.present)
    }

    /// Lets the sections follow what the proxies may be shown.
    fn render(&mut self) {
        let mut changed = BTreeSet::new();
        let mut rendered = Vec::new();
        for name in std::mem::take(&mut self.unsettled) {
            let Some(entry) = self.rollouts.get(&name) else {
                self.plugins.arrived(&name);
                changed.extend(self.plugins.put(&name, None, &[]).0);
                continue;
            };
            // Nobody knows what it should be: it stays as it is.
            let Some(managed) = &entry.managed else {
                continue;
            };
            let waits = entry.waits(!self.routing.lacks(&name));
            let same = entry.seen.section.as_ref().is_some_and(|(state, waited)| {
                Arc::ptr_eq(state, &managed.shown) && *waited == waits
            });
            if same {
                continue;
            }
            let next = if waits {
                managed.rendered.clone()
            } else {
                self.plugins.arrived(&name);
                let next = render::section(&managed.shown);
                let kept = managed
                    .rendered
                    .as_ref()
                    .filter(|it| Some(&***it) == next.as_ref());
                kept.cloned().or(next.map(Arc::new))
            };
            let next = next.map(Section::of);
            let namespaces = self.settings.namespaces_of(&managed.shown);
            let (numbered, news) = self.plugins.put(&name, next.as_ref(), &namespaces);
            changed.extend(numbered);
            rendered.push((name, next, waits, news));
        }
        self.plugins.number(&self.settings, &changed);
        for (name, next, waits, news) in rendered {
            let plugins = &self.plugins;
            self.rollouts.change(&name, |entry| {
                let Some(managed) = &mut entry.managed else {
                    return;
                };
                entry.seen.section = Some((Arc::clone(&managed.shown), waits));
                let next = next.map(|it| it.config);
                if news || next != managed.rendered {
                    let known = plugins.section(&name).map(|(_, generation)| generation);
                    managed.view.generation = known;
                }
                managed.rendered = next;
            });
        }
    }

    /// Resources without the finalizer that should have it, so that nobody can delete them from under the proxies.
    #[must_use]
    pub fn finalizers_to_add(&self, now: Timestamp) -> Vec<(RolloutName, String)> {
        self.finalizers(now, |_, entry| {
            !entry.finalizer && !entry.deleting && entry.managed.is_some()
        })
    }

    /// Deleted resources of which nothing is left to be written.
    #[must_use]
    pub fn finalizers_to_remove(&mut self, now: Timestamp) -> Vec<(RolloutName, String)> {
        self.settle();
        self.finalizers(now, |name, entry| {
            if !entry.deleting || !entry.finalizer {
                return false;
            }
            let gone = |managed: &Managed| {
                render::section(&managed.shown).is_none()
                    && !self.in_plugins(name)
                    && !self.routing.lacks(name)
            };
            entry.managed.as_ref().is_none_or(gone)
        })
    }

    fn finalizers(
        &self,
        now: Timestamp,
        wanted: impl Fn(&RolloutName, &Entry) -> bool,
    ) -> Vec<(RolloutName, String)> {
        let busy = self.rollouts.busy().iter();
        let busy = busy.filter_map(|name| Some((name, self.rollouts.get(name)?)));
        let found = busy.filter(|(name, entry)| entry.retry.is_due(now) && wanted(name, entry));
        found
            .map(|(name, entry)| (name.clone(), entry.resource_version.clone()))
            .collect()
    }

    /// Whether a plugin object on the server still holds the rollout.
    fn in_plugins(&self, name: &RolloutName) -> bool {
        let plugins = self.present.range(ObjectId::first(self.settings.kind)..);
        plugins
            .take_while(|(id, _)| id.kind == self.settings.kind)
            .any(|(_, there)| there.holds(name))
    }

    /// What became of a finalizer.
    pub fn finalizer_written(
        &mut self,
        name: &RolloutName,
        became: Result<(String, bool), Failure>,
        now: Timestamp,
    ) {
        self.rollouts.change(name, |entry| match became {
            Ok((resource_version, there)) => {
                entry.is_at(resource_version);
                entry.finalizer = there;
            }
            Err(_) => entry.retry.failed(now),
        });
    }
}
