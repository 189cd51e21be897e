//! Resources as they come: seen for the first time, edited, asked something, deleted.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use jiff::Timestamp;

use super::echoes::Echoes;
use super::entry::{Entry, Obstacle, Retry, Unseen, mark};
use super::others::look_at_routes;
use super::plugins::{Section, TooLarge};
use super::rollouts::Seen;
use super::{Fleet, Mode};
use crate::cluster::foreign::{self, Lacking};
use crate::cluster::resource::ModelRollout;
use crate::cluster::status::Written;
use crate::cluster::{names, plugin, routes};
use crate::driver::{Managed, Routed};
use crate::render;
use crate::rollout::{Action, RolloutState, Writes, accept, begins};
use crate::validate::{Plan, RolloutName, validate};

impl Fleet {
    /// A resource as the server has it now.
    pub fn resource(&mut self, resource: &ModelRollout, now: Timestamp) {
        let Some(name) = name_of(resource) else {
            return;
        };
        let metadata = &resource.metadata;
        let finalizers = metadata.finalizers.iter().flatten();
        let finalizer = finalizers.into_iter().any(|it| it == names::FINALIZER);
        let resource_version = metadata.resource_version.clone().unwrap_or_default();
        let uid = metadata.uid.clone().unwrap_or_default();
        let known = self.rollouts.get(&name);
        let same = known.is_some_and(|entry| entry.uid == uid && !entry.echoes.is_empty());
        let old = |entry: &mut Entry| entry.echoes.hears(&resource_version);
        if same && self.rollouts.change(&name, old) == Some(true) {
            return;
        }
        // Under the same name, but another one: what was known of the old one ended with it. Or another memory: a leader
        // before us was late with it, or somebody has mended it. What is written is the truth.
        let remembers = |entry: &Entry| entry.known.contains(&mark(resource.status.as_ref()));
        let known = self.rollouts.get(&name);
        if known.is_some_and(|entry| entry.uid != uid || !remembers(entry)) {
            self.resource_gone(&name);
        }
        let spec_generation = metadata.generation.unwrap_or(0);
        let known = self.rollouts.get(&name);
        let edited = known.is_none_or(|entry| entry.spec_generation != spec_generation);
        let deleted = metadata.deletion_timestamp.is_some();
        if known.is_none() {
            let entry = self.first_seen(resource, &name, uid, now);
            self.rollouts.insert(&name, entry);
        }
        self.rollouts.change(&name, |entry| {
            entry.resource_version = resource_version;
            entry.finalizer = finalizer;
            entry.spec_generation = spec_generation;
            // Whatever stood in the way of a write, the object is another one now.
            entry.retry = Retry::default();
            entry.ask(action_of(resource));
            if deleted && !entry.deleting {
                entry.deleting = true;
                entry.retire(now);
            }
            if edited && !deleted {
                let file = resource.file();
                entry.file = Some(file.map_err(|(path, reason)| format!("{path}: {reason}")));
                // What an earlier controller has said of a release in progress is newer than what this one knows.
                let state = entry.managed.as_ref().map(|managed| &managed.state);
                let goes_on = state.is_some_and(|state| state.in_progress().is_some());
                let said = resource.status.as_ref();
                let said = said.and_then(|status| status.observed_generation);
                entry.status_due |= !goes_on || said != Some(spec_generation);
            }
        });
        if edited && !deleted {
            match &mut self.listed {
                Some(listed) => drop(listed.insert(name)),
                None => self.take_over(&name, now),
            }
        }
    }

    /// Resources follow one by one, in no order: a newcomer among them may want requests that belong to another, whose
    /// memory is not told yet. So specs wait for [`Fleet::all_told`].
    pub fn expect_list(&mut self) {
        self.listed = Some(BTreeSet::new());
    }

    /// Every resource has been told.
    pub fn all_told(&mut self, now: Timestamp) {
        for name in self.listed.take().into_iter().flatten() {
            self.take_over(&name, now);
        }
    }

