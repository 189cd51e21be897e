//! All rollouts of a cluster and what is known of it. Pure: objects and Prometheus' word go in, writes come out, and what
//! became of each write goes in again. Nothing here knows a client, so that a model checker can drive it through every
//! order of losses and crashes.
//!
//! The order of writes is what loses nothing. Going up: status, routes, plugin. Going down: plugin at once, then status.
//! Whoever comes after a kill in between finds a status that is too high: it raises nobody's share before it has looked at
//! Prometheus, where the reason of the way down still is.

mod echoes;
mod entry;
mod intake;
mod others;
mod plugins;
mod rollouts;
mod routing;
mod writes;

pub use writes::{Failure, ObjectWrite, StatusWrite};

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;
use serin_filter_core::stat::Encoding;

use self::echoes::Echoes;
use self::entry::{Entry, Retry, Unseen};
use self::others::look_at_routes;
use self::plugins::Plugins;
use self::rollouts::Rollouts;
use self::routing::Routing;
use super::foreign::Theirs;
use super::object::{self, Kind, ObjectId, Present, Print};
use super::plugin::{self, Module};
use super::routes;
use crate::cells::Grid;
use crate::driver::{Ask, Managed, Proxies, Surroundings, World, advance};
use crate::rollout::RolloutState;
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
    /// Namespaces that are looked at and written to, and no others; empty: all.
    pub watched: Vec<String>,
}

/// All rollouts.
#[derive(Clone)]
pub struct Fleet {
    settings: Settings,
    rollouts: Rollouts,
    /// Objects of ours, as the server has them.
    present: BTreeMap<ObjectId, Present>,
    /// Versions of them that the watch may still tell of.
    echoes: BTreeMap<ObjectId, Echoes>,
    /// VirtualServices of others.
    theirs: Theirs,
    /// Plugins of others that hold a config of ours.
    rivals: BTreeSet<ObjectId>,
    routing: Routing,
    plugins: Plugins,
    /// Resources whose spec is looked at when all have been told; `None`: they have.
    listed: Option<BTreeSet<RolloutName>>,
    /// Rollouts whose section is to be looked at.
    unsettled: BTreeSet<RolloutName>,
    /// Whether all rollouts were looked at since routes or plugins of others have changed.
    routes_seen: bool,
    /// Objects that could not be written.
    stuck: BTreeMap<ObjectId, Stuck>,
    /// More statuses are due than were handed out.
    left_over: bool,
    /// Checkpoints that may still be written before the next tick.
    checkpoints: usize,
    /// What others changed of ours since the last time somebody asked.
    drifted: Vec<ObjectId>,
}

/// An object that could not be written.
#[derive(Clone, Debug, Default)]
struct Stuck {
    retry: Retry,
    /// What the API server says.
    reason: Option<String>,
}

/// A resource as it is known, for people.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// Its uid.
    pub uid: &'a str,
    /// The rollout in it, if it ever became one.
    pub managed: Option<&'a Managed>,
    /// What is wrong with it as it is now.
    pub problems: &'a [String],
}

/// What decides, and not what follows from it: two fleets that read alike do alike.
impl fmt::Debug for Fleet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fleet")
            .field("rollouts", &self.rollouts)
            .field("present", &self.present)
            .field("echoes", &self.echoes)
            .field("theirs", &self.theirs)
            .field("rivals", &self.rivals)
            .field("plugins", &self.plugins)
            .field("stuck", &self.stuck)
            .field("drifted", &self.drifted)
            .finish_non_exhaustive()
    }
}

