//! All rollouts of a cluster and what is known of it. Pure: objects and Prometheus' word go in, writes come out, and what
//! became of each write goes in again. Nothing here knows a client, so that a model checker can drive it through every
//! order of losses and crashes.
//!
//! The order of writes is what loses nothing. Going up: status, routes, plugin. Going down: plugin at once, then status.

mod intake;
mod writes;

pub use writes::{Failure, ObjectWrite, StatusWrite};

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;
use serin_filter_core::config::RolloutConfig;
use serin_filter_core::stat::Encoding;

use super::conditions;
use super::foreign::{self, Lacking};
use super::object::{self, Kind, ObjectId};
use super::plugin::{self, Module};
use crate::api::ModelRollout;
use crate::api::status::RolloutStatus;
use crate::cells::Grid;
use crate::driver::{Ask, Managed, Proxies, Surroundings, World, advance};
use crate::report::{Condition, Status};
use crate::rollout::{Action, Writes};
use crate::validate::RolloutName;

/// Which proxies run the filter (product.md, "Where the filter runs").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// All of the mesh: one object in the root namespace.
    Mesh,
    /// Those of the namespaces that rollouts name as their scope: one object in each.
    Namespaces,
}

/// What the installation is told.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Which proxies run the filter.
    pub mode: Mode,
    /// Istio's root namespace.
    pub root_namespace: String,
    /// Kind of the plugin's object.
    pub kind: Kind,
    /// Where the proxies get the filter.
    pub module: Module,
    /// Cells.
    pub grid: Grid,
    /// How labels travel in the names of the proxies' metrics.
    pub encoding: Encoding,
    /// How many releases may be in progress at once; `None`: any number.
    pub max_releases: Option<usize>,
}

/// A resource and the rollout in it.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    uid: String,
    /// As last seen or written.
    resource_version: String,
    /// `metadata.generation` that was looked at last.
    spec_generation: i64,
    /// Somebody has deleted it.
    deleting: bool,
    finalizer: bool,
    /// The file in it, or what is wrong with it.
    file: Result<ModelRollout, String>,
    /// `None`: its spec was never valid, or its checkpoint cannot be understood.
    managed: Option<Managed>,
    /// Asked for and not answered yet.
    action: Option<Action>,
    /// The spec waits for something else to change.
    refused: bool,
    problems: Vec<String>,
    lacking: Lacking,
    /// The status as last written.
    written: Option<RolloutStatus>,
    /// Checkpoints that we have read or sent, the last ones: any other is somebody else's.
    known: VecDeque<u64>,
    status_due: bool,
    retry: Retry,
}

/// When a rollout's next write may be tried.
#[derive(Clone, Copy, Debug, Default)]
struct Retry {
    after: Option<Timestamp>,
    attempts: u32,
}

impl Retry {
    const FIRST: Duration = Duration::from_millis(200);
    const LONGEST: Duration = Duration::from_secs(30);

    fn failed(&mut self, now: Timestamp) {
        let doubled = Self::FIRST.saturating_mul(1_u32 << self.attempts.min(10));
        self.attempts = self.attempts.saturating_add(1);
        self.after = Some(now + doubled.min(Self::LONGEST));
    }

    fn is_due(&self, now: Timestamp) -> bool {
        // A clock that was set back is no reason to wait longer.
        self.after
            .is_none_or(|after| now >= after || after > now + Self::LONGEST)
    }
}

/// Sections of one plugin object.
#[derive(Clone, Debug, Default, PartialEq)]
struct Sections {
    rollouts: Vec<RolloutConfig>,
    generation: u64,
}

/// All rollouts.
#[derive(Clone, Debug)]
pub struct Fleet {
    settings: Settings,
    rollouts: BTreeMap<RolloutName, Entry>,
    /// Objects of ours, as the server has them.
    present: BTreeMap<ObjectId, Value>,
    /// VirtualServices of others.
    theirs: BTreeMap<ObjectId, Value>,
    /// Plugins of others that hold a config of ours.
    rivals: BTreeSet<ObjectId>,
    /// By namespace of the plugin object.
    sections: BTreeMap<String, Sections>,
    /// Sections of rollouts whose checkpoint cannot be understood: they stay as they are.
    generation: u64,
    object_retry: BTreeMap<ObjectId, Retry>,
    /// What others changed of ours since the last time somebody asked.
    drifted: Vec<ObjectId>,
}

