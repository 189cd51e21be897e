//! What has to be written, and what became of it.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde_json::Value;
use serin_filter_core::config::RolloutConfig;

use super::{Entry, Fleet, Mode, Retry, Sections, resource_version};
use crate::api::status::RolloutStatus;
use crate::cluster::object::{Kind, ObjectId, Owned};
use crate::cluster::{plugin, routes, status};
use crate::render;
use crate::rollout::{RolloutState, Writes};
use crate::validate::RolloutName;

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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Somebody else wrote in between: the watch will bring it.
    Conflict,
    /// Anything else.
    Other,
}

impl Fleet {
    /// Statuses that must be written before the proxies hear of anything: going up, and what only changes the memory.
    pub fn statuses_first(&mut self, now: Timestamp) -> Vec<StatusWrite> {
        self.statuses_to_write(now, |entry| {
            let managed = entry.managed.as_ref();
            managed.is_some_and(|it| matches!(it.pending, Writes::State | Writes::Up))
        })
    }

    /// Statuses that follow: going down, checkpoints, and what only people read.
    pub fn statuses_after(&mut self, now: Timestamp) -> Vec<StatusWrite> {
        self.statuses_to_write(now, |entry| {
            let managed = entry.managed.as_ref();
            let due = managed.is_some_and(|it| {
                it.pending == Writes::Down
                    || (it.pending == Writes::Nothing && it.checkpoint_due(now))
            });
            due || (entry.status_due && managed.is_none_or(|it| it.pending == Writes::Nothing))
        })
    }

    fn statuses_to_write(
        &mut self,
        now: Timestamp,
        wanted: impl Fn(&Entry) -> bool,
    ) -> Vec<StatusWrite> {
        let mut found = Vec::new();
        for (name, entry) in &mut self.rollouts {
            if entry.deleting || !entry.retry.is_due(now) || !wanted(entry) {
                continue;
            }
            let next = status::next(entry_view(entry), now);
            let pending = entry.is_pending();
            if !pending && entry.written.as_ref() == Some(&next) {
                entry.status_due = false;
                continue;
            }
            entry.knows(Some(&next));
            found.push(StatusWrite {
                name: name.clone(),
                resource_version: entry.resource_version.clone(),
                status: next,
            });
        }
        found
    }

    /// What became of a status.
    pub fn status_written(
        &mut self,
        write: StatusWrite,
        became: Result<String, Failure>,
        now: Timestamp,
    ) {
        let Some(entry) = self.rollouts.get_mut(&write.name) else {
            return;
        };
        match became {
            Ok(resource_version) => {
                entry.resource_version = resource_version;
                entry.written = Some(write.status);
                entry.status_due = false;
                entry.retry = Retry::default();
                if let Some(managed) = &mut entry.managed {
                    managed.saved(now);
                }
            }
            // A conflict resets itself when the watch brings the object; until then there is nothing to hurry for.
            Err(_) => entry.retry.failed(now),
        }
    }

    /// Lets the proxies' config follow those states that go down, before anything of them is written.
    pub fn show_descents(&mut self) {
        for entry in self.rollouts.values_mut() {
            if let Some(managed) = &mut entry.managed
                && managed.pending == Writes::Down
            {
                managed.show();
            }
        }
    }

    fn shown(&self) -> impl Iterator<Item = &RolloutState> + Clone {
        let entries = self.rollouts.values();
        entries.filter_map(|entry| entry.managed.as_ref().map(|managed| &*managed.shown))
    }

    /// Routes that are not as they should be, in the order in which they may be written. Routes of a host that somebody
    /// else routes as well are left alone.
    pub fn route_writes(&self, now: Timestamp) -> Vec<ObjectWrite> {
        let mut subsets_first = Vec::new();
        let mut routes = Vec::new();
        let mut subsets_last = Vec::new();
        // Also one that may not be tried yet: it still leads where it led.
        let mut routes_are_right = true;
        let contested: BTreeSet<_> = self
            .rollouts
            .iter()
            .filter(|(_, entry)| {
                let mesh = entry.managed.as_ref().and_then(|it| it.state.mesh.as_ref());
                mesh.is_some_and(|mesh| mesh.manage) && entry.lacking.header.is_some()
            })
            .map(|(name, _)| name.clone())
            .collect();
        let free = self
            .shown()
            .filter(|state| !contested.contains(&state.name));
        for owned in routes::objects(free, &self.present) {
            let present = self.present.get(&owned.id);
            if present.is_some_and(|present| owned.is(present)) {
                continue;
            }
            routes_are_right &= owned.id.kind == Kind::DestinationRule;
            if !self.is_due(&owned.id, now) {
                continue;
            }
            match (owned.id.kind, present) {
                (Kind::DestinationRule, Some(present)) => {
                    match routes::keeping_subsets(&owned, present) {
                        Some(both) if both.is(present) => subsets_last.push(owned),
                        Some(both) => subsets_first.push(both),
                        None => subsets_first.push(owned),
                    }
                }
                (Kind::DestinationRule, None) => subsets_first.push(owned),
                _ => routes.push(owned),
            }
        }
        if !routes_are_right {
            // Subsets go only when no route leads to them any more.
            subsets_last.clear();
        }
        let all = subsets_first.into_iter().chain(routes).chain(subsets_last);
        all.map(|owned| self.object_write(owned)).collect()
    }