    /// A resource that is not there any more, finalizer or not.
    pub fn resource_gone(&mut self, name: &RolloutName) {
        self.rollouts.remove(name);
        self.plugins.arrived(name);
    }

    /// Resources that are there after a watch began anew: all others of its namespace are gone.
    pub fn only(&mut self, namespace: Option<&str>, there: &BTreeSet<RolloutName>) {
        let gone: Vec<_> = self
            .rollouts
            .iter()
            .map(|(name, _)| name)
            .filter(|name| namespace.is_none_or(|it| it == name.namespace))
            .filter(|name| !there.contains(name))
            .cloned()
            .collect();
        for name in gone {
            self.resource_gone(&name);
        }
    }

    fn first_seen(
        &self,
        resource: &ModelRollout,
        name: &RolloutName,
        uid: String,
        now: Timestamp,
    ) -> Entry {
        let mut entry = Entry {
            uid,
            resource_version: String::new(),
            echoes: Echoes::default(),
            spec_generation: -1,
            deleting: false,
            finalizer: false,
            file: None,
            managed: None,
            action: None,
            refused: None,
            problems: Vec::new(),
            lacking: Lacking::default(),
            unseen: Unseen::Nothing,
            led_home: false,
            written: None,
            known: VecDeque::from([mark(resource.status.as_ref())]),
            status_due: false,
            retry: Retry::default(),
            seen: Seen::default(),
        };
        let status = resource.status.as_ref();
        let checkpoint = status.and_then(|status| status.checkpoint.as_ref());
        match checkpoint.map(|text| serde_json::from_str::<RolloutState>(text)) {
            None => {}
            Some(Ok(state)) => {
                // What is parsed has room to grow, a copy has none: there may be thousands of them.
                let mut managed = Managed::restore(state.clone(), None, now);
                if state.in_progress().is_some() {
                    // Otherwise nothing can have gone down since it was written.
                    entry.unseen = Unseen::All;
                }
                (entry.lacking, managed.view.conditions) = self.routes_of_others(&state);
                entry.managed = Some(managed);
                entry.recognise(name, &self.plugins);
            }
            // To begin anew would move weights on half a memory.
            Some(Err(error)) => {
                entry.problems = vec![format!(
                    "status.checkpoint: cannot be understood ({error}): whoever may update modelrollouts/status restores it, or removes it (kubectl edit modelrollout NAME --subresource=status); the rollout then begins anew from what its default route serves"
                )];
            }
        }
        let corrupt = entry.managed.is_none();
        entry.written = status.map(|status| Written::of(status, corrupt));
        entry
    }

    /// Looks again at specs that wait, if what is in their way may be gone.
    pub(super) fn take_over_waiting(&mut self, now: Timestamp) {
        for name in self.rollouts.refused().clone() {
            let entry = self.rollouts.get(&name);
            let Some(obstacle) = entry.and_then(|entry| entry.refused.as_ref()) else {
                continue;
            };
            let is_there = match obstacle {
                Obstacle::Releases => {
                    let most = self.settings.max_releases;
                    most.is_some_and(|most| self.rollouts.in_progress().len() >= most)
                }
                Obstacle::Room(namespaces, bytes) => {
                    let room = self.plugins.room(&self.settings, &name, *bytes, namespaces);
                    room.is_err()
                }
                Obstacle::Claim(seen) | Obstacle::Other(seen) => *seen == self.rollouts.changes(),
            };
            if !is_there {
                self.take_over(&name, now);
            }
        }
    }