impl Fleet {
    /// Without any rollout.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            rollouts: BTreeMap::new(),
            present: BTreeMap::new(),
            theirs: BTreeMap::new(),
            rivals: BTreeSet::new(),
            sections: BTreeMap::new(),
            generation: 0,
            object_retry: BTreeMap::new(),
            drifted: Vec::new(),
        }
    }

    /// An object of Istio's, or that it is gone.
    pub fn object(&mut self, id: ObjectId, object: Option<Value>) {
        let ours = object.as_ref().is_some_and(object::is_ours);
        // Whatever stood in the way of a write, the object is another one now.
        self.object_retry.remove(&id);
        let known = self.present.get(&id);
        if let (Some(known), Some(next)) = (known, &object)
            && resource_version(known) != resource_version(next)
            && known.get("spec") != next.get("spec")
        {
            self.drifted.push(id.clone());
        } else if known.is_some() && object.is_none() {
            self.drifted.push(id.clone());
        }
        if let Some(object) = object.as_ref().filter(|_| ours) {
            self.theirs.remove(&id);
            self.rivals.remove(&id);
            let before = self.present.insert(id.clone(), object.clone());
            let echo = before.is_some_and(|it| resource_version(&it) == resource_version(object));
            if !echo && matches!(id.kind, Kind::WasmPlugin | Kind::TrafficExtension) {
                self.learn(&id, object);
            }
            return;
        }
        self.present.remove(&id);
        let Some(object) = object else {
            self.theirs.remove(&id);
            self.rivals.remove(&id);
            return;
        };
        match id.kind {
            Kind::VirtualService => {
                self.theirs.insert(id, object);
            }
            Kind::WasmPlugin | Kind::TrafficExtension if plugin::config_in(&object).is_some() => {
                self.rivals.insert(id);
            }
            _ => {}
        }
    }

    /// Objects that are there after a watch began anew: all others of its kind and namespace are gone.
    pub fn only_objects(
        &mut self,
        kind: Kind,
        namespace: Option<&str>,
        there: &BTreeSet<ObjectId>,
    ) {
        let known = self
            .present
            .keys()
            .chain(self.theirs.keys())
            .chain(&self.rivals);
        let gone: Vec<_> = known
            .filter(|id| id.kind == kind && namespace.is_none_or(|it| it == id.namespace))
            .filter(|id| !there.contains(id))
            .cloned()
            .collect();
        for id in gone {
            self.object(id, None);
        }
    }

    /// What an earlier controller, or this one, gave to the proxies.
    fn learn(&mut self, id: &ObjectId, object: &Value) {
        let Some(config) = plugin::config_in(object) else {
            return;
        };
        // Never back: proxies would seem to be ahead of it.
        self.generation = self.generation.max(config.generation);
        let generation = config.generation;
        let sections = Sections {
            rollouts: config.rollouts,
            generation,
        };
        let ours = id.kind != self.settings.kind || self.is_written(&id.namespace);
        let Some(known) = self.sections.get_mut(&id.namespace) else {
            for entry in self.rollouts.values_mut() {
                if let Some(managed) = &mut entry.managed {
                    recognise(managed, &sections);
                }
            }
            self.sections.insert(id.namespace.clone(), sections);
            return;
        };
        if ours || generation < known.generation {
            return;
        }
        // Somebody else, such as a leader before us, gave out the same number for something else: which of the two a
        // proxy runs that reports it, nobody can say.
        self.generation += 1;
        known.generation = self.generation;
        for entry in self.rollouts.values_mut() {
            if let Some(managed) = &mut entry.managed {
                recognise(managed, known);
            }
        }
    }

    /// What the releases in progress need to know of Prometheus.
    #[must_use]
    pub fn asks(&self) -> Vec<Ask> {
        let managed = self.rollouts.values().filter_map(|it| it.managed.as_ref());
        managed.filter_map(Ask::of).collect()
    }

    /// One tick of every release in progress.
    pub fn tick(&mut self, world: &World, now: Timestamp) {
        self.take_over_waiting(now);
        self.look_at_routes();
        self.look_at_plugins();
        let mut scoped: BTreeMap<Vec<String>, Proxies> = BTreeMap::new();
        let grid = self.settings.grid;
        let by_scope = self.settings.mode == Mode::Namespaces;
        for entry in self.rollouts.values_mut() {
            let Some(managed) = &mut entry.managed else {
                continue;
            };
            if managed.state.in_progress().is_none() {
                continue;
            }
            let scope = managed.state.mesh.as_ref().map(|mesh| &mesh.scope);
            let proxies = match scope.filter(|_| by_scope) {
                Some(scope) => &*scoped
                    .entry(scope.clone())
                    .or_insert_with(|| world.within(scope)),
                None => &world.proxies,
            };
            let surroundings = Surroundings {
                grid,
                world,
                proxies,
                routes: entry.lacking.as_input(),
            };
            advance(managed, &surroundings, &[], now);
        }
    }

    /// Consumes the actions that wait, without waiting for Prometheus.
    pub fn answer(&mut self, now: Timestamp) {
        let world = World::default();
        for entry in self.rollouts.values_mut() {
            let (Some(managed), Some(action)) = (&mut entry.managed, entry.action.take()) else {
                continue;
            };
            let surroundings = Surroundings {
                routes: entry.lacking.as_input(),
                ..Surroundings::whole(self.settings.grid, &world)
            };
            advance(managed, &surroundings, &[action], now);
            entry.status_due = true;
        }
    }

    /// A generation that is not on the server may be there with something else in it.
    fn look_at_plugins(&mut self) {
        let namespaces = self.sections.keys();
        let stale: BTreeSet<_> = namespaces
            .filter(|namespace| !self.is_written(namespace))
            .cloned()
            .collect();
        let root = &self.settings.root_namespace;
        let by_scope = self.settings.mode == Mode::Namespaces;
        for entry in self.rollouts.values_mut() {
            if let Some(managed) = &mut entry.managed {
                let scope = managed.shown.mesh.as_ref().map(|mesh| &mesh.scope);
                managed.unwritten = match scope.filter(|_| by_scope) {
                    Some(scope) => scope.iter().any(|it| stale.contains(it)),
                    None => stale.contains(root),
                };
            }
        }
    }

    fn look_at_routes(&mut self) {
        let (theirs, rivals) = (&self.theirs, &self.rivals);
        for entry in self.rollouts.values_mut() {
            let Some(managed) = &mut entry.managed else {
                continue;
            };
            let state = &managed.state;
            let Some(mesh) = state
                .mesh
                .as_ref()
                .filter(|_| state.in_progress().is_some())
            else {
                continue;
            };
            entry.lacking = foreign::lacking(state, mesh, theirs);
            managed.view.conditions = more_conditions(mesh.manage, &entry.lacking, rivals);
        }
    }

    /// Every rollout as users see it.
    #[must_use]
    pub fn statuses(&self) -> Vec<Status> {
        let managed = self.rollouts.values().filter_map(|it| it.managed.as_ref());
        managed.map(Managed::status).collect()
    }

    /// Mistakes in resources that never became rollouts.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let never = self.rollouts.iter().filter(|(_, it)| it.managed.is_none());
        never
            .flat_map(|(name, it)| it.problems.iter().map(move |why| format!("{name}: {why}")))
            .collect()
    }

    /// What is wrong with a resource as it is now, with its uid.
    pub fn mistakes(&self) -> impl Iterator<Item = (&RolloutName, &str, &[String])> {
        let wrong = self
            .rollouts
            .iter()
            .filter(|(_, it)| !it.problems.is_empty());
        wrong.map(|(name, it)| (name, it.uid.as_str(), it.problems.as_slice()))
    }

    /// The highest generation so far.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Rollouts with their resource's uid, for events and metrics.
    pub fn managed(&self) -> impl Iterator<Item = (&RolloutName, &str, &Managed)> {
        let entries = self.rollouts.iter();
        entries.filter_map(|(name, it)| Some((name, it.uid.as_str(), it.managed.as_ref()?)))
    }

    /// Objects of ours that somebody else changed since the last call.
    pub fn drifted(&mut self) -> Vec<ObjectId> {
        std::mem::take(&mut self.drifted)
    }

    /// How many rollouts there are, and how many of them wait for a write to be tried again.
    #[must_use]
    pub fn sizes(&self) -> (usize, usize) {
        let waiting = |it: &&Entry| it.status_due || it.is_pending();
        let queue = self.rollouts.values().filter(waiting).count();
        (self.rollouts.len(), queue)
    }
}