    fn object_write(&self, object: Owned) -> ObjectWrite {
        let present = self.present.get(&object.id);
        let resource_version = present.and_then(resource_version).map(str::to_owned);
        ObjectWrite {
            object,
            resource_version,
        }
    }

    fn is_due(&self, id: &ObjectId, now: Timestamp) -> bool {
        self.object_retry
            .get(id)
            .is_none_or(|retry| retry.is_due(now))
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
                self.object_retry.remove(id);
                self.present.insert(id.clone(), object);
            }
            Err(_) => self.object_retry.entry(id.clone()).or_default().failed(now),
        }
    }

    /// Plugin objects of ours of the other kind, and in namespaces that no rollout names any more.
    #[must_use]
    pub fn plugins_to_delete(&self, now: Timestamp) -> Vec<(ObjectId, String)> {
        let plugins = self
            .present
            .iter()
            .filter(|(id, _)| matches!(id.kind, Kind::WasmPlugin | Kind::TrafficExtension));
        let left = plugins.filter(|(id, _)| id.kind != self.settings.kind && self.is_due(id, now));
        left.filter_map(|(id, object)| Some((id.clone(), resource_version(object)?.to_owned())))
            .collect()
    }

    /// What became of a deletion.
    pub fn object_deleted(&mut self, id: &ObjectId, became: Result<(), Failure>, now: Timestamp) {
        match became {
            Ok(()) => {
                self.object_retry.remove(id);
                self.present.remove(id);
            }
            Err(_) => self.object_retry.entry(id.clone()).or_default().failed(now),
        }
    }

    /// Plugin objects that are not as they should be. A rollout whose routes are not written keeps what it has, unless
    /// it goes down.
    pub fn plugin_writes(&mut self, now: Timestamp) -> Vec<ObjectWrite> {
        self.render(now);
        let plugins = self.sections.iter();
        let missing = plugins.filter_map(|(namespace, sections)| self.missing(namespace, sections));
        missing
            .filter(|owned| self.is_due(&owned.id, now))
            .map(|owned| self.object_write(owned))
            .collect()
    }

    /// Whether the plugin object of a namespace is as it should be.
    pub(super) fn is_written(&self, namespace: &str) -> bool {
        let sections = self.sections.get(namespace);
        sections.is_none_or(|sections| self.missing(namespace, sections).is_none())
    }

    /// The plugin object of a namespace, if it is not as it should be.
    fn missing(&self, namespace: &str, sections: &Sections) -> Option<Owned> {
        let kind = self.settings.kind;
        let present = self.present.get(&plugin::id(kind, namespace));
        if sections.rollouts.is_empty() && present.is_none() {
            return None;
        }
        let config = plugin::config(
            sections.rollouts.clone(),
            sections.generation,
            self.settings.encoding,
        );
        let owned = plugin::object(kind, namespace, &self.settings.module, &config);
        let right = present.is_some_and(|present| owned.is(present));
        (!right).then_some(owned)
    }

    fn render(&mut self, now: Timestamp) {
        let unrouted = self.unrouted(now);
        let mut wanted: BTreeMap<String, Vec<RolloutConfig>> = BTreeMap::new();
        for namespace in self.sections.keys() {
            wanted.insert(namespace.clone(), Vec::new());
        }
        for (name, entry) in &self.rollouts {
            let Some(managed) = &entry.managed else {
                // Nobody knows what it should be: it stays as it is.
                let text = name.to_string();
                for (namespace, sections) in &self.sections {
                    let kept = sections.rollouts.iter().filter(|it| it.name == text);
                    wanted
                        .entry(namespace.clone())
                        .or_default()
                        .extend(kept.cloned());
                }
                continue;
            };
            let waits =
                unrouted.contains(name) && managed.pending != Writes::Down && !entry.deleting;
            let section = if waits {
                managed.rendered.clone()
            } else {
                render::section(&managed.shown)
            };
            let Some(section) = section else { continue };
            for namespace in self.namespaces_of(&managed.shown) {
                wanted.entry(namespace).or_default().push(section.clone());
            }
        }
        let changed: Vec<_> = wanted
            .iter()
            .filter(|(namespace, rollouts)| {
                let known = self.sections.get(*namespace).map(|it| &it.rollouts);
                known.is_none_or(|known| known != *rollouts)
            })
            .map(|(namespace, _)| namespace.clone())
            .collect();
        if changed.is_empty() {
            return;
        }
        self.generation += 1;
        for namespace in changed {
            let rollouts = wanted.remove(&namespace).unwrap_or_default();
            let generation = self.generation;
            self.sections.insert(
                namespace,
                Sections {
                    rollouts,
                    generation,
                },
            );
        }
        for (name, entry) in &mut self.rollouts {
            let Some(managed) = &mut entry.managed else {
                continue;
            };
            if unrouted.contains(name) && managed.pending != Writes::Down {
                continue;
            }
            let section = render::section(&managed.shown);
            if section != managed.rendered {
                managed.view.generation = section.as_ref().map(|_| self.generation);
                managed.rendered = section;
            }
        }
    }

    /// Rollouts whose routes are still to be written.
    fn unrouted(&self, now: Timestamp) -> BTreeSet<RolloutName> {
        let missing: BTreeSet<_> = self
            .route_writes_ignoring_backoff(now)
            .into_iter()
            .filter(|id| id.kind == Kind::VirtualService)
            .map(|id| id.name)
            .collect();
        if missing.is_empty() {
            return BTreeSet::new();
        }
        let of = |state: &&RolloutState| {
            let mut hosts = state.hosts.iter();
            hosts.any(|host| missing.contains(&crate::cluster::object::name(host)))
        };
        self.shown()
            .filter(of)
            .map(|state| state.name.clone())
            .collect()
    }

    fn route_writes_ignoring_backoff(&self, _now: Timestamp) -> Vec<ObjectId> {
        self.route_writes(Timestamp::MAX)
            .into_iter()
            .map(|write| write.object.id)
            .collect()
    }

    fn namespaces_of(&self, state: &RolloutState) -> Vec<String> {
        match (self.settings.mode, &state.mesh) {
            (Mode::Namespaces, Some(mesh)) => mesh.scope.clone(),
            _ => vec![self.settings.root_namespace.clone()],
        }
    }

    /// Resources without the finalizer that should have it, so that nobody can delete them from under the proxies.
    #[must_use]
    pub fn finalizers_to_add(&self, now: Timestamp) -> Vec<(RolloutName, String)> {
        let bare = |entry: &Entry| !entry.finalizer && !entry.deleting && entry.managed.is_some();
        self.finalizers(now, bare)
    }

    /// Deleted resources of which nothing is left to be written.
    #[must_use]
    pub fn finalizers_to_remove(&self, now: Timestamp) -> Vec<(RolloutName, String)> {
        let routes = self.unrouted(now);
        self.finalizers(now, |entry| {
            let Some(managed) = &entry.managed else {
                return entry.deleting && entry.finalizer;
            };
            let name = &managed.state.name;
            let gone = render::section(&managed.shown).is_none() && !self.in_plugins(name);
            entry.deleting && entry.finalizer && gone && !routes.contains(name)
        })
    }

    fn finalizers(
        &self,
        now: Timestamp,
        wanted: impl Fn(&Entry) -> bool,
    ) -> Vec<(RolloutName, String)> {
        let found = self
            .rollouts
            .iter()
            .filter(|(_, entry)| entry.retry.is_due(now) && wanted(entry));
        found
            .map(|(name, entry)| (name.clone(), entry.resource_version.clone()))
            .collect()
    }

    /// Whether a plugin object on the server still holds the rollout.
    fn in_plugins(&self, name: &RolloutName) -> bool {
        let text = name.to_string();
        let plugins = self
            .present
            .iter()
            .filter(|(id, _)| id.kind == self.settings.kind);
        plugins
            .filter_map(|(_, object)| plugin::config_in(object))
            .any(|config| config.rollouts.iter().any(|it| it.name == text))
    }

    /// What became of a finalizer.
    pub fn finalizer_written(
        &mut self,
        name: &RolloutName,
        became: Result<(String, bool), Failure>,
        now: Timestamp,
    ) {
        let Some(entry) = self.rollouts.get_mut(name) else {
            return;
        };
        match became {
            Ok((resource_version, there)) => {
                entry.resource_version = resource_version;
                entry.finalizer = there;
            }
            Err(_) => entry.retry.failed(now),
        }
    }
}

fn entry_view(entry: &Entry) -> status::Known<'_> {
    status::Known {
        managed: entry.managed.as_ref(),
        problems: &entry.problems,
        spec_generation: entry.spec_generation,
        written: entry.written.as_ref(),
    }
}