impl Fleet {
    /// Without any rollout.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            rollouts: Rollouts::default(),
            present: BTreeMap::new(),
            echoes: BTreeMap::new(),
            theirs: Theirs::default(),
            rivals: BTreeSet::new(),
            routing: Routing::default(),
            plugins: Plugins::default(),
            listed: None,
            unsettled: BTreeSet::new(),
            routes_seen: false,
            stuck: BTreeMap::new(),
            left_over: false,
            checkpoints: 0,
            drifted: Vec::new(),
        }
    }

    /// An object of Istio's, or that it is gone.
    pub fn object(&mut self, id: ObjectId, object: Option<Value>) {
        let version = object.as_ref().and_then(resource_version);
        if let Some(echoes) = self.echoes.get_mut(&id) {
            if version.is_some_and(|it| echoes.hears(it)) {
                return;
            }
            self.echoes.remove(&id);
        }
        let known = self.present.get(&id);
        if version.is_some() && known.is_some_and(|it| it.resource_version.as_deref() == version) {
            // As we have written or seen it.
            return;
        }
        // Whatever stood in the way of a write, the object is another one now.
        self.stuck.remove(&id);
        if let Some(known) = known {
            let next = object.as_ref();
            let edited = next.is_none_or(|next| !known.print.same_spec(&Print::of(next)));
            if edited {
                self.drifted.push(id.clone());
            }
        }
        if id.kind == Kind::VirtualService {
            // What is live may be for it to say.
            self.rollouts.note();
        }
        if let Some(object) = object.as_ref().filter(|it| object::is_ours(it)) {
            self.forget_others(&id);
            self.keep(&id, Some(object));
            if matches!(id.kind, Kind::WasmPlugin | Kind::TrafficExtension) {
                self.learn(&id, object);
            }
            return;
        }
        self.keep(&id, None);
        let Some(object) = object else {
            self.forget_others(&id);
            return;
        };
        self.routes_seen = false;
        match id.kind {
            Kind::VirtualService => self.theirs.insert(id, &object),
            Kind::WasmPlugin | Kind::TrafficExtension if plugin::config_in(&object).is_some() => {
                self.rivals.insert(id);
            }
            _ => {}
        }
    }

    /// An object is nobody else's any more.
    fn forget_others(&mut self, id: &ObjectId) {
        let routes = self.theirs.remove(id);
        self.routes_seen &= !(self.rivals.remove(id) || routes);
    }

    /// Remembers what the server has of ours.
    fn keep(&mut self, id: &ObjectId, object: Option<&Value>) {
        let next = object.map(|object| Present::of(id.kind, object));
        let before = self.present.get(id);
        if before.is_none() && next.is_none() {
            return;
        }
        if matches!(id.kind, Kind::VirtualService | Kind::DestinationRule) {
            self.routing.object(id, before, next.as_ref());
        }
        match next {
            Some(next) => self.present.insert(id.clone(), next),
            None => self.present.remove(id),
        };
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
            .chain(self.theirs.ids())
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
        self.plugins.generation = self.plugins.generation.max(config.generation);
        let namespace = &id.namespace;
        let names = match self.plugins.generation_of(namespace) {
            None => self.plugins.learn(&self.settings, namespace, config),
            Some(_) if id.kind != self.settings.kind || self.is_written(namespace) => return,
            Some(known) if config.generation < known => return,
            // Whoever changed the object left to the proxies what they had.
            Some(_) if self.plugins.gives(namespace, &config) => return,
            // Somebody else, such as a leader before us, gave out the same number for something else: which of the two
            // a proxy runs that reports it, nobody can say.
            Some(_) => self.plugins.renumber(&self.settings, namespace),
        };
        for name in names {
            let plugins = &self.plugins;
            self.rollouts
                .change(&name, |entry| entry.recognise(&name, plugins));
            self.unsettled.insert(name);
        }
    }

    /// Follows what has changed, as far as that does not make anything to be written.
    fn settle(&mut self) {
        for name in self.rollouts.take_touched() {
            let entry = self.rollouts.get(&name);
            let led_home = entry.is_some_and(|entry| self.is_led_home(&name, entry));
            if entry.is_some_and(|entry| entry.led_home != led_home) {
                self.rollouts
                    .change(&name, |entry| entry.led_home = led_home);
            }
            let entry = self.rollouts.get(&name);
            self.routing
                .leave(&name, entry.is_some_and(|it| it.deleting));
            let routed = entry.and_then(Entry::routed);
            self.routing.follow(&name, routed.as_ref());
            self.unsettled.insert(name);
        }
        let changed = self.routing.settle(&self.present);
        self.unsettled.extend(changed);
    }

    /// Whether the default route leads to the live version, and its status says that it has moved on.
    fn is_led_home(&self, name: &RolloutName, entry: &Entry) -> bool {
        let Some(shown) = entry.half_seen().map(|managed| &managed.shown) else {
            return false;
        };
        let there = self.routing.remembering(name).filter_map(|id| {
            routes::default_routes(self.present.get(id)?).remove(&name.to_string())
        });
        let mut lives = there.map(|it| it.live.route);
        shown.default_route() != &shown.live && lives.any(|route| route == shown.live.route)
    }

    /// Everything may have changed.
    #[cfg(test)]
    fn look_at_everything(&mut self) {
        self.routing = Routing::default();
        for (id, present) in &self.present {
            self.routing.object(id, None, Some(present));
        }
        self.rollouts.forget();
    }

    /// What the releases in progress need to know of Prometheus.
    #[must_use]
    pub fn asks(&self) -> Vec<Ask> {
        let names = self.rollouts.in_progress().iter();
        let managed = names.filter_map(|it| self.rollouts.get(it)?.managed.as_ref());
        let asks = managed.map(|it| Ask::of(it, self.settings.grid));
        asks.flatten().collect()
    }

    /// Rollouts with a release in progress.
    #[must_use]
    pub fn in_progress(&self) -> Vec<RolloutName> {
        self.rollouts.in_progress().iter().cloned().collect()
    }

    /// One tick of every release in progress.
    pub fn tick(&mut self, world: &World, now: Timestamp) {
        self.take_over_waiting(now);
        self.allow_checkpoints();
        let names = self.in_progress();
        self.tick_some(&names, world, now);
    }

    /// One tick of some releases in progress. Whatever else happens between one part and the next changes nothing for
    /// the others: each sees the world and its own state.
    pub fn tick_some(&mut self, names: &[RolloutName], world: &World, now: Timestamp) {
        self.look_at_others_routes();
        let mut scoped: BTreeMap<Vec<String>, Proxies> = BTreeMap::new();
        let mut unwritten: BTreeMap<String, bool> = BTreeMap::new();
        let (settings, present) = (&self.settings, &self.present);
        let (plugins, theirs, rivals) = (&self.plugins, &self.theirs, &self.rivals);
        let mut ended = false;
        for name in names {
            self.rollouts.change(name, |entry| {
                let managed = entry.managed.as_mut();
                let Some(managed) = managed.filter(|it| it.state.in_progress().is_some()) else {
                    return;
                };
                let (lacking, conditions) = look_at_routes(&managed.state, theirs, rivals);
                entry.lacking = lacking;
                managed.view.conditions = conditions;
                // A generation that is not on the server may be there with something else in it.
                managed.unwritten = settings.namespaces_of(&managed.shown).iter().any(|it| {
                    *unwritten
                        .entry(it.clone())
                        .or_insert_with(|| !plugins.is_written(settings, it, present))
                });
                let scope = managed.state.mesh.as_ref().map(|mesh| &mesh.scope);
                let proxies = match scope.filter(|_| settings.mode == Mode::Namespaces) {
                    Some(scope) => &*scoped
                        .entry(scope.clone())
                        .or_insert_with(|| world.within(scope)),
                    None => &world.proxies,
                };
                let surroundings = Surroundings {
                    grid: settings.grid,
                    world,
                    proxies,
                    routes: entry.lacking.as_input(),
                };
                advance(managed, &surroundings, &[], now);
                ended |= managed.state.in_progress().is_none();
                entry.has_seen(world, settings.grid, now);
            });
        }
        // Another release, or none, wants other routes.
        self.routes_seen &= !ended;
        self.say_refusals(names);
    }

    /// What the API server refuses is what a release waits for.
    fn say_refusals(&mut self, names: &[RolloutName]) {
        if self.stuck.is_empty() {
            return;
        }
        for name in names {
            let entry = self.rollouts.get(name);
            let managed = entry.and_then(|entry| entry.managed.as_ref());
            let Some(refusal) = managed.and_then(|managed| self.refusal(&managed.shown)) else {
                continue;
            };
            self.rollouts.change(name, |entry| {
                if let Some(managed) = &mut entry.managed {
                    managed.view.waiting_for = Some(refusal);
                }
            });
        }
    }

    /// Consumes the actions that wait, without waiting for Prometheus.
    pub fn answer(&mut self, now: Timestamp) {
        let world = World::default();
        let grid = self.settings.grid;
        let mut ended = false;
        for name in self.rollouts.take_asked() {
            self.rollouts.change(&name, |entry| {
                let (Some(managed), Some(action)) = (&mut entry.managed, entry.action.take())
                else {
                    return;
                };
                let surroundings = Surroundings {
                    routes: entry.lacking.as_input(),
                    ..Surroundings::whole(grid, &world)
                };
                let before = Arc::clone(&managed.state);
                advance(managed, &surroundings, &[action], now);
                ended |= managed.state.in_progress().is_none();
                entry.status_due = true;
                if managed.state.grows_from(&before) {
                    // Whoever wants more of it, now, knows what happened.
                    entry.unseen = Unseen::Nothing;
                }
            });
        }
        self.routes_seen &= !ended;
    }

    /// Rollouts that have changed since the last call, or are gone.
    pub fn take_changed(&mut self) -> BTreeSet<RolloutName> {
        self.rollouts.take_unshown()
    }

    /// A resource as it is known.
    #[must_use]
    pub fn look_up(&self, name: &RolloutName) -> Option<Known<'_>> {
        let entry = self.rollouts.get(name)?;
        Some(Known {
            uid: &entry.uid,
            managed: entry.managed.as_ref(),
            problems: &entry.problems,
        })
    }

    /// The highest generation so far.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.plugins.generation
    }

    /// Objects of ours that somebody else changed since the last call.
    pub fn drifted(&mut self) -> Vec<ObjectId> {
        std::mem::take(&mut self.drifted)
    }

    /// How many rollouts there are, and how many of them wait for a write to be tried again.
    #[must_use]
    pub fn sizes(&self) -> (usize, usize) {
        let waiting = |it: &&Entry| it.status_due || it.is_pending();
        let busy = self.rollouts.busy().iter();
        let busy = busy.filter_map(|name| self.rollouts.get(name));
        let queue = busy.filter(waiting).count();
        (self.rollouts.len(), queue)
    }
}

impl Settings {
    /// Where a rollout's section belongs.
    fn namespaces_of(&self, state: &RolloutState) -> Vec<String> {
        match (self.mode, &state.mesh) {
            (Mode::Namespaces, Some(mesh)) => mesh.scope.clone(),
            _ => vec![self.root_namespace.clone()],
        }
    }
}

fn resource_version(object: &Value) -> Option<&str> {
    object.pointer("/metadata/resourceVersion")?.as_str()
}

#[cfg(test)]
mod tests;