impl Entry {
    fn is_pending(&self) -> bool {
        let managed = self.managed.as_ref();
        managed.is_some_and(|managed| managed.pending != Writes::Nothing)
    }
}

/// A restored rollout finds its section among those that the proxies have.
fn recognise(managed: &mut Managed, sections: &Sections) {
    let name = managed.state.name.to_string();
    if let Some(section) = sections.rollouts.iter().find(|it| it.name == name) {
        managed.rendered = Some(section.clone());
        let generation = managed.view.generation.unwrap_or(0);
        managed.view.generation = Some(generation.max(sections.generation));
    }
}

fn more_conditions(manage: bool, lacking: &Lacking, rivals: &BTreeSet<ObjectId>) -> Vec<Condition> {
    let condition = |kind: &str, wrong: Option<String>, fine: &str| Condition {
        kind: kind.to_owned(),
        status: Some(wrong.is_none()),
        reason: None,
        message: wrong.unwrap_or_else(|| fine.to_owned()),
    };
    let mut found = vec![condition(
        conditions::ROUTES_FOLLOW_HEADER,
        lacking.header.clone(),
        "every version's route follows the header",
    )];
    if !manage {
        found.push(condition(
            conditions::DEFAULT_ROUTE_MOVED,
            lacking.default.clone(),
            "the default route leads where it should",
        ));
    }
    let rival = rivals.first().map(|id| {
        format!("{id} runs the filter as well, so that requests are counted twice: delete it")
    });
    found.push(condition(
        conditions::SOLE_PLUGIN,
        rival,
        "no other plugin has a config of the filter",
    ));
    found
}

fn resource_version(object: &Value) -> Option<&str> {
    object.pointer("/metadata/resourceVersion")?.as_str()
}

#[cfg(test)]
mod tests;