    /// Takes over the spec, or says why not. The running release is untouched then.
    fn take_over(&mut self, name: &RolloutName, now: Timestamp) {
        let Some(entry) = self.rollouts.get(name) else {
            return;
        };
        let corrupt = entry.managed.is_none()
            && entry
                .written
                .as_ref()
                .is_some_and(|it| it.checkpoint.is_some());
        let Some(file) = entry.file.as_ref().filter(|_| !corrupt) else {
            return;
        };
        let found = match file {
            Err(reason) => Err((vec![reason.clone()], None)),
            Ok(file) => match validate(file) {
                Err(problems) => {
                    let lines = problems
                        .iter()
                        .map(|it| format!("{}: {}", it.path, it.reason));
                    Err((lines.collect(), None))
                }
                Ok(plan) => match self.objection(name, &plan) {
                    None => self.accept(name, plan, now),
                    Some((why, obstacle)) => Err((vec![why], Some(obstacle))),
                },
            },
        };
        let (problems, obstacle) = match found {
            Ok(()) => Default::default(),
            Err(refused) => refused,
        };
        self.rollouts.change(name, |entry| {
            if obstacle.is_none() {
                // Nobody will look at it again; what is in force is in the state.
                entry.file = None;
            }
            entry.refuse(problems, obstacle);
        });
    }

    /// Takes over a valid spec that nobody else objects to.
    fn accept(&mut self, name: &RolloutName, plan: Plan, now: Timestamp) -> Result<(), Refused> {
        let entry = self.rollouts.get(name);
        let Some((entry, Some(Ok(file)))) = entry.map(|entry| (entry, &entry.file)) else {
            return Ok(());
        };
        let known = entry.managed.as_ref().map(|managed| &*managed.state);
        let never = |state: &RolloutState| state.release.is_none() && state.history.is_empty();
        // Until there was a release, what is live is for the routes to say.
        let first = known
            .is_none_or(never)
            .then(|| Managed::first(&plan, self.routed(name, &plan)));
        let Some(state) = known.or(first.as_ref().map(|managed| &*managed.state)) else {
            return Ok(());
        };
        let accepted = match accept(&plan, file, state, now, self.settings.grid) {
            Ok((state, writes)) => self
                .make_room(name, &state, writes)
                .map(|()| (state, writes)),
            Err(refusal) => {
                let changes = self.rollouts.changes();
                Err((vec![refusal.to_string()], Some(Obstacle::Other(changes))))
            }
        };
        let (theirs, rivals) = (&self.theirs, &self.rivals);
        // The first writes do not wait for a tick.
        let look = |entry: &mut Entry| {
            if let Some(managed) = &mut entry.managed {
                (entry.lacking, managed.view.conditions) =
                    look_at_routes(&managed.state, theirs, rivals);
            }
        };
        let done = self.rollouts.change(name, |entry| {
            let (state, writes) = match accepted {
                Ok(accepted) => accepted,
                Err(refused) => {
                    entry.managed = first.or(entry.managed.take());
                    look(entry);
                    return Err(refused);
                }
            };
            entry.managed = entry.managed.take().or(first);
            if let Some(managed) = &mut entry.managed {
                managed.accept(Arc::new(plan), state, writes);
            }
            look(entry);
            Ok(())
        });
        done.unwrap_or(Ok(()))
    }

    /// Keeps room in the plugins for what has been accepted.
    fn make_room(
        &mut self,
        name: &RolloutName,
        state: &RolloutState,
        writes: Writes,
    ) -> Result<(), Refused> {
        let section = render::section(state).filter(|_| writes != Writes::Nothing);
        let Some(section) = section else {
            return Ok(());
        };
        let bytes = Section::of(Arc::new(section)).bytes;
        let namespaces = self.settings.namespaces_of(state);
        let room = self.plugins.room(&self.settings, name, bytes, &namespaces);
        if let Err(why) = room {
            let by_scope = self.settings.mode == Mode::Namespaces;
            return Err((
                vec![too_large(&why, bytes, by_scope)],
                Some(Obstacle::Room(namespaces, bytes)),
            ));
        }
        self.plugins.expect(name, bytes, namespaces);
        Ok(())
    }

    /// Why a valid spec cannot be in force beside the others.
    fn objection(&self, name: &RolloutName, plan: &Plan) -> Option<(String, Obstacle)> {
        let other = |why: String| Some((why, Obstacle::Other(self.rollouts.changes())));
        let Some(mesh) = &plan.mesh else {
            return other(
                "spec.variants: routes with 'cluster' are for standalone: say 'subset' or 'host'"
                    .to_owned(),
            );
        };
        if self.settings.mode == Mode::Namespaces && mesh.scope.is_empty() {
            return other(
                "spec.scope: must name the namespaces of the callers and gateways, because this installation gives the filter to namespaces (--mode namespaces)"
                    .to_owned(),
            );
        }
        let watched = &self.settings.watched;
        let mut callers = mesh
            .scope
            .iter()
            .filter(|_| self.settings.mode == Mode::Namespaces);
        if let Some(foreign) = callers.find(|it| !watched.is_empty() && !watched.contains(it)) {
            return other(format!(
                "spec.scope: this installation may not write to namespace '{foreign}': it is told of {} alone (--watch-namespaces)",
                watched.join(", ")
            ));
        }
        let own = self.rollouts.get(name).and_then(|it| it.managed.as_ref());
        let first_come = own.is_none_or(|managed| !managed.is_accepted());
        let mut claiming = self.rollouts.claiming(&plan.hosts, &plan.paths);
        let taken = claiming.find(|(other, entry)| {
            let managed = entry.managed.as_ref().filter(|_| *other != name);
            managed.is_some_and(|it| it.state.release.is_some() || (first_come && it.is_accepted()))
        });
        if let Some((taker, _)) = taken {
            let why = format!(
                "spec.match: these requests belong to rollout '{taker}': give this one another host or path"
            );
            return Some((why, Obstacle::Claim(self.rollouts.changes())));
        }
        let most = self.settings.max_releases?;
        let going = self.rollouts.in_progress();
        let going = going.len() - usize::from(going.contains(name));
        let would_begin = own.is_none_or(|managed| begins(plan, &managed.state));
        (would_begin && going >= most).then(|| {
            (format!("waiting: {going} releases are in progress, as many as --max-releases allows; this one begins when one of them has ended"), Obstacle::Releases)
        })
    }

    /// What the default route serves for a rollout without a status.
    fn routed(&self, name: &RolloutName, plan: &Plan) -> Option<Routed> {
        let mut ours = self.routing.remembering(name);
        let remembered = ours.find_map(|id| {
            routes::default_routes(self.present.get(id)?)
                .remove(&name.to_string())
                .filter(|it| it.paths == plan.paths)
        });
        if let Some(route) = remembered {
            return Some(Routed {
                route: route.live.route,
                destination: route.live.destination,
            });
        }
        foreign::default_route(plan, &self.theirs)
    }
}

/// Problems, and what they wait for.
type Refused = (Vec<String>, Option<Obstacle>);

fn too_large(why: &TooLarge, section: usize, by_scope: bool) -> String {
    let TooLarge { namespace, object } = why;
    let remedy = if by_scope {
        "name fewer namespaces in spec.scope, or have fewer rollouts for the callers in this one"
    } else {
        "install with --mode namespaces, where every rollout names its callers, or have fewer rollouts"
    };
    format!(
        "spec: its part of the filter's config has {section} bytes, with which the plugin of namespace {namespace} would have {object} of at most {}: {remedy}",
        plugin::LIMIT
    )
}

fn name_of(resource: &ModelRollout) -> Option<RolloutName> {
    Some(RolloutName {
        namespace: resource.metadata.namespace.clone()?,
        name: resource.metadata.name.clone()?,
    })
}

/// What somebody asks for. What cannot be understood is nobody's wish.
fn action_of(resource: &ModelRollout) -> Option<Action> {
    let annotations = resource.metadata.annotations.as_ref()?;
    serde_json::from_str(annotations.get(names::ACTION)?).ok()
}
